//! The TLS handshake, and the certificates it needs.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_rustls::TlsConnector;

use super::transport::Stream;
use crate::tls::{Pem, Tls};

/// Makes secure connections out of plain ones.
#[derive(Debug)]
pub(crate) struct Connector {
    options: Tls,
    provider: Arc<CryptoProvider>,
    loaded: Mutex<Loaded>,
}

/// What was read last that was good.
#[derive(Debug)]
struct Loaded {
    texts: Texts,
    config: Arc<ClientConfig>,
}

/// The PEM texts, as they were read.
#[derive(PartialEq, Eq)]
struct Texts {
    authorities: Vec<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Connector {
    /// Reads and checks everything that the options name.
    pub(crate) fn new(options: Tls) -> io::Result<Self> {
        let provider = provider()?;
        let texts = Texts::read(&options)?;
        let config = Arc::new(texts.config(&options, &provider)?);
        let loaded = Mutex::new(Loaded { texts, config });
        Ok(Self {
            options,
            provider,
            loaded,
        })
    }

    /// Shakes hands with the server that the connect string calls `host`.
    pub(super) async fn connect(
        self: Arc<Self>,
        host: &str,
        stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        let name = self.options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| invalid(format!("{name:?} is no name that a certificate can bear")))?;
        let connector = Arc::clone(&self);
        let config = tokio::task::spawn_blocking(move || connector.config())
            .await
            .map_err(io::Error::other)?;
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(io::Error::new(error.kind(), explain(&error))),
        }
    }

    /// The configuration by what is in the files now, or else by what was good before.
    fn config(&self) -> Arc<ClientConfig> {
        let mut loaded = self.loaded.lock();
        match self.changed(&loaded.texts) {
            Ok(Some(changed)) => {
                tracing::info!("TLS certificates changed");
                *loaded = changed;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "changed TLS certificates are no good; using the old ones");
            }
        }
        Arc::clone(&loaded.config)
    }

    fn changed(&self, known: &Texts) -> io::Result<Option<Loaded>> {
        let texts = Texts::read(&self.options)?;
        if texts == *known {
            return Ok(None);
        }
        let config = Arc::new(texts.config(&self.options, &self.provider)?);
        Ok(Some(Loaded { texts, config }))
    }
}

/// The application's choice, else ring.
fn provider() -> io::Result<Arc<CryptoProvider>> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(Arc::clone(installed));
    }
    #[cfg(feature = "tls")]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(feature = "tls"))]
    Err(invalid(
        "TLS needs a cryptographic provider: install one (rustls::crypto::CryptoProvider) or use the feature `tls`",
    ))
}

impl Texts {
    fn read(options: &Tls) -> io::Result<Self> {
        let authorities = options
            .authorities
            .iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        let identity = match &options.identity {
            Some((certificates, key)) => Some((read(certificates)?, read(key)?)),
            None => None,
        };
        Ok(Self {
            authorities,
            identity,
        })
    }

    fn config(&self, options: &Tls, provider: &Arc<CryptoProvider>) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for (pem, text) in options.authorities.iter().zip(&self.authorities) {
            for certificate in certificates(pem, text)? {
                roots
                    .add(certificate)
                    .map_err(|error| invalid(format!("{pem}: {error}")))?;
            }
        }
        if roots.is_empty() {
            return Err(invalid("TLS needs an authority to trust (ca_file, ca_pem)"));
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| invalid(error.to_string()))?;
        let builder = match options.any_name {
            false => builder.with_webpki_verifier(verifier),
            true => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName(verifier))),
        };
        match (&options.identity, &self.identity) {
            (Some((cert_pem, key_pem)), Some((cert_text, key_text))) => {
                let chain = certificates(cert_pem, cert_text)?;
                let key = PrivateKeyDer::from_pem_slice(key_text)
                    .map_err(|error| invalid(format!("{key_pem}: no private key: {error}")))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    invalid(format!(
                        "{cert_pem} and {key_pem} do not go together: {error}"
                    ))
                })
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts(..)")
    }
}

fn read(pem: &Pem) -> io::Result<Vec<u8>> {
    match pem {
        Pem::Text(text) => Ok(text.clone()),
        Pem::File(path) => std::fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{pem}: {error}"))),
    }
}

fn certificates(pem: &Pem, text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(format!("{pem}: {error}")))?;
    match found.is_empty() {
        true => Err(invalid(format!("{pem}: there is no certificate in it"))),
        false => Ok(found),
    }
}

/// What went wrong, with the likely cause where rustls speaks of bytes.
fn explain(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match inner {
        Some(rustls::Error::InvalidMessage(_)) => " (does it speak TLS on this port?)",
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            " (does it speak TLS on this port?)"
        }
        _ => "",
    };
    format!("TLS handshake: {error}{hint}")
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

/// Checks everything about a certificate but the name in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is looked at last: an error about it means that everything else is good.
        match self
            .0
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
