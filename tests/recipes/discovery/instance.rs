//! Instances that register and leave again, in one way or another.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::time::timeout;
use zk_recipes::{discovery::Discovery, prelude::*};

use super::book::{Said, Shared};
use crate::world::{T, now};

/// An instance that is registered.
pub(super) struct Instance {
    pub(super) registration: Registration,
    pub(super) id: String,
    pub(super) said: Said,
    pub(super) book: Shared,
}

impl Instance {
    /// `None` where patience ends first.
    pub(super) async fn register(
        services: &Discovery,
        id: &str,
        patience: Duration,
        book: &Shared,
    ) -> zk_recipes::Result<Option<Self>> {
        let said = book.lock().begin(id);
        let registered = timeout(patience, services.register(said.instance(id))).await;
        let Ok(registration) = registered else {
            book.lock().tally.cancelled += 1;
            return Ok(None);
        };
        Ok(Some(Self {
            registration: registration?,
            id: id.to_owned(),
            said,
            book: Arc::clone(book),
        }))
    }

    /// Says something else. Whether or not patience ends first, that is what it says from now on.
    pub(super) async fn update(&mut self, patience: Duration) -> zk_recipes::Result<()> {
        self.said.version += 1;
        self.book.lock().entries[self.said.number].version = self.said.version;
        let update = self.registration.update(self.said.instance(&self.id));
        timeout(patience, update).await.unwrap_or(Ok(()))
    }

    /// In one way or another.
    pub(super) async fn leave(self, rng: &mut Rng) {
        match rng.u8(..4) {
            0 => drop(self.registration),
            1 => {
                let moment = (T / 4).mul_f64(rng.f64().powi(2));
                drop(timeout(moment, self.registration.release()).await);
            }
            // It may have found no server.
            _ => {
                if self.registration.release().await.is_ok() {
                    let mut book = self.book.lock();
                    book.entries[self.said.number].gone = Some(now());
                    book.tally.left += 1;
                }
            }
        }
    }
}
