//! Session passwords: with a session's id, the right to resume it.
//!
//! Apache's server computes a session's password from its id alone, with `java.util.Random`; the id stands in
//! the Stat of every ephemeral node, so whoever may read one can take its owner's session over. Ours is an HMAC of
//! the id under a secret, unless the ensemble has Apache's members, which must compute the same.

use std::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zk_proto::{Password, SessionId};

use crate::storage::SessionSecret;

/// Makes and checks the passwords of one server's sessions.
pub enum Passwords {
    /// As Apache's servers do (`ZooKeeperServer.generatePasswd`): guessable.
    Apache,
    /// By HMAC-SHA256 under a secret; sessions that are older than the secret keep Apache's.
    Hmac(SessionSecret),
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apache => "Apache",
            Self::Hmac(_) => "Hmac(..)",
        })
    }
}

impl Passwords {
    /// The session's password; always the same one.
    #[must_use]
    pub fn password(&self, session: SessionId) -> Password {
        let bytes = match self {
            Self::Apache => apache(session),
            Self::Hmac(secret) if secret.is_older(session) => apache(session),
            Self::Hmac(secret) => hmac(secret.key(), session),
        };
        Password::new(Bytes::copy_from_slice(&bytes))
    }

    /// Whether this is the session's password; takes as long for a wrong one as for the right one.
    #[must_use]
    pub fn verify(&self, session: SessionId, password: &Password) -> bool {
        self.password(session) == *password
    }
}

fn hmac(key: &[u8; SessionSecret::LEN], session: SessionId) -> [u8; Password::LEN] {
    // A block of SHA-256 has 64 bytes; HMAC fills a shorter key up with zeros.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(&session.0.to_be_bytes());
    let tag = mac.finalize().into_bytes();
    std::array::from_fn(|i| tag[i])
}

/// `new java.util.Random(id ^ superSecret).nextBytes(16)`.
fn apache(session: SessionId) -> [u8; Password::LEN] {
    const SUPER_SECRET: u64 = 0xB341_5C00;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.0.cast_unsigned() ^ SUPER_SECRET ^ MULTIPLIER) & MASK;
    let mut bytes = [0; Password::LEN];
    for chunk in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        // The upper 32 of the state's 48 bits, lowest byte first.
        chunk.copy_from_slice(&state.to_le_bytes()[2..6]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen on the wire of Apache ZooKeeper 3.9.5.
    const GOLDEN: [(i64, u128); 3] = [
        (
            0x0100_000e_439c_0000,
            0x26bb_e669_bb04_ffaa_74d1_391b_fcae_5ece,
        ),
        (
            0x0100_000e_439c_0001,
            0x39dc_e069_5b50_deef_6914_a146_d037_739b,
        ),
        (
            0x0100_000e_439c_0003,
            0x139a_ec69_1bb9_1f66_7f8e_d2ef_2926_4a01,
        ),
    ];

    #[test]
    fn apaches_passwords_are_apaches() {
        for (session, password) in GOLDEN {
            let expected = password.to_be_bytes();
            assert_eq!(
                Passwords::Apache.password(SessionId(session)).as_bytes(),
                expected
            );
        }
    }

    #[test]
    fn ours_depend_on_the_secret_and_on_every_bit_of_the_id() {
        let ours = |key| Passwords::Hmac(SessionSecret::shared([key; SessionSecret::LEN]));
        let (one, other) = (ours(1), ours(2));
        let id = SessionId(GOLDEN[0].0);
        let password = one.password(id);
        assert_eq!(password.as_bytes().len(), Password::LEN);
        assert!(one.verify(id, &password));
        assert!(!other.verify(id, &password));
        assert!(!Passwords::Apache.verify(id, &password));
        for bit in 0..64 {
            assert!(!one.verify(SessionId(id.0 ^ (1 << bit)), &password));
        }
        assert!(!one.verify(id, &Password::zero()) && !one.verify(id, &Password::default()));
    }
}
