//! An async, session-aware ZooKeeper client.

#![cfg_attr(
    not(feature = "driver"),
    allow(dead_code, reason = "what the driver and its callers use of the core")
)]

#[doc(hidden)]
pub mod core;
mod error;
mod retry;
mod state;
mod watcher;

#[cfg(feature = "driver")]
mod client;
#[cfg(feature = "driver")]
mod composed;
#[cfg(feature = "driver")]
mod control;
#[cfg(feature = "driver")]
mod create;
#[cfg(feature = "driver")]
mod current;
#[cfg(feature = "driver")]
mod driver;
#[cfg(feature = "driver")]
mod evidence;
#[cfg(feature = "driver")]
pub mod multi;
#[cfg(feature = "driver")]
mod operation;
#[cfg(feature = "driver")]
mod options;
#[cfg(feature = "driver")]
mod payload;
#[cfg(feature = "driver")]
mod read;
#[cfg(feature = "driver")]
mod write;

pub use error::{Error, ErrorKind, Outcome, Result};
pub use retry::RetryPolicy;
pub use state::{SessionEnd, SessionState};
pub use watcher::{NodeChange, WatchEvent};
pub use zk_proto::{Acl, ErrorCode, Id, Password, Perms, SessionId, Stat, Zxid};

#[cfg(feature = "driver")]
pub use self::{
    client::{Client, Session, SessionEnded},
    create::Created,
    current::Installed,
    evidence::{Evidence, EvidenceLoss, EvidenceLost},
    multi::{Multi, MultiResult},
    operation::{Operation, Pending},
    options::{ClientBuilder, OnExpiry, WhileDisconnected},
    payload::Payload,
    read::{Children, Identity, Node, NodeAcl},
    state::States,
    watcher::{Watch, WatchChange},
};

/// The operations behind [`Client`]'s methods, for naming their types.
#[cfg(feature = "driver")]
pub mod op {
    pub use crate::{
        composed::{Composed, CreateAll, DeleteAll, Ensure, ProtectedCreate, Steps, Update},
        control::{AddAuth, Close},
        create::Create,
        evidence::ProveLife,
        operation::Call,
        read::{
            CountDescendants, Exists, Get, GetAcl, GetOpt, ListChildren, ListChildrenWithStat,
            ListEphemerals, SyncPath, Watchable, Watched, WhoAmI,
        },
        watcher::AddWatch,
        write::{Delete, Set, SetAcl},
    };
}

/// The network beneath a client, for tests that bring their own.
#[cfg(feature = "driver")]
pub mod net {
    pub use crate::driver::{Net, Stream, TcpNet};
}

/// What public bounds mention and nobody outside needs.
#[doc(hidden)]
pub mod private {
    pub use crate::{error::Failure, watcher::EventQueue};
    #[cfg(feature = "driver")]
    pub use crate::{
        evidence::EvidenceHold,
        operation::{Attached, ClientParts, Finish, Surroundings, Wants, sealed::Sealed},
    };
}
