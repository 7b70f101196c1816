//! Persistent nodes, groups and services: there while their owners are, and once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

mod support;

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use support::{
    builder, client,
    proxy::{Leg, Proxy},
    server, soon, unique, until_children, without_runtime,
};
use zk_client::{Acl, ErrorKind, OnExpiry, Perms, SessionState};
use zk_recipes::{Error, prelude::*};

#[tokio::test]
async fn a_persistent_node_comes_back_once_and_goes_with_its_owner() {
    let server = server().await;
    let (owner, other) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = format!("{}/me", unique("node"));
    let mut node = owner.persistent_node(&path, "1").start().await.unwrap();
    let first = other.get(&path).await.unwrap();
    assert_eq!(
        (first.data.as_ref(), first.stat.ephemeral_owner),
        (&b"1"[..], owner.session().id())
    );
    // Somebody deletes it.
    other.delete(&path).await.unwrap();
    soon("its return", async {
        while other.get_opt(&path).await.unwrap().is_none() {}
    })
    .await;
    node.set("2").await.unwrap();
    assert_eq!(other.get(&path).await.unwrap().data, "2");
    // The session ends, twice.
    for _ in 0..2 {
        let old = owner.session().id();
        server.end(&owner.session()).await;
        soon("its return", async {
            loop {
                let there =
                    matches!(node.presence(), Presence::Present { session, .. } if session != old);
                if there {
                    return;
                }
                node.changed().await.unwrap();
            }
        })
        .await;
        let back = other.get(&path).await.unwrap();
        assert_eq!(back.stat.ephemeral_owner, owner.session().id());
        // Created once, with what it held last.
        assert_eq!((back.data.as_ref(), back.stat.version), (&b"2"[..], 0));
    }
    soon("the release", node.release()).await.unwrap();
    assert!(other.get_opt(&path).await.unwrap().is_none());
    let node = owner.persistent_node(&path, "3").start().await.unwrap();
    let (_, gone) = other.exists(&path).watch().await.unwrap();
    drop(node);
    assert!(soon("the deletion", gone).await.is_deleted());
}

#[tokio::test]
async fn what_changed_between_two_looks_is_told() {
    let server = server().await;
    let owner = client(server.address()).await;
    let path = unique("told");
    let mut node = owner.persistent_node(&path, "1").start().await.unwrap();
    let first = node.presence();
    assert!(
        node.changed().now_or_never().is_none(),
        "nothing changed since the start"
    );
    server.end(&owner.session()).await;
    // It is back before anybody asks.
    soon("its return", async {
        while node.presence() == first || node.presence() == Presence::Absent {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let second = soon("what changed", node.changed()).await.unwrap();
    assert_eq!(second, node.presence());
    assert!(node.changed().now_or_never().is_none());
}

#[tokio::test]
async fn who_takes_over_a_node_of_its_session_is_told_ok_when_it_holds_its_data() {
    let server = server().await;
    let owner = client(server.address()).await;
    let path = unique("taken-over");
    owner.ensure("/zk-recipes-test").await.unwrap();
    owner.create(&path, "old").ephemeral().await.unwrap();
    let node = owner.persistent_node(&path, "new").start().await.unwrap();
    assert_eq!(owner.get(&path).await.unwrap().data, "new");
    soon("the release", node.release()).await.unwrap();
    // Nobody may write this one.
    let acl = vec![Acl::new(
        Perms(Perms::READ.0 | Perms::DELETE.0),
        "world",
        "anyone",
    )];
    owner
        .create(&path, "old")
        .ephemeral()
        .acl(acl)
        .await
        .unwrap();
    let refused = owner.persistent_node(&path, "new").start().await.map(drop);
    assert!(
        matches!(&refused, Err(Error::Client(error)) if error.kind() == ErrorKind::NoAuth),
        "{refused:?}"
    );
}

#[tokio::test]
async fn somebody_elses_node_is_waited_for_and_left_alone() {
    let server = server().await;
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = format!("{}/me", unique("node-taken"));
    let first = one.persistent_node(&path, "one").start().await.unwrap();
    let limit = Duration::from_millis(300);
    let error = two
        .persistent_node(&path, "two")
        .timeout(limit)
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let waiting = tokio::spawn(two.persistent_node(&path, "two").start());
    // A write of the owner's does not disturb who waits.
    first.set("still one").await.unwrap();
    assert_eq!(two.get(&path).await.unwrap().data, "still one");
    first.release().await.unwrap();
    let second = soon("the second", waiting).await.unwrap().unwrap();
    assert_eq!(one.get(&path).await.unwrap().data, "two");
    second.release().await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_and_a_cancelled_start_leave_no_node() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let path = format!("{}/me", unique("node-lost"));
    for micros in (0..4000).step_by(97) {
        let start = owner.persistent_node(&path, "x").start();
        let started = tokio::time::timeout(Duration::from_micros(micros), start).await;
        if micros % 5 == 0 {
            proxy.blink();
        }
        drop(started);
    }
    soon("the last node to go", async {
        while other.get_opt(&path).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let node = owner.persistent_node(&path, "x").start().await.unwrap();
    assert_eq!(other.get(&path).await.unwrap().stat.version, 0);
    node.release().await.unwrap();
}

#[tokio::test]
async fn a_release_without_a_server_gives_up_in_time() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let owner = builder(proxy.address()).session_timeout(Duration::from_secs(1));
    let owner = owner.connect().await.unwrap();
    let path = format!("{}/me", unique("node-down"));
    let node = owner.persistent_node(&path, "x").start().await.unwrap();
    proxy.cut();
    let error = soon("giving up", node.release()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn where_no_session_follows_the_end_is_told() {
    let server = server().await;
    let owner = builder(server.address()).on_expiry(OnExpiry::Stop);
    let owner = owner.connect().await.unwrap();
    let path = format!("{}/me", unique("node-stop"));
    let mut node = owner.persistent_node(&path, "x").start().await.unwrap();
    server.end(&owner.session()).await;
    let error = soon("the end", async {
        loop {
            if let Err(error) = node.changed().await {
                return error;
            }
        }
    })
    .await;
    let reason = ErrorKind::SessionExpired;
    assert!(
        matches!(error, Error::SessionGone { reason: told } if told == reason),
        "{error}"
    );
    assert!(node.set("y").await.is_err());
}

#[tokio::test]
async fn members_join_are_listed_watched_and_leave() {
    let server = server().await;
    let (one, two) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = unique("group");
    let group = one.group(&path);
    assert_eq!(group.members().await.unwrap(), []);
    group.create().await.unwrap();
    group.create().await.unwrap();
    let members = two.group(&path).watch().start().await.unwrap();
    let mut changes = members.changes();
    assert_eq!(changes.next().await.unwrap().unwrap(), CacheChange::Synced);
    let first = group.join("a", "1").start().await.unwrap();
    let mut second = two.group(&path).join("b", "2").start().await.unwrap();
    for name in ["a", "b"] {
        let joined = soon("a member", changes.next()).await.unwrap().unwrap();
        assert!(
            matches!(&joined, CacheChange::Added(node) if node.name() == name),
            "{joined:?}"
        );
    }
    let listed = group.members().await.unwrap();
    let names: Vec<_> = listed.iter().map(|member| member.name.as_str()).collect();
    assert_eq!((names.as_slice(), first.name()), (&["a", "b"][..], "a"));
    assert_eq!(
        (listed[1].data.as_ref(), listed[1].session),
        (&b"2"[..], two.session().id())
    );
    // A group with members is not deleted.
    let refused = group.delete().await.unwrap_err();
    assert!(
        matches!(&refused, Error::Client(error) if error.kind() == ErrorKind::NotEmpty),
        "{refused}"
    );
    let old = two.session();
    server.end(&old).await;
    soon("its return", async {
        while !matches!(second.presence(), Presence::Present { session, .. } if session != old.id())
        {
            second.changed().await.unwrap();
        }
    })
    .await;
    assert_eq!(group.members().await.unwrap().len(), 2);
    first.leave().await.unwrap();
    drop(second);
    until_children(&one, &path, "an empty group", <[_]>::is_empty).await;
    group.delete().await.unwrap();
    group.delete().await.unwrap();
    assert_eq!(group.members().await.unwrap(), []);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Zone {
    zone: String,
}

fn instance(id: &str, zone: &str) -> ServiceInstance<Zone> {
    let zone = Zone { zone: zone.into() };
    ServiceInstance::new("billing")
        .id(id)
        .address("10.0.0.1")
        .port(80)
        .payload(zone)
}

#[tokio::test]
async fn an_instance_that_was_left_out_for_its_errors_is_waited_for() {
    let server = server().await;
    let client = client(server.address()).await;
    let services = client.discovery(&unique("rested"));
    let _a = services.register(instance("a", "eu")).await.unwrap();
    let provider = services.provider::<Zone>("billing");
    let provider = provider.down_after(1, Duration::from_millis(100));
    let provider = provider.start().await.unwrap();
    provider.note_error(&provider.pick().unwrap());
    assert!(provider.pick().is_none());
    assert_eq!(soon("its return", provider.wait()).await.unwrap().id, "a");
}

#[tokio::test]
async fn services_are_found_chosen_and_left_out() {
    let server = server().await;
    let (owner, user) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let base = unique("services");
    let (services, found) = (owner.discovery(&base), user.discovery(&base));
    let billing = found.provider::<Zone>("billing").start().await.unwrap();
    assert!(billing.pick().is_none());
    let waiting = async { soon("an instance", billing.wait()).await.unwrap() };
    let (a, first) = tokio::join!(services.register(instance("a", "eu")), waiting);
    let a = a.unwrap();
    assert_eq!(
        (
            first.id.as_str(),
            first.payload.as_ref().unwrap().zone.as_str()
        ),
        ("a", "eu")
    );
    let b = services.register(instance("b", "us")).await.unwrap();
    let anonymous: ServiceInstance = ServiceInstance::new("mail").port(25);
    let mail = services.register(anonymous).await.unwrap();
    assert_eq!(mail.id().len(), 36);
    assert_eq!(found.names().await.unwrap(), ["billing", "mail"]);
    // A node that is no instance is left out.
    owner
        .create(&format!("{base}/billing/c"), "rubbish")
        .await
        .unwrap();
    // Who does not care for payloads finds those with any.
    let anything = found.provider::<()>("billing").start().await.unwrap();
    let found_so: Vec<_> = (anything.instances().iter())
        .map(|it| it.id.clone())
        .collect();
    assert_eq!(found_so, ["a", "b"]);
    let listed = found.instances::<Zone>("billing").await.unwrap();
    assert_eq!(
        listed.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(listed[0].registration_time_utc > 1_600_000_000_000);
    let europe = found.provider::<Zone>("billing").sticky();
    let europe = europe.filter(|it| it.payload.as_ref().is_some_and(|zone| zone.zone == "eu"));
    let europe = Arc::new(europe.start().await.unwrap());
    soon("both", async {
        while billing.instances().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let picked: Vec<_> = (0..4).map(|_| billing.pick().unwrap().id.clone()).collect();
    assert!(
        picked[0] != picked[1] && picked[..2] == picked[2..],
        "{picked:?}"
    );
    assert_eq!(europe.pick().unwrap().id, "a");
    // Errors take it out.
    let failing = europe.pick().unwrap();
    europe.note_error(&failing);
    europe.note_error(&failing);
    assert!(europe.pick().is_none());
    a.release().await.unwrap();
    b.release().await.unwrap();
    soon("nobody", async {
        while billing.pick().is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_service_says_may_change_and_survives_an_expiry() {
    let server = server().await;
    let (owner, user) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let base = unique("services-change");
    let (services, found) = (owner.discovery(&base), user.discovery(&base));
    let a = services.register(instance("a", "eu")).await.unwrap();
    let b = services.register(instance("b", "us")).await.unwrap();
    let billing = found.provider::<Zone>("billing").start().await.unwrap();
    assert_eq!(billing.instances().len(), 2);
    // Who is disabled is not chosen.
    let mut disabled = instance("ignored", "us");
    disabled.enabled = false;
    b.update(disabled).await.unwrap();
    soon("the change", async {
        while billing
            .instances()
            .iter()
            .any(|it| it.id == "b" && it.enabled)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!((0..4).all(|_| billing.pick().unwrap().id == "a"));
    // A session that expires takes no registration with it for long.
    let mut states = owner.states();
    server.end(&owner.session()).await;
    while !matches!(states.next().await.unwrap(), SessionState::Renewed { .. }) {}
    let new = owner.session().id();
    soon("its return", async {
        while !matches!(a.presence(), Presence::Present { session, .. } if session == new) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let listed = found.instances::<Zone>("billing").await.unwrap();
    assert!(listed.iter().any(|it| it.id == "a"), "{listed:?}");
    drop(b);
}

#[tokio::test]
async fn refused_data_is_refused_for_good_and_the_node_comes_back_with_the_last_that_was_not() {
    let server = server().await;
    let (owner, other) = (
        client(server.address()).await,
        client(server.address()).await,
    );
    let path = format!("{}/me", unique("node-refused"));
    let mut node = owner.persistent_node(&path, "1").start().await.unwrap();
    let large = vec![0; 2 << 20];
    let is_refused = |result: Result<(), Error>| match result {
        Err(Error::Client(error)) => error.kind() == ErrorKind::TooLarge,
        _ => false,
    };
    assert!(is_refused(soon("the refusal", node.set(&large)).await));
    // What nobody looked at before the next was refused is not written, either.
    let (second, third) = soon("the refusals", async {
        tokio::join!(node.set("2"), node.set(&large))
    })
    .await;
    assert!(is_refused(third));
    assert!(second.is_err(), "{second:?}");
    assert_eq!(other.get(&path).await.unwrap().data, "1");
    for refuse_again in [true, false] {
        let old = owner.session().id();
        server.end(&owner.session()).await;
        if refuse_again {
            // While it is created again, too.
            assert!(is_refused(soon("the refusal", node.set(&large)).await));
        }
        soon("its return", async {
            while !matches!(node.presence(), Presence::Present { session, .. } if session != old) {
                node.changed().await.unwrap();
            }
        })
        .await;
        assert_eq!(other.get(&path).await.unwrap().data, "1");
    }
    node.set("3").await.unwrap();
    assert_eq!(other.get(&path).await.unwrap().data, "3");
}

/// `ZooDefs.OpCode.setData`.
const SET: i32 = 5;

#[tokio::test]
async fn after_a_lost_answer_nothing_is_told_before_a_look_at_what_the_node_holds() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let above = unique("node-unsure");
    let path = format!("{above}/me");
    let mut node = owner.persistent_node(&path, "1").start().await.unwrap();
    proxy.lose_next_and_stay_cut(SET, Leg::Reply);
    let (second, ()) = soon("the second", async {
        tokio::join!(node.set("2"), async {
            proxy.until_lost(1).await;
            assert_eq!(other.get(&path).await.unwrap().data, "2");
            // It was written, and another attempt to create it would be refused now.
            let closed = Acl::new(Perms(Perms::ALL.0 & !Perms::CREATE.0), "world", "anyone");
            other.set_acl(&above, vec![closed]).await.unwrap();
            proxy.restore();
        })
    })
    .await;
    second.unwrap();
    other.set_acl(&above, Acl::open()).await.unwrap();
    proxy.lose_next_and_stay_cut(SET, Leg::Reply);
    let large = vec![0; 2 << 20];
    let (third, fourth) = soon("the fourth", async {
        tokio::join!(node.set("3"), async {
            proxy.until_lost(2).await;
            let mut fourth = Box::pin(node.set(&large));
            assert!((&mut fourth).now_or_never().is_none());
            proxy.restore();
            fourth.await
        })
    })
    .await;
    // What follows is refused: that says nothing of what was written before it.
    third.unwrap();
    assert!(
        matches!(&fourth, Err(Error::Client(error)) if error.kind() == ErrorKind::TooLarge),
        "{fourth:?}"
    );
    let old = owner.session().id();
    server.end(&owner.session()).await;
    soon("its return", async {
        while !matches!(node.presence(), Presence::Present { session, .. } if session != old) {
            node.changed().await.unwrap();
        }
    })
    .await;
    assert_eq!(other.get(&path).await.unwrap().data, "3");
}

#[tokio::test]
async fn what_waits_is_given_up_in_time() {
    let server = server().await;
    let proxy = Proxy::start(server.address()).await;
    let (owner, other) = (
        client(proxy.address()).await,
        client(server.address()).await,
    );
    let (base, limit) = (unique("late"), Duration::from_millis(100));
    let first = other.discovery(&base).register(instance("a", "eu"));
    let first = first.await.unwrap();
    let late = owner.discovery(&base).register(instance("a", "us"));
    let late = soon("giving up", tokio::spawn(late.timeout(limit))).await;
    assert!(matches!(late, Ok(Err(Error::Timeout { .. }))), "{late:?}");
    first.release().await.unwrap();
    let left = other.discovery(&base).instances::<Zone>("billing");
    assert_eq!(left.await.unwrap(), []);
    let member = owner.group(&base).join("me", "1").start().await.unwrap();
    proxy.cut();
    let late = soon("giving up", member.set("2").timeout(limit)).await;
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    for late in [
        soon("giving up", owner.group(&base).create().timeout(limit)).await,
        soon("giving up", owner.group(&base).delete().timeout(limit)).await,
    ] {
        assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    }
    proxy.restore();
    // What was asked for holds.
    soon("the data", async {
        while other.get(&format!("{base}/me")).await.unwrap().data != "2" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    member.leave().await.unwrap();
}

#[test]
fn a_node_is_started_and_a_value_set_without_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, proxy, owner) = runtime.block_on(async {
        let server = server().await;
        let proxy = Proxy::start(server.address()).await;
        let owner = client(proxy.address()).await;
        (server, proxy, owner)
    });
    let path = unique("no-runtime");
    let node = owner.persistent_node(&format!("{path}/me"), "1");
    let node = without_runtime(node.timeout(Duration::from_secs(20)).start()).unwrap();
    // A lost answer is waited out.
    let config = owner.config(&format!("{path}/config")).json();
    let config = without_runtime(config.or_start_with(1_u32).watch()).unwrap();
    proxy.lose_create_replies(1);
    without_runtime(config.set(&2)).unwrap();
    assert_eq!((*config.current(), proxy.lost()), (2, 1));
    without_runtime(node.release()).unwrap();
    drop(server);
}
