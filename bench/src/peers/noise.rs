//! What others do on the machine meanwhile. Nothing spoils a comparison more, and nothing is seen less.

use std::time::{Duration, Instant};

/// Above this share of all cores, used by others, a figure says more about them. The kernel's own work for a part, such
/// as writing back, counts among others and stays below.
pub(super) const QUIET: f64 = 0.15;

/// Over how long a moment is: a hundred ticks of the clock that Linux counts CPU time with, on two cores.
const MOMENT: Duration = Duration::from_millis(500);

/// Waits for a moment in which others leave the machine alone, at most for `patience`. Nothing of this run may be at work.
pub(super) fn wait_for_quiet(patience: Duration) {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let meter = Meter::start(None);
        std::thread::park_timeout(MOMENT);
        if meter.others().is_none_or(|share| share < QUIET) {
            return;
        }
    }
}

/// Measures what others use from its start on.
pub(super) struct Meter {
    server: Option<u32>,
    start: Option<Ticks>,
}

struct Ticks {
    busy: u64,
    all: u64,
    own: u64,
}

impl Meter {
    /// This process, its children, and the server `server` with its children are not others.
    pub(super) fn start(server: Option<u32>) -> Meter {
        Meter { server, start: Ticks::now(server) }
    }

    /// The share of all cores that others have used; `None` where Linux does not say it. Children of this process must
    /// have ended and been waited for.
    pub(super) fn others(&self) -> Option<f64> {
        let (before, after) = (self.start.as_ref()?, Ticks::now(self.server)?);
        let (busy, own, all) = (after.busy - before.busy, after.own - before.own, after.all - before.all);
        (all > 0).then(|| busy.saturating_sub(own) as f64 / all as f64)
    }
}

impl Ticks {
    fn now(server: Option<u32>) -> Option<Ticks> {
        let (busy, all) = busy_and_all(&read("stat")?)?;
        let server = server.map_or(Some(0), |pid| {
            let children = read(&format!("{pid}/task/{pid}/children"))?;
            let pids = children.split_whitespace().map(str::to_owned).chain([pid.to_string()]);
            // A process that has just ended is counted by its parent.
            Some(pids.filter_map(|pid| with_children(&read(&format!("{pid}/stat"))?)).sum())
        })?;
        Some(Ticks { busy, all, own: with_children(&read("self/stat")?)? + server })
    }
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{file}")).ok()
}

/// Busy and all ticks since the machine was started, from the first line of `/proc/stat` (man 5 proc): user, nice,
/// system, idle, waiting for the disk, two kinds of interrupts, stolen.
fn busy_and_all(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

/// Ticks of a process and of its children that have ended: fields 14 to 17 of its `stat`. Counted behind the name, which
/// may hold spaces.
fn with_children(stat: &str) -> Option<u64> {
    let fields = stat.rsplit(')').next()?.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_waiting_for_the_disk_are_not_busy() {
        assert_eq!(busy_and_all("cpu  10 1 5 100 30 0 2 3 7 7\ncpu0 1 1 1 1\n"), Some((21, 151)));
        assert_eq!(busy_and_all(""), None);
    }

    #[test]
    fn children_that_have_ended_are_counted() {
        assert_eq!(with_children("42 (a b) S 7 42 42 0 -1 0 1 2 3 4 10 20 30 40 20 0"), Some(100));
        assert_eq!(with_children("42 (a b) S 7"), None);
    }
}
