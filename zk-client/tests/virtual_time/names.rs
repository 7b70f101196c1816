//! Names with several addresses, names that change, names that are none, and races between them.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};
use zk_client::{
    Client, ClientBuilder, ErrorKind, SessionState,
    net::{Net, Stream},
};

use crate::{T, ensemble::Ensemble, until};

/// A name service, and roads of different lengths to the servers of an [`Ensemble`].
#[derive(Clone)]
struct Names {
    ensemble: Ensemble,
    table: Arc<Mutex<Table>>,
    /// How many connections were begun, those of the losers of a race, too.
    begun: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Table {
    /// The ports behind each name.
    names: BTreeMap<&'static str, Vec<u16>>,
    /// How often each was asked for.
    lookups: BTreeMap<String, usize>,
    /// How long it takes to connect to a port.
    distances: BTreeMap<u16, Duration>,
}

impl Names {
    fn new(names: &[(&'static str, &[u16])]) -> Self {
        let entries = names.iter().map(|(name, ports)| (*name, ports.to_vec()));
        let table = Table {
            names: entries.collect(),
            ..Table::default()
        };
        Self {
            ensemble: Ensemble::new(),
            table: Arc::new(Mutex::new(table)),
            begun: Arc::default(),
        }
    }

    fn builder(&self, hosts: &str, seed: u64) -> ClientBuilder {
        let net = Arc::new(self.clone());
        Client::builder(hosts)
            .session_timeout(T)
            .net(net)
            .seed(seed)
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.table.lock().unwrap());
    }

    fn lookups(&self, name: &str) -> usize {
        let table = self.table.lock().unwrap();
        table.lookups.get(name).copied().unwrap_or_default()
    }
}

impl Net for Names {
    fn resolve(&self, host: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let mut table = self.table.lock().unwrap();
        *table.lookups.entry(host.to_owned()).or_default() += 1;
        let found = match table.names.get(host) {
            Some(ports) => Ok(ports
                .iter()
                .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)))
                .collect()),
            // A resolver that never answers.
            None if host == "hangs" => return Box::pin(std::future::pending()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
        };
        Box::pin(std::future::ready(found))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let distance = self
            .table
            .lock()
            .unwrap()
            .distances
            .get(&address.port())
            .copied();
        self.begun.fetch_add(1, Relaxed);
        let connect = self.ensemble.connect(address);
        Box::pin(async move {
            sleep(distance.unwrap_or_default()).await;
            connect.await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn every_address_of_a_name_is_tried() {
    for good in 1..=4 {
        let names = Names::new(&[("zk", &[1, 2, 3, 4])]);
        names.ensemble.fault(|faults| {
            faults.down.extend([1, 3]);
            faults.silent.extend([2, 4]);
            faults.down.remove(&good);
            faults.silent.remove(&good);
        });
        for seed in 0..20 {
            let start = Instant::now();
            let client = names.builder("zk:2181", seed).connect().await.unwrap();
            assert!(start.elapsed() < Duration::from_secs(1));
            client.close().await.unwrap();
        }
        assert_eq!(names.lookups("zk"), 20, "one attempt needs one lookup");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_again_at_every_attempt() {
    let names = Names::new(&[("zk", &[1, 2])]);
    names.ensemble.fault(|faults| faults.down.extend([1, 2]));
    let connecting = tokio::spawn(names.builder("zk", 7).connect());
    while names.lookups("zk") < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    // The servers have moved.
    names.change(|table| drop(table.names.insert("zk", vec![3])));
    let client = connecting.await.unwrap().unwrap();
    let (id, before) = (client.session().id(), names.lookups("zk"));
    // And again, while a session is there; between the two the name was gone altogether.
    names.change(|table| drop(table.names.remove("zk")));
    names.ensemble.fault(|faults| faults.down.extend([3]));
    names.ensemble.cut();
    until(&client, |state| state == SessionState::Suspended).await;
    while names.lookups("zk") < before + 3 {
        sleep(Duration::from_millis(10)).await;
    }
    names.change(|table| drop(table.names.insert("zk", vec![3, 4])));
    client.sync("/").await.unwrap();
    assert_eq!(client.session().id(), id);
}

#[tokio::test(start_paused = true)]
async fn bad_names_are_never_fatal_and_alone_they_say_so() {
    let names = Names::new(&[("empty", &[]), ("zk", &[1])]);
    for seed in 0..50 {
        let start = Instant::now();
        let hosts = "nowhere:1,hangs:1,empty:1,zk:1,nobody:1,hangs:2";
        let client = names.builder(hosts, seed).connect().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
        client.create("/a", "").await.unwrap();
        names.ensemble.cut();
        client.delete("/a").await.unwrap();
        client.close().await.unwrap();
    }
    let limit = Duration::from_secs(2);
    let alone = names.builder("nowhere:1,empty:1", 7).connect_timeout(limit);
    let error = alone.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectFailed);
    let told = error.to_string();
    assert!(
        told.contains("no such name") || told.contains("no address"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_race_never_sends_two_connect_requests() {
    let hosts = ["a", "b", "c", "d"];
    let names = Names::new(&[("a", &[1, 2]), ("b", &[3]), ("c", &[4, 5, 6]), ("d", &[7])]);
    let mut rng = fastrand::Rng::with_seed(5);
    for seed in 0..300 {
        // Around the head start, so that several of them come about together.
        names.change(|table| {
            let mut distance = || Duration::from_millis(rng.u64(0..6) * 125);
            table.distances = (1..=7).map(|port| (port, distance())).collect();
        });
        let before = names.ensemble.connects();
        let client = names
            .builder(&hosts.join(","), seed)
            .connect()
            .await
            .unwrap();
        assert_eq!(names.ensemble.connects(), before + 1, "seed {seed}");
        let id = client.session().id();
        names.ensemble.cut();
        client.sync("/").await.unwrap();
        assert_eq!(client.session().id(), id);
        assert_eq!(names.ensemble.connects(), before + 2, "seed {seed}");
        // Those that lost the race have nothing more to say, however late they come.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(names.ensemble.connects(), before + 2, "seed {seed}");
        client.close().await.unwrap();
    }
    // There were races: many more connections were begun than used.
    let (begun, used) = (names.begun.load(Relaxed), names.ensemble.connects());
    assert!(begun > used + 300, "{begun} begun, {used} used");
}
