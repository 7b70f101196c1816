//! The quorum port: links of this leader's learners.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::{
        OwnedSemaphorePermit,
        mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use zk_proto::{
    Encode,
    quorum::{LearnerMessage, take_packet},
};

use super::{
    Hub, MemberPort, MemberStream, Piece, Vital,
    newcomers::{MemberAddresses, Newcomers},
    snapshot_stream::Outgoing,
};
use crate::{
    peer::{Input, QuorumInput},
    zab::{LeaderInput, LinkId, Transaction},
};

/// No packet is longer: a transaction, and what stands around it.
pub(super) const PACKET_MAX: usize = 64 << 20;

/// Nor is the first one, by which a learner says who it is.
const INTRODUCTION_MAX: usize = 1 << 10;

/// How long it may take.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// How much is encoded before it is written.
const PIECE: usize = 256 << 10;

/// What goes to a learner.
pub(super) enum ToLearner {
    Bytes(Bytes),
    /// Transactions that it lacks, those that are read from the log first; encoded as they go.
    History {
        logged: Option<Receiver<Piece>>,
        records: Vec<Transaction>,
    },
    Snapshot(Outgoing),
}

/// How long a link that is closed may take to write what was sent on it.
const GRACE: Duration = Duration::from_secs(1);

/// How much may wait to be written to a learner that reads, but too slowly.
const WAITING_MAX: usize = 256 << 20;

/// The links that are open.
#[derive(Default)]
pub(super) struct Learners {
    links: Mutex<HashMap<LinkId, Link>>,
    last: AtomicU64,
}

/// One of them; closed when this is dropped.
struct Link {
    sender: UnboundedSender<ToLearner>,
    end: Arc<End>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.closed.cancel();
    }
}

/// How a link ends, and how much waits on it until then.
#[derive(Default)]
struct End {
    closed: CancellationToken,
    is_full: CancellationToken,
    waiting: AtomicUsize,
}

impl End {
    /// Resolves when nothing is written any more, whether or not the learner reads.
    async fn is_due(&self) {
        tokio::select! {
            () = self.is_full.cancelled() => {}
            () = self.closed.cancelled() => tokio::time::sleep(GRACE).await,
        }
    }
}

impl Learners {
    fn open(&self, link: LinkId) -> (UnboundedReceiver<ToLearner>, Arc<End>) {
        let (sender, outgoing) = unbounded_channel();
        let end = Arc::<End>::default();
        let opened = Link {
            sender,
            end: end.clone(),
        };
        self.links.lock().insert(link, opened);
        (outgoing, end)
    }

    /// Sends something on a link; nothing if it has ended. One on which too much waits ends: its learner comes again.
    pub(super) fn send(&self, link: LinkId, what: ToLearner) {
        let mut links = self.links.lock();
        let Some(Link { sender, end }) = links.get(&link) else {
            return;
        };
        if let ToLearner::Bytes(bytes) = &what {
            let waiting = end.waiting.fetch_add(bytes.len(), Relaxed);
            if waiting > WAITING_MAX {
                tracing::warn!(
                    link = link.0,
                    waiting,
                    "a learner takes too little of what it is sent"
                );
                end.is_full.cancel();
                links.remove(&link);
                return;
            }
        }
        // What cannot be sent any more is dropped, with its link.
        let _ = sender.send(what);
    }

    /// Ends a link, once what was sent on it is written, and soon even if it cannot be.
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
    listener: MemberPort,
    learners: Arc<Learners>,
    members: Arc<MemberAddresses>,
    end: CancellationToken,
) {
    let _vital = Vital::new(&hub, "the quorum port");
    let newcomers = Newcomers::new(&members);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
            () = hub.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                let Some(newcomer) = newcomers.admit(remote.ip()) else {
                    tracing::debug!(%remote, "too many connections that say nothing");
                    continue;
                };
                let stream = hub.wiring.accepted(stream, remote);
                let link = LinkId(learners.last.fetch_add(1, Relaxed) + 1);
                let served = serve(hub.clone(), stream, learners.clone(), link, newcomer);
                tokio::spawn(served);
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a learner");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve(
    hub: Arc<Hub>,
    stream: MemberStream,
    learners: Arc<Learners>,
    link: LinkId,
    newcomer: OwnedSemaphorePermit,
) {
    let _vital = Vital::new(&hub, "a learner's link");
    let (outgoing, end) = learners.open(link);
    tell(&hub, LeaderInput::Opened(link));
    let (from, to) = split(stream);
    let ended = tokio::select! {
        ended = write(to, outgoing, end, || tell(&hub, LeaderInput::Progress(link))) => ended,
        ended = read(from, newcomer, |message| tell(&hub, LeaderInput::Message { link, message })) => ended,
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

/// Reads what a learner says: first, and soon, who it is.
async fn read<T>(
    mut from: impl AsyncRead + Unpin,
    newcomer: T,
    hear: impl Fn(LearnerMessage),
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let first = timeout(
        INTRODUCTION,
        next_packet(&mut from, &mut buffer, INTRODUCTION_MAX),
    );
    hear(first.await??);
    drop(newcomer);
    loop {
        hear(next_packet(&mut from, &mut buffer, PACKET_MAX).await?);
    }
}

async fn next_packet(
    mut from: impl AsyncRead + Unpin,
    buffer: &mut BytesMut,
    limit: usize,
) -> io::Result<LearnerMessage> {
    loop {
        if let Some(packet) = take_packet(buffer, limit).map_err(io::Error::other)? {
            return LearnerMessage::from_packet(packet).map_err(io::Error::other);
        }
        buffer.reserve(16 << 10);
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Writes what is to be sent, until the link is closed and that is done, or has taken too long; `progress` is called
/// whenever a piece of what a learner lacks is gone.
///
/// A learner that has stopped reading must not keep what it was to be sent: a cut of the tree above all.
async fn write(
    to: impl AsyncWrite + Unpin,
    outgoing: UnboundedReceiver<ToLearner>,
    end: Arc<End>,
    progress: impl Fn(),
) -> io::Result<()> {
    tokio::select! {
        biased;
        written = write_all(to, outgoing, &end, progress) => written,
        () = end.is_due() => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Never holds much more than a piece of it encoded.
async fn write_all(
    mut to: impl AsyncWrite + Unpin,
    mut outgoing: UnboundedReceiver<ToLearner>,
    end: &End,
    progress: impl Fn(),
) -> io::Result<()> {
    let mut out = BytesMut::new();
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(what) = next {
            match what {
                ToLearner::Bytes(bytes) => {
                    end.waiting.fetch_sub(bytes.len(), Relaxed);
                    out.extend_from_slice(&bytes);
                }
                ToLearner::History { logged, records } => {
                    if let Some(pieces) = logged {
                        write_logged(&mut to, &mut out, pieces, &progress).await?;
                    }
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

/// As [`write_history`], with what comes in pieces from the log.
async fn write_logged(
    to: &mut (impl AsyncWrite + Unpin),
    out: &mut BytesMut,
    mut pieces: Receiver<Piece>,
    progress: impl Fn(),
) -> io::Result<()> {
    loop {
        match pieces.recv().await {
            Some(Ok(Some(records))) => write_history(to, out, records, &progress).await?,
            Some(Ok(None)) => return Ok(()),
            Some(Err(error)) => return Err(io::Error::other(error.to_string())),
            None => return Err(io::Error::other("nobody reads the log")),
        }
    }
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

    use tokio::{io::duplex, sync::mpsc::channel};
    use zk_proto::{Epoch, ServerId, Zxid, quorum::LearnerInfo};

    use super::*;

    /// What was written, once the writer has ended.
    async fn read_all(mut from: impl AsyncRead + Unpin) -> Vec<LearnerMessage> {
        let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
        while from.read_buf(&mut buffer).await.unwrap() > 0 {
            while let Some(packet) = take_packet(&mut buffer, PACKET_MAX).unwrap() {
                read.push(LearnerMessage::from_packet(packet).unwrap());
            }
        }
        read
    }

    fn transaction(zxid: i64) -> Transaction {
        Transaction {
            zxid: Zxid(zxid),
            entry: Bytes::from(vec![7; 1 << 10]),
        }
    }

    const LINK: LinkId = LinkId(1);

    #[tokio::test(start_paused = true)]
    async fn a_learner_that_has_stopped_reading_keeps_nothing_once_its_link_is_closed() {
        for everything in [false, true] {
            let learners = Learners::default();
            let (outgoing, end) = learners.open(LINK);
            let (to, _unread) = duplex(1 << 10);
            learners.send(LINK, ToLearner::Bytes(vec![7; 1 << 20].into()));
            let mut write = Box::pin(write(to, outgoing, end, || {}));
            let waits = timeout(60 * GRACE, &mut write).await;
            assert!(waits.is_err(), "the link is open: it may read yet");
            match everything {
                true => learners.close_all(),
                false => learners.close(LINK),
            }
            let ended = timeout(2 * GRACE, write).await.expect("it ends");
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_say_who_it_is_soon_is_sent_away_and_who_does_may_be_silent() {
        let newcomers = Arc::new(tokio::sync::Semaphore::new(1));
        let newcomer = newcomers.clone().try_acquire_owned().unwrap();
        let (mut stranger, from) = duplex(1 << 10);
        stranger.write_all(&[0]).await.unwrap();
        let ended = read(from, newcomer, |_| {}).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(newcomers.available_permits(), 1);

        let newcomer = newcomers.clone().try_acquire_owned().unwrap();
        let (mut learner, from) = duplex(1 << 10);
        let hello = LearnerMessage::FollowerInfo {
            accepted_epoch: Epoch(1),
            info: LearnerInfo {
                server_id: ServerId(1),
                protocol_version: 0x1_0000,
                config_version: Zxid::ZERO,
            },
        };
        learner
            .write_all(&hello.to_packet().to_bytes())
            .await
            .unwrap();
        let waits = timeout(10 * INTRODUCTION, read(from, newcomer, |_| {})).await;
        assert!(waits.is_err(), "it may be silent now");
        assert_eq!(newcomers.available_permits(), 1);
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_learner_is_bounded() {
        let learners = Learners::default();
        let (outgoing, end) = learners.open(LINK);
        // The same bytes again and again, so that the test takes no memory.
        let piece = Bytes::from(vec![7; 1 << 20]);
        for _ in 0..=WAITING_MAX / piece.len() {
            assert!(!end.is_full.is_cancelled());
            learners.send(LINK, ToLearner::Bytes(piece.clone()));
        }
        learners.send(LINK, ToLearner::Bytes(piece.clone()));
        let (to, _unread) = duplex(1 << 10);
        let ended = timeout(GRACE, write(to, outgoing, end, || {})).await;
        let ended = ended.expect("without grace");
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(learners.links.lock().is_empty());
    }

    #[tokio::test]
    async fn what_the_log_has_goes_first_and_without_its_end_nothing_follows() {
        for ends_well in [true, false] {
            let (pieces, logged) = channel(1);
            let learners = Learners::default();
            let (outgoing, end) = learners.open(LINK);
            let records = vec![transaction(7)];
            let logged = Some(logged);
            learners.send(LINK, ToLearner::History { logged, records });
            learners.close(LINK);
            let log = async move {
                for piece in [1..=2, 3..=6] {
                    let piece = piece.map(transaction).collect();
                    pieces.send(Ok(Some(piece))).await.unwrap();
                }
                if ends_well {
                    pieces.send(Ok(None)).await.unwrap();
                }
            };
            let (to, from) = duplex(64 << 10);
            let ((), written, read) =
                tokio::join!(log, write(to, outgoing, end, || ()), read_all(from));
            assert_eq!(written.is_ok(), ends_well);
            let expected = (1..=7).flat_map(|zxid| transaction(zxid).into_messages());
            let expected: Vec<_> = expected.collect();
            match ends_well {
                true => assert_eq!(read, expected),
                false => assert!(expected.starts_with(&read) && read.len() < expected.len()),
            }
        }
    }

    #[tokio::test]
    async fn a_long_history_goes_in_pieces_and_what_follows_it_stands_behind_it() {
        const COUNT: i64 = 4096;
        let (to, from) = duplex(64 << 10);
        let learners = Learners::default();
        let (outgoing, end) = learners.open(LINK);
        let ping = LearnerMessage::Ping {
            zxid: Zxid(COUNT),
            touched: None,
        };
        let told = |message: &LearnerMessage| ToLearner::Bytes(message.to_packet().to_bytes());
        let records = (1..=COUNT).map(transaction).collect();
        let logged = None;
        let history = ToLearner::History { logged, records };
        let diff = LearnerMessage::Diff(Zxid(COUNT));
        for what in [told(&diff), history, told(&ping)] {
            learners.send(LINK, what);
        }
        learners.close(LINK);
        let pieces = Rc::new(Cell::new(0));
        let count = pieces.clone();
        let mut write = Box::pin(write(to, outgoing, end, move || count.set(count.get() + 1)));
        tokio::select! {
            biased;
            _ = &mut write => panic!("nobody has read anything"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(pieces.get(), 0, "nobody reads: no progress");

        let mut expected = vec![diff];
        expected.extend((1..=COUNT).flat_map(|zxid| transaction(zxid).into_messages()));
        expected.push(ping);
        let (written, read) = tokio::join!(write, read_all(from));
        written.unwrap();
        assert!(read == expected, "all of it, in order");
        assert!(pieces.get() >= 15, "4 MiB in {} pieces", pieces.get());
    }
}
