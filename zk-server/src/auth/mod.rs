//! Who a client is, and what it may do: credentials, ACL checks, and the repair of ACLs that clients send.
//!
//! In ZooKeeper's words: `AuthInfo`, `checkACL`, `fixupACL` and the `digest` and `ip` authentication providers.
//! Credentials never change; a connection that authenticates gets new ones.
//!
//! Deliberately not here: SASL and X.509 (identities of these schemes are compared like any other once something
//! adds them), and the connection that is closed when authentication fails.

mod acl;
mod digest;
mod ip;

use std::net::IpAddr;

pub(crate) use acl::is_world;
pub use acl::{check, fix_up, mask_digests};
pub use digest::DigestAlgorithm;
use zk_proto::{ErrorCode, Id, Utf8Bytes, op::ClientInfo};

/// The scheme of identities that pass every check.
const SUPER: &str = "super";

/// How clients authenticate and whether ACLs count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Whether the scheme `digest` is there (`DigestAuthenticationProvider.enabled`).
    pub digest_enabled: bool,
    /// How passwords are hashed (`DigestAuthenticationProvider.digestAlg`).
    pub digest_algorithm: DigestAlgorithm,
    /// Whoever authenticates as this `user:hash` may do everything (`DigestAuthenticationProvider.superDigest`).
    pub super_digest: Option<String>,
    /// Lets every client do everything (`skipACL=yes`).
    pub skip_acl: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
            skip_acl: false,
        }
    }
}

impl AuthConfig {
    /// Whether a provider for this scheme is registered.
    fn has_scheme(&self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => self.digest_enabled,
            _ => false,
        }
    }
}

/// The identities of a connection; the first one is its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    ids: Vec<Id>,
    passes_all: bool,
}

impl Credentials {
    /// What a connection from this address has before it authenticates.
    #[must_use]
    pub fn of_peer(address: IpAddr, config: &AuthConfig) -> Self {
        Self {
            ids: vec![Id {
                scheme: Utf8Bytes::from_static("ip"),
                id: ip::host_address(address).into(),
            }],
            passes_all: config.skip_acl,
        }
    }

    /// No identity at all: what the server's own requests have.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            ids: Vec::new(),
            passes_all: false,
        }
    }

    /// What a client of another server has, by that server's word; whether ACLs are looked at at all is decided here.
    #[must_use]
    pub fn of_forwarded(ids: Vec<Id>, config: &AuthConfig) -> Self {
        let first = Self {
            ids: Vec::new(),
            passes_all: config.skip_acl,
        };
        ids.into_iter()
            .fold(first, |credentials, id| credentials.with(id))
    }

    /// The identities, in the order in which they were acquired.
    #[must_use]
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// Whether every ACL check passes: a super user, or a server that skips ACLs.
    #[must_use]
    pub const fn passes_all(&self) -> bool {
        self.passes_all
    }

    /// These credentials and one identity more; the same when it is there already.
    #[must_use]
    pub fn with(&self, id: Id) -> Self {
        let mut more = self.clone();
        if !more.ids.contains(&id) {
            more.passes_all |= id.scheme == SUPER;
            more.ids.push(id);
        }
        more
    }

    /// As whoAmI tells them: without secrets.
    #[must_use]
    pub fn client_info(&self) -> Vec<ClientInfo> {
        let info = |id: &Id| ClientInfo {
            scheme: id.scheme.clone(),
            user: match id.scheme.as_str() {
                "digest" => id.id.split(':').next().unwrap_or_default().into(),
                SUPER => Utf8Bytes::default(),
                _ => id.id.clone(),
            },
        };
        self.ids.iter().map(info).collect()
    }
}

/// Most identities of one connection, its address among them. An `auth` entry of an ACL stands for all of them.
const MAX_IDENTITIES: usize = 256;

/// Handles an auth packet: the credentials with what it proves.
///
/// # Errors
/// [`ErrorCode::AuthFailed`] for a scheme without provider (`world`, `auth` and `super` have none), no secret, or
/// more than 256 identities; the connection is to be closed after the answer. A wrong password is no error: it makes another identity.
pub fn authenticate(
    config: &AuthConfig,
    credentials: &Credentials,
    scheme: &str,
    secret: Option<&[u8]>,
) -> Result<Credentials, ErrorCode> {
    match (scheme, secret) {
        // The address is there from the beginning.
        ("ip", _) => Ok(credentials.clone()),
        ("digest", Some(secret)) if config.digest_enabled => {
            let identity = digest::identity(config.digest_algorithm, secret);
            let base = match config.super_digest.as_ref() {
                Some(digest) if *digest == identity => credentials.with(Id {
                    scheme: Utf8Bytes::from_static(SUPER),
                    id: Utf8Bytes::default(),
                }),
                _ => credentials.clone(),
            };
            let more = base.with(Id {
                scheme: Utf8Bytes::from_static("digest"),
                id: identity.into(),
            });
            match more.ids.len() > MAX_IDENTITIES {
                true => Err(ErrorCode::AuthFailed),
                false => Ok(more),
            }
        }
        _ => Err(ErrorCode::AuthFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `super:secret`, as `DigestAuthenticationProvider.generateDigest` makes it.
    const SUPER_SECRET: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

    fn local() -> Credentials {
        Credentials::of_peer(IpAddr::from([127, 0, 0, 1]), &AuthConfig::default())
    }

    fn names(credentials: &Credentials) -> Vec<String> {
        let name = |id: &Id| format!("{}:{}", id.scheme, id.id);
        credentials.ids().iter().map(name).collect()
    }

    #[test]
    fn a_password_makes_an_identity_once() {
        let config = AuthConfig::default();
        let one = authenticate(&config, &local(), "digest", Some(b"super:secret")).unwrap();
        let digest = format!("digest:{SUPER_SECRET}");
        assert_eq!(names(&one), ["ip:127.0.0.1", digest.as_str()]);
        assert!(!one.passes_all());
        let again = authenticate(&config, &one, "digest", Some(b"super:secret")).unwrap();
        assert_eq!(again, one);
        assert_eq!(
            authenticate(&config, &one, "ip", None).as_ref(),
            Ok(&one),
            "the address is known"
        );
    }

    #[test]
    fn the_super_digest_passes_everything() {
        let config = AuthConfig {
            super_digest: Some(SUPER_SECRET.to_owned()),
            ..AuthConfig::default()
        };
        let root = authenticate(&config, &local(), "digest", Some(b"super:secret")).unwrap();
        assert!(root.passes_all());
        let info: Vec<_> = root
            .client_info()
            .iter()
            .map(|info| format!("{}={}", info.scheme, info.user))
            .collect();
        assert_eq!(info, ["ip=127.0.0.1", "super=", "digest=super"]);
        let other = authenticate(&config, &local(), "digest", Some(b"super:wrong")).unwrap();
        assert!(!other.passes_all());
    }

    #[test]
    fn a_connection_has_so_many_identities_and_no_more() {
        let config = AuthConfig::default();
        let add = |credentials: &Credentials, user: usize| {
            let secret = format!("user{user}:pw");
            authenticate(&config, credentials, "digest", Some(secret.as_bytes()))
        };
        let full =
            (1..MAX_IDENTITIES).try_fold(local(), |credentials, user| add(&credentials, user));
        let full = full.unwrap();
        assert_eq!(add(&full, MAX_IDENTITIES), Err(ErrorCode::AuthFailed));
        assert_eq!(add(&full, 1).as_ref(), Ok(&full), "what it has is no more");
    }

    #[test]
    fn schemes_without_provider_fail() {
        let off = AuthConfig {
            digest_enabled: false,
            ..AuthConfig::default()
        };
        for (config, scheme, secret) in [
            (&AuthConfig::default(), "world", Some(&b"anyone"[..])),
            (&AuthConfig::default(), "auth", Some(b"")),
            (&AuthConfig::default(), "super", Some(b"")),
            (&AuthConfig::default(), "digest", None),
            (&off, "digest", Some(b"a:b")),
        ] {
            assert_eq!(
                authenticate(config, &local(), scheme, secret),
                Err(ErrorCode::AuthFailed),
                "{scheme}"
            );
        }
    }
}
