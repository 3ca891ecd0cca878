//! One simulated life: a partition, a store, workers and callers, and time. This file is the shell between engine and
//! store; it does what `runtime/src/session.rs` does, without threads.

use crate::book::Book;
use crate::broken::{Broken, Checked};
use crate::calendar::OwnCalendar;
use crate::callers::Callers;
use crate::edges::Found;
use crate::interpret::Surroundings;
use crate::plan::{Fault, Plan};
use crate::pullers::{Pulling, pullers};
use crate::sometimes::{Point, Sometimes};
use crate::store::Keep;
use crate::told::Told;
use crate::trace::Trace;
use crate::wide::Feature;
use crate::workers::{Held, specs};
use antiphon_engine::{Batch, Effect, Input, Origin, Partition, Programs, ReplyTo, WorkerSpec};
use antiphon_history::{Entity, RunKey, Timestamp, WorkflowKey, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where the next commit fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Death {
    /// Between the engine's decision and the log.
    AfterTake,
    /// In the log, out of nothing.
    BeforeEffects,
    /// Some effects are out.
    AmongEffects,
    AfterEffects,
    /// The store says that it failed.
    Store(Fault),
}

/// Most runs that one look at the clock brings back; small, so that pages matter.
const DUE_AT_ONCE: usize = 2;

pub(crate) struct World<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) partition: Partition,
    pub(crate) store: Box<dyn Keep>,
    pub(crate) around: Surroundings,
    programs: Programs,
    /// A batch is with the writer.
    in_flight: Option<Batch>,
    pub(crate) dies: Option<Death>,
    /// The archive has told this, and the engine has not heard it.
    pub(crate) archived: Option<u64>,
    pub(crate) clock: i64,
    /// The engine's time: it never goes back, whatever the clock does.
    pub(crate) latest: Timestamp,
    ahead_ms: u64,
    cold_due: Option<Timestamp>,
    due_through: Timestamp,
    due_page: usize,
    pub(crate) openings: u64,
    evicted: u64,
    /// What each worker announces, by number.
    pub(crate) specs: Vec<Arc<WorkerSpec>>,
    pub(crate) connected: BTreeMap<String, Arc<WorkerSpec>>,
    /// Whether the connected workers are those under which the open batch was decided, and the one in flight.
    steady: [bool; 2],
    pub(crate) held: Vec<Held>,
    pub(crate) old: Vec<Held>,
    pub(crate) told: Told,
    pub(crate) pulling: Pulling,
    /// Operators that wait for an answer.
    pub(crate) operators: BTreeSet<ReplyTo>,
    pub(crate) found: Found,
    pub(crate) callers: Callers,
    pub(crate) book: Book,
    pub(crate) trace: Trace,
    pub(crate) sometimes: Sometimes,
    pub(crate) steps: u64,
}

fn partition(
    plan: &Plan,
    programs: &Programs,
    store: &mut dyn Keep,
    openings: u64,
    now: Timestamp,
) -> Checked<Partition> {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&plan.seed.to_le_bytes());
    secret[8..16].copy_from_slice(&openings.to_le_bytes());
    let last_run = store.last_run().map_err(|error| Broken::of_store(&error))?;
    let origin = Origin { store_id: [1; 16], secret, last_segment: store.tip().0, last_run, now };
    Ok(Partition::new(plan.config, programs.clone(), origin).with_calendar(Arc::new(OwnCalendar)))
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, mut store: Box<dyn Keep>, told: bool) -> Checked<World<'p>> {
        let around = Surroundings::default();
        let programs = around.programs();
        let clock = 1_000_000;
        let trace = Trace::new(told);
        Ok(World {
            partition: partition(plan, &programs, &mut *store, 0, Timestamp(clock))?,
            plan,
            store,
            around,
            programs,
            in_flight: None,
            dies: None,
            archived: None,
            clock,
            latest: Timestamp(clock),
            ahead_ms: 0,
            cold_due: Some(Timestamp(i64::MIN)),
            due_through: Timestamp(i64::MIN),
            due_page: DUE_AT_ONCE,
            openings: 0,
            evicted: 0,
            specs: specs(plan),
            connected: BTreeMap::new(),
            steady: [true; 2],
            held: Vec::new(),
            old: Vec::new(),
            told: Told::default(),
            pulling: Pulling { workers: pullers(plan), ..Pulling::default() },
            operators: BTreeSet::new(),
            found: Found::default(),
            callers: Callers::default(),
            book: Book::default(),
            trace,
            sometimes: Sometimes::default(),
            steps: 0,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock).plus_ms(self.ahead_ms)
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// One input; the engine's own invariants are checked behind it.
    pub(crate) fn step(&mut self, input: Input) -> Checked {
        let now = self.now();
        if matches!(input, Input::Tick) {
            for need in self.partition.tick_needs(now) {
                self.bring_in(need.workflow())?;
            }
        }
        self.steps += 1;
        self.latest = self.latest.max(now);
        self.trace.input(&input, now);
        let workers_change =
            matches!(input, Input::WorkerJoined(_) | Input::WorkerLeft { .. } | Input::WorkerDied { .. });
        if workers_change {
            self.steady = [self.steady[0] && !self.partition.has_work(), false];
        }
        self.partition.step(input, now);
        self.partition.check().map_err(Broken::of_engine)
    }

    /// Lets happen what is due. What a routine starts may have something due at once.
    pub(crate) fn ticks(&mut self) -> Checked {
        const ENOUGH: usize = 1_000;
        for _ in 0..ENOUGH {
            let before = self.partition.batch_bytes();
            self.step(Input::Tick)?;
            if self.partition.batch_bytes() == before || !self.plan.features.contains(&Feature::Routines) {
                break;
            }
        }
        Ok(())
    }

    /// Hands the open batch to the store, if it is free; the batch before is finished first.
    pub(crate) fn flush(&mut self) -> Checked {
        self.commit()?;
        self.take();
        self.commit()
    }

    /// Hands the open batch to a store that takes its time.
    pub(crate) fn flush_slowly(&mut self) -> Checked {
        if self.in_flight.is_none() {
            self.take();
        } else if self.partition.has_work() {
            self.sometimes.met(Point::SlowCommitOverlapped);
            self.commit()?;
            self.take();
        }
        Ok(())
    }

    fn take(&mut self) {
        if self.in_flight.is_none() && self.partition.has_work() {
            self.in_flight = Some(self.partition.take());
            self.steady = [true, self.steady[0]];
        }
    }

    /// Whether everything decided is durable and out.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && !self.partition.has_work()
    }

    /// Finishes the batch that the store has: durable first, then its effects (invariant 1).
    fn commit(&mut self) -> Checked {
        let Some(Batch { segment, at, effects }) = self.in_flight.take() else { return Ok(()) };
        let mut effects: Vec<Effect> = effects;
        let dies = segment.is_some().then(|| self.dies.take()).flatten();
        match dies {
            Some(Death::AfterTake) => return self.die(Point::CrashAfterTake, true),
            Some(Death::Store(Fault::Full)) => return self.die(Point::StoreFull, false),
            Some(Death::Store(Fault::Busy)) => return self.die(Point::StoreBusy, false),
            Some(Death::Store(Fault::UnknownNotApplied)) => return self.die(Point::UnknownNotApplied, false),
            _ => {}
        }
        if planted!("released-before-durable") {
            for effect in std::mem::take(&mut effects) {
                self.release(effect)?;
            }
        }
        if let Some(body) = segment {
            self.trace.segment(&body);
            self.store.append(&body, at).map_err(|error| Broken::of_store(&error))?;
            // Who is unwell, or not wanted by a route, is there and may not be chosen all the same.
            let steady = self.steady[1] && !self.plan.features.contains(&Feature::Routes);
            let connected = steady.then_some(&self.connected);
            self.book.take_in(&body, &self.told, connected)?;
        }
        match dies {
            Some(Death::BeforeEffects) => return self.die(Point::CrashBeforeEffects, true),
            Some(Death::Store(_)) => return self.die(Point::UnknownApplied, false),
            Some(Death::AmongEffects) => effects.truncate(effects.len() / 2),
            _ => {}
        }
        for effect in effects {
            self.release(effect)?;
        }
        match dies {
            Some(Death::AmongEffects) => self.die(Point::CrashAmongEffects, true),
            Some(_) => self.die(Point::CrashAfterEffects, true),
            None => Ok(()),
        }
    }

    fn release(&mut self, effect: Effect) -> Checked {
        self.trace.effect(&effect);
        match effect {
            Effect::Dispatch { worker, request } => self.dispatched(&worker, *request),
            Effect::CancelLeg { worker, conversation, leg } => {
                self.told_to_stop(&worker, conversation, leg);
                Ok(())
            }
            Effect::Reply { to, reply } => self.replied(to, reply),
        }
    }

    /// The process is gone with everything that was not durable; the next one opens the store.
    pub(crate) fn die(&mut self, point: Point, hard: bool) -> Checked {
        self.sometimes.met(point);
        self.trace.other("the process dies");
        self.trace.tell(|| format!("-- {point:?}"));
        self.in_flight = None;
        self.dies = None;
        self.archived = None;
        self.callers.lose_all();
        self.operators.clear();
        self.found.lose_all();
        // Legs of the process that died: their bodies may still say something, which must not count.
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|held| self.remember(held));
        self.store.reopen(hard).map_err(|error| Broken::of_store(&error))?;
        self.openings += 1;
        let tip_at = self.store.tip().1;
        self.ahead_ms = tip_at.since_ms(Timestamp(self.clock));
        let now = Timestamp(self.clock).max(tip_at);
        self.latest = now;
        self.partition = partition(self.plan, &self.programs, &mut *self.store, self.openings, now)?;
        for row in self.store.entities().map_err(|error| Broken::of_store(&error))? {
            self.partition.load_entity(&row);
        }
        self.partition.set_loading(true);
        self.book.lines.is_loading = true;
        (self.cold_due, self.due_through) = (Some(Timestamp(i64::MIN)), Timestamp(i64::MIN));
        self.evicted = 0;
        self.steady = [true; 2];
        for spec in self.connected.clone().into_values() {
            self.step(Input::WorkerJoined(WorkerSpec::clone(&spec)))?;
        }
        self.partition.settle_workers();
        for run in self.store.needs_loading().map_err(|error| Broken::of_store(&error))? {
            self.sometimes.met(Point::LoadedWithOpenConversation);
            self.load(run)?;
        }
        self.partition.set_loading(false);
        self.pull_restarted();
        let flushed = self.flush();
        self.book.lines.is_loading = false;
        flushed
    }

    /// Compares every run in memory with its record. Only where everything decided is durable.
    pub(crate) fn compare_with_record(&self) -> Checked {
        for (key, run) in self.book.runs.iter().filter(|(key, _)| self.partition.has_run(**key)) {
            self.partition.check_recorded(*key, &run.history).map_err(Broken::of_engine)?;
        }
        let in_memory: BTreeMap<RunKey, &Entity> = self.partition.entities().collect();
        if in_memory != self.book.entities.iter().collect() {
            return Err(Broken::new(6, "an entity in memory is not what its record says", format!("{in_memory:?}")));
        }
        Ok(())
    }

    fn load(&mut self, run: RunKey) -> Checked {
        let history = self.store.history(run).map_err(|error| Broken::of_store(&error))?;
        let Some(history) = history else {
            return Err(Broken::new(6, "the archive has a row without a history", format!("{run:?}")));
        };
        self.trace.tell(|| format!("-- loads {run:?}"));
        let now = self.now();
        self.partition
            .load(&history, now)
            .map_err(|error| Broken::new(6, "a record does not load", error.to_string()).in_run(run))?;
        self.partition.check().map_err(Broken::of_engine)
    }

    /// Makes sure that the newest run of a workflow id is in memory, if the store has one. True if it had to be loaded.
    pub(crate) fn bring_in(&mut self, workflow: &WorkflowKey) -> Checked<bool> {
        if self.partition.knows(workflow) {
            return Ok(false);
        }
        let Some(run) = self.store.find(workflow).map_err(|error| Broken::of_store(&error))? else { return Ok(false) };
        self.load(run)?;
        Ok(true)
    }

    /// Brings back runs that wait in the store and whose timer is due.
    pub(crate) fn bring_back_due(&mut self) -> Checked {
        loop {
            let now = self.now();
            let left = self.partition.take_left_due();
            self.cold_due = self.cold_due.into_iter().chain(left).min();
            if self.cold_due.is_none_or(|due| due > now) {
                return Ok(());
            }
            let page = self.store.due_after(self.due_through, self.due_page);
            let page = page.map_err(|error| Broken::of_store(&error))?;
            let cut = page.last().filter(|_| page.len() == self.due_page).map(|(due, _)| *due);
            let is_taken = |due: Timestamp| due <= now && cut.is_none_or(|cut| due < cut);
            let (taken, rest) = page.split_at(page.partition_point(|(due, _)| is_taken(*due)));
            for (due, run) in taken {
                if !self.partition.has_run(*run) {
                    self.sometimes.met(Point::TimerAfterReload);
                    self.load(*run)?;
                }
                self.due_through = *due;
            }
            self.cold_due = rest.first().map(|(due, _)| *due);
            let one_moment = taken.is_empty() && self.cold_due.is_some_and(|due| due <= now);
            self.due_page = if one_moment { self.due_page * 2 } else { DUE_AT_ONCE };
            self.step(Input::Tick)?;
        }
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn next_moment(&self) -> Option<Timestamp> {
        [self.partition.next_deadline(), self.cold_due].into_iter().flatten().min()
    }

    /// Lets the clock go on to a moment of the engine's.
    pub(crate) fn go_to(&mut self, moment: Timestamp) {
        self.clock = self.clock.max(moment.0.saturating_sub_unsigned(self.ahead_ms));
    }

    /// Folds what is durable into the archive.
    pub(crate) fn archive(&mut self) -> Checked {
        self.trace.other("folds");
        let through = self.store.fold().map_err(|error| Broken::of_store(&error))?;
        self.archived = Some(through);
        Ok(())
    }

    /// The engine hears how far the archive is.
    pub(crate) fn hear(&mut self) -> Checked {
        match self.archived.take() {
            Some(through) => self.step(Input::Archived { through }),
            None => Ok(()),
        }
    }
}
