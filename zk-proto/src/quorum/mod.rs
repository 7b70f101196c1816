//! What the members of an ensemble say to each other.
//!
//! *Election port* (`QuorumCnxManager`, `FastLeaderElection`): an [`InitialMessage`] from the member that dials,
//! then [`Notification`]s in frames, both ways. *Quorum port* (`Leader`, `LearnerHandler`, `Learner`):
//! [`QuorumPacket`]s back to back, with no length before them; [`LearnerMessage`] is what they mean. After SNAP the
//! quorum port carries a snapshot's sessions, ACL cache and nodes ([`crate::persist::SnapshotCursor`]) and
//! [`SNAP_SIGNATURE`], then packets again.
//!
//! Invariant: both streams are parsed incrementally, with a limit; no memory is reserved on the word of a length.
//!
//! Deliberately not here: who may say what when. A message that is legal in itself may be misbehaviour in its phase.

mod auth;
mod initial_message;
mod learner_info;
mod message;
mod notification;
mod packet;

pub use auth::{QUORUM_AUTH_MAGIC, QuorumAuthPacket};
pub use initial_message::{ElectionAddress, InitialMessage};
pub use learner_info::{LearnerInfo, PROTOCOL_VERSION};
pub use message::{LearnerMessage, SessionTouch};
pub use notification::{ELECTION_MESSAGE_MAX, Notification, ServerState};
pub use packet::{PacketType, QuorumPacket, SNAP_SIGNATURE, take_packet};
