//! The live connection pool, and how a new one takes over from the old one.
//!
//! A request takes a [`Lease`] on the pool that is current at that moment and keeps it until it has its
//! answer. Taking over is one pointer swap under a lock; the old pool is closed once its last lease is
//! returned, so no request ever meets a closed pool.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use sqlx::{AnyPool, Row as _, any::AnyPoolOptions};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::settings::Settings;

/// A pool, the settings it was opened with, and a count of who is using it.
struct Generation {
    settings: Arc<Settings>,
    pool: AnyPool,
    leases: TaskTracker,
}

/// Whose connections a database has, by its own account, and how many.
pub(crate) struct Listed(Vec<(Whose, i64)>);

/// By which settings, as which role, with which database.
type Whose = (String, String, String);

/// What `pg_stat_activity` has of this program: its connections bear the banner of their settings.
const LIST: &str = "SELECT application_name, usename::text, datname::text, count(*) FROM pg_stat_activity \
                    WHERE application_name LIKE '% settings' GROUP BY 1, 2, 3";

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, ((banner, role, database), _)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}the {banner} ({role} at {database})")?;
        }
        Ok(())
    }
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

    /// Whose connections the database lists; `None` of one that has no list.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn listed(&self) -> Result<Option<Listed>, sqlx::Error> {
        let lease = self.lease();
        if !lease.settings().is_postgres() {
            return Ok(None);
        }
        let rows = sqlx::query(LIST).fetch_all(lease.pool()).await?;
        let listed = rows.iter().map(|row| {
            let whose = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            Ok((whose, row.try_get(3)?))
        });
        Ok(Some(Listed(listed.collect::<Result<_, sqlx::Error>>()?)))
    }

    /// Whether these are connections of the present settings, no more than they allow, and nobody else's.
    pub(crate) fn is_all(&self, listed: &Listed) -> bool {
        let current = self.current.read();
        let settings = &current.settings;
        matches!(listed.0.as_slice(), [((banner, ..), count)]
            if *banner == settings.banner && (1..=i64::from(settings.max_connections)).contains(count))
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
            .connect(&settings.named_url())
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
