//! Entries, and the two chains each is in.

use super::{ConnId, WatchKinds, WatchTable};
use crate::tree::slab::NONE;

/// A connection's watches at a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) path: u32,
    pub(super) conn: ConnId,
    pub(super) by_path: Place,
    by_conn: Place,
    pub(super) kinds: WatchKinds,
}

const _: () = assert!(size_of::<Entry>() == 28);

/// The neighbours in a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    prev: u32,
    pub(super) next: u32,
}

const NOWHERE: Place = Place {
    prev: NONE,
    next: NONE,
};

impl Default for Entry {
    fn default() -> Self {
        Self {
            path: NONE,
            conn: ConnId::default(),
            by_path: NOWHERE,
            by_conn: NOWHERE,
            kinds: WatchKinds::NONE,
        }
    }
}

/// Which chain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    /// The entries of a path.
    Path,
    /// The entries of a connection.
    Conn,
}

impl Entry {
    const fn place(&mut self, link: Link) -> &mut Place {
        match link {
            Link::Path => &mut self.by_path,
            Link::Conn => &mut self.by_conn,
        }
    }
}

impl WatchTable {
    pub(super) fn find_entry(&self, path: u32, conn: ConnId) -> Option<u32> {
        let hash = self.entry_index.hash(&key(path, conn));
        self.entry_index.find(hash, |id| {
            let entry = self.entries.get(id);
            entry.path == path && entry.conn == conn
        })
    }

    /// Puts an entry without kinds at the front of both its chains.
    pub(super) fn add_entry(&mut self, path: u32, conn: ConnId) -> u32 {
        let id = self.entries.insert(Entry {
            path,
            conn,
            ..Entry::default()
        });
        let first = std::mem::replace(&mut self.paths.get_mut(path).first, id);
        self.put_before(id, first, Link::Path);
        let first = self.conns.insert(conn, id).unwrap_or(NONE);
        self.put_before(id, first, Link::Conn);
        self.entry_index
            .insert(self.entry_index.hash(&key(path, conn)), id);
        id
    }

    fn put_before(&mut self, id: u32, first: u32, link: Link) {
        self.entries.get_mut(id).place(link).next = first;
        if first != NONE {
            self.entries.get_mut(first).place(link).prev = id;
        }
    }

    pub(super) fn remove_entry(&mut self, id: u32) {
        let mut entry = self.entries.remove(id);
        let hash = self.entry_index.hash(&key(entry.path, entry.conn));
        self.entry_index.remove(hash, id);
        if let Some(first) = self.close_gap(*entry.place(Link::Path), Link::Path) {
            self.paths.get_mut(entry.path).first = first;
            if first == NONE {
                self.remove_path(entry.path);
            }
        }
        if let Some(first) = self.close_gap(*entry.place(Link::Conn), Link::Conn) {
            match first {
                NONE => self.conns.remove(&entry.conn),
                first => self.conns.insert(entry.conn, first),
            };
        }
    }

    /// Joins the neighbours of a gap; tells the new first of the chain where the gap was at its front.
    fn close_gap(&mut self, gap: Place, link: Link) -> Option<u32> {
        if gap.next != NONE {
            self.entries.get_mut(gap.next).place(link).prev = gap.prev;
        }
        if gap.prev == NONE {
            return Some(gap.next);
        }
        self.entries.get_mut(gap.prev).place(link).next = gap.next;
        None
    }

    /// The entries of a chain from its first on.
    pub(super) fn chain(&self, first: u32, link: Link) -> impl Iterator<Item = u32> + '_ {
        let in_chain = |id: u32| (id != NONE).then_some(id);
        std::iter::successors(in_chain(first), move |id| {
            let entry = self.entries.get(*id);
            in_chain(match link {
                Link::Path => entry.by_path.next,
                Link::Conn => entry.by_conn.next,
            })
        })
    }
}

/// What the hash of an entry is made of.
fn key(path: u32, conn: ConnId) -> [u8; 8] {
    (u64::from(path) << 32 | u64::from(conn.0)).to_le_bytes()
}
