//! What the znode holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The service's settings, kept as JSON in a znode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The database: `sqlite:` or `postgres:`. May hold a password, so it is never printed.
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
        if !self.url.starts_with("sqlite:") && !self.is_postgres() {
            return Err("the url is neither sqlite: nor postgres:".into());
        }
        if !(1..=100).contains(&self.max_connections) {
            return Err(format!(
                "max_connections is {}, not 1 to 100",
                self.max_connections
            ));
        }
        Ok(())
    }
    /// Whether the database is a server, which lists its connections.
    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres:") || self.url.starts_with("postgresql:")
    }

    /// The url, with a name for the connections where the database has use for one.
    pub(crate) fn named_url(&self) -> String {
        match url::Url::parse(&self.url) {
            Ok(mut url) if self.is_postgres() => {
                url.query_pairs_mut()
                    .append_pair("application_name", &self.banner);
                url.into()
            }
            _ => self.url.clone(),
        }
    }
}
