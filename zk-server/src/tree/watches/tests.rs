//! The table against a naive model, and the rules one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zk_proto::watch::{EventType, WatcherType};

use super::{ConnId, WatchKinds, WatchSummary, WatchTable, ancestors};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn fired(table: &mut WatchTable, event: EventType, path: &str) -> Vec<u32> {
    let mut fired = Vec::new();
    table.trigger(event, path, |conn| fired.push(conn.0));
    fired.sort_unstable();
    fired
}

/// G22: which kind hears of which event, at its path and below it, and what is left afterwards.
#[test]
fn every_kind_hears_of_what_it_should() {
    use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
    let (data, child) = (WatchKinds::DATA, WatchKinds::CHILD);
    let (persistent, recursive) = (WatchKinds::PERSISTENT, WatchKinds::RECURSIVE);
    for (kind, event, at_path, below, stays) in [
        (data, NodeCreated, true, false, false),
        (data, NodeDataChanged, true, false, false),
        (data, NodeDeleted, true, false, false),
        (data, NodeChildrenChanged, false, false, true),
        (child, NodeCreated, false, false, true),
        (child, NodeDataChanged, false, false, true),
        (child, NodeDeleted, true, false, false),
        (child, NodeChildrenChanged, true, false, false),
        (persistent, NodeCreated, true, false, true),
        (persistent, NodeDataChanged, true, false, true),
        (persistent, NodeDeleted, true, false, true),
        (persistent, NodeChildrenChanged, true, false, true),
        (recursive, NodeCreated, true, true, true),
        (recursive, NodeDataChanged, true, true, true),
        (recursive, NodeDeleted, true, true, true),
        (recursive, NodeChildrenChanged, false, false, true),
    ] {
        let what = format!("{kind:?} {event:?}");
        let mut table = WatchTable::new(0);
        table.register(A, "/a", kind);
        assert_eq!(
            !fired(&mut table, event, "/a/b/c").is_empty(),
            below,
            "{what}"
        );
        assert_eq!(
            !fired(&mut table, event, "/a").is_empty(),
            at_path,
            "{what}"
        );
        assert!(fired(&mut table, event, "/").is_empty(), "{what}");
        assert!(fired(&mut table, event, "/aa").is_empty(), "{what}");
        assert_eq!(table.count() > 0, stays, "{what}");
    }
}

#[test]
fn several_watches_of_one_connection_fire_once() {
    let mut table = WatchTable::new(0);
    let all = WatchKinds::DATA.or(WatchKinds::CHILD);
    table.register(A, "/a/b", all.or(WatchKinds::PERSISTENT));
    table.register(A, "/a", WatchKinds::RECURSIVE);
    table.register(A, "/", WatchKinds::RECURSIVE);
    table.register(B, "/a/b", WatchKinds::CHILD);
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a/b"), [1, 2]);
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a/b"), [1]);
    assert!(table.remove(A, "/a/b", WatcherType::Persistent));
    assert!(table.remove(A, "/a", WatcherType::Any));
    assert_eq!(fired(&mut table, EventType::NodeDeleted, "/a/b"), [1]);
    table.remove_conn(A);
    table.remove_conn(B);
    assert_eq!(
        (table.count(), table.paths.len(), table.entries.len()),
        (0, 0, 0)
    );
    assert!(fired(&mut table, EventType::NodeDeleted, "/a/b").is_empty());
}

#[test]
fn a_persistent_watch_counts_twice() {
    let mut table = WatchTable::new(0);
    table.register(A, "/a", WatchKinds::PERSISTENT);
    assert_eq!(table.count(), 2);
    table.register(A, "/a", WatchKinds::DATA);
    assert_eq!(table.count(), 2);
    table.register(B, "/a", WatchKinds::CHILD);
    table.register(B, "/b", WatchKinds::DATA);
    assert_eq!(table.count(), 4);
    let listed: Vec<_> = table.data_watches().collect();
    assert_eq!(listed, [(A, "/a"), (B, "/b")]);
    table.register(A, "/b", WatchKinds::RECURSIVE);
    let expected = WatchSummary {
        connections: 2,
        paths: 2,
        watches: 3,
    };
    assert_eq!(table.summary(), expected);
}

#[test]
fn ancestors_end_with_the_root() {
    let of = |path| ancestors(path).collect::<Vec<_>>();
    assert_eq!(of("/a/b/c"), ["/a/b", "/a", "/"]);
    assert_eq!(of("/a"), ["/"]);
    assert!(of("/").is_empty());
    assert!(of("").is_empty());
    assert!(of("a").is_empty());
}

/// What the table should do, done in the plainest way.
#[derive(Default)]
struct Model {
    watches: BTreeMap<(String, u32), BTreeSet<u8>>,
}

impl Model {
    fn kinds(&mut self, path: &str, conn: u32) -> &mut BTreeSet<u8> {
        self.watches.entry((path.to_owned(), conn)).or_default()
    }

    fn trigger(&mut self, event: EventType, path: &str) -> Vec<u32> {
        let (hear, lose): (&[u8], &[u8]) = match event {
            EventType::NodeChildrenChanged => (&[2, 4], &[2]),
            EventType::NodeDeleted => (&[1, 2, 4, 8], &[1, 2]),
            _ => (&[1, 4, 8], &[1]),
        };
        let mut fired = BTreeSet::new();
        for ((at, conn), kinds) in &mut self.watches {
            // Nothing is below "", which no event is about.
            let below = if at == "/" { "/" } else { &format!("{at}/") };
            let is_above = !at.is_empty() && path.starts_with(below);
            if at == path && hear.iter().any(|kind| kinds.contains(kind)) {
                fired.insert(*conn);
                lose.iter().for_each(|kind| {
                    kinds.remove(kind);
                });
            } else if at != path && is_above && hear.contains(&8) && kinds.contains(&8) {
                fired.insert(*conn);
            }
        }
        fired.into_iter().collect()
    }

    fn count(&self) -> usize {
        let has = |of: &'static [u8]| {
            move |kinds: &&BTreeSet<u8>| of.iter().any(|kind| kinds.contains(kind))
        };
        self.watches.values().filter(has(&[1, 4, 8])).count()
            + self.watches.values().filter(has(&[2, 4])).count()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Register(u32, usize, u8),
    Remove(u32, usize, i32),
    Check(u32, usize, i32),
    Close(u32),
    Trigger(usize, i32),
}

const PATHS: [&str; 8] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/x/y", "/x", ""];

fn step() -> impl Strategy<Value = Step> {
    let conn = || 0..5_u32;
    let path = || 0..PATHS.len();
    prop_oneof![
        6 => (conn(), path(), 0..4_u8).prop_map(|(c, p, k)| Step::Register(c, p, 1 << k)),
        2 => (conn(), path(), 1..=5).prop_map(|(c, p, k)| Step::Remove(c, p, k)),
        1 => (conn(), path(), 1..=5).prop_map(|(c, p, k)| Step::Check(c, p, k)),
        1 => conn().prop_map(Step::Close),
        4 => (path(), 1..=4).prop_map(|(p, e)| Step::Trigger(p, e)),
    ]
}

fn kinds_of(kind: i32) -> &'static [u8] {
    match kind {
        1 => &[2],
        2 => &[1],
        3 => &[1, 2, 4, 8],
        4 => &[4],
        _ => &[8],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_the_model_does(steps in prop::collection::vec(step(), 1..200)) {
        let mut table = WatchTable::new(7);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Register(conn, path, kind) => {
                    table.register(ConnId(conn), PATHS[path], WatchKinds(kind));
                    model.kinds(PATHS[path], conn).insert(kind);
                }
                Step::Remove(conn, path, kind) => {
                    let kinds = model.kinds(PATHS[path], conn);
                    let had = kinds_of(kind).iter().fold(false, |had, kind| had | kinds.remove(kind));
                    let kind = WatcherType::from_i32(kind).unwrap();
                    prop_assert_eq!(table.remove(ConnId(conn), PATHS[path], kind), had);
                }
                Step::Check(conn, path, kind) => {
                    let kinds = model.kinds(PATHS[path], conn);
                    let has = kinds_of(kind).iter().any(|kind| kinds.contains(kind));
                    let kind = WatcherType::from_i32(kind).unwrap();
                    prop_assert_eq!(table.contains(ConnId(conn), PATHS[path], kind), has);
                }
                Step::Close(conn) => {
                    table.remove_conn(ConnId(conn));
                    model.watches.retain(|(_, other), _| *other != conn);
                }
                Step::Trigger(path, event) => {
                    let event = EventType::from_i32(event).unwrap();
                    let expected = model.trigger(event, PATHS[path]);
                    prop_assert_eq!(fired(&mut table, event, PATHS[path]), expected);
                }
            }
            prop_assert_eq!(table.count(), model.count());
        }
    }
}
