//! What one operation costs the client's process: many tasks on one session, one thread.
//!
//! ```text
//! ZK_TEST_CONNECT=127.0.0.1:2181 cargo bench -p zk-client --bench pipeline
//! ```
//! Prints operations per second and CPU microseconds of this process per operation ("ours": outside the
//! kernel); the server's process is not counted. Without the variable there is nothing to measure against, and it says so.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use zk_client::Client;

const ROUND: Duration = Duration::from_secs(2);

fn main() {
    let Ok(hosts) = std::env::var("ZK_TEST_CONNECT") else {
        println!("SKIPPED: ZK_TEST_CONNECT names no server");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::connect(&hosts).await.unwrap();
        let root = format!("/bench-{}", client.guid());
        client.create(&root, [b'x'; 128].as_slice()).await.unwrap();
        for depth in [1, 8, 64] {
            for op in ["get", "set"] {
                round(&client, &root, op, depth).await;
            }
        }
        client.delete_all(&root).await.unwrap();
        client.close().await.unwrap();
    });
}

async fn round(client: &Client, path: &str, op: &'static str, depth: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let (start, before) = (Instant::now(), CpuTime::now());
    let workers: Vec<_> = (0..depth)
        .map(|_| {
            tokio::spawn(worker(
                client.clone(),
                path.to_owned(),
                op,
                Arc::clone(&stop),
            ))
        })
        .collect();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0.0;
    for worker in workers {
        done += f64::from(worker.await.unwrap());
    }
    let (elapsed, cpu) = (start.elapsed(), CpuTime::now());
    let per_op = |time: f64| time * 1e6 / done;
    println!(
        "{op} {depth:>3} in flight: {:>9.0} ops/s, CPU per op {:>6.2} us, {:>5.2} of it ours",
        done / elapsed.as_secs_f64(),
        per_op(cpu.user + cpu.system - before.user - before.system),
        per_op(cpu.user - before.user),
    );
}

async fn worker(client: Client, path: String, op: &str, stop: Arc<AtomicBool>) -> u32 {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        match op {
            "get" => drop(client.get(&path).await.unwrap()),
            _ => drop(client.set(&path, [b'y'; 128].as_slice()).await.unwrap()),
        }
        done += 1;
    }
    done
}

/// What this process has used, in seconds: `utime` and `stime` of `/proc/self/stat`, in hundredths.
struct CpuTime {
    user: f64,
    system: f64,
}

impl CpuTime {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let seconds = |at: usize| fields[at].parse::<f64>().unwrap() / 100.0;
        Self {
            user: seconds(11),
            system: seconds(12),
        }
    }
}
