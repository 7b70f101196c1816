//! Ours and Apache's under the same loads, in turn, and the table of their medians.

use std::{fs, path::Path, process::ExitCode};

use zk_tests::process::{Launcher, four_letter_word};

use super::{
    Result,
    args::CompareArgs,
    cluster::{self, Cluster},
    engine::Engine,
    report::{Figures, comparison, line},
    rows::{ROWS, Row, WARMING, Windows},
    session::prepare_nodes,
};

/// Our figures and Apache's for one row, one entry per round.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) row: &'static Row,
    pub(crate) ours: Vec<Figures>,
    pub(crate) apache: Vec<Figures>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Apache,
}

/// Runs the comparison and prints it; fails where ours is worse on any row.
pub(crate) fn compare(args: &CompareArgs) -> Result<ExitCode> {
    let rows = chosen(&args.rows, args.servers)?;
    let windows = if args.quick {
        Windows::QUICK
    } else {
        Windows::FULL
    };
    let (ours, apache) = (cluster::ours(args.ours.as_deref())?, cluster::apache()?);
    refuse_memory(&args.dir)?;
    let start = |row| Results {
        row,
        ours: Vec::new(),
        apache: Vec::new(),
    };
    let mut results: Vec<Results> = rows.into_iter().map(start).collect();
    for round in 0..args.rounds.max(1) {
        // Whoever goes second finds a warmer machine: take turns at that too.
        let order = match round % 2 {
            0 => [Side::Ours, Side::Apache],
            _ => [Side::Apache, Side::Ours],
        };
        for side in order {
            let launcher = match side {
                Side::Ours => &ours,
                Side::Apache => &apache,
            };
            eprintln!("round {} of {}, {side:?}", round + 1, args.rounds.max(1));
            measure_side(side, launcher, windows, &args.dir, &mut results)?;
        }
    }
    let (table, all_good) = comparison(&results);
    println!("{table}");
    Ok(if all_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts one side's servers, once for each number of servers, and runs every row on them.
fn measure_side(
    side: Side,
    launcher: &Launcher,
    windows: Windows,
    dir: &Path,
    results: &mut [Results],
) -> Result<()> {
    for rows in results.chunk_by_mut(|a, b| a.row.servers == b.row.servers) {
        let servers = rows.first().map_or(1, |first| first.row.servers);
        let cluster = Cluster::start(launcher, servers, dir)?;
        let targets = cluster.targets();
        for target in &targets {
            let answer = four_letter_word(*target, "srvr")?;
            eprintln!("  {}", answer.lines().next().unwrap_or("no version"));
        }
        prepare_nodes(&targets, &WARMING)?;
        let mut warming = Engine::connect(&targets, &WARMING)?;
        warming.run_for(windows.warming)?;
        warming.finish()?;
        for result in rows {
            let mut engine = Engine::connect(&targets, &result.row.shape)?;
            let measured = engine.measure(windows.warmup, windows.measured, &cluster.pids())?;
            engine.finish()?;
            let figures = Figures::of(&measured);
            eprintln!("  {:12} {}", result.row.name, line(&figures));
            match side {
                Side::Ours => result.ours.push(figures),
                Side::Apache => result.apache.push(figures),
            }
        }
    }
    Ok(())
}

fn chosen(names: &[String], servers: usize) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        let rows: Vec<_> = ROWS.iter().filter(|row| row.servers == servers).collect();
        return match rows.is_empty() {
            true => Err(format!("there are no rows for {servers} servers").into()),
            false => Ok(rows),
        };
    }
    let find = |name: &String| {
        let known = || ROWS.map(|row| row.name).join(", ");
        let row = ROWS.iter().find(|row| row.name == name);
        row.ok_or_else(|| format!("no row {name}; there are: {}", known()).into())
    };
    names.iter().map(find).collect()
}

/// A directory in memory would make every fdatasync free, and the writes' figures worth nothing.
pub(crate) fn refuse_memory(dir: &Path) -> Result<()> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let kind = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| dir.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map_or("unknown", |(_, kind)| kind);
    match kind {
        "tmpfs" | "ramfs" => Err(format!(
            "{} is in memory ({kind}): name a directory on a disk with --dir",
            dir.display()
        )
        .into()),
        _ => Ok(()),
    }
}
