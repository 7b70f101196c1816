//! Writes transactions as a server would: with the right versions, and the digest after each.

use bytes::Bytes;
use zk_proto::{
    Acl, Encode, SessionId, Xid, Zxid,
    persist::DIGEST_VERSION,
    txn::{
        CloseSessionTxn, CreateSessionTxn, CreateTxn, DeleteTxn, ErrorTxn, SetAclTxn, SetDataTxn,
        Txn, TxnDigest, TxnHeader, TxnLogEntry,
    },
};

use super::{Dump, dump, options};
use crate::tree::{DataTree, Effects};

/// A server's memory without its disk.
pub(super) struct Author {
    tree: DataTree,
    zxid: Zxid,
    /// How long the data of nodes is.
    pub(super) data_len: usize,
}

const SESSION: SessionId = SessionId(0x100_0000_0001);

impl Author {
    pub(super) fn new() -> Self {
        Self::after(DataTree::new(&options(&[]).tree))
    }

    /// Goes on with a tree.
    pub(super) fn after(tree: DataTree) -> Self {
        Self {
            zxid: tree.last_zxid(),
            tree,
            data_len: 24,
        }
    }

    pub(super) fn dump(&mut self) -> Dump {
        dump(&mut self.tree)
    }

    pub(super) fn tree(&mut self) -> &mut DataTree {
        &mut self.tree
    }

    /// The last transaction.
    pub(super) const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Begins a new epoch.
    pub(super) fn elect(&mut self) {
        self.zxid = Zxid::new(zk_proto::Epoch(self.zxid.epoch().0 + 1), 0);
    }

    /// The next record: a bit of everything, in turns.
    pub(super) fn write(&mut self) -> (Zxid, Bytes) {
        let n = self.zxid.0 + 1;
        let round = n / 8;
        let txn = match n % 8 {
            1 => Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 }),
            2 => self.create(&format!("/node-{round}"), false),
            3 => self.create(&format!("/ephemeral-{round}"), true),
            4 => self.set(&format!("/node-{round}")),
            5 => Txn::Error(ErrorTxn { err: -101 }),
            6 => Txn::SetAcl(SetAclTxn {
                path: format!("/node-{round}").into(),
                acl: Acl::read_only(),
                version: 1,
            }),
            7 if round % 2 == 0 => Txn::Delete(DeleteTxn {
                path: format!("/node-{round}").into(),
            }),
            7 => self.create(&format!("/node-{round}/child"), false),
            _ => Txn::CloseSession(Some(CloseSessionTxn {
                paths_to_delete: vec![format!("/ephemeral-{}", round - 1).into()],
            })),
        };
        self.log(txn)
    }

    /// A record that creates a node.
    pub(super) fn log_create(&mut self) -> (Zxid, Bytes) {
        let txn = self.create(&format!("/created-{:x}", self.zxid.0), false);
        self.log(txn)
    }

    /// Logs and applies a transaction of one's own.
    pub(super) fn log(&mut self, txn: Txn) -> (Zxid, Bytes) {
        self.zxid = self.zxid.successor().unwrap();
        let header = TxnHeader {
            client_id: SESSION,
            cxid: Xid(7),
            zxid: self.zxid,
            time: 1_700_000_000_000 + self.zxid.0 * 10,
            kind: txn.op_code().code(),
        };
        self.tree.apply(&header, &txn, &mut Effects::new());
        let is_error = matches!(txn, Txn::Error(_));
        let digest = (!is_error).then(|| TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: self.tree.digest().to_i64(),
        });
        let entry = TxnLogEntry {
            header,
            txn,
            digest,
        };
        (self.zxid, entry.to_bytes())
    }

    pub(super) fn create(&self, path: &str, ephemeral: bool) -> Txn {
        let cut = path.rfind('/').unwrap();
        let parent = self.tree.node(&path[..cut]).unwrap();
        Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(self.data()),
            acl: Acl::open(),
            ephemeral,
            parent_cversion: parent.stat_persisted().cversion + 1,
        })
    }

    fn set(&self, path: &str) -> Txn {
        let version = self.tree.node(path).unwrap().stat().version;
        Txn::SetData(SetDataTxn {
            path: path.into(),
            data: Some(self.data()),
            version: version + 1,
        })
    }

    /// Without long runs of zeros: those are what lost sectors look like.
    fn data(&self) -> Bytes {
        (1..=251).cycle().step_by(7).take(self.data_len).collect()
    }
}
