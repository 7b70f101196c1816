//! Half a million nodes: what they weigh, how soon they are back, and what their snapshots cost those who write.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zk_tests::process::ServerProcess;

use super::{
    Result,
    args::BigTreeArgs,
    cluster,
    engine::Engine,
    session, usage,
    work::{Shape, Work},
};

/// What each node may weigh, in bytes.
const EACH: u64 = 300;
/// How soon the server must answer after a kill.
const READY: Duration = Duration::from_millis(700);
/// How many times the quiet p99 that of writes during a snapshot may be.
const SLOWER: f64 = 2.0;

/// So many transactions that no snapshot is due, and so few that one always is.
const NEVER: &str = "100000000";
const ALWAYS: &str = "30000";

const CREATES: Shape = Shape {
    work: Work::Create,
    connections: 4,
    depth: 16,
    size: 128,
    keys: 1000,
};
const SETS: Shape = Shape {
    work: Work::Set,
    connections: 8,
    depth: 4,
    ..CREATES
};

/// Runs it and prints what it found; fails where that is too much.
pub(crate) fn big_tree(args: &BigTreeArgs) -> Result<ExitCode> {
    let launcher = cluster::ours(args.ours.as_deref())?;
    let home = TempDir::with_prefix_in("zk-load-", &args.dir)?;
    let mut server = ServerProcess::prepare_in(home, launcher, &[])?;
    server.start()?;
    let empty = rss(&server)?;
    let begun = Instant::now();
    let count = create(&server, args.count)?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{count} creates over 4 connections, 16 in flight on each: {rate:.0} a second");
    let each = rss(&server)?.saturating_sub(empty) / count;
    println!("{count} nodes of 128 bytes: {each} bytes of resident memory each (at most {EACH})");

    let (ready, cpu) = restart(&mut server)?;
    let again = rss(&server)?.saturating_sub(empty) / count;
    println!(
        "after kill -9: {again} bytes each, the first answer after {} ms (at most {}), {} ms of CPU",
        ready.as_millis(),
        READY.as_millis(),
        cpu.as_millis(),
    );

    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        quiet.push(p99_of_sets(&mut server, NEVER)?);
        busy.push(p99_of_sets(&mut server, ALWAYS)?);
    }
    let (quiet, busy) = (median(quiet), median(busy));
    let slower = busy / quiet;
    println!(
        "p99 of sets, 8 x 4: {quiet:.0} us without snapshots, {busy:.0} us during them, {slower:.2} times (at most {SLOWER})"
    );
    let good = each <= EACH && again <= EACH && ready <= READY && slower <= SLOWER;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn rss(server: &ServerProcess) -> Result<u64> {
    Ok(usage::of(&pids(server))?.rss)
}

fn pids(server: &ServerProcess) -> Vec<u32> {
    server.pid().into_iter().collect()
}

/// At least so many nodes; tells how many.
fn create(server: &ServerProcess, count: u64) -> Result<u64> {
    let targets = [server.addr()];
    session::prepare_nodes(&targets, &CREATES)?;
    let mut engine = Engine::connect(&targets, &CREATES)?;
    let mut made = 0;
    while made < count {
        let piece = engine.measure(Duration::ZERO, Duration::from_millis(100), &[])?;
        made += piece.ops;
    }
    engine.finish()?;
    Ok(made)
}

/// Kills the server and starts it again: how long until it answers, and what it worked for that.
fn restart(server: &mut ServerProcess) -> Result<(Duration, Duration)> {
    server.kill()?;
    let begun = Instant::now();
    server.start()?;
    Ok((begun.elapsed(), usage::of(&pids(server))?.cpu))
}

fn p99_of_sets(server: &mut ServerProcess, snap_count: &str) -> Result<f64> {
    server.configure(&[("snapCount", snap_count)])?;
    restart(server)?;
    let targets = [server.addr()];
    session::prepare_nodes(&targets, &SETS)?;
    let mut engine = Engine::connect(&targets, &SETS)?;
    let measured = engine.measure(Duration::from_secs(2), Duration::from_secs(6), &[])?;
    engine.finish()?;
    Ok(measured.latency_ns.value_at_quantile(0.99) as f64 / 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
