//! Whole messages on the client port: what a frame's body holds, by who sent it.
//!
//! Invariant: a message fills its frame; bytes left over are an error.

use bytes::{Bytes, BytesMut};

use crate::{
    connect::{ConnectRequest, ConnectResponse},
    error::DecodeError,
    header::{ReplyHeader, RequestHeader},
    ids::Xid,
    jute::{Decode, Encode, Reader},
    op::{Request, Response},
    op_code::OpCode,
    watch::WatcherEvent,
};

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message, and only the first.
    Connect(ConnectRequest),
    /// Every later one.
    Request {
        /// The client's number for the request, or a reserved one (see [`Xid`]).
        xid: Xid,
        /// What it asks for.
        request: Request,
    },
}

impl ClientMessage {
    /// Reads a connection's first message.
    ///
    /// # Errors
    /// What the record finds wrong, and [`DecodeError::TrailingBytes`].
    pub fn decode_first(body: Bytes) -> Result<Self, DecodeError> {
        ConnectRequest::from_bytes(body).map(Self::Connect)
    }

    /// Reads any later message.
    ///
    /// # Errors
    /// [`DecodeError::UnknownValue`] for an operation that no client may send, what the record finds wrong, and
    /// [`DecodeError::TrailingBytes`].
    pub fn decode_later(body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let RequestHeader { xid, op } = Decode::decode(&mut input)?;
        let op = OpCode::from_i32(op).ok_or_else(|| DecodeError::UnknownValue {
            what: "operation",
            value: op.into(),
        })?;
        let request = Request::decode(op, &mut input)?;
        input.finish()?;
        Ok(Self::Request { xid, request })
    }
}

impl Encode for ClientMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Request { xid, request } => {
                let op = request.op_code().code();
                RequestHeader { xid: *xid, op }.encode(out);
                request.encode(out);
            }
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Connect(connect) => connect.encoded_len(),
            Self::Request { request, .. } => RequestHeader::MIN_LEN + request.encoded_len(),
        }
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// The first message, and only the first.
    Connect(ConnectResponse),
    /// The answer to a request.
    Reply {
        /// Which request, as of which transaction, and whether it was refused.
        header: ReplyHeader,
        /// The body, still encoded, since only the request tells what it is; empty where there is none.
        body: Bytes,
    },
    /// A watch fired.
    Event {
        /// With the xid [`Xid::NOTIFICATION`].
        header: ReplyHeader,
        /// What happened.
        event: WatcherEvent,
    },
}

impl ServerMessage {
    /// Reads a connection's first message.
    ///
    /// # Errors
    /// What the record finds wrong, and [`DecodeError::TrailingBytes`].
    pub fn decode_first(body: Bytes) -> Result<Self, DecodeError> {
        ConnectResponse::from_bytes(body).map(Self::Connect)
    }

    /// Reads any later message; the body of a reply is left to [`reply_body`](Self::reply_body).
    ///
    /// # Errors
    /// What the header or the event finds wrong.
    pub fn decode_later(body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let header = ReplyHeader::decode(&mut input)?;
        if header.xid != Xid::NOTIFICATION {
            let body = input.rest().clone();
            return Ok(Self::Reply { header, body });
        }
        let event = WatcherEvent::decode(&mut input)?;
        input.finish()?;
        Ok(Self::Event { header, event })
    }

    /// Reads the body of a reply without error to a request of this operation.
    ///
    /// # Errors
    /// What the record finds wrong, and [`DecodeError::TrailingBytes`].
    pub fn reply_body(op: OpCode, body: Bytes) -> Result<Response, DecodeError> {
        let mut input = Reader::new(body);
        let response = Response::decode(op, &mut input)?;
        input.finish()?;
        Ok(response)
    }
}

impl Encode for ServerMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Reply { header, body } => {
                header.encode(out);
                out.extend_from_slice(body);
            }
            Self::Event { header, event } => {
                header.encode(out);
                event.encode(out);
            }
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Connect(connect) => connect.encoded_len(),
            Self::Reply { body, .. } => ReplyHeader::MIN_LEN + body.len(),
            Self::Event { event, .. } => ReplyHeader::MIN_LEN + event.encoded_len(),
        }
    }
}
