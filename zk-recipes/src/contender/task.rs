//! The task of one contender: contend, hand over the guard, and go on as its keeper.
//!
//! All state is in this one task, which runs on the client's runtime. Whoever waits for the guard holds one end of a
//! channel; when that is dropped, the task withdraws its entry, wherever it is. So nothing has to be spawned in a `Drop`, and
//! dropping works outside a runtime.

use zk_client::{Client, ErrorKind, Evidence, SessionId};

use super::{
    Answer, Guard, Heartbeat, Kind, Writes,
    entry::{Entry, EntryNode, OwnWatch},
    keep, withdrawals,
};
use crate::{
    connection::{Persistence, Setback, connected, setback},
    error::{Error, Result},
};

/// How a recipe goes about what it wants, in one session after another.
pub(crate) trait Recipe: Send {
    /// The client, in whatever session.
    fn client(&self) -> &Client;

    /// What is to prove that it still is held.
    fn heartbeat(&self) -> Heartbeat;

    /// An entry for the client's present session; whatever was known of an earlier one is forgotten.
    fn begin(&mut self) -> Entry;

    /// One attempt in the entry's session: ends with a grant, or with an error after which it is repeated.
    ///
    /// May be dropped at any await: the entry then still knows what to look for. Every step that a server answered resets
    /// the persistence, however long the wait: only sessions in which nothing was possible count as fruitless.
    fn attempt(
        &mut self,
        entry: &mut Entry,
        persistence: &mut Persistence,
    ) -> impl Future<Output = Result<(EntryNode, Grant), Stop>> + Send;
}

/// How an attempt ended without a grant.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The connection is lost or the server busy; the entry stands.
    Setback(zk_client::Error),
    /// Somebody is before, and this contender does not wait.
    Busy,
    /// There is no point in going on.
    Fail(Error),
}

impl From<zk_client::Error> for Stop {
    fn from(error: zk_client::Error) -> Self {
        Self::Setback(error)
    }
}

/// What was granted, with what proves it.
#[derive(Debug)]
pub(crate) struct Grant {
    /// A watch on the own node.
    pub(crate) own: OwnWatch,
    /// Sent before the look that granted it.
    pub(crate) evidence: Evidence,
}

/// Runs until what was granted is released or lost and its node gone, or until nobody waits any more.
pub(crate) async fn serve<K: Kind>(mut recipe: impl Recipe, mut answer: Answer<K>) {
    let entry = tokio::select! {
        biased;
        () = answer.closed() => return,
        entry = first_entry(&mut recipe) => entry,
    };
    let mut entry = match entry {
        Ok(entry) => entry,
        Err(error) => {
            // Whoever waited may be gone by now.
            let _ = answer.send(Err(error));
            return;
        }
    };
    let outcome = tokio::select! {
        biased;
        () = answer.closed() => None,
        outcome = contend(&mut recipe, &mut entry) => Some(outcome),
    };
    // What it needed only on the way, a mutex for instance, is given back.
    drop(recipe);
    match outcome {
        Some(Ok(Some((node, grant, writes)))) => {
            let hand_over = |guard: Guard<K>| drop(answer.send(Ok(Some(guard))));
            keep(entry, node, (grant, writes), hand_over).await;
        }
        Some(other) => {
            // Whoever waited may be gone by now.
            let _ = answer.send(other.map(|_| None));
            entry.withdraw_surely().await;
        }
        None => {
            tracing::debug!(path = entry.directory(), "nobody waits for it any more");
            entry.withdraw_surely().await;
        }
    }
}

/// In a session that exists: before there is one, an entry could not tell its own node from another's. Not before those
/// that were cancelled are mostly gone.
async fn first_entry(recipe: &mut impl Recipe) -> Result<Entry> {
    withdrawals::few(recipe.client()).await;
    if recipe.client().session().id() == SessionId::NONE {
        connected(recipe.client()).await?;
    }
    Ok(recipe.begin())
}

/// Contends until it is granted; `None` if it is not to be waited for.
async fn contend(
    recipe: &mut impl Recipe,
    entry: &mut Entry,
) -> Result<Option<(EntryNode, Grant, Option<Writes>)>> {
    let mut persistence = Persistence::new();
    loop {
        let error = match recipe.attempt(entry, &mut persistence).await {
            Ok((node, grant)) => {
                let heartbeat = recipe.heartbeat();
                match Writes::begin(heartbeat, entry.session(), &node).await {
                    Ok(writes) => return Ok(Some((node, grant, writes))),
                    // Deleted meanwhile: the next look sees that.
                    Err(error) if error.kind() == ErrorKind::NoNode => continue,
                    Err(error) => error,
                }
            }
            Err(Stop::Busy) => return Ok(None),
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Setback(error)) => error,
        };
        let ended = setback(&error) == Setback::SessionEnded;
        if ended && !entry.is_absent() {
            // A request for its node got as far as the session.
            persistence.reset();
        }
        persistence.after(recipe.client(), error).await?;
        if ended {
            *entry = recipe.begin();
        }
    }
}
