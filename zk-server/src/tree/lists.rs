//! Long lists of children, kept as they are sent (`maxGetChildrenResponseCacheSize` in Apache).
//!
//! A crowd that is told of a change reads the list again, all at once. It is put together for the first of them;
//! the others share it, and the tree is locked no longer for them than for a small node.
//!
//! Invariant: what is kept is what the tree has now; whoever links or unlinks a child forgets its parent's list.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use zk_proto::jute::{put_buffer, put_length};

use super::NodeRef;

/// From this length on, lists are kept; below, putting one together is cheap enough.
pub(super) const SHARED_FROM: usize = 16 << 10;
/// The bytes of all lists kept; where another one does not fit in, all others are forgotten.
const MOST: usize = 64 << 20;

/// The lists that were read since they changed, by node.
#[derive(Debug, Default)]
pub(super) struct Lists {
    inner: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<u32, Bytes>,
    len: usize,
}

impl Lists {
    /// The list of a node's children, as a vector of strings.
    pub(super) fn of(&self, id: u32, node: NodeRef<'_>) -> Bytes {
        if let Some(list) = self.inner.lock().lists.get(&id) {
            return list.clone();
        }
        // Without the lock: others read other lists meanwhile, and at worst two put the same one together.
        let list = put_together(node);
        self.inner.lock().keep(id, list.clone());
        list
    }

    /// A node's children change.
    pub(super) fn forget(&mut self, id: u32) {
        let kept = self.inner.get_mut();
        if !kept.lists.is_empty()
            && let Some(list) = kept.lists.remove(&id)
        {
            kept.len -= list.len();
        }
    }
}

impl Kept {
    fn keep(&mut self, id: u32, list: Bytes) {
        if self.len + list.len() > MOST {
            *self = Self::default();
        }
        if list.len() > MOST {
            return;
        }
        self.len += list.len();
        if let Some(before) = self.lists.insert(id, list) {
            self.len -= before.len();
        }
    }
}

fn put_together(node: NodeRef<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(node.children_len());
    let children = node.children();
    put_length(&mut out, children.len());
    for child in children {
        // A string has the form of a buffer.
        put_buffer(&mut out, child.name());
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_an_end() {
        let mut kept = Kept::default();
        let list = Bytes::from(vec![0; MOST / 2]);
        for (id, count) in [(1, 1), (1, 1), (2, 2), (3, 1)] {
            kept.keep(id, list.clone());
            assert_eq!((kept.lists.len(), kept.len), (count, count * list.len()));
        }
        kept.keep(4, Bytes::from(vec![0; MOST + 1]));
        assert_eq!((kept.lists.len(), kept.len), (0, 0));
    }
}
