//! The SASL conversation of the present connection, held by the mechanism.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    core::{Host, SaslStep},
    sasl::{Conversation, Error, Mechanism, Server, Step},
};

type Held = Option<Box<dyn Conversation>>;

/// At most one conversation, and at most one step of it under way.
#[derive(Default)]
pub(super) struct Sasl {
    mechanism: Option<Arc<dyn Mechanism>>,
    conversation: Held,
    under_way: Option<BoxFuture<'static, (Held, SaslStep)>>,
}

impl Sasl {
    pub(super) fn new(mechanism: Option<Arc<dyn Mechanism>>) -> Self {
        Self {
            mechanism,
            ..Self::default()
        }
    }

    pub(super) fn begin(&mut self, server: Option<&Host>) {
        let Some(mechanism) = self.mechanism.clone() else {
            return;
        };
        let server = server.cloned().unwrap_or_default();
        let server = Server::new(server.name, server.port);
        self.under_way = Some(Box::pin(async move {
            tracing::debug!(mechanism = mechanism.name(), server = server.host, "SASL");
            match mechanism.begin(&server).await {
                Ok((conversation, token)) => (Some(conversation), SaslStep::Respond(token.into())),
                Err(error) => (None, failed(error)),
            }
        }));
    }

    pub(super) fn challenge(&mut self, challenge: Option<Bytes>) {
        let Some(mut conversation) = self.conversation.take() else {
            return;
        };
        self.under_way = Some(Box::pin(async move {
            let challenge = challenge.unwrap_or_default();
            let step = match conversation.step(&challenge).await {
                Ok(Step::Respond(token)) => SaslStep::Respond(token.into()),
                Ok(Step::Done) => SaslStep::Done,
                Err(error) => failed(error),
            };
            (Some(conversation), step)
        }));
    }

    /// The connection is gone.
    pub(super) fn end(&mut self) {
        self.conversation = None;
        self.under_way = None;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SaslStep> {
        let Some(under_way) = &mut self.under_way else {
            return Poll::Pending;
        };
        let (conversation, step) = ready!(under_way.as_mut().poll(cx));
        self.under_way = None;
        self.conversation = conversation;
        Poll::Ready(step)
    }
}

fn failed(error: Error) -> SaslStep {
    SaslStep::Failed(Arc::from(error))
}
