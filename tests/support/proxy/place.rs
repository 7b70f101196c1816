//! A place in a stream, by what stands there.

/// So many bytes behind the first byte of the first such mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What a packet begins with: its type and its zxid.
    pub mark: [u8; 12],
    /// How many bytes of it, and of what follows, are before the place.
    pub kept: usize,
}

impl Place {
    /// How many of these bytes are before it for sure, and whether it is right behind them.
    pub(super) fn passes(&self, bytes: &[u8]) -> (usize, bool) {
        let mut windows = bytes.windows(self.mark.len());
        if let Some(at) = windows.position(|window| window == self.mark) {
            return match at + self.kept <= bytes.len() {
                true => (at + self.kept, true),
                false => (at, false),
            };
        }
        let begins = |len: &usize| bytes.ends_with(&self.mark[..*len]);
        let begun = (1..self.mark.len()).rev().find(begins);
        (bytes.len() - begun.unwrap_or_default(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_in_whatever_pieces_the_stream_comes() {
        let place = |kept| Place {
            mark: *b"............",
            kept,
        };
        let stream = b"a..b............cd";
        for kept in [0, 1, 12, 14] {
            for cut in 0..=stream.len() {
                let (mut held, mut passed) = (stream[..cut].to_vec(), Vec::new());
                let (len, mut is_end) = place(kept).passes(&held);
                passed.extend(held.drain(..len));
                if !is_end {
                    held.extend(&stream[cut..]);
                    let (len, ends) = place(kept).passes(&held);
                    passed.extend(held.drain(..len));
                    is_end = ends;
                }
                assert!(is_end, "{kept} {cut}");
                assert_eq!(passed, stream[..4 + kept], "{kept} {cut}");
            }
        }
        assert_eq!(place(15).passes(stream), (4, false), "not there yet");
    }
}
