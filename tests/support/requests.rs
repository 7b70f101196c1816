//! Requests in one line each.

use bytes::Bytes;
use zk_proto::{
    Acl, CreateMode, Perms, Zxid,
    op::{
        AddWatchRequest, AuthRequest, CheckVersionRequest, CheckWatchesRequest, CreateRequest,
        CreateTtlRequest, DeleteRequest, ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest,
        GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, MultiOp, MultiRequest,
        RemoveWatchesRequest, Request, Secret, SetAclRequest, SetDataRequest, SetWatches2Request,
        SetWatchesRequest, SyncRequest,
    },
    watch::{AddWatchMode, WatcherType},
};

/// Version -1: any.
pub const ANY: i32 = -1;

/// A list of one entry.
#[must_use]
pub fn only(perms: Perms, scheme: &str, id: &str) -> Vec<Acl> {
    vec![Acl::new(perms, scheme, id)]
}

/// The record of a create with an open ACL.
#[must_use]
pub fn new_node(path: &str, data: &[u8], mode: CreateMode) -> CreateRequest {
    CreateRequest {
        path: path.into(),
        data: Some(Bytes::copy_from_slice(data)),
        acl: Acl::open(),
        flags: mode.flags(),
    }
}

/// The record of a createTTL with an open ACL.
#[must_use]
pub fn new_ttl_node(path: &str, mode: CreateMode, ttl_ms: i64) -> CreateTtlRequest {
    CreateTtlRequest {
        path: path.into(),
        data: Some(Bytes::new()),
        acl: Acl::open(),
        flags: mode.flags(),
        ttl_ms,
    }
}

/// create, persistent.
#[must_use]
pub fn create(path: &str, data: &[u8]) -> Request {
    create_as(path, data, CreateMode::Persistent)
}

/// create in any mode.
#[must_use]
pub fn create_as(path: &str, data: &[u8], mode: CreateMode) -> Request {
    Request::Create(new_node(path, data, mode))
}

/// create, persistent, with an ACL.
#[must_use]
pub fn create_for(path: &str, acl: Vec<Acl>) -> Request {
    let mut record = new_node(path, b"", CreateMode::Persistent);
    record.acl = acl;
    Request::Create(record)
}

/// create2 in any mode.
#[must_use]
pub fn create2(path: &str, data: &[u8], mode: CreateMode) -> Request {
    Request::Create2(new_node(path, data, mode))
}

/// createContainer.
#[must_use]
pub fn create_container(path: &str) -> Request {
    Request::CreateContainer(new_node(path, b"", CreateMode::Container))
}

/// createTTL.
#[must_use]
pub fn create_ttl(path: &str, mode: CreateMode, ttl_ms: i64) -> Request {
    Request::CreateTtl(new_ttl_node(path, mode, ttl_ms))
}

/// delete.
#[must_use]
pub fn delete(path: &str, version: i32) -> Request {
    Request::Delete(DeleteRequest {
        path: path.into(),
        version,
    })
}

/// exists.
#[must_use]
pub fn exists(path: &str) -> Request {
    Request::Exists(ExistsRequest {
        path: path.into(),
        watch: false,
    })
}

/// exists that leaves a watch.
#[must_use]
pub fn watch_exists(path: &str) -> Request {
    Request::Exists(ExistsRequest {
        path: path.into(),
        watch: true,
    })
}

/// getData.
#[must_use]
pub fn get(path: &str) -> Request {
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch: false,
    })
}

/// getData that leaves a watch.
#[must_use]
pub fn watch_data(path: &str) -> Request {
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch: true,
    })
}

/// setData.
#[must_use]
pub fn set(path: &str, data: &[u8], version: i32) -> Request {
    Request::SetData(set_record(path, data, version))
}

/// getACL.
#[must_use]
pub fn get_acl(path: &str) -> Request {
    Request::GetAcl(GetAclRequest { path: path.into() })
}

/// setACL.
#[must_use]
pub fn set_acl(path: &str, acl: Vec<Acl>, version: i32) -> Request {
    Request::SetAcl(SetAclRequest {
        path: path.into(),
        acl,
        version,
    })
}

/// getChildren.
#[must_use]
pub fn children(path: &str) -> Request {
    Request::GetChildren(GetChildrenRequest {
        path: path.into(),
        watch: false,
    })
}

/// getChildren that leaves a watch.
#[must_use]
pub fn watch_children(path: &str) -> Request {
    Request::GetChildren(GetChildrenRequest {
        path: path.into(),
        watch: true,
    })
}

/// getChildren2.
#[must_use]
pub fn children2(path: &str) -> Request {
    Request::GetChildren2(GetChildrenRequest {
        path: path.into(),
        watch: false,
    })
}

/// getAllChildrenNumber.
#[must_use]
pub fn all_children_number(path: &str) -> Request {
    Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path: path.into() })
}

/// getEphemerals.
#[must_use]
pub fn ephemerals(prefix: &str) -> Request {
    Request::GetEphemerals(GetEphemeralsRequest {
        prefix: prefix.into(),
    })
}

/// sync.
#[must_use]
pub fn sync(path: &str) -> Request {
    Request::Sync(SyncRequest { path: path.into() })
}

/// multi.
#[must_use]
pub fn multi(ops: Vec<MultiOp>) -> Request {
    Request::Multi(MultiRequest { ops })
}

/// multiRead.
#[must_use]
pub fn multi_read(ops: Vec<MultiOp>) -> Request {
    Request::MultiRead(MultiRequest { ops })
}

/// auth.
#[must_use]
pub fn auth(scheme: &str, secret: &[u8]) -> Request {
    Request::Auth(AuthRequest {
        kind: 0,
        scheme: scheme.into(),
        auth: Secret(Some(Bytes::copy_from_slice(secret))),
    })
}

/// addWatch.
#[must_use]
pub fn add_watch(path: &str, mode: AddWatchMode) -> Request {
    Request::AddWatch(AddWatchRequest {
        path: path.into(),
        mode,
    })
}

/// checkWatches.
#[must_use]
pub fn check_watches(path: &str, kind: WatcherType) -> Request {
    Request::CheckWatches(CheckWatchesRequest {
        path: path.into(),
        kind,
    })
}

/// removeWatches.
#[must_use]
pub fn remove_watches(path: &str, kind: WatcherType) -> Request {
    Request::RemoveWatches(RemoveWatchesRequest {
        path: path.into(),
        kind,
    })
}

/// setWatches.
#[must_use]
pub fn set_watches(since: Zxid, data: &[&str], exist: &[&str], child: &[&str]) -> Request {
    Request::SetWatches(SetWatchesRequest {
        relative_zxid: since,
        data: data.iter().map(|path| (*path).into()).collect(),
        exist: exist.iter().map(|path| (*path).into()).collect(),
        child: child.iter().map(|path| (*path).into()).collect(),
    })
}

/// setWatches2 with its two lists of persistent watches alone.
#[must_use]
pub fn set_persistent_watches(since: Zxid, persistent: &[&str], recursive: &[&str]) -> Request {
    Request::SetWatches2(SetWatches2Request {
        relative_zxid: since,
        persistent: persistent.iter().map(|path| (*path).into()).collect(),
        persistent_recursive: recursive.iter().map(|path| (*path).into()).collect(),
        data: Vec::new(),
        exist: Vec::new(),
        child: Vec::new(),
    })
}

/// create as part of a multi.
#[must_use]
pub fn part_create(path: &str) -> MultiOp {
    MultiOp::Create(new_node(path, b"", CreateMode::Persistent))
}

/// delete as part of a multi.
#[must_use]
pub fn part_delete(path: &str) -> MultiOp {
    MultiOp::Delete(DeleteRequest {
        path: path.into(),
        version: ANY,
    })
}

/// setData as part of a multi.
#[must_use]
pub fn part_set(path: &str, data: &[u8], version: i32) -> MultiOp {
    MultiOp::SetData(set_record(path, data, version))
}

/// check as part of a multi.
#[must_use]
pub fn part_check(path: &str, version: i32) -> MultiOp {
    MultiOp::Check(CheckVersionRequest {
        path: path.into(),
        version,
    })
}

/// getData as part of a multiRead.
#[must_use]
pub fn part_get(path: &str) -> MultiOp {
    MultiOp::GetData(GetDataRequest {
        path: path.into(),
        watch: false,
    })
}

/// getChildren as part of a multiRead.
#[must_use]
pub fn part_children(path: &str) -> MultiOp {
    MultiOp::GetChildren(GetChildrenRequest {
        path: path.into(),
        watch: false,
    })
}

fn set_record(path: &str, data: &[u8], version: i32) -> SetDataRequest {
    SetDataRequest {
        path: path.into(),
        data: Some(Bytes::copy_from_slice(data)),
        version,
    }
}
