//! Whole messages on the client port: what a frame's body holds, by who sent it.
//!
//! Invariant: only a header that is not there makes a message undecodable. A request that cannot be decoded or
//! whose operation is unknown is *answered* with an error, so its body stays raw here until it is asked for.
//!
//! Bytes behind a record are ignored, as Apache's server and clients do.

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
        /// The client's number for the request, and its operation.
        header: RequestHeader,
        /// The request, still encoded; [`ClientMessage::request_body`] reads it.
        body: Bytes,
    },
}

impl ClientMessage {
    /// The message that carries a request.
    #[must_use]
    pub fn request(xid: Xid, request: &Request) -> Self {
        let op = request.op_code().code();
        Self::Request {
            header: RequestHeader { xid, op },
            body: request.to_bytes(),
        }
    }

    /// Reads a connection's first message.
    ///
    /// # Errors
    /// What the record finds wrong.
    pub fn decode_first(body: Bytes) -> Result<Self, DecodeError> {
        ConnectRequest::decode(&mut Reader::new(body)).map(Self::Connect)
    }

    /// Reads any later message.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when not even the header is there.
    pub fn decode_later(body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let header = RequestHeader::decode(&mut input)?;
        let body = input.take_rest();
        Ok(Self::Request { header, body })
    }

    /// Reads the body of a request of this operation.
    ///
    /// # Errors
    /// [`DecodeError::UnknownValue`] for an operation that no client may send, and what the record finds wrong.
    pub fn request_body(op: OpCode, body: Bytes) -> Result<Request, DecodeError> {
        Request::decode(op, &mut Reader::new(body))
    }
}

impl Encode for ClientMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::Request { header, body } => {
                header.encode(out);
                out.extend_from_slice(body);
            }
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Connect(connect) => connect.encoded_len(),
            Self::Request { body, .. } => RequestHeader::MIN_LEN + body.len(),
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
    /// The message that carries a reply.
    #[must_use]
    pub fn reply(header: ReplyHeader, response: &Response) -> Self {
        Self::Reply {
            header,
            body: response.to_bytes(),
        }
    }

    /// Reads a connection's first message.
    ///
    /// # Errors
    /// What the record finds wrong.
    pub fn decode_first(body: Bytes) -> Result<Self, DecodeError> {
        ConnectResponse::decode(&mut Reader::new(body)).map(Self::Connect)
    }

    /// Reads any later message; the body of a reply is left to [`reply_body`](Self::reply_body).
    ///
    /// # Errors
    /// What the header or the event finds wrong.
    pub fn decode_later(body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let header = ReplyHeader::decode(&mut input)?;
        if header.xid == Xid::NOTIFICATION {
            let event = WatcherEvent::decode(&mut input)?;
            return Ok(Self::Event { header, event });
        }
        let body = input.take_rest();
        Ok(Self::Reply { header, body })
    }

    /// Reads the body of a reply without error to a request of this operation.
    ///
    /// # Errors
    /// What the record finds wrong.
    pub fn reply_body(op: OpCode, body: Bytes) -> Result<Response, DecodeError> {
        Response::decode(op, &mut Reader::new(body))
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
