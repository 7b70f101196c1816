//! The watches a connection has, as a client remembers them to restore them.

use std::collections::BTreeSet;

use zk_proto::{
    ErrorCode, Utf8Bytes,
    op::{Request, SetWatches2Request, SetWatchesRequest},
    watch::AddWatchMode,
};
use zk_tests::frames::Event;

use super::{Ask, Script};

/// Paths by the kind of watch.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    data: BTreeSet<String>,
    exist: BTreeSet<String>,
    child: BTreeSet<String>,
    persistent: BTreeSet<String>,
    recursive: BTreeSet<String>,
}

impl Watches {
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    fn all(&self) -> Vec<&String> {
        let kinds = [
            &self.data,
            &self.exist,
            &self.child,
            &self.persistent,
            &self.recursive,
        ];
        kinds.into_iter().flatten().collect()
    }

    pub(crate) fn registered(&mut self, request: &Request, code: ErrorCode) {
        let (paths, path) = match (request, code) {
            (Request::Exists(r), ErrorCode::Ok) if r.watch => (&mut self.data, &r.path),
            (Request::Exists(r), ErrorCode::NoNode) if r.watch => (&mut self.exist, &r.path),
            (Request::GetData(r), ErrorCode::Ok) if r.watch => (&mut self.data, &r.path),
            (Request::GetChildren(r) | Request::GetChildren2(r), ErrorCode::Ok) if r.watch => {
                (&mut self.child, &r.path)
            }
            (Request::AddWatch(r), ErrorCode::Ok) => match r.mode {
                AddWatchMode::Persistent => (&mut self.persistent, &r.path),
                AddWatchMode::PersistentRecursive => (&mut self.recursive, &r.path),
            },
            _ => return,
        };
        paths.insert(path.as_str().to_owned());
    }

    pub(crate) fn fired(&mut self, event: &Event) {
        for paths in [&mut self.data, &mut self.exist, &mut self.child] {
            paths.remove(&event.path);
        }
    }
}

impl Script {
    /// A node that this slot may have a watch on.
    pub(crate) fn watched(&mut self, slot: usize) -> Option<String> {
        let all = self.world.slots[slot].watches.all();
        match all.is_empty() {
            true => None,
            false => Some(all[self.rng.usize(..all.len())].clone()),
        }
    }

    /// setWatches or setWatches2 with what was watched before the connection was lost.
    pub(crate) fn restore_watches(&mut self, slot: usize) -> Ask {
        let memory = &mut self.world.slots[slot];
        let lost = memory.lost.take().unwrap_or_default();
        let relative_zxid = memory.seen;
        let lists = [
            &lost.data,
            &lost.exist,
            &lost.child,
            &lost.persistent,
            &lost.recursive,
        ];
        let [data, exist, child, persistent, persistent_recursive] = lists.map(texts);
        if self.rng.bool() {
            return Ask::from(Request::SetWatches(SetWatchesRequest {
                relative_zxid,
                data,
                exist,
                child,
            }));
        }
        Ask::from(Request::SetWatches2(SetWatches2Request {
            relative_zxid,
            data,
            exist,
            child,
            persistent,
            persistent_recursive,
        }))
    }
}

fn texts(paths: &BTreeSet<String>) -> Vec<Utf8Bytes> {
    paths.iter().map(|path| path.as_str().into()).collect()
}
