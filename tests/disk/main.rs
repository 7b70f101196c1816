//! Data directories that go from our server's storage to Apache ZooKeeper, and from there to ours.
//!
//! Apache writes a snapshot of what it recovered when it starts: what is in that is what it made of our files.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

mod exchange;
mod script;
mod writer;

use std::{collections::BTreeMap, fs, io, path::Path};

use zk_proto::{Acl, ErrorCode, SessionId, Zxid, persist::TreeDigest, stat::StatPersisted};
use zk_server::{
    config::Config,
    storage::{Directories, Recovered, RecoveryOptions, recover},
    tree::{CutNode, DataTree},
};
use zk_tests::{apache, frames::FrameClient, process::ServerProcess};

use crate::{script::Script, writer::Writer};

/// Everything about a tree that matters.
#[derive(Debug, PartialEq, Eq)]
struct Dump {
    last: Zxid,
    digest: TreeDigest,
    sessions: Vec<(SessionId, i32)>,
    nodes: BTreeMap<String, DumpedNode>,
}

type DumpedNode = (Option<Vec<u8>>, Vec<Acl>, StatPersisted);

fn dump(tree: &mut DataTree) -> Dump {
    let cut = tree.begin_cut();
    let acls: BTreeMap<_, _> = cut.acls.iter().cloned().collect();
    let mut nodes = BTreeMap::new();
    let keep = |node: CutNode<'_>| {
        let acl = acls.get(&node.acl);
        let acl = acl.map_or_else(Acl::open, |list| list.entries().to_vec());
        let node_data = node.data.map(<[u8]>::to_vec);
        nodes.insert(node.path.to_owned(), (node_data, acl, node.stat));
    };
    assert!(!tree.walk_cut(&cut, usize::MAX, keep));
    let dump = Dump {
        last: cut.zxid,
        digest: cut.digest,
        sessions: cut.sessions.clone(),
        nodes,
    };
    tree.end_cut(cut);
    dump
}

/// How our server left the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In order.
    Stopped,
    /// In the middle of it all: space ahead of the log, a file prepared.
    Killed,
}

fn config(server: &ServerProcess, settings: &[&str]) -> Config {
    let data_dir = format!("dataDir={}", server.data_dir().display());
    let settings: Vec<_> = settings.iter().copied().chain([&*data_dir]).collect();
    Config::without_file(&settings).unwrap().config
}

fn recover_in(config: &Config) -> (Directories, Recovered) {
    let directories = Directories::open(config).unwrap();
    let recovered = recover(&directories, &RecoveryOptions::of(config, 1)).unwrap();
    (directories, recovered)
}

/// Writes `rounds` logs, a snapshot between any two of them; starts Apache on it; looks at what Apache made of it.
fn check(test: &str, seed: u64, rounds: u32, end: End, separate_log: bool) {
    let Some(launcher) = apache::launcher_or_skip(test) else {
        return;
    };
    let mut server = ServerProcess::prepare(launcher, &[]).unwrap();
    let log_dir = server.data_dir().join("logs").display().to_string();
    let log_setting = format!("dataLogDir={log_dir}");
    let mut settings = vec!["extendedTypesEnabled=true"];
    let mut apache_settings = vec![("extendedTypesEnabled", "true")];
    if separate_log {
        settings.push(&log_setting);
        apache_settings.push(("dataLogDir", &log_dir));
    }
    server.configure(&apache_settings).unwrap();
    let config = config(&server, &settings);

    let (directories, recovered) = recover_in(&config);
    let mut writer = Writer::new(directories, recovered, seed);
    for round in 1..=rounds {
        writer.write(400);
        if round < rounds {
            writer.snapshot(&config);
        }
    }
    let ours = dump(&mut writer.tree);
    assert!(ours.nodes.len() > 100 && ours.sessions.len() > 3);
    writer.end(end == End::Stopped);

    server.start().unwrap();
    server.kill().unwrap();
    let last = format!("version-2/snapshot.{:x}", ours.last.0);
    assert!(
        server.data_dir().join(last).is_file(),
        "Apache wrote no snapshot of what it recovered: {}",
        server.log()
    );
    assert!(
        !server.log().contains("Digests are not matching"),
        "{}",
        server.log()
    );

    let (_directories, mut back) = recover_in(&config);
    assert_eq!(back.snapshot, ours.last, "Apache's snapshot is the newest");
    let theirs = dump(&mut back.tree);
    for (path, node) in &ours.nodes {
        assert_eq!(theirs.nodes.get(path), Some(node), "{path}");
    }
    assert_eq!(theirs, ours);
}

#[test]
fn apache_has_the_same_tree_after_a_clean_stop() {
    check("disk, clean stop", 1, 3, End::Stopped, false);
}

#[test]
fn apache_has_the_same_tree_after_a_kill() {
    check("disk, kill", 2, 3, End::Killed, false);
}

#[test]
fn apache_has_the_same_tree_with_a_log_directory_of_its_own() {
    check("disk, dataLogDir", 3, 2, End::Killed, true);
}

/// Apache under load, with a fuzzy snapshot every few writes, killed: what our recovery makes of its files is what
/// its own recovery does.
#[tokio::test]
async fn we_have_the_tree_that_apache_recovers_after_a_kill_under_load() {
    let Some(launcher) = apache::launcher_or_skip("disk, Apache killed") else {
        return;
    };
    let settings = [("extendedTypesEnabled", "true"), ("snapCount", "60")];
    let mut server = ServerProcess::launch(launcher, &settings).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(FrameClient::connect(server.addr(), 40_000).await.unwrap());
    }
    let mut script = Script::new(11);
    let mut refused = 0;
    for round in 0..120 {
        for client in &mut clients {
            for _ in 0..10 {
                client.send(&script.request()).await.unwrap();
            }
        }
        // The last round is still under way when the power goes.
        if round == 119 {
            break;
        }
        for client in &mut clients {
            for _ in 0..10 {
                refused += usize::from(client.reply().await.unwrap().code != ErrorCode::Ok);
            }
        }
    }
    server.kill().unwrap();
    assert!(
        (100..3000).contains(&refused),
        "{refused} of 3600 were refused"
    );

    let copy = tempfile::tempdir().unwrap();
    copy_dir(&server.data_dir(), copy.path()).unwrap();
    let data_dir = format!("dataDir={}", copy.path().display());
    let ours = Config::without_file(&["extendedTypesEnabled=true", &data_dir]).unwrap();
    let (_directories, mut back) = recover_in(&ours.config);
    let ours = dump(&mut back.tree);
    assert!(back.snapshot > Zxid(1000) && ours.nodes.len() > 100);
    assert_eq!(back.digest_mismatch, None);

    server.start().unwrap();
    server.kill().unwrap();
    let config = config(&server, &["extendedTypesEnabled=true"]);
    let (_directories, mut apache) = recover_in(&config);
    assert_eq!(
        apache.snapshot, ours.last,
        "Apache's snapshot of what it recovered"
    );
    assert_eq!(dump(&mut apache.tree), ours);
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_dir(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

/// Snapshots that Apache has packed, each way it can, and the log behind them.
#[tokio::test]
async fn we_read_what_apache_packs() {
    for (method, ending) in [("gz", ".gz"), ("snappy", ".snappy")] {
        let test = format!("disk, {method}");
        if apache::launcher_or_skip(&test).is_none() {
            return;
        }
        let property = format!("zookeeper.snapshot.compression.method={method}");
        let launcher = apache::launcher_with(apache::Heap::SMALL, &[&property]).unwrap();
        let settings = [("extendedTypesEnabled", "true"), ("snapCount", "60")];
        let mut server = ServerProcess::launch(launcher, &settings).unwrap();
        let mut client = FrameClient::connect(server.addr(), 40_000).await.unwrap();
        let mut script = Script::new(5);
        for _ in 0..60 {
            for _ in 0..10 {
                client.send(&script.request()).await.unwrap();
            }
            for _ in 0..10 {
                client.reply().await.unwrap();
            }
        }
        server.terminate().unwrap();
        let version = server.data_dir().join("version-2");
        let names = fs::read_dir(&version).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let packed = |name: &String| name.starts_with("snapshot.") && name.ends_with(ending);
        assert!(
            names.filter(packed).count() > 2,
            "{method}: nothing is packed"
        );

        let copy = tempfile::tempdir().unwrap();
        copy_dir(&server.data_dir(), copy.path()).unwrap();
        let data_dir = format!("dataDir={}", copy.path().display());
        let ours = Config::without_file(&["extendedTypesEnabled=true", &data_dir]).unwrap();
        let (_directories, mut back) = recover_in(&ours.config);
        let ours = dump(&mut back.tree);
        assert!(
            back.snapshot > Zxid(100) && ours.nodes.len() > 50,
            "{method}"
        );
        assert_eq!(back.digest_mismatch, None, "{method}");

        // What Apache itself makes of them, in a snapshot that is not packed.
        server.launch_as(apache::launcher(apache::Heap::SMALL).unwrap());
        server.start().unwrap();
        server.kill().unwrap();
        let config = config(&server, &["extendedTypesEnabled=true"]);
        let (_directories, mut theirs) = recover_in(&config);
        assert_eq!(dump(&mut theirs.tree), ours, "{method}");
    }
}
