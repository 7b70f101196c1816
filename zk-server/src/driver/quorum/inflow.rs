//! How far what is read from the leader may be ahead of this member's disk.
//!
//! A leader that is faster than the disk waits, by its full socket, as it waits for a slow network.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use zk_proto::quorum::LearnerMessage;

use crate::{config::Config, zab::weight};

/// As much as a leader of ours keeps for one learner.
const AHEAD_MAX: u64 = 256 << 20;

/// What was taken in, beside what is settled of it ([`Learner::settled`](crate::zab::Learner::settled)).
#[derive(Debug)]
pub(super) struct Inflow {
    limit: u64,
    taken: u64,
    settled: watch::Receiver<u64>,
    patience: Duration,
    /// When the leader is next said to wait, if it does then.
    next_word: Instant,
}

impl Inflow {
    /// As a member has it: with `testing.aheadOfDisk`, room for so many bytes.
    pub(super) fn of(config: &Config, settled: watch::Receiver<u64>) -> Self {
        let limit = config.testing.get("aheadOfDisk");
        let limit = limit.and_then(|bytes| bytes.parse().ok());
        Self::new(limit.unwrap_or(AHEAD_MAX), settled, config.tick_time / 2)
    }

    /// Room for so much. Whoever waits for it says so as often as `patience` goes by.
    fn new(limit: u64, settled: watch::Receiver<u64>, patience: Duration) -> Self {
        Self {
            limit,
            taken: 0,
            settled,
            patience,
            next_word: Instant::now(),
        }
    }

    /// A message is handed on.
    pub(super) fn take(&mut self, message: &LearnerMessage) {
        self.taken += weight(message);
    }

    /// Waits until there is room; `waits` is called now and then until there is. Cancel safe.
    pub(super) async fn room(&mut self, mut waits: impl FnMut()) {
        while self.taken.saturating_sub(*self.settled.borrow_and_update()) > self.limit {
            tokio::select! {
                biased;
                () = sleep_until(self.next_word) => {
                    waits();
                    self.next_word = Instant::now() + self.patience;
                }
                // Nobody settles anything for a link that has ended, which is about to be dropped.
                changed = self.settled.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };
    use zk_proto::Zxid;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn proposal(len: usize) -> LearnerMessage {
        LearnerMessage::Proposal {
            zxid: Zxid(1),
            entry: Bytes::from(vec![7; len]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_too_much_waits_and_that_is_told_again_and_again() {
        let (settle, settled) = watch::channel(0);
        let mut inflow = Inflow::new(2 * weight(&proposal(1000)), settled, PATIENCE);
        inflow.take(&LearnerMessage::Commit(Zxid(1)));
        for _ in 0..2 {
            inflow.take(&proposal(1000));
            inflow.room(|| panic!("there is room")).await;
        }
        inflow.take(&proposal(1000));
        let mut told = 0;
        let waits = timeout(5 * PATIENCE / 2, inflow.room(|| told += 1)).await;
        assert!(waits.is_err(), "there is no room");
        assert_eq!(told, 3, "at once, and then as often as patience goes by");

        // A disk that goes on, but not fast enough, does not keep it from being told.
        let word = async {
            let mut told = 0;
            let waits = timeout(4 * PATIENCE, inflow.room(|| told += 1)).await;
            assert!(waits.is_err());
            told
        };
        let crawls = async {
            for settled in 1..8 {
                tokio::time::sleep(PATIENCE / 2).await;
                settle.send_replace(settled);
            }
        };
        let (told, ()) = tokio::join!(word, crawls);
        assert_eq!(told, 4);
        settle.send_replace(weight(&proposal(1000)));
        inflow.room(|| panic!("there is room")).await;
    }

    /// Read as a link reads: how much is taken in does not depend on how much is sent.
    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_faster_than_the_disk_waits() {
        const LEN: usize = 1 << 10;
        let (settle, settled) = watch::channel(0);
        let piece = weight(&proposal(LEN));
        let mut inflow = Inflow::new(8 * piece, settled, PATIENCE);
        let (mut leader, mut link) = duplex(LEN);
        let sends = async move {
            for _ in 0..100 {
                leader.write_all(&[7; LEN]).await.unwrap();
            }
        };
        let reads = async {
            let (mut most, mut read) = (0, 0);
            let mut buffer = [0; LEN];
            while read < 100 {
                inflow
                    .room(|| {
                        // The disk takes one.
                        settle.send_modify(|settled| *settled += piece);
                    })
                    .await;
                link.read_exact(&mut buffer).await.unwrap();
                inflow.take(&proposal(LEN));
                read += 1;
                most = most.max(inflow.taken - *settle.borrow());
            }
            most
        };
        let ((), most) = tokio::join!(sends, reads);
        assert_eq!(most, 9 * piece, "what there is room for, and one");
    }
}
