//! What the znode holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The service's settings, kept as JSON in a znode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The database: `sqlite:`, `mysql:` or `postgres:`. May hold a password, so it is never printed.
    pub(crate) url: String,
    /// How many connections the pool may open, 1 to 100.
    pub(crate) max_connections: u32,
    /// What the service calls itself in its answers.
    pub(crate) banner: String,
}

impl Settings {
    /// How long a query may wait for a connection.
    pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

    /// The settings written when the znode does not exist yet.
    pub(crate) fn first(url: String) -> Self {
        Self {
            url,
            max_connections: 2,
            banner: "first settings".into(),
        }
    }

    /// What a reader can see is wrong without opening a connection.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) fn check(&self) -> Result<(), String> {
        let known = ["sqlite:", "mysql:", "mariadb:", "postgres:", "postgresql:"];
        if !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            return Err("the url is neither sqlite:, mysql: nor postgres:".into());
        }
        if !(1..=100).contains(&self.max_connections) {
            return Err(format!(
                "max_connections is {}, not 1 to 100",
                self.max_connections
            ));
        }
        Ok(())
    }
}
