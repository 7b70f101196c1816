//! Beginning to serve clients with a role, and ceasing to without one.

use std::time::Duration;

use zk_proto::{
    Zxid,
    quorum::{LearnerMessage, ServerState, SessionTouch},
};

use super::{Order, Peer};
use crate::{
    peer::{Output, orphans},
    session::SessionTracker,
    time::Now,
    zab::LinkId,
};

impl Peer {
    /// From now on clients are served.
    pub(super) fn serve(&mut self, now: Now) {
        if let Some(configuration) = self.shared.configuration() {
            let (text, version) = (configuration.to_string(), configuration.version());
            let mut tree = self.shared.tree.write();
            tree.set_config(&text, version, now.wall_ms);
        }
        let state = self
            .ensemble
            .as_ref()
            .map(|ensemble| ensemble.member.state());
        let leads = state == Some(ServerState::Leading);
        self.shared.set_leads(leads);
        self.note_service(now, leads);
        *self.shared.mode.write() = match state {
            Some(ServerState::Leading) => self.options.leader_serves.then_some("leader"),
            Some(ServerState::Observing) => Some("observer"),
            _ => Some("follower"),
        };
        let last = self.shared.tree.read().last_zxid();
        self.begin_book(now, leads);
        let tree = self.shared.tree.read();
        for (id, timeout_ms) in tree.sessions() {
            let timeout = u64::try_from(timeout_ms).unwrap_or_default();
            self.sessions.track(id, Duration::from_millis(timeout), now);
        }
        self.ending = orphans(&tree);
        drop(tree);
        self.count_sessions();
        self.reaper.begin(now);
        self.last_proposed = last;
        self.last_committed = last;
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.serving = true;
        }
    }

    /// Begins with no sessions, and ids that no session had.
    pub(super) fn begin_book(&mut self, now: Now, leads: bool) {
        let mut sessions = SessionTracker::new(self.options.tick, self.options.server, now);
        if !leads {
            sessions = sessions.that_follows();
        }
        sessions.keep_ids_of(&self.sessions);
        self.sessions = sessions;
    }

    /// No client is served any more.
    pub(super) fn leave(&mut self) {
        *self.shared.mode.write() = None;
        self.shared.set_leads(false);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.serving = false;
            ensemble.owners.clear();
            ensemble.syncs.clear();
            ensemble.held.clear();
            // What an older link still says is not heard.
            ensemble.link = LinkId(ensemble.link.0 + 1);
            for comer in ensemble.comers.drain(..) {
                comer.conn.outbox.close();
            }
        }
        self.ending.clear();
        self.prep.clear();
        self.hang_up();
        self.order(Order::CloseLinks);
    }

    /// Closes every client's connection; what they asked for is not answered.
    pub(super) fn hang_up(&mut self) {
        self.popped += self.waiting.len() as u64;
        self.waiting.clear();
        self.reads_behind = 0;
        for conn in self.shared.conns.all() {
            conn.outbox.close();
            self.outputs.push_back(Output::Wake(conn));
        }
    }

    pub(super) fn answer_ping(&mut self, zxid: Zxid) {
        let touched = self.sessions.take_heard();
        let touched = touched.map(|(session, timeout)| SessionTouch {
            session,
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        });
        let touched = Some(touched.collect());
        self.order(Order::Tell(LearnerMessage::Ping { zxid, touched }));
    }
}
