//! What the other members of an ensemble say, through the cores of leader and learner, on a disk in memory.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use zk_proto::{
    Encode, Epoch, OpCode, ServerId, SessionId, Xid, Zxid,
    quorum::{LearnerMessage, SessionTouch, take_packet},
    txn::{CreateSessionTxn, Txn, TxnHeader, TxnLogEntry},
};

use super::{must, options};
use crate::{
    reconfig::{Configuration, Configurations},
    storage::{
        Directories, DiskDone, DiskOp, Durable, LogExecutor, MemDisk, put_piece, recover,
        write_snapshot,
    },
    time::Now,
    tree::DataTree,
    zab::{
        COUNTER_MAX, CommittedLog, Epochs, Leader, LeaderInput, Learner, LearnerInput, LinkId,
        Output, Transaction, ZabConfig, weight,
    },
};

/// No packet of an input is longer.
const PACKET_MAX: usize = 1 << 16;

const ME: ServerId = ServerId(1);
const LINK: LinkId = LinkId(1);

fn config(votes: bool) -> ZabConfig {
    let second = Duration::from_secs(1);
    let servers = match votes {
        true => "server.1=h:1:2",
        false => "server.1=h:1:2:observer\nserver.2=h:3:4",
    };
    let configuration = must(Configuration::parse(servers));
    ZabConfig {
        me: ME,
        configurations: Configurations::new(ME, configuration, true),
        tick: second,
        init_limit: 10 * second,
        sync_limit: 5 * second,
        connect_retry: second,
        counter_max: COUNTER_MAX,
    }
}

/// The messages in a stream, until it makes no sense or its listener has gone.
fn hear(data: &[u8], mut message: impl FnMut(LearnerMessage) -> bool) {
    let mut stream = BytesMut::from(data);
    while let Ok(Some(packet)) = take_packet(&mut stream, PACKET_MAX) {
        let Ok(heard) = LearnerMessage::from_packet(packet) else {
            return;
        };
        if !message(heard) {
            return;
        }
    }
}

/// The disk of a member, and what it must not be asked.
struct MemberDisk {
    directories: Directories,
    log: LogExecutor,
    /// Up to where the log is on the disk.
    durable: Zxid,
}

impl MemberDisk {
    fn new() -> Self {
        let directories = must(Directories::on(Arc::new(MemDisk::new())));
        let log = must(recover(&directories, &options())).log;
        Self {
            directories,
            log,
            durable: Zxid::ZERO,
        }
    }

    /// So many sessions begin, before there is an ensemble.
    fn begin_sessions(&mut self, count: i64) {
        for zxid in (1..=count).map(Zxid) {
            let entry = TxnLogEntry {
                header: TxnHeader {
                    client_id: SessionId(zxid.0),
                    cxid: Xid(0),
                    zxid,
                    time: 0,
                    kind: OpCode::CreateSession.code(),
                },
                txn: Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 }),
                digest: None,
            };
            let record = entry.to_bytes();
            self.execute(DiskOp::Append { zxid, record });
        }
    }

    /// Up to where the log is on the disk, as a member is told.
    fn history(&mut self) -> Durable<Zxid> {
        let done = self.execute(DiskOp::Barrier(1)).unwrap_or_default();
        match done.into_iter().next() {
            Some(DiskDone::Barrier { last, .. }) => last,
            _ => unreachable!("a barrier is answered"),
        }
    }

    /// The snapshot of an empty tree, as of this transaction.
    fn install(&self, zxid: Zxid) {
        let mut tree = DataTree::new(&options().tree);
        tree.set_last_zxid(zxid);
        let cut = tree.begin_cut();
        let mut next_piece = |out: &mut BytesMut| Ok(put_piece(&tree, &cut, out));
        let options = options().snapshot;
        must(write_snapshot(
            &self.directories,
            &cut,
            &mut next_piece,
            &options,
        ));
    }

    /// `None` when the disk cannot do it: the member ends then.
    fn execute(&mut self, op: DiskOp) -> Option<Vec<DiskDone>> {
        let mut done = Vec::new();
        self.log.execute([op], &mut done);
        for done in &done {
            match done {
                DiskDone::Synced { zxid, .. } => self.durable = zxid.get(),
                DiskDone::Truncated { to, .. } => self.durable = to.get(),
                DiskDone::Failed(_) => return None,
                _ => {}
            }
        }
        Some(done)
    }
}

/// A leader that is a quorum by itself.
struct Leading {
    leader: Leader,
    disk: MemberDisk,
    last_commit: Zxid,
    commits: usize,
    is_closed: bool,
    has_departed: bool,
    /// What its outputs have led to.
    inputs: VecDeque<LeaderInput>,
}

impl Leading {
    fn new() -> Self {
        let mut disk = MemberDisk::new();
        let last = disk.history();
        let committed = CommittedLog::new(last.get(), 500);
        let epochs = Epochs::default();
        let leader = Leader::new(
            Now::default(),
            config(true),
            epochs,
            Epoch(0),
            last,
            committed,
            1,
        );
        let mut leading = Self {
            leader,
            disk,
            last_commit: Zxid::ZERO,
            commits: 0,
            is_closed: false,
            has_departed: false,
            inputs: VecDeque::new(),
        };
        leading.settle();
        leading
    }

    fn input(&mut self, input: LeaderInput) {
        self.inputs.push_back(input);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.leader.poll_output() {
                self.carry_out(output);
            }
            match self.inputs.pop_front() {
                Some(input) => self.leader.handle(Now::default(), input),
                None => return,
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Disk(op) => {
                let done = self.disk.execute(op).unwrap_or_default();
                self.inputs.extend(done.into_iter().map(LeaderInput::Disk));
            }
            Output::Commit(transaction) => {
                assert!(transaction.zxid > self.last_commit, "commits ascend");
                assert!(
                    transaction.zxid <= self.disk.durable,
                    "this member is its quorum"
                );
                self.last_commit = transaction.zxid;
                self.commits += 1;
            }
            Output::ReadLog { link, .. } => {
                let span = None;
                self.inputs.push_back(LeaderInput::LogRead { link, span });
            }
            Output::Forwarded { link, request } if request.op == OpCode::Sync.code() => {
                self.inputs.push_back(LeaderInput::Sync(Some(link)));
            }
            Output::Revalidate { link, session } => {
                self.inputs.push_back(LeaderInput::Revalidated {
                    link,
                    session: session.session,
                    valid: session.session.0 % 2 == 0,
                })
            }
            Output::Send { message, .. } => can_be_sent(&message),
            Output::SendHistory { records, .. } => {
                let messages = records.into_iter().flat_map(Transaction::into_messages);
                messages.for_each(|message| can_be_sent(&message));
            }
            Output::Close { .. } => self.is_closed = true,
            Output::State { departure, .. } => self.has_departed |= departure.is_some(),
            _ => {}
        }
    }

    fn propose(&mut self) {
        let Some(zxid) = self.leader.next_zxid() else {
            return;
        };
        let entry = Bytes::from_static(b"transaction");
        self.input(LeaderInput::Propose(Transaction { zxid, entry }));
    }
}

/// What a learner says to its leader, a transaction between any two messages: whatever it is, the leader goes on.
pub fn leader(data: &[u8]) {
    lead(data);
}

fn lead(data: &[u8]) -> Leading {
    let mut leading = Leading::new();
    leading.propose();
    leading.input(LeaderInput::Opened(LINK));
    hear(data, |message| {
        leading.input(LeaderInput::Message {
            link: LINK,
            message,
        });
        leading.propose();
        !leading.is_closed && !leading.has_departed
    });
    leading.input(LeaderInput::Closed(LINK));
    if !leading.has_departed {
        let before = leading.commits;
        leading.propose();
        assert_eq!(leading.commits, before + 1, "no learner stops it");
    }
    leading
}

struct Following {
    learner: Learner,
    disk: MemberDisk,
    logged: BTreeSet<Zxid>,
    last_commit: Zxid,
    has_ended: bool,
    /// What its leader has said, by weight.
    heard: u64,
    /// What its outputs have led to.
    inputs: VecDeque<LearnerInput>,
}

impl Following {
    fn input(&mut self, input: LearnerInput) {
        self.inputs.push_back(input);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.learner.poll_output() {
                self.carry_out(output);
            }
            match self.inputs.pop_front() {
                Some(input) if !self.has_ended => self.learner.handle(Now::default(), input),
                _ => return,
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Disk(op) => {
                if let DiskOp::Append { zxid, .. } = &op {
                    self.logged.insert(*zxid);
                }
                match self.disk.execute(op) {
                    Some(done) => {
                        let done = done.into_iter().map(LearnerInput::Disk);
                        self.inputs.extend(done);
                    }
                    None => self.has_ended = true,
                }
            }
            Output::Commit(transaction) => {
                assert!(transaction.zxid > self.last_commit, "commits ascend");
                assert!(self.logged.contains(&transaction.zxid), "it was logged");
                self.last_commit = transaction.zxid;
            }
            Output::Tell(message) => {
                if let LearnerMessage::Ack(zxid) = &message
                    && zxid.counter() > 0
                {
                    assert!(
                        *zxid <= self.disk.durable,
                        "acknowledged before it is on the disk"
                    );
                }
                let again = LearnerMessage::from_packet(message.to_packet());
                assert_eq!(again.as_ref(), Ok(&message), "it can be sent");
            }
            Output::ReceiveSnapshot { zxid } => {
                self.last_commit = zxid;
                self.inputs.push_back(LearnerInput::SnapshotReceived(None));
            }
            Output::InstallSnapshot { zxid } => {
                self.disk.install(zxid);
                self.inputs.push_back(LearnerInput::SnapshotInstalled);
            }
            Output::Reload { generation } => self.reload(generation),
            Output::State { departure, .. } => self.has_ended |= departure.is_some(),
            _ => {}
        }
    }

    fn reload(&mut self, generation: u64) {
        let Ok(recovered) = recover(&self.disk.directories, &options()) else {
            // What the leader had it log makes no history.
            self.has_ended = true;
            return;
        };
        let last = recovered.tree.last_zxid();
        self.disk.log = recovered.log;
        self.last_commit = last;
        self.disk.execute(DiskOp::NewGeneration(generation));
        self.inputs.push_back(LearnerInput::Reloaded(last));
    }
}

/// Whether it votes, then what a leader says to its learner: it follows, or it goes.
pub fn learner(data: &[u8]) {
    if let Some((votes, said)) = data.split_first() {
        follow(votes % 2 == 0, said);
    }
}

fn follow(votes: bool, said: &[u8]) -> Following {
    let mut disk = MemberDisk::new();
    disk.begin_sessions(3);
    let last = disk.history();
    let committed = CommittedLog::new(last.get(), 500);
    let (now, config, epochs) = (Now::default(), config(votes), Epochs::default());
    let learner = Learner::new(
        now,
        config,
        (ServerId(2), Duration::ZERO),
        epochs,
        last,
        committed,
        1,
    );
    let mut following = Following {
        learner,
        disk,
        logged: BTreeSet::new(),
        last_commit: Zxid::ZERO,
        has_ended: false,
        heard: 0,
        inputs: VecDeque::new(),
    };
    following.settle();
    following.input(LearnerInput::Connected);
    hear(said, |message| {
        following.heard += weight(&message);
        following.input(LearnerInput::Message(message));
        let settled = following.learner.settled();
        assert!(settled <= following.heard, "settled before it came");
        let is_at_rest = following.has_ended || following.inputs.is_empty();
        assert!(is_at_rest, "everything that is asked for is done");
        // The disk here is done at once.
        assert!(following.has_ended || settled == following.heard);
        !following.has_ended
    });
    let session = SessionId(1);
    let touch = SessionTouch {
        session,
        timeout_ms: 1,
    };
    following.input(LearnerInput::Revalidate(touch));
    following
}

fn can_be_sent(message: &LearnerMessage) {
    let again = LearnerMessage::from_packet(message.to_packet());
    assert_eq!(again.as_ref(), Ok(message), "it can be sent");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made from the corpus is worth little if the corpus itself is refused at the door.
    #[test]
    fn what_honest_members_say_is_heard_to_its_end() {
        let leading = lead(include_bytes!("../../testdata/fuzz/leader/a-follower"));
        assert!(!leading.is_closed && !leading.has_departed);
        assert_eq!(
            leading.commits, 10,
            "one before, one behind each message, one in the end"
        );
        let commits = |said: &[u8]| {
            let following = follow(said[0] == 0, &said[1..]);
            assert!(!following.has_ended && following.learner.is_active());
            following.last_commit
        };
        let voter = include_bytes!("../../testdata/fuzz/learner/a-voter");
        assert_eq!(commits(voter), Zxid::new(Epoch(1), 1));
        let observer = include_bytes!("../../testdata/fuzz/learner/an-observer-with-a-snapshot");
        assert_eq!(commits(observer), Zxid::new(Epoch(2), 1));
        let cut = include_bytes!("../../testdata/fuzz/learner/a-log-to-be-cut");
        assert_eq!(commits(cut), Zxid::new(Epoch(2), 1));
    }
}
