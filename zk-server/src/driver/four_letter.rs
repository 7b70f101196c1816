//! Answers to the words of four letters, in Apache's own words: dashboards and scripts parse them.
//!
//! Facts: the classes of `org.apache.zookeeper.hub.command`, and their output seen live.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fmt::Write,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use zk_proto::{OpCode, SessionId};

use super::{Hub, mntr as metrics};
use crate::{
    conn::{four_letter::FourLetterWord, handle::ConnHandle},
    time::Now,
    tree::watches::ConnId,
};

/// The version that `srvr` and `mntr` name: the line of releases whose behaviour this server has.
const VERSION: &str = concat!("3.9.5-zk-server-", env!("CARGO_PKG_VERSION"));

/// The whole answer to a word.
pub(super) fn answer(hub: &Hub, word: FourLetterWord, now: Now) -> String {
    hub.shared.metrics.packets_received.add(1);
    if !hub.config.four_letter_words.allow(word.as_str()) {
        return word.refusal();
    }
    let mut out = String::new();
    let _ = match word {
        FourLetterWord::Conf => conf(hub, &mut out),
        FourLetterWord::Cons => cons(hub, &mut out),
        FourLetterWord::Crst => crst(hub, &mut out),
        FourLetterWord::Dirs => dirs(hub, &mut out),
        FourLetterWord::Envi => envi(&mut out),
        FourLetterWord::Isro => write!(out, "rw"),
        FourLetterWord::Mntr => mntr(hub, now, &mut out),
        FourLetterWord::Ruok => write!(out, "imok"),
        FourLetterWord::Srst => srst(hub, &mut out),
        FourLetterWord::Srvr => srvr(hub, &mut out),
        FourLetterWord::Stat => stat(hub, &mut out),
        FourLetterWord::Wchc => wchc(hub, &mut out),
        FourLetterWord::Wchp => wchp(hub, &mut out),
        FourLetterWord::Wchs => wchs(hub, &mut out),
    };
    out
}

/// `ServerStats.toString` between the version and the node count.
fn srvr(hub: &Hub, out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {VERSION}")?;
    server_stats(hub, out)
}

fn stat(hub: &Hub, out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {VERSION}")?;
    writeln!(out, "Clients:")?;
    for conn in hub.shared.conns.all() {
        connection(&conn, true, out)?;
        writeln!(out)?;
    }
    writeln!(out)?;
    server_stats(hub, out)
}

fn server_stats(hub: &Hub, out: &mut String) -> fmt::Result {
    let (metrics, shared) = (&hub.shared.metrics, &hub.shared);
    let latency = &metrics.latency;
    let (min, avg, max) = (latency.min(), latency.avg(), latency.max());
    writeln!(out, "Latency min/avg/max: {min}/{avg:?}/{max}")?;
    writeln!(out, "Received: {}", metrics.packets_received.get())?;
    writeln!(out, "Sent: {}", metrics.packets_sent.get())?;
    writeln!(out, "Connections: {}", shared.conns.len())?;
    writeln!(out, "Outstanding: {}", shared.outstanding())?;
    let (zxid, nodes) = {
        let tree = shared.tree.read();
        (tree.last_zxid(), tree.node_count())
    };
    writeln!(out, "Zxid: {zxid}")?;
    writeln!(out, "Mode: standalone")?;
    writeln!(out, "Node count: {nodes}")
}

fn cons(hub: &Hub, out: &mut String) -> fmt::Result {
    for conn in hub.shared.conns.all() {
        connection(&conn, false, out)?;
        writeln!(out)?;
    }
    writeln!(out)
}

/// `ServerCnxn.dumpConnectionInfo`.
fn connection(conn: &ConnHandle, brief: bool, out: &mut String) -> fmt::Result {
    let stats = &conn.stats;
    let session = stats.session().0;
    let interest = i32::from(session != 0);
    write!(
        out,
        " /{}[{interest}](queued={},recved={},sent={}",
        conn.remote,
        stats.queued.load(Relaxed),
        stats.received.load(Relaxed),
        stats.sent.load(Relaxed),
    )?;
    if !brief && session != 0 {
        write!(
            out,
            ",sid={session:#x},lop={},est={},to={}",
            last_op(stats.last_op.load(Relaxed)),
            stats.established_ms,
            stats.timeout_ms.load(Relaxed),
        )?;
        let cxid = stats.last_cxid.load(Relaxed);
        if cxid >= 0 {
            write!(out, ",lcxid={cxid:#x}")?;
        }
        write!(
            out,
            ",lzxid={:#x},lresp={}",
            stats.last_zxid.load(Relaxed),
            stats.last_response_ms.load(Relaxed),
        )?;
    }
    write!(out, ")")
}

/// The four letters that Apache's final processor gives an operation.
fn last_op(op: i32) -> &'static str {
    match OpCode::from_i32(op) {
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer) => {
            "CREA"
        }
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Ping) => "PING",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::CloseSession) => "CLOS",
        _ => "NA",
    }
}

fn crst(hub: &Hub, out: &mut String) -> fmt::Result {
    for conn in hub.shared.conns.all() {
        conn.stats.reset();
    }
    writeln!(out, "Connection stats reset.")
}

fn srst(hub: &Hub, out: &mut String) -> fmt::Result {
    hub.shared.metrics.reset();
    writeln!(out, "Server stats reset.")
}

/// `ZooKeeperServer.dumpConf`.
fn conf(hub: &Hub, out: &mut String) -> fmt::Result {
    let config = &hub.config;
    let data = config.data_dir.join("version-2");
    let log = config.log_dir().join("version-2");
    writeln!(out, "clientPort={}", hub.local_addr.port())?;
    writeln!(out, "secureClientPort=-1")?;
    writeln!(out, "dataDir={}", data.display())?;
    writeln!(out, "dataDirSize={}", hub.sizes.snapshots())?;
    writeln!(out, "dataLogDir={}", log.display())?;
    writeln!(out, "dataLogSize={}", hub.sizes.logs())?;
    writeln!(out, "tickTime={}", config.tick_time.as_millis())?;
    let per_host = config.max_client_cnxns.unwrap_or_default();
    writeln!(out, "maxClientCnxns={per_host}")?;
    let min = config.min_session_timeout().as_millis();
    writeln!(out, "minSessionTimeout={min}")?;
    let max = config.max_session_timeout().as_millis();
    writeln!(out, "maxSessionTimeout={max}")?;
    let backlog = config.client_port_listen_backlog.map_or(-1, i64::from);
    writeln!(out, "clientPortListenBacklog={backlog}")?;
    writeln!(out, "serverId=0")
}

fn dirs(hub: &Hub, out: &mut String) -> fmt::Result {
    writeln!(out, "datadir_size: {}", hub.sizes.snapshots())?;
    writeln!(out, "logdir_size: {}", hub.sizes.logs())
}

/// What there is of `Environment.list()` outside a Java virtual machine.
fn envi(out: &mut String) -> fmt::Result {
    writeln!(out, "Environment:")?;
    writeln!(out, "zookeeper.version={VERSION}")?;
    writeln!(out, "os.name={}", std::env::consts::OS)?;
    writeln!(out, "os.arch={}", std::env::consts::ARCH)
}

/// Appends what `mntr` tells before the metrics.
pub(super) fn mntr(hub: &Hub, now: Now, out: &mut String) -> fmt::Result {
    writeln!(out, "zk_version\t{VERSION}")?;
    writeln!(out, "zk_server_state\tstandalone")?;
    metrics::dump(hub, now, out)
}

/// `WatchManager.toString`: of data watches only, as there.
fn wchs(hub: &Hub, out: &mut String) -> fmt::Result {
    let watches = hub.shared.watches.lock();
    let mut conns = BTreeSet::new();
    let mut paths = BTreeSet::new();
    let mut total = 0;
    for (conn, path) in watches.data_watches() {
        conns.insert(conn);
        paths.insert(path);
        total += 1;
    }
    let (conns, paths) = (conns.len(), paths.len());
    writeln!(out, "{conns} connections watching {paths} paths")?;
    writeln!(out, "Total watches:{total}")
}

/// Watches by session.
fn wchc(hub: &Hub, out: &mut String) -> fmt::Result {
    let sessions = sessions_by_conn(hub);
    let watches = hub.shared.watches.lock();
    let mut before = None;
    for (conn, path) in watches.data_watches() {
        if before.replace(conn) != Some(conn) {
            let session = sessions.get(&conn).copied().unwrap_or_default();
            writeln!(out, "{session}")?;
        }
        writeln!(out, "\t{path}")?;
    }
    writeln!(out)
}

/// Watches by path.
fn wchp(hub: &Hub, out: &mut String) -> fmt::Result {
    let sessions = sessions_by_conn(hub);
    let watches = hub.shared.watches.lock();
    let mut by_path = BTreeMap::<&str, Vec<ConnId>>::new();
    for (conn, path) in watches.data_watches() {
        by_path.entry(path).or_default().push(conn);
    }
    for (path, conns) in by_path {
        writeln!(out, "{path}")?;
        for conn in conns {
            let session = sessions.get(&conn).copied().unwrap_or_default();
            writeln!(out, "\t{session}")?;
        }
    }
    writeln!(out)
}

fn sessions_by_conn(hub: &Hub) -> BTreeMap<ConnId, SessionId> {
    let conns = hub.shared.conns.all();
    let session = |conn: &Arc<ConnHandle>| (conn.id, conn.stats.session());
    conns.iter().map(session).collect()
}
