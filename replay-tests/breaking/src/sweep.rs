//! One small run, and every system call by which it reads or changes its store, made to kill or to fail, one at a time.

use crate::check::{Checker, check_anchor, check_panics, copy_of};
use crate::driver::{Driver, Goal, Load, Why};
use crate::kill::{check, lived};
use crate::process::{Heard, Launch, Victim};
use crate::strace::{self, Call, Fate, Target};
use crate::words::{Ask, FromVictim, ToVictim};
use crate::{Broken, Error, Invariant, Plan, Random, Shape};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a sweep is.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Every how-many-th call; 1 for all.
    pub stride: u64,
    /// The first call of each kind, from 1.
    pub from: u64,
    /// Only calls of this kind on this file.
    pub only: Option<Target>,
    /// Where the stores are.
    pub folder: PathBuf,
    /// The fault in the victims.
    pub planted: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct SweepTally {
    /// Kinds of call on a file.
    pub targets: u64,
    /// Calls that were met.
    pub calls: u64,
    /// Kills in them.
    pub kills: u64,
    /// Failures of them.
    pub failures: u64,
    /// Failures because of which the store did not open, as its engine said.
    pub unopened: u64,
    /// Failures that an engine got over by itself, with the same requests repeated.
    pub got_over: u64,
    /// Failures because of which an engine that was open ended, as it said.
    pub stopped: u64,
    /// Failures that lasted.
    pub lasting: u64,
}

/// Which of two openings the calls are made in.
#[derive(Clone)]
enum Opening {
    /// Nothing is there.
    First,
    /// A killed engine's store is, with a tail to fold: a copy of it, and what is known of it.
    Next(PathBuf, Box<Driver>),
}

/// A run takes some tens of milliseconds, under a tracer a few hundred. One that has not ended by now has met something
/// that lasts, and its engine waits for that to end.
const PATIENCE: Duration = Duration::from_secs(4);
/// A slow disk: what a sync takes.
const SLOW_MS: u64 = 50;

/// Runs a sweep over the first opening of a store and over one after a kill.
pub fn sweep(sweep: &Sweep, tally: &mut SweepTally, told: &mut dyn FnMut(&SweepTally)) -> Result<(), Error> {
    let scratch = tempfile::tempdir_in(&sweep.folder).map_err(Error::io("making a scratch folder"))?;
    let before = scratch.path().join("before");
    let driver = leave_a_tail(&before, scratch.path())?;
    for opening in [Opening::First, Opening::Next(before, Box::new(driver))] {
        let calls = trace(sweep, &opening, scratch.path())?;
        for (target, count) in strace::counts(&calls) {
            if sweep.only.as_ref().is_some_and(|only| *only != target) {
                continue;
            }
            tally.targets += 1;
            for number in (sweep.from.max(1)..=count).step_by(sweep.stride.max(1) as usize) {
                tally.calls += 1;
                let last = number + sweep.stride > count;
                for fate in fates(&target, last) {
                    one(sweep, &opening, &target, number, fate, scratch.path(), tally)?;
                }
            }
            told(tally);
        }
    }
    if sweep.only.is_none() {
        slow_disk(sweep, scratch.path())?;
    }
    Ok(())
}

fn fates(target: &Target, last: bool) -> Vec<Fate> {
    let writes = matches!(target.call.as_str(), "pwrite64" | "write" | "ftruncate" | "openat" | "mkdir");
    let mut fates = vec![Fate::Once("EIO")];
    // A kill in a read is a kill between two writes: those are met as it is.
    if target.call != "pread64" {
        fates.push(Fate::Kill);
    }
    if writes {
        fates.push(Fate::Once("ENOSPC"));
    }
    // An engine that is at work waits until such a failure is over, which costs our whole patience: a few are enough.
    if last && matches!(target.call.as_str(), "pwrite64" | "fsync") && target.file.ends_with("-wal") {
        fates.push(Fate::Always("EIO"));
    }
    fates
}

/// One call of one run meets its fate; then the store is checked, opened without a tracer and brought to its end.
fn one(
    sweep: &Sweep,
    opening: &Opening,
    target: &Target,
    number: u64,
    fate: Fate,
    scratch: &Path,
    tally: &mut SweepTally,
) -> Result<(), Error> {
    let (mut launch, mut driver) = prepare(sweep, opening, scratch)?;
    launch.under = strace::injecting(&launch.store, target, number, fate);
    let patience = if matches!(fate, Fate::Always(_)) { PATIENCE / 4 } else { PATIENCE };
    // What fails in the log is looked at before a fold from memory could make up for it.
    let stops = target.file != "log.db-wal" || !matches!(fate, Fate::Once(_));
    if !stops {
        launch.args = vec!["--archive-ms=100000".to_owned()];
    }
    let ended = perform(&mut driver, launch.start()?, patience, stops);
    let rest = || {
        let (why, victim) = ended?;
        driver.end(victim.kill()?)?;
        match fate {
            Fate::Kill => tally.kills += 1,
            Fate::Once(_) => tally.failures += 1,
            Fate::Always(_) => tally.lasting += 1,
        }
        if matches!(fate, Fate::Once(_)) {
            tally.unopened += u64::from(matches!(why, Why::Unopened(_)));
            tally.got_over += u64::from(matches!(why, Why::Stopped | Why::Acknowledged));
            tally.stopped += u64::from(why == Why::Gone);
        }
        let mut checker = Checker::new(Random::new(number));
        check(&mut checker, &driver, &launch.store, &launch.errors, scratch)?;
        launch.under.clear();
        launch.args.clear();
        driver.begin();
        driver.heal(launch.start()?, &launch.store)?;
        check(&mut checker, &driver, &launch.store, &launch.errors, scratch)?;
        check_anchor(&launch.store)?;
        Ok(())
    };
    rest().map_err(|error: Error| match error {
        Error::Broken(mut broken) => {
            broken.how = format!("{}\n  after call {number} of {target} {fate}", broken.how);
            Error::Broken(broken)
        }
        other => other,
    })
}

/// A fresh folder, or a copy of the store that was left behind, with the books that belong to it.
fn prepare(sweep: &Sweep, opening: &Opening, scratch: &Path) -> Result<(Launch, Driver), Error> {
    let store = scratch.join("store");
    let _ = std::fs::remove_dir_all(&store);
    let mut launch = Launch::new(&store, &scratch.join("errors"))?;
    launch.planted = sweep.planted.clone();
    let driver = match opening {
        Opening::First => Driver::new(Random::new(1), Load::default()),
        Opening::Next(before, driver) => {
            copy_of(before, &store)?;
            Driver::clone(driver)
        }
    };
    Ok((launch, driver))
}

/// The run itself: everything is asked for, everything ends, and the engine stops if it is to.
fn perform(driver: &mut Driver, mut victim: Victim, patience: Duration, stops: bool) -> Result<(Why, Victim), Error> {
    driver.begin();
    let asks = program(driver);
    let mut why = driver.insist(&mut victim, asks, patience)?;
    if why == Why::Acknowledged && stops {
        victim.tell(&ToVictim::Stop);
        let until = Instant::now() + patience;
        why = loop {
            match victim.next(until)? {
                Heard::Silence => break Why::Time,
                Heard::Gone => break Why::Gone,
                Heard::Said(FromVictim::Stopped) => break Why::Stopped,
                Heard::Said(word) => _ = driver.hear(word, &mut victim)?,
            }
        };
    }
    Ok((why, victim))
}

/// A run of most shapes, one of them with a payload that is kept apart.
fn program(driver: &mut Driver) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (shape, steps, bytes) in [
        (Shape::Sequence, 2, 20_000),
        (Shape::Fan, 2, 10),
        (Shape::Counted, 1, 1),
        (Shape::Patient, 1, 10),
        (Shape::Failing, 1, 10),
        (Shape::Once, 1, 10),
        (Shape::Retry, 2, 1),
    ] {
        let Ask::Start { workflow, .. } = driver.start(shape) else { continue };
        let plan = Plan { steps, bytes, salt: u64::from(bytes) };
        asks.push(Ask::Start { workflow: workflow.clone(), shape, plan });
        if shape == Shape::Counted {
            let (name, key) = ("tick".to_owned(), format!("{workflow}-s0"));
            asks.push(Ask::Signal { workflow: workflow.clone(), name, value: 7, key });
        }
        if shape == Shape::Patient {
            asks.push(Ask::Cancel { workflow: workflow.clone() });
        }
        asks.push(Ask::Wait { workflow });
    }
    asks
}

/// A store whose engine was killed with everything still in its log.
fn leave_a_tail(store: &Path, scratch: &Path) -> Result<Driver, Error> {
    let mut launch = Launch::new(store, &scratch.join("errors"))?;
    launch.args = vec!["--archive-ms=100000".to_owned()];
    let mut driver = Driver::new(Random::new(1), Load::default());
    driver.begin();
    let mut victim = launch.start()?;
    let asks = program(&mut driver);
    match driver.insist(&mut victim, asks, PATIENCE)? {
        Why::Acknowledged => driver.end(victim.kill()?).map(|()| driver),
        why => Err(Broken::new(Invariant::Ends, format!("the run was left alone, and ended with {why:?}")).into()),
    }
}

/// The calls of one undisturbed run; they must be in an order that a power cut cannot fault.
fn trace(sweep: &Sweep, opening: &Opening, scratch: &Path) -> Result<Vec<Call>, Error> {
    let trace = scratch.join("trace");
    let (mut launch, mut driver) = prepare(sweep, opening, scratch)?;
    launch.under = strace::counting(&trace);
    let (why, victim) = perform(&mut driver, launch.start()?, PATIENCE, true)?;
    if why != Why::Stopped {
        return Err(Broken::new(Invariant::Ends, format!("the run was left alone, and ended with {why:?}")).into());
    }
    driver.end(victim.kill()?)?;
    let calls = strace::calls(&trace, &launch.store)?;
    check_names_are_synced(&calls)?;
    Ok(calls)
}

/// A new name that is not on the disk is lost, and the old file is back. Some file systems sync the name with the file, so
/// no power cut on those can show it: the calls do. (SQLite syncs the names of its own files.)
fn check_names_are_synced(calls: &[Call]) -> Result<(), Broken> {
    let of_folder = |call: &Call, what: &str| call.target.call == what && call.target.file.is_empty();
    for (place, call) in calls.iter().enumerate() {
        if !call.target.call.starts_with("rename") {
            continue;
        }
        let mut after = calls[place + 1..].iter().filter(|after| after.thread == call.thread);
        let next = after.find(|after| !of_folder(after, "openat"));
        if !next.is_some_and(|next| of_folder(next, "fsync")) {
            let next = next.map(|next| next.target.to_string());
            let how = format!("{} is followed by {next:?}, and not by a sync of the folder", call.target);
            return Err(Broken::new(Invariant::Synced, how));
        }
    }
    // At least one is there, or nothing was looked at.
    match calls.iter().any(|call| call.target.call.starts_with("rename")) {
        true => Ok(()),
        false => Err(Broken::new(Invariant::Synced, "no name was ever changed, not even the anchor's")),
    }
}

/// Every sync takes 50 ms: nothing is lost, nothing is taken from its worker, everything ends.
fn slow_disk(sweep: &Sweep, scratch: &Path) -> Result<(), Error> {
    let (mut launch, _) = prepare(sweep, &Opening::First, scratch)?;
    launch.under = strace::slow(SLOW_MS);
    let mut driver = Driver::new(Random::new(SLOW_MS), Load { starts: 20, ..Load::default() });
    for _ in 0..2 {
        driver.begin();
        let mut victim = launch.start()?;
        lived(driver.life(&mut victim, Goal::after(PATIENCE / 2))?)?;
        driver.end(victim.kill()?)?;
    }
    driver.begin();
    driver.heal(launch.start()?, &launch.store)?;
    check_panics(&launch.errors)?;
    check(&mut Checker::new(Random::new(1)), &driver, &launch.store, &launch.errors, scratch)
}
