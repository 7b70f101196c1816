//! What is asked for, and in which shape.

use clap::ValueEnum;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// getData of a random key.
    Get,
    /// setData of a random key.
    Set,
    /// create of a new persistent node.
    Create,
    /// Nine gets to one set.
    Mixed,
    /// What a lock does: create an ephemeral sequential node, delete it when the answer is there.
    Lock,
}

/// A load: what, how wide, how deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) work: Work,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) size: usize,
    pub(crate) keys: u32,
}

/// One operation in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
    Create,
    CreateLock,
    Delete,
}

impl Work {
    /// What a free place in the pipeline is filled with.
    pub(crate) fn next(self, rng: &mut fastrand::Rng) -> Kind {
        match self {
            Self::Get => Kind::Get,
            Self::Set => Kind::Set,
            Self::Create => Kind::Create,
            Self::Mixed if rng.u8(0..10) == 0 => Kind::Set,
            Self::Mixed => Kind::Get,
            Self::Lock => Kind::CreateLock,
        }
    }
}

/// The parent of every node the load makes.
pub(crate) const ROOT: &str = "/load";

/// Where a key's digits go; see [`super::template::Template`].
pub(crate) const KEY: &str = "/load/k0000000000";

/// The parent of the ephemeral sequential nodes.
pub(crate) const LOCKS: &str = "/load/locks";

/// The parent of the nodes that one session creates.
pub(crate) fn created_by(session: i64) -> String {
    format!("{ROOT}/c{session:x}")
}
