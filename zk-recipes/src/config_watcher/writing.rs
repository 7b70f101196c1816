//! What writing a node and writing a directory of settings have in common: to try until it is known what became of it.

use std::sync::Arc;

use zk_client::{Client, ErrorKind, Outcome};

use crate::{
    connection::{Patience, Persistence, Setback, setback},
    error::{Error, Result},
};

/// Somebody else has changed what was to be written.
pub(super) fn conflict(path: &Arc<str>) -> Error {
    Error::Conflict {
        path: Arc::clone(path),
    }
}

/// Writes until it is known what became of it. After an attempt of unknown outcome `find` looks whether what was written is
/// there.
///
/// # Errors
///
/// [`Error::Conflict`] where an attempt meets one of `conflicts` and nothing was written. [`Error::Unknown`] where nothing can be
/// found out any more: somebody else has written after an attempt of unknown outcome, the session is over and no other
/// follows, or what would tell is refused.
pub(super) async fn until_known<W, A, F>(
    (client, path): (&Client, &Arc<str>),
    conflicts: &[ErrorKind],
    attempt: impl Fn() -> A,
    find: impl Fn() -> F,
) -> Result<W>
where
    A: Future<Output = zk_client::Result<W>>,
    F: Future<Output = zk_client::Result<Option<W>>>,
{
    let unknown = || Error::Unknown {
        path: Arc::clone(path),
    };
    let mut persistence = Persistence::new();
    let mut undecided = false;
    loop {
        let error = match attempt().await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        match (conflicts.contains(&error.kind()), undecided) {
            // Perhaps it was an earlier attempt of ours that made the difference.
            (true, true) => break,
            (true, false) => return Err(conflict(path)),
            // This attempt, and it says nothing about an earlier one.
            _ if setback(&error) == Setback::Refused && !undecided => return Err(error.into()),
            _ => undecided |= error.outcome() == Outcome::Unknown,
        }
        let over = persistence.after(client, error).await;
        match undecided {
            true => over.map_err(|_| unknown())?,
            false => over?,
        }
    }
    let mut persistence = Persistence::new();
    loop {
        match find().await {
            Ok(found) => return found.ok_or_else(unknown),
            Err(error) => persistence
                .after(client, error)
                .await
                .map_err(|_| unknown())?,
        }
    }
}

/// After an error of a look before the write: waits, since a look can be repeated, in the next session, too.
///
/// # Errors
///
/// What will not get better.
pub(super) async fn survives(
    client: &Client,
    error: zk_client::Error,
    patience: &mut Patience,
) -> Result<()> {
    match setback(&error) {
        Setback::Refused => Err(error.into()),
        // The client given is bound to a session that is over.
        _ if error.kind() == ErrorKind::SessionChanged => Err(error.into()),
        _ => patience.wait(client).await,
    }
}
