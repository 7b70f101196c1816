//! The floor: what answering the same frames costs at least on this machine.
//!
//! No tree, no sessions, no order between connections: canned answers of the right size, and writes made
//! durable by one batched fdatasync on a log thread. What a server costs beyond this is the server's own.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use zk_proto::{
    OpCode, Password, SessionId, Xid, Zxid,
    connect::ConnectResponse,
    frame::{MAX_BUFFER, put_frame, take_frame},
    header::ReplyHeader,
    watch::{EventType, KeeperState, WatcherEvent},
};

use super::Result;

/// The log's size; it is written over from its start when it is full.
const LOG: usize = 64 << 20;

/// Bytes to make durable, and whom to tell.
type Append = (Bytes, oneshot::Sender<()>);

/// Serves what a `zoo.cfg` says, until killed.
pub(crate) fn serve(config: &Path) -> Result<()> {
    let config = fs::read_to_string(config)?;
    let setting = |key: &str| {
        let mut lines = config.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(name, _)| *name == key).map(|(_, value)| value);
        found.ok_or_else(|| format!("the configuration has no {key}"))
    };
    let addr = format!(
        "{}:{}",
        setting("clientPortAddress")?,
        setting("clientPort")?
    );
    let log = Log::create(&Path::new(setting("dataDir")?).join("floor.log"))?;
    let (appends, queue) = mpsc::channel();
    thread::spawn(move || log.run(&queue));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let watchers = Watchers::default();
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let connection = Connection::new(stream, appends.clone(), watchers.clone());
            tokio::spawn(connection.run());
        }
    })
}

struct Log {
    file: File,
    written: usize,
}

impl Log {
    /// A file of real zeros: appending to it changes no metadata, so that its fdatasync waits for no journal.
    fn create(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
        file.write_all(&vec![0; LOG])?;
        file.sync_all()?;
        file.rewind()?;
        Ok(Self { file, written: 0 })
    }

    fn run(mut self, queue: &mpsc::Receiver<Append>) {
        let (mut batch, mut waiting) = (Vec::new(), Vec::new());
        while let Ok(first) = queue.recv() {
            for (bytes, done) in std::iter::once(first).chain(queue.try_iter()) {
                batch.extend_from_slice(&bytes);
                waiting.push(done);
            }
            if self.append(&batch).is_err() {
                return;
            }
            batch.clear();
            for done in waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.written + batch.len() > LOG {
            self.file.seek(SeekFrom::Start(0))?;
            self.written = 0;
        }
        self.file.write_all(batch)?;
        self.written += batch.len();
        self.file.sync_data()
    }
}

/// Who waits for the next write, whatever it writes.
type Watchers = Arc<Mutex<Vec<Arc<TcpStream>>>>;

struct Connection {
    stream: Arc<TcpStream>,
    watchers: Watchers,
    appends: mpsc::Sender<Append>,
    input: BytesMut,
    out: BytesMut,
    writes: BytesMut,
    /// What a get answers with; as long as what was last set.
    data: Vec<u8>,
    connected: bool,
}

impl Connection {
    fn new(stream: TcpStream, appends: mpsc::Sender<Append>, watchers: Watchers) -> Self {
        Self {
            stream: Arc::new(stream),
            watchers,
            appends,
            input: BytesMut::with_capacity(4 * 1024),
            out: BytesMut::with_capacity(4 * 1024),
            writes: BytesMut::new(),
            data: vec![b'z'; 128],
            connected: false,
        }
    }

    async fn run(mut self) {
        let stream = self.stream.clone();
        let _ = stream.set_nodelay(true);
        while let Ok(1..) = read(&stream, &mut self.input).await {
            if self.input.starts_with(b"srvr") {
                self.out
                    .put_slice(b"Zookeeper version: floor\nMode: standalone\n");
                let _ = write_all(&stream, &mut self.out).await;
                return;
            }
            while let Ok(Some(frame)) = take_frame(&mut self.input, MAX_BUFFER) {
                self.answer(&frame);
            }
            if !self.writes.is_empty() {
                let (done, durable) = oneshot::channel();
                let append = (self.writes.split().freeze(), done);
                if self.appends.send(append).is_err() || durable.await.is_err() {
                    return;
                }
                self.tell_watchers();
            }
            if write_all(&stream, &mut self.out).await.is_err() {
                return;
            }
        }
    }

    /// Writes the same event to everybody who waits for one.
    fn tell_watchers(&self) {
        let watchers = self
            .watchers
            .lock()
            .map(|mut all| std::mem::take(&mut *all));
        let watchers = watchers.unwrap_or_default();
        if watchers.is_empty() {
            return;
        }
        let header = ReplyHeader {
            xid: Xid::NOTIFICATION,
            zxid: Zxid(1),
            err: 0,
        };
        let event = WatcherEvent {
            event_type: EventType::NodeDataChanged,
            state: KeeperState::SyncConnected,
            path: "/watched".into(),
        };
        let mut frame = BytesMut::new();
        put_frame(&mut frame, &[&header, &event]);
        for watcher in watchers {
            let _ = watcher.try_write(&frame);
        }
    }

    fn answer(&mut self, frame: &[u8]) {
        if !self.connected {
            self.connected = true;
            let welcome = ConnectResponse {
                protocol_version: 0,
                timeout_ms: 40_000,
                session_id: SessionId(1),
                password: Password::zero(),
                read_only: Some(false),
            };
            return put_frame(&mut self.out, &[&welcome]);
        }
        let Some((header, body)) = frame.split_at_checked(8) else {
            return;
        };
        let (xid, op) = header.split_at(4);
        let op = i32::from_be_bytes(op.try_into().unwrap_or_default());
        match OpCode::from_i32(op) {
            Some(OpCode::GetData) => {
                if body.last() == Some(&1)
                    && let Ok(mut watchers) = self.watchers.lock()
                {
                    watchers.push(self.stream.clone());
                }
                let data = u32::try_from(self.data.len()).unwrap_or(0).to_be_bytes();
                reply(&mut self.out, xid, &[&data, &self.data, &[0; 68]]);
            }
            Some(OpCode::SetData) => {
                self.writes.put_slice(frame);
                reply(&mut self.out, xid, &[&[0; 68]]);
            }
            // The path that was asked for, a counter's digits included.
            Some(OpCode::Create) => {
                self.writes.put_slice(frame);
                let path = body
                    .get(..4)
                    .map_or(0, |len| usize::from(u16::from_be_bytes([len[2], len[3]])));
                reply(
                    &mut self.out,
                    xid,
                    &[body.get(..4 + path).unwrap_or_default()],
                );
            }
            Some(OpCode::Delete) => {
                self.writes.put_slice(frame);
                reply(&mut self.out, xid, &[]);
            }
            _ => reply(&mut self.out, xid, &[body]),
        }
    }
}

async fn read(stream: &TcpStream, input: &mut BytesMut) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        input.reserve(4 * 1024);
        match stream.try_read_buf(input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

async fn write_all(stream: &TcpStream, out: &mut BytesMut) -> io::Result<()> {
    while !out.is_empty() {
        match stream.try_write(out) {
            Ok(written) => out.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Appends a reply: header without error, and a body.
fn reply(out: &mut BytesMut, xid: &[u8], body: &[&[u8]]) {
    let len: usize = body.iter().map(|part| part.len()).sum();
    out.put_u32(u32::try_from(16 + len).unwrap_or(u32::MAX));
    out.put_slice(xid);
    out.put_i64(1);
    out.put_i32(0);
    for part in body {
        out.put_slice(part);
    }
}
