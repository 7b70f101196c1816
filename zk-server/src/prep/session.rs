//! createSession, closeSession.

use zk_proto::{
    Utf8Bytes,
    create_mode::EphemeralOwner,
    txn::{CloseSessionTxn, CreateSessionTxn, Txn},
};

use super::Change;

impl Change<'_> {
    pub(super) const fn create_session(timeout_ms: i32) -> Txn {
        Txn::CreateSession(CreateSessionTxn { timeout_ms })
    }

    /// Lists the session's nodes, in the tree and outstanding, and enters their end.
    pub(super) fn close_session(&mut self) -> Txn {
        let paths_to_delete = self.ephemerals();
        for path in &paths_to_delete {
            if let Ok(node) = self.node(path) {
                self.remove(path, &node);
            }
        }
        let listed = self.options.close_session_txn;
        Txn::CloseSession(listed.then_some(CloseSessionTxn { paths_to_delete }))
    }

    fn ephemerals(&self) -> Vec<Utf8Bytes> {
        let in_tree = self
            .tree
            .ephemerals(self.request.session)
            .filter(|path| !self.outstanding.touches(path))
            .map(Utf8Bytes::from);
        let owner = EphemeralOwner::Session(self.request.session);
        let outstanding = self
            .outstanding
            .owned_by(self.request.session.0)
            .filter(|(_, node)| self.owner(node) == owner)
            .map(|(path, _)| path.clone());
        in_tree.chain(outstanding).collect()
    }
}
