//! What the examples share: where the server is.

use std::{error::Error, fmt};

use zk_server::Server;

/// Whatever ends an example early.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The server an example runs against: one that was named, or one of its own.
///
/// Keep it until the example ends: an embedded server stops when this is dropped.
pub struct Ensemble {
    connect_string: String,
    embedded: Option<Server>,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble")
            .field("connect_string", &self.connect_string)
            .finish_non_exhaustive()
    }
}

impl Ensemble {
    /// The server named by `connect`, or a fresh embedded one on a free loopback port with a temporary
    /// directory.
    ///
    /// # Errors
    /// When the embedded server cannot start.
    pub async fn at(connect: Option<String>) -> Result<Self, Failure> {
        match connect {
            Some(connect_string) => Ok(Self {
                connect_string,
                embedded: None,
            }),
            None => {
                let server = Server::builder().start().await?;
                Ok(Self {
                    connect_string: server.connect_string(),
                    embedded: Some(server),
                })
            }
        }
    }

    /// What to hand to a client.
    #[must_use]
    pub fn connect_string(&self) -> &str {
        &self.connect_string
    }

    /// Stops an embedded server cleanly; a named one is left alone.
    ///
    /// # Errors
    /// When the embedded server could not be stopped cleanly.
    pub async fn stop(self) -> Result<(), Failure> {
        match self.embedded {
            Some(server) => Ok(server.shutdown().await?),
            None => Ok(()),
        }
    }
}

/// The value of `--connect host:port` on the command line, the only argument most examples take.
///
/// # Errors
/// For any other argument.
pub fn connect_argument() -> Result<Option<String>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut connect = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("connect") => connect = Some(parser.value()?.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(connect)
}
