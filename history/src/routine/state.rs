use super::spec::{RoutineSpec, Schedule};
use super::{RoutineEvent, RoutineSlot, RoutineStatus, Slot, SlotOutcome};
use crate::{Digest, RunKey, Timestamp};
use serde::{Deserialize, Serialize};

/// How a routine came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoutineEnd {
    /// No slot is left.
    #[serde(rename = "ok")]
    Completed,
    /// Its only slot failed for good.
    #[serde(rename = "ex")]
    Exhausted,
    /// Somebody ended it.
    #[serde(rename = "cx")]
    Cancelled,
}

/// A slot whose run is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenSlot {
    /// The slot.
    #[serde(rename = "s")]
    pub slot: Slot,
    /// The attempt.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Its run; none only between two events of one segment.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunKey>,
    /// Since when.
    #[serde(rename = "t")]
    pub started_at: Timestamp,
}

/// A slot that waits for its next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetrySlot {
    /// The slot.
    #[serde(rename = "s")]
    pub slot: Slot,
    /// The attempt that comes.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// When it is due.
    #[serde(rename = "t")]
    pub at: Timestamp,
}

/// Slots that somebody asked for afterwards and that have not been started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Backfill {
    /// Which request of the routine, from 1.
    #[serde(rename = "n")]
    pub number: u32,
    /// The slot that comes next.
    #[serde(rename = "nx")]
    pub next: Timestamp,
    /// None lies behind this moment.
    #[serde(rename = "t")]
    pub to: Timestamp,
}

/// How an attempt of a slot ended, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndedSlot {
    /// The slot.
    #[serde(rename = "s")]
    pub slot: Slot,
    /// The attempt.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Its run, if it could be started.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunKey>,
    /// When it began.
    #[serde(rename = "b")]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(rename = "t")]
    pub ended_at: Timestamp,
    /// How.
    #[serde(rename = "x")]
    pub outcome: SlotOutcome,
}

/// What the records of one routine say: the fold of its events.
///
/// Bounded: the specification ([`RoutineSpec::INPUT_MAX_BYTES`]), [`RoutineSpec::OPEN_MAX`] slots that are open or tried
/// again, [`RoutineSpec::BUFFER_MAX`] buffered ones, [`RoutineState::BACKFILLS_MAX`] backfills, the latest that is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoutineState {
    /// Its name.
    #[serde(rename = "id")]
    pub id: String,
    /// What it is now.
    #[serde(rename = "sp")]
    pub spec: RoutineSpec,
    /// The digest of the request that created it.
    #[serde(rename = "h")]
    pub request: Digest,
    /// The grid's origin, of an interval without a phase: its first slot.
    #[serde(rename = "or")]
    pub origin: Timestamp,
    /// The next slot of the schedule, about which nothing is decided yet.
    #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// Slots of the schedule that wait for an open run to end, the oldest first.
    #[serde(rename = "bu", default, skip_serializing_if = "Vec::is_empty")]
    pub buffer: Vec<Timestamp>,
    /// What was asked for afterwards.
    #[serde(rename = "bf", default, skip_serializing_if = "Vec::is_empty")]
    pub backfills: Vec<Backfill>,
    /// Slots whose runs are open, in the order of their start.
    #[serde(rename = "op", default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenSlot>,
    /// Slots that are tried again, in the order of their failing.
    #[serde(rename = "re", default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<RetrySlot>,
    /// The note of whoever paused it, while it is paused.
    #[serde(rename = "pa", default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// How it ended, if it has.
    #[serde(rename = "en", default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RoutineEnd>,
    /// When it was created.
    #[serde(rename = "ca")]
    pub created_at: Timestamp,
    /// When its last event was written.
    #[serde(rename = "ua")]
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(rename = "ea", default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Slots of the schedule that were started.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub runs: u64,
    /// Slots that were asked for outside the schedule.
    #[serde(rename = "nm", default, skip_serializing_if = "is_zero")]
    pub manual_runs: u32,
    /// Backfills that were asked for.
    #[serde(rename = "nb", default, skip_serializing_if = "is_zero")]
    pub backfill_requests: u32,
    /// The attempt that ended last.
    #[serde(rename = "la", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<EndedSlot>,
    /// The attempt that failed last; a later success does not erase it.
    #[serde(rename = "lf", default, skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<EndedSlot>,
    /// The attempt that completed last; a later failure does not erase it.
    #[serde(rename = "lc", default, skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<EndedSlot>,
}

fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

/// An event that cannot follow what is recorded of a routine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow: {problem}")]
pub struct IllegalRoutineEvent {
    /// The event.
    pub event: &'static str,
    /// Why not.
    pub problem: &'static str,
}

impl RoutineState {
    /// Most backfills that are under way.
    pub const BACKFILLS_MAX: usize = 8;

    /// The state after the first event.
    pub fn created(event: &RoutineEvent, at: Timestamp) -> Result<RoutineState, IllegalRoutineEvent> {
        let RoutineEvent::Created { id, spec, request, next, .. } = event else {
            return Err(IllegalRoutineEvent { event: event.name(), problem: "there is no such routine" });
        };
        Ok(RoutineState {
            id: id.clone(),
            paused: spec.paused.clone(),
            spec: (**spec).clone(),
            request: *request,
            origin: *next,
            next: Some(*next),
            buffer: Vec::new(),
            backfills: Vec::new(),
            open: Vec::new(),
            retries: Vec::new(),
            end: None,
            created_at: at,
            updated_at: at,
            ended_at: None,
            runs: 0,
            manual_runs: 0,
            backfill_requests: 0,
            last: None,
            last_failed: None,
            last_completed: None,
        })
    }

    /// Folds the next event of a routine that may not exist yet. After an error nothing has changed.
    pub(crate) fn fold(
        state: &mut Option<Box<RoutineState>>,
        event: &RoutineEvent,
        at: Timestamp,
    ) -> Result<(), String> {
        match state {
            Some(state) => state.apply(event, at).map_err(|illegal| illegal.problem.to_owned()),
            None => {
                let created = RoutineState::created(event, at).map_err(|illegal| illegal.problem.to_owned())?;
                *state = Some(Box::new(created));
                Ok(())
            }
        }
    }

    /// How it stands.
    pub fn status(&self) -> RoutineStatus {
        match self.end {
            Some(RoutineEnd::Completed) => RoutineStatus::Completed,
            Some(RoutineEnd::Exhausted) => RoutineStatus::Exhausted,
            Some(RoutineEnd::Cancelled) => RoutineStatus::Cancelled,
            None if !self.open.is_empty() => RoutineStatus::Running,
            None if self.paused.is_some() => RoutineStatus::Paused,
            None if !self.retries.is_empty() => RoutineStatus::RetryWaiting,
            None => RoutineStatus::Active,
        }
    }

    /// The workflow id of a slot's attempt.
    pub fn workflow_id(&self, slot: Slot, attempt: u32) -> String {
        slot.workflow_id(self.spec.id_prefix(&self.id), attempt)
    }

    /// Whether a run of the routine carries out this attempt now.
    pub fn holds(&self, of: &RoutineSlot, run: RunKey) -> bool {
        self.open.iter().any(|open| open.slot == of.slot && open.attempt == of.attempt && open.run == Some(run))
    }

    /// Folds the next event. After an error nothing has changed.
    pub fn apply(&mut self, event: &RoutineEvent, at: Timestamp) -> Result<(), IllegalRoutineEvent> {
        self.check(event).map_err(|problem| IllegalRoutineEvent { event: event.name(), problem })?;
        match event {
            RoutineEvent::Created { .. } => {}
            RoutineEvent::Updated { patch, next, .. } => {
                patch.apply(&mut self.spec);
                if patch.schedule.is_some() || !patch.start_at.is_keep() {
                    self.origin = next.unwrap_or(self.origin);
                }
                self.next = *next;
            }
            RoutineEvent::Paused { note, .. } => self.paused = Some(note.clone()),
            RoutineEvent::Resumed { .. } => self.paused = None,
            RoutineEvent::Cancelled { .. } => {
                self.clear();
                self.close(RoutineEnd::Cancelled, at);
            }
            RoutineEvent::SlotStarted { slot, attempt, run, next, .. } => {
                self.taken(*slot, *attempt, *next);
                self.open.push(OpenSlot { slot: *slot, attempt: *attempt, run: *run, started_at: at });
            }
            RoutineEvent::SlotEnded { slot, attempt, outcome, retry_at } => {
                self.ended(*slot, *attempt, outcome, *retry_at, at);
            }
            RoutineEvent::SlotsSkipped { next, .. } => self.next = *next,
            RoutineEvent::SlotBuffered { slot, next } => {
                self.buffer.push(*slot);
                self.next = *next;
            }
            RoutineEvent::SlotDropped { slot, .. } => {
                self.retries.retain(|retry| retry.slot != *slot);
                self.buffer.retain(|buffered| Slot::Planned(*buffered) != *slot);
            }
            RoutineEvent::BackfillAsked { from, to, .. } => {
                self.backfill_requests += 1;
                self.backfills.push(Backfill { number: self.backfill_requests, next: *from, to: *to });
            }
        }
        self.updated_at = at;
        self.finish(event, at);
        Ok(())
    }

    /// Why an event cannot follow. The one table of what may follow what.
    fn check(&self, event: &RoutineEvent) -> Result<(), &'static str> {
        let must = |holds: bool, problem: &'static str| if holds { Ok(()) } else { Err(problem) };
        let going_on = self.end.is_none();
        match event {
            RoutineEvent::Created { .. } => Err("it exists already"),
            RoutineEvent::Updated { .. } => {
                must(matches!(self.status(), RoutineStatus::Active | RoutineStatus::Paused), "it is busy or over")
            }
            RoutineEvent::Paused { .. } => must(going_on && self.paused.is_none(), "it is paused or over"),
            RoutineEvent::Resumed { .. } => must(going_on && self.paused.is_some(), "it is not paused"),
            RoutineEvent::Cancelled { .. } => must(going_on, "it is over"),
            RoutineEvent::SlotStarted { slot, attempt, .. } => {
                must(going_on || slot.is_manual(), "it is over")?;
                must(self.open.iter().all(|open| open.slot != *slot), "the slot is open")?;
                must(*attempt > 1 || self.has_room(), "too many slots are open")?;
                must(self.may_take(*slot, *attempt), "it is neither the next slot nor one that waits")
            }
            RoutineEvent::SlotEnded { slot, attempt, .. } => {
                let open = |open: &OpenSlot| open.slot == *slot && open.attempt == *attempt;
                must(self.open.iter().any(open), "the slot's attempt is not open")
            }
            RoutineEvent::SlotsSkipped { from, .. } => must(self.next == Some(*from), "that is not the next slot"),
            RoutineEvent::SlotBuffered { slot, .. } => {
                must(self.next == Some(*slot), "that is not the next slot")?;
                must(self.buffer.len() < RoutineSpec::BUFFER_MAX, "too many slots wait")
            }
            RoutineEvent::SlotDropped { slot, .. } => {
                let waits = self.retries.iter().any(|retry| retry.slot == *slot)
                    || self.buffer.iter().any(|buffered| Slot::Planned(*buffered) == *slot);
                must(waits, "no such slot waits")
            }
            RoutineEvent::BackfillAsked { .. } => {
                must(going_on && self.backfills.len() < Self::BACKFILLS_MAX, "it is over, or too many are under way")
            }
        }
    }

    fn may_take(&self, slot: Slot, attempt: u32) -> bool {
        if attempt > 1 {
            return self.retries.iter().any(|retry| retry.slot == slot && retry.attempt == attempt);
        }
        match slot {
            Slot::Planned(at) => self.next == Some(at) || self.buffer.contains(&at),
            Slot::Backfill { number, at } => {
                self.backfills.iter().any(|backfill| backfill.number == number && backfill.next == at)
            }
            Slot::Manual { number, .. } => self.end != Some(RoutineEnd::Cancelled) && number == self.manual_runs + 1,
        }
    }

    /// A slot's attempt was taken from where it waited.
    fn taken(&mut self, slot: Slot, attempt: u32, next: Option<Timestamp>) {
        if attempt > 1 {
            self.retries.retain(|retry| retry.slot != slot);
            return;
        }
        match slot {
            Slot::Planned(at) => {
                self.runs += 1;
                if self.next == Some(at) {
                    self.next = next;
                }
                self.buffer.retain(|buffered| *buffered != at);
            }
            Slot::Backfill { number, .. } => {
                let Some(place) = self.backfills.iter().position(|backfill| backfill.number == number) else { return };
                match next {
                    Some(next) => self.backfills[place].next = next,
                    None => drop(self.backfills.remove(place)),
                }
            }
            Slot::Manual { .. } => self.manual_runs += 1,
        }
    }

    fn ended(&mut self, slot: Slot, attempt: u32, outcome: &SlotOutcome, retry_at: Option<Timestamp>, at: Timestamp) {
        let Some(place) = self.open.iter().position(|open| open.slot == slot) else { return };
        let OpenSlot { run, started_at, .. } = self.open.remove(place);
        let ended = EndedSlot { slot, attempt, run, started_at, ended_at: at, outcome: outcome.clone() };
        match outcome {
            SlotOutcome::Completed => self.last_completed = Some(ended.clone()),
            SlotOutcome::Failed { .. } => self.last_failed = Some(ended.clone()),
            SlotOutcome::Cancelled | SlotOutcome::Terminated => {}
        }
        self.last = Some(ended);
        if let Some(at) = retry_at
            && self.end.is_none()
        {
            self.retries.push(RetrySlot { slot, attempt: attempt + 1, at });
        }
    }

    fn clear(&mut self) {
        self.next = None;
        self.buffer.clear();
        self.backfills.clear();
        self.open.clear();
        self.retries.clear();
    }

    fn close(&mut self, end: RoutineEnd, at: Timestamp) {
        self.end = Some(end);
        self.ended_at = Some(at);
        self.paused = None;
    }

    /// Ends the routine when nothing is left to do.
    fn finish(&mut self, event: &RoutineEvent, at: Timestamp) {
        let idle = self.next.is_none()
            && self.buffer.is_empty()
            && self.backfills.is_empty()
            && self.open.is_empty()
            && self.retries.is_empty();
        if self.end.is_some() || !idle {
            return;
        }
        let failed = match event {
            RoutineEvent::SlotEnded { slot, outcome, .. } => {
                !slot.is_manual() && matches!(outcome, SlotOutcome::Failed { .. })
            }
            _ => false,
        };
        let once = matches!(self.spec.schedule, Schedule::Once { .. });
        self.close(if once && failed { RoutineEnd::Exhausted } else { RoutineEnd::Completed }, at);
    }
}
