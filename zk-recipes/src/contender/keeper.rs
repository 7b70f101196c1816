//! What goes on behind a guard: the own node is watched, a loss is noticed, and the node goes away at the end.
//!
//! The same task that contended; see [`queue`](super::queue).

use std::{pin::pin, sync::Arc};

use futures::future::OptionFuture;
use tokio::sync::oneshot;
use zk_client::{ErrorKind, Evidence, Node, Session, WatchChange, WatchEvent, Zxid};

use super::{
    Grant, Guard, Heartbeat, Kind, Writes,
    entry::{Entry, EntryNode, OwnWatch},
    lost::{LostReason, Ownership},
    withdrawals::Withdrawn,
};
use crate::{
    connection::{Patience, Setback, setback},
    error::Result,
    read_write_lock::{Downgrade, ReadGuard},
};

/// How a guard ends, other than by being dropped.
#[derive(Debug)]
pub(crate) enum Request {
    /// Delete the node, and answer.
    Release(oneshot::Sender<Result<()>>),
    /// The guard deletes the node itself, in a transaction: leave it alone until this tells that it is gone, or is dropped.
    Settle(oneshot::Receiver<()>),
    /// Turn the writer's node into a reader's, and go on as the reader's keeper.
    Downgrade(oneshot::Sender<Result<ReadGuard>>),
}

/// Comes from the guard; closed when it was dropped.
pub(crate) type Requests = oneshot::Receiver<Request>;

/// Hands out the guard of what was granted, keeps it until it is released, dropped or lost, and then sees to it that its
/// node goes.
pub(crate) async fn keep<K: Kind>(
    entry: Entry,
    node: EntryNode,
    (grant, writes): (Grant, Option<Writes>),
    hand_over: impl FnOnce(Guard<K>) + Send,
) {
    let Grant { own, evidence } = grant;
    tracing::debug!(node = %node.path, "acquired");
    let ownership = Arc::new(Ownership::with(
        Arc::clone(entry.directory_arc()),
        evidence.clone(),
        writes.clone(),
    ));
    let (guard, requests) = Guard::new(&ownership, node.clone(), entry.session().clone());
    // If nobody waits any more, the guard is dropped, which releases.
    hand_over(guard);
    let keeper = Keeper {
        entry,
        node,
        evidence,
        writes,
        ownership,
    };
    keeper.run(own, requests).await;
}

struct Keeper {
    entry: Entry,
    node: EntryNode,
    evidence: Evidence,
    writes: Option<Writes>,
    ownership: Arc<Ownership>,
}

impl Keeper {
    async fn run(self, own: OwnWatch, mut requests: Requests) {
        let ownership = Arc::clone(&self.ownership);
        // Also while it waited it may have been asked.
        ownership.saw(&own.data);
        let (session, created) = (self.entry.session(), Some(self.node.czxid));
        let saw = |node: &Node| ownership.saw(&node.data);
        let deleted = deletion((session, &self.node.path), created, own.change, saw);
        let writes = self.writes.as_ref().map(Writes::run_out);
        let request = tokio::select! {
            biased;
            request = &mut requests => request.ok(),
            _ = ownership.lost() => None,
            Some(()) = OptionFuture::from(writes) => {
                ownership.end(LostReason::NoProofOfLife);
                None
            }
            reason = deleted => {
                ownership.end(reason);
                None
            }
        };
        // The guard may have spoken after the look at the channel and before the end of the ownership.
        requests.close();
        match request.or_else(|| requests.try_recv().ok()) {
            Some(Request::Release(reply)) => self.release(reply).await,
            Some(Request::Settle(gone)) => {
                drop(self.evidence);
                if gone.await.is_err() {
                    self.entry.withdraw_surely().await;
                }
            }
            Some(Request::Downgrade(reply)) => {
                let Self {
                    entry,
                    evidence,
                    writes,
                    ownership,
                    ..
                } = self;
                let heartbeat = match writes {
                    Some(_) => Heartbeat::Write,
                    None => Heartbeat::Sync,
                };
                let downgrade = Downgrade::new(entry, evidence, ownership, heartbeat);
                // Boxed, because the reader's keeper is another one of these.
                Box::pin(downgrade.run(reply)).await;
            }
            None => self.abandon().await,
        }
    }

    /// The guard was dropped, or what it proves lost.
    async fn abandon(mut self) {
        // Dropping the guard ended the ownership as well.
        let reason = self.ownership.end(LostReason::NoProofOfLife);
        let (path, node) = (self.ownership.path(), &self.node.path);
        match reason {
            LostReason::Released => tracing::debug!(%path, %node, "released"),
            _ => {
                tracing::warn!(%path, %node, %reason, "lock lost");
                self.entry.doubt();
            }
        }
        drop(self.evidence);
        self.entry.withdraw_surely().await;
    }

    /// Deletes the node and answers whoever waits for that, at the latest when the session may be gone.
    async fn release(mut self, reply: oneshot::Sender<Result<()>>) {
        let ended = self.ownership.end(LostReason::Released);
        if ended != LostReason::Released {
            self.entry.doubt();
        }
        if self.withdraw_and_answer(ended, reply).await {
            self.entry.withdraw_surely().await;
        }
    }

    /// Whether the server refused to delete the node.
    async fn withdraw_and_answer(
        &mut self,
        ended: LostReason,
        reply: oneshot::Sender<Result<()>>,
    ) -> bool {
        let mut withdrawal = pin!(self.entry.withdraw());
        let withdrawn = tokio::select! {
            biased;
            withdrawn = &mut withdrawal => Some(withdrawn),
            _ = self.evidence.lost() => None,
        };
        let is_refusal = |withdrawn: &Withdrawn| matches!(withdrawn, Withdrawn::Refused(_));
        let refused = withdrawn.as_ref().map(is_refusal);
        let error = |reason| Err(self.ownership.error(reason));
        let result = match withdrawn {
            Some(Withdrawn::Deleted) if ended == LostReason::NodeDeleted => error(ended),
            Some(Withdrawn::Deleted) => Ok(()),
            Some(Withdrawn::WasGone) => error(LostReason::NodeDeleted),
            Some(Withdrawn::SessionEnded) => error(LostReason::SessionEnded),
            Some(Withdrawn::Refused(refusal)) => Err(refusal),
            None => error(LostReason::NoProofOfLife),
        };
        // Whoever released may not wait any more.
        let _ = reply.send(result);
        match refused {
            Some(refused) => refused,
            None => is_refusal(&withdrawal.await),
        }
    }
}

/// Resolves when the node is gone, whoever deleted it, or the session is over.
///
/// With the transaction that created it, a node of the same name that somebody else made is told apart. `saw` is shown what the node is
/// after each change.
pub(crate) async fn deletion(
    (session, path): (&Session, &str),
    created: Option<Zxid>,
    first: WatchChange,
    saw: impl Fn(&Node),
) -> LostReason {
    let mut change = first;
    let mut patience = Patience::new();
    loop {
        match change.await {
            WatchEvent::Deleted(_) => return LostReason::NodeDeleted,
            WatchEvent::SessionEnded => return LostReason::SessionEnded,
            _ => {}
        }
        change = loop {
            let error = match session.get(path).watch().await {
                Ok((now, _)) if created.is_some_and(|created| created != now.stat.czxid) => {
                    return LostReason::NodeDeleted;
                }
                Ok((now, change)) => {
                    saw(&now);
                    break change;
                }
                Err(error) => error,
            };
            match setback(&error) {
                Setback::Connection if patience.wait(session).await.is_ok() => {}
                Setback::Connection | Setback::SessionEnded => return LostReason::SessionEnded,
                Setback::Refused if error.kind() == ErrorKind::NoNode => {
                    return LostReason::NodeDeleted;
                }
                Setback::Refused => {
                    tracing::warn!(path, %error, "an own node cannot be watched any more");
                    return std::future::pending().await;
                }
            }
        };
    }
}
