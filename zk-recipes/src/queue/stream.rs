//! A queue's items as a stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Stream;

use super::{Delivery, Queue};
use crate::{attempt::Attempt, error::Result};

/// The items of a queue, each to be acknowledged: [`Queue::deliveries`].
///
/// Takes the next item when it is polled and not before, so nothing is claimed ahead. It ends after an error. Dropping it
/// gives back what it may have claimed.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Deliveries {
    queue: Queue,
    next: Option<Attempt<Delivery>>,
    ended: bool,
}

impl Deliveries {
    pub(super) const fn new(queue: Queue) -> Self {
        Self {
            queue,
            next: None,
            ended: false,
        }
    }

    /// The next item; `None` after an error. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let queue = &this.queue;
        let next = this.next.get_or_insert_with(|| queue.take());
        let delivery = ready!(Pin::new(next).poll(cx));
        this.next = None;
        this.ended = delivery.is_err();
        Poll::Ready(Some(delivery))
    }
}
