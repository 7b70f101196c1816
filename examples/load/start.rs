//! A server with nothing to its name: how soon it answers.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zk_tests::process::{Launcher, ServerProcess};

use super::{Result, args::StartArgs, cluster};

/// How soon the first answer must come.
const READY: Duration = Duration::from_millis(50);

/// Starts ours and, where it is installed, Apache's in turn, and prints the medians; fails where ours is late.
pub(crate) fn start(args: &StartArgs) -> Result<ExitCode> {
    let ours = cluster::ours(args.ours.as_deref())?;
    let apache = cluster::apache().ok();
    let (mut times, mut apaches) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        times.push(once(&ours, args)?);
        if let Some(apache) = &apache {
            apaches.push(once(apache, args)?);
        }
    }
    let time = median(&mut times).unwrap_or_default();
    println!(
        "the first answer of a new server after {} ms (at most {})",
        time.as_millis(),
        READY.as_millis()
    );
    if let Some(time) = median(&mut apaches) {
        println!("of Apache's after {} ms", time.as_millis());
    }
    Ok(match time <= READY {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn once(launcher: &Launcher, args: &StartArgs) -> Result<Duration> {
    let home = TempDir::with_prefix_in("zk-load-", &args.dir)?;
    let mut server = ServerProcess::prepare_in(home, launcher.clone(), &[])?;
    let begun = Instant::now();
    server.start()?;
    Ok(begun.elapsed())
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
