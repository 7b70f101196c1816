//! The guard: proof of a lock, as long as the proof lasts.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::sync::oneshot;
use zk_client::{ErrorKind, Multi, MultiResult, Outcome, Session, Zxid};

use super::{
    entry::EntryNode,
    keeper::{Request, Requests},
    lost::{Lost, LostReason, Ownership},
};
use crate::{
    connection::{Patience, Setback, setback},
    error::{Error, Result},
};

/// A lock that is held.
///
/// Dropping it releases the lock in the background, also outside a runtime; [`release`](Self::release) waits for that.
/// The lock can be lost while the guard lives: ask [`ensure`](Self::ensure) before every side effect, or let
/// [`run`](Self::run) stop the work, and hand [`token`](Self::token) to whatever is protected, so that it can refuse a
/// holder of the past. It keeps the client, and so the session, open.
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock"]
pub struct LockGuard {
    ownership: Arc<Ownership>,
    node: EntryNode,
    session: Session,
    /// Tells the keeper; closed by dropping.
    keeper: Option<oneshot::Sender<Request>>,
}

impl LockGuard {
    pub(super) fn new(
        ownership: &Arc<Ownership>,
        node: EntryNode,
        session: Session,
    ) -> (Self, Requests) {
        let (keeper, requests) = oneshot::channel();
        let (ownership, keeper) = (Arc::clone(ownership), Some(keeper));
        (
            Self {
                ownership,
                node,
                session,
                keeper,
            },
            requests,
        )
    }

    /// The fencing token: the transaction that created the lock node.
    ///
    /// Every later holder of this lock has a larger one. Give it to the protected resource with every write, and let the
    /// resource refuse writes with a smaller token than it has seen: that is what makes a lock safe against a holder that
    /// was paused for too long.
    #[must_use]
    pub const fn token(&self) -> Zxid {
        self.node.czxid
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.ownership.path()
    }

    /// The path of the lock node: it exists as long as the lock is held.
    ///
    /// A multi that checks it (version -1) goes through only then; [`commit`](Self::commit) does that.
    #[must_use]
    pub fn node_path(&self) -> &str {
        &self.node.path
    }

    /// Whether the lock is still held, and for how long that is certain from now on without another sign of life.
    ///
    /// Synchronous and cheap; ask before every side effect.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], from the first time on that it is lost.
    pub fn ensure(&self) -> Result<Duration> {
        self.ownership.ensure()
    }

    /// Resolves when the lock is lost or released, with the reason.
    pub fn lost(&self) -> Lost {
        self.ownership.lost()
    }

    /// Runs `work` as long as the lock is held; drops it when the lock is lost.
    ///
    /// The lock is checked before every poll, so that nothing of `work` runs after a pause that was too long. What `work`
    /// has begun elsewhere (a spawned task, a request on its way) is not undone.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock was lost before `work` was done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        let mut work = pin!(work);
        let mut lost = self.lost();
        std::future::poll_fn(|cx| match pin!(&mut lost).poll(cx) {
            Poll::Ready(reason) => Poll::Ready(Err(self.ownership.error(reason))),
            Poll::Pending => work.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    /// Commits a multi that goes through only while the lock node exists: fencing inside ZooKeeper.
    ///
    /// The results are those of the multi's own operations. Bound to the session that holds the lock.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock is lost; nothing was carried out. [`Error::Client`] when an operation of the multi
    /// failed, or when its outcome is unknown.
    pub async fn commit<S>(&self, multi: Multi<S>) -> Result<Vec<MultiResult>> {
        self.ensure()?;
        let multi = multi.fenced_by(self.node_path()).through(&self.session);
        multi.commit().await.map_err(|error| self.judge(error))
    }

    /// Commits a multi and releases the lock in one transaction: either both happen, or neither.
    ///
    /// After a lost connection the outcome is looked up by the lock node: when that is gone while the session lives, the
    /// transaction went through. (So it also counts as gone through if somebody else deleted the node in that moment.)
    /// Whatever the result, the guard is used up and the lock released.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub async fn commit_and_release<S>(mut self, multi: Multi<S>) -> Result<()> {
        self.ensure()?;
        let (gone, settled) = oneshot::channel();
        // Before anything else: from now on the transaction deletes the node, and the keeper neither takes that for a loss
        // nor deletes it meanwhile, which would look like a transaction that went through.
        let kept = self.keeper.take();
        if kept.is_none_or(|keeper| keeper.send(Request::Settle(settled)).is_err()) {
            let reason = self.ownership.end(LostReason::SessionEnded);
            return Err(self.ownership.error(reason));
        }
        self.ownership.end(LostReason::Released);
        let committed = self.commit_deleting(multi).await;
        if committed.is_ok() {
            // The keeper may be gone with the client.
            let _ = gone.send(());
        }
        committed
    }

    async fn commit_deleting<S>(&self, multi: Multi<S>) -> Result<()> {
        let multi = multi.delete(self.node_path()).through(&self.session);
        let mut patience = Patience::new();
        loop {
            let Err(error) = multi.clone().commit().await else {
                return Ok(());
            };
            if setback(&error) != Setback::Connection {
                return Err(self.judge(error));
            }
            let was_sent = error.outcome() == Outcome::Unknown;
            if patience.wait(&self.session).await.is_err() {
                return Err(error.into());
            }
            if was_sent {
                match self.is_gone().await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    // Not the look's error: whether the transaction went through stays unknown.
                    Err(_) => return Err(error.into()),
                }
            }
        }
    }

    /// Whether the lock node is gone, as the leader sees it.
    async fn is_gone(&self) -> Result<bool> {
        let mut patience = Patience::new();
        loop {
            let looked = async {
                let sync = self.session.sync(self.node_path()).submit().await?;
                let exists = self.session.exists(self.node_path()).submit().await?;
                sync.await?;
                exists.await
            };
            match looked.await {
                Ok(stat) => return Ok(stat.is_none()),
                Err(error) if setback(&error) == Setback::Connection => {
                    patience.wait(&self.session).await?
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether an error of a multi means that the lock is lost.
    fn judge(&self, error: zk_client::Error) -> Error {
        let own = error.kind() == ErrorKind::NoNode && error.path() == Some(self.node_path());
        let ended =
            setback(&error) == Setback::SessionEnded && error.outcome() == Outcome::NotApplied;
        let lost = match (own, ended) {
            (true, _) => LostReason::NodeDeleted,
            (_, true) => LostReason::SessionEnded,
            _ => return error.into(),
        };
        self.ownership.end(lost);
        self.ownership.error(lost)
    }

    /// Releases the lock and returns when its node is gone.
    ///
    /// Without a connection it waits for one, at most until the session may have expired. Dropping the future does not
    /// stop the release.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock was lost before it was released: what was done under it may have met another holder.
    /// The node is seen to in the background.
    pub async fn release(mut self) -> Result<()> {
        self.ensure()?;
        let (reply, released) = oneshot::channel();
        if let Some(keeper) = self.keeper.take() {
            // What a keeper that is gone did not take has to be dropped, or `released` would never end.
            drop(keeper.send(Request::Release(reply)));
        }
        match released.await {
            Ok(result) => result,
            // The keeper ends without an answer only after a loss.
            Err(_) => Err(self
                .ownership
                .error(self.ownership.end(LostReason::SessionEnded))),
        }
    }
}

impl Drop for LockGuard {
    /// The keeper, a task that runs already, sees the channel close and deletes the node.
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.ownership.end(LostReason::Released);
        }
    }
}
