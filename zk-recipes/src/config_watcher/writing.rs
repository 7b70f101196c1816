//! What writing a node and writing a directory of settings have in common: to try until it is known what became of it.

use std::sync::Arc;

use zk_client::{Client, ErrorKind, Outcome};

use crate::{
    connection::{Patience, Setback, setback},
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
pub(super) async fn until_known<W, A, F>(
    (client, path): (&Client, &Arc<str>),
    attempt: impl Fn() -> A,
    find: impl Fn() -> F,
) -> Result<W>
where
    A: Future<Output = zk_client::Result<W>>,
    F: Future<Output = zk_client::Result<Option<W>>>,
{
    let mut patience = Patience::new();
    let mut undecided = false;
    loop {
        let error = match attempt().await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        match (error.kind(), undecided) {
            // Perhaps it was an earlier attempt of ours that made the difference.
            (ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode, true) => break,
            (ErrorKind::BadVersion | ErrorKind::NodeExists | ErrorKind::NoNode, false) => {
                return Err(conflict(path));
            }
            _ if setback(&error) == Setback::Refused => return Err(error.into()),
            _ => undecided |= error.outcome() == Outcome::Unknown,
        }
        patience.wait(client).await?;
    }
    let mut patience = Patience::new();
    loop {
        match find().await {
            Ok(found) => return found.ok_or_else(|| conflict(path)),
            Err(error) if setback(&error) == Setback::Refused => return Err(error.into()),
            Err(_) => patience.wait(client).await?,
        }
    }
}
