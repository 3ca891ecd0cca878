//! Many seeds, on several threads, each with a world of its own.

use crate::broken::Broken;
use crate::life::{Look, StoreKind, live};
use crate::plan::Plan;
use crate::sometimes::Sometimes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far a campaign goes: it ends at the first of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The first seed.
    pub from: u64,
    /// Seeds.
    pub seeds: u64,
    /// Steps.
    pub steps: u64,
    /// Time.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Each of how many seeds is lived twice, to compare the traces.
    pub twice_every: u64,
    /// In each of how many seeds every history is replayed at every prefix; in the others one history at one.
    pub prefixes_every: u64,
    /// Go on behind a seed that breaks something, and keep the first of each kind.
    pub keep_going: bool,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let unbounded = u64::MAX;
        Bounds {
            from: 0,
            seeds: unbounded,
            steps: unbounded,
            time: None,
            jobs: 1,
            twice_every: 1,
            prefixes_every: 32,
            keep_going: false,
        }
    }
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// Seeds that were lived.
    pub seeds: u64,
    /// Inputs that the engine took, in first lives and in second ones.
    pub steps: u64,
    /// Of these, in second lives.
    pub steps_again: u64,
    /// Runs, each of a random program.
    pub runs: u64,
    /// Prefixes that were replayed.
    pub prefixes: u64,
    /// What was met.
    pub sometimes: Sometimes,
    /// What was broken: the first seed of each kind, by what was found.
    pub broken: BTreeMap<&'static str, (u64, Broken)>,
}

/// Lives seeds until a bound is reached or something is broken.
pub fn campaign(bounds: Bounds, store: StoreKind) -> Campaign {
    let (next, steps, stop) = (AtomicU64::new(bounds.from), AtomicU64::new(0), AtomicBool::new(false));
    let end = bounds.from.saturating_add(bounds.seeds);
    let total = Mutex::new(Campaign::default());
    let began = Instant::now();
    let work = || {
        let mut own = Campaign::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || bounds.time.is_some_and(|time| began.elapsed() >= time) {
                break;
            }
            let taken = one(seed, store, &bounds, &mut own);
            let all = steps.fetch_add(taken, Ordering::Relaxed) + taken;
            if all >= bounds.steps || !own.broken.is_empty() && !bounds.keep_going {
                stop.store(true, Ordering::Relaxed);
            }
        }
        total.lock().unwrap_or_else(PoisonError::into_inner).add(own);
    };
    std::thread::scope(|scope| (0..bounds.jobs.max(1)).for_each(|_| _ = scope.spawn(work)));
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Lives one seed, and again where it is its turn; returns the steps.
fn one(seed: u64, store: StoreKind, bounds: &Bounds, total: &mut Campaign) -> u64 {
    let plan = Plan::of(seed);
    let look = Look { every_prefix: seed.is_multiple_of(bounds.prefixes_every.max(1)), told: false };
    let life = live(&plan, store, look);
    let mut taken = life.steps;
    total.seeds += 1;
    total.runs += life.runs;
    total.prefixes += life.prefixes;
    total.sometimes.add(&life.sometimes);
    let mut broken = life.broken;
    if broken.is_none() && seed.is_multiple_of(bounds.twice_every.max(1)) {
        let again = live(&plan, store, Look { every_prefix: false, told: false });
        taken += again.steps;
        total.steps_again += again.steps;
        if again.digest != life.digest {
            broken = Some(Broken::new(
                3,
                "the same seed gave another trace",
                format!("{} and {} steps", life.steps, again.steps),
            ));
        }
    }
    total.steps += taken;
    if let Some(broken) = broken {
        total.broken.entry(broken.what).or_insert((seed, broken));
    }
    taken
}

impl Campaign {
    fn add(&mut self, other: Campaign) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.steps_again += other.steps_again;
        self.runs += other.runs;
        self.prefixes += other.prefixes;
        self.sometimes.add(&other.sometimes);
        for (what, theirs) in other.broken {
            let ours = self.broken.entry(what).or_insert_with(|| theirs.clone());
            if theirs.0 < ours.0 {
                *ours = theirs;
            }
        }
    }
}
