//! A blocking session: the handshake of every connection, and the nodes that the load needs.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::BytesMut;
use zk_proto::{
    Acl, Bytes, CreateMode, Decode as _, Encode, ErrorCode, OpCode, Password, Reader, SessionId,
    Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    frame::{MAX_BUFFER, put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::{CreateRequest, Request, SetDataRequest, SyncRequest},
};

use super::{
    Result,
    template::digits,
    work::{KEY, LOCKS, ROOT, Shape},
};

/// Longer than any pause of a loaded server; the load itself keeps sessions alive.
const SESSION_TIMEOUT_MS: i32 = 40_000;

/// How long a server may take for one answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How many setup requests are sent before their answers are read.
const BATCH: u32 = 100;

/// A session that asks and waits.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TcpStream,
    input: BytesMut,
    out: BytesMut,
    pub(crate) id: i64,
    password: Password,
}

/// What resumes a session.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    id: SessionId,
    password: Password,
}

impl Session {
    /// Opens a session.
    pub(crate) fn open(addr: SocketAddr) -> Result<Self> {
        let new = Ticket {
            id: SessionId::NONE,
            password: Password::zero(),
        };
        let opened = Self::resume(addr, new)?;
        opened.ok_or_else(|| format!("{addr} refuses a session").into())
    }

    /// Goes on with a session; `None` where the server does not know it.
    pub(crate) fn resume(addr: SocketAddr, ticket: Ticket) -> Result<Option<Self>> {
        let stream = TcpStream::connect(addr).map_err(|error| format!("{addr}: {error}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut session = Self {
            stream,
            input: BytesMut::new(),
            out: BytesMut::new(),
            id: 0,
            password: Password::zero(),
        };
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: SESSION_TIMEOUT_MS,
            session_id: ticket.id,
            password: ticket.password,
            read_only: Some(false),
        };
        put_frame(&mut session.out, &[&hello]);
        session.flush()?;
        let welcome = ConnectResponse::from_bytes(session.frame()?)?;
        if welcome.timeout_ms <= 0 {
            return Ok(None);
        }
        session.id = welcome.session_id.0;
        session.password = welcome.password;
        Ok(Some(session))
    }

    /// What resumes this session once its connection is gone.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket {
            id: SessionId(self.id),
            password: self.password.clone(),
        }
    }

    /// Queues a request; [`answer`](Self::answer) takes its answer.
    pub(crate) fn ask(&mut self, op: OpCode, record: &dyn Encode) {
        let header = RequestHeader {
            xid: Xid(0),
            op: op.code(),
        };
        put_frame(&mut self.out, &[&header, record]);
    }

    /// Sends a request at once; [`answer`](Self::answer) takes its answer.
    pub(crate) fn tell(&mut self, op: OpCode, record: &dyn Encode) -> Result<()> {
        self.ask(op, record);
        self.flush()
    }

    /// The next answer's error code.
    pub(crate) fn answer(&mut self) -> Result<ErrorCode> {
        self.flush()?;
        let mut input = Reader::new(self.frame()?);
        let header = ReplyHeader::decode(&mut input)?;
        Ok(ErrorCode::from_i32(header.err))
    }

    /// Creates a node that may be there already.
    pub(crate) fn ensure(&mut self, path: &str) -> Result<()> {
        self.ask(OpCode::Create, &create(path, Bytes::new()));
        match self.answer()? {
            ErrorCode::Ok | ErrorCode::NodeExists => Ok(()),
            code => Err(format!("create {path}: {code}").into()),
        }
    }

    /// Waits until this server has applied what any server had committed before.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.ask(OpCode::Sync, &SyncRequest { path: ROOT.into() });
        match self.answer()? {
            ErrorCode::Ok => Ok(()),
            code => Err(format!("sync: {code}").into()),
        }
    }

    /// Ends the session, so that the server need not wait for its time to run out.
    pub(crate) fn close(mut self) -> Result<()> {
        self.ask(OpCode::CloseSession, &Request::CloseSession);
        self.answer()?;
        Ok(())
    }

    /// The connection of a session that waits for no answer.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn frame(&mut self) -> Result<Bytes> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = take_frame(&mut self.input, MAX_BUFFER)? {
                return Ok(frame);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err("the server closed the connection".into()),
                len => self.input.extend_from_slice(&chunk[..len]),
            }
        }
    }
}

/// A persistent node open to everybody.
pub(crate) fn create(path: &str, data: Bytes) -> CreateRequest {
    CreateRequest {
        path: path.into(),
        data: Some(data),
        acl: Acl::open(),
        flags: CreateMode::Persistent as i32,
    }
}

/// A key's path.
fn key(number: u32) -> String {
    let stem = &KEY[..KEY.len() - super::template::DIGITS];
    format!("{stem}{}", String::from_utf8_lossy(&digits(number)))
}

/// Makes the keys, each with data of the shape's size, and the parents of all other nodes.
pub(crate) fn prepare_nodes(targets: &[SocketAddr], shape: &Shape) -> Result<()> {
    let Some(first) = targets.first() else {
        return Err("no server to connect to".into());
    };
    let mut session = Session::open(*first)?;
    session.ensure(ROOT)?;
    session.ensure(LOCKS)?;
    let data = Bytes::from(vec![b'x'; shape.size]);
    for start in (0..shape.keys).step_by(BATCH as usize) {
        let batch = start..shape.keys.min(start + BATCH);
        for number in batch.clone() {
            session.ask(OpCode::Create, &create(&key(number), data.clone()));
            let set = SetDataRequest {
                path: key(number).into(),
                data: Some(data.clone()),
                version: -1,
            };
            session.ask(OpCode::SetData, &set);
        }
        for _ in batch {
            let created = session.answer()?;
            if !matches!(created, ErrorCode::Ok | ErrorCode::NodeExists) {
                return Err(format!("creating the keys: {created}").into());
            }
            match session.answer()? {
                ErrorCode::Ok => {}
                code => return Err(format!("setting the keys: {code}").into()),
            }
        }
    }
    session.close()
}
