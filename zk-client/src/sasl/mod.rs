//! SASL: client and server prove themselves to each other before anything else is said.
//!
//! ZooKeeper does not negotiate mechanisms: a server with a Kerberos principal speaks GSSAPI, any other that has a JAAS
//! login speaks DIGEST-MD5. The conversation is held anew on every connection, before credentials, watches and requests.
//! [`DigestMd5`] is built in; others implement [`Mechanism`].

mod digest_md5;

use std::fmt;

use async_trait::async_trait;

pub use digest_md5::DigestMd5;

/// Why a mechanism gives up.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A SASL mechanism: with [`ClientBuilder::sasl`](crate::ClientBuilder::sasl).
#[async_trait]
pub trait Mechanism: Send + Sync + 'static {
    /// The mechanism's registered name, for messages.
    fn name(&self) -> &str;

    /// Begins a conversation on a new connection; with the first token, empty where the server speaks first.
    ///
    /// # Errors
    /// An error ends the client ([`AuthFailed`](crate::ErrorKind::AuthFailed)).
    ///
    /// # Cancel safety
    /// The future is dropped when the connection breaks.
    async fn begin(&self, server: &Server) -> Result<(Box<dyn Conversation>, Vec<u8>), Error>;
}

/// One connection's SASL conversation.
#[async_trait]
pub trait Conversation: Send {
    /// Answers what the server said; an empty challenge where it said nothing.
    ///
    /// # Errors
    /// An error ends the client ([`AuthFailed`](crate::ErrorKind::AuthFailed)): the server has not proved itself, or does
    /// not speak the mechanism.
    async fn step(&mut self, challenge: &[u8]) -> Result<Step, Error>;
}

/// What a conversation goes on with.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// This token is sent, and the server's answer is the next challenge.
    Respond(Vec<u8>),
    /// Both sides are satisfied.
    Done,
}

impl fmt::Debug for Step {
    /// Never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Respond(_) => "Respond(..)",
            Self::Done => "Done",
        })
    }
}

/// The server that a conversation is held with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// Its name in the connect string.
    pub host: String,
    /// Its client port.
    pub port: u16,
}

impl Server {
    pub(crate) const fn new(host: String, port: u16) -> Self {
        Self { host, port }
    }
}
