//! What a client sends, through the connection's core.

use std::{mem::discriminant, time::Duration};

use bytes::BytesMut;

use crate::{
    conn::{CloseReason, ConnEvent, Connection},
    limits::ConnLimits,
    time::Now,
};

/// The length of the pieces in which the bytes arrive, then the bytes: how they are cut makes no difference, and what
/// waits is never more than was sent.
pub fn connection(data: &[u8]) {
    let Some((piece, sent)) = data.split_first() else {
        return;
    };
    let whole = talk(sent, sent.len().max(1));
    let in_pieces = talk(sent, usize::from(*piece) + 1);
    match (in_pieces.1, whole.1) {
        (None, None) => assert_eq!(in_pieces.0, whole.0),
        // What came with the bytes that end the connection is dropped with it.
        (Some(one), Some(other)) => {
            assert_eq!(discriminant(&one), discriminant(&other));
            let both = in_pieces.0.len().min(whole.0.len());
            assert_eq!(in_pieces.0[..both], whole.0[..both]);
        }
        (one, other) => unreachable!("{one:?} or {other:?}, by how the bytes were cut"),
    }
}

/// What came out, and why the connection ended if it did. Everything is answered as soon as it comes out.
fn talk(sent: &[u8], piece: usize) -> (Vec<ConnEvent>, Option<CloseReason>) {
    let now = Now::default();
    let mut conn = Connection::new(ConnLimits::default(), now);
    let mut input = BytesMut::new();
    let (mut events, mut answered) = (Vec::new(), 0);
    for piece in sent.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            if let Err(reason) = conn.receive(now, &mut input) {
                return (events, Some(reason));
            }
            while let Some(event) = conn.next_event(answered, |_| true) {
                answered += u64::from(conn.awaits_answers());
                if matches!(event, ConnEvent::Connect(_)) {
                    conn.established(Duration::from_secs(10));
                }
                events.push(match event {
                    // As in Apache's server, the number counts only if it has come together with the word.
                    ConnEvent::FourLetter(word, _) => ConnEvent::FourLetter(word, None),
                    event => event,
                });
            }
            if input.len() == before {
                break;
            }
        }
        assert!(input.len() <= sent.len());
    }
    (events, None)
}
