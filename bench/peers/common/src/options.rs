use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;

/// What one process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One workflow of one activity: alone, with 64 callers, with 1,000.
    W1,
    /// Workflows of ten activities in a row, 64 and 1,000 callers.
    W2,
    /// One workflow that joins many activities.
    W3,
    /// One workflow of many activities in a row, in three lengths.
    W4,
    /// First half of W5: brings workflows in flight, says so, and waits to be killed.
    W5Fill,
    /// Second half of W5: waits until all workflows of the store have completed.
    W5Finish,
    /// Workflows parked on a signal, then woken.
    W6,
}

/// What every driver takes on its command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to run.
    #[arg(long)]
    pub workload: Workload,
    /// A folder on the disk under test; a peer that keeps files keeps them here.
    #[arg(long)]
    pub folder: PathBuf,
    /// Process id of the peer's server or database; its CPU time and memory and those of its children are counted.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Seconds after which a figure ends with what has completed by then.
    #[arg(long, default_value_t = 60)]
    pub cap_s: u64,
}

impl Options {
    /// The longest a figure may take.
    pub fn cap(&self) -> Duration {
        Duration::from_secs(self.cap_s)
    }
}

/// How much of each workload a peer is given. A rate does not depend on it once it is long enough.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// W1: callers and workflows.
    pub one: Vec<(usize, usize)>,
    /// W2: callers and workflows.
    pub ten: Vec<(usize, usize)>,
    /// W3: activities.
    pub fan: u64,
    /// W4: activities.
    pub steps: Vec<u64>,
    /// W5: workflows, of [`Sizes::SLOW_STEPS`] activities each.
    pub in_flight: usize,
    /// W5: what one activity takes.
    pub slow_ms: u64,
    /// W5: how many activities the peer runs at once, if it has a bound.
    pub slots: Option<u64>,
    /// W6: workflows.
    pub parked: usize,
    /// Why this is not [`Sizes::default`].
    pub note: Option<&'static str>,
}

impl Sizes {
    /// W5: activities of each workflow.
    pub const SLOW_STEPS: u64 = 5;

    /// W5: how long after the last start the process is killed.
    pub const KILL_AFTER_MS: u64 = 1_000;

    /// W5: milliseconds from the kill to the end of all, with nothing lost and nothing waiting. Activities that were
    /// under way are carried out again from their beginning.
    pub fn ideal_ms(&self) -> u64 {
        let alone = Self::SLOW_STEPS * self.slow_ms;
        match self.slots {
            None => alone.saturating_sub(Self::KILL_AFTER_MS / self.slow_ms * self.slow_ms),
            Some(slots) => (self.in_flight as u64 * alone / slots).saturating_sub(Self::KILL_AFTER_MS),
        }
    }
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            one: vec![(1, 500), (64, 4_000), (1_000, 6_000)],
            ten: vec![(64, 1_000), (1_000, 2_000)],
            fan: 1_000,
            steps: vec![500, 1_000, 2_000],
            in_flight: 1_000,
            slow_ms: 400,
            slots: None,
            parked: 10_000,
            note: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sizes;

    #[test]
    fn the_ideal_of_a_recovery_counts_the_slots_of_the_peer() {
        assert_eq!(Sizes::default().ideal_ms(), 1_200);
        let few = Sizes { in_flight: 100, slow_ms: 20, slots: Some(4), ..Sizes::default() };
        assert_eq!(few.ideal_ms(), 1_500);
    }
}
