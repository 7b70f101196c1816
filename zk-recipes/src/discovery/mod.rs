//! Service discovery: instances announce themselves, and who needs a service is given one of them.
//!
//! **What it guarantees.** A [`Registration`] is listed while its client has a session, and comes back by itself after the session
//! expired: it is a [`persistent_node`](crate::persistent_node). A [`ServiceProvider`] chooses, without I/O, among the instances
//! that a server listed at one moment, and follows every change: it is a [`cache`](crate::cache). It does **not** guarantee that an
//! instance works: one that dies is listed for up to the session timeout, and without a connection the last list is
//! served on ([`ServiceProvider::is_stale`]). With one, the list is as old as the server's state, in an ensemble up to `syncLimit`,
//! and a server that is gone is missed within the session timeout. Tell [`ServiceProvider::note_error`] what fails; after two
//! errors within 30 s an instance is left out for the rest of that time.
//!
//! **Fairness**: round robin, random or sticky, each provider for itself. **CONNECTIONLOSS**, **suspension**, **expiry** and
//! **cancellation** are as on the pages of the two. **No orphans**: dropping a registration, or releasing it, removes it. A
//! node that cannot be read as an instance is left out, with a warning; so is an instance whose payload is of another type than
//! the reader's, unless that is `()`.
//!
//! Paths (`base/service/id`) and JSON are those of curator-x-discovery, so both can share them. Only instances of the
//! type DYNAMIC are registered here; those of all types are found.

mod choice;
mod instance;
mod payload;
mod provider;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use zk_client::{Client, ErrorKind};

pub use self::{
    instance::{ServiceInstance, ServiceType, UriPart, UriSpec},
    provider::{ProviderSource, ServiceProvider},
};
use crate::{
    attempt::Attempt,
    error::{BadContent, Error, Result},
    path::child,
    persistent_node::{PersistentNode, PersistentNodeSource, Presence},
};

/// The services below a base path; made by [`discovery`](crate::ClientExt::discovery). Nothing happens until it is used.
#[derive(Debug, Clone)]
pub struct Discovery {
    client: Client,
    base: Arc<str>,
}

impl Discovery {
    pub(crate) fn new(client: &Client, base: &str) -> Self {
        Self {
            client: client.clone(),
            base: base.into(),
        }
    }

    /// Registers an instance; returns once it is listed.
    ///
    /// Where it has none it gets a random identifier and the present time.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::BadContent`] when the payload cannot be written as JSON; else as
    /// [`PersistentNodeSource::start`]. While another session holds the identifier it waits, at most as long as
    /// [told](Attempt::timeout).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future unregisters, in the background; so does its timeout.
    pub fn register<P: Serialize>(
        &self,
        mut instance: ServiceInstance<P>,
    ) -> Attempt<Registration> {
        if instance.id.is_empty() {
            instance.id = self.client.guid();
        }
        if instance.registration_time_utc == 0 {
            instance.registration_time_utc = now_utc_ms();
        }
        let path = child(&child(&self.base, &instance.name), &instance.id);
        let content = encode(&path, &instance);
        let (name, id, client) = (instance.name, instance.id, self.client.clone());
        self.attempt(&path.as_str().into(), async move {
            let node = PersistentNodeSource::new(&client, &path, content?.into());
            let node = node.start().await?;
            Ok(Registration { node, name, id })
        })
    }

    /// Lists the names of the services that have had instances, in order.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. Cancel safe.
    pub fn names(&self) -> Attempt<Vec<String>> {
        let Self { client, base } = self.clone();
        self.attempt(&self.base, async move {
            match client.children(&base).await {
                Err(error) if error.kind() == ErrorKind::NoNode => Ok(Vec::new()),
                names => {
                    let mut names = names?;
                    names.sort_unstable();
                    Ok(names)
                }
            }
        })
    }

    /// Reads the instances of a service as they are now. To choose among them again and again, use a
    /// [`provider`](Self::provider).
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports. Cancel safe.
    pub fn instances<P: DeserializeOwned + Send + 'static>(
        &self,
        name: &str,
    ) -> Attempt<Vec<ServiceInstance<P>>> {
        let (client, service) = (self.client.clone(), child(&self.base, name));
        self.attempt(&service.as_str().into(), async move {
            instances(&client, &service).await
        })
    }

    fn attempt<T: Send + 'static>(
        &self,
        path: &Arc<str>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("discovery", %path);
        Attempt::plain((&self.client, path, span), work)
    }

    /// To be given one instance after the other of this service: [`ProviderSource::start`].
    pub fn provider<P>(&self, name: &str) -> ProviderSource<P> {
        ProviderSource::new(&self.client, &child(&self.base, name))
    }
}

/// An instance that is registered. Dropping it unregisters in the background; [`release`](Self::release) waits for that.
#[must_use = "dropping it unregisters the instance"]
#[derive(Debug)]
pub struct Registration {
    node: PersistentNode,
    name: String,
    id: String,
}

impl Registration {
    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The instance's identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is listed now, as far as is known here.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.node.presence()
    }

    /// Says something else, under the same name and identifier; returns when the others can read it.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::BadContent`] when it cannot be written as JSON; else as [`PersistentNode::set`], and is
    /// cancel safe as that.
    pub fn update<P: Serialize>(&self, mut instance: ServiceInstance<P>) -> Attempt<()> {
        self.name.clone_into(&mut instance.name);
        self.id.clone_into(&mut instance.id);
        if instance.registration_time_utc == 0 {
            instance.registration_time_utc = now_utc_ms();
        }
        let content = encode(self.node.path(), &instance);
        self.node.set_encoded(content.map(Bytes::from))
    }

    /// Unregisters, and returns when the instance is not listed any more.
    ///
    /// # Errors
    ///
    /// As [`PersistentNode::release`].
    pub async fn release(self) -> Result<()> {
        self.node.release().await
    }
}

async fn instances<P: DeserializeOwned>(
    client: &Client,
    service: &str,
) -> Result<Vec<ServiceInstance<P>>> {
    let mut ids = match client.children(service).await {
        Err(error) if error.kind() == ErrorKind::NoNode => return Ok(Vec::new()),
        ids => ids?,
    };
    ids.sort_unstable();
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        let path = child(service, &id);
        let answer = client.get_opt(&path).submit().await?;
        answers.push((path, answer));
    }
    let mut instances = Vec::with_capacity(answers.len());
    for (path, answer) in answers {
        instances.extend(answer.await?.and_then(|node| decode(&path, &node.data)));
    }
    Ok(instances)
}

fn encode<P: Serialize>(path: &str, instance: &ServiceInstance<P>) -> Result<Vec<u8>> {
    serde_json::to_vec(instance)
        .map_err(|error| Error::BadContent(BadContent::new(&path.into(), None, error.into())))
}

/// The instance in a node; `None`, with a warning, where there is none to be read.
fn decode<P: DeserializeOwned>(path: &str, data: &Bytes) -> Option<ServiceInstance<P>> {
    match serde_json::from_slice(data) {
        Ok(instance) => Some(instance),
        Err(_) => {
            // Without the decoder's error: it may quote the content.
            tracing::warn!(path, "not a service instance");
            None
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the time of day, for people who read the registration"
)]
fn now_utc_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(i64::MAX)
}
