//! One change of a counter, made exactly once or reported as unknown.
//!
//! ```text
//!   read value and version --> multi [create marker, set (version)] --+-- done
//!     ^  ^                                                            +-- another version: again
//!     |  +-- the session ended, and the counter is unchanged ---------+
//!     +----- the session ended, and nothing was sent -----------------+-- the session ended, and the counter changed: Unknown
//! ```

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{Client, ErrorKind, Node, Outcome, Session, Stat};

use super::{AtomicLong, CounterChange, CounterLayout};
use crate::{
    connection::{Patience, Persistence, Setback, connected, setback},
    error::{BadContent, Error, Result},
    own_node::{Committed, OwnNode, present_session},
    parents,
};

/// "Any version": a node whose version has come round to it cannot be compared any more (CURATOR-688).
const ANY_VERSION: i32 = -1;

/// A counter's node and how to use it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) client: Client,
    pub(super) path: Arc<str>,
    pub(super) layout: CounterLayout,
    pub(super) marked: bool,
}

/// What to do with a value that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Set(i64),
    Leave,
    Overflow,
}

/// How an attempt in one session ended without a result.
enum Stop {
    /// Again, when there is a connection, in the next session if need be.
    Again(zk_client::Error),
    Fail(Error),
}

impl From<zk_client::Error> for Stop {
    fn from(error: zk_client::Error) -> Self {
        Self::Again(error)
    }
}

/// A write of a session that ended before its answer came, or one that was answered.
enum Written {
    Done,
    /// Somebody was faster.
    Beaten,
    /// For certain nothing was changed, and there is no more to be done in this session.
    NotApplied(zk_client::Error),
    Open(zk_client::Error),
}

impl Place {
    /// The value as the leader has it.
    pub(super) async fn value(&self) -> Result<i64> {
        let mut persistence = Persistence::new();
        loop {
            match read(&self.client, &self.path).await {
                Ok(Some(node)) => return self.decode(&node),
                Ok(None) => return Ok(0),
                Err(error) => persistence.after(&self.client, error).await?,
            }
        }
    }

    fn decode(&self, node: &Node) -> Result<i64> {
        let value = self.layout.decode(&node.data);
        value.map_err(|why| {
            let version = Some(node.stat.version);
            Error::BadContent(BadContent::new(&self.path, version, why.into()))
        })
    }

    /// Makes the change that `decide` wants; `None` if it wants none.
    ///
    /// Dropped at any point, the marker left behind is seen to by who owns it.
    pub(super) async fn change(
        &self,
        marker: &mut Option<OwnNode>,
        decide: &(impl Fn(i64) -> Verdict + Send + Sync),
    ) -> Result<Option<CounterChange>> {
        let mut persistence = Persistence::new();
        loop {
            let session = present_session(&self.client).await?;
            match self.change_in(&session, marker, decide).await {
                Ok(made) => return Ok(made),
                Err(Stop::Fail(error)) => return Err(error),
                Err(Stop::Again(error)) => persistence.after(&self.client, error).await?,
            }
        }
    }

    async fn change_in(
        &self,
        session: &Session,
        marker: &mut Option<OwnNode>,
        decide: &(impl Fn(i64) -> Verdict + Send + Sync),
    ) -> Result<Option<CounterChange>, Stop> {
        loop {
            let node = read(session, &self.path).await?;
            let before = match &node {
                Some(node) => self.decode(node).map_err(Stop::Fail)?,
                None => 0,
            };
            let after = match decide(before) {
                Verdict::Set(after) => after,
                Verdict::Leave => return Ok(None),
                Verdict::Overflow => return Err(Stop::Fail(self.overflow())),
            };
            let content = (self.layout.encode(after)).ok_or_else(|| Stop::Fail(self.overflow()))?;
            let Some(node) = node else {
                self.create(session).await?;
                continue;
            };
            if node.stat.version == ANY_VERSION {
                return Err(Stop::Fail(self.overflow()));
            }
            let written = match self.marked {
                true => self.set_marked(session, marker, &content, &node.stat).await,
                false => self.set_plain(session, &content, &node.stat).await,
            };
            match written? {
                Written::Done => return Ok(Some(CounterChange { before, after })),
                Written::Beaten => {}
                Written::NotApplied(error) => return Err(Stop::Again(error)),
                Written::Open(error) if self.is_unchanged(&node.stat).await => {
                    return Err(Stop::Again(error));
                }
                Written::Open(_) => {
                    let path = Arc::clone(&self.path);
                    return Err(Stop::Fail(Error::Unknown { path }));
                }
            }
        }
    }

    fn overflow(&self) -> Error {
        Error::Overflow {
            path: Arc::clone(&self.path),
        }
    }

    /// Creates the node, with a 0 that everybody can read: Curator's `SharedCount` cannot read an empty one.
    async fn create(&self, session: &Session) -> zk_client::Result<()> {
        let zero = self.layout.encode(0).unwrap_or_default();
        loop {
            match session.create(&self.path, zero.clone()).await {
                Err(error) if error.kind() == ErrorKind::NoNode => {
                    parents::of(session, &self.path, error).await?;
                }
                Err(error) if error.kind() == ErrorKind::NodeExists => return Ok(()),
                created => return created.map(drop),
            }
        }
    }

    async fn set_marked(
        &self,
        session: &Session,
        place: &mut Option<OwnNode>,
        content: &Bytes,
        stat: &Stat,
    ) -> Result<Written, Stop> {
        let name = format!("_c_{}", session.guid());
        let marker = place.insert(OwnNode::new(
            session.clone(),
            parents::child(&self.path, &name),
            session.identity().to_owned(),
        ));
        let rest = |multi: zk_client::Multi| {
            let set = multi.set(&self.path, content.clone());
            set.version(stat.version).any()
        };
        Ok(match marker.commit_marked(rest).await {
            Committed::Applied => Written::Done,
            // NONODE is also the marker's, whose parent the counter is.
            Committed::Refused(error) if is_beaten(error.kind()) => Written::Beaten,
            Committed::Refused(error) => return Err(Stop::Again(error)),
            Committed::NotApplied(error) => Written::NotApplied(error),
            Committed::Unknown(error) => Written::Open(error),
        })
    }

    async fn set_plain(
        &self,
        session: &Session,
        content: &Bytes,
        stat: &Stat,
    ) -> Result<Written, Stop> {
        let mut patience = Patience::new();
        loop {
            let set = session.set(&self.path, content.clone());
            let error = match set.version(stat.version).await {
                Ok(_) => return Ok(Written::Done),
                Err(error) if is_beaten(error.kind()) => return Ok(Written::Beaten),
                Err(error) => error,
            };
            if error.outcome() == Outcome::Unknown {
                return Ok(Written::Open(error));
            }
            match setback(&error) {
                Setback::Connection if patience.wait(session).await.is_ok() => {}
                Setback::Connection | Setback::SessionEnded => {
                    return Ok(Written::NotApplied(error));
                }
                Setback::Refused => return Err(Stop::Again(error)),
            }
        }
    }

    /// Whether the node still is as it was read, in the present session: then an attempt whose answer was lost was not
    /// carried out, and never will be.
    async fn is_unchanged(&self, stat: &Stat) -> bool {
        let mut persistence = Persistence::new();
        loop {
            if connected(&self.client).await.is_err() {
                return false;
            }
            match read(&self.client, &self.path).await {
                Ok(Some(node)) => return is_same(stat, &node.stat),
                Ok(None) => return false,
                // The client may be bound to the session that ended, and then nothing can be read any more.
                Err(error) => {
                    if persistence.after(&self.client, error).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}

/// Reads the node as the leader has it.
async fn read(client: &Client, path: &str) -> zk_client::Result<Option<Node>> {
    let sync = client.sync(path).submit().await?;
    let node = client.get_opt(path).submit().await?;
    sync.await?;
    node.await
}

/// Whether nothing was written to the node since: what was on its way in a session that ended was not carried out, and never will be.
pub(super) fn is_same(before: &Stat, now: &Stat) -> bool {
    (before.czxid, before.mzxid) == (now.czxid, now.mzxid)
}

/// Whether somebody else was faster.
pub(super) const fn is_beaten(refusal: ErrorKind) -> bool {
    matches!(refusal, ErrorKind::BadVersion | ErrorKind::NoNode)
}

impl AtomicLong {
    pub(crate) fn of(client: &Client, path: &str, layout: CounterLayout) -> Self {
        Self::new(client, path).layout(layout)
    }
}
