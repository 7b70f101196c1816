//! A connection makes the server allocate in proportion to what its client has sent, whatever lengths and counts it
//! claims.
//!
//! One test alone in its program: what is counted is everything the program allocates meanwhile.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::{alloc::System, fs, time::Duration};

use bytes::{BufMut, BytesMut};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zk_proto::{OpCode, Xid, frame::put_frame, header::RequestHeader};
use zk_server::{
    conn::{ConnEvent, Connection},
    limits::ConnLimits,
    time::Now,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The most bytes in memory for a byte received: a string of four bytes on the wire takes 32 in memory, a part of a
/// multi of nine takes 100, and a vector that grows leaves smaller ones behind.
const FACTOR: usize = 64;

/// What a connection takes before anything is said.
const BASE: usize = 4 << 10;

/// How many bytes the core allocates for these, of which it keeps every event.
fn allocated(sent: &[u8]) -> usize {
    let mut input = BytesMut::from(sent);
    let region = Region::new(ALLOCATOR);
    let mut conn = Connection::new(ConnLimits::default(), Now::default());
    let mut events = Vec::new();
    loop {
        let before = (input.len(), events.len());
        if conn.receive(Now::default(), &mut input).is_err() {
            break;
        }
        while let Some(event) = conn.next_event(u64::MAX, |_| true) {
            if matches!(event, ConnEvent::Connect(_)) {
                conn.established(Duration::from_secs(10));
            }
            events.push(event);
        }
        if before == (input.len(), events.len()) {
            break;
        }
    }
    region.change().bytes_allocated
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/connection");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let read = |file: &std::path::PathBuf| fs::read(file).unwrap().split_off(1);
    files.iter().map(read).collect()
}

/// A session, then every operation with a vector that claims to be longer than memory.
fn large_claims(session: &[u8]) -> Vec<Vec<u8>> {
    let claims = OpCode::ALL.iter().map(|op| {
        let mut out = BytesMut::from(session);
        let header = RequestHeader {
            xid: Xid(1),
            op: op.code(),
        };
        let body = zk_proto::Utf8Bytes::from_static("/a");
        put_frame(&mut out, &[&header, &body, &i32::MAX, &i32::MAX, &i32::MAX]);
        // And a frame that is announced and does not come.
        out.put_i32(1 << 19);
        out.put_u8(0);
        out.to_vec()
    });
    claims.collect()
}

#[test]
fn a_connection_takes_no_more_than_a_multiple_of_what_was_sent() {
    let corpus = corpus();
    let mut inputs = corpus.clone();
    inputs.extend(large_claims(&corpus[0]));
    let mut dice = fastrand::Rng::with_seed(3);
    for _ in 0..20_000 {
        let mut input = dice.choice(&inputs).unwrap().clone();
        for _ in 0..dice.usize(1..5) {
            let at = dice.usize(..input.len().max(1));
            let end = input.len().min(at + 4);
            let odd = dice
                .choice([-1, 0, 1, 0xff, 0x7fff, 1 << 20, i32::MAX])
                .unwrap();
            input.splice(at.min(end)..end, odd.to_be_bytes());
        }
        let most = BASE + FACTOR * input.len();
        let taken = allocated(&input);
        assert!(taken <= most, "{taken} bytes for {}", input.escape_ascii());
    }
    for input in &inputs {
        assert!(allocated(input) <= BASE + FACTOR * input.len());
    }
}
