//! Links between members: in order, with a delay, cut and broken at will.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{Encode as _, quorum::LearnerMessage};
use zk_server::zab::LinkId;

use super::node::TreeCopy;

/// What travels on a link of the quorum port.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    /// A message, or its beginning.
    Bytes(Bytes),
    Snapshot(Arc<TreeCopy>),
    /// The beginning of a snapshot.
    SomeOfASnapshot,
    Close,
}

impl Wire {
    /// A message, as bytes.
    pub(crate) fn message(message: &LearnerMessage) -> Self {
        Self::Bytes(message.to_packet().to_bytes())
    }

    /// What arrives of it when the link breaks within it.
    pub(crate) fn cut_short(self, kept: impl FnOnce(usize) -> usize) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(..kept(bytes.len()))),
            Self::Snapshot(_) => Self::SomeOfASnapshot,
            other => other,
        }
    }
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) incarnation: u32,
    pub(crate) open: bool,
    /// What is on its way to this end.
    pub(crate) incoming: VecDeque<Wire>,
    /// What has arrived of a message that is not whole yet.
    pub(crate) received: BytesMut,
    /// Whether the next message to this end breaks off.
    pub(crate) breaks_off: bool,
    /// When the last of it arrives.
    pub(crate) last_arrival: Duration,
}

/// A link of the quorum port.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) learner: End,
    pub(crate) leader: End,
    /// Whether nothing can be sent any more.
    pub(crate) broken: bool,
}

impl Link {
    pub(crate) fn end(&mut self, at_leader: bool) -> &mut End {
        match at_leader {
            true => &mut self.leader,
            false => &mut self.learner,
        }
    }
}

/// The network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) last_link: u64,
    /// Until when nothing gets from one member to another one.
    cuts: BTreeMap<(usize, usize), Duration>,
    /// When the last notification from one member to another one arrives.
    pub(crate) last_notification: BTreeMap<(usize, usize), Duration>,
}

impl Net {
    pub(crate) fn cut(&mut self, from: usize, to: usize, until: Duration) {
        let cut = self.cuts.entry((from, to)).or_default();
        *cut = (*cut).max(until);
    }

    /// Until when nothing gets through, if so.
    pub(crate) fn cut_until(&self, now: Duration, from: usize, to: usize) -> Option<Duration> {
        self.cuts
            .get(&(from, to))
            .copied()
            .filter(|until| *until > now)
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        for link in self.links.values_mut() {
            link.leader.breaks_off = false;
            link.learner.breaks_off = false;
        }
    }
}
