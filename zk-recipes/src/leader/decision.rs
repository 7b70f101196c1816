//! What a latch does about what became of its contender: pure.
//!
//! Invariants, shown by walking through every interleaving of some latches: there is one leader at most; an election never loses a
//! candidate by what may pass; and as long as there are candidates, one of them comes to lead.

/// What became of a latch's contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It was granted the leadership, and that is certain still, or was lost on the way here.
    Granted { is_certain: bool },
    /// It was lost.
    Lost,
    /// The server or the client said no, or another recipe is at work there.
    Refused { may_pass: bool },
    /// The client's runtime is going down.
    Gone,
}

/// What the latch does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Lead,
    /// Contends again, as soon as nothing is left of the last contender.
    Contend,
    /// The same some time later.
    Pause,
    /// Does not take part any more.
    Stop,
}

/// `was_queued` says whether there ever was a place in the queue: before, whoever starts the latch is told the refusal.
pub(super) const fn next(told: Told, was_queued: bool) -> Next {
    match told {
        Told::Granted { is_certain: true } => Next::Lead,
        Told::Granted { is_certain: false } | Told::Lost => Next::Contend,
        Told::Refused { may_pass: true } if was_queued => Next::Pause,
        Told::Refused { .. } | Told::Gone => Next::Stop,
    }
}
