//! `sync`, answered strictly.
//!
//! Apache's leader answers as soon as what was proposed before is committed, though another server may lead by
//! then (ZOOKEEPER-1675). Here a quorum must have answered a ping that was sent after the sync came: so this
//! leader was none of the past when it came.

use std::collections::{BTreeMap, VecDeque};

use zk_proto::Zxid;

use super::LinkId;

/// One `sync` on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sync {
    /// The learner that forwarded it; `None`: this server's own.
    link: Option<LinkId>,
    /// What must be committed before it is answered.
    after: Zxid,
}

/// The `sync`s that are not answered, in their order.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Came since the running round began.
    waiting: VecDeque<Sync>,
    /// Wait for the running round.
    asking: VecDeque<Sync>,
    /// A quorum has answered since they came.
    confirmed: VecDeque<Sync>,
    /// Which ping of each learner belongs to the running round.
    round: BTreeMap<LinkId, u64>,
}

impl Syncs {
    pub(super) fn push(&mut self, link: Option<LinkId>, after: Zxid) {
        self.waiting.push_back(Sync { link, after });
    }

    /// How many are not answered.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.asking.len() + self.confirmed.len()
    }

    /// Whether pings should be sent for those that wait; then [`begin`](Self::begin).
    pub(super) fn wants_round(&self) -> bool {
        self.asking.is_empty() && !self.waiting.is_empty()
    }

    /// A round begins: these pings, numbered per learner, were just sent.
    pub(super) fn begin(&mut self, round: BTreeMap<LinkId, u64>) {
        self.round = round;
        std::mem::swap(&mut self.asking, &mut self.waiting);
    }

    /// More pings were sent: learners that were not asked in the running round are now.
    pub(super) fn extend(&mut self, pinged: BTreeMap<LinkId, u64>) {
        if self.is_asking() {
            for (link, number) in pinged {
                self.round.entry(link).or_insert(number);
            }
        }
    }

    /// Which learners have answered the running round, given how many pings each has answered.
    pub(super) fn answered<'a>(
        &'a self,
        answered: impl Fn(LinkId) -> u64 + 'a,
    ) -> impl Iterator<Item = LinkId> + 'a {
        let done =
            move |(link, number): (&LinkId, &u64)| (answered(*link) >= *number).then_some(*link);
        self.round.iter().filter_map(done)
    }

    /// A quorum has answered the running round.
    pub(super) fn confirm(&mut self) {
        self.confirmed.append(&mut self.asking);
        self.round.clear();
    }

    pub(super) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// The next one to answer, everything up to `committed` being committed: on which link, `None` for this
    /// server's own.
    pub(super) fn pop(&mut self, committed: Zxid) -> Option<Option<LinkId>> {
        let first = self.confirmed.front()?;
        if first.after > committed {
            return None;
        }
        self.confirmed.pop_front().map(|sync| sync.link)
    }
}
