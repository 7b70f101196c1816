//! Whole subtrees, from the leaves up.

use futures::future::BoxFuture;

use super::{Steps, Time, is_link_trouble, unsettled};
use crate::{
    client::Client,
    error::{Error, ErrorKind, Failure, Result},
};

/// How many requests are under way at once.
const IN_FLIGHT: usize = 256;
/// How often a subtree is listed again because children appeared under it.
const ROUNDS: usize = 16;

/// Delete a node and everything below it: [`Client::delete_all`].
#[derive(Debug, Clone)]
pub struct DeleteAll<'p> {
    pub(crate) path: &'p str,
}

impl<'c> Steps<'c> for DeleteAll<'c> {
    type Output = ();

    fn run(self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move {
            if self.path == "/" {
                let failure = Failure::bad_arguments("the root cannot be deleted");
                return Err(Error::new(failure, "delete", Some(self.path)));
            }
            // The first listing fails where there is no node at all.
            let nodes = descendants(client, self.path, time).await?;
            match delete_in_rounds(client, self.path, nodes, time).await {
                Err(error) if error.kind() == ErrorKind::NoNode => Ok(()),
                deleted => deleted.map_err(|error| unsettled(&error, "delete", self.path)),
            }
        })
    }
}

/// Deletes what was listed, and what has appeared meanwhile. That the node is gone in the end is an error here.
async fn delete_in_rounds(
    client: &Client,
    path: &str,
    mut nodes: Vec<String>,
    time: Time,
) -> Result<()> {
    for _ in 1..ROUNDS {
        if delete_in_order(client, &nodes, time).await? {
            return Ok(());
        }
        nodes = descendants(client, path, time).await?;
    }
    client
        .delete(path)
        .until(time.deadline_of_part(client))
        .await
}

/// A node and everything below it, every node before its children.
async fn descendants(client: &Client, path: &str, time: Time) -> Result<Vec<String>> {
    let mut nodes = vec![path.to_owned()];
    let mut listed = 0;
    while listed < nodes.len() {
        let end = nodes.len().min(listed + IN_FLIGHT);
        let mut level = Vec::with_capacity(end - listed);
        let deadline = time.deadline_of_part(client);
        for path in &nodes[listed..end] {
            level.push(client.children(path).until(deadline).submit().await?);
        }
        for (at, pending) in (listed..end).zip(level) {
            let names = match pending.await {
                // Alone it is repeated by itself, as often as the options say.
                Err(error) if error.is_retryable() => {
                    client.children(&nodes[at]).until(deadline).await
                }
                names => names,
            };
            match names {
                Ok(names) => {
                    let below = |name: String| format!("{}/{name}", nodes[at]);
                    let children: Vec<_> = names.into_iter().map(below).collect();
                    nodes.extend(children);
                }
                Err(error) if at > 0 && error.kind() == ErrorKind::NoNode => {}
                Err(error) => return Err(error),
            }
        }
        listed = end;
    }
    Ok(nodes)
}

/// Deletes children before their parents; false when a node has children that were not listed.
async fn delete_in_order(client: &Client, nodes: &[String], time: Time) -> Result<bool> {
    let mut complete = true;
    for chunk in nodes.rchunks(IN_FLIGHT) {
        let mut under_way = Vec::with_capacity(chunk.len());
        let deadline = time.deadline_of_part(client);
        for path in chunk.iter().rev() {
            under_way.push(client.delete(path).until(deadline).submit().await?);
        }
        for pending in under_way {
            match pending.await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NoNode => {}
                Err(error) if error.kind() == ErrorKind::OperationTimeout => return Err(error),
                Err(error) if error.kind() == ErrorKind::NotEmpty || is_link_trouble(&error) => {
                    complete = false;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(complete)
}
