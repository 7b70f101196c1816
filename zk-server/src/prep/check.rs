//! delete, setData, setACL, check, deleteContainer, reconfig.

use bytes::Bytes;
use zk_proto::{
    ErrorCode, Perms, Utf8Bytes,
    create_mode::EphemeralOwner,
    op::{CheckVersionRequest, DeleteRequest, SetAclRequest, SetDataRequest},
    persist::body_crc,
    txn::{CheckVersionTxn, DeleteTxn, SetAclTxn, SetDataTxn, Txn},
};

use super::{Change, outstanding::NodeState};
use crate::{
    auth,
    tree::{AclList, path},
};

impl Change<'_> {
    pub(super) fn delete(&mut self, request: &DeleteRequest) -> Result<Txn, ErrorCode> {
        self.request.standing.session?;
        let parent_path = deletable(&request.path)?;
        let parent = self.node(parent_path)?;
        self.allow(&parent, Perms::DELETE)?;
        let node = self.node(&request.path)?;
        next_version(node.stat.version, request.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(&request.path, &node);
        Ok(Txn::Delete(DeleteTxn {
            path: request.path.clone(),
        }))
    }

    /// The server's own: no ACL, no version. What was written to, or made anew, since the server looked stays; Apache
    /// deletes whatever has the path then.
    pub(super) fn delete_container(&mut self, path: &str) -> Result<Txn, ErrorCode> {
        let path = Utf8Bytes::from(path);
        let parent_path = deletable(&path)?;
        let node = self.node(&path)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if !self.is_unneeded(&path, &node) {
            return Err(ErrorCode::BadVersion);
        }
        self.node(parent_path)?;
        self.remove(&path, &node);
        Ok(Txn::DeleteContainer(DeleteTxn { path }))
    }

    fn is_unneeded(&self, path: &str, node: &NodeState) -> bool {
        match self.owner(node) {
            EphemeralOwner::Container => {
                let seen = self.tree.node(path).map(|seen| seen.stat_persisted());
                seen.is_some_and(|seen| seen.czxid == node.stat.czxid)
            }
            EphemeralOwner::Ttl { ttl_ms } => {
                ttl_ms != 0 && self.time.wrapping_sub(node.stat.mtime) > ttl_ms
            }
            EphemeralOwner::Session(_) | EphemeralOwner::Persistent => false,
        }
    }

    /// Enters the end of a node and what it does to its parent.
    pub(super) fn remove(&mut self, path: &Utf8Bytes, node: &NodeState) {
        let parent_path = parent_of(path);
        if let Ok(parent) = self.node(&parent_path) {
            let mut after = parent.clone();
            after.child_count = after.child_count.saturating_sub(1);
            after.stat.pzxid = self.zxid;
            self.outstanding
                .change(self.zxid, parent_path, Some(&parent), Some(after));
        }
        self.outstanding
            .change(self.zxid, path.clone(), Some(node), None);
    }

    pub(super) fn set_data(&mut self, request: &SetDataRequest) -> Result<Txn, ErrorCode> {
        self.request.standing.session?;
        path::validate(&request.path)?;
        let node = self.node(&request.path)?;
        self.allow(&node, Perms::WRITE)?;
        let data = request.data.as_ref().map_or(&[][..], Bytes::as_ref);
        self.check_quota(&request.path, data.len(), Some(node.data_len))?;
        let version = next_version(node.stat.version, request.version)?;
        let mut after = node.clone();
        after.stat.version = version;
        after.stat.mtime = self.time;
        after.stat.mzxid = self.zxid;
        after.data_len = data.len();
        after.body_crc = body_crc(request.path.as_bytes(), data);
        self.replace(&request.path, &node, after);
        Ok(Txn::SetData(SetDataTxn {
            path: request.path.clone(),
            data: request.data.clone(),
            version,
        }))
    }

    pub(super) fn set_acl(&mut self, request: &SetAclRequest) -> Result<Txn, ErrorCode> {
        self.request.standing.session?;
        path::validate(&request.path)?;
        let acl = auth::fix_up(&self.options.auth, &request.acl, self.request.credentials)?;
        let node = self.node(&request.path)?;
        self.allow(&node, Perms::ADMIN)?;
        let version = next_version(node.stat.aversion, request.version)?;
        let mut after = node.clone();
        after.stat.aversion = version;
        after.acl = AclList::new(acl.clone()).into();
        self.replace(&request.path, &node, after);
        Ok(Txn::SetAcl(SetAclTxn {
            path: request.path.clone(),
            acl,
            version,
        }))
    }

    /// A part of a multi.
    pub(super) fn check(&self, request: &CheckVersionRequest) -> Result<Txn, ErrorCode> {
        self.request.standing.session?;
        path::validate(&request.path)?;
        let node = self.node(&request.path)?;
        self.allow(&node, Perms::READ)?;
        Ok(Txn::Check(CheckVersionTxn {
            path: request.path.clone(),
            version: next_version(node.stat.version, request.version)?,
        }))
    }

    /// The next configuration is known; `None` of a single server, which has no members to change.
    pub(super) fn reconfig(
        &mut self,
        next: Option<&Result<Utf8Bytes, ErrorCode>>,
    ) -> Result<Txn, ErrorCode> {
        if !self.options.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.request.standing.session?;
        let text = next.ok_or(ErrorCode::Unimplemented)?.clone()?;
        let path = Utf8Bytes::from_static(path::CONFIG);
        let node = self.node(&path)?;
        self.allow(&node, Perms::WRITE)?;
        let mut after = node.clone();
        after.stat.version = -1;
        after.stat.mtime = self.time;
        after.stat.mzxid = self.zxid;
        after.data_len = text.len();
        after.body_crc = body_crc(path.as_bytes(), text.as_bytes());
        self.replace(&path, &node, after);
        Ok(Txn::Reconfig(SetDataTxn {
            path,
            data: Some(text.as_bytes().clone()),
            version: -1,
        }))
    }

    /// The node at a path as it will be.
    pub(super) fn node(&self, path: &str) -> Result<NodeState, ErrorCode> {
        self.outstanding
            .node(self.tree, path)
            .ok_or(ErrorCode::NoNode)
    }

    pub(super) fn replace(&mut self, path: &Utf8Bytes, before: &NodeState, after: NodeState) {
        self.outstanding
            .change(self.zxid, path.clone(), Some(before), Some(after));
    }

    pub(super) fn allow(&self, node: &NodeState, perm: Perms) -> Result<(), ErrorCode> {
        match node.acl.allows(perm, self.request.credentials) {
            true => Ok(()),
            false => Err(ErrorCode::NoAuth),
        }
    }

    pub(super) fn owner(&self, node: &NodeState) -> EphemeralOwner {
        self.tree.owner_kind(node.stat.ephemeral_owner)
    }

    /// Whether a node may have so much data; `replaced` is what it has now, if it is there.
    pub(super) fn check_quota(
        &self,
        path: &str,
        data_len: usize,
        replaced: Option<usize>,
    ) -> Result<(), ErrorCode> {
        match self.options.enforce_quota {
            true => self.tree.check_quota(path, data_len, replaced),
            false => Ok(()),
        }
    }
}

/// The parent's path of a node that is to be deleted (`getParentPathAndValidate`).
fn deletable(path: &str) -> Result<&str, ErrorCode> {
    match path::split(path) {
        Some((parent, _)) if !path.contains('\0') && !path::is_special(path) => Ok(parent),
        _ => Err(ErrorCode::BadArguments),
    }
}

/// The parent's path, sharing the memory of the child's.
pub(super) fn parent_of(path: &Utf8Bytes) -> Utf8Bytes {
    let len = path::last_slash(path).unwrap_or(0);
    // Cut at a slash, text stays text.
    Utf8Bytes::try_from(path.as_bytes().slice(..len)).unwrap_or_default()
}

/// The version after a change that expects this one; -1 expects any.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    match expected == -1 || expected == current {
        true => Ok(current.wrapping_add(1)),
        false => Err(ErrorCode::BadVersion),
    }
}
