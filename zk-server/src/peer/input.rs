//! What the peer is told, and what it tells.

use std::{sync::Arc, time::Duration};

use zk_proto::{Xid, connect::ConnectRequest, op::Request};

use super::{Order, QuorumInput};
use crate::{
    auth::Credentials,
    conn::handle::ConnHandle,
    error::Fatal,
    storage::{DiskDone, DiskOp},
    tree::Cut,
};

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A connection handed something over.
    Submit(Submit),
    /// The disk did something.
    Disk(DiskDone),
    /// A snapshot was written, or could not be; either way its cut is not needed any more.
    SnapshotDone {
        /// What [`Output::TakeSnapshot`] gave.
        cut: Cut,
    },
    /// Whoever embeds the server wants a session to end as if its client had gone silent.
    Expire(zk_proto::SessionId),
    /// There is little room left for the log, or enough again.
    LowSpace(bool),
    /// What happens to a member of an ensemble.
    Quorum(QuorumInput),
    /// [`Peer::next_deadline`](super::Peer::next_deadline) has passed.
    Deadline,
}

/// What a connection hands to the peer, in the order in which its client sent it.
#[derive(Debug)]
pub enum Submit {
    /// Begin or resume a session.
    Connect {
        /// The connection.
        conn: Arc<ConnHandle>,
        /// What the client sent.
        request: ConnectRequest,
    },
    /// Requests of an established session.
    Requests {
        /// The connection.
        conn: Arc<ConnHandle>,
        /// Who the client was when they came.
        credentials: Arc<Credentials>,
        /// When they came, on the clock of [`crate::time::Now::mono`].
        received: Duration,
        /// The requests; `None` for a multi that could not be decoded.
        requests: Vec<(Xid, Option<Request>)>,
    },
    /// The word `dump`: answer it and end the connection.
    Dump {
        /// The connection.
        conn: Arc<ConnHandle>,
    },
    /// The connection is gone; the last thing it says.
    Closed {
        /// The connection.
        conn: Arc<ConnHandle>,
    },
}

/// Something to be done, in order.
#[derive(Debug)]
pub enum Output {
    /// By the log thread.
    Disk(DiskOp),
    /// Wake the connection's task: its outbox has something new.
    Wake(Arc<ConnHandle>),
    /// Write a snapshot of the tree; answered by [`Input::SnapshotDone`].
    TakeSnapshot {
        /// The tree as it is now.
        cut: Cut,
    },
    /// What a member of an ensemble wants done.
    Quorum(Order),
    /// This member cannot keep its promises any more: end it.
    Stop(Fatal),
}
