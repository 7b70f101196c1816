//! What goes on behind a guard: the own node is watched, a loss is noticed, and the node goes away at the end.
//!
//! The same task that queued for the lock; see [`contender`](super::contender).

use std::{pin::pin, sync::Arc};

use tokio::sync::oneshot;
use zk_client::{ErrorKind, Evidence, Session, WatchChange, WatchEvent};

use super::{
    entry::{Entry, Withdrawn},
    lost::{LostReason, Ownership},
};
use crate::{
    connection::{Patience, Setback, setback},
    error::Result,
};

/// How a guard ends, other than by being dropped.
#[derive(Debug)]
pub(super) enum Request {
    /// Delete the node, and answer.
    Release(oneshot::Sender<Result<()>>),
    /// The guard deletes the node itself, in a transaction: leave it alone until this tells that it is gone, or is dropped.
    Settle(oneshot::Receiver<()>),
}

/// Comes from the guard; closed when it was dropped.
pub(super) type Requests = oneshot::Receiver<Request>;

/// Keeps a granted lock until it is released, dropped or lost, and then sees to it that its node goes.
pub(super) async fn keep(
    mut entry: Entry,
    own: WatchChange,
    evidence: Evidence,
    ownership: Arc<Ownership>,
    mut requests: Requests,
) {
    let path = entry
        .node()
        .map(|node| Arc::clone(&node.path))
        .unwrap_or_default();
    let request = tokio::select! {
        biased;
        request = &mut requests => request.ok(),
        _ = ownership.lost() => None,
        reason = deletion(entry.session(), &path, own) => {
            ownership.end(reason);
            None
        }
    };
    // The guard may have spoken after the look at the channel and before the end of the ownership.
    requests.close();
    match request.or_else(|| requests.try_recv().ok()) {
        Some(Request::Release(reply)) => release(&mut entry, &evidence, &ownership, reply).await,
        Some(Request::Settle(gone)) => {
            drop(evidence);
            if gone.await.is_err() {
                entry.withdraw().await;
            }
        }
        None => {
            // Dropping the guard ended the ownership as well.
            let reason = ownership.end(LostReason::NoProofOfLife);
            match reason {
                LostReason::Released => {
                    tracing::debug!(path = %ownership.path(), node = %path, "lock released");
                }
                _ => tracing::warn!(path = %ownership.path(), node = %path, %reason, "lock lost"),
            }
            drop(evidence);
            entry.withdraw().await;
        }
    }
}

/// Deletes the node and answers whoever waits for that, at the latest when the session may be gone.
async fn release(
    entry: &mut Entry,
    evidence: &Evidence,
    ownership: &Ownership,
    reply: oneshot::Sender<Result<()>>,
) {
    ownership.end(LostReason::Released);
    let mut withdrawal = pin!(entry.withdraw());
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

/// Resolves when the node is gone, whoever deleted it, or the session is over.
pub(crate) async fn deletion(session: &Session, path: &str, first: WatchChange) -> LostReason {
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
                Ok((_, change)) => break change,
                Err(error) => error,
            };
            match setback(&error) {
                Setback::Connection if patience.wait(session).await.is_ok() => {}
                Setback::Connection | Setback::SessionEnded => return LostReason::SessionEnded,
                Setback::Refused if error.kind() == ErrorKind::NoNode => {
                    return LostReason::NodeDeleted;
                }
                Setback::Refused => {
                    tracing::warn!(path, %error, "a lock node cannot be watched any more");
                    return std::future::pending().await;
                }
            }
        };
    }
}
