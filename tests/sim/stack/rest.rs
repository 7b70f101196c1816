//! After the chaos: everything must be well again, and what clients saw must fit it.

use std::{collections::BTreeSet, time::Duration};

use zk_proto::{Decode, Reader, Zxid, txn::TxnLogEntry};
use zk_server::{
    storage::{HistoryPieces, survey_history},
    zab::follows,
};

use super::{CHAOS, Event, MS, World, server::Server};

impl World {
    pub(super) fn run(&mut self) {
        self.make_shared();
        for client in 0..self.clients.len() {
            let at = self.soon(100);
            self.schedule(at, Event::Client(client));
        }
        for seat in 0..self.seats.len() {
            let at = self.soon(100);
            self.schedule(at, Event::Session(seat));
            let wishes = self.seats[seat].client.begin(&mut self.history);
            self.grant(seat, wishes);
        }
        let end = self.now + CHAOS;
        self.run_until(end);
        self.calm = true;
        self.network.heal();
        let end = self.now + 1_500 * MS;
        self.run_until(end);
        for server in 0..self.servers.len() {
            self.start(server);
        }
        let limit = self.now + Duration::from_secs(20);
        while !self.is_at_rest() {
            assert!(self.now < limit, "no rest: {}", self.describe());
            let end = self.now + 50 * MS;
            self.run_until(end);
        }
        self.check();
    }

    /// The nodes that everybody uses, made before anything strikes.
    pub(super) fn make_shared(&mut self) {
        let limit = self.now + 900 * MS;
        while self.history.acknowledged.len() < 2 {
            assert!(self.now < limit, "nobody serves: {}", self.describe());
            self.dial_first();
            let end = self.now + 5 * MS;
            self.run_until(end);
        }
    }

    pub(super) fn describe(&self) -> String {
        let state = |server: &Server| {
            let process = server.process.as_ref();
            process.map(|it| (*it.shared.mode.read(), it.shared.tree.read().last_zxid()))
        };
        let states: Vec<_> = self.servers.iter().map(state).collect();
        format!("{states:?} after {:?}", self.faults)
    }

    pub(super) fn is_at_rest(&self) -> bool {
        let states: BTreeSet<_> = self
            .servers
            .iter()
            .map(|server| {
                let process = server.process.as_ref()?;
                let mode = *process.shared.mode.read();
                mode.map(|_| process.shared.tree.read().last_zxid())
            })
            .collect();
        let answered = self.clients.iter().all(|client| client.unanswered() == 0);
        let mut seats = self.seats.iter();
        let served = seats.all(|seat| seat.client.unanswered() == 0 && seat.conn.is_some());
        states.len() == 1 && !states.contains(&None) && answered && served
    }

    /// All servers hold the same, and what clients saw fits it.
    pub(super) fn check(&mut self) {
        for client in 0..self.clients.len() {
            self.clients[client].cut(&mut self.history);
        }
        for seat in &mut self.seats {
            seat.client.finish(&mut self.history);
        }
        let mut trees = Vec::new();
        let mut checked = false;
        for server in &mut self.servers {
            let Some(process) = &mut server.process else {
                continue;
            };
            let tree = process.shared.tree.read();
            let sessions: BTreeSet<_> = tree.sessions().map(|(session, _)| session).collect();
            let owners: BTreeSet<_> = tree.ephemeral_sessions().collect();
            assert!(
                owners.is_subset(&sessions),
                "G15: nodes of sessions that are over"
            );
            let applied = tree.last_zxid();
            trees.push((applied, tree.digest(), sessions));
            drop(tree);
            assert_eq!(process.shared.metrics.digest_mismatches.get(), 0);
            assert_eq!(
                process.shared.metrics.quorum.awaits_sync.get(),
                0,
                "it is synced"
            );
            if server.spoiled {
                // What was set aside is in no log of it, and its snapshots have it.
                continue;
            }
            let directories = &process.directories;
            let span = survey_history(directories, Zxid::ZERO, None, follows, || true).unwrap();
            if let Some((_, last)) = span {
                // A snapshot of the leader's may have jumped over the rest.
                if last < applied {
                    continue;
                }
                // What is behind is on its way: the end of a session, for one.
                let mut log =
                    HistoryPieces::open(directories, Zxid::ZERO, applied, follows).unwrap();
                let log = log.next_piece(usize::MAX).unwrap().unwrap_or_default();
                let decode = |(_, entry)| TxnLogEntry::decode(&mut Reader::new(entry)).unwrap();
                let log: Vec<_> = log.into_iter().map(decode).collect();
                self.history.check(&log);
                checked = true;
            }
        }
        assert!(checked, "nobody has the whole log");
        assert!(
            trees.windows(2).all(|pair| pair[0] == pair[1]),
            "G1: {trees:?}"
        );
    }
}
