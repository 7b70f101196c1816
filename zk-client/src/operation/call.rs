//! What an operation is to the future that carries it out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use zk_proto::{ErrorCode, OpCode, Stat, op::Response, watch::AddWatchMode};

use super::Attached;
use crate::{
    core::{Body, Reply, chroot::Chroot},
    driver::Shared,
    error::Failure,
};

/// What an operation asks for and how its answer is read; the crate's own, for its builders.
pub trait Call: sealed::Sealed + Unpin {
    /// What the operation results in.
    type Output: 'static;

    #[doc(hidden)]
    fn op(&self) -> OpCode;

    #[doc(hidden)]
    fn path(&self) -> &str;

    /// Whether the path is the server's own, whatever the chroot.
    #[doc(hidden)]
    fn is_absolute(&self) -> bool {
        false
    }

    #[doc(hidden)]
    fn encode(&self, surroundings: &Surroundings<'_>, out: &mut BytesMut) -> Result<(), Failure>;

    #[doc(hidden)]
    fn wants(&self) -> Wants {
        Wants::Answer
    }

    #[doc(hidden)]
    fn finish(reply: Reply, context: Finish<'_>) -> Result<Self::Output, Failure>;
}

/// What an operation wants besides its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Answer,
    /// A one-shot watch.
    Watch,
    /// A persistent watch.
    Stream(AddWatchMode),
    /// Heartbeats.
    Heartbeats,
}

/// What an operation is encoded with.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'s> {
    pub(crate) chroot: &'s Chroot,
    pub(crate) default_acl: &'s [zk_proto::Acl],
    pub(crate) watch: bool,
}

/// What an answer is read with.
#[derive(Debug)]
pub struct Finish<'s> {
    pub(crate) parts: &'s ClientParts,
    pub(crate) attached: Attached,
}

impl Finish<'_> {
    /// The path as the user knows it.
    pub(crate) fn user_path(&self, path: &str) -> String {
        self.parts.shared.chroot.strip(path).to_owned()
    }
}

/// What outlives a client's borrow.
#[derive(Debug, Clone)]
pub struct ClientParts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) generation: Option<u64>,
}

pub(crate) mod sealed {
    /// Keeps [`Call`](super::Call) the crate's own; its methods are not for users.
    pub trait Sealed {}
}

impl Reply {
    /// Nothing, or the server's error.
    #[inline]
    pub(crate) const fn accepted(&self) -> Result<(), Failure> {
        match self.code {
            ErrorCode::Ok => Ok(()),
            code => Err(Failure::answered(code)),
        }
    }

    /// The decoded body, or the server's error.
    pub(crate) fn body(self) -> Result<Response, Failure> {
        self.accepted()?;
        match self.body {
            Body::Decoded(response) => Ok(*response),
            Body::Empty | Body::Data(_) | Body::Stat(_) => Err(NO_SUCH_FORM),
        }
    }

    /// A node's data and Stat, or the server's error.
    #[inline]
    pub(crate) fn data(self) -> Result<(Bytes, Stat), Failure> {
        self.accepted()?;
        self.body.into_data().ok_or(NO_SUCH_FORM)
    }

    /// A Stat, or the server's error.
    #[inline]
    pub(crate) fn stat(self) -> Result<Stat, Failure> {
        self.accepted()?;
        self.body.into_stat().ok_or(NO_SUCH_FORM)
    }
}

/// The answer has another form than its operation's; the session core looks at it by operation, so it cannot be.
const NO_SUCH_FORM: Failure = Failure::answered(ErrorCode::MarshallingError);

/// The same of a body that was decoded.
pub(crate) fn wrong_form<T>(_: Response) -> Result<T, Failure> {
    Err(NO_SUCH_FORM)
}
