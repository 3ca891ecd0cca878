//! Mistakes on purpose in the engine under test: a harness that does not notice them is worth nothing.

use crate::strace::Target;
use crate::{Broken, CutTally, Cuts, Error, Storm, Sweep, SweepTally, Tally, cuts, storm, strace, sweep};
use antiphon_history::planted::{FAULTS, Fault, plant};
use std::path::{Path, PathBuf};

/// Which of the harnesses is to notice a fault.
#[derive(Clone, Copy, Debug)]
enum By {
    Kills,
    /// Power cuts, at most so many.
    Cuts,
    /// Failures of one call on one file.
    Calls(&'static str, &'static str),
    /// The order of calls in an undisturbed run.
    Order,
}

/// The faults of the parts that this harness breaks. The others of the catalogue belong to others.
const NOTICED: [(&str, By); 17] = [
    ("acknowledge-before-durable", By::Kills),
    ("log-not-synced", By::Cuts),
    ("archive-not-synced", By::Cuts),
    ("anchor-not-written", By::Kills),
    ("anchor-ahead-of-log", By::Kills),
    ("log-pruned-before-archived", By::Kills),
    ("watermark-before-batch", By::Kills),
    ("segment-chain-not-checked", By::Kills),
    ("folder-not-synced", By::Order),
    ("unknown-taken-as-applied", By::Calls("pwrite64", "log.db-wal")),
    ("released-though-failed", By::Calls("pwrite64", "log.db-wal")),
    ("payload-left-out", By::Kills),
    ("tail-not-folded", By::Kills),
    ("open-runs-forgotten", By::Kills),
    ("lock-not-minded", By::Kills),
    ("half-creation-refused", By::Calls("unlink", "log.db-journal")),
    ("upgraded-in-two-steps", By::Cuts),
];

/// Most kills and cuts for one fault.
const KILLS: u64 = 1_000;
const CUTS: u64 = 400;

/// Which faults are planted, and where.
#[derive(Clone, Debug)]
pub struct Planting {
    /// By name; all if there is none.
    pub only: Vec<String>,
    /// The first seed.
    pub seed: u64,
    /// Where the stores are.
    pub folder: PathBuf,
}

/// Plants one fault after the other; each must break an invariant. What the machine does not allow is said and left out.
pub fn planted(planting: &Planting, tell: &mut dyn FnMut(&str)) -> Result<u64, Error> {
    let (mut noticed, mut missed) = (0, Vec::new());
    for (name, by) in NOTICED {
        if !planting.only.is_empty() && !planting.only.iter().any(|only| only == name) {
            continue;
        }
        let fault = FAULTS.iter().find(|fault| fault.name == name);
        let fault = fault.ok_or_else(|| Error::Unnoticed(format!("{name}, which is not in the catalogue,")))?;
        // Here too: the checker opens copies of stores with the same code.
        let in_checks = (name == "segment-chain-not-checked").then_some(name);
        plant(in_checks);
        let found = notice(fault, by, planting);
        plant(None);
        match found {
            Ok((broken, tries)) => {
                noticed += 1;
                tell(&format!("{name}: {}\n  after {tries}: {}", fault.does, first_lines(&broken)));
            }
            Err(error @ (Error::Command { .. } | Error::Io { .. })) => tell(&format!("{name}: skipped: {error}")),
            Err(Error::Unnoticed(what)) => {
                tell(&format!("{what} was not noticed"));
                missed.push(name);
            }
            Err(error) => return Err(error),
        }
    }
    if missed.is_empty() { Ok(noticed) } else { Err(Error::Unnoticed(missed.join(", "))) }
}

/// The invariant and how it broke; the events are for whoever repeats it.
fn first_lines(broken: &Broken) -> String {
    let text: String = broken.to_string().lines().take(3).collect::<Vec<_>>().join("\n  ");
    text.chars().take(600).collect()
}

fn notice(fault: &Fault, by: By, planting: &Planting) -> Result<(Broken, String), Error> {
    let (folder, name) = (&planting.folder, fault.name);
    match by {
        By::Kills => by_kills(name, planting.seed, folder),
        By::Cuts => by_cuts(name, planting.seed, folder),
        By::Calls(call, file) => {
            let only = Target { call: call.to_owned(), file: file.to_owned() };
            by_calls(name, Some(only), folder)
        }
        By::Order => by_calls(name, Some(Target { call: String::new(), file: String::new() }), folder),
    }
}

fn by_kills(name: &str, seed: u64, folder: &Path) -> Result<(Broken, String), Error> {
    let mut kills = 0;
    for seed in seed.. {
        // Short storms: what shows only at the end of one has its chance as often.
        let one = Storm { kills: 20, seed, folder: folder.to_owned(), planted: Some(name.to_owned()), workers: 0 };
        let mut tally = Tally::default();
        match storm(&one, &mut tally, &mut |_| {}) {
            Err(Error::Broken(broken)) => {
                return Ok((*broken, format!("{} kills (seed {seed})", kills + tally.kills)));
            }
            Err(other) => return Err(other),
            Ok(()) => kills += tally.kills,
        }
        if kills >= KILLS {
            break;
        }
    }
    Err(Error::Unnoticed(format!("{name}, in {kills} kills,")))
}

fn by_cuts(name: &str, seed: u64, folder: &Path) -> Result<(Broken, String), Error> {
    let mut done = 0;
    for seed in seed.. {
        let planted = Some(name.to_owned());
        let one = Cuts { cuts: 25, seed, folder: folder.to_owned(), planted, process_durability: false };
        let mut tally = CutTally::default();
        match cuts(&one, &mut tally, &mut |_| {}) {
            Err(Error::Broken(broken)) => {
                return Ok((*broken, format!("{} cuts (seed {seed})", done + tally.cuts())));
            }
            Err(other) => return Err(other),
            Ok(()) => done += tally.cuts(),
        }
        if done >= CUTS {
            break;
        }
    }
    Err(Error::Unnoticed(format!("{name}, in {done} cuts,")))
}

fn by_calls(name: &str, only: Option<Target>, folder: &Path) -> Result<(Broken, String), Error> {
    if let Some(why) = strace::missing() {
        return Err(Error::Command { command: "strace".to_owned(), said: why });
    }
    let one = Sweep { stride: 1, from: 1, only, folder: folder.to_owned(), planted: Some(name.to_owned()) };
    let mut tally = SweepTally::default();
    match sweep(&one, &mut tally, &mut |_| {}) {
        Err(Error::Broken(broken)) => Ok((*broken, format!("{} calls", tally.calls))),
        Err(other) => Err(other),
        Ok(()) => Err(Error::Unnoticed(format!("{name}, in {} calls,", tally.calls))),
    }
}
