//! Leadership: one leader at a time among those who want to be it, as a guard, as a latch, or as a listener.
//!
//! **What it guarantees.** At most one leadership of a path is *certain* ([`ensure`](crate::lock::Claim::ensure) is `Ok`) at any
//! time, with the limits of every [`lock`](crate::lock): clocks, paused processes, a deposed leader of the ensemble. Every leadership
//! has an **epoch**, its [`token`](crate::lock::Claim::token), larger than that of every leadership before it: put it into whatever the leader
//! commands, and let those who are commanded refuse a smaller one than they have seen. It does **not** guarantee that there always is a
//! leader: after one is gone without a word the next begins when the session has expired.
//!
//! **Fairness.** By arrival. Who loses the leadership, or gives it up, queues again at the end.
//!
//! **CONNECTIONLOSS** in any request is survived, and keeps the place in the queue. **Suspension** takes nobody's leadership
//! before the deadline, two thirds of the session timeout after the last sign of life; until then nobody else can have
//! it. **Expiry** ends it at that deadline; a [latch](LeaderLatch) and a [listener](LatchBuilder::listen) queue again in the client's next session
//! by themselves; a latch only when its old node is certainly gone, so that it never has two. **Cancellation** is safe at every await: no node stays on a session that lives
//! on. **No herd**: everybody watches the candidate before it.
//!
//! **A resumed session** still owns what its process held before: see [`lock`](crate::lock).
//!
//! * [`client.leader(path)`](crate::ClientExt::leader): waits, and gives a guard, for work that is done once.
//! * [`client.latch(path).start()`](crate::ClientExt::latch): takes part from now on; ask it, or watch its changes.
//! * [`client.latch(path).listen(listener)`](LatchBuilder::listen): calls you when you lead, and drops what you do when you do not.
//!
//! Shared with Curator's `LeaderLatch` ([`LockLayout::Curator`](crate::LockLayout::Curator)) or kazoo's `Election`
//! ([`LockLayout::Kazoo`](crate::LockLayout::Kazoo)) at the same path. Curator's `LeaderSelector` is a mutex: share a
//! [`lock`](crate::lock) with it.
//!
//! ```
//! # use zk_client::Client;
//! use zk_recipes::prelude::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(server.connect_string()).await?;
//! let leader = client.leader("/election").await?;                // the same kind of guard as a lock's
//! leader.ensure()?;
//! let orders = leader.run(async { "with epoch" }).await?;        // dropped when the leadership is lost
//! println!("{orders} {}", leader.token());
//! leader.release().await?;
//!
//! let latch = client.latch("/election").identity("node-1").start().await?;
//! let mut changes = latch.changes();                             // a Stream that begins with the present state
//! while let Some(state) = changes.next().await {
//!     if let LatchState::Leader(leadership) = state {
//!         println!("leads with epoch {}", leadership.token());
//!         break;
//!     }
//! }
//! assert!(latch.is_leader());
//! assert_eq!(latch.participants().await?[0].identity, "node-1");
//! latch.close().await?;
//! # Ok(())
//! # }
//! ```

mod decision;
mod latch;
mod listener;
#[cfg(test)]
mod model;

use zk_client::Client;

pub use self::{
    latch::{LatchBuilder, LatchChanges, LatchState, LeaderLatch},
    listener::LeaderListener,
};
use crate::{
    contender::{Acquire, Exclusive, Guard, queued},
    lock::Claim,
};

queued! {
    /// The leader of an [election](crate::leader).
    Leadership, Leader
}

impl Exclusive for Leadership {}

/// The guard of a leadership.
pub type LeaderGuard = Guard<Leadership>;

/// A leadership as its latch shows it.
pub type LeaderClaim = Claim<Leadership>;

pub(crate) fn acquire(client: &Client, path: &str) -> Acquire<Leadership> {
    Acquire::new(Some(client.clone()), path)
}
