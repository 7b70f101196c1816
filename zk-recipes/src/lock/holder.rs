//! Who holds a lock, and who waits for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zk_client::{Client, ErrorKind, Node, SessionId, Zxid};

use super::{LockLayout, entry::child, layout::Child};
use crate::{
    error::Result,
    queue_order::{Contender, sort},
};

/// One of those who hold or wait for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockContender {
    /// The contender's node, within the lock's directory.
    pub node: String,
    /// What the contender says it is: the node's data as text. Empty where it says nothing.
    pub identity: String,
    /// Since when it contends, by the leader's clock.
    pub since: SystemTime,
    /// The transaction that created its node; the fencing token, if it holds.
    pub token: Zxid,
    /// The session that it contends in.
    pub session: SessionId,
}

/// The contenders of a lock in the order of its queue, the holder first.
pub(super) async fn contenders(
    client: &Client,
    path: &str,
    layout: LockLayout,
) -> Result<Vec<LockContender>> {
    let names = match client.children(path).await {
        Err(error) if error.kind() == ErrorKind::NoNode => Vec::new(),
        names => names?,
    };
    let mut answers = Vec::new();
    for name in queue(&names, layout) {
        let path = child(path, name);
        answers.push((name, client.get_opt(&path).submit().await?));
    }
    let mut contenders = Vec::with_capacity(answers.len());
    for (name, answer) in answers {
        contenders.extend(answer.await?.map(|node| contender(name, &node)));
    }
    Ok(contenders)
}

/// Says who is holding a lock that is waited for a long time.
pub(super) async fn warn(client: &Client, path: &str, layout: LockLayout, waited: Duration) {
    match first(client, path, layout).await {
        Ok(Some(holder)) => tracing::warn!(
            lock = path,
            ?waited,
            holder = %holder.identity,
            node = %holder.node,
            session = %holder.session,
            "still waiting for a lock"
        ),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(lock = path, ?waited, %error, "still waiting for a lock, its holder is unknown")
        }
    }
}

async fn first(client: &Client, path: &str, layout: LockLayout) -> Result<Option<LockContender>> {
    let names = client.children(path).await?;
    for name in queue(&names, layout) {
        if let Some(node) = client.get_opt(&child(path, name)).await? {
            return Ok(Some(contender(name, &node)));
        }
    }
    Ok(None)
}

/// The names of this layout's contenders in the order of the queue; foreign ones have no place in it.
fn queue(names: &[String], layout: LockLayout) -> Vec<&str> {
    let contender = |name| match layout.classify(name) {
        Child::Contender(sequence) => Some(Contender { name, sequence }),
        _ => None,
    };
    let mut queue: Vec<_> = names
        .iter()
        .map(String::as_str)
        .filter_map(contender)
        .collect();
    sort(&mut queue);
    queue.into_iter().map(|contender| contender.name).collect()
}

fn contender(name: &str, node: &Node) -> LockContender {
    let since_ms = u64::try_from(node.stat.ctime).unwrap_or_default();
    LockContender {
        node: name.to_owned(),
        identity: String::from_utf8_lossy(&node.data).into_owned(),
        since: UNIX_EPOCH + Duration::from_millis(since_ms),
        token: node.stat.czxid,
        session: node.stat.ephemeral_owner,
    }
}
