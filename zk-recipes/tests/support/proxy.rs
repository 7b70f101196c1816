//! A TCP proxy between one client and a server that loses what a test tells it to lose.
//!
//! It follows the frames, not only the bytes: "forward the next create, then cut the connection instead of forwarding its
//! reply" is what makes an operation whose outcome the client cannot know.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::{Notify, watch},
};

/// Opcodes of every kind of create (`ZooDefs.OpCode`): create, create2, createContainer, createTTL.
const CREATES: [i32; 4] = [1, 15, 19, 21];

/// `ZooDefs.OpCode.multi`.
const MULTI: i32 = 14;

/// `ZooDefs.OpCode.ping`.
pub const PING: i32 = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Open,
    /// Connections are closed, and refused.
    Cut,
}

/// Where on its way something is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// Before the server has seen it.
    Request,
    /// When it was carried out.
    Reply,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    line: watch::Sender<Line>,
    plan: Mutex<Plan>,
    /// Notified with every request.
    requests: Notify,
    /// Whether replies are kept back.
    held: watch::Sender<bool>,
}

/// What is to be lost next.
#[derive(Debug, Default)]
struct Plan {
    /// The operations of the requests since the last look.
    seen: Vec<i32>,
    lose_create_replies: usize,
    lose_next: Option<(i32, Leg)>,
    lost: usize,
    /// Cut for good after a loss, until `restore`.
    stay_cut: bool,
    /// Keep back the reply to the next request of this operation, and everything after it.
    hold_next: Option<i32>,
    /// The server is not to know this operation.
    unknown: Option<i32>,
    /// Nor this one, and it closes the connection without an answer.
    fatal: Option<i32>,
}

/// No operation of any server.
const NO_OP: i32 = 9999;

/// A running proxy; it ends with the runtime.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

impl Proxy {
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upstream = upstream.to_owned();
        let shared = Arc::new(Shared {
            upstream,
            line: watch::channel(Line::Open).0,
            plan: Mutex::default(),
            requests: Notify::new(),
            held: watch::channel(false).0,
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.shared.line.send_replace(Line::Cut);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.shared.plan.lock().stay_cut = false;
        self.shared.line.send_replace(Line::Open);
    }

    /// Breaks every connection once.
    pub fn blink(&self) {
        self.cut();
        self.restore();
    }

    /// Carries out the next `count` creates and breaks the connection instead of answering them.
    pub fn lose_create_replies(&self, count: usize) {
        self.shared.plan.lock().lose_create_replies = count;
    }

    /// The same for one create; then nothing goes through until `restore`.
    pub fn lose_create_reply_and_stay_cut(&self) {
        let mut plan = self.shared.plan.lock();
        plan.lose_create_replies = 1;
        plan.stay_cut = true;
    }

    /// Breaks the connection instead of forwarding, or of answering, the next multi.
    pub fn lose_multi(&self, leg: Leg) {
        self.lose_next(MULTI, leg);
    }

    /// Carries out the next multi and breaks the connection instead of answering it; then nothing goes through until
    /// `restore`.
    pub fn lose_multi_and_stay_cut(&self) {
        self.shared.plan.lock().stay_cut = true;
        self.lose_multi(Leg::Reply);
    }

    /// Cuts the connection at the next request of this operation.
    pub fn lose_next(&self, op: i32, leg: Leg) {
        self.shared.plan.lock().lose_next = Some((op, leg));
    }

    /// The same; then nothing goes through until `restore`.
    pub fn lose_next_and_stay_cut(&self, op: i32, leg: Leg) {
        let mut plan = self.shared.plan.lock();
        plan.lose_next = Some((op, leg));
        plan.stay_cut = true;
    }

    /// Keeps back the reply to the next request of this operation, and everything after it, until `release`.
    pub fn hold_next(&self, op: i32) {
        self.shared.plan.lock().hold_next = Some(op);
    }

    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// From now on the server knows no such operation.
    pub fn forget(&self, op: i32) {
        self.shared.plan.lock().unknown = Some(op);
    }

    /// From now on the server closes the connection when it is asked for this operation.
    pub fn close_at(&self, op: i32) {
        self.shared.plan.lock().fatal = Some(op);
    }

    /// From now on it answers that, too.
    pub fn close_at_none(&self) {
        self.shared.plan.lock().fatal = None;
    }

    /// Waits until so many were lost and the line is cut.
    pub async fn until_lost(&self, count: usize) {
        let mut line = self.shared.line.subscribe();
        // The proxy itself keeps the sender.
        let cut = line.wait_for(|line| *line == Line::Cut).await;
        assert!(cut.is_ok() && self.lost() >= count);
    }

    /// The operations that were requested since the last look, pings left out.
    pub fn seen(&self) -> Vec<i32> {
        let mut seen = self.seen_with_pings();
        seen.retain(|op| *op != PING);
        seen
    }

    pub fn seen_with_pings(&self) -> Vec<i32> {
        std::mem::take(&mut self.shared.plan.lock().seen)
    }

    /// Waits for so many requests of one operation; all operations that came until then.
    pub async fn until_seen(&self, op: i32, count: usize) -> Vec<i32> {
        let mut seen = Vec::new();
        loop {
            let request = self.shared.requests.notified();
            seen.extend(self.seen_with_pings());
            if seen.iter().filter(|seen| **seen == op).count() >= count {
                return seen;
            }
            request.await;
        }
    }

    /// How many replies were lost so far.
    pub fn lost(&self) -> usize {
        self.shared.plan.lock().lost
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.line.borrow() == Line::Cut {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut line = shared.line.subscribe();
            tokio::select! {
                _ = line.changed() => {}
                _ = relay(client, &shared) => {}
            }
        });
    }
}

async fn relay(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(&shared.upstream).await?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let doomed = Mutex::new(None);
    tokio::select! {
        result = requests(client_read, server_write, shared, &doomed) => result,
        result = replies(server_read, client_write, shared, &doomed) => result,
    }
}

async fn requests(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    shared: &Shared,
    doomed: &Mutex<Option<i32>>,
) -> io::Result<()> {
    let mut first = true;
    loop {
        let mut frame = read_frame(&mut from).await?;
        if !first {
            let (xid, op) = (int(&frame, 4), int(&frame, 8));
            let mut plan = shared.plan.lock();
            plan.seen.extend(op);
            shared.requests.notify_one();
            if plan.lose_create_replies > 0 && op.is_some_and(|op| CREATES.contains(&op)) {
                plan.lose_create_replies -= 1;
                *doomed.lock() = xid;
            }
            if plan.hold_next.take_if(|held| op == Some(*held)).is_some() {
                shared.held.send_replace(true);
            }
            if op.is_some() && op == plan.unknown {
                frame[8..12].copy_from_slice(&NO_OP.to_be_bytes());
            }
            if op.is_some() && op == plan.fatal {
                return Ok(());
            }
            if let Some((_, leg)) = plan.lose_next.take_if(|next| op == Some(next.0)) {
                match leg {
                    Leg::Reply => *doomed.lock() = xid,
                    Leg::Request => {
                        plan.lost += 1;
                        if plan.stay_cut {
                            shared.line.send_replace(Line::Cut);
                        }
                        return Ok(());
                    }
                }
            }
        }
        first = false;
        to.write_all(&frame).await?;
    }
}

async fn replies(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    shared: &Shared,
    doomed: &Mutex<Option<i32>>,
) -> io::Result<()> {
    let mut first = true;
    let mut held = shared.held.subscribe();
    loop {
        let frame = read_frame(&mut from).await?;
        // The proxy itself keeps the sender.
        let _ = held.wait_for(|held| !*held).await;
        if !first && doomed.lock().is_some() && int(&frame, 4) == *doomed.lock() {
            let mut plan = shared.plan.lock();
            plan.lost += 1;
            if plan.stay_cut {
                shared.line.send_replace(Line::Cut);
            }
            return Ok(());
        }
        first = false;
        to.write_all(&frame).await?;
    }
}

/// A whole frame, its length included.
async fn read_frame(from: &mut tcp::OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).await?;
    let len = usize::try_from(int(&frame, 0).unwrap_or(0)).unwrap_or(0);
    frame.resize(4 + len, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

fn int(frame: &[u8], at: usize) -> Option<i32> {
    let bytes = frame.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}
