//! The guard: proof of ownership, as long as the proof lasts.

use std::{fmt, marker::PhantomData, ops::Deref, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::sync::oneshot;
use zk_client::{ErrorKind, Multi, MultiResult, Outcome, Session, Zxid};

use super::{
    Exclusive, Fenced, Kind, Mutual,
    entry::EntryNode,
    keeper::{Request, Requests},
    lost::{Lost, LostReason, Ownership},
};
use crate::{
    connection::{Patience, Setback, setback},
    error::{Error, Result},
};

/// A lock, a lease or a leadership that is held.
///
/// Dropping it releases in the background, also outside a runtime; [`release`](Self::release) waits for that.
/// Ownership can be lost while the guard lives: ask [`ensure`](Claim::ensure) before every side effect, or let
/// [`run`](Claim::run) stop the work, and, where the kind is [`Exclusive`], hand [`token`](Claim::token) to whatever is
/// protected, so that it can refuse a holder of the past. It keeps the client, and so the session, open.
#[must_use = "dropping the guard releases the lock"]
pub struct Guard<K: Kind = Mutual> {
    claim: Claim<K>,
    hold: Hold,
}

/// What a [`Guard`] proves, without the power to release it: a cheap clone for other tasks.
///
/// When the guard is released or dropped, its claims are lost.
pub struct Claim<K: Kind = Mutual> {
    ownership: Arc<Ownership>,
    node: EntryNode,
    session: Session,
    kind: PhantomData<fn() -> K>,
}

/// The guard's end of the channel to its keeper.
#[derive(Debug)]
pub(crate) struct Hold {
    ownership: Arc<Ownership>,
    /// Closed by dropping.
    keeper: Option<oneshot::Sender<Request>>,
}

impl<K: Kind> Guard<K> {
    pub(crate) fn new(
        ownership: &Arc<Ownership>,
        node: EntryNode,
        session: Session,
    ) -> (Self, Requests) {
        let (keeper, requests) = oneshot::channel();
        let hold = Hold {
            ownership: Arc::clone(ownership),
            keeper: Some(keeper),
        };
        let claim = Claim {
            ownership: Arc::clone(ownership),
            node,
            session,
            kind: PhantomData,
        };
        (Self { claim, hold }, requests)
    }

    /// The same without the power to release, for other tasks.
    #[must_use]
    pub fn claim(&self) -> Claim<K> {
        self.claim.clone()
    }

    /// What is owned, and the channel to its keeper, apart.
    pub(crate) fn into_parts(self) -> (Claim<K>, Hold) {
        (self.claim, self.hold)
    }

    /// Releases, and returns when the node is gone.
    ///
    /// Without a connection it waits for one, at most until the session may have expired. Dropping the future does not
    /// stop the release.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when it was lost before it was released: what was done under it may have met another holder.
    /// The node is seen to in the background.
    pub async fn release(self) -> Result<()> {
        self.ensure()?;
        let (claim, mut hold) = self.into_parts();
        let (reply, released) = oneshot::channel();
        hold.ask(Request::Release(reply));
        match released.await {
            Ok(result) => result,
            // The keeper ends without an answer only after a loss.
            Err(_) => Err(claim
                .ownership
                .error(claim.ownership.end(LostReason::SessionEnded))),
        }
    }
}

impl<K: Fenced> Guard<K> {
    /// Commits a multi and releases in one transaction: either both happen, or neither.
    ///
    /// After a lost connection the outcome is looked up by the own node: when that is gone while the session lives, the
    /// transaction went through. (So it also counts as gone through if somebody else deleted the node in that moment.)
    /// Whatever the result, the guard is used up and the lock released.
    ///
    /// # Errors
    ///
    /// As [`commit`](Claim::commit).
    pub async fn commit_and_release<S>(self, multi: Multi<S>) -> Result<()> {
        self.ensure()?;
        let (claim, mut hold) = self.into_parts();
        let (gone, settled) = oneshot::channel();
        // Before anything else: from now on the transaction deletes the node, and the keeper neither takes that for a loss
        // nor deletes it meanwhile, which would look like a transaction that went through.
        if !hold.ask(Request::Settle(settled)) {
            let reason = claim.ownership.end(LostReason::SessionEnded);
            return Err(claim.ownership.error(reason));
        }
        claim.ownership.end(LostReason::Released);
        let committed = claim.commit_deleting(multi).await;
        if committed.is_ok() {
            // The keeper may be gone with the client.
            let _ = gone.send(());
        }
        committed
    }
}

impl Hold {
    /// Hands a request to the keeper; false if it is gone.
    ///
    /// What a keeper that is gone did not take is dropped, so that nobody waits for its answer for ever.
    pub(crate) fn ask(&mut self, request: Request) -> bool {
        self.keeper
            .take()
            .is_some_and(|keeper| keeper.send(request).is_ok())
    }
}

impl Drop for Hold {
    /// The keeper, a task that runs already, sees the channel close and deletes the node.
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.ownership.end(LostReason::Released);
        }
    }
}

impl<K: Exclusive> Claim<K> {
    /// The fencing token: the transaction that created the own node.
    ///
    /// Every later holder has a larger one. Give it to the protected resource with every write, and let the
    /// resource refuse writes with a smaller token than it has seen: that is what makes a lock safe against a holder that
    /// was paused for too long.
    #[must_use]
    pub const fn token(&self) -> Zxid {
        self.node.czxid
    }
}

impl<K: Kind> Claim<K> {
    /// The path of what is owned.
    #[must_use]
    pub fn path(&self) -> &str {
        self.ownership.path()
    }

    /// The path of the own node: it exists as long as this is held.
    ///
    /// A multi that checks it (version -1) goes through only then; [`commit`](Self::commit) does that. Not so for an
    /// [unfair lock](crate::unfair_lock): everybody's node has that path.
    #[must_use]
    pub fn node_path(&self) -> &str {
        &self.node.path
    }

    /// Whether it is still held, and for how long that is certain from now on without another sign of life.
    ///
    /// Synchronous and cheap; ask before every side effect.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`], from the first time on that it is lost.
    pub fn ensure(&self) -> Result<Duration> {
        self.ownership.ensure()
    }

    /// Resolves when it is lost or released, with the reason.
    pub fn lost(&self) -> Lost {
        self.ownership.lost()
    }

    /// Runs `work` as long as it is held; drops it when that is lost.
    ///
    /// Looks before every poll, so that nothing of `work` runs after a pause that was too long. What `work`
    /// has begun elsewhere (a spawned task, a request on its way) is not undone.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when it was lost before `work` was done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        let mut work = pin!(work);
        let mut lost = self.lost();
        std::future::poll_fn(|cx| match pin!(&mut lost).poll(cx) {
            Poll::Ready(reason) => Poll::Ready(Err(self.ownership.error(reason))),
            Poll::Pending => work.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// Ends it, as the guard's owner does, if it has not ended yet; the reason of its end.
    pub(crate) fn end(&self) -> LostReason {
        self.ownership.end(LostReason::Released)
    }

    /// Waits until somebody asks to let go, or for its end.
    pub(crate) fn asked(&self) -> impl Future<Output = Result<()>> + use<K> {
        self.ownership.asked()
    }

    /// The error of a loss.
    pub(crate) fn loss(&self, reason: LostReason) -> Error {
        self.ownership.error(reason)
    }
}

impl<K: Fenced> Claim<K> {
    /// Commits a multi that goes through only while the own node exists: fencing inside ZooKeeper.
    ///
    /// The results are those of the multi's own operations. Bound to the session that holds.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when it is lost; nothing was carried out. [`Error::Client`] when an operation of the multi
    /// failed, or when its outcome is unknown.
    pub async fn commit<S>(&self, multi: Multi<S>) -> Result<Vec<MultiResult>> {
        self.ensure()?;
        let multi = multi.fenced_by(self.node_path()).through(&self.session);
        multi.commit().await.map_err(|error| self.judge(error))
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

    /// Whether the own node is gone, as the leader sees it.
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
                Ok(stat) => return Ok(stat.is_none_or(|stat| stat.czxid != self.node.czxid)),
                Err(error) if setback(&error) == Setback::Connection => {
                    patience.wait(&self.session).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether an error of a multi means that the ownership is lost.
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
}

impl<K: Kind> Deref for Guard<K> {
    type Target = Claim<K>;

    fn deref(&self) -> &Claim<K> {
        &self.claim
    }
}

impl<K: Kind> Clone for Claim<K> {
    fn clone(&self) -> Self {
        Self {
            ownership: Arc::clone(&self.ownership),
            node: self.node.clone(),
            session: self.session.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Kind> fmt::Debug for Guard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.claim.describe("Guard", f)
    }
}

impl<K: Kind> fmt::Debug for Claim<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe("Claim", f)
    }
}

impl<K: Kind> Claim<K> {
    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("node", &self.node)
            .field("time_left", &self.ownership.time_left())
            .finish_non_exhaustive()
    }
}
