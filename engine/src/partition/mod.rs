//! One engine state machine: inputs in, events and effects out.
//!
//! | file | decides |
//! |---|---|
//! | `mod.rs` | the step: time first, then the input, then who gets which attempt |
//! | `core.rs` | how an event is recorded and folded, and what follows from a command |
//! | `requests.rs` | start, signal, cancel, wait |
//! | `activities.rs` | the way of an attempt: answers, deadlines, losses, retries, choice of worker |
//! | `queues.rs` | what operators set for task queues, and what is in them |
//! | `attempts.rs` | open attempts one by one, and how each stands |
//! | `routing.rs` | the choice by a route request, and what moves with it |
//! | `claims.rs` | the way of an attempt whose worker asks for it: claim, heartbeat, answer, release |
//! | `parked.rs` | requests for work that wait for some |
//! | `forgotten.rs` | whether anybody waits in vain |
//! | `workers.rs` | who is there: join, leave, drain, health, silence |
//! | `terminate.rs` | ending runs without asking their code |
//! | `memory.rs` | bringing runs into memory and letting go of them |
//! | `dead_letters.rs` | activities whose attempts or losses are used up: held, retried, discarded |
//! | `explain.rs` | what a run waits for and why; also for a partition that only looks |
//! | `reconcile.rs` | what is stuck, and its repair |
//! | `operate.rs` | one request of an operator while no run is in memory |
//! | `routines.rs` | what callers ask about routines |
//! | `slots.rs` | carrying routines out |

mod activities;
mod attempts;
mod claims;
mod core;
mod dead_letters;
mod explain;
mod forgotten;
mod memory;
mod operate;
mod parked;
mod queues;
mod reconcile;
mod requests;
mod routines;
mod routing;
mod slots;
mod terminate;
mod workers;

use crate::dispatch::{Dispatch, WorkerView};
use crate::entities::Entities;
use crate::repair::{Rule, RuleStats};
use crate::routine::Routines;
use crate::run::Run;
use crate::{Batch, Calendar, Config, Input, NoCalendar, Programs, ReplyTo};
use antiphon_conversation::TokenMint;
use antiphon_history::limits::bounded_text;
use antiphon_history::{ExitReason, Ordinal, RunKey, SegmentWriter, Timestamp, WorkerKind, WorkflowKey, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use claims::{LEASE_MAX_MS, WAIT_MAX_MS};
pub use memory::LoadError;
pub use operate::{Operation, OperationError};
pub use slots::Need;

/// The engine of one partition.
///
/// The caller feeds inputs, takes batches, makes their segments durable in order and only then carries out their
/// effects (invariant 1). If a segment cannot be made durable the partition is dropped and built again from the store;
/// nothing is ever rolled back.
pub struct Partition {
    /// Boxed: a tree moves its values about.
    pub(crate) runs: BTreeMap<RunKey, Box<Run>>,
    /// The runs in memory by the fingerprint of their workflow id.
    pub(crate) ids: BTreeSet<(u64, RunKey)>,
    pub(crate) core: Core,
}

/// All of a partition but its runs, so that a run and the rest can be changed together.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) programs: Programs,
    mint: TokenMint,
    store_id: [u8; 16],
    pub(crate) now: Timestamp,
    /// The id that the segment of the open batch will have.
    pub(crate) next_segment: u64,
    next_run: u64,
    pub(crate) batch: SegmentWriter,
    effects: Vec<crate::Effect>,
    /// What must happen when, without a word from anybody.
    pub(crate) deadlines: BTreeSet<(Timestamp, Due)>,
    pub(crate) dispatch: Dispatch,
    claims: claims::Claims,
    presence: workers::Presence,
    pub(crate) entities: Entities,
    waiters: BTreeSet<(RunKey, ReplyTo)>,
    waiting: BTreeMap<ReplyTo, RunKey>,
    /// Runs that were brought in without their code, to be ended by the next step.
    without_code: Vec<RunKey>,
    /// Closed and parked runs by the segment of their latest event: candidates for leaving memory.
    closed: BTreeSet<(u64, RunKey)>,
    parked: BTreeSet<(u64, RunKey)>,
    /// The archive holds all segments up to this one.
    archived: u64,
    /// About what the runs with open activities hold.
    held_bytes: usize,
    /// The earliest timer of the runs that were let go of since somebody asked.
    left_due: Option<Timestamp>,
    pub(crate) routines: Routines,
    calendar: Arc<dyn Calendar>,
    pub(crate) stats: Stats,
    repairs: [RuleStats; Rule::ALL.len()],
    /// When the engine next looks for what is stuck, if it does so by itself.
    reconcile_at: Timestamp,
}

/// Whose deadline an entry of the index is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Due {
    Timer(RunKey, Ordinal),
    Activity(RunKey, Ordinal),
    Claim(ReplyTo),
    Silence,
}

/// Counters since the partition was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Runs in memory now.
    pub live_runs: usize,
    /// About how many bytes those with open activities hold.
    pub held_bytes: usize,
    /// Attempts that wait for a worker now.
    pub waiting: usize,
    /// Legs under way now.
    pub in_flight: usize,
    /// Runs started.
    pub started: u64,
    /// Runs ended.
    pub ended: u64,
    /// Runs let go of while they waited.
    pub evicted: u64,
    /// Runs brought back from the store.
    pub loaded: u64,
    /// Runs blocked by divergence, panic or an await of something foreign.
    pub blocked: u64,
    /// Answers and heartbeats that named a leg that is over, or carried a wrong token. They changed nothing.
    pub stale_answers: u64,
    /// Words of pulling workers that were refused: for a leg that is over or another's, with a wrong token, or other than
    /// the first. They changed nothing.
    pub fenced: u64,
    /// Events that could not follow. Always 0 in a sound engine; the event was not recorded.
    pub anomalies: u64,
}

/// What a partition is built from.
#[derive(Clone)]
pub struct Origin {
    /// The store's id: makes run ids unique across stores.
    pub store_id: [u8; 16],
    /// 32 fresh random bytes: makes tokens that cannot be guessed.
    pub secret: [u8; 32],
    /// The id of the last segment of the log.
    pub last_segment: u64,
    /// The largest run key in the store.
    pub last_run: u64,
    /// The latest recorded time, or the clock's if it is later.
    pub now: Timestamp,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin(segment {}, run {})", self.last_segment, self.last_run)
    }
}

impl Partition {
    /// An empty partition on top of a store. Entities are brought in by [`Partition::load_entity`], then the runs that need
    /// care by [`Partition::load`].
    pub fn new(config: Config, programs: Programs, origin: Origin) -> Partition {
        Partition {
            runs: BTreeMap::new(),
            ids: BTreeSet::new(),
            core: Core {
                config,
                programs,
                mint: TokenMint::new(origin.secret),
                store_id: origin.store_id,
                now: origin.now,
                next_segment: origin.last_segment + 1,
                next_run: origin.last_run + 1,
                batch: Default::default(),
                effects: Vec::new(),
                deadlines: BTreeSet::new(),
                dispatch: Dispatch::default(),
                claims: claims::Claims::default(),
                presence: workers::Presence::default(),
                entities: Entities::default(),
                waiters: BTreeSet::new(),
                waiting: BTreeMap::new(),
                without_code: Vec::new(),
                closed: BTreeSet::new(),
                parked: BTreeSet::new(),
                archived: origin.last_segment,
                held_bytes: 0,
                left_due: None,
                routines: Routines::default(),
                calendar: Arc::new(NoCalendar),
                stats: Stats::default(),
                repairs: Default::default(),
                reconcile_at: origin.now.plus_ms(config.reconcile_every_ms.unwrap_or_default()),
            },
        }
    }

    /// The same, with a calendar that reads cron expressions and knows time zones.
    pub fn with_calendar(mut self, calendar: Arc<dyn Calendar>) -> Partition {
        self.core.calendar = calendar;
        self
    }

    /// Takes one input at `now`. What follows is in the next [`Partition::take`].
    ///
    /// Engine time never runs backwards: a `now` before the latest recorded time counts as that time.
    pub fn step(&mut self, input: Input, now: Timestamp) {
        self.advance(now);
        match input {
            Input::Start(request, reply) => self.start(request, reply),
            Input::Run(request, reply) => self.run(request, reply),
            Input::Signal { target, name, input, request_id, reply } => {
                self.signal(&target, name, input, request_id, reply);
            }
            Input::Cancel { target, reason, reply } => self.cancel(&target, reason, reply),
            Input::Terminate { target, by, reply } => self.terminate(&target, by, reply),
            Input::Wait { target, reply } => self.wait(&target, reply),
            Input::Repair(request, reply) => self.repair_request(*request, reply),
            Input::Queues(request, reply) => self.queues_request(*request, reply),
            Input::Routing(request, reply) => self.core.routing_request(*request, reply),
            Input::Forget(reply) => self.core.forget(reply),
            Input::WorkerJoined(spec) => self.local_joined(spec, WorkerKind::Pool),
            Input::WorkerLeft { name } => self.local_left(&name, &ExitReason::WorkerExit),
            Input::WorkerDied { name, how } => {
                self.local_left(&name, &ExitReason::WorkerDied { how: bounded_text(&how) });
            }
            Input::Workers(request, reply) => self.workers_request(request, reply),
            Input::Answered { conversation, leg, token, answer } => self.answered(conversation, leg, token, answer),
            Input::Heartbeat { conversation, leg, token, details } => {
                self.heartbeat(conversation, leg, token, details);
            }
            Input::Archived { through } => self.core.archived = self.core.archived.max(through),
            Input::Routines(request, reply) => self.routines(request, reply),
            Input::Tick => self.tick_routines(),
        }
        self.put_back();
        self.give_out();
        self.tell_quiet();
        self.let_go_of_some();
    }

    /// Whether runs that were under way are still to be loaded. Until then queues with limits give out nothing: what counts
    /// against their limits is not known yet.
    pub fn set_loading(&mut self, loading: bool) {
        if self.core.dispatch.set_starting(loading, self.core.now) && !loading {
            self.give_out();
        }
    }

    /// Closes the batch: everything decided since the last call.
    pub fn take(&mut self) -> Batch {
        let segment = self.core.batch.take();
        if segment.is_some() {
            self.core.next_segment += 1;
        }
        Batch { segment, at: self.core.now, effects: std::mem::take(&mut self.core.effects) }
    }

    /// Whether there is something to take.
    pub fn has_work(&self) -> bool {
        !self.core.batch.is_empty() || !self.core.effects.is_empty()
    }

    /// Bytes of the open batch.
    pub fn batch_bytes(&self) -> usize {
        self.core.batch.len()
    }

    /// Whether the open batch has grown to its bound: take it before the next step.
    pub fn is_full(&self) -> bool {
        self.core.batch.len() >= self.core.config.segment_bytes
    }

    /// The next moment at which something must happen without an input. Step with [`Input::Tick`] then.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let due = self.core.deadlines.first().map(|(at, _)| *at);
        let of_line = self.core.dispatch.next_due();
        let soon = due.into_iter().chain(self.next_leaving()).chain(self.next_routine());
        soon.chain(self.next_reconcile()).chain(of_line).min()
    }

    /// As [`Partition::next_deadline`], without the waits and the silence of workers: where to a clock that stands still may
    /// jump while nothing is under way.
    pub fn next_jump(&self) -> Option<Timestamp> {
        let of_workers = |due: &Due| matches!(due, Due::Claim(_) | Due::Silence);
        let due = self.core.deadlines.iter().find(|(_, due)| !of_workers(due)).map(|(at, _)| *at);
        due.into_iter().chain(self.next_leaving()).chain(self.core.dispatch.next_due()).min()
    }

    /// Whether every worker that asks for its work waits for some: none is about to speak.
    pub fn pullers_wait(&self) -> bool {
        self.core.dispatch.pullers().all(|worker| self.core.claims.waits(worker))
    }

    /// The earliest timer of the runs that were let go of since the last call: from then on the caller must look into the
    /// store for due runs.
    pub fn take_left_due(&mut self) -> Option<Timestamp> {
        self.core.left_due.take()
    }

    /// Whether the newest run of a workflow id is in memory.
    pub fn knows(&self, workflow: &WorkflowKey) -> bool {
        self.newest(workflow).is_some()
    }

    /// Whether a run is in memory.
    pub fn has_run(&self, run: RunKey) -> bool {
        self.runs.contains_key(&run)
    }

    /// The workflow id of a run in memory.
    pub fn workflow_of(&self, run: RunKey) -> Option<WorkflowKey> {
        self.runs.get(&run).map(|run| run.state.workflow())
    }

    /// Whether somebody waits for a run to end.
    pub fn has_waiters(&self) -> bool {
        !self.core.waiting.is_empty()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        Stats {
            live_runs: self.runs.len(),
            held_bytes: self.core.held_bytes,
            waiting: self.core.dispatch.waiting(),
            in_flight: self.core.dispatch.in_flight(),
            ..self.core.stats
        }
    }

    /// The connected workers.
    pub fn workers(&self) -> Vec<WorkerView> {
        self.core.dispatch.views()
    }

    /// The newest run in memory of a workflow id.
    pub(crate) fn newest(&self, workflow: &WorkflowKey) -> Option<&Run> {
        let fingerprint = workflow.fingerprint();
        let alike = self.ids.range((fingerprint, RunKey(0))..=(fingerprint, RunKey(u64::MAX)));
        alike.rev().filter_map(|(_, key)| self.runs.get(key)).find(|run| run.state.is_of(workflow)).map(|run| &**run)
    }

    /// Lets everything happen that is due, in order of its moment.
    fn advance(&mut self, now: Timestamp) {
        self.core.now = self.core.now.max(now);
        while let Some(&(at, due)) = self.core.deadlines.first() {
            let early_ms = if matches!(due, Due::Timer(..)) && planted!("timer-rounded-down") { 999 } else { 0 };
            if at > self.core.now.plus_ms(early_ms) {
                break;
            }
            self.core.deadlines.pop_first();
            match due {
                Due::Timer(run, ordinal) => self.timer_due(run, ordinal),
                Due::Activity(run, ordinal) => self.activity_due(run, ordinal),
                Due::Claim(to) => self.claim_due(to),
                Due::Silence => self.silence_due(),
            }
        }
        self.reconcile_if_due();
    }

    fn timer_due(&mut self, key: RunKey, ordinal: Ordinal) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        if run.state.timers.contains(ordinal) {
            self.core.arrive(run, antiphon_history::RunEvent::TimerFired { ordinal });
        }
    }
}
