//! A client that speaks frames and nothing else.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zk_proto::{
    Bytes, CreateMode, Decode, Encode, OpCode, Password, Reader, SessionId, Stat, Xid, Zxid,
    acl::Acl,
    connect::{ConnectRequest, ConnectResponse},
    frame::{put_frame, take_frame},
    header::{ReplyHeader, RequestHeader},
    op::{
        CreateRequest, DeleteRequest, ExistsRequest, GetDataRequest, GetDataResponse, Request,
        SetDataRequest,
    },
    watch::WatcherEvent,
};
use zk_server::Server;

/// A connection, and what was received and not looked at.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    input: BytesMut,
}

/// A reply or event: its header, and a reader at its record.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) header: ReplyHeader,
    pub(crate) body: Reader,
}

impl Reply {
    pub(crate) fn record<T: Decode>(mut self) -> T {
        assert_eq!(self.header.err, 0, "{:?}", self.header);
        T::decode(&mut self.body).unwrap()
    }

    pub(crate) fn event(self) -> WatcherEvent {
        assert_eq!(self.header.xid, Xid::NOTIFICATION);
        self.record()
    }

    pub(crate) fn data(self) -> (Bytes, Stat) {
        let GetDataResponse { data, stat } = self.record();
        (data.unwrap_or_default(), stat)
    }
}

/// What a client asks for that has no session yet.
pub(crate) fn new_session() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms: 10_000,
        session_id: SessionId::NONE,
        password: Password::zero(),
        read_only: Some(false),
    }
}

/// What a client asks for that has one.
pub(crate) fn resume(session: &ConnectResponse) -> ConnectRequest {
    ConnectRequest {
        session_id: session.session_id,
        password: session.password.clone(),
        ..new_session()
    }
}

pub(crate) async fn tcp(server: &Server) -> Client<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(server.local_addr()).await;
    Client::new(stream.unwrap())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
        }
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame's body; `None` when the server has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(body) = take_frame(&mut self.input, 1 << 24).unwrap() {
                return Some(body);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn connect(&mut self, request: &ConnectRequest) -> Option<ConnectResponse> {
        let mut out = BytesMut::new();
        put_frame(&mut out, &[request]);
        self.send_bytes(&out).await;
        let body = self.frame().await?;
        Some(ConnectResponse::from_bytes(body).unwrap())
    }

    /// Opens a session of its own.
    pub(crate) async fn open(mut self) -> (Self, ConnectResponse) {
        let response = self.connect(&new_session()).await.unwrap();
        assert_ne!(response.session_id, SessionId::NONE);
        (self, response)
    }

    /// Sends requests in one go, numbered from `first` on.
    pub(crate) async fn send(&mut self, first: i32, requests: &[Request]) {
        let mut out = BytesMut::new();
        for (xid, request) in (first..).map(Xid).zip(requests) {
            let op = request.op_code().code();
            put_frame(&mut out, &[&RequestHeader { xid, op }, request]);
        }
        self.send_bytes(&out).await;
    }

    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let mut body = Reader::new(self.frame().await?);
        let header = ReplyHeader::decode(&mut body).unwrap();
        Some(Reply { header, body })
    }

    /// Sends one request and waits for the next frame.
    pub(crate) async fn call(&mut self, xid: i32, request: Request) -> Reply {
        self.send(xid, &[request]).await;
        let reply = self
            .reply()
            .await
            .expect("the server closed the connection");
        assert_eq!(reply.header.xid, Xid(xid), "{reply:?}");
        reply
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }
}

pub(crate) fn create(path: &str, data: &str, mode: CreateMode) -> Request {
    Request::Create(CreateRequest {
        path: path.into(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        acl: Acl::open(),
        flags: mode.flags(),
    })
}

pub(crate) fn get(path: &str) -> Request {
    let watch = false;
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch,
    })
}

pub(crate) fn get_and_watch(path: &str) -> Request {
    let watch = true;
    Request::GetData(GetDataRequest {
        path: path.into(),
        watch,
    })
}

pub(crate) fn exists(path: &str) -> Request {
    let watch = false;
    Request::Exists(ExistsRequest {
        path: path.into(),
        watch,
    })
}

pub(crate) fn set(path: &str, data: &str) -> Request {
    Request::SetData(SetDataRequest {
        path: path.into(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        version: -1,
    })
}

pub(crate) fn delete(path: &str) -> Request {
    Request::Delete(DeleteRequest {
        path: path.into(),
        version: -1,
    })
}

/// An operation without a record, or with a broken one.
pub(crate) fn bare(xid: i32, op: i32, body: &[&dyn Encode]) -> BytesMut {
    let header = RequestHeader { xid: Xid(xid), op };
    let mut out = BytesMut::new();
    let parts: Vec<&dyn Encode> = std::iter::once(&header as &dyn Encode)
        .chain(body.iter().copied())
        .collect();
    put_frame(&mut out, &parts);
    out
}

pub(crate) const PING: i32 = OpCode::Ping.code();
