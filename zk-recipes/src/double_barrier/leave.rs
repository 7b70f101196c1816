//! Leaving: the own node goes, and then the wait until those of all others have.

use std::sync::Arc;

use zk_client::{Client, ErrorKind};

use super::{
    Inside, Member,
    enter::{Stop, own_name},
    round,
};
use crate::{
    attempt::Answer,
    connection::{Persistence, Setback, setback},
    error::Result,
    own_node::{OwnNode, Withdrawn},
    parents,
};

/// The task that leaves.
pub(super) async fn run(member: Arc<Member>, begun: Result<Inside>, mut answer: Answer<()>) {
    let inside = match begun {
        Ok(inside) => inside,
        Err(error) => {
            // Whoever waited may be gone by now.
            let _ = answer.send(Err(error));
            return;
        }
    };
    let Inside { held, round, .. } = inside;
    let mut node = match held.hand_over().await {
        Ok(node) => node,
        Err(lost) => {
            member.withdraw(None).await;
            // Whoever waited may be gone by now.
            let _ = answer.send(Err(lost));
            return;
        }
    };
    let left = tokio::select! {
        biased;
        () = answer.closed() => None,
        left = member.leave(&mut node, round) => Some(left),
    };
    let rest = (!node.is_absent()).then_some(&mut node);
    member.withdraw(rest).await;
    if let Some(left) = left {
        tracing::debug!(round, "left");
        // Whoever waited may be gone by now.
        let _ = answer.send(left);
    }
}

impl Member {
    async fn leave(&self, node: &mut OwnNode, round: u64) -> Result<()> {
        let mut persistence = Persistence::new();
        let me = own_name(node);
        loop {
            match self.leave_once(node, &me, round).await {
                Ok(true) => return Ok(()),
                Ok(false) => persistence.reset(),
                Err(Stop::Fail(error)) => return Err(error),
                Err(Stop::Again(error)) => {
                    if setback(&error) == Setback::SessionEnded {
                        // The node is gone with its session: it has left.
                        node.was_deleted();
                    }
                    persistence.after(&self.client, error).await?;
                }
            }
        }
    }

    /// One look and what follows from it; whether everybody has left.
    async fn leave_once(&self, node: &mut OwnNode, me: &str, round: u64) -> Result<bool, Stop> {
        let children = self.children().await?;
        // Of a session that ended the server may have the node for a while: it is another's to wait for then.
        let me = if node.is_absent() { "" } else { me };
        match round::leave(round, me, &children) {
            round::Leave::Done => return Ok(true),
            round::Leave::Delete => match node.withdraw().await {
                Withdrawn::Refused(error) => return Err(Stop::Fail(error)),
                Withdrawn::SessionEnded => node.was_deleted(),
                Withdrawn::Deleted | Withdrawn::WasGone => {}
            },
            round::Leave::Watch(name) => {
                gone(&self.client, &parents::child(&self.path, name)).await?;
            }
        }
        Ok(false)
    }

    /// The members as the leader sees them; none where the barrier's node is gone.
    async fn children(&self) -> zk_client::Result<Vec<String>> {
        let sync = self.client.sync(&self.path).submit().await?;
        let children = self.client.children(&self.path).submit().await?;
        sync.await?;
        match children.await {
            Err(error) if error.kind() == ErrorKind::NoNode => Ok(Vec::new()),
            children => children,
        }
    }
}

/// Returns when the node changed, or is not there.
async fn gone(client: &Client, path: &str) -> zk_client::Result<()> {
    match client.get(path).watch().await {
        Ok((_, change)) => {
            change.await;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NoNode => Ok(()),
        Err(error) => Err(error),
    }
}
