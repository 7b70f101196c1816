//! `zk-client` beside the other Rust clients: what one operation costs the client's process.
//!
//! ```text
//! cd zk-client/benches/peers && cargo run --release [-- --rounds 5 --seconds 1]
//! ```
//! One server (ours, in a process of its own with its log in memory, or the one at `--connect ip:port`), one session,
//! one thread (tokio's current-thread runtime) and the same loop for every client. The rounds are interleaved and each figure is the median of them. CPU is that of this
//! process, all its threads, user and system, per operation. A client that does nothing shows what the harness itself costs.
//!
//! `--only zk-client --op get --depth 64` leaves one cell, for a profiler.

mod clients;

use std::{
    io::BufRead as _,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clients::{Client, Nothing, PATH, ZooKeeperAsync};
use rustix::time::{ClockId, clock_gettime};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Get,
    Set,
}

/// One column of the table.
#[derive(Clone, Copy)]
struct Work {
    op: Op,
    /// How many requests are in flight.
    depth: usize,
}

const WORK: [Work; 4] = [
    Work {
        op: Op::Get,
        depth: 64,
    },
    Work {
        op: Op::Set,
        depth: 64,
    },
    Work {
        op: Op::Get,
        depth: 1,
    },
    Work {
        op: Op::Set,
        depth: 1,
    },
];

/// What one round of one client came to.
#[derive(Clone, Copy)]
struct Figures {
    ops_per_s: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

struct Options {
    rounds: usize,
    time: Duration,
    connect: Option<String>,
    only: Option<String>,
    op: Option<String>,
    depth: Option<usize>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return runtime.block_on(serve());
    }
    let options = options();
    if let Some(address) = &options.connect {
        return runtime.block_on(measure(address.parse().unwrap(), &options));
    }
    let (mut server, address) = start_server();
    runtime.block_on(measure(address, &options));
    let _ = server.kill();
    let _ = server.wait();
}

fn options() -> Options {
    let value = |name: &str| {
        let mut arguments = std::env::args().skip_while(move |argument| argument != name);
        arguments.nth(1)
    };
    let number = |name: &str| value(name).map(|text| text.parse::<f64>().unwrap());
    Options {
        rounds: number("--rounds").unwrap_or(5.0) as usize,
        time: Duration::from_secs_f64(number("--seconds").unwrap_or(1.0)),
        connect: value("--connect"),
        only: value("--only"),
        op: value("--op"),
        depth: number("--depth").map(|depth| depth as usize),
    }
}

/// The server's process: says where it is, and ends with its standard input.
async fn serve() {
    let disk = std::sync::Arc::new(zk_server::storage::MemDisk::new());
    let server = zk_server::Server::builder()
        .disk(disk)
        .start()
        .await
        .unwrap();
    println!("{}", server.local_addr());
    let mut end = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut end).await;
}

fn start_server() -> (Child, SocketAddr) {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut output = std::io::BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut address).unwrap();
    (server, address.trim().parse().unwrap())
}

async fn measure(server: SocketAddr, options: &Options) {
    let setup = zk_client::Client::connect(&server.to_string())
        .await
        .unwrap();
    setup.ensure(PATH).await.unwrap();
    setup.set(PATH, clients::DATA).await.unwrap();
    for work in WORK {
        let named = match work.op {
            Op::Get => "get",
            Op::Set => "set",
        };
        if options.op.as_deref().is_some_and(|op| op != named)
            || options.depth.is_some_and(|depth| depth != work.depth)
        {
            continue;
        }
        println!("\n{named}, {} in flight", work.depth);
        println!("| client | CPU us/op | ops/s | p50 us | p99 us |\n|---|---|---|---|---|");
        let mut rows: [Vec<Figures>; 5] = Default::default();
        for _ in 0..options.rounds {
            rows[0].extend(round::<zk_client::Client>(server, work, options).await);
            rows[1].extend(round::<tokio_zookeeper::ZooKeeper>(server, work, options).await);
            rows[2].extend(round::<zookeeper_client::Client>(server, work, options).await);
            rows[3].extend(round::<ZooKeeperAsync>(server, work, options).await);
            rows[4].extend(round::<Nothing>(server, work, options).await);
        }
        let names = [
            zk_client::Client::NAME,
            tokio_zookeeper::ZooKeeper::NAME,
            zookeeper_client::Client::NAME,
            ZooKeeperAsync::NAME,
            Nothing::NAME,
        ];
        for (name, figures) in names.into_iter().zip(&rows) {
            if !figures.is_empty() {
                print(name, figures);
            }
        }
    }
}

fn print(name: &str, rounds: &[Figures]) {
    let median = |figure: fn(&Figures) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    println!(
        "| {name} | {:.2} | {:.0} | {:.0} | {:.0} |",
        median(|round| round.cpu_us),
        median(|round| round.ops_per_s),
        median(|round| round.p50_us),
        median(|round| round.p99_us),
    );
}

/// One client for a while, on a session of its own; `None` where another one is asked for.
async fn round<C: Client>(server: SocketAddr, work: Work, options: &Options) -> Option<Figures> {
    if options.only.as_deref().is_some_and(|only| only != C::NAME) {
        return None;
    }
    let client = C::connect(server).await;
    run(&client, work, options.time / 5).await;
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut latencies = run(&client, work, options.time).await;
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
    latencies.sort_unstable();
    let done = latencies.len() as f64;
    let at = |quantile: f64| f64::from(latencies[(quantile * done) as usize]) / 1e3;
    Some(Figures {
        ops_per_s: done / elapsed.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / done,
        p50_us: at(0.5),
        p99_us: at(0.99),
    })
}

/// Keeps that many requests in flight for that long; how long each took, in nanoseconds.
async fn run<C: Client>(client: &C, work: Work, time: Duration) -> Vec<u32> {
    let end = Instant::now() + time;
    let workers: Vec<_> = (0..work.depth)
        .map(|_| tokio::spawn(worker(client.clone(), work.op, end)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.append(&mut worker.await.unwrap());
    }
    latencies
}

async fn worker<C: Client>(client: C, op: Op, end: Instant) -> Vec<u32> {
    let mut latencies = Vec::new();
    let mut before = Instant::now();
    while before < end {
        match op {
            Op::Get => assert_eq!(client.get().await, clients::DATA.len()),
            Op::Set => client.set().await,
        }
        let now = Instant::now();
        latencies.push(u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX));
        before = now;
    }
    latencies
}

/// What this process has used, in all its threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
