//! Who holds, and who waits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zk_client::{Client, ErrorKind, Node, SessionId, Zxid};

use super::{Naming, layout::Child};
use crate::{
    error::Result,
    parents::child,
    queue_order::{Contender, sort},
    revocation::asks,
};

/// One of those who hold or wait for a lock, a lease or a leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockContender {
    /// The contender's node, within the lock's directory.
    pub node: String,
    /// What the contender says it is: the node's data as text. Empty where it says nothing, or was asked to let go.
    pub identity: String,
    /// Since when it contends, by the leader's clock.
    pub since: SystemTime,
    /// The transaction that created its node; the fencing token, if it holds.
    pub token: Zxid,
    /// The session that it contends in.
    pub session: SessionId,
    /// Whether somebody has [asked](crate::revocation) it to let go; that takes the place of what it says it is.
    pub is_revoked: bool,
}

impl LockContender {
    /// For how long it contends, as far as this machine's clock and the leader's agree.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }
}

/// The contenders in the order of their queue, the holder first.
pub(crate) async fn contenders(
    client: &Client,
    path: &str,
    naming: Naming,
) -> Result<Vec<LockContender>> {
    let names = children(client, path).await?;
    nodes(client, path, queue(&names, naming)).await
}

/// Everybody who has a node in `path`, by the age of the nodes.
pub(crate) async fn holders(client: &Client, path: &str) -> Result<Vec<LockContender>> {
    let names = children(client, path).await?;
    let names = names.iter().map(String::as_str).collect();
    let mut holders = nodes(client, path, names).await?;
    holders.sort_by_key(|holder| holder.token);
    Ok(holders)
}

async fn children(client: &Client, path: &str) -> Result<Vec<String>> {
    match client.children(path).await {
        Err(error) if error.kind() == ErrorKind::NoNode => Ok(Vec::new()),
        names => Ok(names?),
    }
}

/// What these nodes say; those that are gone by now say nothing.
async fn nodes(client: &Client, path: &str, names: Vec<&str>) -> Result<Vec<LockContender>> {
    let mut answers = Vec::new();
    for name in names {
        let path = child(path, name);
        answers.push((name, client.get_opt(&path).submit().await?));
    }
    let mut contenders = Vec::with_capacity(answers.len());
    for (name, answer) in answers {
        contenders.extend(answer.await?.map(|node| contender(name, &node)));
    }
    Ok(contenders)
}

/// Says who is holding what is waited for a long time.
pub(super) async fn warn(client: &Client, path: &str, naming: Naming, waited: Duration) {
    tell(path, waited, first(client, path, naming).await);
}

/// Warns of a long wait, with the name of who is to blame.
pub(crate) fn tell(path: &str, waited: Duration, holder: Result<Option<LockContender>>) {
    match holder {
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

async fn first(client: &Client, path: &str, naming: Naming) -> Result<Option<LockContender>> {
    let names = client.children(path).await?;
    for name in queue(&names, naming) {
        if let Some(node) = client.get_opt(&child(path, name)).await? {
            return Ok(Some(contender(name, &node)));
        }
    }
    Ok(None)
}

/// The names of a recipe's contenders in the order of the queue; foreign ones have no place in it.
fn queue(names: &[String], naming: Naming) -> Vec<&str> {
    let contender = |name| match naming.classify(name) {
        Child::Contender { sequence, .. } => Some(Contender { name, sequence }),
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

pub(crate) fn contender(name: &str, node: &Node) -> LockContender {
    let since_ms = u64::try_from(node.stat.ctime).unwrap_or_default();
    let is_revoked = asks(&node.data);
    LockContender {
        node: name.to_owned(),
        identity: match is_revoked {
            true => String::new(),
            false => String::from_utf8_lossy(&node.data).into_owned(),
        },
        since: UNIX_EPOCH + Duration::from_millis(since_ms),
        token: node.stat.czxid,
        session: node.stat.ephemeral_owner,
        is_revoked,
    }
}
