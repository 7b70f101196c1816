//! The live connection pool, and how a new one takes over from the old one.
//!
//! A request takes a [`Lease`] on the pool that is current at that moment and keeps it until it has its
//! answer. Taking over is one pointer swap under a lock; the old pool is closed once its last lease is
//! returned, so no request ever meets a closed pool.

use std::{sync::Arc, time::Duration};

use parking_lot::RwLock;
use sqlx::{AnyPool, any::AnyPoolOptions};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::settings::Settings;

/// A pool, the settings it was opened with, and a count of who is using it.
struct Generation {
    settings: Arc<Settings>,
    pool: AnyPool,
    leases: TaskTracker,
}

/// The right to use one generation of the pool until dropped.
pub(crate) struct Lease {
    generation: Arc<Generation>,
    _token: TaskTrackerToken,
}

impl Lease {
    /// The pool.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.generation.pool
    }

    /// The settings it runs with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.generation.settings
    }
}

/// The pool of the moment.
pub(crate) struct LivePool {
    current: RwLock<Arc<Generation>>,
}

impl LivePool {
    /// Opens the first pool.
    ///
    /// # Errors
    /// When the database cannot be reached with these settings.
    pub(crate) async fn open(settings: Arc<Settings>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            current: RwLock::new(Arc::new(Generation::open(settings).await?)),
        })
    }

    /// A lease on the current pool.
    pub(crate) fn lease(&self) -> Lease {
        // The token is taken while the read lock is held: after a swap nobody can start to use the old pool.
        let current = self.current.read();
        Lease {
            generation: Arc::clone(&current),
            _token: current.leases.token(),
        }
    }

    /// Opens a pool with new settings, lets it take over, drains the old one and closes it.
    ///
    /// # Errors
    /// When the database cannot be reached with the new settings; the old pool then goes on as if nothing
    /// had happened.
    pub(crate) async fn take_over(&self, settings: Arc<Settings>) -> Result<(), sqlx::Error> {
        let next = Arc::new(Generation::open(settings).await?);
        let old = std::mem::replace(&mut *self.current.write(), next);
        old.drain_and_close().await;
        Ok(())
    }

    /// Drains the current pool and closes it; for the end of the program.
    pub(crate) async fn close(&self) {
        let current = Arc::clone(&self.current.read());
        current.drain_and_close().await;
    }
}

impl Generation {
    async fn open(settings: Arc<Settings>) -> Result<Self, sqlx::Error> {
        let pool = AnyPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Settings::ACQUIRE_TIMEOUT)
            .idle_timeout(Duration::from_secs(60))
            .connect(&settings.url)
            .await?;
        sqlx::query("SELECT 1").execute(&pool).await?;
        Ok(Self {
            settings,
            pool,
            leases: TaskTracker::new(),
        })
    }

    async fn drain_and_close(&self) {
        self.leases.close();
        self.leases.wait().await;
        self.pool.close().await;
    }
}
