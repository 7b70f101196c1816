//! What a holder's certainty rests on, and the transactions that it rests on where a `sync` is not enough.
//!
//! A `sync` goes to the leader and back. A leader of Apache's that was deposed and has not noticed answers it all the same, for up to
//! `syncLimit` ticks (ZOOKEEPER-1675), while its successor may count the session's time from earlier. A transaction cannot be
//! answered by such a leader: a quorum has to log it first.
//!
//! The transaction checks that the own node exists, and changes nothing: a `set` would wake whoever watches the node, which
//! is whoever waits behind it. It counts from its sending, as the `sync` does, for two thirds of the session timeout,
//! and both have to hold.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use zk_client::Session;

use super::entry::EntryNode;
use crate::connection::{Patience, Setback, setback};

/// What proves to a holder that it still holds: [`Acquire::heartbeat`](super::Acquire::heartbeat).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Heartbeat {
    /// A `sync` through the leader every third of the session timeout T, good for two thirds of T from its sending. It costs
    /// the leader a message, and no disk anything.
    ///
    /// It proves that the leader has not ended the session, unless that leader was deposed and does not know it yet:
    /// ZooKeeper's own answers for up to `syncLimit` ticks longer (ZOOKEEPER-1675); this project's does not.
    #[default]
    Sync,
    /// Besides, a transaction that checks the own node, every third of T, also good for two thirds of T from its sending.
    ///
    /// It costs what a write costs: a proposal, an entry in every member's log and a quorum's `fsync`, for every guard and
    /// not only for every client. It proves that a quorum held the session and the node when it was sent, so a deposed
    /// leader cannot answer it. It does not close the gap between [`ensure`](super::Claim::ensure) and what is done next,
    /// nor does it help where clocks run at different speeds: only a token that the resource looks at does. It is for
    /// resources that cannot look at one. The node has to be readable to its own client.
    Write,
}

/// The transactions of one holder.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    session: Session,
    node: Arc<str>,
    proven: Proven,
}

/// How long the last answered transaction is good, in nanoseconds on the client's clock.
#[derive(Debug, Clone)]
struct Proven(Arc<AtomicU64>);

impl Writes {
    /// The first one; `None` where none is asked for.
    pub(crate) async fn begin(
        heartbeat: Heartbeat,
        session: &Session,
        node: &EntryNode,
    ) -> zk_client::Result<Option<Self>> {
        if heartbeat == Heartbeat::Sync {
            return Ok(None);
        }
        let (session, node) = (session.clone(), Arc::clone(&node.path));
        let proven = Proven(Arc::default());
        let writes = Self {
            session,
            node,
            proven,
        };
        writes.write().await?;
        Ok(Some(writes))
    }

    /// How long it is certain from now on; `None` once it is not any more.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let until = Duration::from_nanos(self.proven.0.load(Ordering::Acquire));
        let left = until.saturating_sub(self.session.clock());
        (!left.is_zero()).then_some(left)
    }

    async fn write(&self) -> zk_client::Result<()> {
        // It is sent later, if at all: so the deadline is rather too early.
        let sent = self.session.clock();
        let check = self.session.multi().check(&self.node, -1);
        check.commit().await?;
        let until = sent + self.session.timeout() * 2 / 3;
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.proven.0.fetch_max(until, Ordering::AcqRel);
        Ok(())
    }

    /// Goes on with it, and returns once the last answer is too old.
    pub(crate) async fn run_out(&self) {
        let third = self.session.timeout() / 3;
        while let Some(left) = self.time_left() {
            // A third after the sending of the last.
            tokio::time::sleep(left.saturating_sub(third)).await;
            tokio::select! {
                biased;
                () = self.succeed() => {}
                () = self.too_late() => {}
            }
        }
    }

    /// Returns when one more is answered.
    async fn succeed(&self) {
        let mut patience = Patience::new();
        while let Err(error) = self.write().await {
            tracing::debug!(node = %self.node, %error, "a holder's transaction failed");
            // Whatever is refused may be allowed again in time; without a session others tell.
            let ended = setback(&error) == Setback::SessionEnded;
            if ended || patience.wait(&self.session).await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn too_late(&self) {
        while let Some(left) = self.time_left() {
            tokio::time::sleep(left).await;
        }
    }
}
