//! How a session begins or goes on: the first frame each side sends.
//!
//! The `readOnly` byte came with 3.4. A client that does not send it must not receive it
//! (ZOOKEEPER-4814): old and foreign clients check the frame's length.

use bytes::BytesMut;

use crate::{
    error::DecodeError,
    ids::{Password, SessionId},
    jute::{Decode, Encode, Reader},
    zxid::Zxid,
};

/// A client's first frame; it has no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Always 0 in Apache's clients.
    pub protocol_version: i32,
    /// The largest zxid the client has seen; a server that is behind closes the connection.
    pub last_zxid_seen: Zxid,
    /// The session timeout asked for, in milliseconds.
    pub timeout_ms: i32,
    /// The session to resume, or [`SessionId::NONE`].
    pub session_id: SessionId,
    /// Its password.
    pub password: Password,
    /// Whether a read-only server will do; `None` where the client sent no such byte.
    pub read_only: Option<bool>,
}

/// The server's first frame; it has no header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0 in Apache's servers.
    pub protocol_version: i32,
    /// The timeout granted, in milliseconds; 0 or less: the session asked for is no more.
    pub timeout_ms: i32,
    /// The session's id. A client that resumed must compare it: another id is another session.
    pub session_id: SessionId,
    /// The session's password.
    pub password: Password,
    /// Whether this server is read-only; `None` where the byte is absent.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The refusal: the session asked for has expired, or its password is wrong.
    #[must_use]
    pub const fn expired(read_only: Option<bool>) -> Self {
        Self {
            protocol_version: 0,
            timeout_ms: 0,
            session_id: SessionId::NONE,
            password: Password::zero(),
            read_only,
        }
    }
}

/// The trailing byte is there or the record ends; the one place where Jute's own rules do not hold.
fn decode_read_only(input: &mut Reader) -> Result<Option<bool>, DecodeError> {
    match input.remaining() {
        0 => Ok(None),
        _ => bool::decode(input).map(Some),
    }
}

fn encode_read_only(read_only: Option<bool>, out: &mut BytesMut) {
    if let Some(read_only) = read_only {
        read_only.encode(out);
    }
}

impl Encode for ConnectRequest {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.last_zxid_seen.encode(out);
        self.timeout_ms.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        encode_read_only(self.read_only, out);
    }

    fn encoded_len(&self) -> usize {
        24 + self.password.encoded_len() + usize::from(self.read_only.is_some())
    }
}

impl Decode for ConnectRequest {
    const MIN_LEN: usize = 28;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Decode::decode(input)?,
            last_zxid_seen: Decode::decode(input)?,
            timeout_ms: Decode::decode(input)?,
            session_id: Decode::decode(input)?,
            password: Decode::decode(input)?,
            read_only: decode_read_only(input)?,
        })
    }
}

impl Encode for ConnectResponse {
    fn encode(&self, out: &mut BytesMut) {
        self.protocol_version.encode(out);
        self.timeout_ms.encode(out);
        self.session_id.encode(out);
        self.password.encode(out);
        encode_read_only(self.read_only, out);
    }

    fn encoded_len(&self) -> usize {
        16 + self.password.encoded_len() + usize::from(self.read_only.is_some())
    }
}

impl Decode for ConnectResponse {
    const MIN_LEN: usize = 20;

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: Decode::decode(input)?,
            timeout_ms: Decode::decode(input)?,
            session_id: Decode::decode(input)?,
            password: Decode::decode(input)?,
            read_only: decode_read_only(input)?,
        })
    }
}
