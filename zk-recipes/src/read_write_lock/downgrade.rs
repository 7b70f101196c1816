//! How a writer becomes a reader: one transaction creates the reader's node and deletes the writer's.
//!
//! The reader's node bears the writer's number, as Curator's does, so that it stands where the writer stood. It is
//! created under an exact name, so that after a lost connection one look tells whether the transaction went through.

use std::sync::Arc;

use tokio::sync::oneshot;
use zk_client::{ErrorKind, Evidence, Outcome, Session};

use super::ReadGuard;
use crate::{
    connection::{Patience, Setback, setback},
    contender::{
        Entry, EntryName, EntryNode, Grant, Heartbeat, OwnWatch, Ownership, Writes, downgraded,
        keep,
    },
    error::{Error, Result},
    lock::LostReason,
};

/// The reader's node, a watch on it, and what is to prove that it is held.
type Granted = (EntryNode, OwnWatch, Option<Writes>);

/// A writer on its way to be a reader.
pub(crate) struct Downgrade {
    writer: Entry,
    evidence: Evidence,
    ownership: Arc<Ownership>,
    heartbeat: Heartbeat,
}

impl Downgrade {
    pub(crate) const fn new(
        writer: Entry,
        evidence: Evidence,
        ownership: Arc<Ownership>,
        heartbeat: Heartbeat,
    ) -> Self {
        Self {
            writer,
            evidence,
            ownership,
            heartbeat,
        }
    }

    /// Downgrades, answers, and goes on as the reader's keeper; or gives everything back.
    pub(crate) async fn run(mut self, reply: oneshot::Sender<Result<ReadGuard>>) {
        let name = self.writer.node().and_then(|node| downgraded(node.name()));
        let Some(name) = name else {
            self.writer.withdraw_surely().await;
            return;
        };
        let mut reader = self.writer.anew(EntryName::Exact(name.clone()));
        let granted = tokio::select! {
            biased;
            _ = self.evidence.lost() => Err(self.lost(LostReason::NoProofOfLife)),
            granted = self.transform(&mut reader, &name) => granted,
        };
        match granted {
            Ok((node, own, writes)) => {
                self.writer.forget();
                let grant = Grant {
                    own,
                    evidence: self.evidence,
                };
                let hand_over = |guard| drop(reply.send(Ok(guard)));
                keep(reader, node, (grant, writes), hand_over).await;
            }
            Err(error) => {
                // Whoever asked may be gone.
                let _ = reply.send(Err(error));
                drop(self.evidence);
                tokio::join!(reader.withdraw_surely(), self.writer.withdraw_surely());
            }
        }
    }

    fn lost(&self, reason: LostReason) -> Error {
        self.ownership.error(reason)
    }

    async fn transform(&self, reader: &mut Entry, name: &str) -> Result<Granted> {
        let mut patience = Patience::new();
        loop {
            let error = match self.attempt(reader, name).await {
                Ok(Some(granted)) => return Ok(granted),
                Ok(None) => return Err(self.lost(LostReason::NodeDeleted)),
                Err(error) => error,
            };
            match setback(&error) {
                Setback::Connection => patience.wait(reader.session()).await?,
                Setback::SessionEnded => return Err(self.lost(LostReason::SessionEnded)),
                Setback::Refused => return Err(error.into()),
            }
        }
    }

    /// One attempt; `None` if one of the nodes was deleted by somebody else.
    async fn attempt(&self, reader: &mut Entry, name: &str) -> zk_client::Result<Option<Granted>> {
        let mut node = match reader.is_absent() {
            true => None,
            false => reader.look_up().await?,
        };
        if node.is_none() {
            if !self.exchange(reader, name).await? {
                return Ok(None);
            }
            node = reader.look_up().await?;
        }
        let Some(node) = node else {
            return Ok(None);
        };
        let Some(own) = reader.watch(&node).await? else {
            return Ok(None);
        };
        let writes = Writes::begin(self.heartbeat, reader.session(), &node).await?;
        Ok(Some((node, own, writes)))
    }

    /// The transaction; false if the writer's node is gone.
    async fn exchange(&self, reader: &mut Entry, name: &str) -> zk_client::Result<bool> {
        let Some(writer) = self.writer.node() else {
            return Ok(false);
        };
        let session: &Session = self.writer.session();
        let data = match session.get(&writer.path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(false),
            node => node?.data,
        };
        reader.expect();
        let path = reader.child(name);
        let multi = session.multi().create(&path, data).ephemeral();
        match multi.delete(&writer.path).commit().await {
            Ok(_) => Ok(true),
            Err(error) => {
                if error.outcome() == Outcome::NotApplied {
                    reader.forget();
                }
                match error.kind() {
                    ErrorKind::NoNode => Ok(false),
                    _ => Err(error),
                }
            }
        }
    }
}
