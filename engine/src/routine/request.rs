use super::RoutineError;
use antiphon_history::{
    RoutinePatch, RoutineSpec, RoutineState, RoutineStatus, RunId, RunKey, SkipReason, Slot, Timestamp,
};

/// What callers ask about routines. Answered by a [`RoutinesReply`] when it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoutinesRequest {
    /// Make a routine. The same request under the same id or idempotency key finds the same one.
    Create {
        /// Its id; one is made if there is none.
        id: Option<String>,
        /// What it is.
        spec: Box<RoutineSpec>,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
    /// Change a routine that is active or paused.
    Update {
        /// Which.
        id: String,
        /// What is to be different.
        patch: Box<RoutinePatch>,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
    /// Let it start nothing until it is resumed. Open runs go on. Again: changes nothing.
    Pause {
        /// Which.
        id: String,
        /// Why, for whoever finds it paused.
        note: String,
        /// Who asks.
        who: String,
    },
    /// Let it go on. What it missed goes by its catch-up policy. Of one that is not paused: changes nothing.
    Resume {
        /// Which.
        id: String,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
    /// End it for good, and ask its open runs to cancel. Again: changes nothing.
    Cancel {
        /// Which.
        id: String,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
    /// How it stands.
    Get {
        /// Which.
        id: String,
    },
    /// Those that fit, the latest changed first, then by id.
    List {
        /// Which.
        filter: RoutineFilter,
        /// Go on behind this one: the change time and id of the last one of the page before.
        after: Option<(Timestamp, String)>,
        /// At most so many.
        limit: usize,
    },
    /// Those that are due, the longest due first, then by id.
    ListDue {
        /// Due by then; now if it is not given.
        at: Option<Timestamp>,
        /// At most so many.
        limit: usize,
    },
    /// When the next routine is due.
    NextDueAt,
    /// Carry out what is due, the longest due first. A routine that cannot be carried out keeps no other from it.
    RunDue {
        /// Only what was due by then: at most now, which it is if it is not given.
        now: Option<Timestamp>,
        /// At most so many routines.
        limit: usize,
    },
    /// Carry it out once, outside its schedule, which it leaves as it is.
    RunNow {
        /// Which.
        id: String,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
    /// Carry out the slots of a time that is past, one after another, once more or for the first time.
    Backfill {
        /// Which.
        id: String,
        /// From then on, included.
        from: Timestamp,
        /// Up to then, included; not later than now.
        to: Timestamp,
        /// Who asks.
        who: String,
        /// Why.
        why: String,
    },
}

/// Which routines are meant. What is absent fits all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoutineFilter {
    /// The id, in full.
    pub id: Option<String>,
    /// How it stands.
    pub status: Option<RoutineStatus>,
    /// The kind of schedule: `once`, `interval` or `cron`.
    pub schedule: Option<String>,
    /// The kind of target: `workflow`.
    pub target: Option<String>,
    /// Due by then, included.
    pub due_by: Option<Timestamp>,
    /// A label with its value.
    pub label: Option<(String, String)>,
}

impl RoutineFilter {
    /// Whether a routine fits.
    pub fn fits(&self, state: &RoutineState) -> bool {
        self.id.as_ref().is_none_or(|id| *id == state.id)
            && self.status.is_none_or(|status| status == state.status())
            && self.schedule.as_ref().is_none_or(|name| name == state.spec.schedule.name())
            && self.target.as_ref().is_none_or(|name| name == state.spec.target.name())
            && self.due_by.is_none_or(|by| state.due_at().is_some_and(|due| due <= by))
            && self.label.as_ref().is_none_or(|(name, value)| state.spec.labels.get(name) == Some(value))
    }
}

/// A routine as people see it: its state, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoutineView {
    /// Its key in this store.
    pub key: RunKey,
    /// How it stands.
    pub status: RoutineStatus,
    /// When there is something to do for it.
    pub due_at: Option<Timestamp>,
    /// All that is recorded of it.
    pub state: RoutineState,
}

impl RoutineView {
    /// The view of a state.
    pub fn new(key: RunKey, state: RoutineState) -> RoutineView {
        RoutineView { key, status: state.status(), due_at: state.due_at(), state }
    }
}

/// One slot that was decided about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RanSlot {
    /// The routine.
    pub id: String,
    /// The slot; of several that were skipped, the first.
    pub slot: Slot,
    /// What became of it.
    pub ran: Ran,
}

/// What became of a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ran {
    /// Its run exists.
    Started {
        /// The attempt.
        attempt: u32,
        /// The run's workflow id.
        workflow_id: String,
        /// The run.
        run_id: RunId,
    },
    /// Its run could not be started; that counts as a failed attempt.
    Failed {
        /// The attempt.
        attempt: u32,
        /// Why not.
        error: String,
    },
    /// It waits for an open run to end.
    Buffered,
    /// It is not carried out.
    Skipped(SkipReason),
    /// The engine takes no new runs now; nothing changed, the slot stays due.
    Held(String),
}

/// What callers are told about routines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoutinesReply {
    /// One routine as it stands now.
    Routine {
        /// The routine.
        routine: Box<RoutineView>,
        /// Whether the request found it as it was asked for, and changed nothing.
        existing: bool,
    },
    /// Some routines.
    Listed {
        /// Them.
        routines: Vec<RoutineView>,
        /// Whether there are more behind them.
        more: bool,
    },
    /// When the next routine is due; none if none will ever be without a word from somebody.
    NextDueAt(Option<Timestamp>),
    /// What was carried out.
    Ran(Vec<RanSlot>),
    /// The request changed nothing.
    Refused(RoutineError),
}
