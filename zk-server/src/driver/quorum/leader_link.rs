//! The link to this member's leader.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::{mpsc::UnboundedReceiver, watch},
};
use zk_proto::{
    Decode, Reader, ServerId,
    quorum::{LearnerMessage, take_packet},
    txn::TxnLogEntry,
};

use super::{Address, Hub, inflow::Inflow, learner_port::PACKET_MAX, snapshot_stream};
use crate::{
    peer::{Input, QuorumInput},
    tree::TreeOptions,
    zab::{LearnerInput, LinkId},
};

/// One attempt to follow a leader.
pub(super) struct LeaderLink {
    pub(super) hub: Arc<Hub>,
    pub(super) tree: TreeOptions,
    pub(super) link: LinkId,
    /// What of the link's transactions is settled.
    pub(super) settled: watch::Receiver<u64>,
}

impl LeaderLink {
    /// Connects, and carries messages until the link ends.
    pub(super) async fn run(
        &self,
        to: Option<(ServerId, Address)>,
        messages: UnboundedReceiver<Bytes>,
    ) {
        if let Err(error) = self.carry(to, messages).await {
            tracing::debug!(%error, "the link to the leader");
        }
        self.tell(LearnerInput::Disconnected);
    }

    fn tell(&self, input: LearnerInput) {
        let link = self.link;
        let input = QuorumInput::Learner { link, input };
        self.hub.mailbox.push(Input::Quorum(input));
    }

    async fn carry(
        &self,
        to: Option<(ServerId, Address)>,
        messages: UnboundedReceiver<Bytes>,
    ) -> io::Result<()> {
        let Some((leader, Address { host, port })) = to else {
            return Err(io::Error::other("the leader's address is not known"));
        };
        let stream = self.hub.wiring.dial(leader, &host, port).await?;
        self.tell(LearnerInput::Connected);
        let (mut from, to) = split(stream);
        tokio::select! {
            ended = write(to, messages) => ended,
            ended = self.read(&mut from) => ended,
        }
    }

    async fn read(&self, from: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let mut inflow = Inflow::of(&self.hub.config, self.settled.clone());
        loop {
            while let Some(packet) =
                take_packet(&mut buffer, PACKET_MAX).map_err(io::Error::other)?
            {
                let message = LearnerMessage::from_packet(packet).map_err(io::Error::other)?;
                check(&message)?;
                inflow.take(&message);
                let snap = match &message {
                    LearnerMessage::Snap(zxid) => Some(*zxid),
                    _ => None,
                };
                self.tell(LearnerInput::Message(message));
                if let Some(zxid) = snap {
                    let progress = || self.tell(LearnerInput::Progress);
                    let tree = snapshot_stream::read(from, &mut buffer, &self.tree, zxid, progress);
                    let tree = Box::new(tree.await?);
                    let link = self.link;
                    let input = QuorumInput::Snapshot { link, tree };
                    self.hub.mailbox.push(Input::Quorum(input));
                }
            }
            inflow.room(|| self.tell(LearnerInput::Waits)).await;
            buffer.reserve(64 << 10);
            if from.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A transaction must be one that can be read, and the one that the packet names: what was logged once ends this server
/// at its commit, and at every later start.
fn check(message: &LearnerMessage) -> io::Result<()> {
    let (LearnerMessage::Proposal { zxid, entry }
    | LearnerMessage::Inform { zxid, entry }
    | LearnerMessage::InformAndActivate { zxid, entry, .. }) = message
    else {
        return Ok(());
    };
    match TxnLogEntry::decode(&mut Reader::new(entry.clone())) {
        Ok(entry) if entry.header.zxid == *zxid => Ok(()),
        Ok(entry) => {
            let named = entry.header.zxid;
            Err(io::Error::other(format!("{zxid} is proposed as {named}")))
        }
        Err(error) => {
            tracing::error!(%zxid, %error, "the leader proposes what cannot be read");
            Err(io::Error::other(error))
        }
    }
}

/// Writes messages, all that wait at once.
async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut messages: UnboundedReceiver<Bytes>,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    while let Some(first) = messages.recv().await {
        out.extend_from_slice(&first);
        while let Ok(next) = messages.try_recv() {
            out.extend_from_slice(&next);
        }
        to.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zk_proto::{
        Encode, OpCode, SessionId, Xid, Zxid,
        txn::{CreateSessionTxn, Txn, TxnHeader},
    };

    use super::*;

    #[test]
    fn a_proposal_is_refused_that_cannot_be_read_or_is_another_one() {
        let zxid = Zxid(7);
        let header = TxnHeader {
            client_id: SessionId(1),
            cxid: Xid(1),
            zxid,
            time: 1,
            kind: OpCode::CreateSession.code(),
        };
        let timeout_ms = 1;
        let txn = Txn::CreateSession(CreateSessionTxn { timeout_ms });
        let digest = None;
        let entry = TxnLogEntry {
            header,
            txn,
            digest,
        }
        .to_bytes();
        let proposed = |zxid, entry: &Bytes| {
            let entry = entry.clone();
            let proposal = check(&LearnerMessage::Proposal {
                zxid,
                entry: entry.clone(),
            });
            let inform = check(&LearnerMessage::Inform { zxid, entry });
            assert_eq!(proposal.is_ok(), inform.is_ok());
            proposal.is_ok()
        };
        assert!(proposed(zxid, &entry));
        assert!(!proposed(Zxid(8), &entry), "not the one that is named");
        assert!(!proposed(zxid, &entry.slice(..entry.len() - 1)));
        let mut unknown = BytesMut::from(&entry[..]);
        unknown[28..32].copy_from_slice(&99_i32.to_be_bytes());
        assert!(!proposed(zxid, &unknown.freeze()), "a type from the future");
        assert!(check(&LearnerMessage::Commit(zxid)).is_ok());
    }
}
