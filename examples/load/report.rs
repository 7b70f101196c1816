//! Figures as text.

use std::fmt::Write as _;

use super::{compare::Results, engine::Measured};

/// What one window comes to, in the units of the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) ops_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// CPU time of the servers per operation; 0 where no process was given.
    pub(crate) cpu_us: f64,
    pub(crate) client_cpu_us: f64,
    pub(crate) rss_mib: f64,
}

impl Figures {
    pub(crate) fn of(measured: &Measured) -> Self {
        let ops = measured.ops.max(1) as f64;
        let quantile = |q| measured.latency_ns.value_at_quantile(q) as f64 / 1e3;
        let servers = measured.servers.unwrap_or_default();
        Self {
            ops_per_second: measured.ops as f64 / measured.elapsed.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            cpu_us: servers.cpu.as_secs_f64() * 1e6 / ops,
            client_cpu_us: measured.client_cpu.as_secs_f64() * 1e6 / ops,
            rss_mib: servers.rss as f64 / f64::from(1 << 20),
        }
    }
}

/// A window for a person.
pub(crate) fn paragraph(measured: &Measured) -> String {
    let figures = Figures::of(measured);
    let mut text = format!(
        "{} operations in {:.1} s: {:.0} ops/s\nlatency: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
        measured.ops,
        measured.elapsed.as_secs_f64(),
        figures.ops_per_second,
        figures.p50_us,
        figures.p99_us,
        figures.p999_us,
        measured.latency_ns.max() as f64 / 1e3,
    );
    if measured.servers.is_some() {
        text += &format!(
            "\nservers: {:.2} us CPU per operation, {:.0} MiB resident",
            figures.cpu_us, figures.rss_mib
        );
    }
    text + &format!(
        "\nthis tool: {:.2} us CPU per operation",
        figures.client_cpu_us
    )
}

/// A window on one line.
pub(crate) fn line(figures: &Figures) -> String {
    format!(
        "{:8.0} ops/s  p50 {:6.0} us  p99 {:6.0} us  p99.9 {:6.0} us  CPU {:6.2} us/op (tool {:.2})  {:5.0} MiB",
        figures.ops_per_second,
        figures.p50_us,
        figures.p99_us,
        figures.p999_us,
        figures.cpu_us,
        figures.client_cpu_us,
        figures.rss_mib,
    )
}

/// The markdown table of both sides' medians, and whether ours is no worse anywhere.
pub(crate) fn comparison(results: &[Results]) -> (String, bool) {
    let mut text = String::from(
        "| work | CPU us/op | ops/s | p50 us | p99 us | resident MiB | CPU goal us/op | verdict |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut all_good = true;
    for result in results {
        let pair = |of: fn(&Figures) -> f64| Pair {
            ours: median(&result.ours, of),
            apache: median(&result.apache, of),
        };
        let cpu = pair(|figures| figures.cpu_us);
        let ops = pair(|figures| figures.ops_per_second);
        let p50 = pair(|figures| figures.p50_us);
        let p99 = pair(|figures| figures.p99_us);
        let rss = pair(|figures| figures.rss_mib);
        let worse: Vec<&str> = [
            ("CPU", cpu.ratio() > result.row.cpu_share),
            ("ops/s", ops.ratio() < 1.0),
            ("p50", p50.ratio() > 1.0),
            ("p99", p99.ratio() > 1.0),
        ]
        .into_iter()
        .filter_map(|(name, worse)| worse.then_some(name))
        .collect();
        all_good &= worse.is_empty();
        let verdict = match worse.as_slice() {
            [] => "no worse".to_owned(),
            some => format!("WORSE: {}", some.join(", ")),
        };
        let goal = result.row.cpu_goal_us;
        let met = if cpu.ours <= goal { "met" } else { "missed" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {goal} ({met}) | {verdict} |",
            result.row.name,
            cpu.cell(2),
            ops.cell(0),
            p50.cell(0),
            p99.cell(0),
            rss.cell(0),
        );
    }
    text += "\nEach cell: ours / Apache's (ratio), medians over the rounds.";
    (text, all_good)
}

struct Pair {
    ours: f64,
    apache: f64,
}

impl Pair {
    fn ratio(&self) -> f64 {
        self.ours / self.apache.max(f64::MIN_POSITIVE)
    }

    fn cell(&self, decimals: usize) -> String {
        let Self { ours, apache } = self;
        format!(
            "{ours:.decimals$} / {apache:.decimals$} ({:.2})",
            self.ratio()
        )
    }
}

/// The middle one; of an even number, the mean of the middle two.
fn median(figures: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::rows::ROWS;

    fn figures(ops_per_second: f64, latency_us: f64, cpu_us: f64) -> Figures {
        Figures {
            ops_per_second,
            p50_us: latency_us,
            p99_us: latency_us,
            p999_us: latency_us,
            cpu_us,
            client_cpu_us: 1.0,
            rss_mib: 10.0,
        }
    }

    #[test]
    fn one_bad_round_of_three_decides_nothing() {
        let good = figures(200.0, 50.0, 4.0);
        let bad = figures(1.0, 900.0, 90.0);
        let results = [Results {
            row: &ROWS[0],
            ours: vec![good, bad, good],
            apache: vec![figures(100.0, 100.0, 10.0); 3],
        }];
        let (table, all_good) = comparison(&results);
        assert!(all_good, "{table}");
        assert!(table.contains("| 4.00 / 10.00 (0.40) |"), "{table}");
    }

    #[test]
    fn each_figure_alone_makes_a_row_worse() {
        let apache = figures(100.0, 100.0, 10.0);
        for (ours, what) in [
            (figures(99.0, 100.0, 5.0), "WORSE: ops/s"),
            (figures(100.0, 101.0, 5.0), "WORSE: p50, p99"),
            (figures(100.0, 100.0, 5.1), "WORSE: CPU"),
        ] {
            let results = [Results {
                row: &ROWS[0],
                ours: vec![ours],
                apache: vec![apache],
            }];
            let (table, all_good) = comparison(&results);
            assert!(!all_good && table.contains(what), "{table}");
        }
    }
}
