//! `breaking`: storms against a real engine. Exit code 1: an invariant is broken, or the harness is blind.

use antiphon_breaking::strace::{self, Target};
use antiphon_breaking::{
    self as breaking, CutTally, Cuts, Error, Lost, Peer, Settings, Storm, Sweep, SweepTally, Tally,
};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Kills, power cuts and failing system calls against a real engine")]
struct Arguments {
    /// Where stores and images are made. Default: the system's folder for temporary files.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill -9 at random moments.
    Kill {
        /// How many.
        #[arg(long, default_value_t = 300)]
        kills: u64,
        /// Chooses moments, requests and settings.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Run bodies in so many worker processes of each victim, and kill these too.
        #[arg(long, default_value_t = 0)]
        workers: u32,
    },
    /// Power cuts on a file system of our own. Needs root and a loop device.
    Cut {
        /// How many.
        #[arg(long, default_value_t = 50)]
        cuts: u64,
        /// Chooses moments, requests and settings.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Every system call of a small run, made to kill or to fail. Needs strace.
    Sweep {
        /// Every how-many-th call; 1 for all.
        #[arg(long, default_value_t = 1)]
        stride: u64,
        /// The first call of each kind, from 1.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Only this call, with --file.
        #[arg(long, requires = "file")]
        call: Option<String>,
        /// Only on this file of the store.
        #[arg(long, requires = "call")]
        file: Option<String>,
    },
    /// Mistakes on purpose in the engine, each of which must be noticed.
    #[cfg(feature = "planted")]
    Planted {
        /// Only these.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Another engine under cuts or kills: what it lost of what it had acknowledged.
    Peer {
        /// Its program, which takes `serve <folder>` and `status <folder>`. Default: Antiphon.
        program: Option<PathBuf>,
        /// Further arguments for it.
        #[arg(long)]
        arg: Vec<String>,
        /// Kills instead of power cuts.
        #[arg(long)]
        kills: bool,
        /// How many.
        #[arg(long, default_value_t = 50)]
        count: u64,
        /// Chooses moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Antiphon as a peer.
    #[command(hide = true)]
    PeerServe {
        /// The store.
        store: PathBuf,
    },
    /// Antiphon as a peer that is asked what is left.
    #[command(hide = true)]
    PeerStatus {
        /// The store.
        store: PathBuf,
    },
    /// An engine that is to be broken.
    #[command(hide = true)]
    Victim(Settings),
    /// An opening of a store that is to be broken.
    #[command(hide = true)]
    Open {
        /// The store.
        store: PathBuf,
    },
}

fn main() -> ExitCode {
    let Arguments { folder, what } = Arguments::parse();
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    match run(what, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What, folder: PathBuf) -> Result<(), Error> {
    let begun = Instant::now();
    match what {
        What::Kill { kills, seed, workers } => {
            println!("breaking kill --kills {kills} --seed {seed} --workers {workers}");
            let storm = Storm { kills, seed, folder, planted: None, workers };
            let mut tally = Tally::default();
            breaking::storm(&storm, &mut tally, &mut |tally| progress("kills", tally.kills, kills, begun))?;
            print_tally(&tally, begun);
        }
        What::Cut { cuts, seed } => {
            println!("breaking cut --cuts {cuts} --seed {seed}");
            cut(&Cuts { cuts, seed, folder, planted: None, process_durability: false }, begun)?;
        }
        What::Sweep { stride, from, call, file } => {
            println!("breaking sweep --stride {stride} --from {from}");
            let only = call.zip(file).map(|(call, file)| Target { call, file });
            sweep(&Sweep { stride, from, only, folder, planted: None }, begun)?;
        }
        #[cfg(feature = "planted")]
        What::Planted { only, seed } => {
            let planting = breaking::Planting { only, seed, folder };
            let noticed = breaking::planted(&planting, &mut |line| println!("{line}"))?;
            println!("{noticed} faults planted, and all of them noticed; {:.1} s", begun.elapsed().as_secs_f64());
        }
        What::Peer { program, arg, kills, count, seed } => {
            let lost = breaking::peer(&Peer { program, args: arg, kills, count, seed, folder })?;
            let Lost { started, starts_lost, completed, ends_lost, losing, unopened } = lost;
            println!(
                "{count} {}: {starts_lost} of {started} acknowledged starts gone, {ends_lost} of {completed} told ends gone, \
                 something gone in {losing}, unopened {unopened}; {:.1} s",
                if kills { "kills" } else { "cuts" },
                begun.elapsed().as_secs_f64()
            );
        }
        What::PeerServe { store } => breaking::run_peer(&store, true)?,
        What::PeerStatus { store } => breaking::run_peer(&store, false)?,
        What::Victim(settings) => breaking::run_victim(&settings)?,
        What::Open { store } => breaking::open_only(&store)?,
    }
    Ok(())
}

fn cut(cuts: &Cuts, begun: Instant) -> Result<(), Error> {
    match breaking::check_that_cuts_cut(&cuts.folder, cuts.seed) {
        Ok((broken, tried)) => println!("without syncs, cut {tried} lost what was acknowledged: {broken}"),
        Err(error @ (Error::Command { .. } | Error::Io { .. })) => {
            println!("skipped: this machine does not let us make a file system of our own ({error})");
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let mut tally = CutTally::default();
    breaking::cuts(cuts, &mut tally, &mut |tally| progress("cuts", tally.cuts(), cuts.cuts, begun))?;
    let CutTally { working, stopping, creating, migrating, without_journal, tally } = tally;
    println!(
        "{working} cuts at work, {stopping} while stopping, {creating} while making a store, {migrating} while bringing one \
         to the newest format; {without_journal} of them without a journal"
    );
    print_tally(&tally, begun);
    Ok(())
}

fn sweep(sweep: &Sweep, begun: Instant) -> Result<(), Error> {
    if let Some(why) = strace::missing() {
        println!("skipped: there is no strace to make system calls fail with ({why})");
        return Ok(());
    }
    let mut tally = SweepTally::default();
    let told = &mut |tally: &SweepTally| println!("  {} calls, {:.0} s", tally.calls, begun.elapsed().as_secs_f64());
    breaking::sweep(sweep, &mut tally, told)?;
    let SweepTally { targets, calls, kills, failures, unopened, got_over, stopped, lasting } = tally;
    println!(
        "{calls} calls of {targets} kinds: {kills} kills, {failures} failures ({unopened} kept the store from opening, \
         {got_over} were got over, {stopped} ended the engine), {lasting} that lasted, and a slow disk\n\
         every invariant holds; {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn progress(what: &str, done: u64, of: u64, begun: Instant) {
    println!("  {done} of {of} {what}, {:.0} s", begun.elapsed().as_secs_f64());
}

fn print_tally(tally: &Tally, begun: Instant) {
    let Tally { kills, while_open, workers_killed, pauses, turned_away, stores, .. } = tally;
    println!(
        "{kills} kills, {while_open} of open stores, {workers_killed} of worker processes, {pauses} freezes, {turned_away} second engines refused, {stores} stores"
    );
    let Tally { acknowledgements, repeated, unknown, bodies, looked, .. } = tally;
    println!(
        "{acknowledgements} acknowledgements, {repeated} requests repeated, {unknown} without an answer, {bodies} bodies begun"
    );
    let breaking::Looked { checks, runs, events, prefixes } = looked;
    println!("{checks} checks of {runs} runs with {events} events, {prefixes} prefixes replayed");
    println!("every invariant holds; {:.1} s", begun.elapsed().as_secs_f64());
}
