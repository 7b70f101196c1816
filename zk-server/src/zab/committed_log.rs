//! The last committed transactions, kept in memory for learners that missed a few.

use std::collections::VecDeque;

use zk_proto::Zxid;

use super::Transaction;

/// How many transactions are kept (`zookeeper.commitLogCount`).
pub const COMMITTED_LOG_COUNT: usize = 500;

/// The end of the committed history (`committedLog` in `ZKDatabase`): *all* of it after its floor.
///
/// Invariant: no transaction is missing between the floor and the last one. Apache keeps the first and the
/// last zxid instead, and has to guess what lay before the first (ZOOKEEPER-2418, 4352, 4925).
#[derive(Debug, Clone)]
pub struct CommittedLog {
    floor: Zxid,
    transactions: VecDeque<Transaction>,
    count_max: usize,
    /// How many bytes have come since the log was to keep everything; `None`: it is not.
    kept: Option<usize>,
}

/// Most bytes that come before a log that is to keep everything forgets something all the same.
const KEPT_MAX: usize = 64 << 20;

/// Whether no transaction can lie between these two: the counter goes up by one, or begins at 1 in a later epoch.
#[must_use]
pub fn follows(previous: Zxid, next: Zxid) -> bool {
    if next.epoch() == previous.epoch() {
        previous.successor() == Some(next)
    } else {
        next.epoch() > previous.epoch() && next.counter() == 1
    }
}

impl CommittedLog {
    /// Nothing in memory: all of the history lies at or before `floor`.
    #[must_use]
    pub const fn new(floor: Zxid, count_max: usize) -> Self {
        Self {
            floor,
            transactions: VecDeque::new(),
            count_max,
            kept: None,
        }
    }

    /// The last transaction before the first one that is here, or a point in the history after that one.
    #[must_use]
    pub const fn floor(&self) -> Zxid {
        self.floor
    }

    /// The last transaction of the history.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.transactions
            .back()
            .map_or(self.floor, |last| last.zxid)
    }

    /// Whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Whether a transaction is here.
    #[must_use]
    pub fn contains(&self, zxid: Zxid) -> bool {
        self.transactions
            .binary_search_by_key(&zxid, |known| known.zxid)
            .is_ok()
    }

    /// The last one here not after `zxid`, or the floor.
    #[must_use]
    pub fn last_until(&self, zxid: Zxid) -> Zxid {
        let end = self
            .transactions
            .partition_point(|known| known.zxid <= zxid);
        end.checked_sub(1)
            .map_or(self.floor, |at| self.transactions[at].zxid)
    }

    /// Those that are here after `zxid`, in order.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Transaction> + '_ {
        let start = self
            .transactions
            .partition_point(|known| known.zxid <= zxid);
        self.transactions.range(start..)
    }

    /// Adds the next one.
    pub fn push(&mut self, transaction: Transaction) {
        assert!(
            follows(self.last(), transaction.zxid),
            "{} was committed after {}",
            transaction.zxid,
            self.last()
        );
        if let Some(kept) = &mut self.kept {
            *kept = kept.saturating_add(transaction.entry.len());
        }
        self.transactions.push_back(transaction);
        self.evict();
    }

    /// Keeps everything from now on, up to 64 MiB: the log on disk is being read, and what was read is of use only if it
    /// reaches what is here.
    pub fn keep_all(&mut self) {
        self.kept.get_or_insert(0);
    }

    /// Keeps no more than it has to again.
    pub fn keep_few(&mut self) {
        self.kept = None;
        self.evict();
    }

    fn evict(&mut self) {
        if self.kept.is_some_and(|kept| kept <= KEPT_MAX) {
            return;
        }
        while self.transactions.len() > self.count_max {
            if let Some(oldest) = self.transactions.pop_front() {
                self.floor = oldest.zxid;
            }
        }
    }

    /// Forgets what comes after `to`: it was cut off the log.
    pub fn truncate(&mut self, to: Zxid) {
        if to < self.floor {
            return self.restart(to);
        }
        let kept = self.transactions.partition_point(|known| known.zxid <= to);
        self.transactions.truncate(kept);
    }

    /// Forgets everything: the history is now all that leads to `last`.
    pub fn restart(&mut self, last: Zxid) {
        self.transactions.clear();
        self.floor = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_transaction_fits_between_two_that_follow_each_other() {
        for (previous, next, expected) in [
            (0, 1, true),
            (0, 2, false),
            (0x1_0000_0001, 0x1_0000_0002, true),
            (0x1_0000_0001, 0x1_0000_0003, false),
            (0x1_0000_0001, 0x1_0000_0001, false),
            (0x1_0000_0001, 0x3_0000_0001, true),
            (0x1_0000_0001, 0x3_0000_0002, false),
            (0x1_0000_0001, 0x3_0000_0000, false),
            (0x3_0000_0001, 0x1_0000_0001, false),
            (0x1_0000_0000, 0x1_0000_0001, true),
            (0x1_ffff_ffff, 0x2_0000_0000, false),
        ] {
            assert_eq!(
                follows(Zxid(previous), Zxid(next)),
                expected,
                "{previous:#x} {next:#x}"
            );
        }
    }

    #[test]
    fn while_the_log_on_disk_is_read_the_floor_stays_within_bounds() {
        let push = |log: &mut CommittedLog, len| {
            let zxid = log.last().successor().unwrap();
            let entry = bytes::Bytes::from(vec![0; len]);
            log.push(Transaction { zxid, entry });
        };
        let mut log = CommittedLog::new(Zxid(4), 3);
        log.keep_all();
        (0..9).for_each(|_| push(&mut log, 1));
        log.keep_all();
        assert_eq!((log.floor(), log.last()), (Zxid(4), Zxid(13)));
        log.keep_few();
        assert_eq!((log.floor(), log.last()), (Zxid(10), Zxid(13)));
        log.keep_all();
        for _ in 0..4 {
            push(&mut log, KEPT_MAX / 4);
        }
        assert_eq!(log.floor(), Zxid(10));
        push(&mut log, 1);
        assert_eq!((log.floor(), log.last()), (Zxid(15), Zxid(18)), "too long");
    }

    #[test]
    fn the_floor_rises_with_what_is_forgotten() {
        let mut log = CommittedLog::new(Zxid(4), 3);
        for zxid in 5..=9 {
            log.push(Transaction {
                zxid: Zxid(zxid),
                entry: bytes::Bytes::new(),
            });
        }
        assert_eq!((log.floor(), log.last()), (Zxid(6), Zxid(9)));
        assert!(log.contains(Zxid(7)) && !log.contains(Zxid(6)));
        assert_eq!(log.last_until(Zxid(8)), Zxid(8));
        assert_eq!(log.last_until(Zxid(5)), Zxid(6));
        let after: Vec<_> = log.after(Zxid(7)).map(|known| known.zxid.0).collect();
        assert_eq!(after, [8, 9]);
        log.truncate(Zxid(8));
        assert_eq!((log.floor(), log.last()), (Zxid(6), Zxid(8)));
        log.truncate(Zxid(4));
        assert_eq!((log.floor(), log.last()), (Zxid(4), Zxid(4)));
        log.restart(Zxid(3));
        assert_eq!((log.floor(), log.last()), (Zxid(3), Zxid(3)));
    }
}
