//! One connection through the proxy: frames one way, frames back, and what becomes of the replies.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};
use zk_proto::frame::take_frame;

use super::proxy::Shared;

/// Longer than any frame of a test.
const FRAME_MAX: usize = 64 * 1024 * 1024;

/// Replies with the time at which they are due.
type Due = (Instant, Bytes);

/// Carries frames until one side ends, or with an error until a fault breaks the connection.
pub(super) async fn carry(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // The request whose reply is to be lost.
    let doomed = Mutex::new(None);
    let (sender, receiver) = mpsc::unbounded_channel();
    let replies = replies(Frames::new(from_server), sender, shared, &doomed);
    tokio::select! {
        ended = requests(Frames::new(from_client), to_server, shared, &doomed) => ended,
        ended = async { tokio::try_join!(replies, deliver(receiver, to_client, shared)) } => ended.map(drop),
    }
}

async fn requests(
    mut from: Frames<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    doomed: &Mutex<Option<i32>>,
) -> io::Result<()> {
    let mut connected = false;
    while let Some(frame) = from.next().await? {
        while_silent(shared).await;
        // Pings, credentials and re-registered watches have negative numbers.
        let xid = int(&frame, 0).filter(|xid| connected && *xid > 0);
        if let Some(xid) = xid
            && doomed.lock().is_none()
        {
            let mut faults = shared.faults.lock();
            if faults.lose > 0 {
                faults.lose -= 1;
                *doomed.lock() = Some(xid);
            }
        }
        connected = true;
        to.write_all(&with_length(&frame)).await?;
    }
    Ok(())
}

async fn replies(
    mut from: Frames<'_>,
    to: mpsc::UnboundedSender<Due>,
    shared: &Shared,
    doomed: &Mutex<Option<i32>>,
) -> io::Result<()> {
    let mut connected = false;
    while let Some(frame) = from.next().await? {
        let lost = connected && doomed.lock().is_some_and(|xid| int(&frame, 0) == Some(xid));
        if lost {
            shared.spoiled();
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        connected = true;
        let due = Instant::now() + shared.faults.lock().delay;
        if to.send((due, with_length(&frame))).is_err() {
            break;
        }
    }
    // What was said before the end still arrives.
    Ok(())
}

async fn deliver(
    mut from: mpsc::UnboundedReceiver<Due>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
) -> io::Result<()> {
    while let Some((due, frame)) = from.recv().await {
        sleep_until(due).await;
        while_silent(shared).await;
        let replacement = shared.faults.lock().replace.pop_front();
        if let Some(bytes) = replacement {
            to.write_all(&bytes).await?;
            shared.spoiled();
            break;
        }
        to.write_all(&frame).await?;
    }
    to.shutdown().await
}

async fn while_silent(shared: &Shared) {
    let mut line = shared.line.subscribe();
    // The sender outlives every connection.
    let _ = line.wait_for(|line| !line.silent).await;
}

/// Whole frames, as they come.
struct Frames<'s> {
    from: ReadHalf<'s>,
    buffer: BytesMut,
}

impl<'s> Frames<'s> {
    fn new(from: ReadHalf<'s>) -> Self {
        let buffer = BytesMut::new();
        Self { from, buffer }
    }

    /// The next one, without its length; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match take_frame(&mut self.buffer, FRAME_MAX) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

fn with_length(frame: &Bytes) -> Bytes {
    let mut whole = BytesMut::with_capacity(4 + frame.len());
    whole.put_i32(i32::try_from(frame.len()).unwrap_or(i32::MAX));
    whole.extend_from_slice(frame);
    whole.freeze()
}

fn int(frame: &Bytes, at: usize) -> Option<i32> {
    let bytes = frame.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}
