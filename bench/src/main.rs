//! Measures Antiphon from the outside, through its public API, with `synchronous=FULL`.
//!
//! | workload | question |
//! |---|---|
//! | W1 | what does one durable activity cost: alone, with 64 callers, with 1,000? |
//! | W2 | how many activities a second in workflows of ten in a row, 64 callers and 1,000? |
//! | W3 | how long do 1,000 activities at once take, joined? |
//! | W4 | does a sequence cost the same per step however long it is? |
//! | W5 | 1,000 workflows in flight, kill -9, restart: how long above what had to pass, and is anything lost? |
//! | W6 | 10,000 workflows that wait: how long to start them, what do they weigh, how long to wake them? |
//! | steady | W1 with 64 callers for ten seconds: how far is p99 from p50 while archive and checkpoints run? |
//!
//! Every rate is printed with the syncs per activity beside it, so that a durable figure cannot be mistaken for one that
//! is not, and with the raw limits of the same round. Medians over the rounds. Each workload has a process and a store of
//! its own.
//!
//! | file | has |
//! |---|---|
//! | `alone`, `targets`, `profile`, `curves`, `stores`, `overload`, `peers` | the commands |
//! | `workloads`, `recovery`, `parked`, `points`, `replaying`, `storm`, `raw` | what is run |
//! | `flows`, `load` | the workflows, and the callers that ask for them |
//! | `child`, `limit` | processes of their own, and a bound on their memory |
//! | `measure`, `proc`, `table`, `results` | figures: taken, read from the system, printed, kept |

mod alone;
mod child;
mod curves;
mod flows;
mod limit;
mod load;
mod measure;
mod overload;
mod parked;
mod peers;
mod points;
mod proc;
mod profile;
mod raw;
mod recovery;
mod replaying;
mod results;
mod stores;
mod storm;
mod table;
mod targets;
mod workloads;

use clap::{Parser, Subcommand};

/// Why a command did not come to its end.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Measures Antiphon. Without a command: `alone`.
#[derive(Parser, Debug)]
#[command(
    name = "bench",
    args_conflicts_with_subcommands = true,
    after_help = "Example: cargo run --release -p antiphon-bench -- --rounds 3 --only w1,w2"
)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    alone: alone::Options,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Workloads W1 to W6 and the steady load on the embedded engine.
    Alone(alone::Options),
    /// Everything that has a target, and whether it is met.
    Targets(targets::Options),
    /// Costs over history length, live runs, store size, payload and fan-out.
    Curves(curves::Options),
    /// Very many runs that wait for timers: memory, new runs beside them, opening again.
    Parked(stores::Options),
    /// Very many finished runs: opening, and the rate beside them.
    Store(stores::Options),
    /// Ten times the load that it can take, under a memory limit, and the calm after it.
    Overload(overload::Options),
    /// Antiphon and other engines on the same workloads in one run: medians and ratios.
    Peers(peers::PeerOptions),
    /// One workload under `perf`: the shares of CPU by kind of work and by thread.
    Profile(profile::Options),
    /// A part of another command, in a process of its own.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        job: child::Job,
    },
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        None => alone::run(&options.alone),
        Some(Command::Alone(options)) => alone::run(options),
        Some(Command::Targets(options)) => targets::run(options),
        Some(Command::Curves(options)) => curves::run(options),
        Some(Command::Parked(options)) => stores::run("timers", options),
        Some(Command::Store(options)) => stores::run("finished", options),
        Some(Command::Overload(options)) => overload::run(options),
        Some(Command::Peers(options)) => peers::run(options),
        Some(Command::Profile(options)) => profile::run(options),
        Some(Command::Child { job }) => block_on(child::run(job)),
    }
}

/// Runs callers and activities on a thread per core.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
