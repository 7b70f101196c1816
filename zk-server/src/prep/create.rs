//! create, create2, createContainer, createTTL.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::{
    Acl, CreateMode, ErrorCode, OpCode, Perms, Utf8Bytes,
    create_mode::EphemeralOwner,
    op::{CreateRequest, CreateTtlRequest},
    persist::body_crc,
    stat::StatPersisted,
    txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, Txn},
};

use super::{Change, check::parent_of, outstanding::NodeState};
use crate::{
    auth,
    tree::{AclList, path},
};

/// What all four requests have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Create<'a> {
    path: &'a Utf8Bytes,
    data: &'a Option<Bytes>,
    acl: &'a [Acl],
    flags: i32,
    /// -1 in those that have none.
    ttl_ms: i64,
}

impl<'a> From<&'a CreateRequest> for Create<'a> {
    fn from(request: &'a CreateRequest) -> Self {
        Self {
            path: &request.path,
            data: &request.data,
            acl: &request.acl,
            flags: request.flags,
            ttl_ms: -1,
        }
    }
}

impl<'a> From<&'a CreateTtlRequest> for Create<'a> {
    fn from(request: &'a CreateTtlRequest) -> Self {
        Self {
            path: &request.path,
            data: &request.data,
            acl: &request.acl,
            flags: request.flags,
            ttl_ms: request.ttl_ms,
        }
    }
}

impl<'a> Create<'a> {
    /// A createTTL without the flags of a TTL node is, in a multi, any other create.
    pub(super) fn without_ttl(request: &'a CreateTtlRequest) -> Self {
        Self {
            ttl_ms: -1,
            ..request.into()
        }
    }
}

impl Change<'_> {
    /// What is made depends on the operation; whether it is ephemeral and gets a counter, on the flags.
    pub(super) fn create(&mut self, op: OpCode, create: &Create<'_>) -> Result<Txn, ErrorCode> {
        let mode = self.mode(op, create)?;
        let parent_path = path::split(create.path)
            .filter(|_| !create.path.contains('\0'))
            .map(|(parent, _)| parent)
            .ok_or(ErrorCode::BadArguments)?;
        let acl = auth::fix_up(&self.options.auth, create.acl, self.request.credentials)?;
        let parent = self.node(parent_path)?;
        self.allow(&parent, Perms::CREATE)?;
        let path = match mode.is_sequential() {
            true => format!("{}{:010}", create.path, parent.stat.cversion).into(),
            false => create.path.clone(),
        };
        path::validate(&path)?;
        if self.node(&path).is_ok() {
            return Err(ErrorCode::NodeExists);
        }
        if let EphemeralOwner::Session(_) = self.owner(&parent) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let data_len = create.data.as_ref().map_or(0, Bytes::len);
        self.check_quota(&path, data_len, None)?;
        Ok(self.enter_create(op, mode, create, path, acl, &parent))
    }

    /// Which kind of node, if the flags, the time to live and the session allow it.
    fn mode(&self, op: OpCode, create: &Create<'_>) -> Result<CreateMode, ErrorCode> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !self.tree.options().extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        let is_good = match (mode.is_ttl(), op) {
            (true, _) => (1..=EphemeralOwner::TTL_MS_MAX).contains(&create.ttl_ms),
            // Apache lets a negative time to live through and fails when it applies the transaction.
            (false, OpCode::CreateTtl) => false,
            (false, _) => create.ttl_ms < 0,
        };
        if !is_good {
            return Err(ErrorCode::BadArguments);
        }
        match mode.is_ephemeral() {
            true => self.request.standing.ephemeral?,
            false => self.request.standing.session?,
        }
        Ok(mode)
    }

    /// Enters the node and what it does to its parent, and makes the transaction.
    fn enter_create(
        &mut self,
        op: OpCode,
        mode: CreateMode,
        create: &Create<'_>,
        path: Utf8Bytes,
        acl: Vec<Acl>,
        parent: &NodeState,
    ) -> Txn {
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        // Most nodes have their parent's ACL.
        let list = match parent.acl.entries() == acl {
            true => Arc::clone(&parent.acl),
            false => AclList::new(acl.clone()).into(),
        };
        let (txn, owner) = self.create_txn(op, mode, create, &path, acl, parent_cversion);
        let mut after = parent.clone();
        after.child_count += 1;
        // As it is applied: not lowered, and so stuck at the largest number there is.
        if parent_cversion > parent.stat.cversion {
            after.stat.cversion = parent_cversion;
            after.stat.pzxid = self.zxid;
        }
        self.replace(&parent_of(&path), parent, after);
        let data = create.data.as_deref().unwrap_or_default();
        let node = NodeState {
            stat: StatPersisted {
                czxid: self.zxid,
                mzxid: self.zxid,
                pzxid: self.zxid,
                ctime: self.time,
                mtime: self.time,
                ephemeral_owner: owner.raw(),
                ..StatPersisted::default()
            },
            child_count: 0,
            acl: list,
            data_len: data.len(),
            body_crc: body_crc(path.as_bytes(), data),
        };
        self.outstanding.change(self.zxid, path, None, Some(node));
        txn
    }

    fn create_txn(
        &self,
        op: OpCode,
        mode: CreateMode,
        create: &Create<'_>,
        path: &Utf8Bytes,
        acl: Vec<Acl>,
        parent_cversion: i32,
    ) -> (Txn, EphemeralOwner) {
        let (path, data) = (path.clone(), create.data.clone());
        match op {
            OpCode::CreateContainer => {
                let txn = CreateContainerTxn {
                    path,
                    data,
                    acl,
                    parent_cversion,
                };
                (Txn::CreateContainer(txn), EphemeralOwner::Container)
            }
            OpCode::CreateTtl => {
                let ttl_ms = create.ttl_ms;
                let txn = CreateTtlTxn {
                    path,
                    data,
                    acl,
                    parent_cversion,
                    ttl_ms,
                };
                (Txn::CreateTtl(txn), EphemeralOwner::Ttl { ttl_ms })
            }
            _ => {
                let ephemeral = mode.is_ephemeral();
                let txn = CreateTxn {
                    path,
                    data,
                    acl,
                    ephemeral,
                    parent_cversion,
                };
                let owner = match ephemeral {
                    true => EphemeralOwner::from_raw(self.request.session.0, false),
                    false => EphemeralOwner::Persistent,
                };
                match op {
                    OpCode::Create2 => (Txn::Create2(txn), owner),
                    _ => (Txn::Create(txn), owner),
                }
            }
        }
    }
}
