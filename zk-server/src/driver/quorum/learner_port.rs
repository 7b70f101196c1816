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
use zk_proto::quorum::{LearnerMessage, take_packet};

use super::{Hub, MemberStream, snapshot_stream::Outgoing};
use crate::{
    peer::{Input, QuorumInput},
    zab::{LeaderInput, LinkId},
};

/// No packet is longer: a transaction, and what stands around it.
pub(super) const PACKET_MAX: usize = 64 << 20;

/// Nor is the first one, by which a learner says who it is.
const INTRODUCTION_MAX: usize = 1 << 10;

/// What goes to a learner.
pub(super) enum ToLearner {
    Bytes(Bytes),
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
        ended = write(&hub, to, outgoing, link) => ended,
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

async fn write(
    hub: &Hub,
    mut to: impl AsyncWrite + Unpin,
    mut outgoing: UnboundedReceiver<ToLearner>,
    link: LinkId,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(what) = next {
            match what {
                ToLearner::Bytes(bytes) => out.extend_from_slice(&bytes),
                ToLearner::Snapshot(snapshot) => {
                    to.write_all(&out).await?;
                    out.clear();
                    let progress = || tell(hub, LeaderInput::Progress(link));
                    snapshot.write(&mut to, progress).await?;
                }
            }
            next = outgoing.try_recv().ok();
        }
        to.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}
