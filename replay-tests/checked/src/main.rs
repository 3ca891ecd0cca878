//! Goes through every state of the protocol between engine and workers and says how many there are.

use antiphon_checked::rules::{Bounds, Kind, Rules};
use antiphon_checked::search::{Found, search};
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

/// Checks the protocol between engine and workers in every state that it can reach.
#[derive(Parser)]
struct Flags {
    /// Which kind of activity; all of them, one after the other, if none is named.
    #[arg(long)]
    kind: Option<Kind>,
    /// As little goes wrong as in the gate.
    #[arg(long)]
    narrow: bool,
    /// Openings of the store, the first one included.
    #[arg(long)]
    openings: Option<u8>,
    /// Times that a worker leaves.
    #[arg(long)]
    leaves: Option<u8>,
    /// Words and bodies lost.
    #[arg(long)]
    lost: Option<u8>,
    /// Words that arrive twice.
    #[arg(long)]
    repeats: Option<u8>,
    /// Batches that may wait for their commit.
    #[arg(long)]
    pending: Option<usize>,
    /// Seconds after which each search gives up.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Threads to search with.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Flags {
    fn bounds(&self, kind: Kind) -> Bounds {
        let usual = if self.narrow { Bounds::narrow(kind) } else { Bounds::wide(kind) };
        Bounds {
            openings: self.openings.unwrap_or(usual.openings),
            leaves: self.leaves.unwrap_or(usual.leaves),
            lost: self.lost.unwrap_or(usual.lost),
            repeats: self.repeats.unwrap_or(usual.repeats),
            pending: self.pending.unwrap_or(usual.pending),
            ..usual
        }
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let kinds = flags.kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    let mut sound = true;
    for kind in kinds {
        let bounds = flags.bounds(kind);
        println!("{kind:?}: {bounds:?}");
        let limit = Duration::from_secs(flags.seconds);
        let found = search(Rules::new(kind, bounds), flags.threads, limit, None);
        let Found { states, steps, depth, took, exhausted, .. } = &found;
        let seconds = took.as_secs_f64();
        let all = if *exhausted { "all states" } else { "given up" };
        println!("{kind:?}: {states} states, {steps} steps, depth {depth}, {seconds:.1} s, {all}");
        for failure in &found.failures {
            println!("  broken: {}", failure.property);
            failure.way.iter().for_each(|action| println!("    {action:?}"));
        }
        sound &= found.failures.is_empty() && *exhausted;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
