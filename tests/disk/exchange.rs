//! One data directory that live servers, ours and Apache's, hand to each other while their clients stay.
//!
//! What a client sees is compared: every node with its Stat, data and ACL, before a server ends and after the
//! other one has started. Sessions go on with the passwords they got from the first server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
    /// Where the log is.
    logs: PathBuf,
    launchers: [Launcher; 2],
    clients: Vec<FrameClient>,
    script: Script,
    last_seen: Zxid,
}

impl Exchange {
    /// Where the log goes is a directory of its own if that is said.
    fn begin(test: &str, first: Whose, passwords: &str, separate_log: bool) -> Option<Self> {
        let apaches = apache::launcher_or_skip(test)?;
        let launchers = [ours::launcher().unwrap(), apaches];
        let mut settings = vec![
            ("extendedTypesEnabled", "true"),
            ("sessionPasswords", passwords),
            ("snapCount", SNAP_COUNT),
            // Nothing is to change by itself between two dumps.
            ("znode.container.checkIntervalMs", "100000000"),
        ];
        let launcher = launchers[first as usize].clone();
        let mut server = ServerProcess::prepare(launcher, &[]).unwrap();
        let logs = match separate_log {
            true => server.data_dir().with_file_name("logs"),
            false => server.data_dir(),
        };
        let log_dir = logs.display().to_string();
        if separate_log {
            settings.push(("dataLogDir", &log_dir));
        }
        server.configure(&settings).unwrap();
        server.start().unwrap();
        Some(Self {
            server,
            launchers,
            logs,
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
        self.change_servers(end, to);
        for client in &mut self.clients {
            let request = client.resumption(self.last_seen);
            let again = FrameClient::open(self.server.addr(), &request).await;
            let again = again.unwrap();
            assert_eq!(again.id(), request.session_id, "resumed at {to:?}");
            std::mem::replace(client, again).cut();
        }
    }

    fn change_servers(&mut self, end: End, to: Whose) {
        match end {
            End::Stopped => drop(self.server.terminate().unwrap()),
            End::Killed => self.server.kill().unwrap(),
        }
        let data = self.server.data_dir();
        assert!(files(&data, "snapshot.") > 2 && files(&self.logs, "log.") > 2);
        if data != self.logs {
            assert_eq!(files(&data, "log."), 0, "every log is in its own directory");
        }
        self.server.launch_as(self.launchers[to as usize].clone());
        self.server.start().unwrap();
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

fn files(directory: &Path, prefix: &str) -> usize {
    let names = std::fs::read_dir(directory.join("version-2")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).count()
}

async fn ask(client: &mut FrameClient, request: Request) -> Response {
    let reply = client.call(&request).await.unwrap();
    assert_eq!(reply.code, ErrorCode::Ok, "{request:?}");
    reply.response(request.op_code()).unwrap()
}

async fn exchange(test: &str, first: Whose, separate_log: bool, ends: &[End]) {
    let Some(mut exchange) = Exchange::begin(test, first, "apache", separate_log) else {
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
    exchange(
        "disk, from ours to Apache and back",
        Whose::Ours,
        false,
        &ends,
    )
    .await;
}

#[tokio::test]
async fn a_directory_goes_from_apache_to_ours_and_back() {
    let ends = [End::Stopped, End::Stopped, End::Killed, End::Killed];
    exchange(
        "disk, from Apache to ours and back",
        Whose::Apaches,
        false,
        &ends,
    )
    .await;
}

#[tokio::test]
async fn a_log_directory_of_its_own_goes_from_ours_to_apache_and_back() {
    let ends = [End::Killed, End::Stopped];
    exchange("disk, dataLogDir, ours first", Whose::Ours, true, &ends).await;
}

#[tokio::test]
async fn a_log_directory_of_its_own_goes_from_apache_to_ours_and_back() {
    let ends = [End::Killed, End::Killed];
    exchange(
        "disk, dataLogDir, Apache first",
        Whose::Apaches,
        true,
        &ends,
    )
    .await;
}

/// Nobody need know of our passwords to come over: sessions that Apache's server made keep the passwords that it gave
/// them. Those that ours made since do not go back, unless told so from the start.
#[tokio::test]
async fn sessions_of_apache_go_on_under_our_passwords_and_ours_end_at_apache() {
    let test = "disk, passwords of both kinds";
    let Some(mut exchange) = Exchange::begin(test, Whose::Apaches, "hmac", false) else {
        return;
    };
    exchange.connect().await;
    exchange.write().await;
    exchange.hand_over(End::Killed, Whose::Ours).await;
    // The newest client is the only one with a session of ours, once the others were there before.
    exchange.write().await;
    let ours = exchange.clients.pop().unwrap();
    let of_ours = ours.resumption(exchange.last_seen);
    // A restart of ours knows both kinds.
    exchange.clients.push(ours);
    exchange.hand_over(End::Killed, Whose::Ours).await;
    exchange.clients.pop().unwrap().cut();
    exchange.hand_over(End::Stopped, Whose::Apaches).await;
    let refused = FrameClient::open(exchange.server.addr(), &of_ours).await;
    assert!(
        refused.unwrap().refused(),
        "Apache computes another password"
    );
}
