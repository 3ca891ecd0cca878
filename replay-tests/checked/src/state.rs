//! Everything that is at one moment, and what can happen next.

use crate::engine::Engine;
use crate::inputs::{Effect, Input, Place, Says, token};
use crate::record::{Life, Line, Misfit, Written};
use crate::rules::{ENGINES, Mistake, Rules, WORKERS};
use crate::witness::Broken;
use antiphon_conversation::Phase;
use antiphon_history::{ConversationEvent, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Everything that is: the store, the engines, the bodies, and the words on their way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// What is durable.
    pub life: Arc<Life>,
    /// Segments in the log.
    pub tip: u32,
    /// The latest recorded time.
    pub at: Timestamp,
    /// Openings of the store so far.
    pub openings: u8,
    /// The engines that have not died. Only one of them can still write.
    pub engines: [Option<Engine>; ENGINES],
    /// Bodies that run.
    pub bodies: BTreeSet<Body>,
    /// Words on their way, in no order.
    pub words: BTreeSet<Word>,
    /// Requests that left, counted only where a second one would be a mistake.
    pub requests: u8,
    /// What of the bounds is used up.
    pub spent: Spent,
    /// Something was swallowed for which nobody will answer: only a worker that connects anew clears it up.
    pub swallowed: bool,
    /// Promises that were broken outside of the record.
    pub broken: u16,
}

/// What of the bounds is used up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Spent {
    /// Workers that left.
    pub leaves: u8,
    /// Words and bodies lost.
    pub lost: u8,
    /// Words repeated.
    pub repeats: u8,
}

/// A leg with the opening that sent it: what a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Leg {
    /// The opening of the store whose engine made the token.
    pub opening: u8,
    /// Which attempt and leg.
    pub place: Place,
}

/// A running body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Body {
    /// The worker that runs it.
    pub worker: usize,
    /// What it was asked.
    pub leg: Leg,
}

/// A word on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Word {
    /// To a worker: carry out a leg.
    Request(usize, Leg),
    /// To a worker: stop a leg.
    Stop(usize, Leg),
    /// To an engine: a body has ended.
    Answer(Leg, Says),
    /// To an engine: a body is alive.
    Alive(Leg),
}

/// What can happen next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// An engine opens the store, with a clock that stands at the record's time or far ahead; the workers are connected
    /// or come later.
    Open(usize, bool, bool),
    /// An engine dies.
    Crash(usize),
    /// An engine commits its oldest batch, and what was held back by it leaves.
    Commit(usize),
    /// An engine commits its oldest batch and dies before anything leaves.
    CommitAndCrash(usize),
    /// An engine's clock goes on by one, or leaps.
    Pass(usize, bool),
    /// A caller cancels the workflow.
    Cancel(usize),
    /// An engine is told that a worker has gone.
    Leave(usize, usize),
    /// A worker connects to an engine.
    Join(usize, usize),
    /// A word arrives at an engine; it may stay on its way, to arrive again.
    Arrive(usize, Word, bool),
    /// A word arrives at its worker.
    Reach(Word, bool),
    /// A word is lost.
    Lose(Word),
    /// A body ends.
    Answer(Body, Says),
    /// A body tells that it is alive.
    Beat(Body),
    /// A body vanishes with its process.
    Vanish(Body),
}

/// A leap of the clock: longer than all deadlines together.
pub const LEAP_MS: u64 = 20;

impl State {
    /// A workflow has asked for the activity; no engine has opened the store since.
    pub fn start(rules: &Rules) -> State {
        let at = Timestamp(1_000);
        let mut life = Life { scheduled_at: at, ..Life::default() };
        let event =
            ConversationEvent::Scheduled { activity_type: "work".into(), queue: "default".into(), visible_at: None };
        let scheduled = Line { at, what: Written::Talk { attempt: 1, event } };
        let fits: Result<(), Misfit> = life.apply(&scheduled);
        let mut state = State {
            life: Arc::new(life),
            tip: 1,
            at,
            openings: 0,
            engines: [None, None],
            bodies: BTreeSet::new(),
            words: BTreeSet::new(),
            requests: 0,
            spent: Spent::default(),
            swallowed: false,
            broken: if fits.is_ok() { 0 } else { Broken::Anomaly as u16 },
        };
        state.open(rules, 0, false, true);
        state
    }

    /// Opens the store for an engine. The one that was in its place is gone.
    pub fn open(&mut self, rules: &Rules, engine: usize, ahead: bool, connected: bool) {
        self.openings += 1;
        // A clock that is behind the record is taken to stand at it.
        let mut now = self.at.plus_ms(if ahead { LEAP_MS } else { 0 });
        if rules.errs(Mistake::ClockBehind) && !ahead {
            now = Timestamp(self.at.0 - 1);
        }
        let connected = [connected; WORKERS];
        let opened = Engine::open(rules, self.openings, self.tip, Arc::clone(&self.life), now, connected);
        self.put(rules, engine, opened);
    }

    /// An engine takes an input.
    pub fn step(&mut self, rules: &Rules, engine: usize, input: Input) {
        if let Some(mut stepped) = self.engines[engine].take() {
            stepped.step(rules, input);
            self.put(rules, engine, stepped);
        }
    }

    fn put(&mut self, rules: &Rules, engine: usize, stepped: Engine) {
        if rules.errs(Mistake::SendEarly)
            && let Some(batch) = stepped.pending.back()
        {
            self.release(rules, stepped.opening, &batch.effects.clone());
        }
        self.engines[engine] = Some(stepped);
    }

    /// An engine commits its oldest batch. One that was overtaken loses the store, and with it everything that it
    /// decided.
    pub fn commit(&mut self, rules: &Rules, engine: usize) -> Option<(u8, Vec<Effect>)> {
        let committing = self.engines[engine].as_mut()?;
        if committing.tip != self.tip && !rules.errs(Mistake::NoFence) {
            self.engines[engine] = None;
            return None;
        }
        let batch = committing.pending.pop_front()?;
        self.tip += 1;
        committing.tip = self.tip;
        let released = (committing.opening, batch.effects.clone());
        let life = Arc::make_mut(&mut self.life);
        for line in &batch.lines {
            if life.apply(line).is_err() {
                self.broken |= Broken::Anomaly as u16;
            }
            if line.at < self.at {
                self.broken |= Broken::Backwards as u16;
            }
            self.at = self.at.max(line.at);
        }
        let fences = !rules.errs(Mistake::NoFence);
        if committing.pending.is_empty() && !committing.life.same_record(&self.life) {
            self.broken |= Broken::Differs as u16;
        }
        for other in self.engines.iter_mut().flatten() {
            other.fenced |= other.tip != self.tip && fences;
        }
        Some(released)
    }

    /// Lets go what was held back: it is on its way from now on.
    pub fn release(&mut self, rules: &Rules, opening: u8, effects: &[Effect]) {
        for effect in effects {
            match *effect {
                Effect::Dispatch(worker, place) => {
                    if !self.life.witness.knows_sent(place.attempt, place.leg) {
                        self.broken |= Broken::Unrecorded as u16;
                    }
                    if rules.options.at_most_once {
                        self.requests = self.requests.saturating_add(1);
                        if self.requests > 1 {
                            self.broken |= Broken::SentTwice as u16;
                        }
                    }
                    self.words.insert(Word::Request(worker, Leg { opening, place }));
                }
                Effect::Cancel(worker, place) => {
                    self.words.insert(Word::Stop(worker, Leg { opening, place }));
                }
            }
        }
    }

    /// A word arrives at an engine. What does not count must change nothing.
    pub fn arrive(&mut self, rules: &Rules, engine: usize, word: Word) {
        let Some(before) = &self.engines[engine] else { return };
        let (Word::Answer(leg, _) | Word::Alive(leg)) = word else { return };
        // Whoever gave the leg out would have had to hear this.
        self.swallowed |= leg.opening != before.opening;
        let input = input_of(word);
        if let Some(input) = input {
            if !is_harmless(rules, before, input) {
                self.broken |= Broken::Heeded as u16;
            }
            self.step(rules, engine, input);
        }
    }

    /// A word arrives at its worker.
    pub fn reach(&mut self, word: Word) {
        match word {
            Word::Request(worker, leg) => {
                self.bodies.insert(Body { worker, leg });
            }
            Word::Stop(worker, leg) => {
                if self.bodies.remove(&Body { worker, leg }) {
                    self.words.insert(Word::Answer(leg, Says::Stopped));
                }
            }
            Word::Answer(..) | Word::Alive(_) => {}
        }
    }

    /// Forgets the signs of life that count for nobody. They change nothing wherever they arrive, which is looked at in the
    /// state in which they were said, and a leg that is over stays so: keeping them would only multiply the states.
    pub fn forget_stale(&mut self) {
        let mut words = std::mem::take(&mut self.words);
        words.retain(|word| if let Word::Alive(leg) = word { self.counts(*leg) } else { true });
        self.words = words;
    }

    /// The engines that can still write.
    pub fn writers(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter().flatten().filter(|engine| !engine.fenced)
    }

    /// Whether a leg is under way for anybody who can still write, or by the record.
    pub fn counts(&self, leg: Leg) -> bool {
        let (place, token) = (leg.place, token(leg.opening, leg.place).hash().0);
        let mut lives = self.writers().map(|engine| &engine.life).chain([&self.life]);
        lives.any(|life| life.witness.counts(place.attempt, place.leg, token))
    }

    /// Whether nothing can change any more: the end is durable, and every engine knows it.
    pub fn is_over(&self) -> bool {
        let knows = |engine: &Engine| engine.life.end.is_some() && engine.pending.is_empty();
        self.life.end.is_some() && self.writers().all(knows)
    }
}

/// The word of a worker as an engine takes it.
pub fn input_of(word: Word) -> Option<Input> {
    match word {
        Word::Answer(leg, says) => Some(Input::Answered(leg.place, token(leg.opening, leg.place), says)),
        Word::Alive(leg) => Some(Input::Heartbeat(leg.place, token(leg.opening, leg.place))),
        Word::Request(..) | Word::Stop(..) => None,
    }
}

/// Whether a word counts, by the judgement of the witness, or changes nothing but what time would have changed. A body
/// that has ended may give its place back, which may let a waiting attempt go out.
pub fn is_harmless(rules: &Rules, engine: &Engine, input: Input) -> bool {
    let (place, word) = match input {
        Input::Answered(place, word, _) | Input::Heartbeat(place, word) => (place, word),
        Input::Tick | Input::Cancel | Input::Joined(_) | Input::Left(_) => return true,
    };
    let in_doubt = engine.life.conversation.phase() == Phase::InDoubt;
    if in_doubt && engine.life.witness.counts(place.attempt, place.leg, word.hash().0) {
        return true;
    }
    let (mut heard, mut deaf) = (engine.clone(), engine.clone());
    heard.step(rules, input);
    if matches!(input, Input::Answered(..)) && token(engine.opening, place) == word {
        deaf.release(place);
    }
    deaf.step(rules, Input::Tick);
    heard == deaf
}
