//! Choosing among the instances of a service that are there now.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use zk_client::{Client, ErrorKind};

use super::{
    ServiceInstance,
    choice::{Choice, DownPolicy, Strategy},
    decode,
};
use crate::{
    cache::{Cache, CacheChange, CacheChanges, CacheScope, CacheSource},
    connection::timer,
    error::{Error, Result},
};

type Filter<P> = Box<dyn Fn(&ServiceInstance<P>) -> bool + Send + Sync>;

/// How to choose among the instances of a service; made by [`Discovery::provider`](super::Discovery::provider).
#[must_use = "nothing is read until `start`"]
pub struct ProviderSource<P> {
    client: Client,
    path: Arc<str>,
    strategy: Strategy,
    down: DownPolicy,
    filter: Option<Filter<P>>,
    timeout: Option<Duration>,
    payload: PhantomData<fn() -> P>,
}

impl<P> ProviderSource<P> {
    pub(super) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
            strategy: Strategy::default(),
            down: DownPolicy::default(),
            filter: None,
            timeout: None,
            payload: PhantomData,
        }
    }

    /// One after the other, which is what is done unless told.
    pub const fn round_robin(mut self) -> Self {
        self.strategy = Strategy::RoundRobin;
        self
    }

    /// Any of them, by chance.
    pub const fn random(mut self) -> Self {
        self.strategy = Strategy::Random;
        self
    }

    /// Always the same, as long as it is there.
    pub const fn sticky(mut self) -> Self {
        self.strategy = Strategy::Sticky;
        self
    }

    /// Leaves an instance out after so many errors within `rest`, until that has passed since the first; 2 and 30 s unless
    /// told.
    pub const fn down_after(mut self, errors: u32, rest: Duration) -> Self {
        self.down = DownPolicy { errors, rest };
        self
    }

    /// Leaves out instances for which this is false. It must not block.
    pub fn filter(
        mut self,
        filter: impl Fn(&ServiceInstance<P>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// Lets [`start`](Self::start) give up after this long.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Reads the instances and goes on following them; returns when all that are there now are known.
    ///
    /// # Errors
    ///
    /// As [`CacheSource::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops it.
    pub async fn start(self) -> Result<ServiceProvider<P>> {
        let mut source = CacheSource::new(&self.client, &self.path, CacheScope::Children);
        if let Some(timeout) = self.timeout {
            source = source.timeout(timeout);
        }
        let cache = source.start().await?;
        let seed = self.client.guid().bytes().fold(0_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let view = View {
            changes: cache.changes(),
            instances: BTreeMap::new(),
            choice: Choice::new(self.strategy, self.down, seed),
        };
        Ok(ServiceProvider {
            client: self.client,
            cache,
            filter: self.filter,
            view: Mutex::new(view),
        })
    }
}

impl<P> fmt::Debug for ProviderSource<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSource")
            .field("path", &self.path)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

/// The instances of a service that are there now, and a way to choose among them. Share it in an `Arc`.
pub struct ServiceProvider<P> {
    client: Client,
    cache: Cache,
    filter: Option<Filter<P>>,
    view: Mutex<View<P>>,
}

/// The instances, decoded as far as their changes have been looked at.
struct View<P> {
    changes: CacheChanges,
    instances: BTreeMap<Arc<str>, Arc<ServiceInstance<P>>>,
    choice: Choice,
}

impl<P: DeserializeOwned> View<P> {
    /// Looks at the changes that are there.
    fn catch_up(&mut self) {
        while let Some(Some(Ok(change))) = self.changes.next().now_or_never() {
            match change {
                CacheChange::Added(node) | CacheChange::Changed { new: node, .. } => {
                    match decode(&node.path, &node.data) {
                        Some(instance) => self.instances.insert(node.path, Arc::new(instance)),
                        None => self.instances.remove(&node.path),
                    };
                }
                CacheChange::Removed(node) => drop(self.instances.remove(&node.path)),
                CacheChange::Synced => {}
            }
        }
    }
}

impl<P: DeserializeOwned> ServiceProvider<P> {
    /// The next instance to use; `None` where there is none that is enabled, wanted and well. Immediate.
    #[must_use]
    pub fn pick(&self) -> Option<Arc<ServiceInstance<P>>> {
        let mut view = self.view.lock();
        view.catch_up();
        let usable: Vec<_> = view
            .instances
            .values()
            .filter(|instance| self.is_wanted(instance))
            .map(Arc::clone)
            .collect();
        let ids: Vec<_> = usable.iter().map(|instance| instance.id.as_str()).collect();
        let place = view.choice.pick(&ids, self.client.clock())?;
        usable.get(place).map(Arc::clone)
    }

    /// The next instance to use, as soon as there is one: a new one, or one that was left out for its errors and has rested.
    ///
    /// # Errors
    ///
    /// [`Error::SessionGone`] when the client has no session for good. Cancel safe.
    pub async fn wait(&self) -> Result<Arc<ServiceInstance<P>>> {
        let mut changes = self.cache.changes();
        loop {
            if let Some(instance) = self.pick() {
                return Ok(instance);
            }
            let rest = self.view.lock().choice.next_rested(self.client.clock());
            let rested = timer(&self.client, || sleep(rest.unwrap_or(Duration::MAX)));
            tokio::select! {
                () = rested => {}
                change = changes.next() => match change {
                    Some(change) => drop(change?),
                    None => {
                        let reason = ErrorKind::Closed;
                        return Err(Error::SessionGone { reason });
                    }
                },
            }
        }
    }

    /// All instances that are there now, in the order of their identifiers, whether they are to be used or not.
    #[must_use]
    pub fn instances(&self) -> Vec<Arc<ServiceInstance<P>>> {
        let mut view = self.view.lock();
        view.catch_up();
        view.instances.values().map(Arc::clone).collect()
    }

    /// Says that something went wrong with an instance that was picked.
    pub fn note_error(&self, instance: &ServiceInstance<P>) {
        let now = self.client.clock();
        self.view.lock().choice.note_error(&instance.id, now);
    }

    /// Whether instances may have come or gone unseen: there is no connection.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.cache.is_stale()
    }

    fn is_wanted(&self, instance: &ServiceInstance<P>) -> bool {
        instance.enabled && self.filter.as_ref().is_none_or(|wanted| wanted(instance))
    }
}

impl<P> fmt::Debug for ServiceProvider<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceProvider")
            .field("path", &self.cache.path())
            .finish_non_exhaustive()
    }
}
