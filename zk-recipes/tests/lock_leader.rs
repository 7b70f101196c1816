//! Leadership against a real server: guard, latch and listener.

#![allow(
    clippy::async_yields_async,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod support;

use std::{ops::ControlFlow, time::Duration};

use async_trait::async_trait;
use support::{builder, client, proxy::Proxy, server, soon, unique, until_contenders};
use tokio::sync::mpsc;
use zk_client::{Acl, Perms, Zxid};
use zk_recipes::{
    Error,
    leader::{LeaderClaim, LeaderListener},
    prelude::*,
};

async fn until_leader(latch: &LeaderLatch) -> Zxid {
    let claim = soon("the leadership", latch.leads()).await.unwrap();
    claim.token()
}

#[tokio::test]
async fn a_leadership_is_a_guard_with_an_epoch() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("leader"));
    let leader = client.leader(&path).await.unwrap();
    assert!(client.leader(&path).try_acquire().await.unwrap().is_none());
    let next = tokio::spawn(client.leader(&path).identity("next").into_future());
    until_contenders(&client, &path, 2).await;
    assert_eq!(leader.run(async { 42 }).await.unwrap(), 42);
    let epoch = leader.token();
    let candidates = client.leader(&path).contenders().await.unwrap();
    assert_eq!(
        (candidates[0].token, &*candidates[1].identity),
        (epoch, "next")
    );
    assert!(candidates[0].node.contains("-latch-"));
    leader.release().await.unwrap();
    let next = soon("the next leader", next).await.unwrap().unwrap();
    assert!(next.token() > epoch);
}

#[tokio::test]
async fn latches_take_turns_and_say_so() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("latch"));
    let first = client.latch(&path).identity("first").start().await.unwrap();
    let epoch = until_leader(&first).await;
    let second = client
        .latch(&path)
        .identity("second")
        .start()
        .await
        .unwrap();
    assert!(first.is_leader() && !second.is_leader());
    assert!(second.leadership().is_none());
    let participants = second.participants().await.unwrap();
    let names: Vec<_> = participants.iter().map(|who| &*who.identity).collect();
    assert_eq!(names, ["first", "second"], "a started latch has its place");
    let mut changes = second.changes();
    assert!(matches!(changes.next().await, Some(LatchState::Waiting)));
    first.close().await.unwrap();
    match soon("the change", changes.next()).await {
        Some(LatchState::Leader(claim)) => assert!(claim.token() > epoch),
        other => panic!("{other:?}"),
    }
    assert!(second.is_leader());
    let claim = second.leadership().unwrap();
    assert_eq!(claim.run(async { 42 }).await.unwrap(), 42);
    drop(second);
    assert_eq!(soon("the end", claim.lost()).await, LostReason::Released);
    assert!(matches!(
        soon("the last state", changes.next()).await,
        Some(LatchState::Closed)
    ));
    assert!(changes.next().await.is_none());
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn a_latch_queues_again_after_its_session_has_ended() {
    let server = server().await;
    let (one, two, path) = (
        client(server.address()).await,
        client(server.address()).await,
        unique("latch-again"),
    );
    let first = one.latch(&path).start().await.unwrap();
    let mut epochs = vec![until_leader(&first).await];
    let second = two.latch(&path).start().await.unwrap();
    let claim = first.leadership().unwrap();
    server.end(&one.session()).await;
    let reason = soon("the loss", claim.lost()).await;
    assert!(
        matches!(reason, LostReason::SessionEnded | LostReason::NodeDeleted),
        "{reason}"
    );
    assert!(!first.is_leader());
    epochs.push(until_leader(&second).await);
    // It is there again, behind the other one, once.
    until_contenders(&two, &path, 2).await;
    server.end(&two.session()).await;
    epochs.push(until_leader(&first).await);
    until_contenders(&one, &path, 2).await;
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    first.close().await.unwrap();
    second.close().await.unwrap();
    until_contenders(&one, &path, 0).await;
}

#[tokio::test]
async fn a_latch_that_is_cut_off_gives_up_before_the_next_leads() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let short = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let (cut_off, other, path) = (
        short.connect().await.unwrap(),
        client(server.address()).await,
        unique("latch-cut"),
    );
    let old = cut_off.latch(&path).start().await.unwrap();
    until_leader(&old).await;
    let claim = old.leadership().unwrap();
    let new = other.latch(&path).start().await.unwrap();
    proxy.cut();
    assert_eq!(
        soon("the loss", claim.lost()).await,
        LostReason::NoProofOfLife
    );
    assert!(!old.is_leader() && !new.is_leader());
    until_leader(&new).await;
    proxy.restore();
    until_contenders(&other, &path, 2).await;
    assert!(new.is_leader() && !old.is_leader());
    new.close().await.unwrap();
    until_leader(&old).await;
}

#[tokio::test]
async fn a_latch_that_is_closed_while_it_is_cut_off_leads_no_more_and_its_node_goes() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let short = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let (cut_off, other, path) = (
        short.connect().await.unwrap(),
        client(server.address()).await,
        unique("latch-closed"),
    );
    // While it leads, and while it waits.
    for waits in [false, true] {
        let leader = match waits {
            true => Some(other.leader(&path).await.unwrap()),
            false => None,
        };
        let latch = cut_off.latch(&path).start().await.unwrap();
        if !waits {
            until_leader(&latch).await;
        }
        until_contenders(&other, &path, 1 + usize::from(waits)).await;
        proxy.cut();
        soon("the end without a connection", latch.close())
            .await
            .unwrap();
        proxy.restore();
        until_contenders(&other, &path, usize::from(waits)).await;
        if let Some(leader) = leader {
            leader.release().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_latch_that_cannot_take_part_says_why() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("latch-refused"));
    let kazoo = client
        .leader(&path)
        .layout(LockLayout::Kazoo)
        .await
        .unwrap();
    let refused = soon("the refusal", client.latch(&path).start()).await;
    assert!(
        matches!(refused, Err(Error::ForeignContender { .. })),
        "{refused:?}"
    );
    let same = client
        .latch(&path)
        .layout(LockLayout::Kazoo)
        .start()
        .await
        .unwrap();
    kazoo.release().await.unwrap();
    until_leader(&same).await;
    let mut changes = same.changes();
    client.close().await.unwrap();
    soon("the last state", async {
        while let Some(state) = changes.next().await {
            if let LatchState::Failed(error) = state {
                assert!(matches!(error, Error::SessionGone { .. }), "{error}");
                return;
            }
        }
        panic!("no reason was told");
    })
    .await;
    assert!(!same.is_leader());
    assert!(same.close().await.is_err());
}

#[tokio::test]
async fn a_stray_contender_does_not_end_an_election() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("latch-stray"));
    let first = client.latch(&path).start().await.unwrap();
    until_leader(&first).await;
    let second = client.latch(&path).start().await.unwrap();
    let mutex = format!("{path}/_c_{}-lock-", client.guid());
    let stray = client.create(&mutex, "").ephemeral().sequential();
    let stray = stray.await.unwrap();
    first.close().await.unwrap();
    // The candidate meets it, and gives way as long as it stands.
    until_contenders(&client, &path, 1).await;
    let late = client.latch(&path).start().await;
    assert!(matches!(late, Err(Error::ForeignContender { .. })));
    client.delete(&stray.path).await.unwrap();
    until_leader(&second).await;
    second.close().await.unwrap();
    until_contenders(&client, &path, 0).await;
}

/// Reports what happens to it, and leads as it is told.
struct Reporter {
    reports: mpsc::UnboundedSender<String>,
    orders: mpsc::UnboundedReceiver<ControlFlow<()>>,
}

#[async_trait]
impl LeaderListener for Reporter {
    async fn lead(&mut self, leadership: &LeaderClaim) -> ControlFlow<()> {
        leadership.ensure().unwrap();
        self.reports.send("leads".into()).unwrap();
        self.orders.recv().await.unwrap()
    }

    async fn lost(&mut self, reason: LostReason) {
        self.reports.send(format!("lost: {reason:?}")).unwrap();
    }
}

#[tokio::test]
async fn a_listener_is_called_each_time_it_leads_until_it_has_enough() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("listener"));
    let (reports, mut told) = mpsc::unbounded_channel();
    let (order, orders) = mpsc::unbounded_channel();
    let listening = tokio::spawn(client.latch(&path).listen(Reporter { reports, orders }));
    assert_eq!(soon("the first time", told.recv()).await.unwrap(), "leads");
    let other = tokio::spawn(client.leader(&path).into_future());
    until_contenders(&client, &path, 2).await;
    order.send(ControlFlow::Continue(())).unwrap();
    let other = soon("the other", other).await.unwrap().unwrap();
    until_contenders(&client, &path, 2).await;
    other.release().await.unwrap();
    assert_eq!(soon("the second time", told.recv()).await.unwrap(), "leads");
    let leader = client.leader(&path).contenders().await.unwrap().remove(0);
    client
        .delete(&format!("{path}/{}", leader.node))
        .await
        .unwrap();
    assert_eq!(
        soon("the loss", told.recv()).await.unwrap(),
        "lost: NodeDeleted"
    );
    assert_eq!(soon("the third time", told.recv()).await.unwrap(), "leads");
    order.send(ControlFlow::Break(())).unwrap();
    soon("the end", listening).await.unwrap().unwrap();
    until_contenders(&client, &path, 0).await;
}

#[tokio::test]
async fn a_listener_is_called_again_in_the_next_session() {
    let server = server().await;
    let (client, path) = (client(server.address()).await, unique("listener-session"));
    let (reports, mut told) = mpsc::unbounded_channel();
    let (order, orders) = mpsc::unbounded_channel();
    let listening = tokio::spawn(client.latch(&path).listen(Reporter { reports, orders }));
    assert_eq!(soon("the first time", told.recv()).await.unwrap(), "leads");
    let session = client.session();
    server.end(&session).await;
    let lost = soon("the loss", told.recv()).await.unwrap();
    assert!(
        ["lost: SessionEnded", "lost: NodeDeleted"].contains(&&*lost),
        "{lost}"
    );
    assert_eq!(soon("the second time", told.recv()).await.unwrap(), "leads");
    assert_ne!(client.session().id(), session.id());
    until_contenders(&client, &path, 1).await;
    order.send(ControlFlow::Break(())).unwrap();
    soon("the end", listening).await.unwrap().unwrap();
    until_contenders(&client, &path, 0).await;
}

/// `ZooDefs.OpCode`.
const CREATE2: i32 = 15;

#[tokio::test]
async fn a_refusal_that_passes_ends_neither_a_latch_nor_a_listener() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (member, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    for listens in [false, true] {
        let path = unique("leader-refused");
        let (reports, mut told) = mpsc::unbounded_channel();
        let (order, orders) = mpsc::unbounded_channel();
        let latch = match listens {
            true => None,
            false => Some(member.latch(&path).start().await.unwrap()),
        };
        let listener = Reporter { reports, orders };
        let listener = listens.then(|| tokio::spawn(member.latch(&path).listen(listener)));
        match &latch {
            Some(latch) => drop(until_leader(latch).await),
            None => assert_eq!(soon("it to lead", told.recv()).await.unwrap(), "leads"),
        }
        // Nobody may create there for a while, and the leader's session ends.
        let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::CREATE.0), "world", "anyone");
        other.set_acl(&path, vec![closed]).await.unwrap();
        let session = member.session();
        server.end(&session).await;
        soon("the end", session.ended()).await;
        proxy.seen();
        soon("a try after two refusals", proxy.until_seen(CREATE2, 3)).await;
        other.set_acl(&path, Acl::open()).await.unwrap();
        match &latch {
            Some(latch) => drop(until_leader(latch).await),
            None => {
                let lost = soon("the loss", told.recv()).await.unwrap();
                assert!(lost.starts_with("lost"), "{lost}");
                assert_eq!(soon("it to lead", told.recv()).await.unwrap(), "leads");
            }
        }
        drop(latch);
        order.send(ControlFlow::Break(())).ok();
        if let Some(listener) = listener {
            soon("the end", listener).await.unwrap().unwrap();
        }
        until_contenders(&other, &path, 0).await;
    }
}

#[tokio::test]
async fn a_latch_gives_up_its_start_in_time() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (member, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = unique("latch-late");
    proxy.cut();
    let latch = member.latch(&path).timeout(Duration::from_millis(50));
    let error = soon("giving up", latch.start()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    proxy.restore();
    member.sync("/").await.unwrap();
    until_contenders(&other, &path, 0).await;
}
