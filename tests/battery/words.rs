//! The words of four letters, as dashboards and scripts read them.

use zk_proto::{CreateMode, watch::AddWatchMode};
use zk_tests::requests::{add_watch, create_as, watch_children, watch_data};

use crate::subject::{Subject, TIMEOUT_MS};

cases! {
    ruok,
    isro,
    the_trace_mask,
    srvr,
    stat,
    conf,
    cons,
    crst,
    dirs,
    dump,
    envi,
    hash,
    mntr,
    wchs,
    wchc,
    wchp,
    a_word_counts_as_a_packet,
    what_follows_a_word_is_ignored,
    no_word,
}

/// The keys that both have; what only a JVM, TLS or a quorum has is not there here.
const MNTR: &[&str] = &[
    "version",
    "server_state",
    "ephemerals_count",
    "num_alive_connections",
    "avg_latency",
    "outstanding_requests",
    "znode_count",
    "global_sessions",
    "non_mtls_remote_conn_count",
    "last_client_response_size",
    "packets_sent",
    "packets_received",
    "max_client_response_size",
    "connection_drop_probability",
    "watch_count",
    "auth_failed_count",
    "min_latency",
    "max_file_descriptor_count",
    "approximate_data_size",
    "open_file_descriptor_count",
    "local_sessions",
    "uptime",
    "max_latency",
    "min_client_response_size",
    "non_mtls_local_conn_count",
    "watch_bytes",
    "connection_rejected",
    "sessionless_connections_expired",
    "connection_drop_count",
    "bytes_received_count",
    "stale_replies",
    "response_bytes",
    "connection_revalidate_count",
    "commit_count",
    "proposal_count",
    "digest_mismatches_count",
    "snapshot_error_count",
    "connection_request_count",
    "stale_sessions_expired",
];

/// The summaries that both have.
const SUMMARIES: &[&str] = &[
    "fsynctime",
    "snapshottime",
    "sync_processor_batch_size",
    "startup_txns_loaded",
    "node_created_watch_count",
    "node_deleted_watch_count",
    "node_changed_watch_count",
    "node_children_watch_count",
    "readlatency",
    "updatelatency",
];

async fn ruok(s: Subject) {
    assert_eq!(s.word("ruok").await, "imok");
}

async fn isro(s: Subject) {
    assert_eq!(s.word("isro").await, "rw");
}

async fn the_trace_mask(s: Subject) {
    assert_eq!(s.word("gtmk").await, "306");
    let mut set = b"stmk".to_vec();
    set.extend_from_slice(&0x1234_5678_9abc_i64.to_be_bytes());
    let answer = 0x1234_5678_9abc_i64.to_string();
    assert_eq!(s.answer_to(&set).await, answer.as_bytes());
    assert_eq!(s.word("gtmk").await, answer);
    set.truncate(4);
    set.extend_from_slice(&306_i64.to_be_bytes());
    assert_eq!(s.answer_to(&set).await, b"306");
}

async fn srvr(s: Subject) {
    let answer = s.word("srvr").await;
    let lines: Vec<&str> = answer.lines().collect();
    let names: Vec<&str> = lines.iter().map(|line| before(line, ":")).collect();
    assert_eq!(
        names,
        [
            "Zookeeper version",
            "Latency min/avg/max",
            "Received",
            "Sent",
            "Connections",
            "Outstanding",
            "Zxid",
            "Mode",
            "Node count"
        ]
    );
    assert!(answer.ends_with('\n'));
    assert!(
        lines[0].starts_with("Zookeeper version: 3.9.5-"),
        "{answer}"
    );
    assert_eq!(lines[7], "Mode: standalone");
    let zxid = lines[6].strip_prefix("Zxid: 0x").unwrap();
    assert!(u64::from_str_radix(zxid, 16).is_ok(), "{answer}");
}

async fn stat(s: Subject) {
    let p = s.peer().await;
    let answer = s.word("stat").await;
    let (clients, rest) = answer.split_once("\n\n").unwrap();
    let mut clients = clients.lines();
    assert!(clients.next().unwrap().starts_with("Zookeeper version: "));
    assert_eq!(clients.next(), Some("Clients:"));
    let clients: Vec<&str> = clients.collect();
    assert!(!clients.is_empty());
    for client in clients {
        // The asker itself is on the list, too.
        let (_, counts) = client
            .strip_prefix(" /127.0.0.")
            .unwrap()
            .split_once('[')
            .unwrap();
        let (_, counts) = counts.split_once("](").unwrap();
        let names: Vec<&str> = counts.split(',').map(|count| before(count, "=")).collect();
        assert_eq!(names, ["queued", "recved", "sent"], "{client}");
    }
    assert!(rest.starts_with("Latency min/avg/max: "), "{answer}");
    assert!(rest.contains("Node count: "));
    drop(p);
}

async fn conf(s: Subject) {
    let answer = s.word("conf").await;
    let names: Vec<&str> = answer.lines().map(|line| before(line, "=")).collect();
    assert_eq!(
        names,
        [
            "clientPort",
            "secureClientPort",
            "dataDir",
            "dataDirSize",
            "dataLogDir",
            "dataLogSize",
            "tickTime",
            "maxClientCnxns",
            "minSessionTimeout",
            "maxSessionTimeout",
            "clientPortListenBacklog",
            "serverId"
        ]
    );
    for line in [
        &format!("clientPort={}", s.addr().port()),
        "secureClientPort=-1",
        "tickTime=500",
        "minSessionTimeout=1000",
        "maxSessionTimeout=10000",
        "clientPortListenBacklog=-1",
        "serverId=0",
    ] {
        assert!(answer.lines().any(|is| is == line), "{line} in {answer}");
    }
}

async fn cons(s: Subject) {
    let mut p = s.peer().await;
    p.stat(s.root()).await;
    let answer = s.word("cons").await;
    assert!(answer.ends_with("\n\n"), "{answer}");
    let sid = format!("sid={:#x},", p.id());
    let line = answer.lines().find(|line| line.contains(&sid)).unwrap();
    let (_, counts) = line.split_once("](").unwrap();
    let names: Vec<&str> = counts.split(',').map(|count| before(count, "=")).collect();
    assert_eq!(
        names,
        [
            "queued", "recved", "sent", "sid", "lop", "est", "to", "lcxid", "lzxid", "lresp",
            "llat", "minlat", "avglat", "maxlat"
        ]
    );
    for part in ["recved=2", "lop=EXIS", &format!("to={TIMEOUT_MS}")] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

async fn crst(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    p.stat(s.root()).await;
    assert_eq!(s.word("crst").await, "Connection stats reset.\n");
    p.stat(s.root()).await;
    let answer = s.word("cons").await;
    let sid = format!("sid={:#x},", p.id());
    let line = answer.lines().find(|line| line.contains(&sid)).unwrap();
    // Apache counts what is answered once the client has it already.
    assert!(line.contains(",recved=1,"), "{line}");
    assert_eq!(s.word("srst").await, "Server stats reset.\n");
    let answer = s.word("srvr").await;
    // Since then there were the answer to that word, and this one.
    assert!(answer.contains("\nReceived: 1\nSent: 1\n"), "{answer}");
}

async fn dirs(s: Subject) {
    let answer = s.word("dirs").await;
    let sizes: Vec<(&str, u64)> = answer
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, size)| (name, size.parse().unwrap()))
        .collect();
    assert_eq!(sizes.len(), 2);
    assert_eq!((sizes[0].0, sizes[1].0), ("datadir_size", "logdir_size"));
    assert!(sizes[1].1 > 0);
}

async fn dump(s: Subject) {
    let mut p = s.peer().await;
    p.ok(create_as(&s.path("e"), b"", CreateMode::Ephemeral))
        .await;
    let answer = s.word("dump").await;
    let lines: Vec<&str> = answer.lines().collect();
    let at = |text: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(text))
            .unwrap()
    };
    assert_eq!((at("SessionTracker dump:"), at("Session Sets (")), (0, 1));
    let ephemerals = at("ephemeral nodes dump:");
    assert_eq!(at("Sessions with Ephemerals ("), ephemerals + 1);
    let connections = at("Connections dump:");
    assert_eq!(at("Connections Sets ("), connections + 1);
    let id = p.id();
    let session = format!("\t{id:#x}");
    let session = lines[..ephemerals]
        .iter()
        .rposition(|line| *line == session)
        .unwrap();
    let heading = lines[..session]
        .iter()
        .rfind(|line| !line.starts_with('\t'))
        .unwrap();
    let (_, date) = heading.split_once(" expire at ").unwrap();
    // Sat Nov 21 14:06:21 UTC 2026:
    assert_eq!((date.len(), date.split(' ').count()), (29, 6), "{heading}");
    let owner = format!("{id:#x}:");
    let owner = lines[ephemerals..connections]
        .iter()
        .position(|line| *line == owner)
        .unwrap();
    assert_eq!(lines[ephemerals + owner + 1], format!("\t{}", s.path("e")));
    let connection = format!(" sessionId: {id:#x}");
    let of_session =
        |line: &&&str| line.starts_with("\tip: /127.0.0.1:") && line.ends_with(&connection);
    assert_eq!(
        lines[connections..].iter().filter(of_session).count(),
        1,
        "{answer}"
    );
}

async fn envi(s: Subject) {
    let answer = s.word("envi").await;
    assert!(
        answer.starts_with("Environment:\nzookeeper.version=3.9.5-"),
        "{answer}"
    );
    for name in [
        "host.name",
        "os.name",
        "os.arch",
        "os.version",
        "user.name",
        "user.home",
        "user.dir",
    ] {
        assert!(answer.contains(&format!("\n{name}=")), "{name} in {answer}");
    }
}

/// Of every 128th transaction: its zxid in hexadecimal, and the digest after it.
async fn hash(s: Subject) {
    let mut p = s.peer().await;
    for _ in 0..140 {
        p.ok(zk_tests::requests::set(s.root(), b"", -1)).await;
    }
    let answer = s.word("hash").await;
    let lines: Vec<(i64, i64)> = answer
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(zxid, digest)| {
            (
                i64::from_str_radix(zxid, 16).unwrap(),
                digest.parse().unwrap(),
            )
        })
        .collect();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|(zxid, _)| zxid % 128 == 0), "{answer}");
    assert!(lines.is_sorted());
}

async fn mntr(s: Subject) {
    let answer = s.word("mntr").await;
    let value = |key: &str| {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(&format!("zk_{key}\t")));
        line.unwrap_or_else(|| panic!("no zk_{key} in {answer}"))
            .to_owned()
    };
    let summaries = SUMMARIES
        .iter()
        .flat_map(|name| ["avg", "min", "max", "cnt", "sum"].map(|part| format!("{part}_{name}")));
    let percentiles = ["readlatency", "updatelatency"]
        .iter()
        .flat_map(|name| ["p50", "p95", "p99", "p999"].map(|part| format!("{part}_{name}")));
    let plain = MNTR.iter().map(|name| (*name).to_owned());
    for key in plain.chain(summaries).chain(percentiles) {
        let value = value(&key);
        let is_text = ["version", "server_state"].contains(&key.as_str());
        assert!(is_text || value.parse::<f64>().is_ok(), "{key} {value}");
    }
    assert_eq!(value("server_state"), "standalone");
    assert!(value("znode_count").parse::<u64>().unwrap() >= 6);
    // Apache has some of its own making; docs/COMPATIBILITY.md names them.
    assert!(s.is_apache() || value("digest_mismatches_count") == "0");
}

async fn wchs(mut s: Subject) {
    s.alone().await;
    assert_eq!(
        s.word("wchs").await,
        "0 connections watching 0 paths\nTotal watches:0\n"
    );
    let (mut p, mut q) = (s.peer().await, s.peer().await);
    p.ok(watch_data(s.root())).await;
    p.ok(watch_data("/")).await;
    p.ok(add_watch("/", AddWatchMode::PersistentRecursive))
        .await;
    q.ok(add_watch("/", AddWatchMode::Persistent)).await;
    // Those of children are not counted.
    q.ok(watch_children(s.root())).await;
    assert_eq!(
        s.word("wchs").await,
        "2 connections watching 2 paths\nTotal watches:3\n"
    );
}

async fn wchc(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    p.ok(watch_data(s.root())).await;
    p.ok(watch_children("/")).await;
    let (id, root) = (p.id(), s.root());
    assert_eq!(s.word("wchc").await, format!("{id:#x}\n\t{root}\n\n"));
}

async fn wchp(mut s: Subject) {
    s.alone().await;
    let mut p = s.peer().await;
    p.ok(watch_data(s.root())).await;
    p.ok(watch_children("/")).await;
    let (id, root) = (p.id(), s.root());
    assert_eq!(s.word("wchp").await, format!("{root}\n\t{id:#x}\n\n"));
}

async fn a_word_counts_as_a_packet(mut s: Subject) {
    s.alone().await;
    let received = |answer: &str| {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("Received: "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = received(&s.word("srvr").await);
    assert_eq!(received(&s.word("srvr").await), before + 1);
}

async fn what_follows_a_word_is_ignored(s: Subject) {
    assert_eq!(s.answer_to(b"ruok\n").await, b"imok");
}

/// Letters that are no word are the length of a frame that is too long.
async fn no_word(s: Subject) {
    for bytes in [&b"nope"[..], b"RUOK", b"ruo\n", b"    "] {
        assert_eq!(s.answer_to(bytes).await, b"", "{bytes:?}");
    }
}

fn before<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split(mark).next().unwrap_or_default()
}
