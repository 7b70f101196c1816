//! The states of a session, as its users see them.

use zk_proto::SessionId;

/// Where a client stands with its session.
///
/// ```text
///   Connecting --> Connected | ReadOnly <--> Suspended --> Expired --> Renewed --> ...
///                                                          (or the end, by OnExpiry::Stop)
///   anything   --> Closed | AuthFailed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// There is no session yet.
    Connecting,
    /// Connected to a server of a quorum.
    Connected,
    /// Connected to a server that has lost its quorum: reads work, on possibly old data; writes do not.
    ReadOnly,
    /// The connection is lost. The session may live on: the client is looking for a server to resume it.
    Suspended,
    /// A new session took the place of an expired one, and is connected. Ephemeral nodes and watches of the
    /// old one are gone.
    Renewed {
        /// The session that expired.
        old: SessionId,
        /// The session from now on.
        new: SessionId,
    },
    /// The session has expired, as a server said. A [`Renewed`](Self::Renewed) follows unless the client was
    /// told to stop.
    Expired,
    /// The client is closed. Nothing follows.
    Closed,
    /// A server refused the client's credentials. Only closing follows.
    AuthFailed,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// A server said that it has expired.
    Expired,
    /// The client was closed.
    Closed,
    /// A server refused the client's credentials.
    AuthFailed,
}

impl SessionState {
    /// Whether requests reach a server.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(
            self,
            Self::Connected | Self::ReadOnly | Self::Renewed { .. }
        )
    }
}

#[cfg(feature = "driver")]
pub(crate) use stream::StateHub;
#[cfg(feature = "driver")]
pub use stream::States;

#[cfg(feature = "driver")]
mod stream {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::{
        Stream,
        channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    };
    use parking_lot::Mutex;

    use super::SessionState;

    /// Every state of a client's session from now on, beginning with the present one.
    ///
    /// A [`Stream`] that loses no transition; it ends after [`SessionState::Closed`]. What was not taken yet
    /// is kept for it, which is little: states change rarely.
    #[derive(Debug)]
    pub struct States {
        receiver: UnboundedReceiver<SessionState>,
    }

    impl States {
        /// The next state; `None` after the client was closed.
        ///
        /// Cancel safe: dropping the future loses nothing.
        pub async fn next(&mut self) -> Option<SessionState> {
            std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
        }
    }

    impl Stream for States {
        type Item = SessionState;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionState>> {
            Pin::new(&mut self.receiver).poll_next(cx)
        }
    }

    /// Where states are announced.
    #[derive(Debug)]
    pub(crate) struct StateHub {
        inner: Mutex<Inner>,
    }

    #[derive(Debug)]
    struct Inner {
        current: SessionState,
        listeners: Vec<UnboundedSender<SessionState>>,
        /// With so many listeners, those that are gone are looked for: states may not change for weeks.
        many: usize,
    }

    /// So few listeners are never looked through.
    const FEW: usize = 16;

    impl StateHub {
        pub(crate) fn new() -> Self {
            let current = SessionState::Connecting;
            Self {
                inner: Mutex::new(Inner {
                    current,
                    listeners: Vec::new(),
                    many: FEW,
                }),
            }
        }

        pub(crate) fn announce(&self, state: SessionState) {
            let mut inner = self.inner.lock();
            inner.current = state;
            inner
                .listeners
                .retain(|listener| listener.unbounded_send(state).is_ok());
            if state == SessionState::Closed {
                inner.listeners.clear();
            }
        }

        pub(crate) fn current(&self) -> SessionState {
            self.inner.lock().current
        }

        pub(crate) fn subscribe(&self) -> States {
            let (sender, receiver) = unbounded();
            let mut inner = self.inner.lock();
            // A channel whose receiver is right here takes everything.
            let _ = sender.unbounded_send(inner.current);
            if inner.current != SessionState::Closed {
                if inner.listeners.len() >= inner.many {
                    inner.listeners.retain(|listener| !listener.is_closed());
                    inner.many = FEW.max(inner.listeners.len() * 2);
                }
                inner.listeners.push(sender);
            }
            States { receiver }
        }
    }

    #[cfg(test)]
    mod tests {
        use futures::{FutureExt, StreamExt};

        use super::*;

        #[test]
        fn who_listens_no_more_is_forgotten_although_no_state_changes() {
            let hub = StateHub::new();
            let mut kept: Vec<_> = (0..100).map(|_| hub.subscribe()).collect();
            for _ in 0..10_000 {
                drop(hub.subscribe());
            }
            let held = hub.inner.lock().listeners.len();
            assert!((100..=200).contains(&held), "{held}");
            hub.announce(SessionState::Connected);
            assert_eq!(hub.inner.lock().listeners.len(), 100);
            for states in &mut kept {
                let told: Vec<_> = states.take(2).collect().now_or_never().unwrap();
                assert_eq!(told, [SessionState::Connecting, SessionState::Connected]);
            }
        }
    }
}
