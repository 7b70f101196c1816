//! What clients saw, held against what the ensemble has agreed on.

use std::collections::BTreeMap;

use bytes::Bytes;
use zk_proto::{
    OpCode, SessionId, Xid, Zxid,
    txn::{Txn, TxnLogEntry},
};

use super::client::SHARED;

/// A read of [`SHARED`].
pub(super) struct Read {
    pub(super) at: Zxid,
    pub(super) data: Bytes,
    pub(super) changed: Zxid,
}

/// A watch on [`SHARED`], and up to where its client has seen the history without being told of a change.
pub(super) struct Watched {
    pub(super) from: Zxid,
    pub(super) until: Zxid,
}

/// What all clients saw.
#[derive(Default)]
pub(super) struct History {
    /// Acknowledged writes, by who asked for them.
    pub(super) acknowledged: BTreeMap<(SessionId, i32), Zxid>,
    /// The last of them.
    pub(super) newest: Zxid,
    pub(super) reads: Vec<Read>,
    pub(super) watched: Vec<Watched>,
    pub(super) syncs: usize,
    pub(super) events: usize,
    /// Sessions that another connection took over, and sessions that were over.
    pub(super) resumed: usize,
    pub(super) expired: usize,
}

impl History {
    pub(super) fn acknowledge(&mut self, session: SessionId, xid: Xid, zxid: Zxid) {
        let before = self.acknowledged.insert((session, xid.0), zxid);
        assert_eq!(before, None, "answered twice");
        self.newest = self.newest.max(zxid);
    }

    /// G3, G4, G7, G20, with the whole log of a server.
    pub(super) fn check(&self, log: &[TxnLogEntry]) {
        let mut by_asker = BTreeMap::new();
        let mut changes = BTreeMap::new();
        for entry in log {
            let header = &entry.header;
            let is_system = [OpCode::CreateSession.code(), OpCode::CloseSession.code()];
            if !is_system.contains(&header.kind) {
                let asker = (header.client_id, header.cxid.0);
                let before = by_asker.insert(asker, header.zxid);
                assert_eq!(before, None, "G4: {asker:?} took effect twice");
            }
            match &entry.txn {
                Txn::SetData(set) if &*set.path == SHARED => {
                    changes.insert(header.zxid, set.data.clone().unwrap_or_default());
                }
                Txn::Create(create) if &*create.path == SHARED => {
                    changes.insert(header.zxid, create.data.clone().unwrap_or_default());
                }
                _ => {}
            }
        }
        for (asker, zxid) in &self.acknowledged {
            let found = by_asker.get(asker);
            assert_eq!(found, Some(zxid), "G3: {asker:?} was acknowledged");
        }
        for Read { at, data, changed } in &self.reads {
            let last = changes.range(..=*at).next_back();
            assert_eq!(last, Some((changed, data)), "G7: read at {at}");
        }
        for Watched { from, until } in &self.watched {
            if until > from {
                let missed = changes.range(Zxid(from.0 + 1)..=*until).next();
                assert_eq!(missed, None, "G20: watched from {from}, seen up to {until}");
            }
        }
    }
}
