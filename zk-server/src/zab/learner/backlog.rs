//! How much of what the leader has sent is not on this server's disk yet.
//!
//! Whoever reads the link takes in no more than that is to be ([`Learner::settled`](super::Learner::settled) against what it
//! has read): else a leader that is faster than this disk fills this server's memory.

use std::collections::VecDeque;

use zk_proto::{Zxid, quorum::LearnerMessage};

/// What stands around a transaction while it waits: its message and its commit, and its places in queues.
const AROUND: u64 = 512;

/// What a message takes until it is settled: nothing, unless it brings a transaction.
#[must_use]
pub fn weight(message: &LearnerMessage) -> u64 {
    match message {
        LearnerMessage::Proposal { entry, .. }
        | LearnerMessage::Inform { entry, .. }
        | LearnerMessage::InformAndActivate { entry, .. } => weight_of(entry.len()),
        _ => 0,
    }
}

fn weight_of(entry: usize) -> u64 {
    entry as u64 + AROUND
}

/// What was handed to the log, and what has left it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// On its way to the disk.
    logged: VecDeque<(Zxid, u64)>,
    settled: u64,
    /// What was settled when the leader was last said to wait.
    seen: u64,
}

impl Backlog {
    /// All that is settled so far.
    pub(super) const fn settled(&self) -> u64 {
        self.settled
    }

    /// A transaction of so many bytes was here before.
    pub(super) fn skip(&mut self, entry: usize) {
        self.settled += weight_of(entry);
    }

    /// A transaction of so many bytes goes to the log.
    pub(super) fn append(&mut self, zxid: Zxid, entry: usize) {
        self.logged.push_back((zxid, weight_of(entry)));
    }

    /// The log is on the disk up to there.
    pub(super) fn synced(&mut self, zxid: Zxid) {
        while let Some((logged, weight)) = self.logged.front().copied()
            && logged <= zxid
        {
            self.logged.pop_front();
            self.settled += weight;
        }
    }

    /// Whether anything was settled since this was asked last.
    pub(super) fn goes_on(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.settled) != self.settled
    }
}
