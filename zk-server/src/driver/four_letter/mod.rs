//! Answers to the words of four letters, in Apache's own words: dashboards and scripts parse them.
//!
//! Facts: the classes of `org.apache.zookeeper.hub.command`, and their output seen live.

mod conns;
mod mntr;
mod watches;

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use super::Hub;
use crate::{
    conn::{four_letter::FourLetterWord, handle::ConnHandle},
    frames::Frames,
    peer::{Input, Submit},
    time::Now,
};

/// The version that `srvr` and `mntr` name: the line of releases whose behaviour this server has.
const VERSION: &str = concat!("3.9.5-zk-server-", env!("CARGO_PKG_VERSION"));

/// What `stmk` sets and `gtmk` tells: a number that Apache picks log lines by, and nothing follows from here.
#[derive(Debug)]
pub(super) struct TraceMask(AtomicI64);

impl Default for TraceMask {
    /// Apache's: client requests, server packets, sessions and warnings.
    fn default() -> Self {
        Self(AtomicI64::new(0x132))
    }
}

/// Answers a word, at once or through the peer, and ends the connection.
pub(super) fn answer(
    hub: &Hub,
    conn: &Arc<ConnHandle>,
    word: FourLetterWord,
    argument: Option<i64>,
    now: Now,
) {
    hub.shared.metrics.packets_received.add(1);
    if word == FourLetterWord::Dump && is_allowed(hub, word) {
        let conn = conn.clone();
        hub.mailbox.push(Input::Submit(Submit::Dump { conn }));
        return;
    }
    let text = text(hub, word, argument, now);
    hub.shared.metrics.packets_sent.add(1);
    let mut frames = Frames::new();
    frames.own_mut().extend_from_slice(text.as_bytes());
    conn.outbox.append(&mut frames, 0);
    conn.outbox.close();
}

/// `isro` is always answered where there are read-only servers: Apache's clients ask it.
fn is_allowed(hub: &Hub, word: FourLetterWord) -> bool {
    let config = &hub.config;
    config.four_letter_words.allow(word.as_str())
        || (word == FourLetterWord::Isro && config.read_only_mode)
}

fn text(hub: &Hub, word: FourLetterWord, argument: Option<i64>, now: Now) -> String {
    if !is_allowed(hub, word) {
        return word.refusal();
    }
    let is_served = hub.shared.mode.read().is_some();
    if !is_served && word == FourLetterWord::Isro {
        return "null".to_owned();
    }
    if !is_served && !matches!(word, FourLetterWord::Ruok | FourLetterWord::Envi) {
        return not_serving(hub);
    }
    let mut out = String::new();
    let _ = match word {
        FourLetterWord::Conf => conf(hub, &mut out),
        FourLetterWord::Cons => conns::cons(hub, &mut out),
        FourLetterWord::Crst => conns::crst(hub, &mut out),
        FourLetterWord::Dirs => dirs(hub, &mut out),
        // The peer's.
        FourLetterWord::Dump => Ok(()),
        FourLetterWord::Envi => envi(&mut out),
        FourLetterWord::Gtmk => write!(out, "{}", hub.trace_mask.0.load(Relaxed)),
        FourLetterWord::Hash => hash(hub, &mut out),
        FourLetterWord::Isro => out.write_str(if mode(hub) == "read-only" { "ro" } else { "rw" }),
        FourLetterWord::Mntr => mntr(hub, now, &mut out),
        FourLetterWord::Ruok => write!(out, "imok"),
        FourLetterWord::Srst => srst(hub, &mut out),
        FourLetterWord::Srvr => srvr(hub, &mut out),
        FourLetterWord::Stat => stat(hub, &mut out),
        FourLetterWord::Stmk => stmk(hub, argument, &mut out),
        FourLetterWord::Wchc => watches::wchc(hub, &mut out),
        FourLetterWord::Wchp => watches::wchp(hub, &mut out),
        FourLetterWord::Wchs => watches::wchs(hub, &mut out),
    };
    out
}

/// Apache's line, and why, where it will not end by itself.
fn not_serving(hub: &Hub) -> String {
    let mut text = "This ZooKeeper instance is not currently serving requests\n".to_owned();
    if hub.shared.metrics.quorum.awaits_sync.get() > 0 {
        text += "Some of its history is lost: it has no vote until a leader has synced it\n";
    }
    text
}

fn mode(hub: &Hub) -> &'static str {
    hub.shared.mode.read().unwrap_or("looking")
}

/// `ServerStats.toString` between the version and the node count.
fn srvr(hub: &Hub, out: &mut String) -> fmt::Result {
    version(hub, out)?;
    server_stats(hub, out)
}

fn version(hub: &Hub, out: &mut String) -> fmt::Result {
    writeln!(out, "Zookeeper version: {VERSION}")?;
    if mode(hub) == "read-only" {
        writeln!(out, "READ-ONLY mode; serving only read-only clients")?;
    }
    Ok(())
}

fn stat(hub: &Hub, out: &mut String) -> fmt::Result {
    version(hub, out)?;
    writeln!(out, "Clients:")?;
    for conn in hub.shared.conns.all() {
        conns::connection(&conn, true, out)?;
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
    writeln!(out, "Mode: {}", mode(hub))?;
    writeln!(out, "Node count: {nodes}")?;
    if mode(hub) == "leader" {
        let sizes = &metrics.quorum.proposal_sizes;
        let (last, min, max) = (sizes.last(), sizes.min(), sizes.max());
        writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
    }
    Ok(())
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
    writeln!(out, "clientPort={}", hub.local_addr.read().port())?;
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

/// Zxids and the digests after them, as far back as they are kept.
fn hash(hub: &Hub, out: &mut String) -> fmt::Result {
    let tree = hub.shared.tree.read();
    for (zxid, digest) in tree.digest_log() {
        writeln!(out, "{:x}: {}", zxid.0, digest.to_i64())?;
    }
    Ok(())
}

/// Without the mask behind the word, Apache's server closes the connection too.
fn stmk(hub: &Hub, mask: Option<i64>, out: &mut String) -> fmt::Result {
    let Some(mask) = mask else { return Ok(()) };
    hub.trace_mask.0.store(mask, Relaxed);
    write!(out, "{mask}")
}

/// What there is of `Environment.list()` outside a Java virtual machine.
fn envi(out: &mut String) -> fmt::Result {
    writeln!(out, "Environment:")?;
    let uname = rustix::system::uname();
    let variable = |name| std::env::var(name).unwrap_or_else(|_| "<NA>".to_owned());
    let dir = std::env::current_dir().unwrap_or_default();
    writeln!(out, "zookeeper.version={VERSION}")?;
    writeln!(out, "host.name={}", uname.nodename().to_string_lossy())?;
    writeln!(out, "os.name={}", uname.sysname().to_string_lossy())?;
    writeln!(out, "os.arch={}", std::env::consts::ARCH)?;
    writeln!(out, "os.version={}", uname.release().to_string_lossy())?;
    writeln!(out, "user.name={}", variable("USER"))?;
    writeln!(out, "user.home={}", variable("HOME"))?;
    writeln!(out, "user.dir={}", dir.display())
}

/// Appends what `mntr` tells before the metrics.
fn mntr(hub: &Hub, now: Now, out: &mut String) -> fmt::Result {
    writeln!(out, "zk_version\t{VERSION}")?;
    writeln!(out, "zk_server_state\t{}", mode(hub))?;
    mntr::dump(hub, now, out)
}
