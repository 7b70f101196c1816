//! Writes as our server does: prepared, logged, applied.

use crate::script::Script;

use zk_proto::{Encode, SessionId, Xid, txn::TxnLogEntry};
use zk_server::{
    auth::Credentials,
    config::Config,
    prep::{Prep, PrepOptions, Standing, WriteOp, WriteRequest},
    storage::{
        Directories, DiskDone, DiskOp, LogExecutor, Recovered, SnapshotOptions, put_piece,
        write_snapshot,
    },
    time::Now,
    tree::{DataTree, Effects},
};

/// A server without sockets.
pub(crate) struct Writer {
    pub(crate) tree: DataTree,
    directories: Directories,
    log: LogExecutor,
    prep: Prep,
    dice: fastrand::Rng,
    script: Script,
    sessions: Vec<SessionId>,
    cxid: i32,
}

impl Writer {
    pub(crate) fn new(directories: Directories, recovered: Recovered, seed: u64) -> Self {
        Self {
            tree: recovered.tree,
            log: recovered.log,
            directories,
            prep: Prep::new(PrepOptions::default()),
            dice: fastrand::Rng::with_seed(seed),
            script: Script::new(seed),
            sessions: Vec::new(),
            cxid: 0,
        }
    }

    /// This many transactions, a few in each batch.
    pub(crate) fn write(&mut self, txns: usize) {
        let mut batch = Vec::new();
        for _ in 0..txns {
            batch.push(self.transaction());
            if self.dice.u8(..4) == 0 {
                self.execute(std::mem::take(&mut batch));
            }
        }
        self.execute(batch);
    }

    /// Rolls the log and writes a snapshot.
    pub(crate) fn snapshot(&mut self, config: &Config) {
        self.execute(vec![DiskOp::RollLog]);
        let cut = self.tree.begin_cut();
        let tree = &self.tree;
        let options = SnapshotOptions::of(config);
        let mut next_piece = |out: &mut bytes::BytesMut| Ok(put_piece(tree, &cut, out));
        write_snapshot(&self.directories, &cut, &mut next_piece, &options).unwrap();
        self.tree.end_cut(cut);
    }

    /// Leaves the directory, in order or not.
    pub(crate) fn end(mut self, in_order: bool) {
        if in_order {
            self.log.close();
        }
    }

    fn execute(&mut self, batch: Vec<DiskOp>) {
        let mut done = Vec::new();
        self.log.execute(batch, &mut done);
        let failed = done.iter().any(|done| matches!(done, DiskDone::Failed(_)));
        assert!(!failed, "{done:?}");
        while let Some(job) = self.log.background_job() {
            job.run();
        }
    }

    fn transaction(&mut self) -> DiskOp {
        let session = match self.dice.usize(..=self.sessions.len().min(12)) {
            0 => return self.begin_session(),
            n => self.sessions[n - 1],
        };
        if self.sessions.len() > 10 && self.dice.u8(..8) == 0 {
            self.sessions.retain(|open| *open != session);
            return self.log(session, WriteOp::CloseSession);
        }
        let request = self.script.request();
        self.log(session, WriteOp::Request(&request))
    }

    fn begin_session(&mut self) -> DiskOp {
        let session = SessionId(0x1_0000_0000 + i64::from(self.cxid));
        self.sessions.push(session);
        self.log(session, WriteOp::CreateSession { timeout_ms: 40_000 })
    }

    fn log(&mut self, session: SessionId, op: WriteOp<'_>) -> DiskOp {
        self.cxid += 1;
        let zxid = self.tree.last_zxid().successor().unwrap();
        let request = WriteRequest {
            session,
            cxid: Xid(self.cxid),
            credentials: &Credentials::none(),
            standing: Standing::GOOD,
            op,
        };
        let now = Now {
            wall_ms: 1_700_000_000_000 + i64::from(self.cxid) * 13,
            ..Now::default()
        };
        let prepared = self.prep.prepare(&self.tree, &request, zxid, now);
        let entry = TxnLogEntry {
            header: prepared.header,
            txn: prepared.txn,
            digest: prepared.digest,
        };
        self.tree
            .apply(&entry.header, &entry.txn, &mut Effects::new());
        self.prep.applied(zxid);
        DiskOp::Append {
            zxid,
            record: entry.to_bytes(),
        }
    }
}
