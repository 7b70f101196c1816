//! Batches from many tasks and threads to one task.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// A queue that is emptied at one go: what arrives while its reader works makes the next batch.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    reader: Option<Waker>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: Vec::new(),
                reader: None,
            }),
        }
    }
}

impl<T> Mailbox<T> {
    /// Adds one item.
    pub(crate) fn push(&self, item: T) {
        let mut inner = self.inner.lock();
        inner.items.push(item);
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Adds all of `items`, leaving it empty.
    pub(crate) fn append(&self, items: &mut Vec<T>) {
        let mut inner = self.inner.lock();
        inner.items.append(items);
        let reader = inner.reader.take();
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().items.is_empty()
    }

    /// Waits until there is something and moves all of it into `batch`, which must be empty. Cancel safe.
    pub(crate) async fn take(&self, batch: &mut Vec<T>) {
        poll_fn(|cx| self.poll_take(cx, batch)).await;
    }

    fn poll_take(&self, cx: &Context<'_>, batch: &mut Vec<T>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut inner.items, batch);
        Poll::Ready(())
    }
}
