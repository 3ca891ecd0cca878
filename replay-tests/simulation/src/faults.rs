//! Plants faults in the core one after the other, and looks whether the simulation notices. A harness that cannot fail
//! shows nothing.

use crate::broken::Broken;
use crate::campaign::{Bounds, campaign};
use crate::life::StoreKind;
use antiphon_history::planted::{FAULTS, Fault, plant};
use std::fmt;

/// The faults that the gate plants: one of each kind of mistake.
const GATE: [&str; 15] = [
    "released-before-durable",
    "token-compared-by-half",
    "late-answer-accepted",
    "timer-rounded-down",
    "combinator-not-woken",
    "engine-restart-costs-nothing",
    "at-most-once-sent-again",
    "signal-id-forgotten",
    "evicted-before-archived",
    "second-run-for-one-id",
    "in-flight-one-too-many",
    "limit-key-dropped-on-retry",
    "drained-worker-chosen",
    "leg-forgotten-at-a-death",
    "discarded-call-runs-again",
];

/// A fault that no seed below this finds is missed.
const SEEDS_MAX: u64 = 40_000;

/// How one fault fared.
#[derive(Debug, Clone)]
pub struct Found {
    fault: Fault,
    caught: Option<(u64, Broken)>,
    seeds: u64,
    steps: u64,
}

impl Found {
    /// Whether it was noticed.
    pub fn is_caught(&self) -> bool {
        self.caught.is_some()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { fault, caught, seeds, steps } = self;
        write!(f, "{}: {}\n  ", fault.name, fault.does)?;
        match caught {
            Some((seed, broken)) => {
                write!(f, "caught at seed {seed}, after {seeds} seeds and {steps} steps: {broken}")?;
                if broken.invariant == fault.invariant {
                    return Ok(());
                }
                write!(f, " [the catalogue names invariant {}]", fault.invariant)
            }
            None => write!(f, "NOT CAUGHT in {seeds} seeds and {steps} steps"),
        }
    }
}

/// Plants each fault of the gate, or all, or one; returns how each fared.
pub fn plant_each(all: bool, only: Option<&str>) -> Vec<Found> {
    let ours = FAULTS.iter().filter(|fault| fault.caught_by == "simulation");
    let chosen = ours.filter(|fault| match only {
        Some(only) => fault.name == only,
        None => all || GATE.contains(&fault.name),
    });
    let found = chosen.map(|fault| {
        plant(Some(fault.name));
        let bounds = Bounds { seeds: SEEDS_MAX, twice_every: 16, prefixes_every: 16, jobs: 2, ..Bounds::default() };
        let campaign = campaign(bounds, StoreKind::Model);
        plant(None);
        Found {
            fault: *fault,
            caught: campaign.broken.into_values().min_by_key(|(seed, _)| *seed),
            seeds: campaign.seeds,
            steps: campaign.steps,
        }
    });
    found.collect()
}
