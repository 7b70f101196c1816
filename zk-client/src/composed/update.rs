//! Compare and set, until it holds.

use futures::future::BoxFuture;
use zk_proto::Stat;

use super::{Steps, Time};
use crate::{
    client::Client,
    error::{Error, ErrorKind, Failure, Result},
    payload::Payload,
    read::Node,
    write::ANY_VERSION,
};

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

    fn run(mut self, client: &'c Client, time: Time) -> BoxFuture<'c, Result<Stat>> {
        Box::pin(async move {
            let deadline = time.deadline(client);
            loop {
                let old = client.get(self.path).until(deadline).await?;
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
                let set = client.set(self.path, data).version(old.stat.version);
                match set.until(deadline).await {
                    Err(error) if error.kind() == ErrorKind::BadVersion => {}
                    result => return result,
                }
            }
        })
    }
}
