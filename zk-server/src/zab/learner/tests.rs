//! What a learner makes of a leader that is faster than its disk.

use std::sync::Arc;

use bytes::Bytes;
use zk_proto::quorum::PROTOCOL_VERSION;

use super::*;
use crate::{
    config::Config,
    reconfig::{Configuration, Configurations},
    storage::{Directories, LogExecutor, MemDisk, RecoveryOptions, recover},
    zab::{COUNTER_MAX, UNASKED},
};

struct Following {
    learner: Learner,
    log: LogExecutor,
    now: Duration,
    /// Asked of the disk and not done.
    ops: Vec<DiskOp>,
    /// What it wanted otherwise.
    outputs: Vec<Output>,
}

const EPOCH: Epoch = Epoch(1);

impl Following {
    /// One that is brought up to date with so many transactions, none of which is on its disk.
    fn receiving(count: u32) -> Self {
        let directories = Directories::on(Arc::new(MemDisk::new())).unwrap();
        let options = RecoveryOptions::of(&Config::default(), 0);
        let mut log = recover(&directories, &options).unwrap().log;
        let mut done = Vec::new();
        log.execute([DiskOp::Barrier(1)], &mut done);
        let Some(DiskDone::Barrier { last, .. }) = done.pop() else {
            panic!("a barrier is answered");
        };
        let servers = Configuration::parse("server.1=h:1:2\nserver.2=h:3:4").unwrap();
        let second = Duration::from_secs(1);
        let config = ZabConfig {
            me: ServerId(1),
            configurations: Configurations::new(ServerId(1), servers, false),
            tick: second,
            init_limit: 10 * second,
            sync_limit: 5 * second,
            connect_retry: second,
            counter_max: COUNTER_MAX,
        };
        let committed = CommittedLog::new(last.get(), 500);
        let (now, epochs) = (Now::default(), Epochs::default());
        let leader = (ServerId(2), Duration::ZERO);
        let learner = Learner::new(now, config, leader, epochs, last, committed, 1);
        let mut following = Self {
            learner,
            log,
            now: now.mono,
            ops: Vec::new(),
            outputs: Vec::new(),
        };
        following.drain();
        following.input(Input::Connected);
        following.hear(LearnerMessage::LeaderInfo {
            epoch: EPOCH,
            protocol_version: PROTOCOL_VERSION,
        });
        following.disk();
        following.hear(LearnerMessage::Diff(Zxid::new(EPOCH, count)));
        (1..=count).for_each(|number| following.propose(number));
        following
    }

    /// One that serves, with nothing under way.
    fn active() -> Self {
        let mut following = Self::receiving(0);
        let zxid = Zxid::new(EPOCH, 0);
        following.hear(LearnerMessage::NewLeader { zxid, config: None });
        following.disk();
        following.hear(LearnerMessage::UpToDate);
        assert!(following.learner.is_active());
        following.outputs.clear();
        following
    }

    fn input(&mut self, input: Input) {
        let now = Now {
            mono: self.now,
            ..Now::default()
        };
        self.learner.handle(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.learner.poll_output() {
            match output {
                Output::Disk(op) => self.ops.push(op),
                output => self.outputs.push(output),
            }
        }
    }

    fn hear(&mut self, message: LearnerMessage) {
        self.input(Input::Message(message));
    }

    fn propose(&mut self, number: u32) {
        self.hear(proposal(number));
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

    /// How its outputs since the last time look to its leader; whether it has gone.
    fn answers(&mut self) -> (usize, bool) {
        let outputs = std::mem::take(&mut self.outputs);
        let unasked = |output: &&Output| matches!(output, Output::AnswerPing(UNASKED));
        let gone = |output: &Output| matches!(output, Output::State { .. });
        (
            outputs.iter().filter(unasked).count(),
            outputs.iter().any(gone),
        )
    }
}

fn proposal(number: u32) -> LearnerMessage {
    LearnerMessage::Proposal {
        zxid: Zxid::new(EPOCH, number),
        entry: Bytes::from(vec![7; 1000]),
    }
}

#[test]
fn what_the_leader_has_said_is_settled_when_the_disk_has_it() {
    let mut following = Following::receiving(3);
    assert_eq!(following.learner.settled(), 0);
    following.disk();
    assert_eq!(following.learner.settled(), 3 * weight(&proposal(1)));
    assert!(!following.learner.is_active(), "before anything is applied");

    let mut following = Following::active();
    following.propose(1);
    following.hear(LearnerMessage::Commit(Zxid::new(EPOCH, 1)));
    assert_eq!(following.learner.settled(), 0, "a commit does not matter");
    following.disk();
    assert_eq!(following.learner.settled(), weight(&proposal(1)));
}

#[test]
fn a_leader_that_waits_is_not_silent_while_the_disk_goes_on() {
    let mut following = Following::active();
    for number in 1..=20 {
        following.now += Duration::from_secs(1);
        following.propose(number);
        following.disk();
        following.outputs.clear();
        following.input(Input::Waits);
        assert_eq!(following.answers(), (1, false), "after {number} s");
        following.input(Input::Deadline);
        assert_eq!(following.answers(), (0, false), "after {number} s");
    }
    // It stands still: for all that is known here, the leader may have gone.
    for second in 1..=5 {
        following.now += Duration::from_secs(1);
        following.input(Input::Waits);
        assert_eq!(following.answers(), (0, false), "{second} s without a disk");
        following.input(Input::Deadline);
        assert_eq!(following.answers(), (0, second == 5));
    }
}

#[test]
fn before_it_serves_a_learner_takes_its_time() {
    let mut following = Following::receiving(1);
    for _ in 0..30 {
        following.now += Duration::from_secs(1);
        following.input(Input::Waits);
        following.input(Input::Deadline);
    }
    assert_eq!(following.answers(), (0, false), "nobody expects an answer");
}
