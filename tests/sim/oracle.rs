//! What must hold at every step, named after the invariants of ZooKeeper's specification (`Zab.tla`) and after
//! I1 to I6.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use zk_proto::{Epoch, ServerId, SessionId, Zxid};
use zk_server::quorum::QuorumVerifier;

use super::node::{DurableState, write_of};

/// Knows everything that ever happened.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Every transaction that was ever proposed.
    pub(crate) proposed: BTreeMap<Zxid, Bytes>,
    /// The order of what was committed, agreed on by all.
    pub(crate) committed: Vec<Zxid>,
    /// Who was established in each epoch.
    established: BTreeMap<Epoch, usize>,
    /// The history with which each epoch began.
    initial: BTreeMap<Epoch, Vec<Zxid>>,
    /// Writes that were acknowledged to their clients, in that order.
    pub(crate) acknowledged: Vec<u64>,
    /// How long a history is at least that has the first so many of them.
    reach: Vec<usize>,
    /// Writes on their way, by the member whose client asked for them: those of its present connection.
    submitted: BTreeMap<usize, VecDeque<u64>>,
    /// Writes of connections that are gone: they may still be applied, in their order.
    orphaned: Vec<VecDeque<u64>>,
    /// The last one acknowledged when each write was submitted.
    floor: BTreeMap<u64, Zxid>,
    /// The last one acknowledged.
    newest: Zxid,
    /// How much of the history each session has seen.
    seen: BTreeMap<SessionId, usize>,
}

impl Oracle {
    /// `PrimaryIntegrity`: a zxid is given once, by the one leader of its epoch, without a gap (I4).
    pub(crate) fn propose(&mut self, leader: usize, zxid: Zxid, entry: &Bytes, write: u64) {
        self.take_submitted(write);
        assert_eq!(
            self.established.get(&zxid.epoch()),
            Some(&leader),
            "Leadership1: {leader} proposes {zxid}"
        );
        let previous = self
            .proposed
            .range(..zxid)
            .next_back()
            .map(|(last, _)| *last);
        let expected = match previous {
            Some(last) if last.epoch() == zxid.epoch() => last.counter() + 1,
            _ => 1,
        };
        assert_eq!(zxid.counter(), expected, "I4: {zxid} after {previous:?}");
        assert!(
            self.proposed.insert(zxid, entry.clone()).is_none(),
            "PrimaryIntegrity: {zxid} twice"
        );
    }

    /// A client of a member writes.
    pub(crate) fn submit(&mut self, member: usize, write: u64) {
        self.submitted.entry(member).or_default().push_back(write);
        self.floor.insert(write, self.newest);
    }

    /// A member's clients have lost their connections.
    pub(crate) fn hang_up(&mut self, member: usize) {
        if let Some(writes) = self.submitted.remove(&member) {
            self.orphaned.push(writes);
        }
    }

    /// G4, G6: a write is proposed once, and behind everything that came before it on its connection.
    fn take_submitted(&mut self, write: u64) {
        let mut queues = self.submitted.values_mut().chain(&mut self.orphaned);
        let queue = queues.find(|queue| queue.contains(&write));
        let first = queue.and_then(VecDeque::pop_front);
        assert_eq!(
            first,
            Some(write),
            "G4, G6: {write} is proposed before {first:?}"
        );
        self.orphaned.retain(|queue| !queue.is_empty());
    }

    /// G8, G9: a session reads at a member with this much history; false if it has seen more and is sent away.
    pub(crate) fn read(&mut self, session: SessionId, applied: &[Zxid]) -> bool {
        let seen = self.seen.entry(session).or_default();
        if *seen > applied.len() {
            return false;
        }
        *seen = applied.len();
        let last = applied.len().checked_sub(1);
        assert_eq!(
            applied.last(),
            last.and_then(|last| self.committed.get(last)),
            "G9: what is read is committed"
        );
        true
    }

    /// A prospective leader has found the epoch's history: a quorum of what is in force has promised the epoch, so that
    /// nothing of an earlier one can be agreed on any more.
    pub(crate) fn begin(
        &mut self,
        epoch: Epoch,
        history: &[Zxid],
        disks: &BTreeMap<ServerId, &DurableState>,
        in_force: &QuorumVerifier,
    ) {
        let promised = disks.iter().filter(|(_, disk)| disk.accepted >= epoch);
        let promised = promised.map(|(server, _)| *server).collect();
        assert!(
            in_force.contains_quorum(&promised),
            "I1: {epoch:?} begins with the promise of {promised:?} only"
        );
        let before = self.initial.insert(epoch, history.to_vec());
        assert!(
            before.is_none_or(|before| before == history),
            "Leadership2: two leaders for {epoch:?}"
        );
    }

    /// `Leadership1`, `LeaderLogCompleteness`.
    ///
    /// What a leader is established with is committed by that.
    pub(crate) fn establish(
        &mut self,
        leader: usize,
        epoch: Epoch,
        applied: &[Zxid],
        disks: &BTreeMap<ServerId, &DurableState>,
        electorate: &[QuorumVerifier],
    ) {
        let before = self.established.insert(epoch, leader);
        assert!(
            before.is_none_or(|before| before == leader),
            "Leadership1: {before:?} and {leader} lead {epoch:?}"
        );
        // A leader that stood still while it collected the last word may come after a later one: it has heard a
        // quorum, and none of that quorum listens to it any more.
        let before = self.committed.partition_point(|zxid| zxid.epoch() < epoch);
        assert!(
            applied.starts_with(&self.committed[..before]),
            "LeaderLogCompleteness: {leader} leads {epoch:?} without {:?}",
            self.committed.get(applied.len())
        );
        assert!(
            before == self.committed.len() || applied.len() == before,
            "PrefixConsistency: {leader} leads {epoch:?} with what later epochs never had"
        );
        let holders = disks.iter().filter(|(_, disk)| disk.had_all(applied));
        let holders = holders.map(|(server, _)| *server).collect();
        assert!(
            electorate
                .iter()
                .all(|voters| voters.contains_quorum(&holders)),
            "CommittedLogDurability: {epoch:?} begins with what no quorum has on disk"
        );
        if before == self.committed.len() {
            self.committed = applied.to_vec();
        }
    }

    /// `Agreement`, `TotalOrder`, `PrefixConsistency`, `Integrity`: what a member applies as committed, after
    /// everything that it has applied before.
    pub(crate) fn commit(
        &mut self,
        applied: &[Zxid],
        entry: &Bytes,
        disks: &BTreeMap<ServerId, &DurableState>,
        electorate: &[QuorumVerifier],
    ) {
        let Some((&zxid, _)) = applied.split_last() else {
            return;
        };
        assert_eq!(self.proposed.get(&zxid), Some(entry), "Integrity: {zxid}");
        let known = applied.len().min(self.committed.len());
        // What was compared once does not change: looking at the end is enough.
        let from = known.saturating_sub(8);
        assert_eq!(
            applied[from..known],
            self.committed[from..known],
            "PrefixConsistency"
        );
        if applied.len() > self.committed.len() {
            let holders = disks.iter().filter(|(_, disk)| disk.had(zxid));
            let holders = holders.map(|(server, _)| *server).collect();
            assert!(
                electorate
                    .iter()
                    .all(|voters| voters.contains_quorum(&holders)),
                "CommittedLogDurability: {zxid} is on the disks of {holders:?} only"
            );
            self.committed.extend_from_slice(&applied[known..]);
            let floor = self.floor.get(&write_of(entry));
            assert!(
                floor.is_none_or(|floor| *floor < zxid),
                "G5: {zxid} was asked for after {floor:?} was acknowledged"
            );
        }
    }

    /// `CommittedLogMonotonicity`: what a leader of a later epoch has its learners cut off was never agreed on.
    pub(crate) fn check_cut(&self, disk: &DurableState, to: Zxid, epoch: Epoch) {
        let behind = disk
            .log
            .iter()
            .filter(|zxid| **zxid > to && zxid.epoch() < epoch);
        let committed = |zxid: &&Zxid| self.committed.binary_search(zxid).is_ok();
        let lost: Vec<_> = behind.filter(committed).collect();
        assert!(
            lost.is_empty(),
            "CommittedLogMonotonicity: {epoch:?} cuts {lost:?}"
        );
    }

    /// I1, I2: what the epoch's history stands for is on the disk.
    pub(crate) fn check_current(&self, disk: &DurableState, epoch: Epoch) {
        assert!(
            disk.current <= disk.accepted,
            "I1: {:?} > {:?}",
            disk.current,
            disk.accepted
        );
        if let Some(history) = self.initial.get(&epoch) {
            assert!(
                disk.log.starts_with(history),
                "I2: {epoch:?} is current on a disk without all of its history"
            );
        }
    }

    /// I1: a promise is on the disk before anybody hears of it.
    pub(crate) fn check_promise(&self, disk: &DurableState, epoch: Epoch) {
        assert!(
            disk.accepted >= epoch,
            "I1: {epoch:?} is promised but not written"
        );
    }

    /// I1, I2: ACK of NEWLEADER.
    pub(crate) fn check_new_leader_ack(&self, disk: &DurableState, epoch: Epoch) {
        assert!(
            disk.current >= epoch,
            "I1: {epoch:?} is acknowledged but not written"
        );
        self.check_current(disk, epoch);
    }

    /// I2: ACK of a proposal.
    pub(crate) fn check_ack(&self, disk: &DurableState, zxid: Zxid) {
        assert!(
            disk.has(zxid),
            "I2: {zxid} is acknowledged but not on the disk"
        );
    }

    /// A client has its answer, from a member with this much history.
    pub(crate) fn acknowledge(&mut self, write: u64, applied: &[Zxid]) {
        let before = self.reach.last().copied().unwrap_or(0);
        self.acknowledged.push(write);
        self.newest = self.newest.max(applied.last().copied().unwrap_or_default());
        self.reach.push(before.max(applied.len()));
    }

    /// G10: after a `sync`, every write is seen that was acknowledged before it.
    pub(crate) fn check_sync(&self, applied: &[Zxid], acknowledged: usize) {
        let reach = acknowledged
            .checked_sub(1)
            .map_or(0, |last| self.reach[last]);
        assert!(
            applied.len() >= reach,
            "G10: after a sync {} transactions, but {reach} were acknowledged before",
            applied.len()
        );
    }

    /// G1: no acknowledged write is lost.
    pub(crate) fn check_acknowledged(&self, applied: &[Zxid]) {
        assert!(
            applied.starts_with(&self.committed),
            "CommittedLogDurability"
        );
        let writes: BTreeSet<_> = applied
            .iter()
            .map(|zxid| write_of(&self.proposed[zxid]))
            .collect();
        for write in &self.acknowledged {
            assert!(
                writes.contains(write),
                "G1: write {write} was acknowledged and is lost"
            );
        }
    }
}
