//! The scheme `digest`: an identity is a user name and a hash of name and password.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::Digest as _;

/// How passwords are hashed; all members of an ensemble and its ACLs must agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// Apache's default.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// `user:base64(hash(user:password))` of a secret `user:password` (`generateDigest`).
pub(super) fn identity(algorithm: DigestAlgorithm, secret: &[u8]) -> String {
    // Apache makes a string of the bytes first: what is not UTF-8 becomes U+FFFD, and is hashed as such.
    let text = String::from_utf8_lossy(secret);
    let user = text.split(':').next().unwrap_or_default();
    let hash = match algorithm {
        DigestAlgorithm::Sha1 => STANDARD.encode(sha1::Sha1::digest(text.as_bytes())),
        DigestAlgorithm::Sha256 => STANDARD.encode(sha2::Sha256::digest(text.as_bytes())),
        DigestAlgorithm::Sha512 => STANDARD.encode(sha2::Sha512::digest(text.as_bytes())),
    };
    format!("{user}:{hash}")
}

/// Whether a digest id in an ACL is well formed: two parts, of which the second is not empty.
///
/// Java's `split(":")` drops empty parts at the end, so `a:b:` counts as two parts, and `:b` does too.
pub(super) fn is_valid(id: &str) -> bool {
    let kept = id.trim_end_matches(':');
    kept.matches(':').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_apaches() {
        // The example in the administrator's guide, and edge cases of the format.
        let sha1 = |secret: &[u8]| identity(DigestAlgorithm::Sha1, secret);
        assert_eq!(sha1(b"super:secret"), "super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
        assert!(sha1(b"no-colon").starts_with("no-colon:"));
        assert!(sha1(b"a:b:c").starts_with("a:"));
        assert!(sha1(b":b").starts_with(':'));
        assert!(identity(DigestAlgorithm::Sha256, b"a:b").len() > sha1(b"a:b").len());
    }

    #[test]
    fn a_valid_id_has_two_parts() {
        for (id, valid) in [
            ("a:b", true),
            (":b", true),
            ("a:b:", true),
            ("a:b::", true),
            ("a:", false),
            ("a", false),
            ("", false),
            (":", false),
            ("a:b:c", false),
        ] {
            assert_eq!(is_valid(id), valid, "{id:?}");
        }
    }
}
