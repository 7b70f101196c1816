//! G16: no session expires while its leader hears of it.
//!
//! What counts is what has reached the leader that ends the session: bytes on a connection of its own, or a follower's
//! word that it has heard of it. No client here ends its session by itself, so whoever is closed has expired.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;
use zk_proto::{
    Decode, Epoch, Reader, SessionId, Zxid,
    quorum::LearnerMessage,
    txn::{Txn, TxnLogEntry},
};
use zk_server::{
    peer::{Input, QuorumInput},
    zab::LeaderInput,
};

use super::{MS, World};

/// When who heard of which session.
#[derive(Default)]
pub(super) struct Clocks {
    timeouts: BTreeMap<SessionId, Duration>,
    heard: BTreeMap<(usize, SessionId), Duration>,
    /// When each epoch's leader began to say that it leads: not before that it gives every session its whole time.
    began: BTreeMap<Epoch, Duration>,
    /// Every transaction that was logged anywhere.
    logged: BTreeSet<Zxid>,
    /// How many expired.
    pub(super) expired: usize,
}

impl World {
    /// Bytes come in on a connection.
    pub(super) fn note_bytes(&mut self, server: usize, conn: u64) {
        let process = self.servers[server].process.as_ref();
        let found = process.and_then(|process| process.conns.get(&conn));
        let Some(found) = found.filter(|_| self.is_held(conn)) else {
            return;
        };
        let session = SessionId(found.handle.stats.session.load(Ordering::Relaxed));
        self.clocks.heard.insert((server, session), self.now);
    }

    /// A follower says of whom it has heard.
    pub(super) fn note_input(&mut self, server: usize, input: &mut Input) {
        let Input::Quorum(QuorumInput::Leader(LeaderInput::Message { link, message })) = input
        else {
            return;
        };
        if let LearnerMessage::Ping {
            touched: Some(touched),
            ..
        } = message
            && self.network.is_open(server, *link)
        {
            for touch in touched.iter() {
                let at = (server, touch.session);
                self.clocks.heard.insert(at, self.now);
            }
            if self.forgets_touches {
                touched.clear();
            }
        }
    }

    pub(super) fn note_new_leader(&mut self, message: &LearnerMessage) {
        if let LearnerMessage::NewLeader { zxid, .. } = message {
            self.clocks.began.entry(zxid.epoch()).or_insert(self.now);
        }
    }

    /// A server logs something: the first one that does is its leader.
    pub(super) fn note_logged(&mut self, server: usize, zxid: Zxid, record: &Bytes) {
        if !self.clocks.logged.insert(zxid) {
            return;
        }
        let entry = TxnLogEntry::decode(&mut Reader::new(record.clone())).unwrap();
        let session = entry.header.client_id;
        match entry.txn {
            Txn::CreateSession(created) => {
                let timeout = Duration::from_millis(created.timeout_ms as u64);
                self.clocks.timeouts.insert(session, timeout);
                self.clocks.heard.insert((server, session), self.now);
            }
            Txn::CloseSession(_) => self.check_expiry(server, zxid.epoch(), session),
            _ => {}
        }
    }

    fn check_expiry(&mut self, server: usize, epoch: Epoch, session: SessionId) {
        self.clocks.expired += 1;
        let heard = self.clocks.heard.get(&(server, session));
        let last = heard.max(self.clocks.began.get(&epoch));
        let timeout = self.clocks.timeouts[&session];
        // The clocks of sessions count milliseconds.
        assert!(
            last.is_some_and(|last| self.now + MS >= *last + timeout),
            "G16: {session} expires at {:?}, heard of at {last:?}, with {timeout:?}",
            self.now
        );
    }
}
