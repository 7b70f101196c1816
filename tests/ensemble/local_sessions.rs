//! Sessions that only one member knows, with our members and with Apache's: the same test for both.

use std::{io, net::SocketAddr, time::Duration};

use tokio::time::timeout;
use zk_proto::{
    CreateMode, ErrorCode, OpCode, SessionId, Stat,
    connect::ConnectResponse,
    op::{MultiOp, MultiResult, Request, Response},
};
use zk_tests::{
    apache, ours,
    process::{Launcher, four_letter_word},
    raw::RawClient,
    requests::{create, create_as, exists, multi, part_create, sync},
};

use crate::members::{start_all, start_as};

/// Far more than a session of the shortest timeout takes to expire.
const LIMIT: Duration = Duration::from_secs(60);

const ENABLED: (&str, &str) = ("localSessionsEnabled", "true");

async fn session(member: SocketAddr) -> (RawClient, ConnectResponse) {
    let mut client = RawClient::connect(member).await.unwrap();
    let session = client.open_session(8_000).await.unwrap();
    assert_ne!(session.session_id, SessionId::NONE);
    (client, session)
}

/// The session that a member gives to whoever comes with this one.
async fn resume(member: SocketAddr, session: &ConnectResponse) -> (RawClient, SessionId) {
    let mut client = RawClient::connect(member).await.unwrap();
    let resumed = client
        .resume_session(8_000, session.session_id, session.password.clone())
        .await
        .unwrap();
    (client, resumed.session_id)
}

async fn code(client: &mut RawClient, request: Request) -> ErrorCode {
    client.call(request).await.unwrap().code()
}

/// A node's Stat as a member has it after a `sync`.
async fn stat(client: &mut RawClient, path: &str) -> Option<Stat> {
    client.call(sync("/")).await.unwrap();
    match client
        .call(exists(path))
        .await
        .unwrap()
        .response(OpCode::Exists)
    {
        Ok(Response::Stat(found)) => Some(found.stat),
        _ => None,
    }
}

/// The last transaction of the whole ensemble, as a member knows it after a `sync`.
async fn last_zxid(client: &mut RawClient) -> i64 {
    client.call(sync("/")).await.unwrap();
    let answer = client.call(exists("/")).await.unwrap();
    answer.header.zxid.0
}

async fn without_upgrading(launchers: [Launcher; 3]) {
    let members = start_all(&launchers, &[ENABLED]).unwrap();
    let all = members.addresses();
    let leader = members.leader().unwrap();
    let follower = (leader + 1) % 3;
    let (mut observer, _) = session(all[(leader + 2) % 3]).await;
    for (at, name) in [(leader, "leader"), (follower, "follower")] {
        let before = last_zxid(&mut observer).await;
        let (mut client, own) = session(all[at]).await;
        assert_eq!(
            last_zxid(&mut observer).await,
            before,
            "{name}: no transaction"
        );
        let (persistent, ephemeral) = (format!("/{name}"), format!("/{name}-e"));
        assert_eq!(
            code(&mut client, create(&persistent, b"x")).await,
            ErrorCode::Ok
        );
        assert!(stat(&mut observer, &persistent).await.is_some());
        let own_node = create_as(&ephemeral, b"", CreateMode::Ephemeral);
        let refused = code(&mut client, own_node).await;
        assert_eq!(refused, ErrorCode::EphemeralOnLocalSession, "{name}");
        let mut part = part_create(&ephemeral);
        if let MultiOp::Create(create) = &mut part {
            create.flags = CreateMode::Ephemeral.flags();
        }
        let answer = client
            .call(multi(vec![part_create("/m"), part]))
            .await
            .unwrap();
        let Ok(Response::Multi(parts)) = answer.response(OpCode::Multi) else {
            panic!("{name}: {answer:?}");
        };
        // A learner's multi is refused by the leader, which knows no such session.
        let expected = match at == leader {
            true => ErrorCode::EphemeralOnLocalSession,
            false => ErrorCode::SessionExpired,
        };
        let told = parts.results.last().map(|part| match part {
            MultiResult::Error(error) => ErrorCode::from_i32(error.err),
            _ => ErrorCode::Ok,
        });
        assert_eq!(told, Some(expected), "{name}");
        assert!(stat(&mut observer, "/m").await.is_none(), "{name}");
        // Over another connection to the same member it goes on, and elsewhere nobody knows it.
        let (_elsewhere, at_another) = resume(all[(at + 1) % 3], &own).await;
        assert_eq!(at_another, SessionId::NONE, "{name}");
        let (mut again, resumed) = resume(all[at], &own).await;
        assert_eq!(resumed, own.session_id, "{name}");
        assert_eq!(code(&mut again, exists("/")).await, ErrorCode::Ok);
        let before = last_zxid(&mut observer).await;
        let end = code(&mut again, Request::CloseSession).await;
        assert_eq!(end, ErrorCode::Ok);
        assert_eq!(
            last_zxid(&mut observer).await,
            before,
            "{name}: no transaction"
        );
        let (_gone, ended) = resume(all[at], &own).await;
        assert_eq!(ended, SessionId::NONE, "{name}");
    }
}

async fn upgrading(launchers: [Launcher; 3]) {
    let settings = [ENABLED, ("localSessionsUpgradingEnabled", "true")];
    let members = start_all(&launchers, &settings).unwrap();
    let all = members.addresses();
    let leader = members.leader().unwrap();
    let (mut observer, _) = session(all[(leader + 2) % 3]).await;
    // Zxids ascend by one from the first transaction of an epoch on.
    let first = create("/first", b"");
    assert_eq!(code(&mut observer, first).await, ErrorCode::Ok);
    for (at, name) in [(leader, "leader"), ((leader + 1) % 3, "follower")] {
        let before = last_zxid(&mut observer).await;
        let (mut client, own) = session(all[at]).await;
        let nodes = [format!("/{name}-1"), format!("/{name}-2")];
        // One right behind the other: the second one must not overtake the session.
        let requests = nodes
            .each_ref()
            .map(|node| create_as(node, b"", CreateMode::Ephemeral));
        client.ask(&requests).await.unwrap();
        for _ in &nodes {
            assert_eq!(
                client.answer().await.unwrap().code(),
                ErrorCode::Ok,
                "{name}"
            );
        }
        assert_eq!(
            last_zxid(&mut observer).await,
            before + 3,
            "{name}: the session and two nodes"
        );
        for node in &nodes {
            let stat = stat(&mut observer, node).await.unwrap();
            assert_eq!(stat.ephemeral_owner, own.session_id, "{name}");
        }
        // Now everybody knows it.
        let (mut moved, resumed) = resume(all[(at + 1) % 3], &own).await;
        assert_eq!(resumed, own.session_id, "{name}");
        let node = format!("/{name}-3");
        let own_node = create_as(&node, b"", CreateMode::Ephemeral);
        assert_eq!(code(&mut moved, own_node).await, ErrorCode::Ok, "{name}");
        drop(client);
        drop(moved);
        let gone = async {
            while stat(&mut observer, &node).await.is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
        assert!(stat(&mut observer, &nodes[0]).await.is_none(), "{name}");
    }
}

/// A member without its client for as long as the session may last forgets it, and nobody else hears of that.
async fn expiry(launcher: Launcher) {
    let members = start_as(&launcher, &[ENABLED]).unwrap();
    let follower = (members.leader().unwrap() + 1) % 3;
    let member = members.addresses()[follower];
    let local = || local_sessions(member).unwrap();
    let (client, own) = session(member).await;
    assert_eq!(local(), 1);
    drop(client);
    let gone = async {
        while local() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
    let (_client, resumed) = resume(member, &own).await;
    assert_eq!(resumed, SessionId::NONE);
}

fn local_sessions(member: SocketAddr) -> io::Result<u32> {
    let told = four_letter_word(member, "mntr")?;
    let count = told.lines().find_map(|line| {
        line.strip_prefix("zk_local_sessions\t")?
            .trim()
            .parse()
            .ok()
    });
    count.ok_or_else(|| io::Error::other(told))
}

#[tokio::test]
async fn a_local_session_owns_nothing() {
    without_upgrading([(); 3].map(|()| ours::launcher().unwrap())).await;
}

#[tokio::test]
async fn a_local_session_owns_nothing_at_apache() {
    if let Some(launcher) = apache::launcher_or_skip("local sessions") {
        without_upgrading([(); 3].map(|()| launcher.clone())).await;
    }
}

#[tokio::test]
async fn a_local_session_becomes_the_ensembles() {
    upgrading([(); 3].map(|()| ours::launcher().unwrap())).await;
}

#[tokio::test]
async fn a_local_session_becomes_the_ensembles_at_apache() {
    if let Some(launcher) = apache::launcher_or_skip("local sessions") {
        upgrading([(); 3].map(|()| launcher.clone())).await;
    }
}

#[tokio::test]
async fn a_follower_forgets_a_silent_local_session() {
    expiry(ours::launcher().unwrap()).await;
}

/// Equal members elect the last one; the test is about that one and the first.
#[tokio::test]
async fn local_sessions_among_members_of_both_makes() {
    let Some(theirs) = apache::launcher_or_skip("local sessions among members of both makes")
    else {
        return;
    };
    let own = ours::launcher().unwrap();
    for (follower, leader) in [(&theirs, &own), (&own, &theirs)] {
        let launchers = [follower, leader, leader].map(Clone::clone);
        without_upgrading(launchers.clone()).await;
        upgrading(launchers).await;
    }
}
