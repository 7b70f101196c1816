//! How a leader brings a learner up to date: the decision (`LearnerHandler.syncFollower`).

use zk_proto::Zxid;

use super::{CommittedLog, LoggedSpan};

/// What is known of the leader's log on disk, which reaches further back than its memory.
#[derive(Debug, Clone, Copy)]
pub enum LoggedHistory {
    /// It was not looked at.
    Unread,
    /// It is of no use: switched off, purged, damaged, not whole, or larger than a snapshot would be worth.
    Unusable,
    /// It is whole from the last record not after the learner's zxid on.
    Read(LoggedSpan),
}

/// What to send a learner first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPlan {
    /// DIFF, and every transaction after `after`.
    Diff {
        /// The last one the learner has.
        after: Zxid,
    },
    /// TRUNC: the learner has what was never agreed on; then every transaction after `to`.
    Trunc {
        /// The last one that it must keep.
        to: Zxid,
    },
    /// The log on disk may help; read it and decide again.
    ReadLog,
    /// SNAP: a snapshot of the whole tree.
    Snap,
}

/// Decides how a learner whose last zxid is `peer` gets the leader's history.
///
/// A DIFF is sent only where the leader can show every transaction that the learner lacks, one following the
/// other; Apache's rules send some that it cannot (ZOOKEEPER-2418, 2846, 4352). An epoch's start is no
/// transaction's zxid: a learner has it from a leader that was established with exactly the history before it.
#[must_use]
pub fn plan(peer: Zxid, memory: &CommittedLog, disk: LoggedHistory) -> SyncPlan {
    let starts_epoch = peer.counter() == 0;
    if peer == memory.last() {
        SyncPlan::Diff { after: peer }
    } else if peer > memory.last() && !starts_epoch {
        SyncPlan::Trunc { to: memory.last() }
    } else if peer >= memory.floor() {
        if starts_epoch || peer == memory.floor() || memory.contains(peer) {
            SyncPlan::Diff { after: peer }
        } else {
            cut(peer, memory.last_until(peer))
        }
    } else if super::mutants::active("2418")
        || (super::mutants::active("4352") && peer == Zxid::ZERO && memory.is_empty())
    {
        SyncPlan::Diff { after: peer }
    } else {
        match disk {
            LoggedHistory::Unread => SyncPlan::ReadLog,
            LoggedHistory::Unusable => SyncPlan::Snap,
            LoggedHistory::Read(span) => plan_from_disk(peer, memory.floor(), span),
        }
    }
}

fn plan_from_disk(peer: Zxid, floor: Zxid, span: LoggedSpan) -> SyncPlan {
    let LoggedSpan { first, last } = span;
    if first > peer || last < floor {
        SyncPlan::Snap
    } else if first == peer || peer.counter() == 0 {
        SyncPlan::Diff { after: peer }
    } else {
        cut(peer, first)
    }
}

/// The learner has a transaction that is not in the history, whose last one before it is `kept`. A learner of
/// Apache's cannot cut across an epoch, nor to a zxid that is no transaction's.
fn cut(peer: Zxid, kept: Zxid) -> SyncPlan {
    if super::mutants::active("2846") {
        return SyncPlan::Diff { after: peer };
    }
    if kept.epoch() == peer.epoch() && kept.counter() != 0 {
        SyncPlan::Trunc { to: kept }
    } else {
        SyncPlan::Snap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zab::{Transaction, follows};

    const fn z(epoch: i64, counter: i64) -> i64 {
        (epoch << 32) | counter
    }

    fn transactions(zxids: &[i64]) -> Vec<Transaction> {
        let transaction = |zxid: &i64| Transaction {
            zxid: Zxid(*zxid),
            entry: bytes::Bytes::new(),
        };
        zxids.iter().map(transaction).collect()
    }

    /// What is told of a log with these records.
    fn span(records: &[i64]) -> Option<LoggedSpan> {
        let zxids: Vec<_> = records.iter().copied().map(Zxid).collect();
        let is_whole = zxids.windows(2).all(|pair| follows(pair[0], pair[1]));
        let (first, last) = (*zxids.first()?, *zxids.last()?);
        is_whole.then_some(LoggedSpan { first, last })
    }

    /// The plan for a learner at `peer`, with this in memory after `floor` and that on disk.
    fn plan_for(peer: i64, floor: i64, memory: &[i64], disk: Option<&[i64]>) -> SyncPlan {
        let mut log = CommittedLog::new(Zxid(floor), 500);
        transactions(memory).into_iter().for_each(|t| log.push(t));
        let disk = disk.and_then(span);
        let disk = disk.map_or(LoggedHistory::Unusable, LoggedHistory::Read);
        let plan_now = plan(Zxid(peer), &log, disk);
        let before_reading = plan(Zxid(peer), &log, LoggedHistory::Unread);
        assert!([plan_now, SyncPlan::ReadLog].contains(&before_reading));
        plan_now
    }

    const fn diff(after: i64) -> SyncPlan {
        SyncPlan::Diff { after: Zxid(after) }
    }

    const fn trunc(to: i64) -> SyncPlan {
        SyncPlan::Trunc { to: Zxid(to) }
    }

    const SNAP: SyncPlan = SyncPlan::Snap;

    #[test]
    fn every_row_of_the_decision() {
        let memory = [z(1, 5), z(1, 6), z(2, 1), z(2, 2)];
        let floor = z(1, 4);
        for (what, peer, expected) in [
            ("in sync", z(2, 2), diff(z(2, 2))),
            ("ahead", z(2, 7), trunc(z(2, 2))),
            ("ahead in a later epoch", z(3, 1), trunc(z(2, 2))),
            ("a few behind", z(1, 6), diff(z(1, 6))),
            ("at the floor", z(1, 4), diff(z(1, 4))),
            ("a tail that was never agreed on", z(1, 7), trunc(z(1, 6))),
            ("the start of the running epoch", z(2, 0), diff(z(2, 0))),
            (
                "the start of an epoch without writes",
                z(3, 0),
                diff(z(3, 0)),
            ),
            ("before memory, no log", z(1, 3), SNAP),
            ("an epoch's start before memory, no log", z(1, 0), SNAP),
            ("a new member", 0, SNAP),
        ] {
            assert_eq!(plan_for(peer, floor, &memory, None), expected, "{what}");
        }
        // The cut would cross an epoch: only (1,6) is shared.
        let later = [z(1, 6), z(3, 1)];
        assert_eq!(plan_for(z(2, 9), z(1, 5), &later, None), SNAP);
        // The last shared one is an epoch's start, which is in no log.
        assert_eq!(plan_for(z(1, 2), z(1, 0), &[z(3, 1)], None), SNAP);
    }

    #[test]
    fn the_log_on_disk_helps_where_it_reaches_back_and_forth() {
        let memory = [z(2, 3), z(2, 4)];
        let floor = z(2, 2);
        let log = [z(1, 8), z(1, 9), z(2, 1), z(2, 2), z(2, 3)];
        for (what, peer, disk, expected) in [
            ("found", z(1, 8), &log[..], diff(z(1, 8))),
            ("an epoch's start", z(2, 0), &log[1..], diff(z(2, 0))),
            ("a tail in its epoch", z(1, 12), &log[1..], trunc(z(1, 9))),
            ("nothing there", z(1, 8), &[], SNAP),
            ("begins too late", z(1, 7), &log[..], SNAP),
            (
                "ends where memory begins",
                z(1, 8),
                &log[..4],
                diff(z(1, 8)),
            ),
        ] {
            assert_eq!(
                plan_for(peer, floor, &memory, Some(disk)),
                expected,
                "{what}"
            );
        }
    }

    #[test]
    fn zookeeper_2418_a_gap_before_memory_is_no_diff() {
        let memory = [z(1, 9)];
        assert_eq!(
            plan_for(
                z(1, 2),
                z(1, 8),
                &memory,
                Some(&[z(1, 2), z(1, 3), z(1, 7)])
            ),
            SNAP,
            "the log stops short of memory"
        );
        let with_hole = [z(1, 2), z(1, 3), z(1, 6), z(1, 7), z(1, 8)];
        assert_eq!(
            plan_for(z(1, 2), z(1, 8), &memory, Some(&with_hole)),
            SNAP,
            "a file in the middle of the log was purged"
        );
    }

    #[test]
    fn zookeeper_2846_a_diff_from_disk_never_hides_what_must_be_cut() {
        let memory = [z(3, 2)];
        let log = [z(1, 5), z(3, 1), z(3, 2)];
        assert_eq!(
            plan_for(z(1, 6), z(3, 1), &memory, Some(&log)),
            trunc(z(1, 5))
        );
        assert_eq!(plan_for(z(2, 1), z(3, 1), &memory, Some(&log)), SNAP);
    }

    #[test]
    fn zookeeper_4352_an_empty_memory_proves_no_history() {
        for floor in [z(1, 7), z(2, 0), z(0, 3)] {
            assert_eq!(plan_for(0, floor, &[], None), SNAP, "{floor:#x}");
            assert_eq!(plan_for(0, floor, &[], Some(&[])), SNAP, "{floor:#x}");
        }
        assert_eq!(plan_for(0, 0, &[], None), diff(0), "two new members");
        assert_eq!(
            plan_for(0, 0, &[z(1, 1)], None),
            diff(0),
            "from the first on"
        );
    }
}
