//! Transactions, applied (`DataTree.processTxn`).

use zk_proto::{
    ErrorCode, SessionId, Utf8Bytes,
    create_mode::EphemeralOwner,
    txn::{CloseSessionTxn, CreateTxn, Txn, TxnHeader},
};

use super::{
    Applied, DataTree, Effects,
    change::{At, NewNode},
};

impl DataTree {
    /// Applies a transaction and tells what became of it; its events are appended to `effects`.
    ///
    /// Total and deterministic: the result depends on the tree and the transaction alone. Idempotent: a transaction
    /// that is already in the tree, or in part, leaves it as it is meant to be, and answers with an error that only
    /// a replay sees. The last zxid moves when the whole transaction is in, never within a multi.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn, effects: &mut Effects) -> Applied {
        let applied = match txn {
            Txn::Multi(parts) => Applied::Multi(self.apply_multi(header, parts, effects)),
            Txn::CreateSession(txn) => {
                self.owners
                    .sessions
                    .insert(header.client_id, txn.timeout_ms);
                Applied::SessionCreated
            }
            Txn::CloseSession(txn) => self.close_session(header, txn.as_ref(), effects),
            txn => self.apply_part(header, txn, effects),
        };
        self.last_zxid = self.last_zxid.max(header.zxid);
        self.log_digest(header.zxid);
        applied
    }

    /// If any part is an error, nothing is changed, though the log has the real parts before it.
    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        parts: &[Txn],
        effects: &mut Effects,
    ) -> Vec<Applied> {
        let failed = parts.iter().position(|part| matches!(part, Txn::Error(_)));
        let apply = |(at, part): (usize, &Txn)| match (failed, part) {
            (_, Txn::Error(error)) => Applied::Error(ErrorCode::from_i32(error.err)),
            (None, part) => self.apply_part(header, part, effects),
            (Some(failed), _) if at < failed => Applied::Error(ErrorCode::Ok),
            (Some(_), _) => Applied::Error(ErrorCode::RuntimeInconsistency),
        };
        parts.iter().enumerate().map(apply).collect()
    }

    fn apply_part(&mut self, header: &TxnHeader, txn: &Txn, effects: &mut Effects) -> Applied {
        let at = At {
            zxid: header.zxid,
            time: header.time,
        };
        let applied = match txn {
            Txn::Create(txn) => self
                .create(new_node(txn, header.client_id), at, effects)
                .map(|_| created(&txn.path, None)),
            Txn::Create2(txn) => self
                .create(new_node(txn, header.client_id), at, effects)
                .map(|id| created(&txn.path, Some(self.stat(id)))),
            Txn::CreateContainer(txn) => {
                let new = NewNode {
                    path: &txn.path,
                    data: txn.data.as_deref(),
                    acl: &txn.acl,
                    owner: EphemeralOwner::Container,
                    parent_cversion: txn.parent_cversion,
                };
                self.create(new, at, effects)
                    .map(|id| created(&txn.path, Some(self.stat(id))))
            }
            Txn::CreateTtl(txn) => {
                let new = NewNode {
                    path: &txn.path,
                    data: txn.data.as_deref(),
                    acl: &txn.acl,
                    owner: EphemeralOwner::Ttl { ttl_ms: txn.ttl_ms },
                    parent_cversion: txn.parent_cversion,
                };
                self.create(new, at, effects)
                    .map(|id| created(&txn.path, Some(self.stat(id))))
            }
            Txn::Delete(txn) | Txn::DeleteContainer(txn) => self
                .delete(&txn.path, header.zxid, effects)
                .map(|()| Applied::Deleted),
            Txn::SetData(txn) => self
                .set_data(&txn.path, txn.data.as_deref(), txn.version, at, effects)
                .map(|stat| Applied::Set { stat }),
            Txn::Reconfig(txn) => self
                .set_data(&txn.path, txn.data.as_deref(), txn.version, at, effects)
                .map(|stat| Applied::Reconfigured {
                    data: txn.data.clone(),
                    stat,
                }),
            Txn::SetAcl(txn) => self
                .set_acl(&txn.path, &txn.acl, txn.version)
                .map(|stat| Applied::Set { stat }),
            Txn::Check(_) => Ok(Applied::Checked),
            Txn::Error(error) => Err(ErrorCode::from_i32(error.err)),
            // Sessions and multis are no parts; a log cannot hold them as such.
            Txn::Multi(_) | Txn::CreateSession(_) | Txn::CloseSession(_) => {
                Err(ErrorCode::RuntimeInconsistency)
            }
        };
        applied.unwrap_or_else(Applied::Error)
    }

    /// Ends a session and deletes its nodes: those the transaction lists, in its order, then any others it owns.
    ///
    /// The list decides, since the leader made it; a log before 3.6 has none.
    fn close_session(
        &mut self,
        header: &TxnHeader,
        txn: Option<&CloseSessionTxn>,
        effects: &mut Effects,
    ) -> Applied {
        let session = header.client_id;
        for path in txn.into_iter().flat_map(|txn| &txn.paths_to_delete) {
            // A node that is gone already was in the snapshot as gone.
            let _gone = self.delete(path, header.zxid, effects);
        }
        let rest: Vec<Utf8Bytes> = self.ephemerals(session).map(Utf8Bytes::from).collect();
        for path in &rest {
            let _gone = self.delete(path, header.zxid, effects);
        }
        self.owners.sessions.remove(&session);
        Applied::SessionClosed
    }
}

fn new_node(txn: &CreateTxn, session: SessionId) -> NewNode<'_> {
    NewNode {
        path: &txn.path,
        data: txn.data.as_deref(),
        acl: &txn.acl,
        owner: match txn.ephemeral {
            true => EphemeralOwner::from_raw(session.0, false),
            false => EphemeralOwner::Persistent,
        },
        parent_cversion: txn.parent_cversion,
    }
}

fn created(path: &Utf8Bytes, stat: Option<zk_proto::Stat>) -> Applied {
    Applied::Created {
        path: path.clone(),
        stat,
    }
}
