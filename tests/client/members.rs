//! A client among the members of a real ensemble: cut off from one it goes on at another, with its session, its
//! nodes and its watches.

use std::time::Duration;

use zk_client::{
    Client, ErrorKind, RetryPolicy, SessionState, Watch, WatchChange, WatchEvent,
    testing::FaultProxy,
};
use zk_server::Ensemble;

use crate::subject::{soon, until};

/// Three members; the client's way to each is a proxy of its own.
struct Members {
    ensemble: Ensemble,
    ways: Vec<FaultProxy>,
}

impl Members {
    async fn start() -> Self {
        let ensemble = Ensemble::start(3).await.unwrap();
        ensemble.leader().await;
        let mut ways = Vec::new();
        for member in 0..3 {
            let address = ensemble.client_address(member).unwrap();
            ways.push(FaultProxy::start(address).await.unwrap());
        }
        Self { ensemble, ways }
    }

    /// The client whose behaviour is watched, connected to this member.
    async fn client_at(&self, member: usize) -> Client {
        self.only(member);
        let hosts: Vec<_> = self.ways.iter().map(FaultProxy::connect_string).collect();
        let retry = RetryPolicy::exponential(Duration::from_millis(5), Duration::from_millis(100));
        let builder = Client::builder(hosts.join(",")).retry(retry);
        let client = builder.session_timeout(Duration::from_secs(8));
        client.connect().await.unwrap()
    }

    /// Leaves the way to this member only.
    fn only(&self, member: usize) {
        for (place, way) in self.ways.iter().enumerate() {
            match place == member {
                true => way.up(),
                false => way.down(),
            }
        }
    }

    /// Somebody else, at a member of their own.
    async fn other_at(&self, member: usize) -> Client {
        let address = self.ensemble.client_address(member).unwrap();
        Client::connect(address.to_string()).await.unwrap()
    }
}

/// One watch of every kind.
struct Watches {
    data: WatchChange,
    child: WatchChange,
    absent: WatchChange,
    later: WatchChange,
    plain: Watch,
    recursive: Watch,
}

impl Watches {
    async fn leave(client: &Client, round: u32) -> Self {
        for node in ["d", "p", "r"] {
            client.create(&format!("/{node}{round}"), "").await.unwrap();
        }
        let path = |node: &str| format!("/{node}{round}");
        Self {
            data: client.get(&path("d")).watch().await.unwrap().1,
            child: client.children(&path("d")).watch().await.unwrap().1,
            absent: client.exists(&path("e")).watch().await.unwrap().1,
            later: client.exists(&path("f")).watch().await.unwrap().1,
            plain: client.watch(&path("p")).await.unwrap(),
            recursive: client.watch(&path("r")).recursive().await.unwrap(),
        }
    }

    /// What others did meanwhile is told, and what they do now.
    async fn catch_up(mut self, other: &Client, round: u32) {
        let path = |node: &str| format!("/{node}{round}");
        assert!(matches!(self.data.await, WatchEvent::DataChanged(_)));
        assert!(matches!(self.child.await, WatchEvent::ChildrenChanged(_)));
        assert!(matches!(self.absent.await, WatchEvent::Created(_)));
        for watch in [&mut self.plain, &mut self.recursive] {
            assert_eq!(watch.next().await, Some(WatchEvent::SessionDisconnected));
            assert_eq!(watch.next().await, Some(WatchEvent::SessionReconnected));
        }
        other.create(&path("f"), "").await.unwrap();
        other.set(&path("p"), "after").await.unwrap();
        let below = format!("{}/after", path("r"));
        other.create(&below, "").await.unwrap();
        assert!(matches!(self.later.await, WatchEvent::Created(_)));
        let plain = self.plain.next().await;
        assert!(
            matches!(plain, Some(WatchEvent::DataChanged(_))),
            "{plain:?}"
        );
        let event = self.recursive.next().await.unwrap();
        assert_eq!(event.path(), Some(below.as_str()));
    }
}

/// What the client does not see happen.
async fn change_behind_its_back(other: &Client, round: u32) {
    other.set(&format!("/d{round}"), "x").await.unwrap();
    other.create(&format!("/d{round}/c"), "").await.unwrap();
    other.create(&format!("/e{round}"), "").await.unwrap();
}

#[tokio::test]
async fn a_client_cut_off_from_one_member_goes_on_at_another() {
    soon(async {
        let members = Members::start().await;
        let client = members.client_at(0).await;
        let id = client.session().id();
        client.create("/mine", "").ephemeral().await.unwrap();
        // From each member to the next, so from the leader too, and to it.
        for round in 0..6 {
            let (here, there) = (round as usize % 3, (round as usize + 1) % 3);
            let other = members.other_at((there + 1) % 3).await;
            let watches = Watches::leave(&client, round).await;
            members.ways[here].down();
            until(&client, |state| state == SessionState::Suspended).await;
            change_behind_its_back(&other, round).await;
            members.only(there);
            until(&client, SessionState::is_connected).await;
            assert_eq!(client.session().id(), id, "round {round}");
            watches.catch_up(&other, round).await;
            let mine = client.exists("/mine").await.unwrap().unwrap();
            assert_eq!(mine.ephemeral_owner, id);
            // What it is told never goes back, at whatever member.
            client.set("/mine", round.to_string()).await.unwrap();
            other.close().await.unwrap();
        }
        assert_eq!(client.get("/mine").await.unwrap().data, "5");
        let session = client.session();
        client.close().await.unwrap();
        assert!(!session.is_current());
        let other = members.other_at(1).await;
        other.sync("/").await.unwrap();
        assert_eq!(other.exists("/mine").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_is_killed_takes_no_session_and_no_watch_with_it() {
    soon(async {
        let mut members = Members::start().await;
        let leader = members.ensemble.leader().await;
        for (round, victim) in [(0, (leader + 1) % 3), (1, leader)] {
            let client = members.client_at(victim).await;
            let id = client.session().id();
            let watches = Watches::leave(&client, round).await;
            let survivor = (victim + 2) % 3;
            members.ensemble.kill(victim).await.unwrap();
            members.ensemble.leader().await;
            let other = members.other_at(survivor).await;
            change_behind_its_back(&other, round).await;
            members.only(survivor);
            until(&client, SessionState::is_connected).await;
            watches.catch_up(&other, round).await;
            assert_eq!(client.session().id(), id, "round {round}");
            client.close().await.unwrap();
            other.close().await.unwrap();
            members.ensemble.restart(victim).await.unwrap();
            members.ensemble.leader().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_whole_new_list_of_members_takes_the_place_of_the_old_one() {
    soon(async {
        let open = [("reconfigEnabled", "true"), ("skipACL", "yes")];
        let ensemble = Ensemble::start_with(3, &open).await.unwrap();
        let leader = ensemble.leader().await;
        let client = Client::connect(ensemble.connect_string()).await.unwrap();
        let (config, change) = client.ensemble_config().watch().await.unwrap();
        assert_eq!(config.servers.len(), 3);
        let leaves = i64::try_from((leader + 1) % 3).unwrap() + 1;
        let line = |id: i64| {
            let prefix = format!("server.{id}=");
            let found = config.text.lines().find(|line| line.starts_with(&prefix));
            found.unwrap().to_owned()
        };
        let mut list = client.reconfig().from_version(config.version.unwrap());
        for id in (1..=3).filter(|id| *id != leaves) {
            list = list.member(id, &line(id));
        }
        let changed = list.await.unwrap();
        let ids: Vec<_> = changed.servers.iter().map(|server| server.id).collect();
        assert_eq!(ids.len(), 2);
        assert!(!ids.contains(&leaves) && changed.version > config.version);
        assert_eq!(change.await.path(), Some("/zookeeper/config"));
        let both = client.reconfig().member(1, &line(1)).leave(2);
        assert_eq!(both.await.unwrap_err().kind(), ErrorKind::BadArguments);
        client
            .update_hosts(&changed.connect_string())
            .await
            .unwrap();
        client.create("/a", "").await.unwrap();
        client.close().await.unwrap();
    })
    .await;
}
