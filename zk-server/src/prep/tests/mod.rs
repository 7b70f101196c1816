//! Preparing and applying, against the naive model: every answer, every event, every Stat, every digest.

mod model;
mod workload;

use proptest::prelude::*;
use zk_proto::{
    ErrorCode, SessionId, Xid, Zxid,
    op::Request,
    persist::TreeDigest,
    stat::StatPersisted,
    txn::{Txn, TxnLogEntry},
    watch::EventType,
};

use self::{
    model::{Model, Write},
    workload::{SESSIONS, Step, caller, step},
};
use super::{Prep, PrepOptions, Standing, WriteOp, WriteRequest};
use crate::{
    auth::Credentials,
    time::Now,
    tree::{Applied, Cut, CutNode, DataTree, Effects, TreeBuilder, TreeOptions},
};

const OPTIONS: TreeOptions = TreeOptions {
    extended_types: true,
    emulate_353_ttl: false,
    digest: true,
    hash_seed: 1,
};

type Events = Vec<(EventType, String)>;
/// A node as a cut emits it.
type OwnedNode = (String, Option<Vec<u8>>, i64, StatPersisted);

/// A server and its model, with some transactions under way.
struct Pair {
    tree: DataTree,
    prep: Prep,
    model: Model,
    zxid: Zxid,
    under_way: Vec<(TxnLogEntry, Applied, Events)>,
    log: Vec<TxnLogEntry>,
}

impl Pair {
    fn new() -> Self {
        let tree = DataTree::new(&OPTIONS);
        Self {
            model: Model::of(&tree),
            tree,
            prep: Prep::new(PrepOptions::default()),
            zxid: Zxid::ZERO,
            under_way: Vec::new(),
            log: Vec::new(),
        }
    }

    fn write(&mut self, session: SessionId, credentials: &Credentials, op: WriteOp<'_>) {
        self.zxid = self.zxid.successor().unwrap();
        let now = Now {
            wall_ms: 1000 + self.zxid.0 * 7,
            ..Now::default()
        };
        let request = WriteRequest {
            session,
            cxid: Xid(1),
            credentials,
            standing: Standing::GOOD,
            op,
        };
        let prepared = self.prep.prepare(&self.tree, &request, self.zxid, now);
        let mut by = Write {
            session,
            credentials,
            zxid: self.zxid,
            time: now.wall_ms,
            events: Vec::new(),
        };
        let expected = match op {
            WriteOp::Request(request) => self.model.request(request, &mut by),
            WriteOp::CreateSession { timeout_ms } => {
                self.model.sessions.insert(session, timeout_ms);
                Ok(Applied::SessionCreated)
            }
            _ => Ok(self.model.close_session(&mut by)),
        };
        let expected = expected.unwrap_or_else(Applied::Error);
        let entry = TxnLogEntry {
            header: prepared.header,
            txn: prepared.txn,
            digest: prepared.digest,
        };
        match entry.digest {
            Some(digest) => assert_eq!(
                TreeDigest::from_i64(digest.tree_digest),
                self.model.digest(),
                "{entry:?}"
            ),
            None => assert!(matches!(entry.txn, Txn::Error(_))),
        }
        self.under_way.push((entry, expected, by.events));
    }

    fn apply_all(&mut self) {
        let mut effects = Effects::new();
        for (entry, expected, mut expected_events) in std::mem::take(&mut self.under_way) {
            effects.clear();
            let applied = self.tree.apply(&entry.header, &entry.txn, &mut effects);
            assert_eq!(applied, expected, "{entry:?}");
            let mut events = listed(&effects);
            if matches!(entry.txn, Txn::CloseSession(_)) {
                // Each node's pair of events stays together; the order of the nodes is the transaction's.
                events.sort_by_key(|(kind, path)| (path.clone(), *kind as i32));
                expected_events.sort_by_key(|(kind, path)| (path.clone(), *kind as i32));
            }
            assert_eq!(events, expected_events, "{entry:?}");
            self.prep.applied(entry.header.zxid);
            self.log.push(entry);
        }
        assert_eq!(self.tree.last_zxid(), self.zxid);
        assert_eq!(Model::of(&self.tree), self.model);
        assert_eq!(self.tree.digest(), self.model.digest());
        assert_eq!(self.tree.node_count(), self.model.nodes.len() + 1);
        for path in self.model.nodes.keys() {
            assert_eq!(self.tree.node(path).unwrap().stat(), self.model.stat(path));
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Request(who, request) => {
                let (session, credentials) = caller(*who);
                self.write(session, &credentials, WriteOp::Request(request));
            }
            Step::CreateSession(who) => {
                let (session, credentials) = caller(*who);
                let op = WriteOp::CreateSession { timeout_ms: 4000 };
                self.write(session, &credentials, op);
            }
            Step::Expire(who) => {
                let (session, _) = caller(*who);
                self.write(session, &Credentials::none(), WriteOp::CloseSession);
            }
            Step::Apply => self.apply_all(),
        }
    }
}

fn listed(effects: &Effects) -> Events {
    let events = effects.events().iter();
    events
        .map(|event| (event.kind, event.path().to_owned()))
        .collect()
}

/// What a cut and a builder make of each other.
fn restore(cut: &Cut, nodes: &[OwnedNode]) -> DataTree {
    let mut builder = TreeBuilder::new(&OPTIONS);
    for (id, timeout_ms) in &cut.sessions {
        builder.session(*id, *timeout_ms);
    }
    for (number, acl) in &cut.acls {
        builder.acl(*number, acl.entries().to_vec());
    }
    for (path, data, acl, stat) in nodes {
        builder
            .node(&CutNode {
                path,
                data: data.as_deref(),
                acl: *acl,
                stat: *stat,
            })
            .unwrap();
    }
    assert_eq!(nodes.len(), cut.nodes);
    let tree = builder.finish(cut.zxid).unwrap();
    assert_eq!(tree.digest(), cut.digest);
    tree
}

fn copy(tree: &mut DataTree) -> DataTree {
    let cut = tree.begin_cut();
    let mut nodes = Vec::new();
    while tree.walk_cut(&cut, 100, |node| nodes.push(owned(&node))) {}
    let copy = restore(&cut, &nodes);
    tree.end_cut(cut);
    copy
}

fn owned(node: &CutNode<'_>) -> OwnedNode {
    let data = node.data.map(<[u8]>::to_vec);
    (node.path.to_owned(), data, node.acl, node.stat)
}

fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..max)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_write_does_what_the_model_does(steps in steps(60)) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.step(step));
        pair.apply_all();
    }

    /// I6: a fuzzy snapshot holds some transactions of the log that is replayed over it.
    #[test]
    fn a_replay_over_a_later_tree_ends_the_same(steps in steps(60), cut in 0..1000_usize, from in 0..1000_usize) {
        let mut pair = Pair::new();
        steps.iter().for_each(|step| pair.step(step));
        pair.apply_all();
        let log = &pair.log;
        let (mut effects, mut tree) = (Effects::new(), DataTree::new(&OPTIONS));
        let cut = cut % (log.len() + 1);
        for entry in &log[..cut] {
            tree.apply(&entry.header, &entry.txn, &mut effects);
        }
        let mut tree = copy(&mut tree);
        let from = from % (cut + 1);
        for entry in &log[from..] {
            tree.apply(&entry.header, &entry.txn, &mut effects);
        }
        prop_assert_eq!(Model::of(&tree), pair.model);
        prop_assert_eq!(tree.digest(), pair.tree.digest());
        let owned = |tree: &DataTree| -> Vec<Vec<String>> {
            let sorted = |session: &SessionId| {
                let mut paths: Vec<String> = tree.ephemerals(*session).collect();
                paths.sort();
                paths
            };
            SESSIONS.iter().map(sorted).collect()
        };
        prop_assert_eq!(owned(&tree), owned(&pair.tree));
    }

    /// What a walker emits while the tree changes is the tree of the moment the cut began.
    #[test]
    fn a_cut_is_of_one_moment(
        before in steps(40),
        during in prop::collection::vec((steps(6), 0..400_usize), 1..12),
    ) {
        let mut pair = Pair::new();
        before.iter().for_each(|step| pair.step(step));
        pair.apply_all();
        let (model, zxid) = (pair.model.clone(), pair.zxid);
        let cut = pair.tree.begin_cut();
        let mut nodes = Vec::new();
        for (steps, bytes) in &during {
            steps.iter().for_each(|step| pair.step(step));
            pair.apply_all();
            pair.tree.walk_cut(&cut, *bytes, |node| nodes.push(owned(&node)));
        }
        while pair.tree.walk_cut(&cut, 300, |node| nodes.push(owned(&node))) {}
        let restored = restore(&cut, &nodes);
        pair.tree.end_cut(cut);
        prop_assert_eq!(Model::of(&restored), model);
        prop_assert_eq!(restored.last_zxid(), zxid);
        pair.apply_all();
    }
}

#[test]
fn what_only_the_server_may_ask_is_refused() {
    let mut pair = Pair::new();
    let (session, credentials) = caller(0);
    for (request, error) in [
        (
            Request::DeleteContainer(zk_proto::op::DeleteContainerRequest { path: "/a".into() }),
            ErrorCode::Unimplemented,
        ),
        (
            Request::Reconfig(zk_proto::op::ReconfigRequest {
                joining: None,
                leaving: None,
                new_members: None,
                config_id: -1,
            }),
            ErrorCode::ReconfigDisabled,
        ),
        (Request::Ping, ErrorCode::Unimplemented),
    ] {
        let request = WriteRequest {
            session,
            cxid: Xid(1),
            credentials: &credentials,
            standing: Standing::GOOD,
            op: WriteOp::Request(&request),
        };
        let prepared = pair
            .prep
            .prepare(&pair.tree, &request, Zxid(1), Now::default());
        let err = error.code();
        assert_eq!(prepared.txn, Txn::Error(zk_proto::txn::ErrorTxn { err }));
        assert_eq!((prepared.header.kind, prepared.digest), (-1, None));
    }
}
