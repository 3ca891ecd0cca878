//! Power cuts: the store on a file system of its own, which stops at a chosen moment with everything unsynced lost.

use crate::check::{Checker, check_anchor, copy_of};
use crate::driver::{Driver, Goal, Load};
use crate::kill::{begin_to_stop, check, lived, settings};
use crate::process::{Heard, Launch, Victim};
use crate::volume::Volume;
use crate::{Broken, Error, Invariant, Random, Tally};
use antiphon_recorder::conformance::{Picture, picture};
use antiphon_recorder::sqlite::{self, Options};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a series of cuts is.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// How many.
    pub cuts: u64,
    /// Chooses moments, requests and settings.
    pub seed: u64,
    /// Where the images are.
    pub folder: PathBuf,
    /// The fault in the victims.
    pub planted: Option<String>,
    /// Victims do without syncs.
    pub process_durability: bool,
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct CutTally {
    /// Under load, most right after an acknowledgement.
    pub working: u64,
    /// While it stopped in good order: the last fold, the checkpoint, the anchor.
    pub stopping: u64,
    /// While a store was made for the first time.
    pub creating: u64,
    /// While a store of the first version was brought to today's.
    pub migrating: u64,
    /// Of all these on a file system without a journal.
    pub without_journal: u64,
    /// Kills between them, and everything else.
    pub tally: Tally,
}

impl CutTally {
    /// All cuts.
    pub fn cuts(&self) -> u64 {
        self.working + self.stopping + self.creating + self.migrating
    }
}

/// Cuts on one file system.
const ROUND: u64 = 12;

/// Runs a series. The first broken invariant ends it.
pub fn cuts(cuts: &Cuts, tally: &mut CutTally, told: &mut dyn FnMut(&CutTally)) -> Result<(), Error> {
    let mut random = Random::new(cuts.seed);
    while tally.cuts() < cuts.cuts {
        let count = ROUND.min(cuts.cuts - tally.cuts());
        Round::begin(cuts, random.part())?.run(count, tally)?;
        told(tally);
    }
    Ok(())
}

/// One file system with one store that lives through its cuts, and others that are made for one cut each.
struct Round {
    // Unmounted before the folder that it lies in is removed.
    volume: Volume,
    scratch: tempfile::TempDir,
    random: Random,
    journal: bool,
    launch: Launch,
    driver: Driver,
    checker: Checker,
    args: Vec<String>,
}

impl Round {
    fn begin(cuts: &Cuts, mut random: Random) -> Result<Round, Error> {
        let scratch = tempfile::tempdir_in(&cuts.folder).map_err(Error::io("making a scratch folder"))?;
        let journal = random.percent(60);
        let volume = Volume::make(scratch.path(), journal)?;
        let mut launch = Launch::new(&volume.path().join("store"), &scratch.path().join("errors"))?;
        launch.planted = cuts.planted.clone();
        let bytes = if random.percent(20) { 200_000 } else { 3_000 };
        let driver = Driver::new(random.part(), Load { bytes, ..Load::default() });
        let checker = Checker::new(random.part());
        let args = if cuts.process_durability { vec!["--process-durability".to_owned()] } else { Vec::new() };
        Ok(Round { volume, scratch, random, journal, launch, driver, checker, args })
    }

    fn run(mut self, count: u64, tally: &mut CutTally) -> Result<(), Error> {
        for number in 0..count {
            match self.random.below(100) {
                ..58 => {
                    tally.working += 1;
                    self.working(tally)?;
                }
                58..70 => {
                    tally.stopping += 1;
                    self.stopping()?;
                }
                70..88 => {
                    tally.creating += 1;
                    self.creating(number)?;
                }
                _ => {
                    tally.migrating += 1;
                    self.migrating(number)?;
                }
            }
            tally.without_journal += u64::from(!self.journal);
        }
        self.driver.begin();
        let victim = self.start()?;
        self.driver.heal(victim, &self.launch.store)?;
        self.check()?;
        check_anchor(&self.launch.store)?;
        tally.tally.add(&self.driver, &self.checker);
        Ok(())
    }

    fn start(&mut self) -> Result<Victim, Error> {
        settings(&mut self.launch, &mut self.random);
        self.launch.args.extend(self.args.iter().cloned());
        self.driver.begin();
        self.launch.start()
    }

    /// The power goes, and with it the victim; both come back, and everything that was acknowledged must be there.
    fn cut(&mut self, victim: Victim) -> Result<(), Error> {
        self.volume.cut()?;
        self.driver.end(victim.kill()?)?;
        self.volume.restart()?;
        self.check()
    }

    fn check(&mut self) -> Result<(), Error> {
        let (store, errors) = (&self.launch.store, &self.launch.errors);
        check(&mut self.checker, &self.driver, store, errors, self.scratch.path())
    }

    /// Some kills, whose leftovers the next life takes for durable, and then the cut.
    fn working(&mut self, tally: &mut CutTally) -> Result<(), Error> {
        for _ in 0..self.random.below(3) {
            let mut victim = self.start()?;
            let life = Duration::from_millis(self.random.spread(5, 100));
            lived(self.driver.life(&mut victim, Goal::after(life))?)?;
            self.driver.end(victim.kill()?)?;
            tally.tally.kills += 1;
        }
        let (mut victim, goal) = (self.start()?, self.goal(400));
        lived(self.driver.life(&mut victim, goal)?)?;
        self.cut(victim)
    }

    fn goal(&mut self, longest_ms: u64) -> Goal {
        match self.random.percent(60) {
            true => Goal { acknowledgements: Some(self.random.spread(1, 60)), ..Goal::after(Duration::from_secs(3)) },
            false => Goal::after(Duration::from_millis(self.random.spread(2, longest_ms))),
        }
    }

    fn stopping(&mut self) -> Result<(), Error> {
        let (mut victim, goal) = (self.start()?, self.goal(200));
        lived(self.driver.life(&mut victim, goal)?)?;
        begin_to_stop(&mut self.driver, &mut victim, &mut self.random)?;
        self.cut(victim)
    }

    /// A store of its own, cut while it is made or just after, then opened and brought to its end.
    fn creating(&mut self, number: u64) -> Result<(), Error> {
        let store = self.volume.path().join(format!("made-{number}"));
        let driver = Driver::new(self.random.part(), Load::default());
        let checker = Checker::new(self.random.part());
        let before = (std::mem::replace(&mut self.driver, driver), std::mem::replace(&mut self.checker, checker));
        let usual = std::mem::replace(&mut self.launch.store, store.clone());
        let mut victim = self.start()?;
        let goal = match self.random.percent(40) {
            true => Goal { acknowledgements: Some(1 + self.random.below(4)), ..Goal::after(Duration::from_secs(3)) },
            false => Goal::after(Duration::from_micros(self.random.spread(500, 60_000))),
        };
        lived(self.driver.life(&mut victim, goal)?)?;
        self.cut(victim)?;
        let victim = self.start()?;
        self.driver.heal(victim, &store)?;
        self.check()?;
        check_anchor(&store)?;
        self.launch.store = usual;
        (self.driver, self.checker) = before;
        std::fs::remove_dir_all(&store).map_err(Error::io("removing a store"))
    }

    /// A store of the first version, cut while it is opened for the first time.
    fn migrating(&mut self, number: u64) -> Result<(), Error> {
        let store = self.volume.path().join(format!("first-{number}"));
        copy_of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/stores/v1")), &store)?;
        let folder = std::fs::File::open(&store).map_err(Error::io("opening a store"))?;
        rustix::fs::syncfs(&folder).map_err(|error| Error::io("syncing a store")(error.into()))?;
        drop(folder);
        let broken = |error: antiphon_recorder::Error| Broken::new(Invariant::Opens, error.to_string());
        let before = seen(&store).map_err(broken)?;

        let launch = Launch { store: store.clone(), args: Vec::new(), ..self.launch.clone() };
        let mut opener = launch.start_as("open")?;
        let until = Instant::now() + Duration::from_micros(self.random.spread(500, 30_000));
        while let Heard::Said(_) = opener.next(until)? {}
        self.volume.cut()?;
        opener.kill()?;
        self.volume.restart()?;

        // Twice: what the first opening mends must be mended for good.
        for _ in 0..2 {
            let found = seen(&store).map_err(broken)?;
            let report = sqlite::verify(&store).map_err(broken)?;
            if found != before || !report.is_whole() {
                let how = format!("a store of the first version reads otherwise after a cut: {:?}", report.problems);
                return Err(Broken::new(Invariant::Rebuilt, how).into());
            }
            drop(sqlite::open(&store, &Options::default()).map_err(broken)?);
        }
        std::fs::remove_dir_all(&store).map_err(Error::io("removing a store"))
    }
}

fn seen(store: &Path) -> Result<Picture, antiphon_recorder::Error> {
    picture(sqlite::snapshot(store)?.as_mut())
}

/// Shows that the cuts cut: without syncs acknowledged work must be lost, and the loss must be seen. Returns the invariant
/// that saw it and the number of cuts it took.
pub fn check_that_cuts_cut(folder: &Path, seed: u64) -> Result<(Broken, u64), Error> {
    let mut tried = 0;
    let without = Cuts { cuts: 20, seed, folder: folder.to_owned(), planted: None, process_durability: true };
    for round in 0..without.cuts {
        let one = Cuts { cuts: 1, seed: seed + round, ..without.clone() };
        tried += 1;
        match cuts(&one, &mut CutTally::default(), &mut |_| {}) {
            Err(Error::Broken(broken)) => return Ok((*broken, tried)),
            Err(other) => return Err(other),
            Ok(()) => {}
        }
    }
    Err(Error::Unnoticed("a log that is not synced".to_owned()))
}
