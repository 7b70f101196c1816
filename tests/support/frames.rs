//! A session in typed frames: requests out, replies and watch events in, told apart and in order.
//!
//! It sends no pings, retries nothing and hides nothing that the server says. Bytes are [`crate::raw`]'s job.
//!
//! Invariants: every frame is handed out once, in the order in which it came; nothing waits longer than
//! [`PATIENCE`]. Dropping a client that has a session asks the server to close it, so that a finished test
//! leaves neither ephemeral nodes nor a session that expires in the middle of another.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{net::TcpSocket, time::timeout};
use zk_proto::{
    Decode, DecodeError, Encode, ErrorCode, OpCode, Password, Reader, SessionId, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    header::{ReplyHeader, RequestHeader},
    op::{Request, Response},
    watch::{EventType, KeeperState, WatcherEvent},
};

use crate::raw::{RawClient, frame};

/// How long any answer may take. Far more than an answer needs, since a JVM shares the machine with builds.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A reply, its body not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The xid the server answers with.
    pub xid: Xid,
    /// The zxid in its header.
    pub zxid: Zxid,
    /// The error code in its header.
    pub code: ErrorCode,
    /// What follows the header.
    pub body: Bytes,
}

impl Reply {
    /// The body as the answer to `op`.
    ///
    /// # Errors
    /// When it is not exactly that record.
    pub fn response(&self, op: OpCode) -> Result<Response, DecodeError> {
        let mut input = Reader::new(self.body.clone());
        let response = Response::decode(op, &mut input)?;
        input.finish()?;
        Ok(response)
    }
}

/// A watch event, with the zxid of its header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The zxid in its header.
    pub zxid: Zxid,
    /// What happened, as a number of [`EventType`].
    pub kind: i32,
    /// The node.
    pub path: String,
    /// The connection's state, as a number of [`KeeperState`].
    pub state: i32,
}

impl Event {
    /// An event as a server in good order sends it.
    #[must_use]
    pub fn new(zxid: Zxid, kind: EventType, path: &str) -> Self {
        Self {
            zxid,
            kind: kind as i32,
            path: path.to_owned(),
            state: KeeperState::SyncConnected as i32,
        }
    }
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An answer.
    Reply(Reply),
    /// A watch event.
    Event(Event),
    /// The end of the connection.
    Closed,
}

/// One connection after its connect request was answered.
#[derive(Debug)]
pub struct FrameClient {
    raw: RawClient,
    session: ConnectResponse,
    last_xid: Xid,
    events: Vec<Event>,
    abandoned: bool,
}

impl FrameClient {
    /// A new session with this timeout in milliseconds.
    ///
    /// # Errors
    /// When there is no connection or the server closes it instead of answering.
    pub async fn connect(addr: SocketAddr, timeout_ms: i32) -> io::Result<Self> {
        Self::open(addr, &new_session(timeout_ms)).await
    }

    /// A connection that begins with `request`. What the server made of it is in [`session`](Self::session).
    ///
    /// # Errors
    /// When there is no connection; `UnexpectedEof` where the server closes it instead of answering.
    pub async fn open(addr: SocketAddr, request: &ConnectRequest) -> io::Result<Self> {
        Self::open_from(Ipv4Addr::LOCALHOST, addr, request).await
    }

    /// As [`open`](Self::open), from another of the machine's loopback addresses.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_from(
        source: Ipv4Addr,
        addr: SocketAddr,
        request: &ConnectRequest,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(addr).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            raw: RawClient::new(stream),
            session: ConnectResponse::expired(None),
            last_xid: Xid(0),
            events: Vec::new(),
            abandoned: true,
        };
        client.write(&[request]).await?;
        let body = client.frame().await?;
        let body = body.ok_or(io::ErrorKind::UnexpectedEof)?;
        client.session = ConnectResponse::from_bytes(body).map_err(invalid)?;
        client.abandoned = client.refused();
        Ok(client)
    }

    /// How the server answered the connect request.
    #[must_use]
    pub fn session(&self) -> &ConnectResponse {
        &self.session
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.session.session_id
    }

    /// Whether the server would not give the session asked for.
    #[must_use]
    pub fn refused(&self) -> bool {
        self.session.timeout_ms <= 0
    }

    /// The connect request that resumes this session.
    #[must_use]
    pub fn resumption(&self, last_zxid_seen: Zxid) -> ConnectRequest {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms: self.session.timeout_ms,
            session_id: self.session.session_id,
            password: self.session.password.clone(),
            read_only: Some(false),
        }
    }

    /// Sends a request under the next xid, or under the one reserved for its operation.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, request: &Request) -> io::Result<Xid> {
        let xid = match request {
            Request::Ping => Xid::PING,
            Request::Auth(_) => Xid::AUTH,
            Request::SetWatches(_) | Request::SetWatches2(_) => Xid::SET_WATCHES,
            _ => self.next_xid(),
        };
        self.send_as(xid, request.op_code().code(), request).await?;
        Ok(xid)
    }

    /// Sends any number and any body as a request.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_as(&mut self, xid: Xid, op: i32, body: &dyn Encode) -> io::Result<()> {
        self.write(&[&RequestHeader { xid, op }, body]).await
    }

    /// Sends bytes as they are, with no length in front of them.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.raw.send_bytes(bytes)).await
    }

    /// The xid of the next request.
    pub fn next_xid(&mut self) -> Xid {
        self.last_xid = self.last_xid.next();
        self.last_xid
    }

    /// Sends a request and returns the next reply; events that come before it are kept for
    /// [`take_events`](Self::take_events).
    ///
    /// # Errors
    /// When the connection ends instead.
    pub async fn call(&mut self, request: &Request) -> io::Result<Reply> {
        self.send(request).await?;
        self.reply().await
    }

    /// The next reply; events that come before it are kept for [`take_events`](Self::take_events).
    ///
    /// # Errors
    /// When the connection ends instead.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            match self.next().await? {
                Incoming::Reply(reply) => return Ok(reply),
                Incoming::Event(event) => self.events.push(event),
                Incoming::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The events that came before the replies received so far, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The next frame, whatever it is.
    ///
    /// # Errors
    /// When nothing comes, or something that is neither a reply nor an event.
    pub async fn next(&mut self) -> io::Result<Incoming> {
        let Some(body) = self.frame().await? else {
            self.abandoned = true;
            return Ok(Incoming::Closed);
        };
        let mut input = Reader::new(body);
        let header = ReplyHeader::decode(&mut input).map_err(invalid)?;
        let rest = input.rest().clone();
        if header.xid != Xid::NOTIFICATION {
            return Ok(Incoming::Reply(Reply {
                xid: header.xid,
                zxid: header.zxid,
                code: ErrorCode::from_i32(header.err),
                body: rest,
            }));
        }
        let event = WatcherEvent::from_bytes(rest).map_err(invalid)?;
        Ok(Incoming::Event(Event {
            zxid: header.zxid,
            kind: event.event_type as i32,
            path: event.path.into(),
            state: event.state as i32,
        }))
    }

    /// Whatever the server still sends before it closes the connection.
    ///
    /// # Errors
    /// When it does not close it.
    pub async fn rest(&mut self) -> io::Result<Vec<Incoming>> {
        let mut rest = Vec::new();
        loop {
            match self.next().await? {
                Incoming::Closed => return Ok(rest),
                incoming => rest.push(incoming),
            }
        }
    }

    /// Closes the session and waits until the server has closed the connection.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn close(mut self) -> io::Result<()> {
        self.send(&Request::CloseSession).await?;
        self.rest().await.map(drop)
    }

    /// Cuts the connection; the session lives on.
    pub fn cut(mut self) {
        self.abandoned = true;
    }

    async fn write(&mut self, parts: &[&dyn Encode]) -> io::Result<()> {
        within(self.raw.send_bytes(&frame(parts))).await
    }

    /// The next frame's body; `None` where the connection has ended, however it did.
    async fn frame(&mut self) -> io::Result<Option<Bytes>> {
        match within(self.raw.receive()).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            frame => frame,
        }
    }
}

impl Drop for FrameClient {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        let xid = self.next_xid();
        let op = OpCode::CloseSession.code();
        let mut out = frame(&[&RequestHeader { xid, op }]);
        // Nothing may wait here; where the socket is full the session expires instead.
        while out.has_remaining() {
            match self.raw.stream_mut().try_write(&out) {
                Ok(written) if written > 0 => out.advance(written),
                _ => return,
            }
        }
    }
}

/// The connect request for a new session, as today's clients send it.
#[must_use]
pub fn new_session(timeout_ms: i32) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms,
        session_id: SessionId::NONE,
        password: Password::zero(),
        read_only: Some(false),
    }
}

async fn within<T>(io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, io)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
