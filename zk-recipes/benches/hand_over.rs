//! How often a lock changes hands in a second, beside kazoo, on the same server.
//!
//! ```sh
//! cargo bench -p zk-recipes --bench hand_over -- [host:port]
//! ```
//!
//! So many contenders share one session, as tasks here and as threads there (in a process of its own); each takes the lock and
//! gives it back at once, again and again. Both sides take turns, five times two seconds each; the figures are medians.
//! Without an address it starts our server, on a thread of its own. kazoo is looked for where `.ci/apache` puts it, or at
//! `ZK_KAZOO_PYTHON`; without it only ours is measured.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement"
)]

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use zk_client::Client;
use zk_recipes::prelude::*;
use zk_server::Server;

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

const KAZOO: &str = r#"
import sys, threading, time
from kazoo.client import KazooClient

hosts, path, contenders, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
zk = KazooClient(hosts=hosts)
zk.start()
counts, stop = [0] * contenders, threading.Event()

def contend(place):
    lock = zk.Lock(path)
    while not stop.is_set():
        lock.acquire()
        counts[place] += 1
        lock.release()

threads = [threading.Thread(target=contend, args=(place,)) for place in range(contenders)]
for thread in threads:
    thread.start()
time.sleep(0.5)
before, began = sum(counts), time.monotonic()
time.sleep(seconds)
after, ended = sum(counts), time.monotonic()
print((after - before) / (ended - began), flush=True)
stop.set()
for thread in threads:
    thread.join()
zk.stop()
"#;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let given = arguments.next();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The server has a thread of its own.
    let own = given.is_none().then(start_server);
    let address = given.or_else(|| own.clone()).unwrap();
    println!("| contenders | ours, hand-overs/s | kazoo, hand-overs/s |");
    println!("|---|---|---|");
    for contenders in [2, 10, 50] {
        let (mut ours, mut kazoos) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let path = format!(
                "/bench/hand-over-{}-{contenders}-{round}",
                std::process::id()
            );
            ours.push(runtime.block_on(measure(&address, &format!("{path}-ours"), contenders)));
            kazoos.extend(measure_kazoo(
                &address,
                &format!("{path}-kazoo"),
                contenders,
            ));
        }
        println!("| {contenders} | {} | {} |", median(ours), median(kazoos));
    }
}

/// Our server, on a runtime of its own; ends with the program.
fn start_server() -> String {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::builder().start().await.unwrap();
            sender.send(server.connect_string()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    address.recv().unwrap()
}

async fn measure(address: &str, path: &str, contenders: usize) -> f64 {
    let client = Client::connect(address).await.unwrap();
    let (count, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..contenders {
        let (client, count, path) = (client.clone(), Arc::clone(&count), path.to_owned());
        tasks.spawn(async move {
            loop {
                let guard = client.lock(&path).await.unwrap();
                count.fetch_add(1, Relaxed);
                guard.release().await.unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, began) = (count.load(Relaxed), Instant::now());
    tokio::time::sleep(TIME).await;
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = (count.load(Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    tasks.shutdown().await;
    client.close().await.unwrap();
    rate
}

fn measure_kazoo(address: &str, path: &str, contenders: usize) -> Option<f64> {
    let installed =
        || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/zk-tests/kazoo/bin/python"));
    let named = std::env::var_os("ZK_KAZOO_PYTHON").map(PathBuf::from);
    let python = named.or_else(installed).filter(|python| python.exists())?;
    let output = Command::new(python)
        .args(["-B", "-c", KAZOO, address, path])
        .args([contenders.to_string(), TIME.as_secs_f64().to_string()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

fn median(mut rates: Vec<f64>) -> String {
    rates.sort_by(f64::total_cmp);
    match rates.get(rates.len() / 2) {
        Some(rate) => format!("{rate:.0} ({:.0}-{:.0})", rates[0], rates[rates.len() - 1]),
        None => "not installed".to_owned(),
    }
}
