//! The four changes a node can undergo.
//!
//! Each is total: a log is replayed over a snapshot that already has some of its transactions (Apache's snapshots
//! are fuzzy), so a node may exist already or be gone already, and the result must be the same all the same.

use zk_proto::{
    Acl, ErrorCode, Stat, Utf8Bytes, Zxid, create_mode::EphemeralOwner, watch::EventType,
};

use super::{
    DataTree, Effects, ROOT,
    node::{Extra, Node},
    path,
    slab::NONE,
};

/// When a change happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) zxid: Zxid,
    /// By the leader's clock, milliseconds since the Unix epoch.
    pub(super) time: i64,
}

/// A node to be created.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewNode<'a> {
    pub(super) path: &'a Utf8Bytes,
    pub(super) data: Option<&'a [u8]>,
    pub(super) acl: &'a [Acl],
    pub(super) owner: EphemeralOwner,
    /// What the parent's cversion is to be; -1 (logs before 3.4): one more than it is.
    pub(super) parent_cversion: i32,
}

impl DataTree {
    /// Creates a node and tells its number.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`] without parent. [`ErrorCode::NodeExists`]: then the node has got the ACL, and the parent
    /// its cversion and pzxid, since the snapshot below may have caught the node but not these.
    pub(super) fn create(
        &mut self,
        new: NewNode<'_>,
        at: At,
        effects: &mut Effects,
    ) -> Result<u32, ErrorCode> {
        let (parent_path, name) = path::split(new.path).ok_or(ErrorCode::NoNode)?;
        let parent = self.find_parent(parent_path).ok_or(ErrorCode::NoNode)?;
        let acl = self.acls.acquire(new.acl);
        self.raise_cversion(parent, parent_path, new.parent_cversion, at.zxid);
        if let Some(existing) = self.find(new.path) {
            self.replace_acl(existing, acl);
            return Err(ErrorCode::NodeExists);
        }
        let id = self.insert(parent, name, &new, acl, at);
        self.quota_created(new.path, new.data.map_or(0, <[u8]>::len));
        effects.push(EventType::NodeCreated, new.path, self.acl(id).clone());
        effects.push_parent(new.path, self.acl(parent).clone());
        Ok(id)
    }

    fn insert(&mut self, parent: u32, name: &str, new: &NewNode<'_>, acl: u32, at: At) -> u32 {
        let mut node = Node::new(name.as_bytes(), new.data);
        (node.czxid, node.mzxid) = (at.zxid.0, at.zxid.0);
        (node.ctime, node.mtime) = (at.time, at.time);
        node.acl = acl;
        let id = self.nodes.insert(node);
        if new.owner != EphemeralOwner::Persistent {
            self.extra_mut(id).owner = new.owner.raw();
            // The owner as everybody will read it from now on: without extended types, a TTL's mark is a session.
            self.owners.add(self.owner_kind(new.owner.raw()), id);
        }
        self.link(parent, id);
        self.enter(new.path.as_bytes(), id);
        id
    }

    /// Deletes a node.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`] without parent or node; the parent's pzxid is raised all the same.
    pub(super) fn delete(
        &mut self,
        path: &Utf8Bytes,
        zxid: Zxid,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let (parent_path, _) = path::split(path).ok_or(ErrorCode::NoNode)?;
        let parent = self.find_parent(parent_path).ok_or(ErrorCode::NoNode)?;
        if zxid.0 > self.extra(parent).pzxid {
            self.change_extra(parent, path::counts(parent_path.as_bytes()), |extra| {
                extra.pzxid = zxid.0;
            });
        }
        let id = self.find(path).filter(|id| *id != ROOT);
        let id = id.ok_or(ErrorCode::NoNode)?;
        let acl = self.acl(id).clone();
        let data_len = self.nodes.get(id).data_len();
        self.remove_subtree(id);
        self.quota_deleted(path, data_len);
        effects.push(EventType::NodeDeleted, path, acl);
        effects.push_parent(path, self.acl(parent).clone());
        Ok(())
    }

    /// Sets a node's data and tells its Stat.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`].
    pub(super) fn set_data(
        &mut self,
        path: &Utf8Bytes,
        data: Option<&[u8]>,
        version: i32,
        at: At,
        effects: &mut Effects,
    ) -> Result<Stat, ErrorCode> {
        let id = self.find(path).ok_or(ErrorCode::NoNode)?;
        let counts = path::counts(path.as_bytes());
        let old_len = self.nodes.get(id).data_len();
        self.save_image(id);
        self.digest.remove(self.digest_of(id, counts));
        self.replace_data(id, path.as_bytes(), data);
        let node = self.nodes.get_mut(id);
        (node.mzxid, node.mtime, node.version) = (at.zxid.0, at.time, version);
        self.digest.add(self.digest_of(id, counts));
        self.quota_changed(path, old_len, self.nodes.get(id).data_len());
        effects.push(EventType::NodeDataChanged, path, self.acl(id).clone());
        Ok(self.stat(id))
    }

    /// Says in `/zookeeper/config` who the members are (`ZKDatabase.initConfigInZKDatabase`).
    ///
    /// No transaction does this: every member of an ensemble writes it for itself, from its own configuration, when it
    /// begins to serve. A later configuration, which came by a transaction, stays.
    pub(crate) fn set_config(&mut self, text: &str, version: Zxid, time: i64) {
        let Some(id) = self.find(path::CONFIG) else {
            return;
        };
        let node = self.nodes.get(id);
        let is_later = node.mzxid > version.0;
        if is_later || node.data() == Some(text.as_bytes()) {
            return;
        }
        let at = At {
            zxid: version,
            time,
        };
        let path = Utf8Bytes::from(path::CONFIG);
        let data = Some(text.as_bytes());
        // Apache gives it no version, and there is no client yet whose watch could fire.
        let _stat = self.set_data(&path, data, -1, at, &mut Effects::new());
    }

    /// Replaces a node's data, outside of the digest.
    pub(super) fn replace_data(&mut self, id: u32, path: &[u8], data: Option<&[u8]>) {
        self.save_image(id);
        let node = self.nodes.get_mut(id);
        let old_len = node.data_len() as u64;
        node.set_data(data);
        self.data_size = self.data_size - old_len + node.data_len() as u64;
        if self.options.digest {
            node.body_crc = zk_proto::persist::body_crc(path, data.unwrap_or_default());
        }
    }

    /// Sets a node's ACL and tells its Stat. No watch fires.
    ///
    /// # Errors
    /// [`ErrorCode::NoNode`].
    pub(super) fn set_acl(
        &mut self,
        path: &str,
        acl: &[Acl],
        version: i32,
    ) -> Result<Stat, ErrorCode> {
        let id = self.find(path).ok_or(ErrorCode::NoNode)?;
        let place = self.acls.acquire(acl);
        self.replace_acl(id, place);
        if self.extra(id).aversion != version {
            self.change_extra(id, path::counts(path.as_bytes()), |extra| {
                extra.aversion = version;
            });
        }
        Ok(self.stat(id))
    }

    fn replace_acl(&mut self, id: u32, place: u32) {
        self.save_image(id);
        let node = self.nodes.get_mut(id);
        let old = std::mem::replace(&mut node.acl, place);
        self.acls.release(old);
    }

    /// Gives a parent the cversion after a create, never a smaller one: the create may be an old one, replayed.
    fn raise_cversion(&mut self, parent: u32, path: &str, cversion: i32, zxid: Zxid) {
        let current = self.extra(parent).cversion;
        let cversion = match cversion {
            -1 => current.wrapping_add(1),
            given => given,
        };
        if cversion > current {
            self.change_extra(parent, path::counts(path.as_bytes()), |extra| {
                (extra.cversion, extra.pzxid) = (cversion, zxid.0);
            });
        }
    }

    /// Changes a node's metadata, and the digest with it.
    fn change_extra(&mut self, id: u32, counts: bool, change: impl FnOnce(&mut Extra)) {
        self.save_image(id);
        self.digest.remove(self.digest_of(id, counts));
        change(self.extra_mut(id));
        self.digest.add(self.digest_of(id, counts));
    }

    /// Makes a node the last child of another.
    pub(super) fn link(&mut self, parent: u32, id: u32) {
        let name_len = self.nodes.get(id).name().len() as u64;
        self.lists.forget(parent);
        let extra = self.extra_mut(parent);
        extra.num_children += 1;
        extra.names_len += name_len;
        let first = extra.first_child;
        if first == NONE {
            extra.first_child = id;
            self.nodes.get_mut(id).prev = id;
        } else {
            let last = std::mem::replace(&mut self.nodes.get_mut(first).prev, id);
            self.nodes.get_mut(last).next = id;
            self.nodes.get_mut(id).prev = last;
        }
        self.nodes.get_mut(id).parent = parent;
    }

    fn unlink(&mut self, id: u32) {
        let node = self.nodes.get(id);
        let (parent, prev, next) = (node.parent, node.prev, node.next);
        let name_len = node.name().len() as u64;
        self.lists.forget(parent);
        let extra = self.extra_mut(parent);
        extra.num_children -= 1;
        extra.names_len -= name_len;
        let first = extra.first_child;
        if first == id {
            extra.first_child = next;
        } else {
            self.nodes.get_mut(prev).next = next;
        }
        // The first child's `prev` is the last child.
        let follower = if next == NONE { first } else { next };
        if follower != id {
            self.nodes.get_mut(follower).prev = prev;
        }
    }

    /// Removes a node and, first, everything below it.
    ///
    /// Only a replay over a fuzzy snapshot meets a node with children here: they were created after the delete, and
    /// will be again.
    fn remove_subtree(&mut self, top: u32) {
        let mut path = Vec::new();
        let mut id = top;
        loop {
            let child = self.extra(id).first_child;
            if child != NONE {
                id = child;
                continue;
            }
            let parent = self.nodes.get(id).parent;
            self.write_path(id, &mut path);
            self.remove_leaf(id, &path);
            if id == top {
                return;
            }
            id = parent;
        }
    }

    fn remove_leaf(&mut self, id: u32, path: &[u8]) {
        self.save_image(id);
        self.digest.remove(self.digest_of(id, path::counts(path)));
        self.index.remove(self.index.hash(path), id);
        self.unlink(id);
        self.owners
            .remove(self.owner_kind(self.extra(id).owner), id);
        let node = self.nodes.remove(id);
        self.data_size -= (path.len() + node.data_len()) as u64;
        self.acls.release(node.acl);
        if node.extra != NONE {
            self.extras.remove(node.extra);
        }
    }
}
