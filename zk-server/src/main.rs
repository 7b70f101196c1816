//! The server as a program: `zk-server run [ZOO_CFG] [--set key=value]...`, and `check` with the same arguments.

mod check;

use std::{
    io::Write as _,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use zk_server::{
    Server,
    config::{Config, HostPort},
};

/// A ZooKeeper server, compatible with Apache ZooKeeper 3.9.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve in the foreground until SIGTERM or Ctrl-C.
    ///
    /// Without a file: on 127.0.0.1:2181, with the data in ./zk-data.
    Run {
        /// An Apache `zoo.cfg`.
        zoo_cfg: Option<PathBuf>,
        /// Set an option of `zoo.cfg`, or override the file's; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Say what `run` would do with the same arguments, and what would keep it from starting.
    ///
    /// Writes nothing, binds no port and speaks to nobody: it may be run beside a server with the same file.
    Check {
        /// An Apache `zoo.cfg`.
        zoo_cfg: Option<PathBuf>,
        /// Set an option of `zoo.cfg`, or override the file's; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// What the program ends with: a sentence for the person who started it.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run { zoo_cfg, set } => {
            log_to_stderr();
            end_on_panic();
            run(zoo_cfg, &set)
        }
        Command::Check { zoo_cfg, set } => {
            log_to_stderr();
            check(zoo_cfg, &set)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What `RUST_LOG` asks for (`debug`, or `info,zk_server=trace`), and otherwise what an operator wants to know.
fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").ok();
    let parsed = asked.as_deref().map(str::parse::<Targets>).transpose();
    let filter = parsed.as_ref().ok().cloned().flatten();
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .with(filter.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO)))
        .init();
    if let Err(error) = parsed {
        tracing::warn!(%error, "RUST_LOG is not understood");
    }
}

/// Every connection is an open file, and the usual soft limit of 1024 is soon reached.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays where it is");
    }
}

/// A task that died must not leave a server behind that only looks alive.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// Reads the configuration, and says what its author should know.
fn load(zoo_cfg: Option<PathBuf>, set: &[String]) -> Result<Config, Failure> {
    let overrides: Vec<&str> = set.iter().map(String::as_str).collect();
    let parsed = Config::load(zoo_cfg.as_deref(), &overrides)?;
    for warning in &parsed.warnings {
        tracing::warn!("{warning}");
    }
    Ok(parsed.config)
}

fn check(zoo_cfg: Option<PathBuf>, set: &[String]) -> Result<(), Failure> {
    let report = check::check(&load(zoo_cfg, set)?);
    let mut out = std::io::stdout().lock();
    for line in &report.says {
        writeln!(out, "{line}")?;
    }
    match report.refuses.is_empty() {
        true => Ok(writeln!(out, "run would start")?),
        false => Err(report.refuses.join("; ").into()),
    }
}

fn run(zoo_cfg: Option<PathBuf>, set: &[String]) -> Result<(), Failure> {
    let config = load(zoo_cfg, set)?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let address = resolve(config.client_address.as_ref())?;
    let threads = config.io_threads.unwrap_or_else(default_io_threads);
    let data = config.data_dir.clone();
    let server = Server::builder()
        .config(config)
        .bind(address)
        .data_dir(&data)
        .io_threads(threads)
        .start()
        .await?;
    tracing::info!(address = %server.local_addr(), data = %data.display(), "serving");
    tokio::select! {
        fatal = server.failed() => return Err(fatal.into()),
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    server.shutdown().await?;
    Ok(())
}

/// One for two cores, at most four: the log, the kernel's network and often the clients want cores too, and a thread
/// that has work all the time needs no waking.
fn default_io_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4))
}

/// Where `clientPort` binds: every address of the machine unless `clientPortAddress` names one, as in Apache.
fn resolve(address: Option<&HostPort>) -> Result<SocketAddr, Failure> {
    let Some(address) = address else {
        return Err("the configuration names no clientPort".into());
    };
    let host = address.host.as_deref().unwrap_or("::");
    let found = (host, address.port).to_socket_addrs()?.next();
    found.ok_or_else(|| format!("{host} has no address").into())
}
