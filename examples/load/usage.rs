//! What processes have used, from `/proc`.

use std::{fs, time::Duration};

use super::Result;

/// CPU time and memory of several processes together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time since they were started.
    pub(crate) cpu: Duration,
    /// Resident memory (VmRSS), in bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// The CPU time since `earlier`, and the memory as it is now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            rss: self.rss,
        }
    }
}

/// The usage of these processes as it is now.
pub(crate) fn of(pids: &[u32]) -> Result<Usage> {
    let mut sum = Usage::default();
    for pid in pids {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|error| format!("process {pid}: {error}"))
        };
        let cpu = cpu_ticks(&read("stat")?).ok_or("/proc/PID/stat is not as expected")?;
        let rss = rss_kib(&read("status")?).ok_or("/proc/PID/status is not as expected")?;
        sum.cpu += Duration::from_secs(1) * cpu / ticks_per_second();
        sum.rss += rss * 1024;
    }
    Ok(sum)
}

fn ticks_per_second() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

/// Fields 14 and 15, utime and stime; the second field is in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 8 0 999 1 2";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(rss_kib("VmPeak: 9 kB\nVmRSS:\t  2048 kB\n"), Some(2048));
    }
}
