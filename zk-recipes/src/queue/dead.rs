//! Items that were delivered too often.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::ErrorKind;

use super::{Place, order};
use crate::{
    connection::{Change, Persistence},
    error::Result,
    parents,
};

/// An item that was delivered as often as allowed, and never acknowledged.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its name among the dead letters.
    pub id: String,
    /// What was put.
    pub data: Bytes,
}

/// All of them, the oldest first within each priority.
pub(super) async fn list(place: &Place) -> Result<Vec<DeadLetter>> {
    let mut persistence = Persistence::new();
    loop {
        match list_once(place).await {
            Ok(letters) => return Ok(letters),
            Err(error) => persistence.after(&place.client, error).await?,
        }
    }
}

async fn list_once(place: &Place) -> zk_client::Result<Vec<DeadLetter>> {
    let names = match place.client.children(&place.dead).await {
        Err(error) if error.kind() == ErrorKind::NoNode => return Ok(Vec::new()),
        names => names?,
    };
    let mut letters = Vec::new();
    for name in order::available(&names, &[]) {
        let path = parents::child(&place.dead, name);
        if let Some(node) = place.client.get_opt(&path).await? {
            letters.push(DeadLetter {
                id: name.to_owned(),
                data: node.data,
            });
        }
    }
    Ok(letters)
}

/// Puts it back; after a lost answer the letter that is gone means that it was.
pub(super) async fn requeue(place: &Place, letter: &DeadLetter) -> Result<bool> {
    let priority = order::priority(&letter.id).unwrap_or(super::DEFAULT_PRIORITY);
    let entry = parents::child(&place.entries, &order::prefix(priority));
    let path: Arc<str> = parents::child(&place.dead, &letter.id).into();
    let multi = place.client.multi().delete(&path);
    let multi = multi.create(&entry, letter.data.clone()).sequential();
    let mut change = Change::new(&place.client, &path);
    loop {
        match multi.clone().commit().await {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NoNode && error.path() == Some(&path) => {
                return Ok(change.is_undecided());
            }
            Err(error) if error.kind() == ErrorKind::NoNode => {
                if let Err(error) = place.create(&place.client).await {
                    change.hindered(error).await?;
                }
            }
            Err(error) => change.failed(error).await?,
        }
    }
}

/// Deletes it; after a lost answer the letter that is gone means that it was.
pub(super) async fn discard(place: &Place, letter: &DeadLetter) -> Result<bool> {
    let path: Arc<str> = parents::child(&place.dead, &letter.id).into();
    let mut change = Change::new(&place.client, &path);
    loop {
        match place.client.delete(&path).await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(change.is_undecided()),
            Err(error) => change.failed(error).await?,
        }
    }
}
