//! The stream of requests, seeded: starts, signals, cancels, waits, many of them twice.

use crate::ledger::Ledger;
use crate::notes::{Asked, Notes};
use crate::process::{Heard, Victim};
use crate::words::{Answer, Ask, FromVictim, ToVictim};
use crate::{Broken, Error, Invariant, Plan, Random, Shape};
use antiphon::RunStatus;
use antiphon_recorder::sqlite;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests under way at once.
    pub width: usize,
    /// Most runs that one life starts.
    pub starts: u64,
    /// Most bytes that an activity returns.
    pub bytes: u64,
}

impl Default for Load {
    fn default() -> Load {
        Load { width: 12, starts: 30, bytes: 2_000 }
    }
}

/// When a life is to end.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// At this moment.
    pub until: Instant,
    /// Or right after so many acknowledgements.
    pub acknowledgements: Option<u64>,
}

impl Goal {
    /// After a time.
    pub fn after(time: Duration) -> Goal {
        Goal { until: Instant::now() + time, acknowledgements: None }
    }
}

/// Why the driver let go of a life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// The time is over.
    Time,
    /// The acknowledgements are there.
    Acknowledged,
    /// The process ended by itself.
    Gone,
    /// The store did not open.
    Unopened(String),
    /// It stopped in good order.
    Stopped,
}

/// The driver and the two books that outlive every victim.
#[derive(Clone, Debug)]
pub struct Driver {
    random: Random,
    load: Load,
    /// What was asked and answered.
    pub notes: Notes,
    /// What happened outside.
    pub ledger: Ledger,
    /// Every id that was ever started, in order.
    ids: Vec<String>,
    started_in_life: u64,
    /// Whether the victim of this life has opened its store.
    pub opened: bool,
}

/// A start is asked about among so many of the latest: they are the ones that something still happens to.
const RECENT: u64 = 40;
/// How often a heal looks whether everything has ended, and how often it repeats what has no answer.
const LOOK: Duration = Duration::from_millis(15);
const REPEAT: Duration = Duration::from_millis(400);
/// A store that is left alone must be done by then. It takes a second or two; a heal that takes this long is stuck.
const HEALED_WITHIN: Duration = Duration::from_secs(60);

impl Driver {
    /// A stream of a seed.
    pub fn new(random: Random, load: Load) -> Driver {
        let (notes, ledger) = (Notes::default(), Ledger::default());
        Driver { random, load, notes, ledger, ids: Vec::new(), started_in_life: 0, opened: false }
    }

    /// Keeps a victim busy until the goal. What has no answer when it ends is for the caller to close with
    /// [`Notes::life_ended`], once the victim is dead and its last words were heard.
    pub fn life(&mut self, victim: &mut Victim, goal: Goal) -> Result<Why, Error> {
        let before = self.notes.acknowledgements;
        loop {
            let heard = match victim.next(goal.until)? {
                Heard::Silence => return Ok(Why::Time),
                Heard::Gone => return Ok(Why::Gone),
                Heard::Said(word) => word,
            };
            let answered = matches!(heard, FromVictim::Answered { .. } | FromVictim::Ready);
            if let Some(why) = self.hear(heard, victim)? {
                return Ok(why);
            }
            if goal.acknowledgements.is_some_and(|count| self.notes.acknowledgements - before >= count) {
                return Ok(Why::Acknowledged);
            }
            // A flood of answers must not keep the end away.
            if Instant::now() >= goal.until {
                return Ok(Why::Time);
            }
            if answered {
                while self.notes.waiting() < self.load.width {
                    let ask = self.something();
                    self.ask(victim, ask);
                }
            }
        }
    }

    /// Begins a life: nothing is open yet.
    pub fn begin(&mut self) {
        (self.started_in_life, self.opened) = (0, false);
    }

    /// The last words of a victim, and its end.
    pub fn end(&mut self, last: Vec<FromVictim>) -> Result<(), Error> {
        for word in last {
            match word {
                FromVictim::Answered { number, answer } => self.notes.answer(number, answer)?,
                FromVictim::Body { leg, moment, .. } => _ = self.ledger.note(leg, moment),
                _ => {}
            }
        }
        self.notes.life_ended();
        Ok(())
    }

    /// Takes in one word.
    pub fn hear(&mut self, word: FromVictim, victim: &mut Victim) -> Result<Option<Why>, Error> {
        match word {
            FromVictim::Ready => self.opened = true,
            FromVictim::Answered { number, answer } => self.notes.answer(number, answer)?,
            FromVictim::Body { number, leg, moment } => {
                let nonce = self.ledger.note(leg, moment);
                victim.tell(&ToVictim::Noted { number, nonce });
            }
            FromVictim::Unopened { text } => return Ok(Some(Why::Unopened(text))),
            FromVictim::Stopped => return Ok(Some(Why::Stopped)),
        }
        Ok(None)
    }

    /// Sends one request.
    pub fn ask(&mut self, victim: &mut Victim, ask: Ask) {
        let number = self.notes.ask(&ask);
        victim.tell(&ToVictim::Ask { number, ask });
    }

    /// A start of a new run.
    pub fn start(&mut self, shape: Shape) -> Ask {
        let workflow = format!("w{}", self.ids.len() + 1);
        self.ids.push(workflow.clone());
        self.started_in_life += 1;
        let bytes = self.random.spread(1, self.load.bytes) as u32;
        let plan = Plan { steps: 1 + self.random.below(5) as u32, bytes, salt: self.random.below(1 << 40) };
        Ask::Start { workflow, shape, plan }
    }

    fn something(&mut self) -> Ask {
        let kind = self.random.below(100);
        if self.ids.is_empty() || (kind < 45 && self.started_in_life < self.load.starts) {
            let shape = self.random.one_of(&Shape::ALL);
            return self.start(shape);
        }
        let back = self.random.below(RECENT.min(self.ids.len() as u64)) as usize;
        let workflow = self.ids[self.ids.len() - 1 - back].clone();
        let Some(run) = self.notes.runs().get(&workflow) else { return Ask::Wait { workflow } };
        match kind {
            ..58 => Ask::Start { workflow, shape: run.shape, plan: run.plan.clone() },
            58..61 if run.started.is_some() => {
                // Another input under the same id: refused, and nothing may come of it.
                let plan = Plan { salt: run.plan.salt + 1_000, ..run.plan.clone() };
                Ask::Start { workflow, shape: run.shape, plan }
            }
            61..86 if run.shape.signal().is_some() => signal(&workflow, run, &mut self.random),
            86..91 => Ask::Cancel { workflow },
            // A run that waits for a signal may keep its waiter for long: not too many of these.
            91.. if run.shape.signal().is_none() || run.closed => Ask::Wait { workflow },
            _ => Ask::Start { workflow, shape: run.shape, plan: run.plan.clone() },
        }
    }

    /// Asks for all of this, again and again where the answer is that nobody knows, until everything is answered for good.
    pub fn insist(&mut self, victim: &mut Victim, asks: Vec<Ask>, longest: Duration) -> Result<Why, Error> {
        let until = Instant::now() + longest;
        let (mut waiting, mut again, mut sent) = (BTreeMap::new(), asks, false);
        loop {
            let heard = match victim.next((Instant::now() + LOOK).min(until))? {
                Heard::Gone => return Ok(Why::Gone),
                Heard::Silence if Instant::now() >= until => return Ok(Why::Time),
                Heard::Silence => {
                    self.send(victim, &mut again, &mut waiting);
                    continue;
                }
                Heard::Said(word) => word,
            };
            if let FromVictim::Answered { number, answer } = &heard
                && let Some(ask) = waiting.remove(number)
            {
                match answer {
                    // The engine has stopped for good and says why.
                    Answer::Unknown { text } if text.contains("A0030") => return Ok(Why::Gone),
                    Answer::Unknown { .. } => again.push(ask),
                    Answer::Refused { code, .. } if code != "A0022" => again.push(ask),
                    _ => {}
                }
            }
            if let Some(why) = self.hear(heard, victim)? {
                return Ok(why);
            }
            if self.opened && !sent {
                sent = true;
                self.send(victim, &mut again, &mut waiting);
            }
            if self.opened && waiting.is_empty() && again.is_empty() {
                return Ok(Why::Acknowledged);
            }
        }
    }

    fn send(&mut self, victim: &mut Victim, asks: &mut Vec<Ask>, waiting: &mut BTreeMap<u64, Ask>) {
        if !self.opened {
            return;
        }
        for ask in asks.drain(..) {
            let number = self.notes.ask(&ask);
            waiting.insert(number, ask.clone());
            victim.tell(&ToVictim::Ask { number, ask });
        }
    }

    /// Gives every open run what it waits for and watches the store until all have ended, then lets the victim stop in good
    /// order. The faults are over by now.
    pub fn heal(&mut self, mut victim: Victim, store: &Path) -> Result<(), Error> {
        let (begun, mut repeated) = (Instant::now(), None::<Instant>);
        loop {
            match victim.next(Instant::now() + LOOK)? {
                Heard::Said(word) => match self.hear(word, &mut victim)? {
                    None => continue,
                    Some(why) => return Err(Broken::new(Invariant::Opens, format!("{why:?}")).into()),
                },
                Heard::Gone => {
                    let how = "the process ended by itself while nothing was wrong any more";
                    return Err(Broken::new(Invariant::Ends, how).into());
                }
                Heard::Silence => {}
            }
            if self.opened && open_runs(store).is_ok_and(|open| open == 0) && self.notes.waiting() == 0 {
                break;
            }
            if begun.elapsed() > HEALED_WITHIN {
                let how = format!("{:?} runs are still open", open_runs(store).ok());
                return Err(Broken::new(Invariant::Ends, how).into());
            }
            if self.opened && repeated.is_none_or(|at| at.elapsed() > REPEAT) {
                repeated = Some(Instant::now());
                self.push_on(&mut victim);
            }
        }
        victim.tell(&ToVictim::Stop);
        let goal = Goal::after(HEALED_WITHIN);
        loop {
            match victim.next(goal.until)? {
                Heard::Said(word) => {
                    if self.hear(word, &mut victim)? == Some(Why::Stopped) {
                        break;
                    }
                }
                _ => return Err(Broken::new(Invariant::Ends, "it does not stop in good order").into()),
            }
        }
        let last = victim.kill()?;
        self.end(last)
    }

    /// Starts and signals that may be missing.
    fn push_on(&mut self, victim: &mut Victim) {
        let mut asks = Vec::new();
        for (workflow, run) in self.notes.runs() {
            let Some(name) = run.shape.signal().filter(|_| !run.closed) else { continue };
            let wanted = if run.shape == Shape::Counted { run.plan.steps as usize } else { 1 };
            let sure = run.signals.values().filter(|signal| signal.acknowledged).count();
            let unsure = run.signals.iter().filter(|(_, signal)| !signal.acknowledged);
            let repeat = |key: &String, value: u64| Ask::Signal {
                workflow: workflow.clone(),
                name: name.to_owned(),
                value,
                key: key.clone(),
            };
            asks.extend(unsure.map(|(key, signal)| repeat(key, signal.value)));
            let given = run.signals.len().max(sure);
            asks.extend((given..wanted).map(|number| repeat(&key(workflow, number), number as u64)));
        }
        asks.into_iter().for_each(|ask| self.ask(victim, ask));
    }
}

fn key(workflow: &str, number: usize) -> String {
    format!("{workflow}-s{number}")
}

/// A new signal for a run, or one that it was sent before.
fn signal(workflow: &str, run: &Asked, random: &mut Random) -> Ask {
    let workflow = workflow.to_owned();
    let name = run.shape.signal().unwrap_or_default().to_owned();
    let given = run.signals.len();
    let again = given > 0 && random.percent(30);
    let number = if again { random.below(given as u64) as usize } else { given };
    let key = key(&workflow, number);
    let value = run.signals.get(&key).map_or_else(|| random.below(1 << 32), |signal| signal.value);
    Ask::Signal { workflow, name, value, key }
}

/// How many runs have not ended.
pub fn open_runs(store: &Path) -> Result<u64, antiphon_recorder::Error> {
    let counts = sqlite::snapshot(store)?.count_by_status()?;
    let of = |status| counts.get(&status).copied().unwrap_or(0);
    Ok(of(RunStatus::Running) + of(RunStatus::Blocked))
}
