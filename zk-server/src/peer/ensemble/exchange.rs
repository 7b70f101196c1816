//! Exchanging the tree for another one: the leader's snapshot, or what the disk says.
//!
//! Invariant: never while a cut of the present one is being read.

use super::{Order, Peer, configuration_of};
use crate::{
    error::Fatal,
    time::Now,
    tree::{Cut, DataTree},
    zab::{self, LearnerInput, LinkId},
};

/// What follows when the tree may be exchanged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exchange {
    Received(LinkId),
    Recovered,
}

/// How many transactions a leader may apply while it sends its tree: many seconds of the heaviest load.
const AHEAD_MAX: u32 = 100_000;

impl Peer {
    pub(super) fn begin_cut(&mut self) -> Cut {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.cuts += 1;
        }
        self.shared.tree.write().begin_cut()
    }

    pub(super) fn end_cut(&mut self, cut: Cut) {
        self.shared.tree.write().end_cut(cut);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.cuts -= 1;
        }
    }

    pub(super) fn exchange(&mut self, now: Now, tree: Box<DataTree>, then: Exchange) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.exchange = Some((tree, then));
        }
        self.try_exchange(now);
    }

    /// Exchanges the tree, once nobody reads a cut of the one that goes.
    pub(in crate::peer) fn try_exchange(&mut self, now: Now) {
        let Some(ensemble) = &mut self.ensemble else {
            return;
        };
        if ensemble.exchange.is_some() && self.snapshotting {
            // What it would hold is about to be replaced, and this member joins when it is over.
            return self.order(Order::AbandonSnapshot);
        }
        if ensemble.cuts > 0 {
            return;
        }
        let Some((tree, then)) = ensemble.exchange.take() else {
            return;
        };
        let last = tree.last_zxid();
        let link = ensemble.link;
        match then {
            Exchange::Received(of) if of != link => return,
            _ => *self.shared.tree.write() = *tree,
        }
        self.last_synced = last;
        self.tree_is_ahead = match then {
            Exchange::Received(_) => AHEAD_MAX,
            Exchange::Recovered => 0,
        };
        self.agree(
            now,
            match then {
                Exchange::Received(_) => {
                    let configuration = configuration_of(&self.shared.tree.read());
                    zab::Input::Learner(LearnerInput::SnapshotReceived(configuration))
                }
                Exchange::Recovered => zab::Input::Reloaded(last),
            },
        );
    }

    pub(super) fn installed(&mut self, now: Now, cut: Cut, written: Result<(), Fatal>) {
        self.end_cut(cut);
        if let Err(fatal) = written {
            return self.stop(fatal);
        }
        let installing = self.ensemble.as_ref().is_some_and(|ensemble| {
            let learner = ensemble.member.learner();
            learner.is_some_and(zab::Learner::is_installing)
        });
        if installing {
            self.agree(now, zab::Input::Learner(LearnerInput::SnapshotInstalled));
        }
        self.try_exchange(now);
    }
}
