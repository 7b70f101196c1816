//! One data directory that live servers, ours and Apache's, hand to each other while their clients stay.
//!
//! What a client sees is compared: every node with its Stat, data and ACL, before a server ends and after the
//! other one has started. Sessions go on with the passwords they got from the first server.

use std::collections::BTreeMap;

use zk_proto::{
    Acl, CreateMode, ErrorCode, Stat, Zxid,
    op::{Request, Response},
};
use zk_tests::{
    apache, frames::FrameClient, ours, process::Launcher, process::ServerProcess, requests::*,
};

use crate::script::Script;

/// So few transactions that a round writes several snapshots and logs.
const SNAP_COUNT: &str = "120";
/// What each client asks for in a round.
const WRITES: usize = 200;
const CLIENTS: usize = 4;

/// Every node as its clients see it.
type Dump = BTreeMap<String, (Option<Vec<u8>>, Stat, Vec<Acl>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Apaches,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Stopped,
    Killed,
}

/// The directory, who has it, and the clients.
struct Exchange {
    server: ServerProcess,
    launchers: [Launcher; 2],
    clients: Vec<FrameClient>,
    script: Script,
    last_seen: Zxid,
}

impl Exchange {
    fn begin(test: &str, first: Whose) -> Option<Self> {
        let apaches = apache::launcher_or_skip(test)?;
        let launchers = [ours::launcher().unwrap(), apaches];
        let settings = [
            ("extendedTypesEnabled", "true"),
            ("sessionPasswords", "apache"),
            ("snapCount", SNAP_COUNT),
            // Nothing is to change by itself between two dumps.
            ("znode.container.checkIntervalMs", "100000000"),
        ];
        let launcher = launchers[first as usize].clone();
        Some(Self {
            server: ServerProcess::launch(launcher, &settings).unwrap(),
            launchers,
            clients: Vec::new(),
            script: Script::new(first as u64 + 1),
            last_seen: Zxid::ZERO,
        })
    }

    async fn connect(&mut self) {
        for _ in 0..CLIENTS {
            let client = FrameClient::connect(self.server.addr(), 40_000).await;
            self.clients.push(client.unwrap());
        }
        let client = &mut self.clients[0];
        for request in [
            create_container("/container"),
            create("/container/child", b"x"),
            create_ttl("/ttl", CreateMode::PersistentWithTtl, 90_000_000),
            create_for("/guarded", Acl::read_only()),
            auth("digest", b"ann:secret"),
            create_for("/anns", Acl::creator_all()),
            create_as("/mine", b"ephemeral", CreateMode::Ephemeral),
        ] {
            assert_eq!(client.call(&request).await.unwrap().code, ErrorCode::Ok);
        }
    }

    /// Random writes of all clients, and one session that begins and one that ends.
    async fn write(&mut self) {
        for _ in 0..WRITES / 10 {
            for client in &mut self.clients {
                for _ in 0..10 {
                    client.send(&self.script.request()).await.unwrap();
                }
            }
            for client in &mut self.clients {
                for _ in 0..10 {
                    self.last_seen = self.last_seen.max(client.reply().await.unwrap().zxid);
                }
            }
        }
        let next = FrameClient::connect(self.server.addr(), 40_000).await;
        self.clients.push(next.unwrap());
        self.clients.remove(1).close().await.unwrap();
    }

    /// The other server takes the directory over, and every client resumes its session there.
    async fn hand_over(&mut self, end: End, to: Whose) {
        match end {
            End::Stopped => drop(self.server.terminate().unwrap()),
            End::Killed => self.server.kill().unwrap(),
        }
        let files = |prefix: &str| self.files(prefix);
        assert!(files("snapshot.") > 2 && files("log.") > 2);
        self.server.launch_as(self.launchers[to as usize].clone());
        self.server.start().unwrap();
        for client in &mut self.clients {
            let request = client.resumption(self.last_seen);
            let again = FrameClient::open(self.server.addr(), &request).await;
            let again = again.unwrap();
            assert_eq!(again.id(), request.session_id, "resumed at {to:?}");
            std::mem::replace(client, again).cut();
        }
    }

    fn files(&self, prefix: &str) -> usize {
        let names = std::fs::read_dir(self.server.data_dir().join("version-2")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(prefix)).count()
    }

    /// Walks the tree as a client that may read everything.
    async fn dump(&mut self) -> Dump {
        let client = &mut self.clients[0];
        let signed = client.call(&auth("digest", b"ann:secret")).await.unwrap();
        assert_eq!(signed.code, ErrorCode::Ok);
        let (mut dump, mut todo) = (Dump::new(), vec!["/".to_owned()]);
        while let Some(path) = todo.pop() {
            let Response::GetChildren2(found) = ask(client, children2(&path)).await else {
                panic!("{path} has no children");
            };
            let Response::GetData(data) = ask(client, get(&path)).await else {
                panic!("{path} has no data");
            };
            let Response::GetAcl(acl) = ask(client, get_acl(&path)).await else {
                panic!("{path} has no ACL");
            };
            assert_eq!(found.stat, data.stat);
            assert_eq!(acl.stat, data.stat);
            let below = |name| format!("{}/{name}", path.trim_end_matches('/'));
            todo.extend(found.children.iter().map(below));
            dump.insert(path, (data.data.map(Vec::from), data.stat, acl.acl));
        }
        dump
    }
}

async fn ask(client: &mut FrameClient, request: Request) -> Response {
    let reply = client.call(&request).await.unwrap();
    assert_eq!(reply.code, ErrorCode::Ok, "{request:?}");
    reply.response(request.op_code()).unwrap()
}

async fn exchange(test: &str, first: Whose, ends: &[End]) {
    let Some(mut exchange) = Exchange::begin(test, first) else {
        return;
    };
    exchange.connect().await;
    let mut whose = first;
    for end in ends {
        exchange.write().await;
        let before = exchange.dump().await;
        let owned = |(_, stat, _): &&(_, Stat, _)| stat.ephemeral_owner.0 > 0;
        assert!(before.len() > 100 && before.values().filter(owned).count() > 10);
        whose = match whose {
            Whose::Ours => Whose::Apaches,
            Whose::Apaches => Whose::Ours,
        };
        exchange.hand_over(*end, whose).await;
        let after = exchange.dump().await;
        for (path, node) in &before {
            assert_eq!(
                after.get(path),
                Some(node),
                "{path}, {end:?}, then {whose:?}"
            );
        }
        assert_eq!(after.len(), before.len());
    }
}

#[tokio::test]
async fn a_directory_goes_from_ours_to_apache_and_back() {
    let ends = [End::Stopped, End::Killed, End::Killed, End::Stopped];
    exchange("disk, from ours to Apache and back", Whose::Ours, &ends).await;
}

#[tokio::test]
async fn a_directory_goes_from_apache_to_ours_and_back() {
    let ends = [End::Stopped, End::Stopped, End::Killed, End::Killed];
    exchange("disk, from Apache to ours and back", Whose::Apaches, &ends).await;
}
