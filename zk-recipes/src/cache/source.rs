//! Where a cache hears that it has something to read: a persistent watch of the whole, or one-shot watches of every node.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use zk_client::{
    ErrorKind, Session, SessionId, SessionState, States, Watch, WatchChange, WatchEvent,
};

use super::scope::Scope;
use crate::young::{AddWatch, Young};

/// One thing to be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    /// A node's data.
    Node(String),
    /// The names of a node's children.
    Names(String),
}

impl Read {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Node(path) | Self::Names(path) => path,
        }
    }
}

/// What a source tells.
#[derive(Debug)]
pub(super) enum Hint {
    /// This may have changed.
    Read(Read),
    /// From now on changes are not told.
    Disconnected,
    /// Changes are told again; what there was meanwhile was missed.
    Everything,
    /// The session is over.
    Over,
}

/// The watches of a cache in one session.
pub(super) enum Source {
    /// One persistent watch, recursive where more than a node is mirrored.
    Persistent {
        watch: Watch,
        root: Arc<str>,
        scope: Scope,
    },
    /// One-shot watches, left by the reads themselves, and the connection's state.
    OneShot {
        changes: FuturesUnordered<BoxFuture<'static, (Read, WatchEvent)>>,
        states: States,
        session: SessionId,
        connected: bool,
    },
}

impl Source {
    /// A persistent watch if it may be and the server has them.
    pub(super) async fn open(
        session: &Session,
        root: &Arc<str>,
        scope: Scope,
        persistent: bool,
    ) -> zk_client::Result<Self> {
        let known = session.shared_state::<Young<AddWatch>>();
        if persistent && !known.is_avoided() {
            let adding = session.watch(root);
            let added = match scope {
                Scope::Node => adding.await,
                Scope::Children | Scope::Tree => adding.recursive().await,
            };
            known.learn(added.as_ref().err());
            match added {
                Ok(watch) => {
                    let root = Arc::clone(root);
                    return Ok(Self::Persistent { watch, root, scope });
                }
                Err(error) if error.kind() == ErrorKind::Unimplemented => {
                    tracing::debug!(path = %root, "no persistent watches here; every node is watched by itself");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self::one_shot(session))
    }

    fn one_shot(session: &Session) -> Self {
        Self::OneShot {
            changes: FuturesUnordered::new(),
            states: session.states(),
            session: session.id(),
            connected: true,
        }
    }

    /// Whether every read has to leave a watch.
    pub(super) const fn is_one_shot(&self) -> bool {
        matches!(self, Self::OneShot { .. })
    }

    /// A read has left a watch that tells when it is to be repeated.
    pub(super) fn watch(&self, read: Read, change: WatchChange) {
        if let Self::OneShot { changes, .. } = self {
            changes.push(change.map(|event| (read, event)).boxed());
        }
    }

    /// What has been told already. A task that has had its share of the thread is told, too: "nothing" means in order.
    pub(super) fn now(&mut self) -> Option<Hint> {
        tokio::task::unconstrained(self.next()).now_or_never()
    }

    /// The next thing to be told. Cancel safe.
    pub(super) async fn next(&mut self) -> Hint {
        match self {
            Self::Persistent { watch, root, scope } => loop {
                let Some(event) = watch.next().await else {
                    return Hint::Over;
                };
                match event {
                    WatchEvent::SessionEnded => return Hint::Over,
                    WatchEvent::SessionDisconnected => return Hint::Disconnected,
                    WatchEvent::SessionReconnected | WatchEvent::Lagged => return Hint::Everything,
                    // Of a watch that is not recursive; the names are not asked for then.
                    WatchEvent::ChildrenChanged(_) => {}
                    change => {
                        let path = change.path().unwrap_or_default();
                        if scope.holds(root, path) {
                            return Hint::Read(Read::Node(path.to_owned()));
                        }
                    }
                }
            },
            Self::OneShot {
                changes,
                states,
                session,
                connected,
            } => loop {
                tokio::select! {
                    biased;
                    state = states.next() => match state {
                        // What began this session stays the present state for a while.
                        Some(SessionState::Renewed { new, .. }) if new == *session => {}
                        Some(SessionState::Connected | SessionState::ReadOnly) => {
                            if !std::mem::replace(connected, true) {
                                changes.clear();
                                return Hint::Everything;
                            }
                        }
                        Some(SessionState::Suspended | SessionState::Connecting) => {
                            *connected = false;
                            return Hint::Disconnected;
                        }
                        _ => return Hint::Over,
                    },
                    Some((read, event)) = changes.next() => return match event {
                        WatchEvent::SessionEnded => Hint::Over,
                        _ => Hint::Read(read),
                    },
                }
            },
        }
    }
}
