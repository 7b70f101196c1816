//! Proposing and committing: the leader's write path.
//!
//! Order of zxids = order of log = order of commits = order of applying. Nothing that a reply or an event
//! could reveal happens before the commit, and a reply enters its outbox under the lock that applied it.

use std::time::Duration;

use zk_proto::{Decode, Encode, SessionId, Xid, Zxid, txn::TxnDigest};

use super::{
    Output, Peer,
    waiting::{Origin, Proposal, Work},
};
use crate::{
    auth::Credentials,
    prep::{Prepared, Standing, WriteOp, WriteRequest},
    storage::DiskOp,
    time::Now,
};

/// The size of the allocation that records share.
const RECORDS: usize = 64 << 10;

impl Peer {
    /// The next zxid, while this server may give one.
    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        match &self.ensemble {
            None => Some(next(self.last_proposed)),
            Some(ensemble) => ensemble.next_zxid(),
        }
    }

    /// Proposes something of the server's own: sessions beginning and ending.
    pub(super) fn propose_internal(
        &mut self,
        now: Now,
        session: SessionId,
        op: WriteOp<'_>,
        origin: Origin,
    ) {
        let write = WriteRequest {
            session,
            cxid: Xid(0),
            credentials: &Credentials::none(),
            standing: Standing::GOOD,
            op,
        };
        let Some(zxid) = self.next_zxid() else {
            return;
        };
        let shared = self.shared.clone();
        let prepared = self.prep.prepare(&shared.tree.read(), &write, zxid, now);
        self.propose(now, prepared, origin, now.mono);
    }

    /// Encodes the transaction once and sends it to the log.
    pub(super) fn propose(
        &mut self,
        now: Now,
        prepared: Prepared,
        origin: Origin,
        received: Duration,
    ) {
        let Prepared {
            header,
            txn,
            digest,
        } = prepared;
        assert_eq!(
            Some(header.zxid),
            self.next_zxid(),
            "zxids have no gaps (I4)"
        );
        // Records share large allocations: the log thread, which drops them, would else free one for each.
        let len = header.encoded_len() + txn.encoded_len() + TxnDigest::MIN_LEN;
        if self.encoder.capacity() < len {
            self.encoder.reserve(len.max(RECORDS));
        }
        header.encode(&mut self.encoder);
        txn.encode(&mut self.encoder);
        if let Some(digest) = &digest {
            digest.encode(&mut self.encoder);
        }
        let record = self.encoder.split().freeze();
        self.last_proposed = header.zxid;
        self.shared.metrics.proposals.add(1);
        let zxid = header.zxid;
        match self.ensemble.is_some() {
            true => self.propose_to_quorum(now, zxid, record),
            false => self
                .outputs
                .push_back(Output::Disk(DiskOp::Append { zxid, record })),
        }
        self.wait(Work::Proposal(Proposal {
            header,
            txn,
            digest,
            origin,
            received,
        }));
    }

    #[cfg(feature = "testing")]
    pub(super) fn commit_early(&mut self, now: Now) {
        if self.options.reply_before_write {
            self.commit(now, self.last_proposed);
        }
    }

    #[cfg(not(feature = "testing"))]
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "as under `testing`"
    )]
    pub(super) fn commit_early(&mut self, _now: Now) {}

    /// A quorum has everything up to `zxid`: apply it, answer, tell.
    pub(super) fn commit(&mut self, now: Now, zxid: Zxid) {
        assert!(
            zxid <= self.last_proposed,
            "only what was proposed is committed"
        );
        if zxid < self.last_committed {
            return;
        }
        self.last_committed = zxid;
        self.carry_out_due(now);
    }

    /// Carries out what waits for nothing more.
    pub(super) fn carry_out_due(&mut self, now: Now) {
        while self.is_due(self.last_committed) {
            self.apply_some(now, self.last_committed);
        }
    }
}

/// A standalone server counts on through the epoch's end, as Apache's does.
const fn next(zxid: Zxid) -> Zxid {
    Zxid(zxid.0 + 1)
}
