//! The model's engine: what `engine/src/partition` does for one activity, on the real fold, deadlines, waits and tokens.
//!
//! That it does the same is not taken on trust: `tests/lockstep.rs` walks through the model with the real partition at
//! its side and compares every event and every effect.

use crate::inputs::{Effect, Input, Place, Says, token};
use crate::record::{End, Life, Line, Written};
use crate::rules::{Mistake, Rules, WORKERS};
use crate::witness::Broken;
use antiphon_conversation::{Deadline, Deadlines, Phase, Token, retry};
use antiphon_history::{ConversationEvent, ConversationOutcome, Digest, ExitReason, Response, TimeoutKind, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What one step decided: one segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The events, in order.
    pub lines: Vec<Line>,
    /// What may leave behind them.
    pub effects: Vec<Effect>,
}

/// One opening of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Engine {
    /// Which opening this is; the secret of its tokens.
    pub opening: u8,
    /// The last segment that it knows of.
    pub tip: u32,
    /// Its time.
    pub now: Timestamp,
    /// What it decided, durable or not.
    pub life: Arc<Life>,
    /// Decided and not durable.
    pub pending: VecDeque<Arc<Batch>>,
    /// Who is connected.
    pub connected: [bool; WORKERS],
    /// Who has which leg, one place each.
    pub flights: BTreeSet<(usize, Place)>,
    /// What it did that no record shows.
    pub broken: u16,
    /// Somebody else has written since: nothing that it does will ever leave.
    pub fenced: bool,
    pub(crate) batch: Batch,
}

impl Engine {
    /// Opens the store, which is `tip` segments long and tells `life`; takes up what is under way.
    pub fn open(
        rules: &Rules,
        opening: u8,
        tip: u32,
        life: Arc<Life>,
        now: Timestamp,
        connected: [bool; WORKERS],
    ) -> Engine {
        let (pending, flights, batch) = (VecDeque::new(), BTreeSet::new(), Batch::default());
        let mut engine =
            Engine { opening, tip, now, life, pending, connected, flights, broken: 0, fenced: false, batch };
        let under_way = matches!(engine.phase(), Phase::Selected | Phase::InDoubt) && engine.life.end.is_none();
        if under_way && !rules.errs(Mistake::NotTakenUp) {
            engine.lost(rules, ExitReason::EngineRestart);
        }
        engine.dispatch(rules);
        engine.seal();
        engine
    }

    /// Takes one input, as the real partition's step does: what is due, the input, then who gets the attempt.
    pub fn step(&mut self, rules: &Rules, input: Input) {
        self.advance(rules);
        match input {
            Input::Tick => {}
            Input::Cancel => self.withdraw(),
            Input::Joined(worker) => {
                self.left(rules, worker);
                self.connected[worker] = true;
            }
            Input::Left(worker) => {
                self.left(rules, worker);
                self.connected[worker] = false;
            }
            Input::Answered(place, token, says) => self.answered(rules, place, token, says),
            Input::Heartbeat(place, token) => {
                if self.is_current(rules, place, token) || self.errs_in_heartbeat(rules) {
                    let now = self.now;
                    Arc::make_mut(&mut self.life).conversation.heard(now);
                }
            }
        }
        self.dispatch(rules);
        self.seal();
    }

    /// The next moment at which something happens by itself.
    pub fn next_deadline(&self, rules: &Rules) -> Option<Timestamp> {
        self.deadline(rules).map(|(at, _)| at)
    }

    /// Gives the place of a leg back.
    pub fn release(&mut self, place: Place) -> bool {
        let had = self.flights.iter().copied().find(|(_, held)| *held == place);
        had.is_some_and(|flight| self.flights.remove(&flight))
    }

    fn errs_in_heartbeat(&self, rules: &Rules) -> bool {
        rules.errs(Mistake::AnyHeartbeat) && self.phase() == Phase::InDoubt
    }

    fn phase(&self) -> Phase {
        self.life.conversation.phase()
    }

    fn deadline(&self, rules: &Rules) -> Option<(Timestamp, Deadline)> {
        if self.life.end.is_some() {
            return None;
        }
        Deadlines::of(&self.life.conversation, &rules.options, self.life.scheduled_at, self.now).next
    }

    fn advance(&mut self, rules: &Rules) {
        while let Some((at, Deadline::Timeout(kind))) = self.deadline(rules)
            && at <= self.now
        {
            self.timed_out(rules, kind);
        }
    }

    fn is_current(&self, rules: &Rules, place: Place, token: Token) -> bool {
        let Some(leg) = self.life.conversation.leg() else { return false };
        let known = leg.token == token.hash() || rules.errs(Mistake::AnyToken);
        self.life.end.is_none()
            && known
            && self.phase() == Phase::InDoubt
            && self.life.attempt == place.attempt
            && leg.number == place.leg
    }

    fn answered(&mut self, rules: &Rules, place: Place, word: Token, says: Says) {
        if !self.is_current(rules, place, word) {
            if token(self.opening, place) == word {
                self.release(place);
                if rules.errs(Mistake::AnswerAfterEnd) && self.life.end.is_some() && says == Says::Completed {
                    self.write(Written::Resolved(End::Completed));
                }
            }
            return;
        }
        self.release(place);
        let leg = place.leg;
        match says {
            Says::Completed => {
                let response = Response::Completed { digest: Digest::START, len: 0 };
                self.talk(ConversationEvent::Received { leg, response });
                if rules.errs(Mistake::ClosedTwice) {
                    self.talk(ConversationEvent::Closed { outcome: ConversationOutcome::Completed });
                }
                self.close(ConversationOutcome::Completed, End::Completed);
            }
            Says::Failed => {
                let response = Response::Failed { message: String::new(), retryable: true };
                self.talk(ConversationEvent::Received { leg, response });
                if !self.retry(rules, ConversationOutcome::Failed) {
                    self.close(ConversationOutcome::Failed, End::Failed);
                }
            }
            Says::Panicked => self.lost(rules, ExitReason::Panicked { message: String::new() }),
            Says::Stopped => self.lost(rules, ExitReason::WorkerExit),
        }
    }

    fn left(&mut self, rules: &Rules, worker: usize) {
        let had: Vec<_> = self.flights.iter().filter(|(who, _)| *who == worker).map(|(_, place)| *place).collect();
        self.flights.retain(|(who, _)| *who != worker);
        // As in the engine the worker is gone from the table before its legs are lost.
        self.connected[worker] = false;
        for place in had {
            let leg = self.life.conversation.leg().map(|leg| leg.number);
            let current = self.life.attempt == place.attempt && leg == Some(place.leg);
            if current && self.phase() == Phase::InDoubt && self.life.end.is_none() {
                self.lost(rules, ExitReason::WorkerExit);
            }
        }
    }

    fn withdraw(&mut self) {
        if self.life.end.is_some() {
            return;
        }
        self.write(Written::Withdrawn);
        self.stop_leg(ExitReason::Cancelled);
        self.talk(ConversationEvent::Closed { outcome: ConversationOutcome::Cancelled });
    }

    fn timed_out(&mut self, rules: &Rules, kind: TimeoutKind) {
        self.stop_leg(ExitReason::TimedOut { kind });
        let again = matches!(kind, TimeoutKind::StartToClose | TimeoutKind::Heartbeat);
        if !(again && self.retry(rules, ConversationOutcome::TimedOut)) {
            self.close(ConversationOutcome::TimedOut, End::TimedOut(kind));
        }
    }

    fn stop_leg(&mut self, reason: ExitReason) {
        let Some(leg) = self.life.conversation.leg() else { return };
        let (leg, worker) = (leg.number, self.worker_of(&leg.worker));
        let place = Place { attempt: self.life.attempt, leg };
        self.talk(ConversationEvent::CancelSent { leg });
        self.talk(ConversationEvent::Exited { leg, reason, details: None, visible_at: None });
        self.batch.effects.push(Effect::Cancel(worker, place));
    }

    fn worker_of(&self, name: &str) -> usize {
        usize::from(name != "a")
    }

    fn retry(&mut self, rules: &Rules, outcome: ConversationOutcome) -> bool {
        let options = &rules.options;
        if options.at_most_once {
            return false;
        }
        let endless = rules.errs(Mistake::EndlessRetries).then_some(1);
        let Some(wait_ms) = retry::delay_after(&options.retry, self.life.attempt).or(endless) else { return false };
        let visible_at = self.now.plus_ms(wait_ms);
        let too_late = options.schedule_to_close_ms.is_some_and(|ms| self.life.scheduled_at.plus_ms(ms) <= visible_at);
        if too_late || !self.talk(ConversationEvent::Closed { outcome }) {
            return false;
        }
        self.begin(rules, (wait_ms > 0).then_some(visible_at));
        true
    }

    /// Opens the conversation of the next attempt.
    fn begin(&mut self, rules: &Rules, visible_at: Option<Timestamp>) {
        let (activity_type, queue) = ("work".into(), "default".into());
        let event = ConversationEvent::Scheduled { activity_type, queue, visible_at };
        self.write(Written::Talk { attempt: self.life.attempt + 1, event });
        self.note_nobody(rules);
    }

    fn lost(&mut self, rules: &Rules, reason: ExitReason) {
        let Some(leg) = self.life.conversation.leg().cloned() else { return };
        let options = &rules.options;
        let losses = self.life.conversation.losses() + 1;
        let over = (options.at_most_once && !rules.errs(Mistake::TwiceAnyway))
            || (losses > options.max_losses && !rules.errs(Mistake::EndlessLosses));
        let spared = |worker: &usize| {
            let name = &rules.names[*worker];
            *name != leg.worker && !self.life.conversation.excluded().contains(name)
        };
        let somebody_else = (0..WORKERS).filter(|worker| self.connected[*worker]).any(|worker| spared(&worker));
        let at_once = over || matches!(reason, ExitReason::EngineRestart) || somebody_else;
        let visible_at = (!at_once).then(|| self.now.plus_ms(retry::backoff_ms(&options.retry, losses)));
        if rules.errs(Mistake::SameLegAgain) || rules.errs(Mistake::LegLeftOpen) {
            return self.send_again(rules, leg.number);
        }
        let event = ConversationEvent::Exited { leg: leg.number, reason, details: None, visible_at };
        self.talk(event);
        if rules.errs(Mistake::WaitUnwritten)
            && let Some(line) = self.batch.lines.last_mut()
            && let Written::Talk { event: ConversationEvent::Exited { visible_at, .. }, .. } = &mut line.what
        {
            *visible_at = None;
        }
        if over {
            self.close(ConversationOutcome::Lost, End::Lost);
        } else {
            self.note_nobody(rules);
        }
    }

    /// The two mistakes with a lost leg: the fold would refuse both, so the lines go past it.
    fn send_again(&mut self, rules: &Rules, lost: u32) {
        let leg = lost + u32::from(rules.errs(Mistake::LegLeftOpen));
        let place = Place { attempt: self.life.attempt, leg };
        let (worker, token) = (rules.names[0].clone(), token(self.opening, place).hash());
        let selected = ConversationEvent::WorkerSelected { leg, worker, token, why: None, lease_ms: None };
        for event in [selected, ConversationEvent::Sent { leg }] {
            let line = Line { at: self.now, what: Written::Talk { attempt: place.attempt, event } };
            Arc::make_mut(&mut self.life).witness.see(&line.what);
            self.batch.lines.push(line);
        }
    }

    fn note_nobody(&mut self, rules: &Rules) {
        const REASON: &str = "no worker subscribes to task queue \"default\"";
        let told = self.life.conversation.no_worker() == Some(REASON);
        if self.connected.contains(&true) || self.phase() != Phase::Queued || told {
            return;
        }
        self.talk(ConversationEvent::NoWorker { reason: REASON.to_owned() });
        if rules.options.fail_fast {
            self.close(ConversationOutcome::NoWorker, End::NoWorker);
        }
    }

    fn close(&mut self, outcome: ConversationOutcome, end: End) {
        self.talk(ConversationEvent::Closed { outcome });
        self.write(Written::Resolved(end));
    }

    fn dispatch(&mut self, rules: &Rules) {
        if !self.life.is_queued() || self.life.conversation.visible_at() > self.now {
            return;
        }
        let Some(worker) = self.choose(rules) else { return };
        let place = Place { attempt: self.life.attempt, leg: self.life.conversation.next_leg() };
        let (leg, token) = (place.leg, token(self.opening, place).hash());
        let worker_name = rules.names[worker].clone();
        let selected = ConversationEvent::WorkerSelected { leg, worker: worker_name, token, why: None, lease_ms: None };
        if self.talk(selected) && self.talk(ConversationEvent::Sent { leg }) {
            self.flights.insert((worker, place));
            self.batch.effects.push(Effect::Dispatch(worker, place));
        }
    }

    /// The connected worker with a free place, the first by name; one that lost a leg only if there is no other.
    fn choose(&self, rules: &Rules) -> Option<usize> {
        let excluded = |worker: usize| self.life.conversation.excluded().contains(&rules.names[worker]);
        let connected = || (0..WORKERS).filter(|worker| self.connected[*worker]);
        let keep_out = connected().any(|worker| !excluded(worker));
        let free = |worker: usize| !self.flights.iter().any(|(who, _)| *who == worker);
        connected().find(|worker| free(*worker) && !(keep_out && excluded(*worker)))
    }

    fn talk(&mut self, event: ConversationEvent) -> bool {
        self.write(Written::Talk { attempt: self.life.attempt, event })
    }

    fn write(&mut self, what: Written) -> bool {
        let line = Line { at: self.now, what };
        if Arc::make_mut(&mut self.life).apply(&line).is_err() {
            self.broken |= Broken::Anomaly as u16;
            return false;
        }
        self.batch.lines.push(line);
        true
    }

    fn seal(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.lines.is_empty() {
            self.pending.push_back(Arc::new(batch));
        }
    }
}
