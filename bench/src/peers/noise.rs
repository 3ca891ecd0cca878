//! What others do on the machine meanwhile. Nothing spoils a comparison more, and nothing is seen less.

use std::time::{Duration, Instant};

/// Over how long it is looked at: a hundred ticks of the clock that Linux counts CPU time with, on two cores.
const LOOK: Duration = Duration::from_millis(500);

/// What is quiet enough.
const QUIET: f64 = 0.1;

/// The share of all cores that is busy while this run does nothing; `None` where Linux does not say it. Takes half a
/// second.
pub(super) fn others() -> Option<f64> {
    let before = times()?;
    std::thread::park_timeout(LOOK);
    let after = times()?;
    let (busy, all) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    (all > 0).then(|| busy as f64 / all as f64)
}

/// Waits until others use less than a tenth of the machine, at most for `patience`; returns what they use.
pub(super) fn quiet(patience: Duration) -> Option<f64> {
    let end = Instant::now() + patience;
    loop {
        let share = others()?;
        if share < QUIET || Instant::now() >= end {
            return Some(share);
        }
    }
}

fn times() -> Option<(u64, u64)> {
    busy_and_all(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// Busy and all ticks since the machine was started, from the first line of `/proc/stat` (man 5 proc): user, nice,
/// system, idle, waiting for the disk, two kinds of interrupts, stolen.
fn busy_and_all(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

#[cfg(test)]
mod tests {
    use super::busy_and_all;

    #[test]
    fn idle_time_and_waiting_for_the_disk_are_not_busy() {
        assert_eq!(busy_and_all("cpu  10 1 5 100 30 0 2 3 7 7\ncpu0 1 1 1 1\n"), Some((21, 151)));
        assert_eq!(busy_and_all(""), None);
    }
}
