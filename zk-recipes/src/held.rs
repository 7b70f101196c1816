//! What is held through an ephemeral node of a name known beforehand: a claim, a name, a place in a barrier.
//!
//! As with a lock: the node is watched, a loss is noticed and told before the server can let anybody else in, and the node
//! goes away at the end. The keeper is a task of the client's runtime; what is held tells it through a channel, which
//! dropping closes.

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::sync::oneshot;
use zk_client::{ErrorKind, Evidence, Multi, Outcome, Session};

use crate::{
    connection::{Patience, Setback, setback},
    error::{Error, Result},
    lock::{Lost, LostReason, Ownership, deletion},
    own_node::{OwnNode, OwnWatch, Withdrawn},
};

/// How it ends, other than by being dropped.
#[derive(Debug)]
enum Request {
    /// Delete the node, and answer.
    Release(oneshot::Sender<Result<()>>),
    /// Commit this, delete this item and the node with it, and answer.
    Consume(Multi, Arc<str>, oneshot::Sender<Result<()>>),
    /// Give the node away, and be done.
    HandOver(oneshot::Sender<OwnNode>),
}

/// Something held, as long as the proof lasts. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Held {
    ownership: Arc<Ownership>,
    session: Session,
    node: Arc<str>,
    keeper: Option<oneshot::Sender<Request>>,
}

impl Held {
    /// Starts the keeper. `what` is the path that errors name; `own` a watch on the node, `evidence` from before it was left.
    pub(crate) fn new(what: &Arc<str>, node: OwnNode, own: OwnWatch, evidence: Evidence) -> Self {
        let ownership = Arc::new(Ownership::new(Arc::clone(what), evidence.clone()));
        let (keeper, requests) = oneshot::channel();
        let held = Self {
            ownership: Arc::clone(&ownership),
            session: node.session().clone(),
            node: Arc::clone(node.path()),
            keeper: Some(keeper),
        };
        let runtime = held.session.runtime().clone();
        runtime.spawn(keep(node, own, evidence, ownership, requests));
        held
    }

    /// The path of the node.
    pub(crate) const fn node_path(&self) -> &Arc<str> {
        &self.node
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn ensure(&self) -> Result<Duration> {
        self.ownership.ensure()
    }

    pub(crate) fn lost(&self) -> Lost {
        self.ownership.lost()
    }

    /// Runs `work` as long as it is held; drops it when it is lost.
    pub(crate) async fn run<F: Future>(&self, work: F) -> Result<F::Output> {
        let mut work = pin!(work);
        let mut lost = self.lost();
        std::future::poll_fn(|cx| match pin!(&mut lost).poll(cx) {
            Poll::Ready(reason) => Poll::Ready(Err(self.ownership.error(reason))),
            Poll::Pending => work.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    /// Deletes the node and returns when it is gone.
    pub(crate) async fn release(mut self) -> Result<()> {
        self.ensure()?;
        let (reply, released) = oneshot::channel();
        self.tell(Request::Release(reply));
        released.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Commits a multi and deletes `item` and the node, all or nothing. Whatever the result, nothing is held any more.
    pub(crate) async fn consume(mut self, multi: Multi, item: Arc<str>) -> Result<()> {
        self.ensure()?;
        let (reply, consumed) = oneshot::channel();
        self.tell(Request::Consume(multi, item, reply));
        consumed.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// The node itself, to be seen to from now on by the caller.
    pub(crate) async fn hand_over(mut self) -> Result<OwnNode> {
        self.ensure()?;
        let (reply, node) = oneshot::channel();
        self.tell(Request::HandOver(reply));
        node.await.map_err(|_| self.ended())
    }

    fn tell(&mut self, request: Request) {
        if let Some(keeper) = self.keeper.take() {
            // What a keeper that is gone did not take has to be dropped, or nobody would ever answer.
            drop(keeper.send(request));
        }
    }

    /// The keeper ends without an answer only after a loss.
    fn ended(&self) -> Error {
        self.ownership
            .error(self.ownership.end(LostReason::SessionEnded))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.ownership.end(LostReason::Released);
        }
    }
}

/// Keeps the node until it is released, dropped or lost, and then sees to it that it goes.
async fn keep(
    mut node: OwnNode,
    own: OwnWatch,
    evidence: Evidence,
    ownership: Arc<Ownership>,
    mut requests: oneshot::Receiver<Request>,
) {
    let path = Arc::clone(node.path());
    let mut request = None;
    let lost = tokio::select! {
        biased;
        asked = &mut requests => {
            request = asked.ok();
            None
        }
        reason = ownership.lost() => Some(reason),
        reason = deletion((node.session(), &path), Some(own.created), own.change, |_| ()) => {
            ownership.end(reason);
            Some(reason)
        }
    };
    if let Some(LostReason::NodeDeleted) = lost {
        // Another may have the name by now, and its node is not to be deleted.
        node.was_deleted();
    }
    // The holder may have spoken after the look at the channel and before the end of the ownership.
    requests.close();
    match request.or_else(|| requests.try_recv().ok()) {
        Some(Request::Release(reply)) => release(&mut node, &evidence, &ownership, reply).await,
        Some(Request::Consume(multi, item, reply)) => {
            consume(&mut node, &evidence, &ownership, (multi, item), reply).await;
        }
        Some(Request::HandOver(reply)) => {
            ownership.end(LostReason::Released);
            if let Err(mut node) = reply.send(node) {
                node.withdraw().await;
            }
        }
        None => {
            // Dropping what is held ended the ownership as well.
            match ownership.end(LostReason::NoProofOfLife) {
                LostReason::Released => tracing::debug!(%path, "released"),
                reason => tracing::warn!(%path, %reason, "lost"),
            }
            drop(evidence);
            if lost.is_some_and(|reason| reason != LostReason::Released) {
                node.doubt();
            }
            node.withdraw().await;
        }
    }
}

/// Deletes the node and answers whoever waits for that, at the latest when the session may be gone.
async fn release(
    node: &mut OwnNode,
    evidence: &Evidence,
    ownership: &Ownership,
    reply: oneshot::Sender<Result<()>>,
) {
    ownership.end(LostReason::Released);
    let mut withdrawal = pin!(node.withdraw());
    let withdrawn = tokio::select! {
        biased;
        withdrawn = &mut withdrawal => Some(withdrawn),
        _ = evidence.lost() => None,
    };
    let unfinished = withdrawn.is_none();
    let result = match withdrawn {
        Some(Withdrawn::Deleted) => Ok(()),
        Some(Withdrawn::WasGone) => Err(ownership.error(LostReason::NodeDeleted)),
        Some(Withdrawn::SessionEnded) => Err(ownership.error(LostReason::SessionEnded)),
        Some(Withdrawn::Refused(error)) => Err(error),
        None => Err(ownership.error(LostReason::NoProofOfLife)),
    };
    // Whoever released may not wait any more.
    let _ = reply.send(result);
    if unfinished {
        withdrawal.await;
    }
}

/// Commits, and answers at the latest when the session may be gone; the node goes in any case.
async fn consume(
    node: &mut OwnNode,
    evidence: &Evidence,
    ownership: &Ownership,
    (multi, item): (Multi, Arc<str>),
    reply: oneshot::Sender<Result<()>>,
) {
    ownership.end(LostReason::Released);
    let path = Arc::clone(node.path());
    let multi = multi.fenced_by(&path).delete(&item).delete(&path);
    let multi = multi.through(node.session()).any();
    let session = node.session().clone();
    let mut committing = pin!(commit(&session, (&*path, &*item), multi));
    let committed = tokio::select! {
        biased;
        committed = &mut committing => committed,
        _ = evidence.lost() => {
            // Whoever waits may be gone, too.
            let _ = reply.send(Err(Error::Unknown {
                path: Arc::clone(&item),
            }));
            committing.await.settle(node);
            node.withdraw().await;
            return;
        }
    };
    committed.settle(node);
    let result = match committed {
        Consumed::Applied => Ok(()),
        Consumed::Lost(reason) => Err(ownership.error(reason)),
        Consumed::Unknown => Err(Error::Unknown {
            path: Arc::clone(&item),
        }),
        Consumed::Refused(error)
            if error.kind() == ErrorKind::NoNode && error.path() == Some(&item) =>
        {
            Err(ownership.error(LostReason::NodeDeleted))
        }
        Consumed::Refused(error) => Err(error.into()),
    };
    let mut withdrawal = pin!(node.withdraw());
    let finished = tokio::select! {
        biased;
        _ = &mut withdrawal => true,
        _ = evidence.lost() => false,
    };
    // Whoever waited may be gone by now.
    let _ = reply.send(result);
    if !finished {
        withdrawal.await;
    }
}

/// What became of a transaction that ends what is held.
enum Consumed {
    Applied,
    Lost(LostReason),
    Unknown,
    Refused(zk_client::Error),
}

impl Consumed {
    /// What it says about the node.
    fn settle(&self, node: &mut OwnNode) {
        match self {
            Self::Applied | Self::Lost(LostReason::NodeDeleted) => node.was_deleted(),
            Self::Lost(_) | Self::Unknown | Self::Refused(_) => node.doubt(),
        }
    }
}

/// Commits until it is known what became of it. Node and item go with it: if the node is gone, the item tells whether an
/// earlier attempt was carried out or somebody deleted the node.
async fn commit(session: &Session, (node, item): (&str, &str), multi: Multi) -> Consumed {
    let mut patience = Patience::new();
    let mut undecided = false;
    loop {
        let Err(mut error) = multi.clone().commit().await else {
            return Consumed::Applied;
        };
        undecided |= error.outcome() == Outcome::Unknown;
        if error.kind() == ErrorKind::NoNode && error.path() == Some(node) {
            if !undecided {
                return Consumed::Lost(LostReason::NodeDeleted);
            }
            // Answered after the multi, so it sees whatever that saw.
            match session.exists(item).await {
                Ok(None) => return Consumed::Applied,
                Ok(Some(_)) => return Consumed::Lost(LostReason::NodeDeleted),
                Err(looked) => error = looked,
            }
        }
        let over = match setback(&error) {
            Setback::Refused => return Consumed::Refused(error),
            Setback::Connection => patience.wait(session).await.is_err(),
            Setback::SessionEnded => true,
        };
        match (over, undecided) {
            (true, true) => return Consumed::Unknown,
            (true, false) => return Consumed::Lost(LostReason::SessionEnded),
            (false, _) => {}
        }
    }
}
