//! What a leader has proposed and who has it on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zk_proto::{Epoch, ServerId, Zxid};

use super::{Transaction, mutants};
use crate::{quorum::QuorumVerifier, storage::Durable};

/// The proposals of one epoch, from their zxids to their commits (`Leader.outstandingProposals`).
///
/// Invariants: zxids are the epoch's, from 1 on without a gap, and a proposal is committed when it and every
/// one before it is on the disks of a quorum; so commits have the order of zxids.
#[derive(Debug)]
pub struct Proposals {
    me: ServerId,
    verifiers: Vec<QuorumVerifier>,
    /// A reconfiguration on its way: it and what follows it needs this quorum too.
    joint: Option<(Zxid, QuorumVerifier)>,
    counter_max: u32,
    last: Zxid,
    committed: Zxid,
    outstanding: VecDeque<Transaction>,
    /// Up to where each voter has everything on disk, by its own word. This server counts as any other.
    acked: BTreeMap<ServerId, Zxid>,
}

impl Proposals {
    /// Nothing proposed in this epoch yet.
    #[must_use]
    pub const fn new(
        epoch: Epoch,
        me: ServerId,
        verifiers: Vec<QuorumVerifier>,
        counter_max: u32,
    ) -> Self {
        Self {
            me,
            verifiers,
            joint: None,
            counter_max,
            last: Zxid::new(epoch, 0),
            committed: Zxid::new(epoch, 0),
            outstanding: VecDeque::new(),
            acked: BTreeMap::new(),
        }
    }

    /// The zxid of the next proposal; `None` when the epoch's are used up.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        self.last
            .successor()
            .filter(|next| next.counter() <= self.counter_max)
    }

    /// The last one proposed, or the epoch's start.
    #[must_use]
    pub const fn last(&self) -> Zxid {
        self.last
    }

    /// The last one committed, or the epoch's start.
    #[must_use]
    pub const fn committed(&self) -> Zxid {
        self.committed
    }

    /// Those that are not committed, in order.
    pub fn outstanding(&self) -> impl Iterator<Item = &Transaction> + '_ {
        self.outstanding.iter()
    }

    /// Those that are not committed, taken out.
    pub(super) fn into_outstanding(self) -> Vec<Transaction> {
        self.outstanding.into()
    }

    /// Adds a proposal; its zxid is [`next_zxid`](Self::next_zxid).
    pub fn propose(&mut self, transaction: Transaction) {
        assert_eq!(
            Some(transaction.zxid),
            self.next_zxid(),
            "a proposal has the next zxid"
        );
        self.last = transaction.zxid;
        self.outstanding.push_back(transaction);
    }

    /// The proposal that comes next is a reconfiguration, with this quorum.
    pub fn begin_reconfig(&mut self, verifier: QuorumVerifier) {
        if mutants::active("joint-quorum") {
            return self.verifiers = vec![verifier];
        }
        self.joint = Some((Zxid(self.last.0 + 1), verifier));
    }

    /// From now on only this quorum decides.
    pub fn decide_alone(&mut self, verifier: QuorumVerifier) {
        self.verifiers = vec![verifier];
        self.joint = None;
    }

    /// The reconfiguration is committed: its quorum decides alone.
    pub fn end_reconfig(&mut self) {
        if let Some((_, verifier)) = self.joint.take() {
            self.verifiers = vec![verifier];
        }
    }

    /// Up to where each server has everything on disk, by its own word.
    #[must_use]
    pub const fn logged(&self) -> &BTreeMap<ServerId, Zxid> {
        &self.acked
    }

    /// This server has everything up to here on its own disk.
    pub fn ack_own(&mut self, logged: Durable<Zxid>) {
        let logged = logged.get().min(self.last);
        self.acked.insert(self.me, logged);
    }

    /// A learner has everything up to here on its disk; false where that cannot be.
    pub fn ack(&mut self, server: ServerId, zxid: Zxid) -> bool {
        if zxid > self.last {
            return false;
        }
        let known = self.acked.entry(server).or_insert(zxid);
        *known = (*known).max(zxid);
        true
    }

    /// A learner begins anew: what it acked may be cut off its log before it is sent again.
    pub fn forget(&mut self, server: ServerId) {
        self.acked.remove(&server);
    }

    /// The next proposal that a quorum has on disk, which is committed with this.
    pub fn pop_committed(&mut self) -> Option<Transaction> {
        let next = self.outstanding.front()?.zxid;
        if !self.has_quorum(next) && !mutants::active("commit-without-quorum") {
            return None;
        }
        self.committed = next;
        self.outstanding.pop_front()
    }

    fn has_quorum(&self, zxid: Zxid) -> bool {
        let has_it = |(server, acked): (&ServerId, &Zxid)| (*acked >= zxid).then_some(*server);
        let servers: BTreeSet<_> = self.acked.iter().filter_map(has_it).collect();
        let joint = self.joint.as_ref().filter(|(from, _)| zxid >= *from);
        self.verifiers
            .iter()
            .chain(joint.map(|(_, verifier)| verifier))
            .all(|verifier| verifier.contains_quorum(&servers))
    }

    /// As if the epoch had been long.
    #[cfg(test)]
    pub(super) const fn skip_to(&mut self, counter: u32) {
        self.last = Zxid::new(self.last.epoch(), counter);
        self.committed = self.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn five() -> Proposals {
        let verifier = QuorumVerifier::majority((1..=5).map(ServerId)).unwrap();
        Proposals::new(Epoch(7), ServerId(1), vec![verifier], u32::MAX - 1)
    }

    fn propose(proposals: &mut Proposals, count: usize) {
        for _ in 0..count {
            let zxid = proposals.next_zxid().unwrap();
            let entry = bytes::Bytes::new();
            proposals.propose(Transaction { zxid, entry });
        }
    }

    fn committed(proposals: &mut Proposals) -> Vec<u32> {
        let next = || proposals.pop_committed().map(|it| it.zxid.counter());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn commits_have_the_order_of_zxids_whatever_the_order_of_acks() {
        let mut proposals = five();
        propose(&mut proposals, 4);
        for (server, counter, expected) in [
            (2, 4, vec![]),
            (3, 1, vec![]),
            (9, 4, vec![]), // no voter
            (4, 3, vec![1]),
            (4, 2, vec![]), // an old one
            (3, 3, vec![2, 3]),
            (5, 4, vec![]),
            (3, 4, vec![4]),
        ] {
            assert!(proposals.ack(ServerId(server), Zxid::new(Epoch(7), counter)));
            assert_eq!(
                committed(&mut proposals),
                expected,
                "{server} has {counter}"
            );
        }
        assert!(
            !proposals.ack(ServerId(2), Zxid::new(Epoch(7), 5)),
            "not proposed"
        );
    }

    #[test]
    fn a_reconfiguration_and_what_follows_it_needs_both_quorums() {
        let mut proposals = five();
        propose(&mut proposals, 1);
        let next = QuorumVerifier::majority([5, 6, 7].map(ServerId)).unwrap();
        proposals.begin_reconfig(next);
        propose(&mut proposals, 2);
        for (server, counter, expected) in [
            (1, 3, vec![]),
            (2, 3, vec![]),
            (3, 3, vec![1]),
            (6, 2, vec![]),
            (7, 2, vec![2]),
        ] {
            assert!(proposals.ack(ServerId(server), Zxid::new(Epoch(7), counter)));
            assert_eq!(
                committed(&mut proposals),
                expected,
                "{server} has {counter}"
            );
        }
        proposals.end_reconfig();
        assert_eq!(committed(&mut proposals), [0_u32; 0]);
        assert!(proposals.ack(ServerId(6), proposals.last()));
        assert!(proposals.ack(ServerId(5), proposals.last()));
        assert_eq!(committed(&mut proposals), [3]);
    }

    #[test]
    fn what_a_learner_acked_before_it_is_synced_anew_counts_no_more() {
        let mut proposals = five();
        propose(&mut proposals, 1);
        let zxid = proposals.last();
        for server in [2, 3] {
            assert!(proposals.ack(ServerId(server), zxid));
        }
        proposals.forget(ServerId(2));
        assert!(proposals.ack(ServerId(4), zxid));
        assert_eq!(committed(&mut proposals), [0_u32; 0]);
        assert!(proposals.ack(ServerId(2), zxid));
        assert_eq!(committed(&mut proposals), [1]);
    }
}
