//! Commands on their way from callers to the session, encoded already.
//!
//! Callers encode their request into one shared buffer at the moment of submission, with an xid of zero: the
//! session only fills the xid in when it sends. So a request costs no allocation but its reply's slot, a caller
//! may borrow path and data, and the frames of a batch go out in one write.

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;
use zk_proto::{OpCode, watch::AddWatchMode};

use super::{Host, Moment, Slot, Watcher, auth::Credential};
use crate::{
    error::{ErrorKind, Failure},
    watcher::EventQueue,
};

/// Commands in the order of their submission, and the frames of those that are requests.
#[derive(Debug, Default)]
pub struct Batch {
    /// The frames, one after another.
    pub(crate) frames: BytesMut,
    /// What each is.
    pub(crate) commands: VecDeque<Command>,
}

/// One thing that a caller wants.
#[derive(Debug)]
pub struct Command {
    /// What it wants.
    pub kind: Kind,
    /// Where the answer goes; `None` when nobody waits for one.
    pub slot: Option<Slot>,
    /// The only session that it may be carried out in.
    pub generation: Option<u64>,
    /// When it must be answered; the request timeout from now unless given.
    pub deadline: Option<Moment>,
    /// The length of its frame, 0 for what is no request.
    pub(crate) frame_len: usize,
}

/// What a command is.
#[derive(Debug)]
pub enum Kind {
    /// A request of this operation, and what it leaves at the server.
    Request(OpCode, Option<Box<Leaves>>),
    /// A `sync` whose answer is evidence of life, and the beginning of heartbeats.
    Evidence,
    /// One holder of evidence less.
    ReleaseEvidence,
    /// Some watchers of this path may be gone.
    PruneWatchers(String),
    /// Some readers of persistent watches on this path may be gone.
    RemoveStreams(String, AddWatchMode),
    /// Present these credentials, now and on every later connection.
    Auth(Box<Credential>),
    /// Answer once there is a session.
    Ready,
    /// From now on there are these servers.
    UpdateHosts(Vec<Host>),
    /// Close the session, after everything submitted before.
    Close,
    /// Leave the session to whoever resumes it, after everything submitted before.
    Detach,
}

/// What a request leaves at the server, if it succeeds.
#[derive(Debug)]
pub enum Leaves {
    /// A one-shot watch.
    Watch(WatchRequest),
    /// A persistent watch.
    Stream(StreamRequest),
}

/// A persistent watch.
#[derive(Debug)]
pub struct StreamRequest {
    /// The node, as the server knows it.
    pub path: String,
    /// How it is watched.
    pub mode: AddWatchMode,
    /// Who reads.
    pub queue: Arc<EventQueue>,
}

/// A one-shot watch that a read leaves.
#[derive(Debug)]
pub struct WatchRequest {
    /// The node, as the server knows it.
    pub path: String,
    /// Who is told.
    pub watcher: Watcher,
}

impl Command {
    /// A command without an answer or a deadline of its own.
    #[must_use]
    #[inline]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            slot: None,
            generation: None,
            deadline: None,
            frame_len: 0,
        }
    }

    /// The same with a place for the answer.
    #[must_use]
    #[inline]
    pub fn answering(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// The operation that goes over the wire for it.
    #[inline]
    pub(crate) const fn op(&self) -> Option<OpCode> {
        match &self.kind {
            Kind::Request(op, _) => Some(*op),
            Kind::Evidence => Some(OpCode::Sync),
            Kind::Close => Some(OpCode::CloseSession),
            Kind::Auth(_) => Some(OpCode::Auth),
            Kind::ReleaseEvidence
            | Kind::PruneWatchers(_)
            | Kind::RemoveStreams(..)
            | Kind::UpdateHosts(_)
            | Kind::Detach
            | Kind::Ready => None,
        }
    }
}

impl Batch {
    /// Adds a command that is no request of its own.
    pub fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// Adds a request, whose record `encode` appends to the buffer.
    ///
    /// # Errors
    /// What `encode` finds wrong, and [`ErrorKind::TooLarge`] over `limit` bytes; nothing is added then.
    pub fn push_request(
        &mut self,
        mut command: Command,
        limit: usize,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let at = self.frames.len();
        command.frame_len = match self.encode_frame(&command, limit, encode) {
            Ok(len) => len,
            Err(failure) => {
                self.frames.truncate(at);
                return Err(failure);
            }
        };
        self.commands.push_back(command);
        Ok(())
    }

    /// The length of the last command's frame.
    pub(crate) fn last_frame_len(&self) -> usize {
        self.commands.back().map_or(0, |command| command.frame_len)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn encode_frame(
        &mut self,
        command: &Command,
        limit: usize,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let at = self.frames.len();
        let op = command.op().map_or(0, OpCode::code);
        // Length and xid are filled in later.
        let mut header = [0; 12];
        header[8..].copy_from_slice(&op.to_be_bytes());
        self.frames.extend_from_slice(&header);
        encode(&mut self.frames)?;
        let len = self.frames.len() - at;
        let body = len - 4;
        if body > limit {
            return Err(Failure::not_applied(ErrorKind::TooLarge));
        }
        let prefix = i32::try_from(body).map_err(|_| Failure::not_applied(ErrorKind::TooLarge))?;
        self.frames[at..at + 4].copy_from_slice(&prefix.to_be_bytes());
        Ok(len)
    }
}
