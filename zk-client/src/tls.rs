//! TLS: whom to trust, and who the client is.
//!
//! Certificates and keys are PEM. Files are read again for every connection, so that a renewed certificate is used
//! from the next connection on; if what is read then is no good, what was good before is used on, and a warning
//! says so.
//!
//! The cryptographic provider is the one that the application has installed for its process
//! (`rustls::crypto::CryptoProvider::install_default`: aws-lc, FIPS), else ring (feature `tls`).

use std::{fmt, path::PathBuf};

/// How a client speaks TLS: with [`ClientBuilder::tls`](crate::ClientBuilder::tls).
///
/// A server's certificate must be signed by one of the given authorities and name the server as the connect string
/// does; there are no built-in authorities.
///
/// ```no_run
/// use zk_client::{Client, Tls};
///
/// # async fn connect() -> zk_client::Result<()> {
/// let tls = Tls::new()
///     .ca_file("/etc/zk/ca.pem")
///     .identity_files("/etc/zk/client.pem", "/etc/zk/client.key");
/// let client = Client::builder("zk1:2281,zk2:2281").tls(tls).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Tls {
    pub(crate) authorities: Vec<Pem>,
    pub(crate) identity: Option<(Pem, Pem)>,
    pub(crate) server_name: Option<String>,
    pub(crate) any_name: bool,
}

/// Where PEM text comes from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

impl Tls {
    /// Trusts nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities whose certificates are in this PEM file; may be given several times.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(Pem::File(path.into()));
        self
    }

    /// Trusts the authorities whose certificates are in this PEM text.
    pub fn ca_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(Pem::Text(text.into()));
        self
    }

    /// Proves who the client is: PEM files with its certificate chain and its private key.
    ///
    /// They may be one file. A file that has changed is used from the next connection on.
    pub fn identity_files(
        mut self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((Pem::File(certificates.into()), Pem::File(key.into())));
        self
    }

    /// Proves who the client is: PEM texts with its certificate chain and its private key.
    pub fn identity_pem(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity = Some((Pem::Text(certificates.into()), Pem::Text(key.into())));
        self
    }

    /// The name that every server's certificate bears, in place of the one in the connect string.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Accepts a certificate of the authorities whatever server it names.
    ///
    /// Whoever has *any* certificate of these authorities can pose as a server then; for authorities that sign
    /// nothing but the ensemble's certificates.
    pub fn any_server_name(mut self) -> Self {
        self.any_name = true;
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities)
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .field("any_name", &self.any_name)
            .finish()
    }
}

impl fmt::Debug for Pem {
    /// Never the text: it may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text(_) => f.write_str("the PEM text given"),
        }
    }
}
