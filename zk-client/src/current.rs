//! The current client: so that `Lock::acquire(path)` needs no client passed to it.
//!
//! A scope is a task's own and beats the installed one, which is the process's. Nothing here connects by
//! itself, and library code takes `&Client` instead.

use std::fmt;

use parking_lot::RwLock;

use crate::{
    client::Client,
    error::{Error, ErrorKind, Failure, Result},
};

static INSTALLED: RwLock<Option<Client>> = RwLock::new(None);

tokio::task_local! {
    static SCOPE: Client;
}

/// Keeps a client installed; dropping it uninstalls the client.
#[must_use = "the client is uninstalled when this is dropped"]
pub struct Installed {
    _private: (),
}

impl Drop for Installed {
    fn drop(&mut self) {
        // The client is dropped after the lock: its drop runs code of its own.
        let client = INSTALLED.write().take();
        drop(client);
    }
}

impl fmt::Debug for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installed").finish_non_exhaustive()
    }
}

impl Client {
    /// Makes this the process's current client, for as long as the result lives. Once, in `main`.
    ///
    /// # Errors
    /// [`BadArguments`](ErrorKind::BadArguments) when another client is installed.
    pub fn install(self) -> Result<Installed> {
        let mut installed = INSTALLED.write();
        if installed.is_some() {
            let failure = Failure::bad_arguments("another client is installed");
            return Err(Error::new(failure, "install", None));
        }
        *installed = Some(self);
        Ok(Installed { _private: () })
    }

    /// Runs a future with this as the current client, inside of which it beats the installed one.
    ///
    /// Tasks spawned inside do not inherit it. As cancel safe as the future.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        SCOPE.scope(self.clone(), future).await
    }

    /// The current client: that of the innermost [`scope`](Self::scope), else the installed one.
    ///
    /// # Errors
    /// [`NoCurrentClient`](ErrorKind::NoCurrentClient) when there is neither.
    pub fn current() -> Result<Self> {
        let scoped = SCOPE.try_with(Self::clone).ok();
        scoped.or_else(|| INSTALLED.read().clone()).ok_or_else(|| {
            Error::new(
                Failure::not_applied(ErrorKind::NoCurrentClient),
                "current",
                None,
            )
        })
    }
}
