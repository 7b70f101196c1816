//! Entering: a node in the present round, and the wait until the round is open.

use std::sync::Arc;

use zk_client::{ErrorKind, Node, Session, WatchChange};

use super::{GivenUp, Inside, Member, round};
use crate::{
    attempt::Answer,
    connection::{Persistence, Setback, setback},
    error::{BadContent, Error, Result},
    held::Held,
    own_node::{OwnNode, present_session},
    parents,
};

/// "Any version": a node whose version has come round to it cannot be compared any more.
const ANY_VERSION: i32 = -1;

/// How an attempt in one session ended without having entered.
pub(super) enum Stop {
    Again(zk_client::Error),
    Fail(Error),
}

impl From<zk_client::Error> for Stop {
    fn from(error: zk_client::Error) -> Self {
        Self::Again(error)
    }
}

/// A member's node and its round.
struct Joined {
    node: OwnNode,
    round: u64,
}

/// The task that enters.
pub(super) async fn run(member: Arc<Member>, given_up: GivenUp, mut answer: Answer<u64>) {
    let begun = tokio::select! {
        biased;
        () = answer.closed() => return,
        begun = member.begin_entering(&given_up) => begun,
    };
    if let Err(error) = begun {
        // Whoever waited may be gone by now.
        let _ = answer.send(Err(error));
        return;
    }
    let mut place = None;
    let entered = tokio::select! {
        biased;
        () = answer.closed() => None,
        entered = member.enter(&mut place, &given_up) => Some(entered),
    };
    match (entered, place) {
        (Some(Ok(inside)), _) => {
            let round = inside.round;
            tracing::debug!(round, "entered");
            member.entered(inside);
            // Whoever waited may be gone by now, and has taken the place back.
            let _ = answer.send(Ok(round));
        }
        (other, mut place) => {
            let node = place.as_mut().map(|place| &mut place.node);
            member.withdraw(node).await;
            if let Some(Err(error)) = other {
                // Whoever waited may be gone by now.
                let _ = answer.send(Err(error));
            }
        }
    }
}

impl Member {
    async fn enter(&self, place: &mut Option<Joined>, given_up: &GivenUp) -> Result<Inside> {
        let mut persistence = Persistence::new();
        loop {
            let session = present_session(&self.client).await?;
            let error = match self.enter_in(&session, place, &mut persistence).await {
                Ok((held, round)) => {
                    let given_up = Arc::clone(given_up);
                    return Ok(Inside {
                        held,
                        round,
                        given_up,
                    });
                }
                Err(Stop::Fail(error)) => return Err(error),
                Err(Stop::Again(error)) => error,
            };
            if setback(&error) == Setback::SessionEnded
                && let Some(joined) = place.take()
            {
                self.outlives(&joined.node);
            }
            persistence.after(&self.client, error).await?;
        }
    }

    async fn enter_in(
        &self,
        session: &Session,
        place: &mut Option<Joined>,
        persistence: &mut Persistence,
    ) -> Result<(Held, u64), Stop> {
        loop {
            let evidence = session.evidence().submit().await?;
            let (gate, change) = self.gate(session).await?;
            let present = self.number(&gate)?;
            if let Some(other) = place.take_if(|it| it.node.session().id() != session.id()) {
                self.outlives(&other.node);
            }
            let joined = place.get_or_insert_with(|| self.join_as(session, present));
            if !joined.node.settle().await? {
                self.sweep(session).await?;
                // Before anything of ours is there, which could open a barrier of theirs.
                self.refuse_others(&session.children(&self.path).await?, present)?;
                // Only into the round that is present: a name of a past one would be released at once.
                *joined = self.join_as(session, present);
                if !self.join(joined, gate.stat.version).await? {
                    continue;
                }
            }
            let children = session.children(&self.path).await?;
            self.refuse_others(&children, joined.round)?;
            persistence.reset();
            let evidence = evidence.await?;
            let name = own_name(&joined.node);
            match round::enter((present, joined.round), &name, &children, self.count) {
                // The evidence may be too old by now; another look brings another.
                round::Enter::Entered if evidence.time_left().is_none() => {}
                round::Enter::Entered => {
                    if let Some(inside) = self.inside(place, evidence).await? {
                        return Ok(inside);
                    }
                }
                round::Enter::Anew => {
                    self.take_away(&mut joined.node).await;
                    *place = None;
                }
                round::Enter::Wait => {
                    let own = joined.node.watch().await?;
                    drop(evidence);
                    let Some(own) = own else { continue };
                    tokio::select! {
                        _ = change => {}
                        _ = own.change => {}
                    }
                }
                round::Enter::Open(members) => {
                    self.open(session, &members, (present, gate.stat.version))
                        .await?;
                }
            }
        }
    }

    /// The barrier's node, created if it is missing, and a watch on it.
    ///
    /// It is no container: the rounds of another one would begin anew, and who is slow to leave would take a member of the
    /// new round for one of its own.
    async fn gate(&self, session: &Session) -> Result<(Node, WatchChange), Stop> {
        loop {
            let sync = session.sync(&self.path).submit().await?;
            let gate = session.get(&self.path).watch().submit().await?;
            sync.await?;
            match gate.await {
                Err(error) if error.kind() == ErrorKind::NoNode => {
                    parents::create_to_stay(session, &self.path, "").await?;
                }
                gate => return Ok(gate?),
            }
        }
    }

    /// Sees to it that nothing is left of earlier sessions, which would count as another member.
    async fn sweep(&self, session: &Session) -> zk_client::Result<()> {
        loop {
            let Some(node) = self.remains.lock().last().map(Arc::clone) else {
                return Ok(());
            };
            match session.delete(&node).await {
                Ok(()) => tracing::debug!(%node, "deleted a node of a session that had ended"),
                Err(error) if error.kind() == ErrorKind::NoNode => {}
                // It is waited for: the session that it belongs to ends.
                Err(error) if setback(&error) == Setback::Refused => {
                    let (there, change) = session.exists(&node).watch().await?;
                    if there.is_some() {
                        tracing::debug!(%node, %error, "waits for a session to end");
                        change.await;
                        continue;
                    }
                }
                Err(error) => return Err(error),
            }
            self.remains.lock().retain(|other| *other != node);
        }
    }

    fn number(&self, gate: &Node) -> Result<u64, Stop> {
        if gate.stat.version == ANY_VERSION {
            let path = Arc::clone(&self.path);
            return Err(Stop::Fail(Error::Overflow { path }));
        }
        round::parse(&gate.data).ok_or_else(|| {
            let (version, why) = (Some(gate.stat.version), "no number of a round");
            Stop::Fail(Error::BadContent(BadContent::new(
                &self.path,
                version,
                why.into(),
            )))
        })
    }

    /// Who is of another recipe, or waits for another number in the same round, cannot be together with this member.
    fn refuse_others(&self, children: &[String], round: u64) -> Result<(), Stop> {
        let path = || Arc::clone(&self.path);
        if let Some(name) = round::foreign(children) {
            let name = name.to_owned();
            return Err(Stop::Fail(Error::Foreign { path: path(), name }));
        }
        match round::other_count(children, round, self.count) {
            None => Ok(()),
            Some(told) => Err(Stop::Fail(Error::CountMismatch {
                path: path(),
                told: i64::try_from(told).ok(),
                asked: u32::try_from(self.count).unwrap_or(u32::MAX),
            })),
        }
    }

    fn join_as(&self, session: &Session, round: u64) -> Joined {
        let path = parents::child(&self.path, &round::name(round, self.count, &session.guid()));
        let identity = session.identity().to_owned();
        Joined {
            node: OwnNode::new(session.clone(), path, identity),
            round,
        }
    }

    /// Creates the member's node, if the round is still the present one; whether it did.
    async fn join(&self, joined: &mut Joined, version: i32) -> Result<bool, Stop> {
        let multi = joined.node.multi().check(&self.path, version);
        match joined.node.commit(multi).await {
            Ok(_) => Ok(true),
            // NONODE: somebody deleted the barrier's node.
            Err(error) if matches!(error.kind(), ErrorKind::BadVersion | ErrorKind::NoNode) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the round, if these members are still there. If not, somebody else may: look again.
    async fn open(
        &self,
        session: &Session,
        members: &[&str],
        (present, version): (u64, i32),
    ) -> Result<(), Stop> {
        let mut multi = session.multi().any();
        for member in members {
            multi = multi
                .check(&parents::child(&self.path, member), ANY_VERSION)
                .any();
        }
        let Some(next) = present.checked_add(1) else {
            let path = Arc::clone(&self.path);
            return Err(Stop::Fail(Error::Overflow { path }));
        };
        let opened = multi
            .set(&self.path, next.to_string())
            .version(version)
            .commit()
            .await;
        match opened {
            Ok(_) => tracing::debug!(round = present, "opened"),
            Err(error) if matches!(error.kind(), ErrorKind::BadVersion | ErrorKind::NoNode) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The round is open and the own node was there: inside, if it still is.
    async fn inside(
        &self,
        place: &mut Option<Joined>,
        evidence: zk_client::Evidence,
    ) -> Result<Option<(Held, u64)>, Stop> {
        let own = match place {
            Some(place) => place.node.watch().await?,
            None => None,
        };
        match (own, place.take()) {
            (Some(own), Some(Joined { node, round })) => {
                let held = Held::new(&self.path, node, own, evidence);
                Ok(Some((held, round)))
            }
            _ => Ok(None),
        }
    }
}

/// The node's name within the barrier.
pub(super) fn own_name(node: &OwnNode) -> String {
    let name = node.path().rsplit_once('/').map(|(_, name)| name);
    name.unwrap_or_default().to_owned()
}
