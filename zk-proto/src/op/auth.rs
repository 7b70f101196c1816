//! auth, sasl, whoAmI.

use std::fmt;

use bytes::Bytes;

use crate::{jute::Utf8Bytes, record};

/// Bytes that are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Option<Bytes>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl crate::jute::Encode for Secret {
    fn encode(&self, out: &mut bytes::BytesMut) {
        self.0.encode(out);
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }
}

impl crate::jute::Decode for Secret {
    const MIN_LEN: usize = 4;

    fn decode(input: &mut crate::jute::Reader) -> Result<Self, crate::DecodeError> {
        crate::jute::Decode::decode(input).map(Self)
    }
}

record! {
    /// Authenticate (`AuthPacket`); sent with [`crate::Xid::AUTH`], answered by a header alone.
    pub struct AuthRequest {
        /// Always 0.
        pub kind: i32,
        /// `digest`, ...
        pub scheme: Utf8Bytes,
        /// The credentials, in the scheme's own form (`user:password` for digest).
        pub auth: Secret,
    }
}

record! {
    /// A client's step of a SASL conversation.
    pub struct SaslRequest {
        /// The mechanism's token.
        pub token: Secret,
    }
}

record! {
    /// The server's step of a SASL conversation (`SetSASLResponse`).
    pub struct SaslResponse {
        /// The mechanism's token.
        pub token: Secret,
    }
}

record! {
    /// An identity as whoAmI tells it.
    pub struct ClientInfo {
        /// The scheme.
        pub scheme: Utf8Bytes,
        /// The user name, without any secret.
        pub user: Utf8Bytes,
    }
}

record! {
    /// Answer to whoAmI; the request has no body.
    pub struct WhoAmIResponse {
        /// Every identity of the connection.
        pub client_info: Vec<ClientInfo>,
    }
}
