//! Reading many nodes at once: requests that leave together, and answers in their order.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{ErrorKind, Node, Pending, Session, WatchChange};

use super::{scope::Scope, source::Read, store::CachedNode};

/// How many requests leave together.
pub(super) const BATCH: usize = 256;

/// What a read has found; `None` where there is no node, or none that may be read.
#[derive(Debug)]
pub(super) enum Found {
    Node(Option<CachedNode>),
    Names(Option<Vec<String>>),
}

/// A read that was carried out, with the watch that it left.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) read: Read,
    pub(super) found: Found,
    pub(super) change: Option<WatchChange>,
}

/// A request that is on its way.
enum UnderWay {
    Node(Pending<Node>),
    Names(Pending<Vec<String>>),
    WatchedNode(Pending<(Node, WatchChange)>),
    WatchedNames(Pending<(Vec<String>, WatchChange)>),
}

/// How to read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) root: Arc<str>,
    pub(super) scope: Scope,
    /// Whether every read leaves a one-shot watch.
    pub(super) watched: bool,
}

impl Reading {
    /// Carries out all of these, or fails and can be repeated as a whole.
    pub(super) async fn run(
        &self,
        session: &Session,
        reads: &[Read],
    ) -> zk_client::Result<Vec<Answer>> {
        let mut under_way = Vec::with_capacity(reads.len());
        for read in reads {
            under_way.push(self.submit(session, read).await?);
        }
        let mut answers = Vec::with_capacity(reads.len());
        for (read, pending) in reads.iter().zip(under_way) {
            let answered = match pending.answer(read).await {
                Err(error) if self.is_absent(read, error.kind()) => {
                    self.absent(session, read).await?
                }
                answered => answered?,
            };
            answers.push(answered);
        }
        Ok(answers)
    }

    async fn submit(&self, session: &Session, read: &Read) -> zk_client::Result<UnderWay> {
        Ok(match (read, self.watched) {
            (Read::Node(path), false) => UnderWay::Node(session.get(path).submit().await?),
            (Read::Names(path), false) => UnderWay::Names(session.children(path).submit().await?),
            (Read::Node(path), true) => {
                UnderWay::WatchedNode(session.get(path).watch().submit().await?)
            }
            (Read::Names(path), true) => {
                UnderWay::WatchedNames(session.children(path).watch().submit().await?)
            }
        })
    }

    /// Whether the error says that there is nothing to be read. That the root must not be read is for the user to know.
    fn is_absent(&self, read: &Read, kind: ErrorKind) -> bool {
        kind == ErrorKind::NoNode || kind == ErrorKind::NoAuth && read.path() != &*self.root
    }

    /// There is nothing; where it is the root, one-shot watches have to wait for its creation.
    async fn absent(&self, session: &Session, read: &Read) -> zk_client::Result<Answer> {
        let nothing = |change| Answer {
            read: read.clone(),
            found: match read {
                Read::Node(_) => Found::Node(None),
                Read::Names(_) => Found::Names(None),
            },
            change,
        };
        // One of the two reads of the root waits for both.
        let waits = self.watched
            && read.path() == &*self.root
            && match read {
                Read::Node(_) => true,
                Read::Names(_) => self.scope == Scope::Children,
            };
        if !waits {
            return Ok(nothing(None));
        }
        loop {
            let (stat, change) = session.exists(read.path()).watch().await?;
            if stat.is_none() {
                return Ok(nothing(Some(change)));
            }
            // It was created in between: then it is there to be read.
            match self.submit(session, read).await?.answer(read).await {
                Err(error) if error.kind() == ErrorKind::NoNode => {}
                answered => return answered,
            }
        }
    }
}

impl UnderWay {
    async fn answer(self, read: &Read) -> zk_client::Result<Answer> {
        let read = read.clone();
        let (found, change) = match self {
            Self::Node(pending) => (Found::Node(Some(node(&read, pending.await?))), None),
            Self::Names(pending) => (Found::Names(Some(pending.await?)), None),
            Self::WatchedNode(pending) => {
                let (found, change) = pending.await?;
                (Found::Node(Some(node(&read, found))), Some(change))
            }
            Self::WatchedNames(pending) => {
                let (names, change) = pending.await?;
                (Found::Names(Some(names)), Some(change))
            }
        };
        Ok(Answer {
            read,
            found,
            change,
        })
    }
}

fn node(read: &Read, node: Node) -> CachedNode {
    CachedNode {
        path: read.path().into(),
        // A copy: what was received is a slice of a large buffer.
        data: Bytes::copy_from_slice(&node.data),
        stat: node.stat,
    }
}
