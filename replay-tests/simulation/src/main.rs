//! The command `simulate`.

use antiphon_simulation::{Bounds, Campaign, Look, Plan, StoreKind, campaign, live, shrunk};
use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A life asks for many small pieces of memory, and this allocator gives them in half the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Leads the engine through simulated lives, and checks that it keeps its promises.
#[derive(Parser)]
#[command(name = "simulate")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lives many seeds, until a bound is reached or something is broken.
    Run {
        /// How many seeds.
        #[arg(long)]
        seeds: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many inputs the engine is given, in all.
        #[arg(long)]
        steps: Option<u64>,
        /// How long.
        #[arg(long)]
        minutes: Option<f64>,
        /// Where segments are kept.
        #[arg(long, value_enum, default_value_t = Store::Model)]
        store: Store,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Live each of so many seeds twice and compare the traces.
        #[arg(long, default_value_t = 1)]
        twice_every: u64,
        /// In each of so many seeds replay every history at every prefix.
        #[arg(long, default_value_t = 32)]
        prefixes_every: u64,
        /// Go on behind a seed that breaks something, and report the first of each kind.
        #[arg(long)]
        keep_going: bool,
    },
    /// Lives one seed, and shortens it if it breaks something.
    Seed {
        /// The seed.
        seed: u64,
        /// Print every input and effect.
        #[arg(long)]
        trace: bool,
        /// Where segments are kept.
        #[arg(long, value_enum, default_value_t = Store::Model)]
        store: Store,
    },
    /// Plants faults one after the other; each must be noticed. Needs the feature `planted`.
    Planted {
        /// All of them, not only the fifteen of the gate.
        #[arg(long)]
        all: bool,
        /// Only this one.
        #[arg(long)]
        only: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Store {
    /// A light model.
    Model,
    /// The recorder's store in memory.
    Memory,
    /// The real store in a temporary folder.
    Sqlite,
}

impl Store {
    fn kind(self) -> (StoreKind, &'static str) {
        match self {
            Store::Model => (StoreKind::Model, "model"),
            Store::Memory => (StoreKind::Memory, "memory"),
            Store::Sqlite => (StoreKind::Sqlite, "sqlite"),
        }
    }
}

/// From so many steps on each point must have been met.
const ENOUGH_STEPS: u64 = 5_000_000;

/// A run that never ends has a history without one.
const HISTORY_LINES: usize = 200;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { seeds, from, steps, minutes, store, jobs, twice_every, prefixes_every, keep_going } => {
            let unbounded = u64::MAX;
            let time = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
            let seeds = seeds.unwrap_or(if steps.is_none() && time.is_none() { 1_000 } else { unbounded });
            let steps = steps.unwrap_or(unbounded);
            run(Bounds { from, seeds, steps, time, jobs, twice_every, prefixes_every, keep_going }, store)
        }
        Command::Seed { seed, trace, store } => one(seed, trace, store),
        Command::Planted { all, only } => planted(all, only.as_deref()),
    }
}

fn run(bounds: Bounds, store: Store) -> ExitCode {
    let began = Instant::now();
    let found = campaign(bounds, store.kind().0);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let Campaign { seeds, steps, steps_again, runs, prefixes, sometimes, broken } = found;
    println!(
        "{seeds} seeds from {}, {runs} runs, {steps} steps ({steps_again} of them in second lives), {prefixes} prefixes \
         replayed, {:.1} s: {:.1} million steps a minute",
        bounds.from,
        minutes * 60.0,
        steps as f64 / minutes / 1e6
    );
    println!("\nwhat happened, and how often:");
    for (name, count) in sometimes.counts() {
        println!("  {count:>10}  {name}");
    }
    for (seed, broken) in broken.values() {
        println!("\nseed {seed} broke a promise: {broken}");
        report(*seed, store);
    }
    if !broken.is_empty() {
        return ExitCode::FAILURE;
    }
    let never = sometimes.never();
    if steps >= ENOUGH_STEPS && !never.is_empty() {
        println!("\nnever happened in {steps} steps: {}", never.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn one(seed: u64, trace: bool, store: Store) -> ExitCode {
    let life = live(&Plan::of(seed), store.kind().0, Look { every_prefix: true, told: trace });
    life.told.iter().for_each(|line| println!("{line}"));
    match life.broken {
        None => {
            println!("seed {seed} keeps every promise: {} steps, {} runs", life.steps, life.runs);
            ExitCode::SUCCESS
        }
        Some(broken) => {
            println!("seed {seed} broke a promise: {broken}");
            report(seed, store);
            ExitCode::FAILURE
        }
    }
}

/// Says how to repeat it, and shows the shortest form that was found.
fn report(seed: u64, store: Store) {
    let (kind, name) = store.kind();
    println!("repeat it:\n  cargo run --release -p antiphon-simulation --bin simulate -- seed {seed} --store {name}");
    let shortest = shrunk(&Plan::of(seed), kind);
    let life = live(&shortest, kind, Look { every_prefix: true, told: false });
    println!("\nthe shortest form of it:\n{shortest}");
    if let Some(broken) = life.broken {
        println!("\nwhich breaks: {broken}");
    }
    if let Some(history) = life.history {
        println!("\nthe run's history there:");
        history.lines().take(HISTORY_LINES).for_each(|line| println!("{line}"));
    }
}

#[cfg(feature = "planted")]
fn planted(all: bool, only: Option<&str>) -> ExitCode {
    let mut missed = 0;
    for found in antiphon_simulation::faults::plant_each(all, only) {
        println!("{found}");
        missed += usize::from(!found.is_caught());
    }
    println!("{missed} faults were not noticed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "planted"))]
fn planted(_: bool, _: Option<&str>) -> ExitCode {
    println!("this is a build without faults: add `--features planted`");
    ExitCode::FAILURE
}
