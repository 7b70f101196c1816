//! What everybody who waits for something exclusive has in common: a node that is certainly removed, evidence that the
//! session lives, and a guard that knows when it is lost.
//!
//! ```text
//!   acquire  the future that users await; it starts a task on the client's runtime and holds one end of a channel
//!   task     what every contender does: contend, hand over the guard, go on as its keeper
//!   queue    contending by a queue of sequential nodes: mutex, read-write lock, leadership
//!   entry    the contender's node, from before its creation until it is certainly gone
//!   layout   how nodes are named, who blocks whom, and whose recipes that is compatible with
//!   keeper   what the task does after the grant: watch the own node, notice a loss, delete the node at the end
//!   heartbeat  what a holder's certainty rests on besides the client's evidence
//!   guard    what users hold; `lost` is the view that guard and keeper share
//!   who      who holds, and who waits
//!   withdrawals  how many of one client's nodes are being removed, so that they do not pile up
//! ```
//!
//! Invariants: a node is created, looked up and deleted in one session only; whoever is dropped, a task that runs already
//! removes the node; a guard is handed out only with evidence that was sent before the look that granted it.
//! Not here: what a recipe promises; that stands on the page of each.

mod acquire;
mod entry;
mod guard;
mod heartbeat;
mod keeper;
mod kind;
mod layout;
mod lost;
#[cfg(test)]
mod model;
mod queue;
mod task;
mod warning;
mod who;
pub(crate) mod withdrawals;

pub use self::{
    acquire::{Acquire, TryAcquire},
    guard::{Claim, Guard},
    heartbeat::Heartbeat,
    kind::{Exclusive, Fenced, Kind, Mutual, Queued},
    layout::LockLayout,
    lost::{Lost, LostReason},
    who::LockContender,
};
pub(crate) use self::{
    acquire::{Answer, Options, Wanted},
    entry::{Entry, EntryName, EntryNode, OwnWatch},
    heartbeat::Writes,
    keeper::{Request, deletion, keep},
    kind::{queue, queued, sealed},
    layout::{Naming, Role, downgraded},
    lost::Ownership,
    queue::{Contender, Look},
    task::{Grant, Recipe, Stop, serve},
    warning::Warning,
    who::{contender, contenders, holders, tell},
};
