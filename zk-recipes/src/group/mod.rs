//! Group membership: who is there now.
//!
//! **What it guarantees.** A [`Member`] is listed while its client has a session, and comes back by itself after the session expired
//! or somebody deleted its node: it is a [`persistent_node`](crate::persistent_node). [`Group::watch`] tells every
//! change and holds a list that the server held at one moment: it is a [`cache`](crate::cache). It does **not** guarantee that who is
//! listed lives (a process that dies is listed for up to the session timeout) nor that all see a change at the same time:
//! a list of members is no lock and no election.
//!
//! **Fairness** does not apply; **CONNECTIONLOSS**, **suspension**, **expiry** and **cancellation** are as on the pages of the
//! two. **Names** are the members' own: a name that another session holds is waited for. **No orphans**: leaving, dropping or the
//! end of the session removes the member; the group's node, a container, goes some time after its last member, and comes
//! with the next.
//!
//! The layout is that of Curator's `GroupMember` (one ephemeral node for each member, its name the member's identifier), so
//! both can be in one group.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use zk_client::{Client, ErrorKind, Payload, SessionId};

use crate::{
    attempt::Attempt,
    cache::{CacheScope, CacheSource},
    connection::Persistence,
    error::{Error, Result},
    parents,
    path::child,
    persistent_node::{PersistentNode, PersistentNodeSource, Presence},
};

/// A group of members by its path; made by [`group`](crate::ClientExt::group). Nothing happens until it is used.
#[derive(Debug, Clone)]
pub struct Group {
    client: Client,
    path: Arc<str>,
}

/// One of a group's members, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its name.
    pub name: String,
    /// What it says about itself.
    pub data: Bytes,
    /// The session that it is a member in.
    pub session: SessionId,
    /// Since when it is a member, by the leader's clock; after the expiry of its session anew.
    pub since: SystemTime,
}

impl Group {
    pub(crate) fn new(client: &Client, path: &str) -> Self {
        Self {
            client: client.clone(),
            path: path.into(),
        }
    }

    /// The group's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Creates the group's node, a container, and what is above it, where it is missing. Joining does that by itself.
    ///
    /// # Errors
    ///
    /// The future fails with [`Error::SessionGone`], and with what the client reports. Without a
    /// connection it waits, and goes on in the next session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves what has been created so far.
    pub fn create(&self) -> Attempt<()> {
        let Self { client, path } = self.clone();
        self.attempt(async move {
            let mut persistence = Persistence::new();
            while let Err(error) = parents::create(&client, &path).await {
                persistence.after(&client, error).await?;
            }
            Ok(())
        })
    }

    fn attempt<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Attempt<T> {
        let span = tracing::debug_span!("group", path = %self.path);
        Attempt::plain((&self.client, &self.path, span), work)
    }

    /// To join under this name, with this to say about oneself: [`Join::start`].
    pub fn join<'d>(&self, name: &str, data: impl Into<Payload<'d>>) -> Join {
        let path = child(&self.path, name);
        Join {
            node: PersistentNodeSource::new(&self.client, &path, data.into()),
        }
    }

    /// Lists the members, in the order of their names. None where there is no group.
    ///
    /// Members that come or go meanwhile may or may not be listed; [`watch`](Self::watch) shows the state of one moment.
    ///
    /// # Errors
    ///
    /// The future fails with what the client reports.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub fn members(&self) -> Attempt<Vec<MemberInfo>> {
        let Self { client, path } = self.clone();
        self.attempt(async move { members(&client, &path).await })
    }

    /// The members as a cache of the group's children, with a stream of those who come and go:
    /// [`start`](CacheSource::start) it.
    pub fn watch(&self) -> CacheSource {
        CacheSource::new(&self.client, &self.path, CacheScope::Children)
    }

    /// Deletes the group, which must have no members; that there is none is as good.
    ///
    /// # Errors
    ///
    /// The future fails with NOTEMPTY where there are members: they would come back; with what the client reports otherwise.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves open whether the group is deleted.
    pub fn delete(&self) -> Attempt<()> {
        let Self { client, path } = self.clone();
        self.attempt(async move {
            match client.delete(&path).await {
                Err(error) if error.kind() == ErrorKind::NoNode => Ok(()),
                deleted => Ok(deleted?),
            }
        })
    }
}

async fn members(client: &Client, path: &str) -> Result<Vec<MemberInfo>> {
    let mut names = match client.children(path).await {
        Err(error) if error.kind() == ErrorKind::NoNode => return Ok(Vec::new()),
        names => names?,
    };
    names.sort_unstable();
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let path = child(path, &name);
        answers.push((name, client.get_opt(&path).submit().await?));
    }
    let mut members = Vec::with_capacity(answers.len());
    for (name, answer) in answers {
        members.extend(answer.await?.map(|node| MemberInfo {
            name,
            session: node.stat.ephemeral_owner,
            since: since(node.stat.ctime),
            data: node.data,
        }));
    }
    Ok(members)
}

/// A membership to be taken up: [`Group::join`].
#[must_use = "nobody joins until `start`"]
#[derive(Debug, Clone)]
pub struct Join {
    node: PersistentNodeSource,
}

impl Join {
    /// Lets [`start`](Self::start) give up after this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.node = self.node.timeout(timeout);
        self
    }

    /// Joins; returns once the member is listed.
    ///
    /// # Errors
    ///
    /// As [`PersistentNodeSource::start`]. While another session is a member under this name it waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the group, in the background.
    pub async fn start(self) -> Result<Member> {
        let node = self.node.start().await?;
        Ok(Member { node })
    }
}

/// A membership of one's own. Dropping it leaves the group in the background; [`leave`](Self::leave) waits for that.
#[must_use = "dropping it leaves the group"]
#[derive(Debug)]
pub struct Member {
    node: PersistentNode,
}

impl Member {
    /// The member's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node
            .path()
            .rsplit_once('/')
            .map_or("", |(_, name)| name)
    }

    /// Whether it is listed now, as far as is known here.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.node.presence()
    }

    /// Returns when the presence has changed. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`PersistentNode::changed`].
    pub async fn changed(&mut self) -> Result<Presence> {
        self.node.changed().await
    }

    /// Returns when it will not be listed again, with the reason.
    pub(crate) fn over(&self) -> impl Future<Output = Error> + Send + use<> {
        self.node.over()
    }

    /// Says something else about oneself, from now on; returns when the others can read it.
    ///
    /// # Errors
    ///
    /// As [`PersistentNode::set`], and cancel safe as that.
    pub fn set<'d>(&self, data: impl Into<Payload<'d>>) -> Attempt<()> {
        self.node.set(data)
    }

    /// Leaves the group and returns when the member is not listed any more.
    ///
    /// # Errors
    ///
    /// As [`PersistentNode::release`].
    pub async fn leave(self) -> Result<()> {
        self.node.release().await
    }
}

/// The time of a Stat.
pub(crate) fn since(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}
