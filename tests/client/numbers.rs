//! Numbers of requests that wrap: after the last one comes 1, and never one of those that mean something else.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use futures::{FutureExt, future::join_all};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use zk_client::{ClientBuilder, WatchEvent};
use zk_proto::{Xid, frame::take_frame};

use crate::subject::{Subject, impatient};

cases! {
    thousands_of_requests_are_answered_in_order_over_the_wrap,
    pings_credentials_and_watches_keep_their_numbers_at_the_wrap,
}

/// How many requests go before the wrap, and how many there are.
const BEFORE: i32 = 1500;
const REQUESTS: i32 = 3500;

async fn thousands_of_requests_are_answered_in_order_over_the_wrap(subject: &Subject) {
    let line = Line::start(subject).await;
    let builder = line.builder(subject).first_xid(i32::MAX - BEFORE + 1);
    let client = builder.connect().await.unwrap();
    client.create("/a", "").await.unwrap();
    let mut events = client.watch("/a").await.unwrap();
    let (mut sets, mut gets, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=REQUESTS {
        match number % 10 {
            3 => gets.push((sets.len(), client.get("/a").submit().await.unwrap())),
            7 if number % 100 == 7 => {
                let mut proof = client.add_auth("digest", format!("user{number}:secret"));
                assert!((&mut proof).now_or_never().is_none(), "it is on its way");
                proofs.push(proof);
            }
            _ => sets.push(client.set("/a", number.to_string()).submit().await.unwrap()),
        }
    }
    let written = sets.len();
    for (stat, version) in join_all(sets).await.into_iter().zip(1..) {
        assert_eq!(stat.unwrap().version, version);
    }
    for (before, node) in gets {
        let version = node.await.unwrap().stat.version;
        assert_eq!(usize::try_from(version).unwrap(), before);
    }
    for proof in join_all(proofs).await {
        proof.unwrap();
    }
    for number in 0..written {
        let event = events.next().await.unwrap();
        assert!(
            matches!(event, WatchEvent::DataChanged(_)),
            "{number}: {event:?}"
        );
    }
    drop(events);
    client.close().await.unwrap();
    let (asked, answered) = (line.asked.requests(), line.answered.requests());
    let wrapped = (i32::MAX - BEFORE + 1..=i32::MAX).chain(1..);
    let expected: Vec<_> = wrapped.take(asked.len()).collect();
    assert!(asked.len() > 3000 && asked == expected && answered == expected);
}

async fn pings_credentials_and_watches_keep_their_numbers_at_the_wrap(subject: &Subject) {
    let line = Line::start(subject).await;
    let builder = line.builder(subject).first_xid(i32::MAX - 1);
    let client = builder
        .session_timeout(Duration::from_millis(1500))
        .auth("digest", "alice:secret")
        .connect()
        .await
        .unwrap();
    let id = client.session().id();
    client.create("/a", "").ephemeral().await.unwrap();
    let (_, change) = client.get("/a").watch().await.unwrap();
    // The last number is used up: what comes now has numbers of its own.
    line.answered.until(Xid::PING, 2).await;
    client.add_auth("digest", "bob:secret").await.unwrap();
    line.cut();
    line.answered.until(Xid::SET_WATCHES, 1).await;
    let other = subject.client().await;
    other.set("/a", "x").await.unwrap();
    assert!(matches!(change.await, WatchEvent::DataChanged(_)));
    let known = client.who_am_i().await.unwrap();
    let users = known.iter().filter(|known| known.scheme == "digest");
    assert_eq!(users.count(), 2);
    let node = client.get("/a").await.unwrap();
    assert_eq!((&node.data[..], node.stat.ephemeral_owner), (&b"x"[..], id));
    client.close().await.unwrap();
    let expected = [i32::MAX - 1, i32::MAX, 1, 2, 3];
    assert_eq!(line.asked.requests(), expected);
    assert_eq!(line.answered.requests(), expected);
    // Once on the first connection, one added, both on the second.
    assert_eq!(line.answered.count(Xid::AUTH), 4);
    assert_eq!(line.answered.count(Xid::NOTIFICATION), 1);
}

/// The way to the server, and the numbers of everything that went over it.
struct Line {
    addr: SocketAddr,
    asked: Numbers,
    answered: Numbers,
    cuts: Arc<watch::Sender<u32>>,
}

impl Line {
    async fn start(subject: &Subject) -> Self {
        let server = subject.server();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let line = Self {
            addr: listener.local_addr().unwrap(),
            asked: Numbers::default(),
            answered: Numbers::default(),
            cuts: Arc::default(),
        };
        let (asked, answered) = (line.asked.clone(), line.answered.clone());
        let cuts = Arc::downgrade(&line.cuts);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Some(cuts) = cuts.upgrade() else { return };
                let mut cut = cuts.subscribe();
                drop(cuts);
                let far = TcpStream::connect(&server).await.unwrap();
                let (asked, answered) = (asked.clone(), answered.clone());
                tokio::spawn(async move {
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near.0, far.1, asked) => {}
                        () = carry(far.0, near.1, answered) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        line
    }

    fn builder(&self, subject: &Subject) -> ClientBuilder {
        impatient(format!("{}{}", self.addr, subject.root()))
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

/// Carries bytes one way, and notes the number of every frame but the handshake's.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    numbers: Numbers,
) {
    let mut frames = BytesMut::new();
    let mut greeted = false;
    loop {
        let mut bytes = BytesMut::with_capacity(64 * 1024);
        if !matches!(from.read_buf(&mut bytes).await, Ok(1..)) {
            return;
        }
        frames.extend_from_slice(&bytes);
        // Carried before it is noted: who waits for a number may cut the line.
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        while let Some(frame) = take_frame(&mut frames, 1 << 20).unwrap() {
            let number = frame
                .first_chunk()
                .map_or(0, |xid| i32::from_be_bytes(*xid));
            if std::mem::replace(&mut greeted, true) {
                numbers.0.send_modify(|numbers| numbers.push(number));
            }
        }
    }
}

#[derive(Clone, Default)]
struct Numbers(Arc<watch::Sender<Vec<i32>>>);

impl Numbers {
    /// Those of requests: what means something else is below 1.
    fn requests(&self) -> Vec<i32> {
        let requests = |number: &&i32| **number > 0;
        self.0.borrow().iter().filter(requests).copied().collect()
    }

    fn count(&self, xid: Xid) -> usize {
        self.0
            .borrow()
            .iter()
            .filter(|number| **number == xid.0)
            .count()
    }

    async fn until(&self, xid: Xid, count: usize) {
        let told = |numbers: &Vec<i32>| numbers.iter().filter(|number| **number == xid.0).count();
        let mut numbers = self.0.subscribe();
        drop(numbers.wait_for(|numbers| told(numbers) >= count).await);
    }
}
