//! What is known of an ephemeral node of one's own whose name others may want, too: pure.
//!
//! ```text
//!   absent --asked--> unknown --created, or found--> present --deleting--> unknown --looked for--> absent
//!      ^                 |  ^                           |
//!      +--not applied----+  +---------in doubt----------+
//! ```
//!
//! Invariants, shown by walking through every interleaving: what may exist is never taken for absent, so it is withdrawn; what may be
//! gone is never taken for present, so that no delete meets the node of the next one. Not here: requests, waiting, and whose a node is that was seen.

use zk_client::Outcome;

use crate::connection::Setback;

#[cfg(test)]
mod model;

/// What is known of a node; `N` is what there is to know of one that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Knowledge<N = ()> {
    presence: Presence<N>,
    /// Whether it was unknown before the create that was asked for last: that one's failure says nothing of those before it.
    was_unknown: bool,
}

/// What the failure of a transaction means that creates a marker and may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    /// An earlier attempt was carried out: the marker is there.
    Applied,
    /// The server said no, and will again.
    Refused,
    /// Again, when there is a connection.
    Again,
    /// The session is over.
    Over,
}

/// All attempts at one transaction that creates a marker, in one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Marking {
    /// Whether one of them may have been carried out.
    pub(crate) is_undecided: bool,
}

impl Marking {
    /// An attempt failed; `is_marker` says that the marker exists, whose name nobody else wants.
    pub(crate) fn failed(&mut self, outcome: Outcome, setback: Setback, is_marker: bool) -> Marked {
        self.is_undecided |= outcome == Outcome::Unknown;
        match setback {
            Setback::Refused if is_marker => Marked::Applied,
            Setback::Refused => Marked::Refused,
            Setback::Connection => Marked::Again,
            Setback::SessionEnded => Marked::Over,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Presence<N> {
    /// It was never asked for, or is gone.
    Absent,
    /// A create or a delete is on its way, or its outcome is unknown.
    Unknown,
    /// It exists, as far as is known.
    Present(N),
}

impl<N> Knowledge<N> {
    pub(crate) const fn new() -> Self {
        Self {
            presence: Presence::Absent,
            was_unknown: false,
        }
    }

    pub(crate) const fn presence(&self) -> &Presence<N> {
        &self.presence
    }

    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self.presence, Presence::Absent)
    }

    pub(crate) const fn is_unknown(&self) -> bool {
        matches!(self.presence, Presence::Unknown)
    }

    pub(crate) const fn is_present(&self) -> bool {
        matches!(self.presence, Presence::Present(_))
    }

    /// A create is about to be sent, or somebody else's transaction that makes the node.
    pub(crate) fn asked(&mut self) {
        self.was_unknown = self.is_unknown();
        self.presence = Presence::Unknown;
    }

    /// The create was answered.
    pub(crate) fn created(&mut self, node: N) {
        self.presence = Presence::Present(node);
    }

    /// The create failed.
    pub(crate) fn failed(&mut self, outcome: Outcome) {
        if outcome == Outcome::NotApplied && !self.was_unknown {
            self.presence = Presence::Absent;
        }
    }

    /// A look, behind everything that was on its way before, found the node, or none that is one's own.
    pub(crate) fn found(&mut self, node: Option<N>) {
        self.presence = node.map_or(Presence::Absent, Presence::Present);
    }

    /// It may be somebody else's by now: whoever deletes it looks first.
    pub(crate) fn doubt(&mut self) {
        if self.is_present() {
            self.presence = Presence::Unknown;
        }
    }

    /// A delete is about to be sent: carried out perhaps, even if its answer is lost or not waited for. A second one could meet the
    /// next holder's node.
    pub(crate) fn deleting(&mut self) {
        self.presence = Presence::Unknown;
    }

    /// The delete was certainly not carried out.
    pub(crate) fn kept(&mut self, node: N) {
        self.presence = Presence::Present(node);
    }

    /// The node is certainly gone. What has its path now is not one's own.
    pub(crate) fn gone(&mut self) {
        self.presence = Presence::Absent;
    }
}
