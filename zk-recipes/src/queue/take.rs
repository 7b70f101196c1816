//! Taking items: look, claim, hand over; wait where there is nothing to claim.
//!
//! ```text
//!   look (items, claims, delayed ones) --> read an item --> multi [create the claim, set the item's data as it is (version)]
//!     ^                        |  ^                 +-- claimed; enough? --> deliveries
//!     |                        |  +-- somebody else's: the next one
//!     +-- wait (both watched) <+-- nothing left
//! ```
//!
//! Setting the data counts the delivery in the node's version, and fails if the item was delivered or consumed since it was
//! read.

use std::{future::pending, sync::Arc, time::Duration};

use zk_client::{Client, ErrorKind, Evidence, Outcome, Session};

use super::{Delivery, Place, delay::Due, delivery::Item, order};
use crate::{
    attempt::Answer,
    connection::{Persistence, Setback, setback},
    error::{Error, Result},
    held::Held,
    own_node::{OwnNode, present_session},
    parents,
};

/// What a consumer wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) max: usize,
    pub(super) waits: bool,
    pub(super) deliveries_max: Option<u32>,
}

/// An item and the claim on it, which may not be known to exist.
struct Claim {
    node: OwnNode,
    item: Item,
}

/// What a look found.
struct Seen {
    /// The names of the items to be had, in order.
    items: Vec<String>,
    due: Due,
}

enum Stop {
    Again(zk_client::Error),
    Fail(Error),
}

impl From<zk_client::Error> for Stop {
    fn from(error: zk_client::Error) -> Self {
        Self::Again(error)
    }
}

/// How long one that is due and may not be brought is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The children, of which there are none where there is no node.
fn or_none(children: zk_client::Result<Vec<String>>) -> zk_client::Result<Vec<String>> {
    match children {
        Err(error) if error.kind() == ErrorKind::NoNode => Ok(Vec::new()),
        children => children,
    }
}

/// Whether this one item is not to be had, for certain.
pub(super) fn is_refused(error: &zk_client::Error) -> bool {
    setback(error) == Setback::Refused && error.outcome() == Outcome::NotApplied
}

/// The task that takes items.
pub(super) async fn run<T>(
    place: Arc<Place>,
    request: Request,
    mut answer: Answer<T>,
    finish: impl FnOnce(Vec<Delivery>) -> Result<T>,
) {
    let mut claims = Vec::new();
    let taken = tokio::select! {
        biased;
        () = answer.closed() => None,
        taken = place.take(request, &mut claims) => Some(taken),
    };
    if let Some(taken) = taken {
        // If nobody waits any more, the deliveries come back here, and dropping them gives the items back.
        drop(answer.send(taken.and_then(finish)));
    }
    for mut claim in claims {
        claim.node.withdraw().await;
    }
}

impl Place {
    /// Dropped at any point, the claims left behind are seen to by who owns them.
    async fn take(&self, request: Request, claims: &mut Vec<Claim>) -> Result<Vec<Delivery>> {
        let mut persistence = Persistence::new();
        loop {
            let session = present_session(&self.client).await?;
            let taken = self.take_in(&session, request, claims, &mut persistence);
            let error = match taken.await {
                Ok(deliveries) => return Ok(deliveries),
                Err(Stop::Fail(error)) => return Err(error),
                Err(Stop::Again(error)) => error,
            };
            if setback(&error) == Setback::SessionEnded {
                // Gone with their session.
                claims.clear();
            }
            persistence.after(&self.client, error).await?;
        }
    }

    async fn take_in(
        &self,
        session: &Session,
        request: Request,
        claims: &mut Vec<Claim>,
        persistence: &mut Persistence,
    ) -> Result<Vec<Delivery>, Stop> {
        self.check(session).await?.map_err(Stop::Fail)?;
        self.settle(session, claims).await?;
        loop {
            let evidence = session.evidence().submit().await?;
            let seen = self.look(session).await?;
            let mut refused = None;
            for name in &seen.items {
                if claims.len() >= request.max {
                    break;
                }
                match self.try_claim(session, name, request, claims).await {
                    Err(Stop::Again(error)) if is_refused(&error) => {
                        tracing::warn!(queue = %self.path, name, %error, "an item is passed over");
                        claims.retain(|claim| !claim.node.is_absent());
                        refused.get_or_insert(error);
                    }
                    tried => tried?,
                }
            }
            let evidence = evidence.await?;
            if let (true, Some(error)) = (claims.is_empty(), refused) {
                return Err(Stop::Fail(error.into()));
            }
            if claims.is_empty() && !request.waits {
                return Ok(Vec::new());
            }
            if claims.is_empty() {
                drop(evidence);
                self.wait(session, seen.due, persistence).await?;
                continue;
            }
            let deliveries = self.deliver(claims, &evidence).await?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    /// Finds out about claims whose answer was lost; those of an earlier session are gone with it.
    async fn settle(&self, session: &Session, claims: &mut Vec<Claim>) -> Result<(), Stop> {
        claims.retain(|claim| claim.node.session().id() == session.id());
        let mut at = 0;
        while let Some(claim) = claims.get_mut(at) {
            match claim.node.settle().await? {
                true => at += 1,
                false => drop(claims.remove(at)),
            }
        }
        Ok(())
    }

    /// The items to be had now, in order, once those that are due are among them.
    async fn look(&self, session: &Session) -> Result<Seen, Stop> {
        let mut due = Due::None;
        loop {
            let entries = session.children(&self.entries).submit().await?;
            let taken = session.children(&self.taken).submit().await?;
            let delayed = session.children(&self.delayed).submit().await?;
            let entries = match entries.await {
                Err(error) if error.kind() == ErrorKind::NoNode => {
                    self.create(session).await?;
                    Vec::new()
                }
                entries => entries?,
            };
            let (taken, delayed) = (or_none(taken.await)?, or_none(delayed.await)?);
            if due != Due::Refused {
                due = self.bring_due(session, &delayed).await?;
                if due != Due::None {
                    continue;
                }
            }
            let items = order::available(&entries, &taken);
            let items = items.into_iter().map(str::to_owned).collect();
            return Ok(Seen { items, due });
        }
    }

    /// Waits until there may be something to be had.
    async fn wait(
        &self,
        session: &Session,
        due: Due,
        persistence: &mut Persistence,
    ) -> Result<(), Stop> {
        persistence.reset();
        let entries = session.children(&self.entries).watch().submit().await?;
        let taken = session.children(&self.taken).watch().submit().await?;
        let delayed = session.children(&self.delayed).watch().submit().await?;
        let ((entries, new), (taken, back), (delayed, due_anew)) =
            match (entries.await, taken.await, delayed.await) {
                (Ok(entries), Ok(taken), Ok(delayed)) => (entries, taken, delayed),
                (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                    if error.kind() == ErrorKind::NoNode {
                        return Ok(self.create(session).await?);
                    }
                    return Err(error.into());
                }
            };
        let mut left = self.until_due(session, &delayed).await?;
        if due == Due::Refused {
            left = left.map(|left| left.max(PAUSE));
        }
        if !order::available(&entries, &taken).is_empty() || left == Some(Duration::ZERO) {
            return Ok(());
        }
        let comes_back = async {
            // Without items nothing is claimed that could; claims of others are none of our business.
            match entries.is_empty() {
                true => pending().await,
                false => drop(back.await),
            }
        };
        let is_due = async {
            match left {
                None => pending().await,
                Some(left) => tokio::time::sleep(left).await,
            }
        };
        tokio::select! {
            _ = new => {}
            () = comes_back => {}
            _ = due_anew => {}
            () = is_due => {}
        }
        Ok(())
    }

    /// Claims one item, if it is to be had.
    async fn try_claim(
        &self,
        session: &Session,
        name: &str,
        request: Request,
        claims: &mut Vec<Claim>,
    ) -> Result<(), Stop> {
        let path: Arc<str> = parents::child(&self.entries, name).into();
        let Some(node) = session.get_opt(&path).await? else {
            return Ok(());
        };
        let item = Item {
            path,
            data: node.data,
            delivered: u32::try_from(node.stat.version).unwrap_or(u32::MAX),
            stat: node.stat,
        };
        if (request.deliveries_max).is_some_and(|max| item.delivered >= max) {
            return Ok(self.bury(session, name, &item).await?);
        }
        // Who has it, and which of this session's attempts.
        let data = format!("{}\n{}", session.identity(), session.guid());
        let node = OwnNode::new(session.clone(), item.claim(&self.taken), data);
        // It is owned by the list before it may exist.
        claims.push(Claim { node, item });
        let Some(claim) = claims.last_mut() else {
            return Ok(());
        };
        loop {
            let set = (claim.node.multi()).set(&claim.item.path, claim.item.data.clone());
            let multi = set.version(claim.item.stat.version);
            let Err(error) = claim.node.commit(multi).await else {
                tracing::debug!(item = %claim.item.path, "claimed");
                return Ok(());
            };
            match error.kind() {
                ErrorKind::NoNode if error.path() == Some(claim.node.path()) => {
                    self.create(session).await?;
                    continue;
                }
                ErrorKind::NoNode | ErrorKind::NodeExists | ErrorKind::BadVersion => {
                    drop(claims.pop());
                    return Ok(());
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Hands the claims over; fewer where one was lost meanwhile.
    async fn deliver(
        &self,
        claims: &mut Vec<Claim>,
        evidence: &Evidence,
    ) -> Result<Vec<Delivery>, Stop> {
        let mut watches = Vec::new();
        for claim in &mut *claims {
            watches.push(claim.node.watch().await?);
        }
        if evidence.time_left().is_none() {
            // Too old by now: look again, with another.
            return Ok(Vec::new());
        }
        let mut deliveries = Vec::new();
        for (Claim { node, item }, own) in claims.drain(..).zip(watches) {
            if let Some(own) = own {
                let held = Held::new(&item.path, node, own, evidence.clone());
                deliveries.push(Delivery::new(held, item));
            }
        }
        Ok(deliveries)
    }

    /// Moves an item to the dead letters, unless somebody has claimed it.
    async fn bury(&self, client: &Client, name: &str, item: &Item) -> zk_client::Result<()> {
        let priority = order::priority(name).unwrap_or(super::DEFAULT_PRIORITY);
        let letter = parents::child(&self.dead, &order::prefix(priority));
        let claim = item.claim(&self.taken);
        let multi = (client.multi().create(&claim, "").ephemeral())
            .create(&letter, item.data.clone())
            .sequential()
            .delete(&item.path)
            .version(item.stat.version)
            .delete(&claim);
        loop {
            match multi.clone().commit().await {
                Ok(_) => {
                    tracing::warn!(item = %item.path, deliveries = item.delivered, "an item is a dead letter");
                    return Ok(());
                }
                Err(error)
                    if error.kind() == ErrorKind::NoNode && error.path() != Some(&*item.path) =>
                {
                    self.create(client).await?;
                    self.create_dead(client).await?;
                }
                // Claimed, consumed or buried by somebody else.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NodeExists | ErrorKind::NoNode | ErrorKind::BadVersion
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}
