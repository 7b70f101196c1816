//! A member without a vote: its disk has lost some of what it had acknowledged ([`Epochs::awaits_sync`]).
//!
//! Its promise in discovery does not count (ACKEPOCH without an epoch), so every leader is accepted by a quorum of others;
//! each quorum that acknowledged a transaction has one of those in it, and that one refuses a leader without the
//! transaction. Once the history of such a leader is on this member's disk, it has all that it ever acknowledged, and
//! what it says counts again: ACK of NEWLEADER is the first thing.
//!
//! That holds under every configuration and for any weights, since it is about the sets that discovery counts. It would
//! hold if this member voted, too; but who is elected by its vote, or is this member, would find no quorum in discovery.
//! So it proposes nobody, as Apache's observers do (`FastLeaderElection.getInitId`): whoever hears that does not count it,
//! and tells it what is known. It follows whom a quorum of others elects, or follows.

#[cfg(doc)]
use crate::zab::Epochs;
use zk_proto::{Epoch, ServerId, Zxid, quorum::ServerState};

use super::{Election, Vote};

impl Vote {
    /// What loses against every vote, and is none.
    pub(super) const NOBODY: Self = Self {
        leader: ServerId(i64::MIN),
        zxid: Zxid(i64::MIN),
        epoch: Epoch(i64::MIN),
    };
}

impl Election {
    /// Whether this server is without a vote from the next time on that it looks for a leader.
    pub fn abstain(&mut self, abstains: bool) {
        self.abstains = abstains;
    }

    /// Whether what this server says of candidates counts.
    pub(super) fn has_vote(&self) -> bool {
        !self.abstains && self.config.is_voter(self.config.me)
    }

    /// Whether that one can be elected by what is heard here.
    pub(super) fn may_elect(&self, leader: ServerId) -> bool {
        self.config.may_lead(leader) && !(self.abstains && leader == self.config.me)
    }

    /// The round that begins now; any peer may have told of the last one that there is. One without a vote joins whatever
    /// round the others are in.
    pub(super) const fn next_round(&self) -> i64 {
        match self.abstains {
            true => 0,
            false => self.round.wrapping_add(1),
        }
    }

    /// The vote as others hear it.
    pub(super) fn told_vote(&self) -> Vote {
        match self.abstains && self.state == ServerState::Looking {
            true => Vote::NOBODY,
            false => self.vote,
        }
    }
}
