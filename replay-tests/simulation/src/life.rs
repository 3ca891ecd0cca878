//! One plan lived from its beginning to its end, and looked at from all sides.

use crate::book::RunBook;
use crate::broken::{Broken, Checked};
use crate::model::follow;
use crate::plan::Plan;
use crate::program::Node;
use crate::recorded::Recorded;
use crate::sometimes::{Point, Sometimes};
use crate::store::{Keep, Model};
use crate::talk::Phase;
use crate::world::World;
use antiphon_engine::{Programs, replay, replay_prefix};
use antiphon_history::{
    ActivityOutcome, ConversationOutcome, Events, ExitReason, Ordinal, Payload, Record, Role, RunEvent, RunKey,
    TimeoutKind,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Which store a world lives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// A light model, for many steps.
    Model,
    /// The recorder's store in memory.
    Memory,
    /// The real store in a temporary folder.
    Sqlite,
}

/// How closely a life is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Replay every history at every prefix, not only at one.
    pub every_prefix: bool,
    /// Note every input and effect as text.
    pub told: bool,
}

/// What a life came to.
#[derive(Clone, Debug)]
pub struct Life {
    /// What did not hold; `None` if everything did.
    pub broken: Option<Broken>,
    /// Inputs that the engine took.
    pub steps: u64,
    /// Runs that were recorded.
    pub runs: u64,
    /// Prefixes that were replayed.
    pub prefixes: u64,
    /// The digest over inputs, segments and effects.
    pub digest: [u8; 32],
    /// What was met.
    pub sometimes: Sometimes,
    /// Inputs and effects as text, where they were asked for.
    pub told: Vec<String>,
    /// The history of the run that broke something.
    pub history: Option<String>,
}

/// Lives a plan on a store. A panic of the engine is a broken promise too.
pub fn live(plan: &Plan, store: StoreKind, look: Look) -> Life {
    let mut life = Life {
        broken: None,
        steps: 0,
        runs: 0,
        prefixes: 0,
        digest: [0; 32],
        sometimes: Sometimes::default(),
        told: Vec::new(),
        history: None,
    };
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let keep: Box<dyn Keep> = match store {
            StoreKind::Model => Box::new(Model::default()),
            StoreKind::Memory => Box::new(Recorded::memory().map_err(|error| Broken::of_store(&error))?),
            StoreKind::Sqlite => Box::new(Recorded::sqlite().map_err(|error| Broken::of_store(&error))?),
        };
        let mut world = World::new(plan, keep, look.told)?;
        let ended = world.live(look, &mut life);
        life.steps = world.steps;
        life.runs = world.book.runs.len() as u64;
        life.digest = world.trace.digest();
        life.told = world.trace.told.take().unwrap_or_default();
        if let Err(Broken { run: Some(run), .. }) = &ended {
            life.history = world.book.runs.get(run).map(text);
        }
        life.sometimes = world.sometimes;
        ended
    }));
    life.broken = match lived {
        Ok(ended) => ended.err(),
        Err(panic) => Some(Broken::new(8, "the engine panicked", panic_text(&*panic))),
    };
    life
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl World<'_> {
    fn live(&mut self, look: Look, life: &mut Life) -> Checked {
        for number in (0..self.plan.workers).filter(|_| !self.plan.away) {
            self.join(number)?;
        }
        for act in &self.plan.acts {
            self.act(*act)?;
        }
        self.dies = None;
        self.flush()?;
        if self.is_settled() {
            self.compare_with_record()?;
        }
        self.heal()?;
        self.check_end()?;
        self.book.entities.routines.values().for_each(|routine| routine.meet(&mut self.sometimes));
        let programs = self.programs().clone();
        for (place, (key, run)) in self.book.runs.iter().enumerate() {
            let tree = run.started.input.first().and_then(Payload::bytes).and_then(|bytes| Node::from_bytes(bytes));
            let tree = tree.ok_or_else(|| Broken::new(2, "an input is not what was given", "no tree").in_run(*key))?;
            follow(&tree, &run.events)
                .map_err(|detail| Broken::new(3, "the record is not what the program asks", detail).in_run(*key))?;
            meet(run, &tree, &mut self.sometimes);
            let sampled = place as u64 == self.plan.seed % self.book.runs.len() as u64;
            if sampled || look.every_prefix {
                life.prefixes += check_replays(*key, run, &programs, look.every_prefix, self.plan.seed)?;
            }
        }
        Ok(())
    }

    /// Every timer that is due has fired, whether its run was in memory or not (invariant 9).
    pub(crate) fn check_timers(&self) -> Checked {
        let now = self.now();
        for (key, run) in self.book.runs.iter().filter(|(_, run)| !run.ended && self.is_settled()) {
            if let Some((ordinal, due)) = run.timers.iter().find(|(_, due)| **due <= now) {
                let detail = format!("{} was due at {}, now is {}", Ordinal(*ordinal), due.0, now.0);
                return Err(Broken::new(9, "a timer that is due did not fire", detail).in_run(*key));
            }
        }
        Ok(())
    }

    pub(crate) fn not_ended(&self, rounds: usize) -> Broken {
        let open = self.book.runs.iter().find(|(_, run)| !run.ended).map(|(key, _)| *key).unwrap_or(RunKey(0));
        Broken::new(9, "a run did not come to an end", format!("after {rounds} rounds without faults")).in_run(open)
    }

    /// What must hold once everything has ended.
    fn check_end(&mut self) -> Checked {
        self.archive()?;
        self.hear()?;
        // Closed runs leave memory a few at each step.
        for _ in 0..self.book.runs.len() {
            self.step(antiphon_engine::Input::Tick)?;
        }
        self.flush()?;
        let stats = self.partition.stats();
        if (stats.live_runs, stats.held_bytes, stats.waiting) != (0, 0, 0) {
            return Err(Broken::new(7, "closed runs do not leave memory", format!("{stats:?}")));
        }
        if !self.pulling.waiting.is_empty() {
            self.wait_for_claims()?;
        }
        if self.callers.is_waiting() || !self.operators.is_empty() {
            return Err(Broken::new(9, "a caller was never answered", "every run has ended"));
        }
        for (key, run) in &self.book.runs {
            for (ordinal, activity) in &run.activities {
                let closed = activity.talk.as_ref().is_some_and(|talk| talk.phase == Phase::Closed);
                if !closed || !(activity.resolved || activity.withdrawn) {
                    let what = "a conversation was never closed";
                    return Err(Broken::new(4, what, Ordinal(*ordinal).to_string()).in_run(*key));
                }
            }
        }
        self.check_ledger()?;
        let histories = self.book.histories();
        self.store
            .compare(&histories)
            .map_err(|detail| Broken::new(6, "what is derived is not the fold of the log", detail))
    }
}

/// Replays a history whole and at prefixes: the same code must ask the same again, and nothing else.
fn check_replays(key: RunKey, run: &RunBook, programs: &Programs, every: bool, seed: u64) -> Checked<u64> {
    let wrong = |what: String| Broken::new(3, "a replay left the record", what).in_run(key);
    let whole = replay(programs, &run.history).map_err(|error| wrong(error.to_string()))?;
    if let Some(reason) = whole.stopped {
        return Err(wrong(reason.headline()));
    }
    let count = run.events.len();
    let from = if every { 1 } else { 1 + seed as usize % count };
    let to = if every { count } else { from };
    for cut in from..=to {
        let replayed = replay_prefix(programs, &run.history, cut).map_err(|error| wrong(error.to_string()))?;
        if let Some(reason) = replayed.stopped {
            return Err(wrong(format!("cut at event {cut}: {}", reason.headline())));
        }
        let rest: Vec<&RunEvent> = run.events[cut..]
            .iter()
            .map(|(_, event)| event)
            .take_while(|event| event.role() == Role::Command)
            .collect();
        // A turn that ran into a block is not on record, and what was held is taken in later.
        let blocked = run.events.iter().any(|(_, event)| matches!(event, RunEvent::Blocked(_)));
        let same = |(ours, theirs): (&RunEvent, &&RunEvent)| ours.name() == theirs.name();
        // A side effect is not taken beyond the cut: the rest of its turn waits for it.
        let waits =
            rest.get(replayed.beyond.len()).is_some_and(|next| matches!(next, RunEvent::SideEffectRecorded { .. }));
        let whole = replayed.beyond.len() == rest.len() || waits;
        let as_recorded = whole && replayed.beyond.iter().zip(&rest).all(same);
        if !blocked && !as_recorded {
            let names = |events: Vec<&RunEvent>| events.into_iter().map(RunEvent::name).collect::<Vec<_>>().join(", ");
            let asks = names(replayed.beyond.iter().collect());
            return Err(wrong(format!("cut at event {cut}: the code asks {asks}; recorded is {}", names(rest))));
        }
    }
    Ok((to + 1 - from) as u64)
}

/// Every event of a run, one per line.
fn text(run: &RunBook) -> String {
    let mut lines = Vec::new();
    for bytes in &run.history.records {
        let Ok(record) = Record::read(bytes) else { continue };
        let (stream, at) = (record.stream(), record.at.0);
        let mut seq = record.first_seq;
        let mut line = |event: &dyn std::fmt::Display| {
            lines.push(format!("{at} {stream} {seq} {event}"));
            seq += 1;
        };
        match &record.events {
            Events::Run(events) => events.iter().for_each(|event| line(event)),
            Events::Conversation { events, .. } => events.iter().for_each(|event| line(event)),
            Events::Entity(events) => events.iter().for_each(|event| line(event)),
        }
    }
    lines.join("\n")
}

/// Notes what a run came through.
fn meet(run: &RunBook, tree: &Node, sometimes: &mut Sometimes) {
    let mut blocked_held = false;
    let (mut resolved, mut last) = (Vec::new(), None::<&RunEvent>);
    for (_, event) in &run.events {
        match event {
            RunEvent::ActivityResolved { ordinal, outcome } => {
                resolved.push(ordinal.0);
                sometimes_of(outcome, run, ordinal.0, sometimes);
            }
            RunEvent::ActivityCancelled { .. } | RunEvent::TimerCancelled { .. } => match last {
                Some(RunEvent::ActivityResolved { .. }) => sometimes.met(Point::RaceWonByActivity),
                Some(RunEvent::TimerFired { .. }) => sometimes.met(Point::RaceWonByTimer),
                Some(RunEvent::SignalReceived { .. }) => sometimes.met(Point::RaceWonBySignal),
                _ => {}
            },
            RunEvent::Blocked(blocked) => {
                sometimes.met(if blocked.held > 0 { Point::BlockedByPanic } else { Point::BlockedInReplay });
                blocked_held = blocked.held > 0;
            }
            RunEvent::Unblocked if blocked_held => sometimes.met(Point::UnblockedWithHeldArrivals),
            RunEvent::RunCompleted { .. } => {
                sometimes.met(Point::RunCompleted);
                if run.cancel_requested && matches!(tree, Node::Aware { .. }) {
                    sometimes.met(Point::CancelWatched);
                }
            }
            RunEvent::RunFailed { .. } => sometimes.met(Point::RunFailed),
            RunEvent::RunCancelled { .. } => sometimes.met(Point::RunCancelled),
            _ => {}
        }
        if event.role() == Role::Arrival {
            last = Some(event);
        }
    }
    if resolved.windows(2).any(|pair| pair[0] > pair[1]) {
        sometimes.met(Point::JoinOutOfOrder);
    }
    let pushed = run.events.iter().any(|(_, event)| matches!(event, RunEvent::CompensationPushed { .. }));
    if pushed && run.ended && !matches!(run.ending(), Some(RunEvent::RunCompleted { .. })) {
        sometimes.met(Point::CompensationsRun);
    }
}

fn sometimes_of(outcome: &ActivityOutcome, run: &RunBook, ordinal: u32, sometimes: &mut Sometimes) {
    let Some(activity) = run.activities.get(&ordinal) else { return };
    let options = &activity.call.options;
    match outcome {
        ActivityOutcome::Completed { .. } if activity.attempt > 1 => sometimes.met(Point::RetriedThenCompleted),
        ActivityOutcome::Failed { attempts, .. } if *attempts > 1 && *attempts == options.retry.max_attempts => {
            sometimes.met(Point::AttemptsExhausted);
        }
        ActivityOutcome::Lost { .. } if options.at_most_once => sometimes.met(Point::AtMostOnceLost),
        ActivityOutcome::Lost { .. } => sometimes.met(Point::LossesExhausted),
        ActivityOutcome::TimedOut { kind, .. } => sometimes.met(match kind {
            TimeoutKind::ScheduleToStart => Point::TimedOutToStart,
            TimeoutKind::StartToClose => Point::TimedOutToClose,
            TimeoutKind::ScheduleToClose => Point::TimedOutInAll,
            TimeoutKind::Heartbeat => Point::TimedOutHeartbeat,
        }),
        ActivityOutcome::NoWorker { .. } => sometimes.met(Point::NoWorkerFailedFast),
        _ => {}
    }
    if activity.talk.as_ref().is_some_and(|talk| talk.last_exit == Some(ExitReason::LeaseExpired)) {
        sometimes.met(Point::LeaseExpired);
    }
    let left_out = activity.talk.as_ref().is_some_and(|talk| talk.spared);
    if left_out && activity.talk.as_ref().is_some_and(|talk| talk.outcome != Some(ConversationOutcome::Cancelled)) {
        sometimes.met(Point::ExcludedWorkerLeftOut);
    }
}
