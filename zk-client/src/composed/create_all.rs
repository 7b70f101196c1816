//! Whole paths: a node with the parents it lacks.

use std::time::Duration;

use futures::future::BoxFuture;
use zk_proto::Acl;

use super::{Composed, Steps, Time, is_link_trouble, is_over, parent, pause};
use crate::{
    client::Client,
    core::Moment,
    create::{Create, CreateSpec, Created},
    error::{ErrorKind, Result},
    operation::Operation,
    payload::Payload,
};

/// Create a node and the parents it lacks: [`Client::create_all`].
#[derive(Debug, Clone)]
pub struct CreateAll<'p> {
    pub(crate) path: &'p str,
    pub(crate) data: Payload<'p>,
    pub(crate) spec: CreateSpec,
    pub(crate) parents: CreateSpec,
}

impl<'c> Composed<'c, CreateAll<'c>> {
    /// The node goes with the session.
    pub fn ephemeral(self) -> Self {
        self.change(|steps| steps.spec.ephemeral = true)
    }

    /// The server appends a ten-digit counter of the parent to the name.
    pub fn sequential(self) -> Self {
        self.change(|steps| steps.spec.sequential = true)
    }

    /// The server deletes the node some time after its last child is gone.
    pub fn container(self) -> Self {
        self.change(|steps| steps.spec.container = true)
    }

    /// The server deletes the node when it has had neither children nor changes for this long.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.change(|steps| steps.spec.ttl = Some(ttl))
    }

    /// Who may do what with the node and with the parents that are created for it.
    pub fn acl(self, acl: impl Into<Vec<Acl>>) -> Self {
        let acl = acl.into();
        self.change(|steps| {
            steps.parents.acl = Some(acl.clone());
            steps.spec.acl = Some(acl);
        })
    }

    /// The missing parents become container nodes, which go when they are empty.
    pub fn container_parents(self) -> Self {
        self.change(|steps| steps.parents.container = true)
    }
}

impl<'c> Steps<'c> for CreateAll<'c> {
    type Output = Created;

    fn run(self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<Created>> {
        Box::pin(async move {
            let deadline = time.deadline(client);
            loop {
                let call = Create {
                    path: self.path,
                    data: self.data.clone(),
                    spec: self.spec.clone(),
                };
                let error = match Operation::new(client, call).until(deadline).await {
                    Ok(created) => return Ok(created),
                    Err(error) => error,
                };
                // A container parent may vanish between two steps: then it is created once more.
                let above = match self.path {
                    // The counter alone, below the chroot.
                    "/" => Some("/"),
                    path => parent(path),
                };
                match above {
                    Some(parent)
                        if error.kind() == ErrorKind::NoNode && !is_over(client, deadline) =>
                    {
                        ensure(client, parent, &self.parents, deadline).await?;
                    }
                    _ => return Err(error),
                }
            }
        })
    }
}

/// Make sure that a node is there: [`Client::ensure`].
#[derive(Debug, Clone)]
pub struct Ensure<'p> {
    pub(crate) path: &'p str,
    pub(crate) spec: CreateSpec,
}

impl<'c> Composed<'c, Ensure<'c>> {
    /// What is missing becomes container nodes, which go when they are empty.
    pub fn container(self) -> Self {
        self.change(|steps| steps.spec.container = true)
    }

    /// Who may do what with the nodes that are created.
    pub fn acl(self, acl: impl Into<Vec<Acl>>) -> Self {
        let acl = acl.into();
        self.change(|steps| steps.spec.acl = Some(acl))
    }
}

impl<'c> Steps<'c> for Ensure<'c> {
    type Output = ();

    fn run(self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move {
            let deadline = time.deadline(client);
            ensure(client, self.path, &self.spec, deadline).await
        })
    }
}

/// Creates what is missing of a path: up to the nearest node that is there, and down again.
async fn ensure(client: &Client, path: &str, spec: &CreateSpec, deadline: Moment) -> Result<()> {
    let mut missing = vec![Place::Below(path)];
    let mut attempt = 0;
    while let Some(place) = missing.last() {
        match create_if_missing(client, place, spec, deadline).await {
            Ok(()) => drop(missing.pop()),
            Err(error) if is_over(client, deadline) => return Err(error),
            Err(error) if error.kind() == ErrorKind::NoNode => match place.parent(client) {
                Some(parent) => missing.push(parent),
                None => return Err(error),
            },
            // To create a node that may be there by now is harmless.
            Err(error) if is_link_trouble(&error) => {
                // After a broken connection the next request waits for another by itself.
                if error.kind() != ErrorKind::ConnectionLoss {
                    if !pause(client, attempt, deadline).await {
                        return Err(error);
                    }
                    attempt += 1;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A node below the chroot, or one of the nodes that the chroot itself consists of.
#[derive(Debug)]
enum Place<'p> {
    Below(&'p str),
    Chroot(String),
}

impl<'p> Place<'p> {
    fn parent(&self, client: &Client) -> Option<Self> {
        match self {
            Self::Below("/") => {
                let root = client.parts().shared.chroot.join("/");
                parent(&root).map(|parent| Self::Chroot(parent.to_owned()))
            }
            Self::Below(path) => parent(path).map(Self::Below),
            Self::Chroot(path) => parent(path).map(|parent| Self::Chroot(parent.to_owned())),
        }
    }
}

async fn create_if_missing(
    client: &Client,
    place: &Place<'_>,
    spec: &CreateSpec,
    deadline: Moment,
) -> Result<()> {
    let (path, absolute) = match place {
        Place::Below(path) => (*path, false),
        Place::Chroot(path) => (path.as_str(), true),
    };
    let spec = CreateSpec {
        absolute,
        ..spec.clone()
    };
    let call = Create {
        path,
        data: Payload::from(""),
        spec,
    };
    match Operation::new(client, call).until(deadline).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NodeExists => Ok(()),
        Err(error) => Err(error),
    }
}
