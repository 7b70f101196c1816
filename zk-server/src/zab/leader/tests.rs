//! A leader that is a quorum by itself, on a disk in memory.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::ServerId;

use super::*;
use crate::{
    reconfig::{Configuration, Configurations},
    storage::{
        Directories, EpochKind, LogExecutor, LogOptions, MemDisk, RecoveryOptions, SnapshotOptions,
        recover,
    },
    tree::TreeOptions,
    zab::UNASKED,
};

struct Alone {
    leader: Leader,
    log: LogExecutor,
    /// What it asked of the disk.
    ops: Vec<DiskOp>,
    /// What it wanted done otherwise.
    outputs: Vec<Output>,
}

impl Alone {
    fn new() -> Self {
        Self::of("server.1=h:1:2\nserver.2=h:3:4:observer")
    }

    /// Server 1 of these.
    fn of(servers: &str) -> Self {
        let alone = Configuration::parse(servers).unwrap();
        Self::knowing(Configurations::new(ServerId(1), alone, false))
    }

    /// Server 1 of the first of these, with the second on its way.
    fn amid_reconfiguration(now: &str, next: &str) -> Self {
        let now = Configuration::parse(now).unwrap();
        let mut known = Configurations::new(ServerId(1), now, true);
        assert!(known.see(Configuration::parse(next).unwrap()));
        Self::knowing(known)
    }

    fn knowing(configurations: Configurations) -> Self {
        let directories = Directories::on(Arc::new(MemDisk::new())).unwrap();
        let options = RecoveryOptions {
            tree: TreeOptions::default(),
            log: LogOptions {
                pre_alloc_bytes: 0,
                ..LogOptions::default()
            },
            snapshot: SnapshotOptions {
                digest: true,
                last_processed: true,
            },
            trust_empty_snapshot: false,
            create_empty: true,
            can_be_synced: false,
        };
        let mut log = recover(&directories, &options).unwrap().log;
        let mut done = Vec::new();
        log.execute([DiskOp::Barrier(1)], &mut done);
        let Some(DiskDone::Barrier { last, .. }) = done.pop() else {
            panic!("a barrier is answered");
        };
        let second = Duration::from_secs(1);
        let config = ZabConfig {
            me: ServerId(1),
            configurations,
            tick: second,
            init_limit: 10 * second,
            sync_limit: 5 * second,
            connect_retry: second,
            counter_max: crate::zab::COUNTER_MAX,
        };
        let committed = CommittedLog::new(last.get(), 500);
        let leader = Leader::new(
            Now::default(),
            config,
            Epochs::default(),
            Epoch(0),
            last,
            committed,
            1,
        );
        let mut alone = Self {
            leader,
            log,
            ops: Vec::new(),
            outputs: Vec::new(),
        };
        alone.drain();
        alone
    }

    fn drain(&mut self) {
        while let Some(output) = self.leader.poll_output() {
            match output {
                Output::Disk(op) => self.ops.push(op),
                output => self.outputs.push(output),
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.leader.handle(Now::default(), input);
        self.drain();
    }

    /// Lets the disk do what it was asked for, until it is asked for nothing more.
    fn disk(&mut self) {
        while !self.ops.is_empty() {
            let mut done = Vec::new();
            self.log.execute(self.ops.drain(..), &mut done);
            for done in done {
                self.input(Input::Disk(done));
            }
        }
    }

    fn propose(&mut self) -> Zxid {
        let zxid = self.leader.next_zxid().unwrap();
        let entry = Bytes::from_static(b"transaction");
        self.input(Input::Propose(Transaction { zxid, entry }));
        zxid
    }

    /// What happened since the last time, in a word each.
    fn events(&mut self) -> Vec<&'static str> {
        let event = |output: &Output| match output {
            Output::Serve { .. } => "serve",
            Output::Commit(_) => "commit",
            Output::Synced => "synced",
            Output::State {
                departure: Some(Departure::ZxidsUsedUp),
                ..
            } => "zxids used up",
            Output::State {
                departure: Some(Departure::NotEstablished),
                ..
            } => "not established",
            _ => "something else",
        };
        let events = self.outputs.iter().map(event).collect();
        self.outputs.clear();
        events
    }
}

#[test]
fn nothing_is_promised_served_or_committed_before_the_disk_has_it() {
    let mut alone = Alone::new();
    assert!(matches!(
        alone.ops[..],
        [
            DiskOp::NewGeneration(1),
            DiskOp::SaveEpoch {
                kind: EpochKind::Accepted,
                epoch: Epoch(1)
            }
        ]
    ));
    assert_eq!(alone.leader.next_zxid(), None);
    alone.disk();
    assert_eq!(alone.events(), ["serve"]);
    assert_eq!(alone.propose(), Zxid::new(Epoch(1), 1));
    assert_eq!(alone.propose(), Zxid::new(Epoch(1), 2));
    assert_eq!(alone.events(), [""; 0]);
    alone.disk();
    assert_eq!(alone.events(), ["commit", "commit"]);
}

#[test]
fn a_sync_waits_for_the_writes_before_it() {
    let mut alone = Alone::new();
    alone.disk();
    alone.events();
    alone.input(Input::Sync(None));
    assert_eq!(alone.events(), ["synced"]);
    alone.propose();
    alone.input(Input::Sync(None));
    alone.propose();
    assert_eq!(alone.events(), [""; 0]);
    alone.disk();
    assert_eq!(alone.events(), ["commit", "commit", "synced"]);
}

/// A learner that does not listen for a while says that it lives; what it was asked it has not heard.
#[test]
fn a_sync_is_not_confirmed_by_what_nobody_has_asked_for() {
    let link = LinkId(2);
    let mut leader = Alone::of("server.1=h:1:2\nserver.2=h:3:4");
    introduce(&mut leader, link);
    ack_epoch(&mut leader, link, Some(0));
    let epoch = leader.leader.epoch().unwrap().get();
    let zxid = Zxid::new(epoch, 0);
    for message in [LearnerMessage::Ack(zxid), LearnerMessage::Ack(zxid)] {
        leader.input(Input::Message { link, message });
    }
    assert_eq!(leader.leader.phase_of(link), Some(LinkPhase::Active));
    leader.events();
    leader.input(Input::Sync(None));
    for (zxid, answered) in [(UNASKED, false), (zxid, true)] {
        let touched = None;
        let message = LearnerMessage::Ping { zxid, touched };
        leader.input(Input::Message { link, message });
        assert_eq!(leader.events().contains(&"synced"), answered, "{zxid}");
    }
}

#[test]
fn zookeeper_1277_the_last_zxid_of_an_epoch_ends_it() {
    let mut alone = Alone::new();
    alone.disk();
    alone.events();
    alone.leader.proposals.skip_to(u32::MAX - 3);
    alone
        .leader
        .committed
        .restart(Zxid::new(Epoch(1), u32::MAX - 3));
    alone.propose();
    alone.propose();
    assert_eq!(alone.leader.next_zxid(), None, "0xffffffff is never used");
    alone.disk();
    assert_eq!(alone.events(), ["commit", "commit", "zxids used up"]);
    assert_eq!(alone.leader.next_deadline(), None);
}

#[test]
fn zookeeper_1465_1697_a_large_snapshot_may_take_longer_than_init_limit() {
    let mut alone = Alone::new();
    alone.disk();
    let link = LinkId(9);
    let mut learner = LearnerLink::new(Duration::ZERO);
    learner.phase = LinkPhase::Syncing;
    alone.leader.links.insert(link, learner);
    let at = |seconds| Now {
        mono: Duration::from_secs(seconds),
        ..Now::default()
    };
    for second in 1..60 {
        alone.leader.handle(at(second), Input::Progress(link));
        alone.drain();
        alone.leader.handle(at(second), Input::Deadline);
        alone.drain();
        assert!(alone.leader.links.contains_key(&link), "after {second} s");
    }
    for second in 60..72 {
        alone.leader.handle(at(second), Input::Deadline);
        alone.drain();
    }
    assert!(
        !alone.leader.links.contains_key(&link),
        "nothing has moved for 11 s"
    );
}

#[test]
fn strangers_learn_nothing() {
    let mut alone = Alone::new();
    alone.disk();
    alone.events();
    let closed = |alone: &mut Alone, server, link| {
        alone.input(Input::Opened(LinkId(link)));
        let info = zk_proto::quorum::LearnerInfo {
            server_id: ServerId(server),
            protocol_version: zk_proto::quorum::PROTOCOL_VERSION,
            config_version: Zxid::ZERO,
        };
        let message = LearnerMessage::ObserverInfo {
            accepted_epoch: Epoch(0),
            info,
        };
        let link = LinkId(link);
        alone.input(Input::Message { link, message });
        let outputs = std::mem::take(&mut alone.outputs);
        outputs
            .iter()
            .any(|output| matches!(output, Output::Close { .. }))
    };
    assert!(!closed(&mut alone, 2, 1), "a member");
    for (stranger, link) in [(9, 2), (-1, 3)] {
        assert!(closed(&mut alone, stranger, link), "{stranger}");
    }
}

#[test]
fn an_epoch_that_nobody_can_have_reached_is_not_believed() {
    for (ahead, is_believed) in [((1 << 20) + 1, false), (1 << 20, true)] {
        let mut alone = Alone::new();
        alone.disk();
        alone.events();
        let reached = alone
            .leader
            .epochs
            .accepted
            .max(alone.leader.epochs.current);
        let link = LinkId(1);
        alone.input(Input::Opened(link));
        let info = zk_proto::quorum::LearnerInfo {
            server_id: ServerId(1),
            protocol_version: zk_proto::quorum::PROTOCOL_VERSION,
            config_version: Zxid::ZERO,
        };
        let accepted_epoch = Epoch(reached.0 + ahead);
        let message = LearnerMessage::FollowerInfo {
            accepted_epoch,
            info,
        };
        alone.input(Input::Message { link, message });
        let has = |what: fn(&Output) -> bool| alone.outputs.iter().any(what);
        let is_closed = has(|output| matches!(output, Output::Close { .. }));
        let has_left = has(|output| matches!(output, Output::State { .. }));
        assert_eq!(
            (is_closed, has_left),
            (!is_believed, is_believed),
            "{ahead}"
        );
    }
}

#[test]
fn a_learner_is_not_closed_for_what_it_was_sent_while_it_synced() {
    let mut alone = Alone::new();
    alone.disk();
    let at = |seconds| Now {
        mono: Duration::from_secs(seconds),
        ..Now::default()
    };
    let link = LinkId(9);
    let mut learner = LearnerLink::new(Duration::ZERO);
    learner.phase = LinkPhase::Syncing;
    learner.observes = false;
    alone.leader.links.insert(link, learner);
    alone.propose();
    for second in 1..30 {
        alone.leader.handle(at(second), Input::Progress(link));
        alone.drain();
    }
    let message = LearnerMessage::Ack(Zxid::new(Epoch(1), 0));
    let input = Input::Message { link, message };
    alone.leader.handle(at(30), input);
    alone.drain();
    for second in 30..36 {
        alone.leader.handle(at(second), Input::Deadline);
        alone.drain();
        assert_eq!(alone.leader.phase_of(link), Some(LinkPhase::Active));
    }
    alone.leader.handle(at(36), Input::Deadline);
    alone.drain();
    assert_eq!(alone.leader.phase_of(link), None, "silent since then");
}

#[test]
fn reading_the_log_back_for_a_learner_may_take_longer_than_init_limit() {
    let mut alone = Alone::new();
    alone.disk();
    let at = |seconds| Now {
        mono: Duration::from_secs(seconds),
        ..Now::default()
    };
    let link = LinkId(9);
    let mut learner = LearnerLink::new(Duration::ZERO);
    learner.phase = LinkPhase::ReadingLog { last: Zxid::ZERO };
    alone.leader.links.insert(link, learner);
    for second in 1..30 {
        alone.leader.handle(at(second), Input::Progress(link));
        alone.drain();
        alone.leader.handle(at(second), Input::Deadline);
        alone.drain();
    }
    let span = None;
    alone.leader.handle(at(38), Input::LogRead { link, span });
    alone.drain();
    alone.leader.handle(at(47), Input::Deadline);
    alone.drain();
    let syncing = Some(LinkPhase::Syncing);
    assert_eq!(alone.leader.phase_of(link), syncing, "9 s after the log");
    alone.leader.handle(at(49), Input::Deadline);
    alone.drain();
    assert_eq!(alone.leader.phase_of(link), None, "11 s");
}

#[test]
fn history_is_handed_over_as_one_thing_however_long_it_is() {
    let mut alone = Alone::new();
    alone.disk();
    let z = |counter| Zxid::new(Epoch(1), counter);
    alone.leader.committed.restart(z(5));
    alone.outputs.clear();
    let link = LinkId(9);
    let mut learner = LearnerLink::new(Duration::ZERO);
    learner.phase = LinkPhase::ReadingLog { last: z(2) };
    alone.leader.links.insert(link, learner);
    let record = |counter| Transaction {
        zxid: z(counter),
        entry: Bytes::from_static(b"transaction"),
    };
    for counter in 6..=8 {
        alone.leader.committed.push(record(counter));
    }
    let span = LoggedSpan {
        first: z(2),
        last: z(7),
    };
    let span = Some(span);
    alone.input(Input::LogRead { link, span });
    let expected: Vec<_> = (6..=8).map(record).collect();
    assert!(matches!(
        &alone.outputs[..],
        [
            Output::Send { message: LearnerMessage::Diff(to), .. },
            Output::SendHistory { logged, records, .. },
            Output::Send { message: LearnerMessage::NewLeader { .. }, .. },
        ] if *to == z(8) && *logged == Some((z(2), z(5))) && *records == expected
    ));
}

#[test]
fn writes_while_the_log_is_read_do_not_make_it_useless() {
    let mut alone = Alone::new();
    alone.disk();
    let z = |counter| Zxid::new(Epoch(1), counter);
    alone.leader.proposals.skip_to(10);
    alone.leader.committed.restart(z(10));
    let (link, gone) = (LinkId(9), LinkId(10));
    for link in [link, gone] {
        let mut learner = LearnerLink::new(Duration::ZERO);
        learner.phase = LinkPhase::Promising;
        alone.leader.links.insert(link, learner);
        let message = LearnerMessage::AckEpoch {
            last_zxid: z(4),
            current_epoch: Some(1),
        };
        alone.input(Input::Message { link, message });
    }
    let reading = Some(LinkPhase::ReadingLog { last: z(4) });
    assert_eq!(alone.leader.phase_of(link), reading);
    for _ in 0..600 {
        alone.propose();
    }
    alone.disk();
    alone.input(Input::Closed(gone));
    alone.outputs.clear();
    let span = LoggedSpan {
        first: z(4),
        last: z(10),
    };
    let span = Some(span);
    alone.input(Input::LogRead { link, span });
    assert!(matches!(
        &alone.outputs[..],
        [
            Output::Send { message: LearnerMessage::Diff(to), .. },
            Output::SendHistory { logged, records, .. },
            ..
        ] if *to == z(610) && *logged == Some((z(4), z(10))) && records.len() == 600
    ));
    assert_eq!(alone.leader.committed.floor(), z(110), "500 again");
}

/// What server 2 says of itself, on a new link.
fn introduce(leader: &mut Alone, link: LinkId) {
    introduce_as(leader, link, 2, false);
}

fn introduce_as(leader: &mut Alone, link: LinkId, server: i64, observes: bool) {
    leader.input(Input::Opened(link));
    let info = zk_proto::quorum::LearnerInfo {
        server_id: ServerId(server),
        protocol_version: zk_proto::quorum::PROTOCOL_VERSION,
        config_version: Zxid::ZERO,
    };
    let accepted_epoch = Epoch(0);
    let message = match observes {
        false => LearnerMessage::FollowerInfo {
            accepted_epoch,
            info,
        },
        true => LearnerMessage::ObserverInfo {
            accepted_epoch,
            info,
        },
    };
    leader.input(Input::Message { link, message });
    leader.disk();
}

fn ack_epoch(leader: &mut Alone, link: LinkId, current_epoch: Option<i32>) {
    let last_zxid = Zxid::ZERO;
    let message = LearnerMessage::AckEpoch {
        last_zxid,
        current_epoch,
    };
    leader.input(Input::Message { link, message });
    leader.disk();
}

/// Whether it has given up by then, nothing having happened since the start.
fn gives_up_by(mut leader: Alone, ms: u64) -> bool {
    leader.events();
    let mono = Duration::from_millis(ms);
    let now = Now {
        mono,
        ..Now::default()
    };
    assert!(leader.leader.next_deadline().unwrap() <= mono);
    leader.leader.handle(now, Input::Deadline);
    leader.drain();
    leader.events().contains(&"not established")
}

#[test]
fn a_leader_whose_only_follower_is_gone_does_not_wait_for_init_limit() {
    /// initLimit is ten seconds here, and the limit of discovery half a second.
    const GIVES_UP: u64 = 500;
    let three = || {
        let mut leader = Alone::of("server.1=h:1:2\nserver.2=h:3:4\nserver.3=h:5:6");
        leader.disk();
        introduce(&mut leader, LinkId(1));
        assert!(matches!(leader.leader.phase, Phase::CollectingAcks(..)));
        leader
    };
    assert!(
        !gives_up_by(three(), 5_000),
        "its follower may take its time"
    );

    let mut before_ack_epoch = three();
    before_ack_epoch.input(Input::Closed(LinkId(1)));
    assert!(gives_up_by(before_ack_epoch, GIVES_UP));

    let mut promised_already = three();
    promised_already.input(Input::Closed(LinkId(1)));
    introduce(&mut promised_already, LinkId(2));
    ack_epoch(&mut promised_already, LinkId(2), None);
    assert!(gives_up_by(promised_already, GIVES_UP));

    let synchronizing = || {
        let mut leader = three();
        ack_epoch(&mut leader, LinkId(1), Some(0));
        assert!(matches!(leader.leader.phase, Phase::Synchronizing(..)));
        leader
    };
    assert!(!gives_up_by(synchronizing(), 5_000));
    let mut before_ack = synchronizing();
    before_ack.input(Input::Closed(LinkId(1)));
    assert!(gives_up_by(before_ack, GIVES_UP));

    let mut comes_back = synchronizing();
    comes_back.input(Input::Closed(LinkId(1)));
    introduce(&mut comes_back, LinkId(2));
    assert!(!gives_up_by(comes_back, 5_000), "and is sent what it lacks");
}

/// {1, 2} is in force and {1, 2, 4, 5} is logged here: 3 and 5 observe, and 5 does not know yet that it is to vote; 4
/// follows, and has more history than the leader (simulator, seed 56710).
#[test]
fn discovery_asks_observers_that_are_to_become_voters() {
    const NOW: &str = "server.1=h:1:2\nserver.2=h:3:4\n\
        server.3=h:5:6:observer\nserver.5=h:9:10:observer";
    const NEXT: &str = "server.1=h:1:2\nserver.2=h:3:4\nserver.4=h:7:8\n\
        server.3=h:5:6:observer\nserver.5=h:9:10\nversion=1";
    for (who, enough, why) in [
        (&[2][..], false, "half of the next configuration"),
        (&[2, 3], false, "3 observes in both"),
        (&[2, 4], false, "4 must not be asked to forget anything"),
        (&[4, 5], false, "no quorum of the configuration in force"),
        (&[2, 5], true, "both quorums"),
        (&[5, 2], true, "in any order"),
    ] {
        let mut leader = Alone::amid_reconfiguration(NOW, NEXT);
        for server in [2, 3, 4, 5] {
            introduce_as(
                &mut leader,
                link_of(server),
                server,
                [3, 5].contains(&server),
            );
        }
        assert!(matches!(leader.leader.phase, Phase::CollectingAcks(..)));
        for server in who {
            ack_epoch(&mut leader, link_of(*server), Some(i32::from(*server == 4)));
        }
        let has_enough = matches!(leader.leader.phase, Phase::Synchronizing(..));
        assert_eq!(has_enough, enough, "{who:?}: {why}");
        assert_eq!(
            leader.leader.links.contains_key(&link_of(4)),
            !who.contains(&4),
            "who has more is sent away"
        );
    }
}

/// What they say of having the history is another matter: an observer may say so before it has written it.
#[test]
fn an_observer_that_is_to_become_a_voter_does_not_establish_an_epoch() {
    const NOW: &str = "server.1=h:1:2\nserver.2=h:3:4:observer";
    const NEXT: &str = "server.1=h:1:2\nserver.2=h:3:4\nversion=1";
    let mut leader = Alone::amid_reconfiguration(NOW, NEXT);
    introduce_as(&mut leader, LinkId(2), 2, true);
    ack_epoch(&mut leader, LinkId(2), Some(0));
    let Phase::Synchronizing(epoch, _) = leader.leader.phase else {
        panic!("its promise counts");
    };
    let synced = LearnerMessage::Ack(Zxid::new(epoch.get(), 0));
    leader.input(Input::Message {
        link: LinkId(2),
        message: synced,
    });
    assert!(matches!(leader.leader.phase, Phase::Synchronizing(..)));
}

fn link_of(server: i64) -> LinkId {
    LinkId(server.unsigned_abs())
}
