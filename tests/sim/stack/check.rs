//! What clients saw, held against what the ensemble has agreed on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zk_proto::{
    OpCode, SessionId, Xid, Zxid,
    txn::{Txn, TxnLogEntry},
};

use super::client::{QUEUE, SHARED};

/// A read of [`SHARED`].
pub(super) struct Read {
    pub(super) at: Zxid,
    pub(super) data: Bytes,
    pub(super) changed: Zxid,
    pub(super) version: i32,
}

/// What a watch is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The data of [`SHARED`].
    Shared,
    /// The children of [`QUEUE`].
    Queue,
}

/// A watch, and up to where its client has seen the history without being told of a change.
pub(super) struct Watched {
    pub(super) seen: Seen,
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
    /// Acknowledged writes that carry a name, by it.
    pub(super) named: BTreeMap<String, Zxid>,
    /// Names of writes that were certainly not carried out.
    pub(super) refused: Vec<String>,
    /// Names of writes that were open when their connection broke, in order.
    pub(super) lost: Vec<Vec<String>>,
    /// Names of writes that were open when their connection broke, and the first write of the same session that was
    /// acknowledged over a later one.
    pub(super) overtaken: Vec<(Vec<String>, Zxid)>,
    /// Lists of the children of [`QUEUE`], and as of when.
    pub(super) lists: Vec<(Zxid, BTreeSet<String>)>,
    /// Children of [`QUEUE`] as their makers know them.
    pub(super) sequence: BTreeMap<Zxid, String>,
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

    /// G2, G3, G4, G6, G7, G12 to G15, G17, G20, with the whole log of a server.
    pub(super) fn check(&self, log: &[TxnLogEntry]) {
        let effects = Effects::of(log);
        for (asker, zxid) in &self.acknowledged {
            let found = effects.by_asker.get(asker);
            assert_eq!(found, Some(zxid), "G3: {asker:?} was acknowledged");
        }
        for read in &self.reads {
            let Read { at, data, .. } = read;
            let before = effects.shared.range(..=*at);
            let last = before.clone().next_back();
            assert_eq!(last, Some((&read.changed, data)), "G7: read at {at}");
            // It was made once, with version 0, and has changed with every other transaction.
            let version = before.count() as i32 - 1;
            assert_eq!(read.version, version, "G13: read at {at}");
        }
        for Watched { seen, from, until } in &self.watched {
            if until > from {
                let between = Zxid(from.0 + 1)..=*until;
                let missed = match seen {
                    Seen::Shared => effects.shared.range(between).next().map(|it| it.0),
                    Seen::Queue => effects.queue.range(between).next().map(|it| it.0),
                };
                assert_eq!(missed, None, "G20: watched from {from}, seen up to {until}");
            }
        }
        self.check_names(&effects);
        self.check_queue(&effects);
    }

    /// Writes by name: acknowledged, refused, and open when their connection broke.
    fn check_names(&self, effects: &Effects) {
        for (name, zxid) in &self.named {
            let found = effects.by_name.get(name.as_bytes());
            assert_eq!(found, Some(zxid), "G3: {name} was acknowledged");
        }
        for name in &self.refused {
            let found = effects.by_name.get(name.as_bytes());
            assert_eq!(found, None, "G4: {name} was certainly not carried out");
        }
        for (late, zxid) in &self.overtaken {
            let applied = late
                .iter()
                .filter_map(|name| effects.by_name.get(name.as_bytes()));
            let after = applied.max().filter(|last| *last > zxid);
            assert_eq!(after, None, "G17: {late:?} came after {zxid}");
        }
        for lost in &self.lost {
            let found = lost.iter().map(|name| effects.by_name.get(name.as_bytes()));
            let found: Vec<_> = found.collect();
            let applied = found.iter().take_while(|zxid| zxid.is_some()).count();
            let rest = found[applied..].iter().all(|zxid| zxid.is_none());
            assert!(rest, "G6: {lost:?} at {found:?}: no hole in a pipeline");
            assert!(found[..applied].is_sorted(), "G6: {lost:?} at {found:?}");
        }
    }

    fn check_queue(&self, effects: &Effects) {
        let made: Vec<_> = effects.queue.values().collect();
        let ascends = made.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascends, "G14: {made:?}");
        for (zxid, path) in &self.sequence {
            assert_eq!(effects.queue.get(zxid), Some(path), "G14: made at {zxid}");
        }
        for (at, names) in &self.lists {
            let there = effects.queue.range(..=*at);
            let there = there.map(|(_, path)| path[QUEUE.len() + 1..].to_owned());
            assert_eq!(there.collect::<BTreeSet<_>>(), *names, "G7: list at {at}");
        }
    }
}

/// G2: an epoch's transactions are numbered from 1 without a gap, and epochs only grow.
fn check_shape(before: Option<Zxid>, zxid: Zxid) {
    let follows = before.is_none_or(|before| match zxid.epoch() == before.epoch() {
        true => zxid.0 == before.0 + 1,
        false => zxid.epoch() > before.epoch() && zxid.counter() == 1,
    });
    assert!(follows, "G2: {zxid} after {before:?}");
}

/// G15: only an open session makes nodes of its own.
fn check_owner(open: &mut BTreeSet<SessionId>, session: SessionId, txn: &Txn) {
    match txn {
        Txn::CreateSession(_) => {
            open.insert(session);
        }
        Txn::CloseSession(_) => {
            open.remove(&session);
        }
        Txn::Create(create) if create.ephemeral => {
            assert!(open.contains(&session), "G15: {} of {session}", create.path);
        }
        _ => {}
    }
}

/// What a log did.
#[derive(Default)]
struct Effects {
    by_asker: BTreeMap<(SessionId, i32), Zxid>,
    by_name: BTreeMap<Bytes, Zxid>,
    /// The data of [`SHARED`].
    shared: BTreeMap<Zxid, Bytes>,
    /// The children of [`QUEUE`], of which none goes.
    queue: BTreeMap<Zxid, String>,
}

impl Effects {
    fn of(log: &[TxnLogEntry]) -> Self {
        let mut effects = Self::default();
        let mut open = BTreeSet::new();
        let mut before = None;
        for entry in log {
            let header = &entry.header;
            check_shape(before.replace(header.zxid), header.zxid);
            check_owner(&mut open, header.client_id, &entry.txn);
            let is_system = [OpCode::CreateSession.code(), OpCode::CloseSession.code()];
            if !is_system.contains(&header.kind) {
                let asker = (header.client_id, header.cxid.0);
                let before = effects.by_asker.insert(asker, header.zxid);
                assert_eq!(before, None, "G4: {asker:?} took effect twice");
            }
            match &entry.txn {
                Txn::Multi(parts) => {
                    let whole = matches!(parts[..], [Txn::SetData(_), Txn::Create(_)]);
                    // What comes late over the old connection of a session that has moved is refused, and logged so.
                    let none = matches!(parts[..], [Txn::Error(_), Txn::Error(_)]);
                    assert!(whole || none, "G12: {parts:?}");
                    parts
                        .iter()
                        .for_each(|part| effects.note(header.zxid, part));
                }
                txn => effects.note(header.zxid, txn),
            }
        }
        effects
    }

    fn note(&mut self, zxid: Zxid, txn: &Txn) {
        let (path, data) = match txn {
            Txn::SetData(set) => (&*set.path, set.data.clone().unwrap_or_default()),
            Txn::Create(create) => (&*create.path, create.data.clone().unwrap_or_default()),
            _ => return,
        };
        if path == SHARED {
            self.shared.insert(zxid, data.clone());
        } else if path.starts_with(QUEUE) && path != QUEUE {
            self.queue.insert(zxid, path.to_owned());
        }
        if !data.is_empty() {
            let before = self.by_name.insert(data.clone(), zxid);
            let is_new = before.is_none_or(|before| before == zxid);
            assert!(is_new, "G4: {data:?} took effect twice");
        }
    }
}
