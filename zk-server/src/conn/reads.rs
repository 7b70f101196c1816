//! What a connection's own task carries out: reads, pings, auth, and refusals.
//!
//! A batch of them runs under one read lock of the tree, and their replies enter the outbox under that lock too:
//! before any write can be applied that the reads did not see. Else the event of a write could overtake the reply
//! that registers its watch; clients would not know what to do with it, and wait for ever.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use parking_lot::Mutex;
use zk_proto::{
    Encode, ErrorCode, Xid, Zxid,
    connect::ConnectRequest,
    op::{AuthRequest, Request, SaslRequest, SaslResponse, Secret},
};

use super::{
    CloseReason, ConnEvent, Connection, Refusal, Routed, four_letter::FourLetterWord,
    handle::ConnHandle, reply,
};
use crate::{
    auth::{self, Credentials},
    frames::Frames,
    limits::MAX_REPLY_BEHIND,
    metrics::Metrics,
    peer::Shared,
    time::Now,
    tree::{
        DataTree,
        read::{Caller, read, reply_len, set_watches},
        watches::WatchTable,
    },
};

/// Bytes of replies after which a batch ends and the tree is unlocked.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Reads after which a batch ends.
const MAX_BATCH: u64 = 512;

/// The replies of one batch.
#[derive(Debug, Default)]
pub struct Reads {
    frames: Frames,
    count: u64,
    /// Whether the last read looked at so many nodes that no other may follow under the same lock.
    is_spent: bool,
    last: Option<(Xid, i32, Zxid)>,
    /// The smallest, the largest and the last reply.
    sizes: Option<[usize; 3]>,
    closes: bool,
    /// The connection's credentials, kept here between auths: only this task changes them.
    credentials: Option<Arc<Credentials>>,
}

/// What is not for the connection's own task.
#[derive(Debug, Default)]
pub struct HandedOut {
    /// Requests for the peer, in order; `None` for a multi that could not be decoded.
    pub requests: Vec<(Xid, Option<Request>)>,
    /// The first frame, for the peer.
    pub connect: Option<ConnectRequest>,
    /// A word to answer before the connection ends.
    pub word: Option<(FourLetterWord, Option<i64>)>,
    /// Whether the batch was full, so that more may be due.
    pub more: bool,
}

impl Reads {
    /// Takes every event that is due: answers what can be answered here, under one lock of the tree, and hands the
    /// rest out.
    ///
    /// # Errors
    /// The reason to close at once, without a reply.
    pub fn carry_out(
        &mut self,
        core: &mut Connection,
        answered: u64,
        shared: &Shared,
        conn: &ConnHandle,
        now: Now,
    ) -> Result<HandedOut, CloseReason> {
        let mut handed = HandedOut::default();
        let mut tree = None;
        while self.has_room()
            && let Some(event) = core.next_event(answered, |read| {
                let tree = tree.get_or_insert_with(|| shared.tree.read());
                self.may_travel(tree, conn, read)
            })
        {
            match event {
                ConnEvent::Request(Routed::Peer { xid, request }) => {
                    handed.requests.push((xid, request));
                }
                ConnEvent::Request(request) => {
                    let tree = tree.get_or_insert_with(|| shared.tree.read());
                    self.answer(tree, shared, conn, request)?;
                }
                ConnEvent::Connect(request) => handed.connect = Some(request),
                ConnEvent::FourLetter(word, argument) => handed.word = Some((word, argument)),
            }
        }
        handed.more = !self.has_room();
        // Before the tree is unlocked: rule (b) of the architecture.
        self.deliver(conn, &shared.metrics, now);
        drop(tree);
        Ok(handed)
    }

    /// Whether the peer may carry a read out behind what it waits for, under the write lock: its answer is known to
    /// be small, and so is the part of the tree it looks at.
    fn may_travel(&mut self, tree: &DataTree, conn: &ConnHandle, read: &Request) -> bool {
        let may_be_large = matches!(
            read,
            Request::GetAcl(_)
                | Request::GetChildren(_)
                | Request::GetChildren2(_)
                | Request::MultiRead(_)
        );
        !visits_many(read)
            && (!may_be_large || reply_len(tree, &self.caller(conn), read) <= MAX_REPLY_BEHIND)
    }

    fn caller<'a>(&'a mut self, conn: &ConnHandle) -> Caller<'a> {
        Caller {
            conn: conn.id,
            session: conn.stats.session(),
            credentials: self.credentials.get_or_insert_with(|| conn.credentials()),
        }
    }

    /// Whether the batch may grow: it is bounded, so that a write waiting for the tree gets its turn.
    fn has_room(&self) -> bool {
        let is_small = self.frames.len() < MAX_BATCH_BYTES && self.count < MAX_BATCH;
        is_small && !self.closes && !self.is_spent
    }

    /// Carries out one request and writes its reply.
    ///
    /// # Errors
    /// The reason to close at once, without a reply.
    pub fn answer(
        &mut self,
        tree: &DataTree,
        shared: &Shared,
        conn: &ConnHandle,
        request: Routed,
    ) -> Result<(), CloseReason> {
        let zxid = tree.last_zxid();
        self.count += 1;
        match request {
            Routed::Read { xid, request } => self.read(tree, shared, conn, xid, &request),
            Routed::Local { xid, request } => self.local(shared, conn, xid, request)?,
            Routed::Refused(Refusal { xid, code, close }) => {
                let zxid = if close { Zxid(-1) } else { zxid };
                reply::put_empty(&mut self.frames, xid, zxid, code);
                self.closes |= close;
            }
            // Routed elsewhere by the core; nothing to do here.
            Routed::Peer { .. } => {}
        }
        Ok(())
    }

    fn read(
        &mut self,
        tree: &DataTree,
        shared: &Shared,
        conn: &ConnHandle,
        xid: Xid,
        request: &Request,
    ) {
        self.last = Some((xid, request.op_code().code(), tree.last_zxid()));
        let credentials = self.credentials.get_or_insert_with(|| conn.credentials());
        let caller = Caller {
            conn: conn.id,
            session: conn.stats.session(),
            credentials,
        };
        let before = self.frames.len();
        put_read(
            &mut self.frames,
            tree,
            &shared.watches,
            &caller,
            xid,
            request,
        );
        self.is_spent |= visits_many(request);
        let size = self.frames.len() - before;
        let [least, most, _] = self.sizes.unwrap_or([size; 3]);
        self.sizes = Some([least.min(size), most.max(size), size]);
    }

    fn local(
        &mut self,
        shared: &Shared,
        conn: &ConnHandle,
        xid: Xid,
        request: Request,
    ) -> Result<(), CloseReason> {
        match request {
            Request::Auth(request) => self.auth(shared, conn, xid, &request),
            Request::Sasl(SaslRequest {
                token: Secret(None),
            }) => return Err(CloseReason::ByServer),
            // Apache without a JAAS configuration: no error, no token, and nobody is authenticated.
            _ => {
                let _ = reply::put_reply(&mut self.frames, xid, Zxid(0), |out| {
                    SaslResponse {
                        token: Secret(None),
                    }
                    .encode(out.own_mut());
                    Ok(())
                });
            }
        }
        Ok(())
    }

    fn auth(&mut self, shared: &Shared, conn: &ConnHandle, xid: Xid, request: &AuthRequest) {
        let before = conn.credentials();
        let secret = request.auth.0.as_deref();
        let code = match auth::authenticate(&shared.auth, &before, &request.scheme, secret) {
            Ok(credentials) => {
                *conn.credentials.write() = credentials.into();
                self.credentials = None;
                ErrorCode::Ok
            }
            Err(code) => {
                tracing::warn!(remote = %conn.remote, scheme = ?request.scheme, "authentication failed");
                shared.metrics.auth_failed.add(1);
                self.closes = true;
                code
            }
        };
        reply::put_empty(&mut self.frames, xid, Zxid(0), code);
    }

    /// Moves the replies into the connection's outbox; to be called under the lock the reads were made under.
    pub fn deliver(&mut self, conn: &ConnHandle, metrics: &Metrics, now: Now) {
        if self.count == 0 {
            return;
        }
        conn.outbox.append(&mut self.frames, 0);
        if std::mem::take(&mut self.closes) {
            conn.outbox.close();
        }
        self.is_spent = false;
        let count = std::mem::take(&mut self.count);
        metrics.packets_sent.add(count);
        metrics.latency.add_many(0, count);
        metrics.read_latency.add_many(0, count);
        conn.stats.sent.fetch_add(count, Relaxed);
        conn.stats.took(0, count);
        if let Some((xid, op, zxid)) = self.last.take() {
            conn.stats.replied(xid, op, zxid, now);
            let sizes = self.sizes.take().into_iter().flatten();
            sizes.for_each(|size| metrics.response_sizes.add(size));
        }
    }
}

/// Whether a read may look at any number of nodes, however short its answer is.
const fn visits_many(read: &Request) -> bool {
    matches!(
        read,
        Request::GetAllChildrenNumber(_) | Request::GetEphemerals(_)
    )
}

/// Carries out a read and appends its reply; behind the events that setWatches has to tell first.
///
/// The reply must be in the connection's outbox before the tree's lock is released.
pub fn put_read(
    frames: &mut Frames,
    tree: &DataTree,
    watches: &Mutex<WatchTable>,
    caller: &Caller<'_>,
    xid: Xid,
    request: &Request,
) {
    let zxid = tree.last_zxid();
    match request {
        Request::Ping => reply::put_empty(frames, Xid::PING, zxid, ErrorCode::Ok),
        Request::SetWatches(_) | Request::SetWatches2(_) => {
            // What happened while the client was away has the zxid -1.
            set_watches(tree, watches, caller.conn, request, |event, path| {
                reply::put_event(frames, Zxid(-1), event, path);
            });
            reply::put_empty(frames, xid, zxid, ErrorCode::Ok);
        }
        request => {
            let _ = reply::put_reply(frames, xid, zxid, |out| {
                read(tree, watches, caller, request, out)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use zk_proto::{Decode, Reader};
    use zk_proto::{
        OpCode, Password, SessionId,
        frame::{put_frame, take_frame},
        header::{ReplyHeader, RequestHeader},
        op::{GetAclRequest, GetAllChildrenNumberRequest, SyncRequest},
    };

    use super::*;
    use crate::{auth::AuthConfig, limits::ConnLimits, peer::MaxConns, tree::TreeOptions};

    /// A connection with a session, and requests that it has received.
    fn receive(shared: &Shared, requests: &[Request]) -> (Connection, Arc<ConnHandle>) {
        let now = Now::default();
        let mut input = bytes::BytesMut::new();
        let connect = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: 10_000,
            session_id: SessionId::NONE,
            password: Password::zero(),
            read_only: None,
        };
        put_frame(&mut input, &[&connect]);
        let mut core = Connection::new(ConnLimits::default(), now);
        core.receive(now, &mut input).unwrap();
        core.next_event(0, |_| true);
        core.established(Duration::from_secs(10));
        for (xid, request) in (1..).map(Xid).zip(requests) {
            let op = request.op_code().code();
            put_frame(&mut input, &[&RequestHeader { xid, op }, request]);
        }
        core.receive(now, &mut input).unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let conn = shared.conns.open(remote, &shared.auth, now).unwrap();
        (core, conn)
    }

    fn shared() -> Shared {
        let tree = DataTree::new(&TreeOptions::default());
        Shared::new(tree, 0, AuthConfig::default(), MaxConns::default())
    }

    fn count() -> Request {
        let path = "/zookeeper".into();
        Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path })
    }

    fn answered(conn: &ConnHandle) -> Vec<i32> {
        let mut out = Frames::new();
        conn.outbox.collect(&mut out, usize::MAX);
        let frames = std::iter::from_fn(|| take_frame(out.own_mut(), 1 << 20).unwrap());
        frames
            .map(|body| ReplyHeader::decode(&mut Reader::new(body)).unwrap().xid.0)
            .collect()
    }

    #[test]
    fn what_looks_at_many_nodes_ends_its_batch() {
        let shared = shared();
        let (mut core, conn) = receive(&shared, &[Request::Ping, count(), count(), Request::Ping]);
        let mut reads = Reads::default();
        for expected in [&[-2, 2][..], &[3], &[-2]] {
            let handed = reads.carry_out(&mut core, 1, &shared, &conn, Now::default());
            assert_eq!(answered(&conn), expected);
            assert_eq!(handed.unwrap().more, expected != [-2]);
        }
    }

    #[test]
    fn what_is_long_or_looks_at_many_nodes_does_not_run_under_the_write_lock() {
        let sync = || Request::Sync(SyncRequest { path: "/".into() });
        let acl = || Request::GetAcl(GetAclRequest { path: "/".into() });
        for (read, travels) in [(Request::Ping, true), (acl(), true), (count(), false)] {
            assert_ne!(read.op_code(), OpCode::Sync);
            let shared = shared();
            let (mut core, conn) = receive(&shared, &[sync(), read.clone()]);
            let handed = Reads::default().carry_out(&mut core, 1, &shared, &conn, Now::default());
            let ops = handed.unwrap().requests.len();
            assert_eq!(ops, 1 + usize::from(travels), "{read:?}");
        }
    }
}
