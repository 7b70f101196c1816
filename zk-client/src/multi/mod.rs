//! multi: several writes that are carried out together or not at all.
//!
//! The type remembers the last operation, so that a modifier that makes no sense for it does not compile.

mod pending;
mod read;
mod wire;

use std::{fmt, marker::PhantomData, time::Duration};

pub use pending::{PendingMulti, PendingMultiRead};
pub use read::{MultiRead, MultiReadResult};
use wire::{Commit, Part, PartKind, judge};
use zk_proto::{Acl, Stat};

use crate::{
    client::Client, create::CreateSpec, error::Result, operation::Operation, payload::Payload,
    write::ANY_VERSION,
};

/// Writes to be carried out together: [`Client::multi`].
///
/// A modifier belongs to the operation before it, which the type remembers: after [`create`](Multi::create) it is
/// a `Multi<Create>` with `sequential`, `ephemeral` and so on, after [`set`](Multi::set) a `Multi<Set>` with
/// `version`. [`any`](Multi::any) forgets it, for loops.
#[must_use = "a multi does nothing until it is committed"]
pub struct Multi<S = Any> {
    client: Client,
    /// A node whose existence everything depends on; invisible in results.
    fence: Option<String>,
    parts: Vec<Part>,
    limit: Option<Duration>,
    state: PhantomData<fn() -> S>,
}

/// The state of a [`Multi`] whose last operation does not matter.
#[derive(Debug, Clone, Copy)]
pub enum Any {}
/// The state of a [`Multi`] after a create.
#[derive(Debug, Clone, Copy)]
pub enum Create {}
/// The state of a [`Multi`] after a set.
#[derive(Debug, Clone, Copy)]
pub enum Set {}
/// The state of a [`Multi`] after a delete.
#[derive(Debug, Clone, Copy)]
pub enum Delete {}
/// The state of a [`Multi`] after a check.
#[derive(Debug, Clone, Copy)]
pub enum Check {}

/// The result of one operation of a multi, in the order of the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultiResult {
    /// The version matched.
    Checked,
    /// The node was created.
    Created {
        /// Its full path, with the counter of a sequential one.
        path: String,
        /// Its metadata; `None` from servers before 3.8.4.
        stat: Option<Stat>,
    },
    /// The node's data was set; its new metadata.
    Set(Stat),
    /// The node was deleted.
    Deleted,
}

impl MultiResult {
    /// The path of a node that was created.
    #[must_use]
    pub fn created_path(&self) -> Option<&str> {
        match self {
            Self::Created { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The node's metadata after a create or a set.
    #[must_use]
    pub const fn stat(&self) -> Option<&Stat> {
        match self {
            Self::Created { stat, .. } => stat.as_ref(),
            Self::Set(stat) => Some(stat),
            _ => None,
        }
    }
}

impl Multi {
    pub(crate) const fn new(client: Client) -> Self {
        Self {
            client,
            fence: None,
            parts: Vec::new(),
            limit: None,
            state: PhantomData,
        }
    }
}

impl<S> Multi<S> {
    /// Goes through only if the node exists and its data has this version (-1: any).
    pub fn check(self, path: &str, version: i32) -> Multi<Check> {
        self.with(path, PartKind::Check(version))
    }

    /// Creates a node.
    pub fn create<'d>(self, path: &str, data: impl Into<Payload<'d>>) -> Multi<Create> {
        self.with(
            path,
            PartKind::Create(data.into().into_bytes(), CreateSpec::default()),
        )
    }

    /// Sets a node's data.
    pub fn set<'d>(self, path: &str, data: impl Into<Payload<'d>>) -> Multi<Set> {
        self.with(path, PartKind::Set(data.into().into_bytes(), ANY_VERSION))
    }

    /// Deletes a node.
    pub fn delete(self, path: &str) -> Multi<Delete> {
        self.with(path, PartKind::Delete(ANY_VERSION))
    }

    /// The same without the memory of its last operation, for loops.
    pub fn any(self) -> Multi {
        self.cast()
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is no operation yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The same operations by another handle: a clone, or one bound to a session.
    pub fn through(mut self, client: &Client) -> Self {
        self.client = client.clone();
        self
    }

    /// Gives it this long in all instead of the client's request timeout.
    pub const fn within(mut self, time: Duration) -> Self {
        self.limit = Some(time);
        self
    }

    /// Goes through only while this node exists; invisible in the results and in the indices of errors.
    ///
    /// When the node is gone, the error is [`NoNode`](crate::ErrorKind::NoNode) of a `check` with this path and
    /// no [`multi_index`](crate::Error::multi_index).
    #[doc(hidden)]
    pub fn fenced_by(mut self, path: &str) -> Self {
        self.fence = Some(path.to_owned());
        self
    }

    /// Carries everything out, or nothing; the results are in the order of the operations.
    ///
    /// # Errors
    /// The code of the operation that failed, with its [`path`](crate::Error::path) and
    /// [`multi_index`](crate::Error::multi_index). After CONNECTIONLOSS either all was carried out or nothing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the multi to its fate; it is never carried out by half.
    pub async fn commit(self) -> Result<Vec<MultiResult>> {
        let (client, parts, fenced, limit) = self.all_parts();
        let commit = Operation::new(&client, Commit { parts: &parts });
        judge(commit.limited(limit).await?, &parts, fenced)
    }

    /// Queues the multi and returns at once, with its results to be awaited later
    /// ([`Operation::submit`]).
    ///
    /// # Errors
    /// When it cannot be queued: an invalid path, a request that is too large, a closed client.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room gives up its place, and nothing is sent.
    pub async fn submit(self) -> Result<PendingMulti> {
        let (client, parts, fenced, limit) = self.all_parts();
        let commit = Operation::new(&client, Commit { parts: &parts });
        let answer = commit.limited(limit).submit().await?;
        Ok(PendingMulti {
            answer,
            parts,
            fenced,
        })
    }

    /// The operations with the fence in front, if there is one.
    fn all_parts(self) -> (Client, Vec<Part>, usize, Option<Duration>) {
        let fenced = usize::from(self.fence.is_some());
        let fence = self.fence.map(|path| Part {
            path,
            kind: PartKind::Check(ANY_VERSION),
        });
        let parts = fence.into_iter().chain(self.parts).collect();
        (self.client, parts, fenced, self.limit)
    }

    fn with<T>(mut self, path: &str, kind: PartKind) -> Multi<T> {
        self.parts.push(Part {
            path: path.to_owned(),
            kind,
        });
        self.cast()
    }

    fn cast<T>(self) -> Multi<T> {
        Multi {
            client: self.client,
            fence: self.fence,
            parts: self.parts,
            limit: self.limit,
            state: PhantomData,
        }
    }

    fn last(mut self, change: impl FnOnce(&mut PartKind)) -> Self {
        if let Some(part) = self.parts.last_mut() {
            change(&mut part.kind);
        }
        self
    }

    fn spec(self, change: impl FnOnce(&mut CreateSpec)) -> Self {
        self.last(|kind| {
            if let PartKind::Create(_, spec) = kind {
                change(spec);
            }
        })
    }
}

impl Multi<Create> {
    /// The node goes with the session.
    pub fn ephemeral(self) -> Self {
        self.spec(|spec| spec.ephemeral = true)
    }

    /// The server appends a ten-digit counter of the parent to the name.
    pub fn sequential(self) -> Self {
        self.spec(|spec| spec.sequential = true)
    }

    /// The server deletes the node some time after its last child is gone.
    pub fn container(self) -> Self {
        self.spec(|spec| spec.container = true)
    }

    /// The server deletes the node when it has had neither children nor changes for this long.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.spec(|spec| spec.ttl = Some(ttl))
    }

    /// Who may do what with the node; the client's default ACL unless given.
    pub fn acl(self, acl: impl Into<Vec<Acl>>) -> Self {
        self.spec(|spec| spec.acl = Some(acl.into()))
    }
}

impl Multi<Set> {
    /// Only if the node's data has this version.
    pub fn version(self, version: i32) -> Self {
        self.last(|kind| {
            if let PartKind::Set(_, expected) = kind {
                *expected = version;
            }
        })
    }
}

impl Multi<Delete> {
    /// Only if the node's data has this version.
    pub fn version(self, version: i32) -> Self {
        self.last(|kind| {
            if let PartKind::Delete(expected) = kind {
                *expected = version;
            }
        })
    }
}

impl<S> Clone for Multi<S> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            parts: self.parts.clone(),
            fence: self.fence.clone(),
            limit: self.limit,
            state: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Multi<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.parts.iter().map(|part| part.path.as_str()).collect();
        f.debug_struct("Multi")
            .field("paths", &paths)
            .finish_non_exhaustive()
    }
}
