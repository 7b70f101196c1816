//! Reading from a socket without a buffer for each connection.
//!
//! Most connections are silent most of the time. Each thread has one buffer to read into; what is read is handed
//! to the connection, and only half a frame stays with it, in an allocation as large as what has come of it.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// How much to read at once.
const READ: usize = 16 << 10;

thread_local! {
    static BUFFER: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// Bytes received and not yet taken apart.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Whole frames are taken off its front.
    pub(super) bytes: BytesMut,
    /// Whether the bytes lie in the thread's buffer.
    is_borrowed: bool,
}

impl Intake {
    /// Reads once; the number of bytes is 0 at the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        io: Pin<&mut (impl AsyncRead + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = BUFFER.take();
        if buffer.capacity() < READ / 4 {
            buffer.reserve(READ);
        }
        let read = poll_read_buf(io, cx, &mut buffer);
        let bytes = buffer.split();
        BUFFER.set(buffer);
        if !bytes.is_empty() {
            if self.bytes.is_empty() {
                (self.bytes, self.is_borrowed) = (bytes, true);
            } else {
                self.bytes.extend_from_slice(&bytes);
            }
        }
        read
    }

    /// To be called once all whole frames are taken out: what is left gets an allocation of its own.
    pub(super) fn settle(&mut self) {
        if self.bytes.is_empty() {
            self.clear();
        } else if std::mem::take(&mut self.is_borrowed) {
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
    }

    /// Forgets what was received.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(intake: &mut Intake, bytes: &[u8]) {
        let mut source = bytes;
        let mut cx = Context::from_waker(Waker::noop());
        let read = intake.poll_read(Pin::new(&mut source), &mut cx);
        assert!(matches!(read, Poll::Ready(Ok(n)) if n == bytes.len()));
    }

    #[test]
    fn half_a_frame_holds_what_has_come_of_it() {
        let mut intake = Intake::default();
        read(&mut intake, b"abc");
        let taken = intake.bytes.split_to(2).freeze();
        intake.settle();
        assert_eq!((&taken[..], &intake.bytes[..]), (&b"ab"[..], &b"c"[..]));
        assert!(intake.bytes.capacity() < 64);
        read(&mut intake, b"def");
        assert_eq!(&intake.bytes[..], b"cdef");
        intake.bytes.clear();
        intake.settle();
        assert_eq!(intake.bytes.capacity(), 0);
    }

    #[test]
    fn connections_of_a_thread_do_not_mix() {
        let (mut one, mut other) = (Intake::default(), Intake::default());
        read(&mut one, b"one");
        read(&mut other, b"other");
        let mut end: &[u8] = b"";
        let mut cx = Context::from_waker(Waker::noop());
        let read = one.poll_read(Pin::new(&mut end), &mut cx);
        assert!(matches!(read, Poll::Ready(Ok(0))));
        assert_eq!(
            (&one.bytes[..], &other.bytes[..]),
            (&b"one"[..], &b"other"[..])
        );
    }
}
