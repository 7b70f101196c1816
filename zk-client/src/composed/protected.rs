//! Creates that survive a lost answer: Curator's protection.

use futures::future::BoxFuture;
use zk_proto::SessionId;

use super::{Composed, Steps, Time, is_link_trouble, is_over, pause, unsettled};
use crate::{
    client::Client,
    core::Moment,
    create::{Create, Created},
    error::{Error, ErrorKind, Result},
    operation::Operation,
};

/// Create a node under a name that is found again after a lost connection: [`Operation::protected`].
#[derive(Debug, Clone)]
pub struct ProtectedCreate<'p> {
    create: Create<'p>,
}

impl<'c> Operation<'c, Create<'c>> {
    /// Survives a lost connection: the node's name gets a unique prefix, and when the answer is lost the parent's
    /// children are searched for it before the node is created again.
    ///
    /// The name becomes `_c_{uuid}-{name}`, as Curator's protection makes it. An ephemeral node is only taken for
    /// one's own if the present session owns it, and the call fails when that session ends.
    ///
    /// It is for nodes that nobody else deletes: one that a consumer takes away before its lost answer is looked for is
    /// not found, and is created a second time.
    pub fn protected(self) -> Composed<'c, ProtectedCreate<'c>> {
        let (client, create) = (self.client(), self.call.clone());
        Composed::new(client, ProtectedCreate { create }).limited(self.limit())
    }
}

impl<'c> Steps<'c> for ProtectedCreate<'c> {
    type Output = Created;

    fn run(self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<Created>> {
        Box::pin(async move {
            let valid = self.create.spec.validate(self.create.path);
            valid.map_err(|failure| Error::new(failure, "create", Some(self.create.path)))?;
            let deadline = time.deadline(client);
            let mut attempt = 0;
            let prefix = format!("_c_{}-", client.guid());
            let (parent, name) = self.create.path.rsplit_once('/').unwrap_or_default();
            let path = format!("{parent}/{prefix}{name}");
            let parent = if parent.is_empty() { "/" } else { parent };
            // Bound to one session: an ephemeral node of an older one is about to vanish (CURATOR-498).
            let session = client.session();
            let (client, owner): (&Client, _) = match self.create.spec.ephemeral {
                true => (&session, session.id()),
                false => (client, SessionId::NONE),
            };
            loop {
                let call = Create {
                    path: &path,
                    ..self.create.clone()
                };
                match Operation::new(client, call).until(deadline).await {
                    Err(error) if is_link_trouble(&error) && !is_over(client, deadline) => {
                        if error.is_retryable() {
                            if !pause(client, attempt, deadline).await {
                                return Err(error);
                            }
                            attempt += 1;
                        }
                        match find_own(client, parent, &prefix, owner, deadline).await {
                            Ok(Some(created)) => return Ok(created),
                            Ok(None) => {}
                            Err(lost) => return Err(unsettled(&lost, "create", &path)),
                        }
                    }
                    result => return result,
                }
            }
        })
    }
}

/// The node with this prefix, once everything that was sent before is settled.
async fn find_own(
    client: &Client,
    parent: &str,
    prefix: &str,
    owner: SessionId,
    deadline: Moment,
) -> Result<Option<Created>> {
    // The create may be on its way through the ensemble still: the sync passes the leader behind it.
    client.sync(parent).until(deadline).await?;
    let names = match client.children(parent).until(deadline).await {
        Err(error) if error.kind() == ErrorKind::NoNode => return Ok(None),
        names => names?,
    };
    let Some(name) = names.into_iter().find(|name| name.starts_with(prefix)) else {
        return Ok(None);
    };
    let path = format!("{}/{name}", parent.trim_end_matches('/'));
    let stat = client.exists(&path).until(deadline).await?;
    // A client that had no session yet when it began knows no owner.
    let own = stat.filter(|stat| owner == SessionId::NONE || stat.ephemeral_owner == owner);
    Ok(own.map(|stat| Created { path, stat }))
}
