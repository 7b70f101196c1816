//! Operations that take several requests: whole paths, whole subtrees, compare-and-set, protected creates.
//!
//! Each is a loop over plain operations, so none is atomic; what each promises instead is on its method of
//! [`Client`]. A step whose repetition is harmless is repeated after a lost connection, until the request timeout
//! of the whole is up.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use zk_proto::{Acl, Stat};

use crate::{
    client::Client,
    core::Moment,
    create::{Create, CreateSpec, Created},
    error::{Error, ErrorKind, Failure, Outcome, Result},
    operation::Operation,
    payload::Payload,
    read::Node,
    write::ANY_VERSION,
};

/// How many deletes are under way at once.
const DELETES_IN_FLIGHT: usize = 256;
/// How often a subtree is listed again because children appeared under it.
const DELETE_ROUNDS: usize = 16;

/// An operation of several requests, not begun yet; awaiting it carries it out.
///
/// # Cancel safety
/// Dropping the future never harms the session; steps that were submitted may still be carried out, later ones
/// are not begun.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Composed<'c, S: Steps<'c>> {
    stage: Stage<'c, S>,
}

enum Stage<'c, S: Steps<'c>> {
    New(&'c Client, S),
    Running(BoxFuture<'c, Result<S::Output>>),
    Done,
}

/// What a composed operation does; the crate's own.
pub trait Steps<'c>: Unpin {
    /// What the operation results in.
    type Output;

    #[doc(hidden)]
    fn run(self, client: &'c Client) -> BoxFuture<'c, Result<Self::Output>>;
}

impl<'c, S: Steps<'c>> Composed<'c, S> {
    pub(crate) const fn new(client: &'c Client, steps: S) -> Self {
        Self {
            stage: Stage::New(client, steps),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut S)) -> Self {
        if let Stage::New(_, steps) = &mut self.stage {
            change(steps);
        }
        self
    }
}

impl<'c, S: Steps<'c>> Future for Composed<'c, S> {
    type Output = Result<S::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::New(..) = self.stage
            && let Stage::New(client, steps) = std::mem::replace(&mut self.stage, Stage::Done)
        {
            self.stage = Stage::Running(steps.run(client));
        }
        match &mut self.stage {
            Stage::Running(steps) => steps.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl<'c, S: Steps<'c>> fmt::Debug for Composed<'c, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composed").finish_non_exhaustive()
    }
}

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

    fn run(self, client: &'c Client) -> BoxFuture<'c, Result<Created>> {
        Box::pin(async move {
            let deadline = deadline_of(client);
            loop {
                let call = Create {
                    path: self.path,
                    data: self.data.clone(),
                    spec: self.spec.clone(),
                };
                let error = match Operation::new(client, call).await {
                    Ok(created) => return Ok(created),
                    Err(error) => error,
                };
                // A container parent may vanish between two steps: then it is created once more.
                match parent(self.path) {
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

    fn run(self, client: &'c Client) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move { ensure(client, self.path, &self.spec, deadline_of(client)).await })
    }
}

/// Creates what is missing of a path: up to the nearest node that is there, and down again.
async fn ensure(client: &Client, path: &str, spec: &CreateSpec, deadline: Moment) -> Result<()> {
    let mut missing = vec![Place::Below(path)];
    while let Some(place) = missing.last() {
        match create_if_missing(client, place, spec).await {
            Ok(()) => drop(missing.pop()),
            Err(error) if is_over(client, deadline) => return Err(error),
            Err(error) if error.kind() == ErrorKind::NoNode => match place.parent(client) {
                Some(parent) => missing.push(parent),
                None => return Err(error),
            },
            // To create a node that may be there by now is harmless.
            Err(error) if is_link_trouble(&error) => {}
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

async fn create_if_missing(client: &Client, place: &Place<'_>, spec: &CreateSpec) -> Result<()> {
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
    match Operation::new(client, call).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NodeExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Delete a node and everything below it: [`Client::delete_all`].
#[derive(Debug, Clone)]
pub struct DeleteAll<'p> {
    pub(crate) path: &'p str,
}

impl<'c> Steps<'c> for DeleteAll<'c> {
    type Output = ();

    fn run(self, client: &'c Client) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move {
            if self.path == "/" {
                let failure = Failure::bad_arguments("the root cannot be deleted");
                return Err(Error::new(failure, "delete", Some(self.path)));
            }
            // The first listing fails where there is no node at all.
            let mut nodes = descendants(client, self.path).await?;
            for _ in 1..DELETE_ROUNDS {
                if delete_in_order(client, &nodes).await? {
                    return Ok(());
                }
                nodes = match descendants(client, self.path).await {
                    Err(error) if error.kind() == ErrorKind::NoNode => return Ok(()),
                    nodes => nodes?,
                };
            }
            client.delete(self.path).await
        })
    }
}

/// A node and everything below it, every node before its children.
async fn descendants(client: &Client, path: &str) -> Result<Vec<String>> {
    let mut nodes = vec![path.to_owned()];
    let mut listed = 0;
    while listed < nodes.len() {
        let end = nodes.len().min(listed + DELETES_IN_FLIGHT);
        let mut level = Vec::with_capacity(end - listed);
        for path in &nodes[listed..end] {
            level.push(client.children(path).submit().await?);
        }
        for (at, pending) in (listed..end).zip(level) {
            match pending.await {
                Ok(names) => {
                    let below = |name: String| format!("{}/{name}", nodes[at]);
                    let children: Vec<_> = names.into_iter().map(below).collect();
                    nodes.extend(children);
                }
                Err(error) if at > 0 && error.kind() == ErrorKind::NoNode => {}
                Err(error) => return Err(error),
            }
        }
        listed = end;
    }
    Ok(nodes)
}

/// Deletes children before their parents; false when a node has children that were not listed.
async fn delete_in_order(client: &Client, nodes: &[String]) -> Result<bool> {
    let mut complete = true;
    for chunk in nodes.rchunks(DELETES_IN_FLIGHT) {
        let mut under_way = Vec::with_capacity(chunk.len());
        for path in chunk.iter().rev() {
            under_way.push(client.delete(path).submit().await?);
        }
        for pending in under_way {
            match pending.await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NoNode => {}
                Err(error) if error.kind() == ErrorKind::NotEmpty || is_link_trouble(&error) => {
                    complete = false;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(complete)
}

/// Change a node's data by a function of the old: [`Client::update`].
#[derive(Debug, Clone)]
pub struct Update<'p, F> {
    pub(crate) path: &'p str,
    pub(crate) change: F,
}

impl<'c, F, P> Steps<'c> for Update<'c, F>
where
    F: FnMut(&Node) -> P + Send + Unpin + 'c,
    P: Into<Payload<'static>>,
{
    type Output = Stat;

    fn run(mut self, client: &'c Client) -> BoxFuture<'c, Result<Stat>> {
        Box::pin(async move {
            loop {
                let old = client.get(self.path).await?;
                if old.stat.version == ANY_VERSION {
                    let why =
                        "the node's version has overflowed to \"any\", so it cannot be compared";
                    return Err(Error::new(
                        Failure::bad_arguments(why),
                        "setData",
                        Some(self.path),
                    ));
                }
                let data: Payload<'static> = (self.change)(&old).into();
                match client.set(self.path, data).version(old.stat.version).await {
                    Err(error) if error.kind() == ErrorKind::BadVersion => {}
                    result => return result,
                }
            }
        })
    }
}

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
    pub fn protected(self) -> Composed<'c, ProtectedCreate<'c>> {
        let (client, create) = (self.client(), self.call.clone());
        Composed::new(client, ProtectedCreate { create })
    }
}

impl<'c> Steps<'c> for ProtectedCreate<'c> {
    type Output = Created;

    fn run(self, client: &'c Client) -> BoxFuture<'c, Result<Created>> {
        Box::pin(async move {
            let deadline = deadline_of(client);
            let prefix = format!("_c_{}-", client.guid());
            let (parent, name) = self.create.path.rsplit_once('/').unwrap_or_default();
            let path = format!("{parent}/{prefix}{name}");
            let parent = if parent.is_empty() { "/" } else { parent };
            // Bound to one session: an ephemeral node of an older one is about to vanish (CURATOR-498).
            let session = client.session();
            let client: &Client = if self.create.spec.ephemeral {
                &session
            } else {
                client
            };
            loop {
                let call = Create {
                    path: &path,
                    ..self.create.clone()
                };
                match Operation::new(client, call).await {
                    Err(error) if is_link_trouble(&error) && !is_over(client, deadline) => {
                        match find_own(client, parent, &prefix).await {
                            Ok(Some(created)) => return Ok(created),
                            Ok(None) => {}
                            Err(lost) => return Err(unsettled(&lost, &path)),
                        }
                    }
                    result => return result,
                }
            }
        })
    }
}

/// The node with this prefix, once everything that was sent before is settled.
async fn find_own(client: &Client, parent: &str, prefix: &str) -> Result<Option<Created>> {
    // The create may be on its way through the ensemble still: the sync passes the leader behind it.
    client.sync(parent).await?;
    let names = match client.children(parent).await {
        Err(error) if error.kind() == ErrorKind::NoNode => return Ok(None),
        names => names?,
    };
    let Some(name) = names.into_iter().find(|name| name.starts_with(prefix)) else {
        return Ok(None);
    };
    let path = format!("{}/{name}", parent.trim_end_matches('/'));
    let stat = client.exists(&path).await?;
    Ok(stat.map(|stat| Created { path, stat }))
}

/// The search failed, so whether the node was created stays open.
fn unsettled(error: &Error, path: &str) -> Error {
    let failure = Failure {
        outcome: Outcome::Unknown,
        ..Failure::not_applied(error.kind())
    };
    Error::new(failure, "create", Some(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.trim_end_matches('/').rsplit_once('/')? {
        ("", _) => Some("/").filter(|parent| *parent != path),
        (parent, _) => Some(parent),
    }
}

/// The connection, or the wait for an answer: nothing that the server said.
fn is_link_trouble(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ConnectionLoss => true,
        ErrorKind::OperationTimeout => error.outcome() == Outcome::Unknown,
        _ => error.is_retryable(),
    }
}

fn deadline_of(client: &Client) -> Moment {
    let shared = &client.parts().shared;
    shared.clock.now() + shared.settings.request_timeout
}

fn is_over(client: &Client, deadline: Moment) -> bool {
    client.parts().shared.clock.now() >= deadline
}
