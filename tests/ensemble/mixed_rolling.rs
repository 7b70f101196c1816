//! Three members of Apache's are replaced by ours in their own directories, one by one, and back again, while clients
//! write: what `docs/MIGRATING.md` promises.
//!
//! A client that only holds things looks on: its session, its ephemeral node and its watches must be the same all the
//! way.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "real servers of which it says what they did"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use zk_client::{Client, SessionId, Watch, WatchChange, WatchEvent};
use zk_tests::{
    apache::{self, Heap},
    ensemble::{Members, mode},
    ours,
    process::four_letter_word,
};

use crate::{
    load::Ledger,
    mixed::{
        BETWEEN, LIMIT,
        Make::{self, Ours, Theirs},
        Mixed, TELL_PLANS, runtime_apart,
    },
    reconfig::reconfigure,
};

/// A session that lasts, and what it owns.
struct Holder {
    client: Client,
    session: SessionId,
    change: WatchChange,
    below: Watch,
    step: u32,
    _runtime: oneshot::Sender<()>,
}

/// Who is in whose place may be a matter of the configuration, too.
const MAY_CHANGE: [(&str, &str); 3] = [
    ("reconfigEnabled", "true"),
    ("standaloneEnabled", "false"),
    ("skipACL", "yes"),
];

impl Holder {
    async fn begin(hosts: &str) -> Self {
        let (runtime, end) = runtime_apart();
        let connecting = Client::builder(hosts)
            .session_timeout(Duration::from_secs(20))
            .connect();
        let client = runtime.spawn(connecting).await.unwrap().unwrap();
        client.create("/held", "0").await.unwrap();
        client.create("/below", "").await.unwrap();
        client.create("/own", "").ephemeral().await.unwrap();
        let (_, change) = client.get("/held").watch().await.unwrap();
        let below = client.watch("/below").recursive().await.unwrap();
        Self {
            session: client.session().id(),
            client,
            change,
            below,
            step: 0,
            _runtime: end,
        }
    }

    /// Somebody else changes what is watched: it is told once, and nothing was told before.
    async fn assert_alive(&mut self, other: &Client) {
        self.step += 1;
        assert_eq!(self.client.session().id(), self.session, "the session");
        let own = other.exists("/own").await.unwrap();
        let own = own.map(|stat| stat.ephemeral_owner);
        assert_eq!(own, Some(self.session), "the ephemeral node");
        // The watcher is connected when its own read is answered.
        self.client.sync("/").await.unwrap();
        let set = other.set("/held", self.step.to_string()).await.unwrap();
        let event = timeout(LIMIT, &mut self.change).await.unwrap();
        let WatchEvent::DataChanged(change) = event else {
            panic!("{event:?}");
        };
        assert_eq!(change.path, "/held");
        // Without one, it was told after a reconnect.
        if let Some(zxid) = change.zxid.filter(|zxid| zxid.0 > 0) {
            assert_eq!(zxid, set.mzxid, "the watch fired for something else");
        }
        let (_, next) = self.client.get("/held").watch().await.unwrap();
        self.change = next;
        let path = format!("/below/{}", self.step);
        other.create(&path, "").await.unwrap();
        loop {
            let event = timeout(LIMIT, self.below.next()).await.unwrap();
            match event.unwrap() {
                WatchEvent::Created(created) if created.path == path => break,
                WatchEvent::SessionDisconnected | WatchEvent::SessionReconnected => {}
                other => panic!("{other:?} instead of {path}"),
            }
        }
    }
}

/// Waits until the leader says that all others are in step; the page asks it before every step.
async fn wait_until_whole(members: &Members) {
    let began = Instant::now();
    loop {
        let leader = members.leader().map(|leader| members.addresses()[leader]);
        let told = leader.and_then(|leader| four_letter_word(leader, "mntr").ok());
        let synced = told.as_deref().and_then(|told| {
            let mut lines = told.lines();
            lines.find_map(|line| line.strip_prefix("zk_synced_followers"))
        });
        if synced.is_some_and(|count| count.trim().parse() == Ok(2.0)) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{told:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The page's checks of a member that has been replaced.
async fn assert_replaced(mixed: &Mixed, member: usize, make: Make, other: &Client, step: u32) {
    let addr = mixed.members.addresses()[member];
    assert_eq!(mode(addr).as_deref(), Some("follower"));
    let told = four_letter_word(addr, "srvr").unwrap();
    assert_eq!(told.contains("-zk-server-"), make == Ours, "{told}");
    let written = other.set("/through", step.to_string()).await.unwrap();
    let there = Client::connect(addr.to_string()).await.unwrap();
    there.sync("/").await.unwrap();
    let read = there.get("/through").await.unwrap();
    assert_eq!(read.stat.mzxid, written.mzxid);
    there.close().await.unwrap();
}

/// One member after the other becomes one of the other make, in its own directory, and all of them back again.
async fn replace(test: &str, dynamic: bool) {
    let further = if dynamic { &MAY_CHANGE[..] } else { &[] };
    let Some(mut mixed) = Mixed::begin_with(test, &[Theirs; 3], &[], further).await else {
        return;
    };
    let addresses = mixed.members.addresses();
    let hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let mut holder = Holder::begin(&hosts.join(",")).await;
    let other = Client::connect(hosts.join(",")).await.unwrap();
    let theirs = apache::launcher_with(Heap::SMALL, &[TELL_PLANS, "zookeeper.skipACL=yes"]);
    let theirs = theirs.unwrap();
    other.create("/through", "").await.unwrap();
    for (make, launcher) in [(Ours, ours::launcher().unwrap()), (Theirs, theirs)] {
        // The leader last.
        let leader = mixed.members.wait_for_leader().unwrap();
        for member in (0..3).filter(|it| *it != leader).chain([leader]) {
            wait_until_whole(&mixed.members).await;
            mixed.load.grown(BETWEEN, LIMIT).await;
            let process = mixed.members.member(member);
            match make {
                Ours => drop(process.terminate().unwrap()),
                Theirs => process.kill().unwrap(),
            }
            process.launch_as(launcher.clone());
            mixed.makes[member] = make;
            mixed.load.grown(BETWEEN, LIMIT).await;
            mixed.members.start().unwrap();
            mixed.load.grown(BETWEEN, LIMIT).await;
            holder.assert_alive(&other).await;
            assert_replaced(&mixed, member, make, &other, holder.step).await;
        }
        let ledgers = mixed.assert_well().await;
        let lost: u64 = ledgers.iter().map(Ledger::lost_sessions).sum();
        assert_eq!(lost, 0, "sessions ended with their members");
        mixed.load.go_on(ledgers);
        if dynamic {
            change_roles(&mut mixed, &other).await;
            holder.assert_alive(&other).await;
        }
    }
    println!("{test}: {} writes acknowledged", mixed.load.acknowledged());
    mixed.load.pause();
    holder.client.close().await.unwrap();
    other.close().await.unwrap();
}

/// A member observes for a while; every member's next start, of whatever make, is from the file that this leaves.
async fn change_roles(mixed: &mut Mixed, client: &Client) {
    let config = client.ensemble_config().await.unwrap();
    let line = config
        .text
        .lines()
        .find_map(|line| line.strip_prefix("server.1="));
    let votes = line.unwrap().to_owned();
    let observes = votes.replace(":participant", ":observer");
    for line in [observes, votes] {
        reconfigure(client, &[(1, line)], &[]).await.unwrap();
        mixed.load.grown(BETWEEN, LIMIT).await;
    }
    mixed.members.wait_until_serving().unwrap();
    let config = client.ensemble_config().await.unwrap();
    let dynamic = format!("zoo.cfg.dynamic.{:x}", config.version.unwrap());
    for member in mixed.members.iter() {
        let dir = member.data_dir();
        let dir = dir.parent().unwrap();
        // It is written after the commit, behind other things.
        while !fs::read_to_string(dir.join("zoo.cfg")).is_ok_and(|text| text.contains(&dynamic)) {
            sleep(Duration::from_millis(20)).await;
        }
        let written = fs::read_to_string(dir.join(&dynamic)).unwrap();
        let mut expected: Vec<_> = config.text.lines().collect();
        expected.retain(|line| line.starts_with("server."));
        let mut written: Vec<_> = written.lines().collect();
        written.retain(|line| line.starts_with("server."));
        assert_eq!(written, expected, "{}", dir.display());
    }
}

#[tokio::test]
async fn members_are_replaced_one_by_one_and_back_while_clients_write() {
    replace(
        "rolling replacement of Apache's members by ours and back",
        false,
    )
    .await;
}

#[tokio::test]
async fn members_with_dynamic_configurations_are_replaced_and_back() {
    replace("rolling replacement with dynamic configuration files", true).await;
}
