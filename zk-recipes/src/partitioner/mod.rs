//! The partitioner: a set of items, divided among the members that are there.
//!
//! **What it guarantees.** At every moment at most one [`Allocation`] *is certain of* an item ([`Allocation::ensure`] is `Ok`): each item
//! of an allocation is a [`lock`](crate::lock) with that page's guarantees and limits, and with a token of its own, so this does
//! not rest on what the members see of each other. When the members stand still and everybody who is told to
//! [rebalance](Ended::Rebalance) releases and allocates again, every item is held in the end, and the numbers of items
//! differ by one at most. It does **not** guarantee that an item is held at every moment: between two allocations nobody holds
//! it, and after a death not before the session of the dead has expired. Nor does it move as few items as possible: who sees the
//! same members computes the same shares, every n-th item for each of n members, and a member that comes or goes changes
//! them all. While members come and go faster than they [settle](PartitionerBuilder::settle), nobody is given anything new.
//!
//! **Fairness**: shares are equal within one item; who has the larger ones is chance, and stays so until the members change. Everybody
//! has to name the same items: one that only some name is held by one of those, or by none. A holder that is told to rebalance and does
//! not release is waited for; [`Attempt::timeout`] ends the wait.
//!
//! **CONNECTIONLOSS** is survived while joining, waiting and locking. **Suspension** changes nothing but for what `ensure` says: without a
//! connection the members are seen as they were. **Expiry** ends an allocation ([`Ended::Lost`]); the member comes back by itself in the
//! client's next session, and allocates again. **Cancellation** is safe at every await: what was locked
//! is given back in the background. **No herd** beyond the one watch on the members that everybody has; in the queue for an item everybody watches
//! the node before its own.
//!
//! The members are a [`group`](crate::group) in `members`, the locks directories of their own in `items`, both below the path; all
//! of them containers with the client's default ACL, which the server removes when they are empty. Each member says its identity. The layout is not that of
//! kazoo's `SetPartitioner`; the two cannot be mixed at one path.
//!
//! ```
//! # use std::time::Duration;
//! # use zk_client::Client;
//! use zk_recipes::{partitioner::Ended, prelude::*};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! let shards = client.partitioner("/app/shards", ["a", "b", "c"]);
//! let shards = shards.settle(Duration::from_millis(50)).start().await?;
//! # let mut rounds = 0;
//! loop {
//!     let mine = shards.allocate().await?;
//!     for (shard, claim) in mine.claims() {
//!         println!("{shard} is mine, with token {}", claim.token());
//!     }
//!     # rounds += 1;
//!     # if rounds == 1 { break mine.release().await?; }
//!     // ... work on them, until:
//!     match mine.ended().await {
//!         Ended::Failed(error) => return Err(error.into()),
//!         Ended::Lost { item, reason } => println!("{item} is not mine any more: {reason}"),
//!         _ => mine.release().await?,
//!     }
//! }
//! shards.leave().await?;
//! # Ok(())
//! # }
//! ```

mod allocation;
#[cfg(test)]
mod model;
mod share;

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::{FutureExt, future::try_join_all};
use tokio::time::sleep;
use zk_client::{Client, ErrorKind};

pub use self::allocation::{Allocation, Ended};
use self::share::share;
use crate::{
    attempt::Attempt,
    cache::{Cache, CacheChanges},
    connection::within,
    contender::Options,
    error::{Error, Result},
    group::{Group, Member},
    lock::{Heartbeat, Lock, LockGuard},
    path::child,
};

/// For how long the members have to stand still, unless told.
const SETTLE: Duration = Duration::from_secs(1);
/// After how long to look again whether the members are seen.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What to divide, and how; made by [`partitioner`](crate::ClientExt::partitioner).
#[must_use = "nobody takes part until it is started"]
#[derive(Debug, Clone)]
pub struct PartitionerBuilder {
    client: Client,
    path: Arc<str>,
    items: BTreeSet<Arc<str>>,
    options: Options,
    settle: Duration,
    timeout: Option<Duration>,
}

impl PartitionerBuilder {
    pub(crate) fn new<I: AsRef<str>>(
        client: &Client,
        path: &str,
        items: impl IntoIterator<Item = I>,
    ) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            items: (items.into_iter()).map(|it| it.as_ref().into()).collect(),
            options: Options::default(),
            settle: SETTLE,
            timeout: None,
        }
    }

    /// For how long the members must not change before the items are divided among them; 1 s unless told.
    ///
    /// Longer where many come at once. It decides how often items move and not who may have them.
    pub const fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Lets [`start`](Self::start) give up after this long.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What to tell others who ask who is a member or holds an item; the client's identity unless told.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.options.identity = Some(identity.into());
        self
    }

    /// What is to prove that each item still is held; [`Heartbeat::Sync`] unless told.
    pub const fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// Joins the members; returns once this one is listed. From then on the others rebalance, and an item of its share is
    /// held by nobody until it [allocates](Partitioner::allocate).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when a time was given and has passed, [`Error::SessionGone`] when the client has no session for good, and
    /// what the client reports. Without a connection it waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the members, in the background.
    pub async fn start(self) -> Result<Partitioner> {
        let (client, path, timeout) = (self.client.clone(), Arc::clone(&self.path), self.timeout);
        within((&client, &path), timeout, self.join()).await
    }

    async fn join(self) -> Result<Partitioner> {
        let Self {
            client,
            path,
            items,
            options,
            settle,
            ..
        } = self;
        let group = Group::new(&client, &child(&path, "members"));
        // A name of its own each time: two in one process are two members.
        let me = client.guid();
        let identity = options.identity.as_deref();
        let identity = identity.unwrap_or_else(|| client.identity());
        let member = group.join(&me, identity).start().await?;
        let members = group.watch().start().await?;
        let division = Division {
            client,
            path,
            me: me.into(),
            items: Arc::new(items),
            options,
            settle,
            members,
        };
        Ok(Partitioner { member, division })
    }
}

/// One of the members among which items are divided.
///
/// Dropping it leaves them in the background; [`leave`](Self::leave) waits for that. What it was [allocated](Self::allocate)
/// stays locked until that is released or dropped.
#[must_use = "dropping it leaves the members"]
pub struct Partitioner {
    member: Member,
    division: Division,
}

impl Partitioner {
    /// The member's name, a UUID.
    #[must_use]
    pub fn name(&self) -> &str {
        self.member.name()
    }

    /// The members' names, as far as is known here.
    #[must_use]
    pub fn members(&self) -> BTreeSet<String> {
        self.division.names()
    }

    /// Waits until the members have settled, and for this one's share of the items: until those that have them have let go.
    ///
    /// Begins again when the members change meanwhile, and when an item is lost while it waits for another. Release an earlier allocation
    /// before: its items would be waited for, too.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::Timeout`] where a time was [given](Attempt::timeout); [`Error::SessionGone`] when the client
    /// has no session for good, and when this member left meanwhile; what [`lock`](crate::ClientExt::lock) fails with. Nothing stays locked then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what was locked so far, in the background.
    pub fn allocate(&self) -> Attempt<Allocation> {
        let (division, over) = (self.division.clone(), self.member.over());
        let span = tracing::debug_span!("partitioner", path = %division.path, me = %division.me);
        let (client, path) = (division.client.clone(), Arc::clone(&division.path));
        Attempt::plain((&client, &path, span), async move {
            tokio::select! {
                biased;
                // It would never see itself among the members again.
                error = over => Err(error),
                allocation = division.divide() => allocation,
            }
        })
    }

    /// Leaves the members and returns when this one is not listed any more.
    ///
    /// # Errors
    ///
    /// As [`Member::leave`].
    pub async fn leave(self) -> Result<()> {
        self.member.leave().await
    }
}

impl fmt::Debug for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partitioner")
            .field("path", &self.division.path)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Everything that an allocation is made of.
#[derive(Clone)]
struct Division {
    client: Client,
    path: Arc<str>,
    me: Arc<str>,
    items: Arc<BTreeSet<Arc<str>>>,
    options: Options,
    settle: Duration,
    members: Cache,
}

impl Division {
    /// Who is a member, as far as is known here.
    fn names(&self) -> BTreeSet<String> {
        let members = self.members.children(self.members.path());
        members.iter().map(|node| node.name().to_owned()).collect()
    }

    async fn divide(self) -> Result<Allocation> {
        loop {
            let members = self.settled().await?;
            let items = share(&members, &self.me, &self.items);
            tracing::debug!(members = members.len(), ?items, "settled");
            let locked = tokio::select! {
                biased;
                others = self.others_than(&members) => {
                    others?;
                    tracing::debug!("the members changed while waiting for items; begins again");
                    continue;
                }
                locked = self.lock(&items) => locked,
            };
            match locked {
                Ok(locks) => return Ok(Allocation::new(self, members, items, locks)),
                Err(error) if error.is_lost() => {
                    tracing::debug!(%error, "lost while waiting for another item; begins again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the members once they have not changed for the time to settle, and this one is among them.
    async fn settled(&self) -> Result<BTreeSet<String>> {
        let mut changes = self.members.changes();
        let mut seen = self.names();
        let mut settled = Box::pin(sleep(self.settle));
        loop {
            tokio::select! {
                biased;
                changed = change(&mut changes) => {
                    changed?;
                    let names = self.names();
                    if names != seen {
                        seen = names;
                        settled = Box::pin(sleep(self.settle));
                    }
                }
                () = &mut settled => {
                    if !self.members.is_stale() && seen.contains(&*self.me) {
                        return Ok(seen);
                    }
                    settled = Box::pin(sleep(self.settle.max(LOOK_AGAIN)));
                }
            }
        }
    }

    /// Returns when the members are others than these.
    async fn others_than(&self, members: &BTreeSet<String>) -> Result<()> {
        let mut changes = self.members.changes();
        while self.names() == *members {
            change(&mut changes).await?;
        }
        Ok(())
    }

    /// Locks all of the items; those that were locked are given back where one cannot be.
    async fn lock(&self, items: &[Arc<str>]) -> Result<Vec<LockGuard>> {
        let directory = child(&self.path, "items");
        let acquire = |item: &Arc<str>| {
            let path = child(&directory, &node_name(item));
            Lock::with(&self.client, &path).with_options(self.options.clone())
        };
        // All at once: who sees the same members wants others, and who sees other members begins again.
        let locks = try_join_all(items.iter().map(acquire)).await?;
        for lock in &locks {
            lock.ensure()?;
        }
        Ok(locks)
    }
}

/// What the directory of an item is called: an item with a slash is no path.
fn node_name(item: &str) -> String {
    item.replace('%', "%25").replace('/', "%2F")
}

/// Returns when the members may have changed, however often.
async fn change(changes: &mut CacheChanges) -> Result<()> {
    let mut told = Some(changes.next().await);
    while let Some(change) = told {
        let reason = ErrorKind::Closed;
        change.unwrap_or(Err(Error::SessionGone { reason }))?;
        told = changes.next().now_or_never();
    }
    Ok(())
}
