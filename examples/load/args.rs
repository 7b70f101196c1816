//! The command line.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand};

use super::{
    Result,
    work::{Shape, Work},
};

/// Puts load on ZooKeeper servers and measures them.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load on servers that run already.
    Run(RunArgs),
    /// Start our server and Apache's in turn and print both figures and their ratio.
    ///
    /// Builds nothing: run `cargo build --release -p zk-server` first. Apache 3.9.5 is looked for in
    /// ZK_APACHE_HOME and where `.ci/apache` installs it.
    Compare(CompareArgs),
    /// Half a million nodes: their weight, a restart, and writes during snapshots.
    BigTree(BigTreeArgs),
    /// Ten thousand sockets with half a frame each, and what they cost server and clients.
    HalfOpen(HalfOpenArgs),
    /// Three servers whose leader is killed again and again: how long writes stand still, ours and Apache's in turn.
    Failover(FailoverArgs),
    /// A million watches, and what they weigh.
    Watches(WatchesArgs),
    /// 1000 and 5000 watchers of one node, and how soon all are told, beside a bare server's fan-out.
    FanOut(FanOutArgs),
    /// A new server's first answer, ours and Apache's in turn.
    Start(StartArgs),
    /// Be the bare server that shows what the machine allows: canned answers, durable writes, nothing else.
    ///
    /// Measured like any server: `compare --ours "target/release/examples/load floor"`.
    Floor {
        /// A zoo.cfg; only dataDir, clientPort and clientPortAddress count.
        config: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Servers, host:port[,host:port...]; connections are spread evenly over them.
    #[arg(long, default_value = "127.0.0.1:2181", value_delimiter = ',')]
    connect: Vec<String>,
    /// What to ask for.
    #[arg(long, value_enum, default_value_t = Work::Mixed)]
    work: Work,
    /// Sessions, each on a connection of its own.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Bytes of data in a node.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Nodes that get and set choose from.
    #[arg(long, default_value_t = 1000)]
    keys: u32,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Server processes whose CPU time and memory to sample.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BigTreeArgs {
    /// The server's command, to which the zoo.cfg's path is appended; without it, the release build of zk-server.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// How many nodes at least.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) count: u64,
    /// How often writes are measured with and without snapshots.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Where the server's directory is made; must be on a real disk.
    #[arg(long, default_value = "/tmp")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FanOutArgs {
    /// The server's command, to which the zoo.cfg's path is appended; without it, the release build of zk-server.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// How often everybody is told; the medians are printed.
    #[arg(long, default_value_t = 21)]
    pub(crate) rounds: usize,
    /// Where the servers' directories are made; must be on a real disk.
    #[arg(long, default_value = "/tmp")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    /// The server's command, to which the zoo.cfg's path is appended; without it, the release build of zk-server.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// How often each is started; the medians are printed.
    #[arg(long, default_value_t = 9)]
    pub(crate) rounds: usize,
    /// Where the servers' directories are made; must be on a real disk.
    #[arg(long, default_value = "/tmp")]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CompareArgs {
    /// Our side: a command to which the zoo.cfg's path is appended, or the word `apache`.
    /// Without it: the release build of zk-server in this target directory, with `run`.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// How often each side runs every row; the medians are printed.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How many servers serve as one: the rows for 1, or those for 3.
    #[arg(long, default_value_t = 1)]
    pub(crate) servers: usize,
    /// Only these rows, by name; without it, every row for so many servers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rows: Vec<String>,
    /// Short windows: for a look, not for the record.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where the servers' directories are made; must be on a real disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HalfOpenArgs {
    /// How many sockets; fewer where the limit of file descriptors says so.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) sockets: usize,
    /// The server, as in `compare`.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// Where the server's directory is made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FailoverArgs {
    /// How often each side's leader is killed.
    #[arg(long, default_value_t = 50)]
    pub(crate) runs: usize,
    /// How often each side's leader stands still instead (SIGSTOP): nothing is refused or closed then, so its followers
    /// must find out by its silence.
    #[arg(long, default_value_t = 0)]
    pub(crate) stops: usize,
    /// How often each side's leader becomes unreachable instead: whatever is sent to its address, or comes from it, is
    /// dropped, and nobody is told. Every member is put into a network namespace of its own then.
    ///
    /// Takes root, `ip` and `nsenter`, and a network namespace for all of it:
    /// `unshare --net load failover --runs 0 --black-holes 20`.
    #[arg(long, default_value_t = 0)]
    pub(crate) black_holes: usize,
    /// Our side, as in `compare`.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// Only our side.
    #[arg(long)]
    pub(crate) alone: bool,
    /// tickTime of both sides, in milliseconds; initLimit is 10 ticks, syncLimit 5.
    #[arg(long, default_value_t = 2000)]
    pub(crate) tick: u32,
    /// Ours: runs longer than this many milliseconds are printed with what the surviving members logged meanwhile.
    #[arg(long, default_value_t = 150)]
    pub(crate) explain: u64,
    /// Where the servers' directories are made; must be on a real disk.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WatchesArgs {
    /// How many.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) count: usize,
    /// The server, as in `compare`.
    #[arg(long)]
    pub(crate) ours: Option<String>,
    /// Where the server's directory is made.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub(crate) dir: PathBuf,
}

impl RunArgs {
    pub(crate) fn targets(&self) -> Result<Vec<SocketAddr>> {
        let resolve = |host: &String| {
            let addr = host.to_socket_addrs().ok().and_then(|mut all| all.next());
            addr.ok_or_else(|| format!("{host} is no host:port that resolves").into())
        };
        self.connect.iter().map(resolve).collect()
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            work: self.work,
            connections: self.connections.max(1),
            depth: self.depth.max(1),
            size: self.size,
            keys: self.keys.max(1),
        }
    }

    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup.max(0.0))
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration.max(0.1))
    }
}
