//! `kill -9` at random moments, again and again, on one store.

use crate::check::{Checker, Evidence, Looked, check_anchor, check_damage_is_refused, check_panics, check_rebuilt};
use crate::driver::{Driver, Goal, Load, Why};
use crate::process::{Heard, Launch, Victim};
use crate::words::{FromVictim, ToVictim};
use crate::{Broken, Error, Invariant, Random, workers};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a storm is.
#[derive(Clone, Debug)]
pub struct Storm {
    /// How many kills.
    pub kills: u64,
    /// Chooses moments, requests and settings.
    pub seed: u64,
    /// Where the stores are.
    pub folder: PathBuf,
    /// The fault in the victims.
    pub planted: Option<String>,
    /// How many worker processes each victim has, which are killed too. 0: bodies run in the victim.
    pub workers: u32,
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Kills.
    pub kills: u64,
    /// Kills after the store was open.
    pub while_open: u64,
    /// Kills of worker processes.
    pub workers_killed: u64,
    /// Freezes.
    pub pauses: u64,
    /// Second engines that were turned away.
    pub turned_away: u64,
    /// Stores.
    pub stores: u64,
    /// Requests that were acknowledged.
    pub acknowledgements: u64,
    /// Requests that were repeated.
    pub repeated: u64,
    /// Requests whose outcome stayed unknown.
    pub unknown: u64,
    /// Bodies that began.
    pub bodies: u64,
    /// What the checker looked at.
    pub looked: Looked,
}

impl Tally {
    /// Adds what came of one store.
    pub(crate) fn add(&mut self, driver: &Driver, checker: &Checker) {
        let notes = &driver.notes;
        self.stores += 1;
        self.acknowledgements += notes.acknowledgements;
        self.repeated += notes.repeated;
        self.unknown += notes.unknown;
        self.bodies += driver.ledger.begun();
        self.looked.add(checker.looked);
    }
}

/// Kills on one store: then it is healed, checked once more, and the next one is made.
const ROUND: u64 = 100;
/// Kills between two checks.
const CHECK_EVERY: u64 = 50;
/// How long victims live, in milliseconds: from inside the opening to well past several archive batches.
const LIFE_MS: (u64, u64) = (5, 200);

/// Victims with worker processes live so many times as long: their processes must start first.
const WORKERS_COME_UP: u32 = 3;

/// Runs a storm, and adds up what came of it. The first broken invariant ends it.
pub fn storm(storm: &Storm, tally: &mut Tally, told: &mut dyn FnMut(&Tally)) -> Result<(), Error> {
    let mut random = Random::new(storm.seed);
    while tally.kills < storm.kills {
        let kills = ROUND.min(storm.kills - tally.kills);
        round(storm, kills, &mut random.part(), tally)?;
        told(tally);
    }
    Ok(())
}

fn round(storm: &Storm, kills: u64, random: &mut Random, tally: &mut Tally) -> Result<(), Error> {
    let scratch = tempfile::tempdir_in(&storm.folder).map_err(Error::io("making a scratch folder"))?;
    let (store, errors) = (scratch.path().join("store"), scratch.path().join("errors"));
    let mut launch = Launch::new(&store, &errors)?;
    (launch.planted, launch.workers) = (storm.planted.clone(), storm.workers);
    // Some rounds are heavy, so that write-ahead logs fill up and are moved.
    let bytes = if random.percent(15) { 200_000 } else { 3_000 };
    let mut driver = Driver::new(random.part(), Load { bytes, ..Load::default() });
    let mut checker = Checker::new(random.part());
    for number in 1..=kills {
        settings(&mut launch, random);
        let mut victim = launch.start()?;
        driver.begin();
        live(&mut driver, &mut victim, &launch, random, tally)?;
        driver.end(victim.kill()?)?;
        tally.kills += 1;
        tally.while_open += u64::from(driver.opened);
        if number % CHECK_EVERY == 0 && number < kills {
            check(&mut checker, &driver, &store, &errors, scratch.path())?;
        }
    }
    if store.join("archive.db").exists() && driver.notes.acknowledgements > 0 {
        check(&mut checker, &driver, &store, &errors, scratch.path())?;
    }
    driver.begin();
    launch.args.clear();
    let victim = launch.start()?;
    driver.heal(victim, &store)?;
    check(&mut checker, &driver, &store, &errors, scratch.path())?;
    check_anchor(&store)?;
    tally.add(&driver, &checker);
    Ok(())
}

/// Draws how often a victim archives and anchors: the usual, and much more often, so that kills meet these too.
pub(crate) fn settings(launch: &mut Launch, random: &mut Random) {
    let (archive, anchor) = (random.one_of(&[1, 10, 200]), random.one_of(&[1, 20, 100]));
    launch.args = vec![format!("--archive-ms={archive}"), format!("--anchor-ms={anchor}")];
}

/// One life, with a freeze or a second engine in some.
fn live(
    driver: &mut Driver,
    victim: &mut Victim,
    launch: &Launch,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), Error> {
    let mut life = Duration::from_millis(random.spread(LIFE_MS.0, LIFE_MS.1));
    if launch.workers > 0 {
        life *= WORKERS_COME_UP;
        for _ in 0..random.below(4) {
            lived(driver.life(victim, Goal::after(life / 4))?)?;
            // Not before the store is open: an engine whose workers do not come up does not start, rightly.
            tally.workers_killed += u64::from(driver.opened && workers::kill_one(victim, random));
        }
    }
    match random.below(100) {
        ..8 => {
            lived(driver.life(victim, Goal::after(life / 2))?)?;
            victim.pause(true);
            // Answers that it had given before are heard, and nothing is sent: its ears are closed.
            let until = Instant::now() + Duration::from_millis(5 + random.below(60));
            let mut heard = Vec::new();
            while let Heard::Said(word) = victim.next(until)? {
                heard.push(word);
            }
            victim.pause(false);
            for word in heard {
                driver.hear(word, victim)?;
            }
            tally.pauses += 1;
            lived(driver.life(victim, Goal::after(life / 2))?)?;
        }
        8..16 => {
            lived(driver.life(victim, Goal::after(life))?)?;
            if driver.opened {
                turned_away(launch)?;
                tally.turned_away += 1;
            }
        }
        16..22 => {
            lived(driver.life(victim, Goal::after(life))?)?;
            begin_to_stop(driver, victim, random)?;
        }
        _ => lived(driver.life(victim, Goal::after(life))?)?,
    }
    Ok(())
}

/// Asks for a stop in good order and lets some of it happen: the last fold, the checkpoint, the anchor.
pub(crate) fn begin_to_stop(driver: &mut Driver, victim: &mut Victim, random: &mut Random) -> Result<(), Error> {
    victim.tell(&ToVictim::Stop);
    let until = Instant::now() + Duration::from_micros(random.spread(20, 20_000));
    while let Heard::Said(word) = victim.next(until)? {
        driver.hear(word, victim)?;
    }
    Ok(())
}

/// A victim may live until it is killed, and nothing else.
pub(crate) fn lived(why: Why) -> Result<(), Broken> {
    match why {
        Why::Time | Why::Acknowledged => Ok(()),
        Why::Gone | Why::Stopped => Err(Broken::new(Invariant::NoPanic, "the process ended by itself")),
        Why::Unopened(text) => Err(Broken::new(Invariant::Opens, text)),
    }
}

/// A second engine on a store that is open must be refused, by name.
fn turned_away(launch: &Launch) -> Result<(), Error> {
    let mut second = launch.start()?;
    match second.next(Instant::now() + Duration::from_secs(10))? {
        Heard::Said(FromVictim::Unopened { text }) if text.contains("A0003") => Ok(()),
        other => Err(Broken::new(Invariant::Opens, format!("a second engine on the folder: {other:?}")).into()),
    }
}

/// Everything that can be seen of a store that nobody has open.
pub(crate) fn check(
    checker: &mut Checker,
    driver: &Driver,
    store: &Path,
    errors: &Path,
    scratch: &Path,
) -> Result<(), Error> {
    check_panics(errors)?;
    if !store.exists() {
        return Ok(());
    }
    checker.check(Evidence { store, notes: &driver.notes, ledger: &driver.ledger })?;
    // A store whose creation was interrupted has no picture yet.
    if driver.notes.acknowledgements > 0 {
        check_rebuilt(store, scratch)?;
        check_damage_is_refused(store, scratch)?;
    }
    Ok(())
}
