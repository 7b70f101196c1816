//! A million watches, and what they weigh.

use std::process::ExitCode;

use zk_proto::{ErrorCode, OpCode, op::ExistsRequest};

use super::{
    Result,
    args::WatchesArgs,
    cluster::{self, Cluster},
    session::Session,
    usage,
};

/// Sessions that share them.
const SESSIONS: usize = 10;
/// Requests sent before their answers are read.
const BATCH: usize = 500;
/// What each may weigh, in bytes.
const EACH: u64 = 200;

/// Runs it and prints what it found; fails where that is too much.
pub(crate) fn watches(args: &WatchesArgs) -> Result<ExitCode> {
    let launcher = cluster::ours(args.ours.as_deref())?;
    let cluster = Cluster::start_with(&launcher, 1, &args.dir, &[])?;
    let (addr, pids) = (cluster.targets()[0], cluster.pids());
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::open(addr)?);
    }
    let before = usage::of(&pids)?.rss;
    let numbers: Vec<usize> = (0..args.count).collect();
    for (turn, batch) in numbers.chunks(BATCH).enumerate() {
        watch(&mut sessions[turn % SESSIONS], batch)?;
    }
    let after = usage::of(&pids)?.rss;
    let growth = after.saturating_sub(before);
    let each = growth / args.count.max(1) as u64;
    println!(
        "{} watches on as many paths, by {SESSIONS} sessions: resident memory {} MiB before, {} MiB after: {growth} bytes, {each} each (at most {EACH})",
        args.count,
        before >> 20,
        after >> 20,
    );
    Ok(if each <= EACH {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Leaves a watch on each of these nodes, which are not there.
fn watch(session: &mut Session, numbers: &[usize]) -> Result<()> {
    for number in numbers {
        let path = format!("/watched/node-{number:010}").into();
        session.ask(OpCode::Exists, &ExistsRequest { path, watch: true });
    }
    for _ in numbers {
        match session.answer()? {
            ErrorCode::NoNode => {}
            code => return Err(format!("exists: {code}").into()),
        }
    }
    Ok(())
}
