//! The secret that session passwords are made with.

use std::{collections::BTreeSet, fmt, io};

use zk_proto::SessionId;

use super::{
    Fatal,
    disk::{Access, Disk},
    replace::{read, replace},
};

/// Its file, in `dataDir`, readable by the owner alone.
const FILE: &str = "sessionSecret";

/// A secret of one server, and the sessions that are older than it.
///
/// The file holds the secret in hexadecimal, then one line for each session that was open when it was made: those
/// keep the password that Apache's server gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret {
    key: [u8; Self::LEN],
    older: BTreeSet<SessionId>,
}

impl SessionSecret {
    /// How many bytes it has.
    pub const LEN: usize = 32;

    /// Reads the secret of this directory; makes one, durably, if there is none.
    ///
    /// `random` is what a new secret is made of; `open` are the sessions that recovery found.
    ///
    /// # Errors
    /// [`Fatal`] when the file cannot be read or written, or is not one of ours: a server that made another one
    /// would refuse all of its own sessions.
    pub fn load_or_create(
        data: &dyn Disk,
        random: [u8; Self::LEN],
        open: impl IntoIterator<Item = SessionId>,
    ) -> Result<Self, Fatal> {
        match read(data, FILE) {
            Ok(text) => {
                // An earlier process may have ended before its name was durable; sessions rely on it from now on.
                data.sync_dir()
                    .map_err(|error| Fatal::io(format!("syncing {}", data.path_of("")), &error))?;
                Self::parse(&text).ok_or_else(|| {
                    Fatal::new(format!(
                        "{} does not hold a session secret: restore it, or remove it (open sessions then cannot resume)",
                        data.path_of(FILE)
                    ))
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let older = open.into_iter().collect();
                let secret = Self { key: random, older };
                replace(data, FILE, Access::Owner, secret.to_text().as_bytes()).map_err(
                    |error| Fatal::io(format!("writing {}", data.path_of(FILE)), &error),
                )?;
                Ok(secret)
            }
            Err(error) => Err(Fatal::io(format!("reading {}", data.path_of(FILE)), &error)),
        }
    }

    /// A secret that was given from outside (`sessionSecretFile`); no session is older.
    #[must_use]
    pub const fn shared(key: [u8; Self::LEN]) -> Self {
        Self {
            key,
            older: BTreeSet::new(),
        }
    }

    /// The key itself.
    #[must_use]
    pub const fn key(&self) -> &[u8; Self::LEN] {
        &self.key
    }

    /// Whether this session was there before the secret was.
    #[must_use]
    pub fn is_older(&self, session: SessionId) -> bool {
        self.older.contains(&session)
    }

    fn to_text(&self) -> String {
        let mut text: String = self.key.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push('\n');
        for session in &self.older {
            text.push_str(&format!("{:x}\n", session.0));
        }
        text
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(text).ok()?.lines();
        let digits = lines.next()?.as_bytes();
        let mut key = [0; Self::LEN];
        if digits.len() != 2 * Self::LEN {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let session = |line: &str| {
            u64::from_str_radix(line, 16)
                .ok()
                .map(|id| SessionId(id.cast_signed()))
        };
        let older = lines.map(session).collect::<Option<_>>()?;
        Some(Self { key, older })
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemDisk, mem_disk::FaultyCall};

    #[test]
    fn a_secret_is_made_once_and_knows_the_sessions_before_it() {
        let disk = MemDisk::new();
        let (old, new) = (SessionId(-7), SessionId(8));
        let load = |random: u8, open: &[SessionId]| {
            SessionSecret::load_or_create(&disk, [random; 32], open.iter().copied()).unwrap()
        };
        let made = load(1, &[old, SessionId(3)]);
        disk.power_cut(5);
        let again = load(2, &[new]);
        assert_eq!(made, again);
        assert_eq!(again.key(), &[1; 32]);
        assert!(again.is_older(old) && !again.is_older(new));
        assert!(!format!("{again:?}").contains("01"));
    }

    #[test]
    fn a_secret_that_was_read_survives_the_next_power_cut() {
        for seed in 0..20 {
            let disk = MemDisk::new();
            disk.fail(FaultyCall::SyncDir, 1, io::ErrorKind::Other);
            assert!(SessionSecret::load_or_create(&disk, [1; 32], []).is_err());
            disk.heal();
            let load = |random| SessionSecret::load_or_create(&disk, [random; 32], []).unwrap();
            assert_eq!(load(2).key(), &[1; 32]);
            disk.power_cut(seed);
            assert_eq!(load(3).key(), &[1; 32], "seed {seed}");
        }
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused_and_left_alone() {
        let disk = MemDisk::new();
        for bad in ["", "00", &"g".repeat(64), &format!("{}\nx", "0".repeat(64))] {
            replace(&disk, FILE, Access::Owner, bad.as_bytes()).unwrap();
            let refused = SessionSecret::load_or_create(&disk, [1; 32], []).unwrap_err();
            assert!(
                refused
                    .to_string()
                    .contains("does not hold a session secret")
            );
            assert_eq!(read(&disk, FILE).unwrap(), bad.as_bytes());
        }
    }
}
