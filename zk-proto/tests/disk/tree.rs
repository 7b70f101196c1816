//! Just enough of a data tree to follow a log.

use std::collections::BTreeMap;

use bytes::Bytes;
use zk_proto::{
    Acl,
    create_mode::EphemeralOwner,
    persist::{NodeRecord, OPEN_ACL_ID, TreeDigest, node_digest},
    stat::StatPersisted,
    txn::{Txn, TxnHeader},
};

use crate::Snapshot;

pub(crate) struct Node {
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) stat: StatPersisted,
}

#[derive(Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

impl Tree {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let acl = |id| match id {
            OPEN_ACL_ID => Acl::open(),
            id => snapshot
                .acls
                .iter()
                .find(|entry| entry.id == id)
                .unwrap()
                .acl
                .clone(),
        };
        let node = |node: &NodeRecord| {
            let (data, acl) = (node.data.clone(), acl(node.acl));
            (
                node.path.to_string(),
                Node {
                    data,
                    acl,
                    stat: node.stat,
                },
            )
        };
        Self(snapshot.nodes.iter().map(node).collect())
    }

    pub(crate) fn digest(&self) -> TreeDigest {
        let mut digest = TreeDigest::default();
        for (path, node) in &self.0 {
            digest.add(node_digest(
                path,
                node.data.as_deref().unwrap_or_default(),
                &node.stat,
            ));
        }
        digest
    }

    pub(crate) fn node(&mut self, path: &str) -> &mut Node {
        let path = if path == "/" { "" } else { path };
        self.0
            .get_mut(path)
            .unwrap_or_else(|| panic!("no node {path}"))
    }

    fn parent(&mut self, path: &str) -> &mut Node {
        self.node(path.rsplit_once('/').unwrap().0)
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&Bytes>,
        acl: &[Acl],
        parent_cversion: i32,
        owner: EphemeralOwner,
    ) {
        let parent = self.parent(path);
        parent.stat.cversion = parent_cversion;
        parent.stat.pzxid = header.zxid;
        let stat = StatPersisted {
            czxid: header.zxid,
            mzxid: header.zxid,
            pzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner.raw(),
            ..StatPersisted::default()
        };
        let (data, acl) = (data.cloned(), acl.to_vec());
        self.0.insert(path.to_owned(), Node { data, acl, stat });
    }

    fn delete(&mut self, header: &TxnHeader, path: &str) {
        self.0
            .remove(path)
            .unwrap_or_else(|| panic!("no node {path}"));
        self.parent(path).stat.pzxid = header.zxid;
    }

    pub(crate) fn apply(&mut self, header: &TxnHeader, txn: &Txn) {
        match txn {
            Txn::Create(r) | Txn::Create2(r) => {
                let owner = match r.ephemeral {
                    true => EphemeralOwner::Session(header.client_id),
                    false => EphemeralOwner::Persistent,
                };
                self.create(
                    header,
                    &r.path,
                    r.data.as_ref(),
                    &r.acl,
                    r.parent_cversion,
                    owner,
                );
            }
            Txn::CreateContainer(r) => {
                let owner = EphemeralOwner::Container;
                self.create(
                    header,
                    &r.path,
                    r.data.as_ref(),
                    &r.acl,
                    r.parent_cversion,
                    owner,
                );
            }
            Txn::CreateTtl(r) => {
                let owner = EphemeralOwner::Ttl { ttl_ms: r.ttl_ms };
                self.create(
                    header,
                    &r.path,
                    r.data.as_ref(),
                    &r.acl,
                    r.parent_cversion,
                    owner,
                );
            }
            Txn::Delete(r) | Txn::DeleteContainer(r) => self.delete(header, &r.path),
            Txn::SetData(r) | Txn::Reconfig(r) => {
                let node = self.node(&r.path);
                node.data = r.data.clone();
                node.stat.version = r.version;
                node.stat.mtime = header.time;
                node.stat.mzxid = header.zxid;
            }
            Txn::SetAcl(r) => {
                let node = self.node(&r.path);
                node.acl = r.acl.clone();
                node.stat.aversion = r.version;
            }
            Txn::CloseSession(closed) => {
                let paths = &closed.as_ref().unwrap().paths_to_delete;
                paths.iter().for_each(|path| self.delete(header, path));
            }
            Txn::Multi(parts) if parts.iter().any(|part| matches!(part, Txn::Error(_))) => {}
            Txn::Multi(parts) => parts.iter().for_each(|part| self.apply(header, part)),
            Txn::Check(_) | Txn::CreateSession(_) | Txn::Error(_) => {}
        }
    }
}
