//! Bytes on their way to a client.
//!
//! Mostly one buffer. Data of large nodes stands in it by reference: it is neither copied while the tree is
//! locked, nor once for every client that reads it.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// A sequence of bytes, part of it shared with others.
#[derive(Debug, Default)]
pub struct Frames {
    own: BytesMut,
    /// Where in `own`, counted from the first byte it ever had, each shared piece stands; in order.
    shared: VecDeque<(usize, Bytes)>,
    shared_len: usize,
    /// How many bytes have left the front of `own`.
    gone: usize,
}

impl Frames {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are held for this sequence alone.
    #[must_use]
    pub fn own_len(&self) -> usize {
        self.own.len()
    }

    /// The end of it, where further bytes are written; nothing but appending, and overwriting what
    /// was appended, is allowed.
    pub const fn own_mut(&mut self) -> &mut BytesMut {
        &mut self.own
    }

    /// Appends a piece by reference.
    pub fn push_shared(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.shared_len += piece.len();
            self.shared.push_back((self.gone + self.own.len(), piece));
        }
    }

    /// Moves everything of `other` to the end of this.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            other.clear();
            return;
        }
        let (from, to) = (other.gone, self.gone + self.own.len());
        self.own.extend_from_slice(&other.own);
        let moved = other.shared.drain(..);
        self.shared
            .extend(moved.map(|(at, piece)| (at - from + to, piece)));
        self.shared_len += other.shared_len;
        other.clear();
    }

    /// Forgets everything, and keeps the allocation.
    pub fn clear(&mut self) {
        self.own.clear();
        self.shared.clear();
        (self.shared_len, self.gone) = (0, 0);
    }

    /// A place to come back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            own: self.gone + self.own.len(),
            len: self.len(),
            pieces: self.shared.len(),
        }
    }

    /// How many bytes were appended since the mark; none may have been taken off the front meanwhile.
    #[must_use]
    pub fn len_since(&self, mark: &Mark) -> usize {
        self.len() - mark.len
    }

    /// The bytes of its own since the mark.
    pub fn own_since(&mut self, mark: &Mark) -> &mut [u8] {
        &mut self.own[mark.own - self.gone..]
    }

    /// Takes back what was appended since the mark.
    pub fn truncate(&mut self, mark: &Mark) {
        self.own.truncate(mark.own - self.gone);
        for (_, piece) in self.shared.drain(mark.pieces..) {
            self.shared_len -= piece.len();
        }
    }

    /// The allocation's size.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.own.capacity()
    }

    /// How many own bytes come before the first shared piece.
    fn own_ahead(&self) -> usize {
        self.shared
            .front()
            .map_or(self.own.len(), |(at, _)| at - self.gone)
    }
}

/// A place in [`Frames`].
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    own: usize,
    len: usize,
    pieces: usize,
}

impl Buf for Frames {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match (self.own_ahead(), self.shared.front()) {
            (0, Some((_, piece))) => piece,
            (ahead, _) => &self.own[..ahead],
        }
    }

    fn chunks_vectored<'a>(&'a self, to: &mut [IoSlice<'a>]) -> usize {
        let (mut filled, mut from) = (0, 0);
        for (at, piece) in &self.shared {
            let at = at - self.gone;
            for part in [&self.own[from..at], piece] {
                if filled == to.len() {
                    return filled;
                }
                if !part.is_empty() {
                    to[filled] = IoSlice::new(part);
                    filled += 1;
                }
            }
            from = at;
        }
        if filled < to.len() && from < self.own.len() {
            to[filled] = IoSlice::new(&self.own[from..]);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let ahead = self.own_ahead();
            if ahead > 0 {
                let taken = ahead.min(count);
                self.own.advance(taken);
                self.gone += taken;
                count -= taken;
                continue;
            }
            let Some((_, piece)) = self.shared.front_mut() else {
                break;
            };
            let taken = piece.len().min(count);
            piece.advance(taken);
            let is_done = piece.is_empty();
            self.shared_len -= taken;
            count -= taken;
            if is_done {
                self.shared.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frames: &Frames) -> String {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = frames.chunks_vectored(&mut slices);
        let all: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        assert_eq!(all.len(), frames.len());
        String::from_utf8(all).unwrap()
    }

    fn sample() -> Frames {
        let mut frames = Frames::new();
        frames.own_mut().extend_from_slice(b"ab");
        frames.push_shared(Bytes::from_static(b"CDE"));
        frames.push_shared(Bytes::from_static(b"F"));
        frames.own_mut().extend_from_slice(b"gh");
        frames
    }

    #[test]
    fn pieces_stand_where_they_were_put() {
        let mut frames = sample();
        assert_eq!((text(&frames), frames.own_len()), ("abCDEFgh".into(), 4));
        frames.push_shared(Bytes::from_static(b"I"));
        assert_eq!(text(&frames), "abCDEFghI");
    }

    #[test]
    fn bytes_leave_from_the_front_in_any_portions() {
        for first in 0..=8 {
            for second in 0..=8 - first {
                let mut frames = sample();
                frames.advance(first);
                assert_eq!(text(&frames), "abCDEFgh"[first..]);
                frames.own_mut().extend_from_slice(b"x");
                frames.push_shared(Bytes::from_static(b"Y"));
                frames.advance(second);
                assert_eq!(text(&frames), "abCDEFghxY"[first + second..]);
                assert!(
                    "abCDEFghxY"[first + second..]
                        .starts_with(str::from_utf8(frames.chunk()).unwrap())
                );
            }
        }
    }

    #[test]
    fn appending_moves_everything() {
        for gone in 0..8 {
            let (mut first, mut second) = (sample(), sample());
            first.advance(gone);
            second.advance(gone);
            first.append(&mut second);
            let rest = &"abCDEFgh"[gone..];
            assert_eq!(text(&first), format!("{rest}{rest}"));
            assert!(second.is_empty());
            let mut none = Frames::new();
            none.append(&mut first);
            assert_eq!(text(&none), format!("{rest}{rest}"));
            assert!(first.is_empty());
        }
    }

    #[test]
    fn what_came_after_a_mark_can_be_taken_back() {
        let mut frames = sample();
        frames.advance(3);
        let mark = frames.mark();
        frames.own_mut().extend_from_slice(b"xyz");
        frames.push_shared(Bytes::from_static(b"123"));
        assert_eq!(frames.len_since(&mark), 6);
        frames.own_since(&mark)[0] = b'X';
        assert_eq!(text(&frames), "DEFghXyz123");
        frames.truncate(&mark);
        assert_eq!(text(&frames), "DEFgh");
    }

    #[test]
    fn few_slices_are_filled_from_the_front() {
        let frames = sample();
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(frames.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"ab"[..], &b"CDE"[..]));
    }
}
