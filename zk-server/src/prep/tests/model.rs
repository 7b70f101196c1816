//! A naive ZooKeeper: a map from paths to nodes, and the rules of the reference written down plainly.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::{
    Acl, ErrorCode, Perms, SessionId, Stat, Zxid,
    op::{
        CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiOp, MultiRequest,
        Request, SetAclRequest, SetDataRequest,
    },
    persist::{TreeDigest, node_digest},
    stat::StatPersisted,
    watch::EventType,
};

use crate::{
    auth::{self, AuthConfig, Credentials},
    tree::{Applied, DataTree},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) data: Option<Vec<u8>>,
    pub(super) acl: Vec<Acl>,
    pub(super) stat: StatPersisted,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: BTreeMap<SessionId, i32>,
}

/// Who, when, and what it set off.
pub(super) struct Write<'a> {
    pub(super) session: SessionId,
    pub(super) credentials: &'a Credentials,
    pub(super) zxid: Zxid,
    pub(super) time: i64,
    pub(super) events: Vec<(EventType, String)>,
}

pub(super) type Outcome = Result<Applied, ErrorCode>;

const CONTAINER: i64 = i64::MIN;

impl Model {
    /// The nodes, sessions and ACLs of a tree.
    pub(super) fn of(tree: &DataTree) -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            sessions: tree.sessions().collect(),
        };
        let mut open = vec![tree.node("/").unwrap()];
        while let Some(node) = open.pop() {
            assert_eq!(node.children().count(), node.child_count());
            let names = node.children().map(|child| child.name().len() + 4);
            assert_eq!(names.sum::<usize>() + 4, node.children_len());
            open.extend(node.children());
            let mut path = node.path();
            if path == "/" {
                path.clear();
            }
            let copy = Node {
                data: node.data().map(<[u8]>::to_vec),
                acl: node.acl().entries().to_vec(),
                stat: node.stat_persisted(),
            };
            assert_eq!(model.nodes.insert(path, copy), None);
        }
        model
    }

    pub(super) fn digest(&self) -> TreeDigest {
        let mut digest = TreeDigest::default();
        for (path, node) in &self.nodes {
            let data = node.data.as_deref().unwrap_or_default();
            digest.add(node_digest(path, data, &node.stat));
        }
        digest
    }

    pub(super) fn children(&self, path: &str) -> BTreeSet<&str> {
        let below = format!("{path}/");
        let child = |other: &'_ String| -> bool {
            other
                .strip_prefix(&below)
                .is_some_and(|name| !name.contains('/'))
        };
        let names = self.nodes.keys().filter(|path| child(path));
        names.map(|path| &path[below.len()..]).collect()
    }

    pub(super) fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let stat = &node.stat;
        let children = i32::try_from(self.children(path).len()).unwrap();
        let is_special =
            stat.ephemeral_owner == CONTAINER || stat.ephemeral_owner.cast_unsigned() >> 56 == 0xff;
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion * 2 - children,
            aversion: stat.aversion,
            ephemeral_owner: SessionId(if is_special { 0 } else { stat.ephemeral_owner }),
            data_length: i32::try_from(node.data.as_ref().map_or(0, Vec::len)).unwrap(),
            num_children: children,
            pzxid: stat.pzxid,
        }
    }

    /// Carries a request out; of a refused one nothing remains.
    pub(super) fn request(&mut self, request: &Request, by: &mut Write<'_>) -> Outcome {
        let before = self.clone();
        let outcome = match request {
            Request::Create(r) => self.create(by, 1, r, -1),
            Request::Create2(r) => self.create(by, 15, r, -1),
            Request::CreateContainer(r) => self.create(by, 19, r, -1),
            Request::CreateTtl(r) => self.create(by, 21, &plain(r), r.ttl_ms),
            Request::Delete(r) => self.delete(by, r),
            Request::SetData(r) => self.set_data(by, r),
            Request::SetAcl(r) => self.set_acl(by, r),
            Request::Multi(r) => self.multi(by, r),
            Request::CloseSession => Ok(self.close_session(by)),
            _ => Err(ErrorCode::Unimplemented),
        };
        let failed = match &outcome {
            Err(_) => true,
            Ok(Applied::Multi(parts)) => matches!(parts.last(), Some(Applied::Error(_))),
            Ok(_) => false,
        };
        if failed {
            by.events.clear();
            *self = before;
        }
        outcome
    }

    fn get(&self, path: &str) -> Result<&Node, ErrorCode> {
        let path = if path == "/" { "" } else { path };
        self.nodes.get(path).ok_or(ErrorCode::NoNode)
    }

    fn get_mut(&mut self, path: &str) -> &mut Node {
        let path = if path == "/" { "" } else { path };
        self.nodes.get_mut(path).unwrap()
    }

    fn create(
        &mut self,
        by: &mut Write<'_>,
        op: i32,
        request: &CreateRequest,
        ttl: i64,
    ) -> Outcome {
        let flags = request.flags;
        if !(0..=6).contains(&flags) {
            return Err(ErrorCode::BadArguments);
        }
        let ttl_range = if flags >= 5 { 1..1 << 40 } else { i64::MIN..0 };
        if !ttl_range.contains(&ttl) || (op == 21 && flags < 5) {
            return Err(ErrorCode::BadArguments);
        }
        let slash = request.path.rfind('/').ok_or(ErrorCode::BadArguments)?;
        let parent = request.path[..slash].to_owned();
        let acl = auth::fix_up(&AuthConfig::default(), &request.acl, by.credentials)?;
        let above = self.get(&parent)?;
        allowed(above, Perms::CREATE, by)?;
        let mut path = request.path.to_string();
        if [2, 3, 6].contains(&flags) {
            path += &format!("{:010}", above.stat.cversion);
        }
        valid(&path)?;
        if self.get(&path).is_ok() {
            return Err(ErrorCode::NodeExists);
        }
        if self.stat(&parent).ephemeral_owner != SessionId::NONE {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let owner = match (op, flags) {
            (19, _) => CONTAINER,
            (21, _) => (0xff_u64 << 56).cast_signed() | ttl,
            (_, 1 | 3) => by.session.0,
            _ => 0,
        };
        let above = self.get_mut(&parent);
        above.stat.cversion += 1;
        above.stat.pzxid = by.zxid;
        let node = Node {
            data: request.data.as_ref().map(|data| data.to_vec()),
            acl,
            stat: StatPersisted {
                czxid: by.zxid,
                mzxid: by.zxid,
                pzxid: by.zxid,
                ctime: by.time,
                mtime: by.time,
                ephemeral_owner: owner,
                ..StatPersisted::default()
            },
        };
        self.nodes.insert(path.clone(), node);
        by.events.push((EventType::NodeCreated, path.clone()));
        by.events
            .push((EventType::NodeChildrenChanged, shown(&parent)));
        Ok(Applied::Created {
            path: path.as_str().into(),
            stat: (op != 1).then(|| self.stat(&path)),
        })
    }

    fn delete(&mut self, by: &mut Write<'_>, request: &DeleteRequest) -> Outcome {
        let path = &*request.path;
        let slash = path.rfind('/').ok_or(ErrorCode::BadArguments)?;
        let special = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        if special.contains(&path) {
            return Err(ErrorCode::BadArguments);
        }
        allowed(self.get(&path[..slash])?, Perms::DELETE, by)?;
        version(self.get(path)?.stat.version, request.version)?;
        if !self.children(path).is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(by, path);
        Ok(Applied::Deleted)
    }

    fn remove(&mut self, by: &mut Write<'_>, path: &str) {
        let parent = path[..path.rfind('/').unwrap()].to_owned();
        self.nodes.remove(path);
        self.get_mut(&parent).stat.pzxid = by.zxid;
        by.events.push((EventType::NodeDeleted, path.to_owned()));
        by.events
            .push((EventType::NodeChildrenChanged, shown(&parent)));
    }

    fn set_data(&mut self, by: &mut Write<'_>, request: &SetDataRequest) -> Outcome {
        valid(&request.path)?;
        let node = self.get(&request.path)?;
        allowed(node, Perms::WRITE, by)?;
        let version = version(node.stat.version, request.version)?;
        let node = self.get_mut(&request.path);
        node.data = request.data.as_ref().map(|data| data.to_vec());
        node.stat.version = version;
        node.stat.mzxid = by.zxid;
        node.stat.mtime = by.time;
        by.events
            .push((EventType::NodeDataChanged, request.path.to_string()));
        Ok(Applied::Set {
            stat: self.stat(hidden(&request.path)),
        })
    }

    fn set_acl(&mut self, by: &mut Write<'_>, request: &SetAclRequest) -> Outcome {
        valid(&request.path)?;
        let acl = auth::fix_up(&AuthConfig::default(), &request.acl, by.credentials)?;
        let node = self.get(&request.path)?;
        allowed(node, Perms::ADMIN, by)?;
        let version = version(node.stat.aversion, request.version)?;
        let node = self.get_mut(&request.path);
        node.acl = acl;
        node.stat.aversion = version;
        Ok(Applied::Set {
            stat: self.stat(hidden(&request.path)),
        })
    }

    fn check(&self, by: &Write<'_>, request: &CheckVersionRequest) -> Outcome {
        valid(&request.path)?;
        let node = self.get(&request.path)?;
        allowed(node, Perms::READ, by)?;
        version(node.stat.version, request.version)?;
        Ok(Applied::Checked)
    }

    fn multi(&mut self, by: &mut Write<'_>, request: &MultiRequest) -> Outcome {
        let mut parts = Vec::new();
        let mut failed = None;
        for op in &request.ops {
            if failed.is_some() {
                parts.push(Applied::Error(ErrorCode::RuntimeInconsistency));
                continue;
            }
            let container = |flags: i32, op: i32| if flags == 4 { 19 } else { op };
            let part = match op {
                MultiOp::Create(r) => self.create(by, container(r.flags, 1), r, -1),
                MultiOp::Create2(r) => self.create(by, container(r.flags, 15), r, -1),
                MultiOp::CreateContainer(r) => self.create(by, 19, r, -1),
                MultiOp::CreateTtl(r) if r.flags >= 5 => self.create(by, 21, &plain(r), r.ttl_ms),
                MultiOp::CreateTtl(r) => self.create(by, container(r.flags, 1), &plain(r), -1),
                MultiOp::Delete(r) => self.delete(by, r),
                MultiOp::SetData(r) => self.set_data(by, r),
                MultiOp::Check(r) => self.check(by, r),
                _ => Err(ErrorCode::MarshallingError),
            };
            failed = part.as_ref().err().map(|_| parts.len());
            parts.push(part.unwrap_or_else(Applied::Error));
        }
        if let Some(failed) = failed {
            parts[..failed].fill(Applied::Error(ErrorCode::Ok));
        }
        Ok(Applied::Multi(parts))
    }

    /// Deletes in the order of paths; the order of a real one is the transaction's own.
    pub(super) fn close_session(&mut self, by: &mut Write<'_>) -> Applied {
        let owned = |(_, node): &(&String, &Node)| node.stat.ephemeral_owner == by.session.0;
        let paths: Vec<String> = self
            .nodes
            .iter()
            .filter(owned)
            .map(|(path, _)| path.clone())
            .collect();
        paths.iter().for_each(|path| self.remove(by, path));
        self.sessions.remove(&by.session);
        Applied::SessionClosed
    }
}

fn plain(request: &CreateTtlRequest) -> CreateRequest {
    CreateRequest {
        path: request.path.clone(),
        data: request.data.clone(),
        acl: request.acl.clone(),
        flags: request.flags,
    }
}

fn allowed(node: &Node, perm: Perms, by: &Write<'_>) -> Result<(), ErrorCode> {
    match auth::check(&node.acl, perm, by.credentials) {
        true => Ok(()),
        false => Err(ErrorCode::NoAuth),
    }
}

fn version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    match expected == -1 || current == expected {
        true => Ok(current + 1),
        false => Err(ErrorCode::BadVersion),
    }
}

fn valid(path: &str) -> Result<(), ErrorCode> {
    let bad = !path.starts_with('/') || path != "/" && (path.ends_with('/') || path.contains("//"));
    match bad {
        true => Err(ErrorCode::BadArguments),
        false => Ok(()),
    }
}

/// As events show a path.
fn shown(path: &str) -> String {
    if path.is_empty() { "/" } else { path }.to_owned()
}

/// As the model keeps a path.
fn hidden(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
