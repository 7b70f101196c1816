//! How a node goes that is not wanted any more, and how many of one client's are on their way, so that they never pile up.
//!
//! Whoever is cancelled is not waited for: the withdrawal goes on in the background. A program that begins and cancels
//! faster than its server creates and deletes would have more and more nodes there, each of which makes every look at the
//! children dearer, until nothing is done any more but looking. So whoever begins to contend, or to put items, waits, on the same client,
//! while [`MANY`] withdrawals are on their way, until they are [`FEW`]. (Who takes items, changes a counter or enters a barrier asks
//! the server something first, behind all that is on its way, and that holds it up as well.) That holds nobody up who could have gone on: a withdrawal
//! waits for nothing but answers of the server, and ends with the session.

use std::sync::Arc;

use tokio::sync::watch;
use zk_client::{Client, Outcome, Session};

use crate::{
    connection::{Patience, Setback, setback},
    error::Error,
};

/// With so many on their way, whoever begins waits.
const MANY: usize = 128;
/// With so few, it goes on.
const FEW: usize = 64;

/// Those of one client.
#[derive(Debug, Default)]
struct Withdrawals {
    pending: watch::Sender<usize>,
}

/// One that is on its way; done when dropped.
#[derive(Debug)]
pub(crate) struct Withdrawal(Arc<Withdrawals>);

/// Counts one more.
fn begin(client: &Client) -> Withdrawal {
    Withdrawals::begin(&client.shared_state())
}

/// Returns when there are few enough.
pub(crate) async fn few(client: &Client) {
    client.shared_state::<Withdrawals>().few().await;
}

/// What became of a node that was withdrawn.
#[derive(Debug)]
pub(crate) enum Withdrawn {
    /// This withdrawal deleted the node, or there was none to delete.
    Deleted,
    /// Somebody else had deleted the node.
    WasGone,
    /// The session ended, and the node with it.
    SessionEnded,
    /// The server does not let this client delete the node; it stays until it does, or the session ends.
    Refused(Error),
}

/// A node of a session that may have to go.
pub(crate) trait Withdraw: Send {
    /// The session that it is created, looked up and deleted in.
    fn session(&self) -> &Session;

    /// Whether there is certainly no such node.
    fn is_absent(&self) -> bool;

    /// Deletes the node; false where there was none although there should have been one.
    ///
    /// After an error it is to be repeated; it then looks first where the outcome was unknown.
    fn try_withdraw(&mut self) -> impl Future<Output = zk_client::Result<bool>> + Send;
}

/// Makes the node go away, however long that takes while the session lives; counted meanwhile.
pub(crate) async fn withdraw(node: &mut impl Withdraw) -> Withdrawn {
    let _counted = (!node.is_absent()).then(|| begin(node.session()));
    let mut patience = Patience::new();
    let mut sure = true;
    loop {
        let error = match node.try_withdraw().await {
            Ok(true) => return Withdrawn::Deleted,
            // After a lost connection an earlier attempt may have deleted it.
            Ok(false) if sure => return Withdrawn::WasGone,
            Ok(false) => return Withdrawn::Deleted,
            Err(error) => error,
        };
        sure &= error.outcome() == Outcome::NotApplied;
        match setback(&error) {
            Setback::SessionEnded => return Withdrawn::SessionEnded,
            Setback::Connection if patience.wait(node.session()).await.is_err() => {
                return Withdrawn::SessionEnded;
            }
            Setback::Connection => {}
            Setback::Refused => return Withdrawn::Refused(error.into()),
        }
    }
}

impl Withdrawals {
    fn begin(this: &Arc<Self>) -> Withdrawal {
        // Nobody waits for more of them.
        this.pending.send_if_modified(|pending| {
            *pending += 1;
            false
        });
        Withdrawal(Arc::clone(this))
    }

    async fn few(&self) {
        if *self.pending.borrow() < MANY {
            return;
        }
        // The sender is here, so it cannot be gone.
        let _ = self
            .pending
            .subscribe()
            .wait_for(|pending| *pending <= FEW)
            .await;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.0.pending.send_if_modified(|pending| {
            *pending -= 1;
            *pending == FEW
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_begins_waits_while_there_are_many_and_until_they_are_few() {
        let all = Arc::<Withdrawals>::default();
        let mut on_their_way: Vec<_> = (1..MANY).map(|_| Withdrawals::begin(&all)).collect();
        assert!(all.few().now_or_never().is_some());
        on_their_way.push(Withdrawals::begin(&all));
        let mut waiting = Box::pin(all.few());
        assert!((&mut waiting).now_or_never().is_none());
        on_their_way.truncate(FEW + 1);
        assert!((&mut waiting).now_or_never().is_none());
        on_their_way.truncate(FEW);
        assert!((&mut waiting).now_or_never().is_some());
        // It rose again before whoever waits had a look.
        let mut more: Vec<_> = (FEW..MANY).map(|_| Withdrawals::begin(&all)).collect();
        let mut waiting = Box::pin(all.few());
        assert!((&mut waiting).now_or_never().is_none());
        more.clear();
        more.extend((FEW..MANY).map(|_| Withdrawals::begin(&all)));
        assert!((&mut waiting).now_or_never().is_none());
        more.clear();
        on_their_way.clear();
        assert!((&mut waiting).now_or_never().is_some());
    }
}
