//! What the keeper does about what it finds: pure.
//!
//! Invariants, shown by walking through every interleaving: only a node of the own session is taken for one's own, written or deleted; what
//! is wanted is written until the node has held it.

use zk_client::SessionId;

/// What there is at the path, to one in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Mine,
    /// Another session's, or nobody's.
    Others(SessionId),
}

pub(super) fn found(owner: Option<SessionId>, me: SessionId) -> Found {
    match owner {
        None => Found::Nothing,
        Some(owner) if owner == me => Found::Mine,
        Some(owner) => Found::Others(owner),
    }
}

/// What is to be done about what one's own node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// What is wanted was written or refused before; what somebody else has written since stays.
    Settled,
    /// It holds what is wanted: an earlier attempt has written it.
    Written,
    /// What is wanted is to be written.
    Write,
}

/// `settled` and `wanted` are the numbers of the data that was written or refused last, and that is wanted.
pub(super) const fn content(settled: u64, wanted: u64, holds_it: bool) -> Content {
    match (settled < wanted, holds_it) {
        (false, _) => Content::Settled,
        (true, true) => Content::Written,
        (true, false) => Content::Write,
    }
}
