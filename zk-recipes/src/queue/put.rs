//! Putting items: one transaction with a marker that tells afterwards what became of it.

use std::sync::Arc;

use bytes::Bytes;
use zk_client::{ErrorKind, Multi};

use super::{Place, order};
use crate::{
    attempt::Answer,
    connection::Persistence,
    error::{Error, Result},
    own_node::{Committed, OwnNode, present_session},
    parents,
};

/// The task that puts items.
pub(super) async fn run(
    place: Arc<Place>,
    priority: u16,
    items: Vec<Bytes>,
    mut answer: Answer<()>,
) {
    let mut marker = None;
    let put = tokio::select! {
        biased;
        () = answer.closed() => None,
        put = place.put(&mut marker, priority, &items) => Some(put),
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
    /// Dropped at any point, the marker left behind is seen to by who owns it.
    async fn put(&self, place: &mut Option<OwnNode>, priority: u16, items: &[Bytes]) -> Result<()> {
        let mut persistence = Persistence::new();
        let entry = parents::child(&self.entries, &order::prefix(priority));
        let rest = |mut multi: Multi| {
            for item in items {
                multi = multi.create(&entry, item.clone()).sequential().any();
            }
            multi
        };
        loop {
            let session = present_session(&self.client).await?;
            let error = match self.check(&session).await {
                Ok(checked) => {
                    checked?;
                    let path = parents::child(&self.puts, &session.guid());
                    let marker = place.insert(OwnNode::new(session.clone(), path, ""));
                    match marker.commit_marked(rest).await {
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
}
