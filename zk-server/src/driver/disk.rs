//! Reading the disk at the start: the tree, the log's owner, and the secret of the session passwords.

#![allow(
    clippy::disallowed_methods,
    reason = "the driver owns the threads that may block"
)]

use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::settings::seed;
use crate::{
    config::{Config, SessionPasswords},
    embedded::StartError,
    error::Fatal,
    session::Passwords,
    storage::{Directories, Disk, Recovered, RecoveryOptions, SessionSecret, recover},
    tree::DataTree,
};

/// Where the data is.
pub(crate) enum Place {
    /// In the directories of the configuration.
    Directory,
    /// In this directory, which goes with the server.
    Temporary(TempDir),
    /// On a disk that does not block.
    Disk(Arc<dyn Disk>),
}

/// The disk, read.
pub(super) struct Opened {
    pub(super) directories: Directories,
    pub(super) recovered: Recovered,
    pub(super) passwords: Passwords,
}

/// Opens the directories and recovers what they hold, where that may block on a thread of its own.
pub(super) async fn open(
    place: Place,
    config: &Config,
    may_block: bool,
) -> Result<(Option<TempDir>, Opened), StartError> {
    let (temporary, disk) = match place {
        Place::Directory => (None, None),
        Place::Temporary(directory) => (Some(directory), None),
        Place::Disk(disk) => (None, Some(disk)),
    };
    if !may_block {
        return Ok((temporary, read_disk(config, disk)?));
    }
    let config = config.clone();
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("zk-recovery".to_owned())
        .spawn(move || drop(tell.send(read_disk(&config, disk).map(Box::new))))?;
    let opened = told
        .await
        .unwrap_or_else(|_| Err(Fatal::new("recovery died")))?;
    Ok((temporary, *opened))
}

fn read_disk(config: &Config, disk: Option<Arc<dyn Disk>>) -> Result<Opened, Fatal> {
    let directories = match disk {
        Some(disk) => Directories::on(disk)?,
        None => Directories::open(config)?,
    };
    let recovered = recover(&directories, &RecoveryOptions::of(config, seed()))?;
    if let Some(torn) = &recovered.torn {
        tracing::warn!("{torn}");
    }
    if recovered.awaits_sync {
        let zxid = recovered.tree.last_zxid();
        tracing::warn!(%zxid, "some of what was on this disk is lost: no vote until a leader has synced this member");
    }
    if let Some(zxid) = recovered.digest_mismatch {
        tracing::error!(%zxid, "the tree's digest is not the one in the log from here on");
    }
    let passwords = passwords(config, &directories, &recovered.tree)?;
    Ok(Opened {
        directories,
        recovered,
        passwords,
    })
}

/// How sessions get their passwords: with a secret of one's own, unless the configuration says otherwise.
fn passwords(
    config: &Config,
    directories: &Directories,
    tree: &DataTree,
) -> Result<Passwords, Fatal> {
    let guessable = config.is_ensemble()
        && config.session_passwords.is_none()
        && config.session_secret_file.is_none();
    if guessable {
        tracing::warn!(
            "session passwords can be guessed, as Apache's; a sessionSecretFile that all members share prevents it"
        );
    }
    if guessable || config.session_passwords == Some(SessionPasswords::Apache) {
        return Ok(Passwords::Apache);
    }
    if let Some(path) = &config.session_secret_file {
        let read = std::fs::read(path);
        let text =
            read.map_err(|error| Fatal::io(format!("reading {}", path.display()), &error))?;
        let key = Sha256::digest(text.trim_ascii());
        return Ok(Passwords::Hmac(SessionSecret::shared(key.into())));
    }
    let open = tree.sessions().map(|(session, _)| session);
    let secret = SessionSecret::load_or_create(&*directories.data, random()?, open)?;
    Ok(Passwords::Hmac(secret))
}

/// Bytes that nobody can guess.
fn random() -> Result<[u8; SessionSecret::LEN], Fatal> {
    let mut bytes = [0; SessionSecret::LEN];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(SessionSecret::LEN) => Ok(bytes),
        Ok(_) => Err(Fatal::new("the system gave too few random bytes")),
        Err(error) => Err(Fatal::new(format!(
            "the system gave no random bytes: {error}"
        ))),
    }
}
