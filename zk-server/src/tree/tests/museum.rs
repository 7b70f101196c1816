//! What fuzzy snapshots did to Apache ZooKeeper: a snapshot that holds one part of the tree as of one moment and the
//! rest as of a later one, with the log replayed over it from the first moment on.
//!
//! Every scenario is a log. For every two moments in it and every place at which the walk may have been when the tree
//! changed, the tree that comes back must be the one that was.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::{
    CreateMode, Perms,
    op::{MultiOp, MultiRequest},
    stat::StatPersisted,
    txn::{Txn, TxnHeader},
};

use super::{super::CutNode, super::TreeBuilder, *};

/// A node as it is kept, its ACL under its number.
type Kept = (Option<Vec<u8>>, i64, StatPersisted);

/// The tree at one moment, as a snapshot would have it.
#[derive(Clone)]
struct Moment {
    zxid: Zxid,
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: BTreeMap<String, Kept>,
}

/// A node as clients see it, and a bit more.
type Seen = (Option<Vec<u8>>, Vec<Acl>, StatPersisted);

/// What must be the same in the end.
#[derive(Debug, PartialEq)]
struct Outcome {
    nodes: BTreeMap<String, Seen>,
    sessions: BTreeMap<SessionId, i32>,
    ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    digest: zk_proto::persist::TreeDigest,
    last: Zxid,
}

/// A log, and the moments before and after each of its transactions.
struct Story {
    server: Server,
    log: Vec<(TxnHeader, Txn)>,
    moments: Vec<Moment>,
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            server: Server::new(),
            log: Vec::new(),
            moments: Vec::new(),
        };
        story.look();
        for session in 1..=2 {
            story.carry_out(session, WriteOp::CreateSession { timeout_ms: 4000 });
        }
        story
    }

    fn look(&mut self) {
        self.moments.push(moment(&mut self.server.tree));
    }

    fn write(&mut self, request: &Request) {
        let applied = self.carry_out(1, WriteOp::Request(request));
        assert_eq!(applied.error(), ErrorCode::Ok, "{request:?}");
    }

    fn carry_out(&mut self, session: u32, op: WriteOp<'_>) -> Applied {
        let server = &mut self.server;
        server.zxid = server.zxid.successor().unwrap();
        let request = WriteRequest {
            session: SessionId(session.into()),
            cxid: Xid(1),
            credentials: &server.clients[0],
            standing: Standing::GOOD,
            op,
        };
        let now = Now {
            wall_ms: 1_000 + server.zxid.0,
            ..Now::default()
        };
        let prepared = server
            .prep
            .prepare(&server.tree, &request, server.zxid, now);
        let mut effects = Effects::new();
        let applied = server
            .tree
            .apply(&prepared.header, &prepared.txn, &mut effects);
        server.prep.applied(server.zxid);
        self.log.push((prepared.header, prepared.txn));
        self.look();
        applied
    }

    /// Every snapshot that could have been taken while this happened.
    fn survives_every_snapshot(&self) {
        let expected = outcome(&self.server.tree);
        for (at, from) in self.moments.iter().enumerate() {
            for to in &self.moments[at..] {
                for walked in 0..=from.nodes.len() {
                    let mut tree = fuzzy(from, to, walked);
                    for (header, txn) in &self.log[at..] {
                        tree.apply(header, txn, &mut Effects::new());
                    }
                    let found = outcome(&tree);
                    assert_eq!(
                        found, expected,
                        "{walked} nodes as of {}, the rest as of {}",
                        from.zxid, to.zxid
                    );
                }
            }
        }
    }
}

fn moment(tree: &mut DataTree) -> Moment {
    let cut = tree.begin_cut();
    let mut nodes = BTreeMap::new();
    let mut keep = |node: CutNode<'_>| {
        let data = node.data.map(<[u8]>::to_vec);
        nodes.insert(node.path.to_owned(), (data, node.acl, node.stat));
    };
    while tree.walk_cut(&cut, usize::MAX, &mut keep) {}
    let acls = cut.acls.iter();
    let moment = Moment {
        zxid: cut.zxid,
        sessions: cut.sessions.clone(),
        acls: acls
            .map(|(number, list)| (*number, list.entries().to_vec()))
            .collect(),
        nodes,
    };
    tree.end_cut(cut);
    moment
}

/// The first `walked` nodes as they were, the others as they came to be; a node that its parent did not have when the
/// walk was there is not in it, nor is one that had gone when the walk came to it.
fn fuzzy(from: &Moment, to: &Moment, walked: usize) -> DataTree {
    let mut builder = TreeBuilder::new(&TreeOptions {
        extended_types: true,
        ..TreeOptions::default()
    });
    for (id, timeout_ms) in &from.sessions {
        builder.session(*id, *timeout_ms);
    }
    for (number, entries) in &from.acls {
        builder.acl(*number, entries.clone());
    }
    let last = from.nodes.keys().nth(walked);
    let paths: BTreeSet<&String> = from.nodes.keys().chain(to.nodes.keys()).collect();
    let mut emitted_later = BTreeSet::new();
    let mut emitted = BTreeSet::new();
    for path in paths {
        let is_later = last.is_some_and(|last| path >= last);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let listed = match emitted_later.contains(parent) {
            true => to.nodes.contains_key(path),
            false => path.is_empty() || (emitted.contains(parent) && from.nodes.contains_key(path)),
        };
        let moment = if is_later { to } else { from };
        let Some((data, acl, stat)) = moment.nodes.get(path).filter(|_| listed) else {
            continue;
        };
        builder
            .node(&CutNode {
                path,
                data: data.as_deref(),
                acl: *acl,
                stat: *stat,
            })
            .unwrap();
        emitted.insert(path.as_str());
        if is_later {
            emitted_later.insert(path.as_str());
        }
    }
    builder.finish(from.zxid).unwrap()
}

fn outcome(tree: &DataTree) -> Outcome {
    let mut nodes = BTreeMap::new();
    let mut todo = vec![tree.node("/").unwrap()];
    while let Some(node) = todo.pop() {
        todo.extend(node.children());
        let acl = node.acl().entries().to_vec();
        let kept = (node.data().map(<[u8]>::to_vec), acl, node.stat_persisted());
        nodes.insert(node.path(), kept);
    }
    let owned = |session| tree.ephemerals(session).collect::<BTreeSet<_>>();
    Outcome {
        nodes,
        sessions: tree.sessions().collect(),
        ephemerals: tree
            .ephemeral_sessions()
            .map(|session| (session, owned(session)))
            .filter(|(_, nodes)| !nodes.is_empty())
            .collect(),
        digest: tree.digest(),
        last: tree.last_zxid(),
    }
}

fn plain(path: &str) -> Request {
    create(path, b"x", Acl::open(), 0)
}

fn sequential(path: &str) -> Request {
    let flags = CreateMode::PersistentSequential.flags();
    create(path, b"x", Acl::open(), flags)
}

fn ephemeral(path: &str) -> Request {
    create(path, b"x", Acl::open(), CreateMode::Ephemeral.flags())
}

fn multi(requests: &[Request]) -> Request {
    let ops = requests.iter().map(|request| match request {
        Request::Create(create) => MultiOp::Create(create.clone()),
        Request::Delete(delete) => MultiOp::Delete(delete.clone()),
        Request::SetData(set) => MultiOp::SetData(set.clone()),
        other => panic!("{other:?}"),
    });
    Request::Multi(MultiRequest { ops: ops.collect() })
}

#[test]
fn zookeeper_1046_1813_a_parent_counts_its_children_alike_after_a_replay() {
    let mut story = Story::new();
    story.write(&plain("/q"));
    for _ in 0..3 {
        story.write(&sequential("/q/n-"));
    }
    story.write(&delete("/q/n-0000000001"));
    story.write(&sequential("/q/n-"));
    story.survives_every_snapshot();
    // The next number is the same, too.
    let server = &mut story.server;
    server.write(&sequential("/q/n-"));
    assert!(server.tree.node("/q/n-0000000004").is_some());
}

#[test]
fn zookeeper_1090_updates_while_the_walk_goes_on() {
    let mut story = Story::new();
    for path in ["/a", "/a/b", "/c"] {
        story.write(&plain(path));
    }
    for path in ["/c", "/a/b", "/a", "/c"] {
        story.write(&set(path, b"later"));
    }
    story.survives_every_snapshot();
}

#[test]
fn zookeeper_1269_1333_1573_parents_that_go_and_come_again() {
    let mut story = Story::new();
    story.write(&plain("/p"));
    story.write(&plain("/p/c"));
    story.write(&multi(&[delete("/p/c"), delete("/p")]));
    story.write(&plain("/p"));
    story.write(&multi(&[plain("/p/c"), plain("/p/c/d")]));
    story.write(&delete("/p/c/d"));
    story.survives_every_snapshot();
}

#[test]
fn zookeeper_3125_3145_3249_a_replay_lowers_no_pzxid_and_ends_no_session_twice() {
    let mut story = Story::new();
    story.write(&plain("/p"));
    story.write(&ephemeral("/p/mine"));
    story.write(&plain("/p/c"));
    story.write(&delete("/p/c"));
    story.carry_out(1, WriteOp::CloseSession);
    story.carry_out(1, WriteOp::CreateSession { timeout_ms: 8000 });
    story.write(&ephemeral("/p/mine"));
    story.write(&plain("/p/e"));
    story.survives_every_snapshot();
}

#[test]
fn zookeeper_3127_no_snapshot_holds_half_a_multi_in_the_end() {
    let mut story = Story::new();
    story.write(&plain("/p"));
    story.write(&multi(&[
        plain("/p/a"),
        set("/p", b"one"),
        plain("/p/b"),
        set("/p/a", b"two"),
        delete("/p/b"),
    ]));
    story.write(&multi(&[set("/p", b"three"), delete("/p/a")]));
    story.survives_every_snapshot();
}

#[test]
fn zookeeper_3144_sessions_that_begin_while_the_walk_goes_on_have_their_nodes() {
    let mut story = Story::new();
    story.carry_out(3, WriteOp::CreateSession { timeout_ms: 6000 });
    let request = ephemeral("/of-3");
    story.carry_out(3, WriteOp::Request(&request));
    story.carry_out(2, WriteOp::CloseSession);
    story.carry_out(4, WriteOp::CreateSession { timeout_ms: 7000 });
    let request = ephemeral("/of-4");
    story.carry_out(4, WriteOp::Request(&request));
    story.carry_out(3, WriteOp::CloseSession);
    story.survives_every_snapshot();
}

#[test]
fn zookeeper_2141_2808_3306_4689_4846_lists_that_come_and_go_while_the_walk_goes_on() {
    let mut story = Story::new();
    let list = |perms: i32| vec![Acl::new(Perms(perms), "world", "anyone")];
    for (path, perms) in [("/a", 17), ("/b", 19), ("/c", 17)] {
        story.write(&create(path, b"", list(perms), 0));
    }
    let set_acl = |path: &str, perms| {
        Request::SetAcl(zk_proto::op::SetAclRequest {
            path: path.into(),
            acl: list(perms),
            version: -1,
        })
    };
    story.write(&set_acl("/a", 21));
    story.write(&create("/d", b"", list(23), 0));
    story.write(&set_acl("/b", 17));
    story.survives_every_snapshot();
}
