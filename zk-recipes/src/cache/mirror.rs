//! The task of a cache: watch, read, commit, and begin again after every gap.
//!
//! ```text
//!   session --> watch --> read everything --> read what is told --> in order? commit --> wait --+
//!      ^          ^                                 ^                                           |
//!      |          |                                 +------------ something is told ------------+
//!      |          +-- a gap: a reconnect, events that were dropped
//!      +-- the session ended: again in the next one
//! ```

use std::{pin::pin, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use zk_client::{Client, ErrorKind, Session};

use super::{
    reading::{Answer, Reading},
    scope::Scope,
    source::{Hint, Read, Source},
    store::Store,
    work::{Changed, Work},
};
use crate::{
    connection::{Patience, Setback, connected, is_bound, setback},
    error::Error,
};

/// How many rounds of reading, each of which was overtaken by further changes, before what was read is shown all the same.
const ROUNDS_MAX: u32 = 64;

/// What a cache's task works with.
pub(super) struct Mirror {
    pub(super) client: Client,
    pub(super) root: Arc<str>,
    pub(super) scope: Scope,
    /// Whether to ask for a persistent watch.
    pub(super) persistent: bool,
    pub(super) store: Arc<Mutex<Store>>,
    /// Tells that the store has changed, and when nobody has use for it any more.
    pub(super) changed: watch::Sender<()>,
}

/// However the task ends, whoever observes is told: also by the end of its runtime, or a panic.
impl Drop for Mirror {
    fn drop(&mut self) {
        let reason = ErrorKind::Closed;
        self.store.lock().end(Error::SessionGone { reason });
        self.changed.send_replace(());
    }
}

impl Mirror {
    /// Runs until nobody has use for it, or the client has no session for good.
    pub(super) async fn run(self) {
        tokio::select! {
            biased;
            () = self.changed.closed() => {}
            error = self.follow() => {
                tracing::warn!(path = %self.root, %error, "a cache is not kept any more");
                self.store.lock().end(error);
                self.changed.send_replace(());
            }
        }
    }

    /// Mirrors in one session after the other; the error that ends it.
    async fn follow(&self) -> Error {
        let mut patience = Patience::new();
        loop {
            if let Err(over) = connected(&self.client).await {
                return over;
            }
            let session = self.client.session();
            if let Err(error) = self.follow_in(&session, &mut patience).await {
                return error;
            }
            self.store.lock().suspend();
            if let Err(over) = patience.wait(&self.client).await {
                return over;
            }
        }
    }

    /// Returns when the session is over.
    async fn follow_in(&self, session: &Session, patience: &mut Patience) -> Result<(), Error> {
        let mut source = loop {
            match Source::open(session, &self.root, self.scope, self.persistent).await {
                Ok(source) => break source,
                Err(error) => {
                    if !self.survives(session, error, patience).await? {
                        return Ok(());
                    }
                }
            }
        };
        let mut round = Round::new(self, &source);
        loop {
            while let Some(hint) = source.now() {
                if !self.note(hint, &mut round) {
                    return Ok(());
                }
            }
            let stale = self.store.lock().is_stale();
            if round.is_in_order(stale) {
                self.commit(&mut round);
                patience.reset();
            }
            if round.work.is_empty() {
                let hint = source.next().await;
                if !self.note(hint, &mut round) {
                    return Ok(());
                }
                continue;
            }
            let reads = round.work.take();
            match self.read(session, &reads, &mut source, &mut round).await {
                None => return Ok(()),
                Some(Ok(answers)) => self.learn(answers, &source, &mut round),
                Some(Err(error)) => {
                    round.repeat(reads);
                    if !self.survives(session, error, patience).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads, and takes note of what is told meanwhile; `None` when the session is over.
    async fn read(
        &self,
        session: &Session,
        reads: &[Read],
        source: &mut Source,
        round: &mut Round,
    ) -> Option<zk_client::Result<Vec<Answer>>> {
        let reading = round.reading.clone();
        let mut reading = pin!(reading.run(session, reads));
        loop {
            tokio::select! {
                biased;
                answers = &mut reading => return Some(answers),
                hint = source.next() => if !self.note(hint, round) {
                    return None;
                },
            }
        }
    }

    /// False when the session is over.
    fn note(&self, hint: Hint, round: &mut Round) -> bool {
        match hint {
            Hint::Read(read) => round.work.add(read),
            Hint::Disconnected => {
                round.connected = false;
                self.store.lock().suspend();
            }
            Hint::Everything => {
                round.connected = true;
                round.rounds = 0;
                round.work.everything();
            }
            Hint::Over => return false,
        }
        true
    }

    fn learn(&self, answers: Vec<Answer>, source: &Source, round: &mut Round) {
        round.rounds += u32::from(round.work.is_listed());
        let store = self.store.lock();
        for answer in answers {
            let Answer {
                read,
                found,
                change,
            } = answer;
            round.work.learn(&read, found, store.nodes());
            if let Some(change) = change {
                source.watch(read, change);
            }
        }
    }

    fn commit(&self, round: &mut Round) {
        // In order or not, it is everything once all was read; what is left has changed since.
        let everything = std::mem::take(&mut round.work.everything);
        let changed: Changed = std::mem::take(&mut round.work.changed);
        round.rounds = 0;
        tracing::trace!(path = %self.root, nodes = changed.len(), everything, "cache in order");
        self.store.lock().commit(changed, everything);
        self.changed.send_replace(());
    }

    /// After an error: whether to go on in this session, once there is a connection.
    ///
    /// # Errors
    ///
    /// What will not get better.
    async fn survives(
        &self,
        session: &Session,
        error: zk_client::Error,
        patience: &mut Patience,
    ) -> Result<bool, Error> {
        match setback(&error) {
            Setback::SessionEnded if is_bound(&error, session) => Err(error.into()),
            Setback::SessionEnded => Ok(false),
            // The root's ACL may be mended, and what is held is served meanwhile.
            Setback::Refused if !self.store.lock().was_synced() => Err(error.into()),
            found => {
                if found == Setback::Refused {
                    tracing::warn!(path = %self.root, %error, "a cache cannot read its root");
                }
                // On a connection that is up, too: what the watch told, or would have, is not read.
                self.store.lock().suspend();
                Ok(patience.wait(session).await.is_ok())
            }
        }
    }
}

/// The state of following one session.
struct Round {
    work: Work,
    reading: Reading,
    connected: bool,
    /// How often was read since the last commit, without what reading everything takes.
    rounds: u32,
}

impl Round {
    fn new(mirror: &Mirror, source: &Source) -> Self {
        let (root, scope, watched) = (Arc::clone(&mirror.root), mirror.scope, source.is_one_shot());
        Self {
            work: Work::new(&root, scope, watched),
            reading: Reading {
                root,
                scope,
                watched,
            },
            connected: true,
            rounds: 0,
        }
    }

    /// Whether what was read is to be shown: it is the state of one moment, or there is no end to the changes. That nothing
    /// has changed is shown, too, where there was doubt.
    fn is_in_order(&self, stale: bool) -> bool {
        let news = self.work.everything || !self.work.changed.is_empty();
        let endless = self.rounds >= ROUNDS_MAX && self.work.is_listed();
        let shown = match self.work.is_empty() {
            true => news || stale,
            false => news && endless,
        };
        self.connected && shown
    }

    fn repeat(&mut self, reads: Vec<Read>) {
        for read in reads {
            self.work.add(read);
        }
    }
}
