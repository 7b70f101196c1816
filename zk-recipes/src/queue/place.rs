//! A queue's directories.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use zk_client::{Client, ErrorKind};

use super::{delay::LeaderClock, order};
use crate::{
    error::{Error, Result},
    parents,
};

/// The queue's nodes.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) client: Client,
    pub(super) path: Arc<str>,
    pub(super) entries: Arc<str>,
    pub(super) taken: Arc<str>,
    pub(super) puts: Arc<str>,
    pub(super) dead: Arc<str>,
    pub(super) delayed: Arc<str>,
    pub(super) clock: LeaderClock,
    /// Whether it is known that nothing of another recipe is in the directory.
    checked: AtomicBool,
}

impl Place {
    pub(super) fn new(client: &Client, path: &str) -> Self {
        let child = |name| Arc::from(parents::child(path, name));
        Self {
            client: client.clone(),
            path: path.into(),
            entries: child("entries"),
            taken: child("taken"),
            puts: child("puts"),
            dead: child("dead"),
            delayed: child("delayed"),
            clock: LeaderClock::default(),
            checked: AtomicBool::new(false),
        }
    }

    /// Creates the directories. That of the items is no container: a new one would begin its numbers anew, and a name that
    /// one consumer still has in mind would be another item's. Nor is that of the claims, which kazoo makes once and for all, nor
    /// that of the delayed ones, which is there to be watched.
    pub(super) async fn create(&self, client: &Client) -> zk_client::Result<()> {
        parents::create_to_stay(client, &self.entries, "").await?;
        parents::create_to_stay(client, &self.taken, "").await?;
        parents::create_to_stay(client, &self.delayed, "").await
    }

    /// Creates the directory of the dead letters, which stays as that of the items does, and for the same reason.
    pub(super) async fn create_dead(&self, client: &Client) -> zk_client::Result<()> {
        parents::create_to_stay(client, &self.dead, "").await
    }

    /// Looks, once, whether another recipe keeps its items here.
    pub(super) async fn check(&self, client: &Client) -> zk_client::Result<Result<()>> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(Ok(()));
        }
        let children = match client.children(&self.path).await {
            Err(error) if error.kind() == ErrorKind::NoNode => return Ok(Ok(())),
            children => children?,
        };
        Ok(match order::foreign(&children) {
            Some(name) => Err(Error::Foreign {
                path: Arc::clone(&self.path),
                name: name.to_owned(),
            }),
            None => {
                self.checked.store(true, Ordering::Relaxed);
                Ok(())
            }
        })
    }
}
