//! Who is there: a group whose members come back after their session expired, services that find each other, and shards that are
//! divided among those who are there.
//!
//! ```text
//! cargo run --example membership                         # with a server of its own
//! cargo run --example membership -- --connect host:port
//! ```

use std::{io::Write, time::Duration};

use zk_client::{Client, SessionState};
use zk_examples::{Ensemble, Failure, connect_argument};
use zk_recipes::{partitioner::Ended, prelude::*};

const GROUP: &str = "/examples/membership/group";
const SERVICES: &str = "/examples/membership/services";
const SHARDS: &str = "/examples/membership/shards";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let ensemble = Ensemble::at(connect_argument()?).await?;
    let hosts = ensemble.connect_string();
    let alice = Client::connect(hosts).await?;
    let bob = Client::connect(hosts).await?;
    group(&alice, &bob, hosts).await?;
    services(&alice, &bob).await?;
    shards(&alice, &bob).await?;
    say("done");
    alice.close().await?;
    bob.close().await?;
    ensemble.stop().await
}

async fn group(alice: &Client, bob: &Client, hosts: &str) -> Result<(), Failure> {
    let group = alice.group(GROUP);
    let mut first = group.join("alice", "10.0.0.1").start().await?;
    let second = bob.group(GROUP).join("bob", "10.0.0.2").start().await?;
    let members = group.members().await?;
    for member in &members {
        let data = String::from_utf8_lossy(&member.data);
        say(&format!("group     {} is at {data}", member.name));
    }

    // What a long pause or a broken network would do: whoever has a session's identifier and password can end it.
    let old = alice.session();
    let thief = Client::builder(hosts).session(old.id(), old.password().clone());
    let mut states = alice.states();
    thief.connect().await?.close().await?;
    while !matches!(states.next().await, Some(SessionState::Renewed { .. })) {}
    say("group     alice's session has expired, and her node with it");
    let new = alice.session().id();
    while !matches!(first.presence(), Presence::Present { session, .. } if session == new) {
        first.changed().await?;
    }
    say("group     alice is back, with no code of hers");

    let watch = bob.group(GROUP).watch().start().await?;
    first.leave().await?;
    let mut changes = watch.changes();
    while watch.len() > 1 {
        changes.next().await.transpose()?;
    }
    say("group     alice has left");
    second.leave().await?;
    Ok(())
}

async fn services(alice: &Client, bob: &Client) -> Result<(), Failure> {
    let services = alice.discovery(SERVICES);
    let mut registrations = Vec::new();
    for id in ["a", "b"] {
        let instance = ServiceInstance::<()>::new("billing").id(id);
        let instance = instance.address(&format!("{id}.example.org")).port(8080);
        let instance = instance.uri_spec("{scheme}://{address}:{port}/");
        registrations.push(services.register(instance).await?);
    }
    let provider = bob.discovery(SERVICES).provider::<()>("billing");
    let billing = provider.round_robin().start().await?;
    for _ in 0..3 {
        let uri = billing.wait().await?.uri().unwrap_or_default();
        say(&format!("services  billing is at {uri}"));
    }
    for registration in registrations {
        registration.release().await?;
    }
    Ok(())
}

async fn shards(alice: &Client, bob: &Client) -> Result<(), Failure> {
    let shards = |client: &Client| {
        let shards = client.partitioner(SHARDS, ["0", "1", "2", "3"]);
        shards.settle(Duration::from_millis(100)).start()
    };
    let first = shards(alice).await?;
    let mine = first.allocate().await?;
    say_who("alice", &mine);

    let second = shards(bob).await?;
    if let Ended::Rebalance = mine.ended().await {
        say("shards    alice is told that somebody came, and lets go");
    }
    mine.release().await?;
    let (mine, theirs) = tokio::join!(first.allocate(), second.allocate());
    let (mine, theirs) = (mine?, theirs?);
    say_who("alice", &mine);
    say_who("bob", &theirs);
    // Whatever is done to a shard is fenced with its token, while that is certain to be the newest.
    let certain = mine.claims().all(|(_, claim)| claim.ensure().is_ok());
    say(&format!("shards    alice is certain of hers: {certain}"));
    mine.release().await?;
    theirs.release().await?;
    first.leave().await?;
    second.leave().await?;
    Ok(())
}

fn say_who(who: &str, allocation: &Allocation) {
    // Which ones it is depends on the members' names, which are random.
    let count = allocation.items().count();
    say(&format!("shards    {who} has {count}"));
}

fn say(line: &str) {
    // A closed pipe (`| head`) is no reason to panic.
    let _ = writeln!(std::io::stdout(), "{line}");
}
