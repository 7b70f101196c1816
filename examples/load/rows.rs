//! The rows of a comparison, and the windows they are measured in.

use std::time::Duration;

use super::work::{Shape, Work};

/// A load that both sides are put under, and what ours must reach.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// How many servers; rows with the same number share their servers.
    pub(crate) servers: usize,
    pub(crate) shape: Shape,
    /// The most CPU per operation that ours may take, as a share of Apache's.
    pub(crate) cpu_share: f64,
    /// The CPU per operation ours is to reach, in microseconds on the machine of the project's own figures.
    pub(crate) cpu_goal_us: f64,
}

/// In the order in which they run: create comes last, since the nodes it leaves behind weigh on what follows.
pub(crate) const ROWS: [Row; 10] = [
    row("get-8x16", Work::Get, 16, 0.5, 1.2),
    row("get-8x1", Work::Get, 1, 1.0, 7.5),
    row("set-8x16", Work::Set, 16, 1.0, 4.5),
    row("set-8x1", Work::Set, 1, 1.0, 27.0),
    row("mixed-8x16", Work::Mixed, 16, 1.0, 2.2),
    row("create-8x16", Work::Create, 16, 1.0, 5.5),
    ensemble_row("3-get-9x16", Work::Get, 16, 1.0, 1.5),
    ensemble_row("3-set-9x16", Work::Set, 16, 0.25, 13.0),
    ensemble_row("3-set-9x1", Work::Set, 1, 1.0, 60.0),
    ensemble_row("3-lock-9x16", Work::Lock, 16, 1.0, 13.0),
];

/// What a fresh server is loaded with before its first row: a JVM compiles what it has seen often.
pub(crate) const WARMING: Shape = shape(Work::Mixed, 16);

const fn row(
    name: &'static str,
    work: Work,
    depth: usize,
    cpu_share: f64,
    cpu_goal_us: f64,
) -> Row {
    Row {
        name,
        servers: 1,
        shape: shape(work, depth),
        cpu_share,
        cpu_goal_us,
    }
}

/// Three servers, three connections to each.
const fn ensemble_row(
    name: &'static str,
    work: Work,
    depth: usize,
    cpu_share: f64,
    cpu_goal_us: f64,
) -> Row {
    let row = row(name, work, depth, cpu_share, cpu_goal_us);
    let shape = Shape {
        connections: 9,
        ..row.shape
    };
    Row {
        servers: 3,
        shape,
        ..row
    }
}

const fn shape(work: Work, depth: usize) -> Shape {
    Shape {
        work,
        connections: 8,
        depth,
        size: 128,
        keys: 1000,
    }
}

/// How long each part of a round takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) warming: Duration,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
}

impl Windows {
    /// For the record.
    pub(crate) const FULL: Self = Self {
        warming: Duration::from_secs(5),
        warmup: Duration::from_secs(2),
        measured: Duration::from_secs(5),
    };

    /// For a look.
    pub(crate) const QUICK: Self = Self {
        warming: Duration::from_secs(2),
        warmup: Duration::from_millis(500),
        measured: Duration::from_millis(1500),
    };
}
