use crate::{ActivityDefinition, Call, CallRefused, Route, WorkflowCall, WorkflowDefinition};
use antiphon_history::{CatchUp, Overlap, RetryPolicy, RoutineSpec, RoutineTarget, Schedule, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A routine to be made: what it starts and when, and the rules. Nothing happens before it is handed to
/// [`Routines::create`](crate::Routines::create).
///
/// ```
/// # use antiphon::{Never, Overlap, Routine, WorkflowContext, minutes, workflow};
/// # #[workflow]
/// # async fn report(_ctx: WorkflowContext<'_>, day: String) -> antiphon::Result<(), Never> { let _ = day; Ok(()) }
/// let nightly = Routine::cron("30 2 * * *", "Europe/Berlin", report("yesterday".to_owned()))
///     .id("nightly-report")
///     .overlap(Overlap::BufferOne)
///     .jitter(minutes(5))
///     .attempts(3, minutes(10));
/// # let _ = nightly;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a routine does nothing until it is handed to create()"]
pub struct Routine {
    id: Option<String>,
    spec: Result<RoutineSpec, CallRefused>,
}

impl Routine {
    /// Carries it out once, at a moment; one in the past is due at once.
    pub fn once(at: Timestamp, call: impl RoutineCall) -> Routine {
        Routine::new(Schedule::Once { at }, call)
    }

    /// Carries it out again and again, first at its start (see [`start_at`](Routine::start_at)), then every so long
    /// after that, whatever happens in between.
    pub fn every(every: Duration, call: impl RoutineCall) -> Routine {
        Routine::new(Schedule::Interval { every_ms: ms(every), phase_ms: None }, call)
    }

    /// Carries it out by the clocks of a time zone: minute, hour, day of the month, month, day of the week.
    ///
    /// A time that the zone skips stands for the first moment after the gap, one that comes twice for the first of the two.
    /// Errors: A0048, when it is created.
    pub fn cron(expression: &str, zone: &str, call: impl RoutineCall) -> Routine {
        Routine::new(Schedule::Cron { expression: expression.to_owned(), zone: zone.to_owned() }, call)
    }

    /// Carries it out by any schedule.
    pub fn new(schedule: Schedule, call: impl RoutineCall) -> Routine {
        Routine { id: None, spec: call.into_target().map(|target| RoutineSpec::new(schedule, target)) }
    }

    /// Its id, up to 160 bytes, never given twice in a store. Default: one is made.
    pub fn id(mut self, id: impl Into<String>) -> Routine {
        self.id = Some(id.into());
        self
    }

    /// What stands before the slot in the workflow ids of its runs. Default: the routine's id.
    pub fn id_prefix(self, prefix: impl Into<String>) -> Routine {
        let prefix = prefix.into();
        self.set(|spec| spec.target = spec.target.clone().with_id_prefix(prefix))
    }

    /// What becomes of slots that nobody looked at in time. Default: [`CatchUp::One`].
    pub fn catch_up(self, catch_up: CatchUp) -> Routine {
        self.set(|spec| spec.catch_up = catch_up)
    }

    /// What becomes of slots that fall due while a run is open. Default: [`Overlap::Skip`].
    pub fn overlap(self, overlap: Overlap) -> Routine {
        self.set(|spec| spec.overlap = overlap)
    }

    /// Starts each slot up to this much later, by a draw that is the same at every look. Default: none.
    pub fn jitter(self, jitter: Duration) -> Routine {
        self.set(|spec| spec.jitter_ms = ms(jitter))
    }

    /// No slot before this moment. Default: the moment of creation.
    pub fn start_at(self, at: Timestamp) -> Routine {
        self.set(|spec| spec.start_at = Some(at))
    }

    /// No slot behind this moment. Default: none.
    pub fn end_at(self, at: Timestamp) -> Routine {
        self.set(|spec| spec.end_at = Some(at))
    }

    /// It is completed when it has carried out so many slots. Default: none.
    pub fn max_runs(self, runs: u64) -> Routine {
        self.set(|spec| spec.max_runs = Some(runs))
    }

    /// A slot whose run failed is tried again, up to so many attempts in all, always after the same wait. Default: 1.
    pub fn attempts(self, attempts: u32, wait: Duration) -> Routine {
        let (initial_ms, max_ms) = (ms(wait), ms(wait));
        self.retry(RetryPolicy { max_attempts: attempts, initial_ms, factor_percent: 100, max_ms })
    }

    /// What follows a run that failed, in full.
    pub fn retry(self, retry: RetryPolicy) -> Routine {
        self.set(|spec| spec.retry = retry)
    }

    /// The same request under the same key finds the same routine, another one is a conflict.
    pub fn idempotency_key(self, key: impl Into<String>) -> Routine {
        let key = key.into();
        self.set(|spec| spec.idempotency_key = Some(key))
    }

    /// A word for people and filters.
    pub fn label(self, name: impl Into<String>, value: impl Into<String>) -> Routine {
        let (name, value) = (name.into(), value.into());
        self.set(|spec| drop(spec.labels.insert(name, value)))
    }

    /// How the worker of its activity call is chosen: what the call says itself lies over it, and the default of the queue
    /// under it. Not for a workflow.
    pub fn route(mut self, route: Route) -> Routine {
        match route.into_request() {
            Ok(route) => self.set(|spec| spec.route = Some(Box::new(route))),
            Err(error) => {
                self.spec = self.spec.and(Err(error.into()));
                self
            }
        }
    }

    /// A guard of this name ([`Builder::routine_guard`](crate::Builder::routine_guard)) must agree to its creation and to
    /// each change. A change of this name needs the old guard's word as well.
    pub fn guard(self, name: impl Into<String>) -> Routine {
        let name = name.into();
        self.set(|spec| spec.guard = Some(name.into()))
    }

    /// Begins paused, with a note for whoever finds it so.
    pub fn paused(self, note: impl Into<String>) -> Routine {
        let note = note.into();
        self.set(|spec| spec.paused = Some(note))
    }

    pub(crate) fn into_parts(self) -> Result<(Option<String>, RoutineSpec), CallRefused> {
        Ok((self.id, self.spec?))
    }

    fn set(mut self, change: impl FnOnce(&mut RoutineSpec)) -> Routine {
        if let Ok(spec) = &mut self.spec {
            change(spec);
        }
        self
    }
}

/// What a routine can carry out: the call of a workflow, or of an activity on its own with all its options.
pub trait RoutineCall {
    /// The call as it is recorded. Errors: a value, a name or an option that cannot be.
    fn into_target(self) -> Result<RoutineTarget, CallRefused>;
}

impl<D: WorkflowDefinition> RoutineCall for WorkflowCall<D> {
    fn into_target(self) -> Result<RoutineTarget, CallRefused> {
        let parts = self.into_parts()?;
        let workflow_type = parts.workflow_type.to_owned();
        Ok(RoutineTarget::Workflow { workflow_type, id_prefix: String::new(), input: parts.input })
    }
}

impl<D: ActivityDefinition> RoutineCall for Call<D> {
    fn into_target(self) -> Result<RoutineTarget, CallRefused> {
        Ok(RoutineTarget::Activity { call: Box::new(self.into_parts()?), id_prefix: String::new() })
    }
}

/// A moment of the system's clock as the engine counts it, for [`Routine::once`] and its like.
pub fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        Err(before) => Timestamp(-i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
