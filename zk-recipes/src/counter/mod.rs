//! Counters: a number that many change and nobody loses, and a small shared number that everybody watches.
//!
//! **What they guarantee.** A change of an [`AtomicLong`] that returns `Ok` was made exactly once, on the value that it says;
//! one that returns an error other than [`Error::Unknown`] or [`Error::Timeout`] was not made, unless the outcome of an
//! [`Error::Client`] is unknown. Every change is a compare and
//! set of the node's version, so that no change overwrites another. It does **not** guarantee an answer:
//! [`Error::Unknown`] says that the change may or may not have been made. Nor does it hold if somebody deletes the node and
//! creates it again in the very moment of a change. [`SharedCount`] adds the last value at hand, at once and without I/O.
//!
//! **Fairness**: none. Changes that meet are repeated, and somebody always gets through; under heavy contention anyone can
//! be overtaken often. **CONNECTIONLOSS** during a change: reading the value back would not tell whose change it was,
//! so a change creates an ephemeral marker, `_c_{uuid}` below the counter, in the same transaction, and removes it afterwards; after
//! a lost answer the marker tells. A lost connection during a read is survived by reading again. **Suspension**: calls wait. **Expiry**
//! while the outcome is open: if the counter is unchanged in the next session the change is made then, else
//! [`Error::Unknown`] is all that can be said. What was not sent yet goes on in the next session.
//!
//! **Cancellation**: dropping the future leaves open whether the change is made; no marker stays on a session that lives on.
//! The node is created as needed, its parents as containers, with the client's default ACL. An
//! [`AtomicLong::without_marker`] costs one write for a change instead of three, and says `Unknown` more often.
//!
//! **Interoperable**, by [`CounterLayout`], with Curator's `DistributedAtomicLong` and `SharedCount` and with kazoo's
//! `Counter`; content in another form is refused.
//!
//! ```
//! # use zk_client::Client;
//! # use zk_recipes::{Error, prelude::*};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = zk_server::Server::builder().start().await?;
//! # let client = Client::connect(&server.connect_string()).await?;
//! let stock = client.atomic_long("/stock");
//! match stock.add(-3).await {
//!     Ok(change) => println!("{} of {} are left", change.after, change.before),
//!     Err(Error::Unknown { .. }) => println!("three may be gone or not: count them"),
//!     Err(error) => return Err(error.into()),
//! }
//!
//! let workers = client.shared_count("/workers").seed(4).start().await?;
//! assert_eq!(workers.current(), 4);                 // at once, always
//! workers.set(8).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Error::Unknown`]: crate::Error::Unknown
//! [`Error::Timeout`]: crate::Error::Timeout
//! [`Error::Client`]: crate::Error::Client

mod atomic;
mod change;
mod layout;
#[cfg(test)]
mod model;
mod shared;

pub use self::{
    atomic::{AtomicLong, CounterChange},
    layout::CounterLayout,
    shared::{SharedCount, SharedCountBuilder},
};
