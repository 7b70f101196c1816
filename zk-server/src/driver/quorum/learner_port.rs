//! The quorum port: links of this leader's learners.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_util::sync::CancellationToken;
use zk_proto::{
    Encode,
    quorum::{LearnerMessage, take_packet},
};

use super::{Hub, MemberStream, snapshot_stream::Outgoing};
use crate::{
    peer::{Input, QuorumInput},
    zab::{LeaderInput, LinkId, Transaction},
};

/// No packet is longer: a transaction, and what stands around it.
pub(super) const PACKET_MAX: usize = 64 << 20;

/// Nor is the first one, by which a learner says who it is.
const INTRODUCTION_MAX: usize = 1 << 10;

/// How much is encoded before it is written.
const PIECE: usize = 256 << 10;

/// What goes to a learner.
pub(super) enum ToLearner {
    Bytes(Bytes),
    /// Transactions that it lacks; encoded as they go.
    History(Vec<Transaction>),
    Snapshot(Outgoing),
}

/// The links that are open.
#[derive(Default)]
pub(super) struct Learners {
    links: Mutex<HashMap<LinkId, UnboundedSender<ToLearner>>>,
    last: AtomicU64,
}

impl Learners {
    /// Sends something on a link; nothing if it has ended.
    pub(super) fn send(&self, link: LinkId, what: ToLearner) {
        if let Some(sender) = self.links.lock().get(&link) {
            // What cannot be sent any more is dropped, with its link.
            let _ = sender.send(what);
        }
    }

    /// Ends a link, once what was sent on it is written.
    pub(super) fn close(&self, link: LinkId) {
        self.links.lock().remove(&link);
    }

    pub(super) fn close_all(&self) {
        self.links.lock().clear();
    }
}

/// Accepts learners until the server stops, or is reached elsewhere; the peer closes those that come while it does not lead.
pub(super) async fn accept(
    hub: Arc<Hub>,
    listener: TcpListener,
    learners: Arc<Learners>,
    end: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
            () = hub.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let stream = hub.wiring.accepted(stream, remote);
                let link = LinkId(learners.last.fetch_add(1, Relaxed) + 1);
                tokio::spawn(serve(hub.clone(), stream, learners.clone(), link));
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a learner");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve(hub: Arc<Hub>, stream: MemberStream, learners: Arc<Learners>, link: LinkId) {
    let (sender, outgoing) = unbounded_channel();
    learners.links.lock().insert(link, sender);
    tell(&hub, LeaderInput::Opened(link));
    let (from, to) = split(stream);
    let ended = tokio::select! {
        ended = write(to, outgoing, || tell(&hub, LeaderInput::Progress(link))) => ended,
        ended = read(&hub, from, link) => ended,
        () = hub.stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(link = link.0, %error, "a learner's link");
    }
    learners.close(link);
    tell(&hub, LeaderInput::Closed(link));
}

fn tell(hub: &Hub, input: LeaderInput) {
    hub.mailbox.push(Input::Quorum(QuorumInput::Leader(input)));
}

async fn read(hub: &Hub, mut from: impl AsyncRead + Unpin, link: LinkId) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut limit = INTRODUCTION_MAX;
    loop {
        while let Some(packet) = take_packet(&mut buffer, limit).map_err(io::Error::other)? {
            limit = PACKET_MAX;
            let message = LearnerMessage::from_packet(packet).map_err(io::Error::other)?;
            tell(hub, LeaderInput::Message { link, message });
        }
        buffer.reserve(16 << 10);
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Writes what is to be sent, never holding much more than a piece of it encoded; `progress` is called whenever a piece of
/// what a learner lacks is gone.
async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut outgoing: UnboundedReceiver<ToLearner>,
    progress: impl Fn(),
) -> io::Result<()> {
    let mut out = BytesMut::new();
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(what) = next {
            match what {
                ToLearner::Bytes(bytes) => out.extend_from_slice(&bytes),
                ToLearner::History(records) => {
                    write_history(&mut to, &mut out, records, &progress).await?;
                }
                ToLearner::Snapshot(snapshot) => {
                    to.write_all(&out).await?;
                    out.clear();
                    snapshot.write(&mut to, &progress).await?;
                }
            }
            next = (out.len() < PIECE)
                .then(|| outgoing.try_recv().ok())
                .flatten();
        }
        to.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

/// Writes all but the last piece of it behind what is in `out` already. A transaction is let go as soon as it is encoded.
async fn write_history(
    to: &mut (impl AsyncWrite + Unpin),
    out: &mut BytesMut,
    records: Vec<Transaction>,
    progress: impl Fn(),
) -> io::Result<()> {
    for record in records {
        for message in record.into_messages() {
            message.to_packet().encode(out);
        }
        if out.len() >= PIECE {
            to.write_all(out).await?;
            out.clear();
            progress();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::io::duplex;
    use zk_proto::Zxid;

    use super::*;

    #[tokio::test]
    async fn a_long_history_goes_in_pieces_and_what_follows_it_stands_behind_it() {
        const COUNT: i64 = 4096;
        let entry = Bytes::from(vec![7; 1 << 10]);
        let transaction = |zxid| Transaction {
            zxid: Zxid(zxid),
            entry: entry.clone(),
        };
        let (to, mut from) = duplex(64 << 10);
        let (sender, outgoing) = unbounded_channel();
        let ping = LearnerMessage::Ping {
            zxid: Zxid(COUNT),
            touched: None,
        };
        let told = |message: &LearnerMessage| ToLearner::Bytes(message.to_packet().to_bytes());
        let history = (1..=COUNT).map(transaction).collect();
        let diff = LearnerMessage::Diff(Zxid(COUNT));
        for what in [told(&diff), ToLearner::History(history), told(&ping)] {
            assert!(sender.send(what).is_ok());
        }
        drop(sender);
        let pieces = Rc::new(Cell::new(0));
        let count = pieces.clone();
        let mut write = Box::pin(write(to, outgoing, move || count.set(count.get() + 1)));
        tokio::select! {
            biased;
            _ = &mut write => panic!("nobody has read anything"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(pieces.get(), 0, "nobody reads: no progress");

        let mut expected = vec![diff];
        expected.extend((1..=COUNT).flat_map(|zxid| transaction(zxid).into_messages()));
        expected.push(ping);
        let read = async {
            let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
            while from.read_buf(&mut buffer).await.unwrap() > 0 {
                while let Some(packet) = take_packet(&mut buffer, PACKET_MAX).unwrap() {
                    read.push(LearnerMessage::from_packet(packet).unwrap());
                }
            }
            read
        };
        let (written, read) = tokio::join!(write, read);
        written.unwrap();
        assert!(read == expected, "all of it, in order");
        assert!(pieces.get() >= 15, "4 MiB in {} pieces", pieces.get());
    }
}
