//! A client that sees bytes and frames: for malformed input, exact order and exact timing.
//!
//! It checks nothing, retries nothing and answers nothing by itself; a test says every frame.
//!
//! Deliberately not here: sessions that survive, watches, pings. That is zk-client's job.

use std::{io, net::SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use zk_proto::{
    Decode as _, Encode, ErrorCode, OpCode, Password, Reader, SessionId, Xid, Zxid,
    connect::{ConnectRequest, ConnectResponse},
    frame::{MAX_BUFFER, put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::{Request, Response},
};

/// The longest answer taken: a server may be told to allow longer requests than usual.
const MAX_REPLY: usize = 4 * MAX_BUFFER;

/// One connection to a server, over TCP unless told otherwise.
#[derive(Debug)]
pub struct RawClient<S = TcpStream> {
    stream: S,
    input: BytesMut,
    xid: Xid,
}

/// One frame from the server after the handshake: a reply or a watch event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What stands before the body.
    pub header: ReplyHeader,
    /// The bytes after the header.
    pub body: Bytes,
}

impl Answer {
    /// The error code of the header.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::from_i32(self.header.err)
    }

    /// The body as the answer to a request of this operation; the error code where that is not `Ok`.
    ///
    /// # Errors
    /// The server's refusal.
    ///
    /// # Panics
    /// When the body is not that record.
    pub fn response(&self, op: OpCode) -> Result<Response, ErrorCode> {
        match self.code() {
            ErrorCode::Ok => {
                let mut input = Reader::new(self.body.clone());
                let response = Response::decode(op, &mut input);
                let response = response.and_then(|response| input.finish().map(|()| response));
                #[allow(clippy::panic, reason = "a test support crate fails the test")]
                Ok(response.unwrap_or_else(|error| panic!("answer to {op:?}: {error}")))
            }
            code => Err(code),
        }
    }
}

impl RawClient {
    /// Opens a TCP connection; nothing is sent.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// Speaks over `stream`.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            xid: Xid(0),
        }
    }

    /// Sends these bytes as they are; [`frame`] makes a well-formed frame of records.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame's body; `None` when the server has closed the connection between two frames.
    ///
    /// Cancel safe: bytes that have arrived are kept.
    ///
    /// # Errors
    /// When the connection breaks or ends within a frame, and for a length no frame can have.
    pub async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = take_frame(&mut self.input, MAX_REPLY);
            if let Some(frame) = frame.map_err(io::Error::other)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return match self.input.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Opens a new session.
    ///
    /// # Errors
    /// When the connection ends first or the answer is not one.
    pub async fn open_session(&mut self, timeout_ms: i32) -> io::Result<ConnectResponse> {
        self.resume_session(timeout_ms, SessionId::NONE, Password::zero())
            .await
    }

    /// Asks for a session that exists; a refusal is an answer with a timeout of 0.
    ///
    /// # Errors
    /// As [`open_session`](Self::open_session).
    pub async fn resume_session(
        &mut self,
        timeout_ms: i32,
        session_id: SessionId,
        password: Password,
    ) -> io::Result<ConnectResponse> {
        let hello = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms,
            session_id,
            password,
            read_only: Some(false),
        };
        let hello = frame(&[&hello]);
        self.send_bytes(&hello).await?;
        let welcome = self.expect_frame().await?;
        ConnectResponse::from_bytes(welcome).map_err(io::Error::other)
    }

    /// Sends requests in one write under the next xids, which it returns; [`answer`](Self::answer) takes the answers.
    ///
    /// # Errors
    /// When the connection is gone; how many of them left is then unknown.
    pub async fn ask(&mut self, requests: &[Request]) -> io::Result<Vec<Xid>> {
        let mut out = BytesMut::new();
        let mut xids = Vec::with_capacity(requests.len());
        for request in requests {
            self.xid = self.xid.next();
            let op = request.op_code().code();
            let header = RequestHeader { xid: self.xid, op };
            put_frame(&mut out, &[&header, request]);
            xids.push(self.xid);
        }
        self.send_bytes(&out).await?;
        Ok(xids)
    }

    /// The next reply or watch event. Cancel safe.
    ///
    /// # Errors
    /// When the connection ends first or the frame has no header.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let mut input = Reader::new(self.expect_frame().await?);
        let header = ReplyHeader::decode(&mut input).map_err(io::Error::other)?;
        let body = input.rest().clone();
        Ok(Answer { header, body })
    }

    /// Sends one request and waits for the next answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask) and [`answer`](Self::answer).
    pub async fn call(&mut self, request: Request) -> io::Result<Answer> {
        self.ask(&[request]).await?;
        self.answer().await
    }

    /// The stream itself, for what a frame cannot say.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    async fn expect_frame(&mut self) -> io::Result<Bytes> {
        let frame = self.receive().await?;
        frame.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// One frame whose body is `parts` one after another.
#[must_use]
pub fn frame(parts: &[&dyn Encode]) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&mut out, parts);
    out
}
