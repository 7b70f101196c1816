//! The framing as `tokio_util` codecs: plain frames, and typed messages for either side of the client port.
//!
//! ```
//! use tokio_util::codec::{Decoder, Encoder};
//! use zk_proto::{codec::{ClientCodec, ServerCodec}, message::ClientMessage, connect::ConnectRequest};
//! # use zk_proto::{Password, SessionId, Zxid};
//!
//! let hello = ClientMessage::Connect(ConnectRequest {
//!     protocol_version: 0,
//!     last_zxid_seen: Zxid::ZERO,
//!     timeout_ms: 30_000,
//!     session_id: SessionId::NONE,
//!     password: Password::zero(),
//!     read_only: Some(false),
//! });
//! let mut wire = bytes::BytesMut::new();
//! ClientCodec::new().encode(hello.clone(), &mut wire)?;
//! assert_eq!(ServerCodec::new().decode(&mut wire)?, Some(hello));
//! # Ok::<(), zk_proto::codec::CodecError>(())
//! ```
//!
//! Invariant: after an error a codec is of no more use; the stream cannot be brought back into step.

use std::io;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    error::DecodeError,
    frame::{MAX_BUFFER, MAX_BUFFER_BEFORE_SESSION, put_frame, take_frame},
    jute::Encode,
    message::{ClientMessage, ServerMessage},
};

/// Why a framed stream ended.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent what is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Frames with bodies as they are: a four-byte length and that many bytes.
#[derive(Debug, Clone)]
pub struct FrameCodec {
    limit: usize,
}

impl FrameCodec {
    /// A codec that takes bodies of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Changes the limit, from the next frame on that is not complete yet.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }
}

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, CodecError> {
        Ok(take_frame(src, self.limit)?)
    }
}

impl<T: Encode> Encoder<T> for FrameCodec {
    type Error = CodecError;

    fn encode(&mut self, item: T, dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.reserve(4 + item.encoded_len());
        put_frame(dst, &[&item]);
        Ok(())
    }
}

/// The client's side: sends [`ClientMessage`]s, receives [`ServerMessage`]s.
#[derive(Debug, Clone)]
pub struct ClientCodec {
    frames: FrameCodec,
    connected: bool,
}

impl ClientCodec {
    /// A codec for a new connection, that takes bodies of at most [`MAX_BUFFER`] bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(MAX_BUFFER)
    }

    /// A codec for a new connection, that takes bodies of at most `limit` bytes.
    #[must_use]
    pub const fn with_limit(limit: usize) -> Self {
        Self {
            frames: FrameCodec::new(limit),
            connected: false,
        }
    }
}

impl Default for ClientCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for ClientCodec {
    type Item = ServerMessage;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ServerMessage>, CodecError> {
        let Some(body) = self.frames.decode(src)? else {
            return Ok(None);
        };
        if self.connected {
            return Ok(Some(ServerMessage::decode_later(body)?));
        }
        self.connected = true;
        Ok(Some(ServerMessage::decode_first(body)?))
    }
}

impl Encoder<ClientMessage> for ClientCodec {
    type Error = CodecError;

    fn encode(&mut self, item: ClientMessage, dst: &mut BytesMut) -> Result<(), CodecError> {
        self.frames.encode(item, dst)
    }
}

/// The server's side: receives [`ClientMessage`]s, sends [`ServerMessage`]s.
///
/// Until a [`ConnectResponse`](crate::connect::ConnectResponse) is sent, bodies may have at most
/// [`MAX_BUFFER_BEFORE_SESSION`] bytes.
#[derive(Debug, Clone)]
pub struct ServerCodec {
    frames: FrameCodec,
    limit: usize,
    connected: bool,
}

impl ServerCodec {
    /// A codec for a new connection, that takes bodies of at most [`MAX_BUFFER`] bytes once a session exists.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(MAX_BUFFER)
    }

    /// A codec for a new connection, that takes bodies of at most `limit` bytes once a session exists.
    #[must_use]
    pub const fn with_limit(limit: usize) -> Self {
        Self {
            frames: FrameCodec::new(MAX_BUFFER_BEFORE_SESSION),
            limit,
            connected: false,
        }
    }
}

impl Default for ServerCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for ServerCodec {
    type Item = ClientMessage;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<ClientMessage>, CodecError> {
        let Some(body) = self.frames.decode(src)? else {
            return Ok(None);
        };
        if self.connected {
            return Ok(Some(ClientMessage::decode_later(body)?));
        }
        self.connected = true;
        Ok(Some(ClientMessage::decode_first(body)?))
    }
}

impl Encoder<ServerMessage> for ServerCodec {
    type Error = CodecError;

    fn encode(&mut self, item: ServerMessage, dst: &mut BytesMut) -> Result<(), CodecError> {
        if matches!(item, ServerMessage::Connect(_)) {
            self.frames.set_limit(self.limit);
        }
        self.frames.encode(item, dst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        connect::{ConnectRequest, ConnectResponse},
        header::ReplyHeader,
        ids::{Password, SessionId, Xid},
        op::{Request, Response, SetDataRequest, SyncResponse},
        op_code::OpCode,
        watch::{EventType, KeeperState, WatcherEvent},
        zxid::Zxid,
    };

    fn connect_request() -> ClientMessage {
        ClientMessage::Connect(ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(3),
            timeout_ms: 10_000,
            session_id: SessionId(7),
            password: Password::zero(),
            read_only: None,
        })
    }

    fn set_data(len: usize) -> ClientMessage {
        let data = Some(vec![b'x'; len].into());
        let set = SetDataRequest {
            path: "/a".into(),
            data,
            version: -1,
        };
        ClientMessage::request(Xid(1), &Request::SetData(set))
    }

    fn header(xid: Xid) -> ReplyHeader {
        ReplyHeader {
            xid,
            zxid: Zxid(5),
            err: 0,
        }
    }

    #[test]
    fn a_conversation_passes_both_codecs() {
        let (mut client, mut server) = (ClientCodec::new(), ServerCodec::new());
        let mut up = BytesMut::new();
        let requests = [connect_request(), set_data(10), set_data(0)];
        requests
            .iter()
            .for_each(|m| client.encode(m.clone(), &mut up).unwrap());
        for message in requests {
            assert_eq!(server.decode(&mut up).unwrap(), Some(message));
        }
        assert_eq!(server.decode(&mut up).unwrap(), None);

        let sync = Response::Sync(SyncResponse { path: "/a".into() });
        let event = WatcherEvent {
            event_type: EventType::NodeDeleted,
            state: KeeperState::SyncConnected,
            path: "/a".into(),
        };
        let mut down = BytesMut::new();
        let replies = [
            ServerMessage::Connect(ConnectResponse::expired(Some(false))),
            ServerMessage::Event {
                header: header(Xid::NOTIFICATION),
                event,
            },
            ServerMessage::reply(header(Xid(1)), &sync),
        ];
        replies
            .iter()
            .for_each(|m| server.encode(m.clone(), &mut down).unwrap());
        for message in replies {
            assert_eq!(client.decode(&mut down).unwrap(), Some(message));
        }
        assert_eq!(
            ServerMessage::reply_body(OpCode::Sync, sync.to_bytes()),
            Ok(sync)
        );
    }

    #[test]
    fn a_server_takes_large_messages_only_once_it_has_granted_a_session() {
        let mut large = BytesMut::new();
        ClientCodec::new()
            .encode(set_data(MAX_BUFFER_BEFORE_SESSION), &mut large)
            .unwrap();

        let mut server = ServerCodec::with_limit(4096);
        assert!(matches!(
            server.clone().decode(&mut large.clone()),
            Err(CodecError::Decode(DecodeError::TooLong {
                limit: MAX_BUFFER_BEFORE_SESSION,
                ..
            }))
        ));
        let mut hello = BytesMut::new();
        ClientCodec::new()
            .encode(connect_request(), &mut hello)
            .unwrap();
        assert!(server.decode(&mut hello).unwrap().is_some());
        let granted = ServerMessage::Connect(ConnectResponse::expired(None));
        server.encode(granted, &mut BytesMut::new()).unwrap();
        assert!(server.decode(&mut large).unwrap().is_some());

        let mut larger = BytesMut::new();
        ClientCodec::new()
            .encode(set_data(4096), &mut larger)
            .unwrap();
        assert!(matches!(
            server.decode(&mut larger),
            Err(CodecError::Decode(DecodeError::TooLong { limit: 4096, .. }))
        ));
    }

    #[test]
    fn bytes_behind_a_record_are_ignored() {
        let Ok(ClientMessage::Request { header, body }) =
            ClientMessage::decode_later(set_data(1).to_bytes())
        else {
            panic!("a request");
        };
        let mut longer = BytesMut::from(&body[..]);
        longer.extend_from_slice(b"!");
        let op = OpCode::from_i32(header.op).unwrap();
        let read = |body| ClientMessage::request_body(op, body).unwrap();
        assert_eq!(read(longer.freeze()), read(body));
    }
}
