//! A vote, its order, and when two votes are the same.

use zk_proto::{
    Epoch, ServerId, Zxid,
    quorum::{Notification, ServerState},
};

/// Whom a server wants to lead, and what makes that server worth it (`Vote`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The server voted for.
    pub leader: ServerId,
    /// Its last logged zxid.
    pub zxid: Zxid,
    /// The epoch of its history (`currentEpoch`).
    pub epoch: Epoch,
}

impl Vote {
    /// Whether this vote beats `other`: a later epoch, then a longer history, then the larger id
    /// (`FastLeaderElection.totalOrderPredicate`).
    ///
    /// The epoch comes first: a counter that ran on in a lost epoch must not win (ZOOKEEPER-1082).
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        (self.epoch, self.zxid, self.leader) > (other.epoch, other.zxid, other.leader)
    }
}

/// A vote as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ballot {
    pub(super) vote: Vote,
    pub(super) round: i64,
    pub(super) state: ServerState,
}

impl Ballot {
    pub(super) fn of(notification: &Notification) -> Self {
        Self {
            vote: Vote {
                leader: notification.leader,
                zxid: notification.zxid,
                epoch: notification.peer_epoch,
            },
            round: notification.round,
            state: notification.state,
        }
    }

    /// Whether both support the same leader (`Vote.equals`).
    ///
    /// Among servers that have settled the zxid and the round may differ: each remembers those of the
    /// election that it took part in (ZOOKEEPER-1732, -1805). The epoch may not.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let looking = self.state == ServerState::Looking || other.state == ServerState::Looking;
        let same = self.vote.leader == other.vote.leader && self.vote.epoch == other.vote.epoch;
        same && (!looking || (self.vote.zxid == other.vote.zxid && self.round == other.round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(epoch: i64, zxid: i64, leader: i64) -> Vote {
        Vote {
            leader: ServerId(leader),
            zxid: Zxid(zxid),
            epoch: Epoch(epoch),
        }
    }

    #[test]
    fn zookeeper_1082_a_long_history_of_an_old_epoch_loses() {
        let (old, new) = (vote(1, 0x1_0000_ffff, 3), vote(2, 0x1_0000_0001, 1));
        assert!(new.beats(&old) && !old.beats(&new));
    }

    #[test]
    fn votes_are_ordered_by_epoch_then_zxid_then_server() {
        for (better, worse) in [
            (vote(2, 0, 1), vote(1, 9, 9)),
            (vote(1, 9, 1), vote(1, 8, 9)),
            (vote(1, 9, 2), vote(1, 9, 1)),
        ] {
            assert!(
                better.beats(&worse) && !worse.beats(&better),
                "{better:?} {worse:?}"
            );
            assert!(!better.beats(&better));
        }
    }

    #[test]
    fn settled_servers_need_not_agree_on_zxid_and_round() {
        let ballot = |round, zxid, state| Ballot {
            vote: vote(3, zxid, 2),
            round,
            state,
        };
        let leading = ballot(7, 0x40, ServerState::Leading);
        assert!(leading.agrees_with(&ballot(4, 0x39, ServerState::Following)));
        assert!(!leading.agrees_with(&ballot(7, 0x39, ServerState::Looking)));
        assert!(leading.agrees_with(&ballot(7, 0x40, ServerState::Looking)));
    }
}
