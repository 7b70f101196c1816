//! Putting items: one transaction with a marker that tells afterwards what became of it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use zk_client::{ErrorKind, Multi, Session};

use super::{Place, order};
use crate::{
    attempt::Answer,
    connection::Persistence,
    contender::withdrawals,
    error::{Error, Result},
    own_node::{Committed, OwnNode, present_session},
    parents,
};

/// What is to be put.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) priority: u16,
    /// After this time, if not at once.
    pub(super) delay: Option<Duration>,
    pub(super) items: Vec<Bytes>,
}

/// The task that puts items.
pub(super) async fn run(place: Arc<Place>, what: Put, mut answer: Answer<()>) {
    let mut marker = None;
    let put = tokio::select! {
        biased;
        () = answer.closed() => None,
        put = place.put(&mut marker, &what) => Some(put),
    };
    if let Some(put) = put {
        // Whoever waited may be gone by now.
        let _ = answer.send(put);
    }
    if let Some(mut marker) = marker {
        marker.withdraw().await;
    }
}

impl Place {
    /// Dropped at any point, the marker left behind is seen to by who owns it. Not before those that were are mostly gone: who
    /// gives up in an outage again and again has asked for a marker each time.
    async fn put(&self, place: &mut Option<OwnNode>, what: &Put) -> Result<()> {
        withdrawals::few(&self.client).await;
        let mut persistence = Persistence::new();
        loop {
            let session = present_session(&self.client).await?;
            let error = match self.check(&session).await {
                Ok(checked) => {
                    checked?;
                    match self.put_in(&session, place, what).await {
                        Committed::Applied => return Ok(()),
                        Committed::Unknown(_) => {
                            let path = Arc::clone(&self.path);
                            return Err(Error::Unknown { path });
                        }
                        Committed::Refused(error) | Committed::NotApplied(error) => error,
                    }
                }
                Err(error) => error,
            };
            if error.kind() != ErrorKind::NoNode {
                persistence.after(&self.client, error).await?;
                continue;
            }
            let created = async {
                self.create(&session).await?;
                parents::create(&session, &self.puts).await
            };
            if let Err(error) = created.await {
                persistence.after(&self.client, error).await?;
            }
        }
    }

    async fn put_in(
        &self,
        session: &Session,
        place: &mut Option<OwnNode>,
        what: &Put,
    ) -> Committed {
        let entry = match what.delay {
            None => parents::child(&self.entries, &order::prefix(what.priority)),
            Some(delay) => match self.due_after(session, delay).await {
                Ok(due) => {
                    parents::child(&self.delayed, &order::delayed_prefix(due, what.priority))
                }
                // Nothing but the time was asked for.
                Err(error) => return Committed::NotApplied(error),
            },
        };
        let path = parents::child(&self.puts, &session.guid());
        let identity = session.identity().to_owned();
        let marker = place.insert(OwnNode::new(session.clone(), path, identity));
        let rest = |mut multi: Multi| {
            for item in &what.items {
                multi = multi.create(&entry, item.clone()).sequential().any();
            }
            multi
        };
        marker.commit_marked(rest).await
    }
}
