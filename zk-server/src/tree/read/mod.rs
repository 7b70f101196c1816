//! Every read, answered straight into the reply buffer (the read half of `FinalRequestProcessor`).
//!
//! The caller holds the tree's read lock from here until the reply is in the connection's outbox. A watch is left
//! in the same moment as the data is read; the table's lock is taken after the tree's, and only for that.
//!
//! Paths of reads are not validated: a malformed one names no node.

mod reply_len;
mod set_watches;

use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;
use zk_proto::{
    Encode, ErrorCode, OpCode, Perms, SessionId, Stat,
    jute::{put_buffer, put_length, put_string},
    op::{
        ErrorResponse, ExistsRequest, GetChildrenRequest, GetDataRequest, MultiHeader, MultiOp,
        MultiRequest, Request, WhoAmIResponse,
    },
    watch::AddWatchMode,
};

pub use self::{reply_len::reply_len, set_watches::set_watches};
use super::{
    DataTree, NodeRef, path,
    watches::{ConnId, WatchKinds, WatchTable},
};
use crate::{
    auth::{self, Credentials},
    frames::Frames,
    limits::MAX_REPLY,
};

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where watches are left.
    pub conn: ConnId,
    /// Whose ephemeral nodes getEphemerals lists.
    pub session: SessionId,
    /// What it may read.
    pub credentials: &'a Credentials,
}

/// Answers a read: appends the record that follows the reply's header, if there is one, and leaves the watch that
/// was asked for.
///
/// # Errors
/// What goes into the header instead; then nothing was appended. [`ErrorCode::Unimplemented`] for a request that is
/// no read, [`ErrorCode::MarshallingError`] where the answer would be longer than [`MAX_REPLY`].
pub fn read(
    tree: &DataTree,
    watches: &Mutex<WatchTable>,
    caller: &Caller<'_>,
    request: &Request,
    out: &mut Frames,
) -> Result<(), ErrorCode> {
    let reading = Reading {
        tree,
        watches,
        caller,
    };
    match request {
        Request::GetData(request) => reading.data(request, out),
        Request::Exists(request) => reading.exists(request, out),
        Request::GetChildren(request) => reading.children(request, out).map(drop),
        Request::GetChildren2(request) => reading
            .children(request, out)
            .map(|node| put_stat(out.own_mut(), &node.stat())),
        Request::GetAcl(request) => reading.acl(&request.path, out),
        Request::GetAllChildrenNumber(request) => reading.count_below(&request.path, out),
        Request::GetEphemerals(request) => {
            reading.ephemerals(&request.prefix, out);
            Ok(())
        }
        Request::MultiRead(request) => reading.several(request, out),
        Request::CheckWatches(request) => {
            let table = watches.lock();
            found(table.contains(caller.conn, &request.path, request.kind))
        }
        Request::RemoveWatches(request) => {
            let mut table = watches.lock();
            found(table.remove(caller.conn, &request.path, request.kind))
        }
        Request::AddWatch(request) => {
            let kinds = match request.mode {
                AddWatchMode::Persistent => WatchKinds::PERSISTENT,
                AddWatchMode::PersistentRecursive => WatchKinds::RECURSIVE,
            };
            reading.watch(&request.path, kinds);
            ErrorResponse { err: 0 }.encode(out.own_mut());
            Ok(())
        }
        Request::WhoAmI => {
            let client_info = caller.credentials.client_info();
            WhoAmIResponse { client_info }.encode(out.own_mut());
            Ok(())
        }
        Request::Ping => Ok(()),
        _ => Err(ErrorCode::Unimplemented),
    }
}

const fn found(is_there: bool) -> Result<(), ErrorCode> {
    match is_there {
        true => Ok(()),
        false => Err(ErrorCode::NoWatcher),
    }
}

/// A read under way.
struct Reading<'a> {
    tree: &'a DataTree,
    watches: &'a Mutex<WatchTable>,
    caller: &'a Caller<'a>,
}

impl<'a> Reading<'a> {
    fn data(&self, request: &GetDataRequest, out: &mut Frames) -> Result<(), ErrorCode> {
        let node = self.readable(&request.path, Perms::READ)?;
        if request.watch {
            self.watch(&request.path, WatchKinds::DATA);
        }
        put_data(out, node);
        Ok(())
    }

    /// The watch is left even where there is no node, but not where it may not be read.
    fn exists(&self, request: &ExistsRequest, out: &mut Frames) -> Result<(), ErrorCode> {
        if request.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.readable(&request.path, Perms::READ);
        if request.watch && !matches!(node, Err(ErrorCode::NoAuth)) {
            self.watch(&request.path, WatchKinds::DATA);
        }
        put_stat(out.own_mut(), &node?.stat());
        Ok(())
    }

    fn children(
        &self,
        request: &GetChildrenRequest,
        out: &mut Frames,
    ) -> Result<NodeRef<'a>, ErrorCode> {
        let node = self.readable(&request.path, Perms::READ)?;
        if node.children_len() > MAX_REPLY {
            return Err(ErrorCode::MarshallingError);
        }
        if request.watch {
            self.watch(&request.path, WatchKinds::CHILD);
        }
        put_children(out, node);
        Ok(node)
    }

    fn acl(&self, path: &str, out: &mut Frames) -> Result<(), ErrorCode> {
        let node = self.readable(path, Perms::READ | Perms::ADMIN)?;
        let acl = node.acl();
        match acl.allows(Perms::ADMIN, self.caller.credentials) {
            true => acl.put(out.own_mut()),
            false => auth::mask_digests(acl.entries()).encode(out.own_mut()),
        }
        put_stat(out.own_mut(), &node.stat());
        Ok(())
    }

    fn count_below(&self, path: &str, out: &mut Frames) -> Result<(), ErrorCode> {
        let node = self.readable(path, Perms::READ)?;
        let below = match path {
            "/" => self.tree.node_count() - 2,
            // Apache finds the root under "", then counts whatever begins with "/": the root too.
            "" => self.tree.node_count() - 1,
            _ => node.count_below(),
        };
        i32::try_from(below)
            .unwrap_or(i32::MAX)
            .encode(out.own_mut());
        Ok(())
    }

    fn ephemerals(&self, prefix: &str, out: &mut Frames) {
        let all = matches!(path::trim(prefix), "" | "/");
        let paths: Vec<String> = self
            .tree
            .ephemerals(self.caller.session)
            .filter(|path| all || path.starts_with(prefix))
            .collect();
        put_length(out.own_mut(), paths.len());
        paths
            .iter()
            .for_each(|path| put_string(out.own_mut(), path));
    }

    /// multiRead: each part has its own answer, and leaves no watch.
    ///
    /// A frame may name the same large node many thousand times, so that what it asks for is counted on the way.
    fn several(&self, request: &MultiRequest, out: &mut Frames) -> Result<(), ErrorCode> {
        if !request.ops.iter().all(MultiOp::is_read) {
            return Err(ErrorCode::MarshallingError);
        }
        let begin = out.mark();
        for part in &request.ops {
            let (path, op): (_, OpCode) = match part {
                MultiOp::GetChildren(part) => (&part.path, OpCode::GetChildren),
                MultiOp::GetData(part) => (&part.path, OpCode::GetData),
                _ => continue,
            };
            let node = self.readable(path, Perms::READ);
            let len = match (&node, op) {
                (Ok(node), OpCode::GetData) => node.data().map_or(0, <[u8]>::len),
                (Ok(node), _) => node.children_len(),
                (Err(_), _) => 0,
            };
            if out.len_since(&begin) + len > MAX_REPLY {
                out.truncate(&begin);
                return Err(ErrorCode::MarshallingError);
            }
            match node {
                Err(error) => {
                    let err = error.code();
                    put_header(out.own_mut(), OpCode::Error.code(), false, err);
                    ErrorResponse { err }.encode(out.own_mut());
                }
                Ok(node) => {
                    put_header(out.own_mut(), op.code(), false, 0);
                    match op {
                        OpCode::GetData => put_data(out, node),
                        _ => put_children(out, node),
                    }
                }
            }
        }
        put_header(out.own_mut(), OpCode::Error.code(), true, -1);
        Ok(())
    }

    fn readable(&self, path: &str, perm: Perms) -> Result<NodeRef<'a>, ErrorCode> {
        let node = self.tree.node(path).ok_or(ErrorCode::NoNode)?;
        match node.acl().allows(perm, self.caller.credentials) {
            true => Ok(node),
            false => Err(ErrorCode::NoAuth),
        }
    }

    fn watch(&self, path: &str, kinds: WatchKinds) {
        self.watches.lock().register(self.caller.conn, path, kinds);
    }
}

fn put_data(out: &mut Frames, node: NodeRef<'_>) {
    let own = out.own_mut();
    match (node.shared_data(), node.data()) {
        (Some(data), _) => {
            put_length(own, data.len());
            out.push_shared(data.clone());
        }
        (None, Some(data)) => {
            own.reserve(data.len() + 72);
            put_buffer(own, data);
        }
        (None, None) => own.put_i32(-1),
    }
    put_stat(out.own_mut(), &node.stat());
}

fn put_children(out: &mut Frames, node: NodeRef<'_>) {
    if let Some(list) = node.shared_children() {
        out.push_shared(list);
        return;
    }
    let children = node.children();
    let out = out.own_mut();
    out.reserve(node.children_len());
    put_length(out, children.len());
    for child in children {
        // A string has the form of a buffer.
        put_buffer(out, child.name());
    }
}

/// [`Stat::encode`] with one check of the buffer's capacity instead of eleven.
pub(super) fn put_stat(out: &mut BytesMut, stat: &Stat) {
    let mut bytes = [0; 68];
    let mut rest = &mut bytes[..];
    rest.put_i64(stat.czxid.0);
    rest.put_i64(stat.mzxid.0);
    rest.put_i64(stat.ctime);
    rest.put_i64(stat.mtime);
    rest.put_i32(stat.version);
    rest.put_i32(stat.cversion);
    rest.put_i32(stat.aversion);
    rest.put_i64(stat.ephemeral_owner.0);
    rest.put_i32(stat.data_length);
    rest.put_i32(stat.num_children);
    rest.put_i64(stat.pzxid.0);
    out.put_slice(&bytes);
}

/// Before a part of a multi's answer, and at its end.
pub(super) fn put_header(out: &mut BytesMut, op: i32, done: bool, err: i32) {
    MultiHeader { op, done, err }.encode(out);
}
