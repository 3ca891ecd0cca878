//! Carrying routines out: starting slots, ending them with their runs, and what follows.
//!
//! A slot is recorded as started in the segment that holds the first event of its run, and as ended in the one that holds its
//! run's last event. Between the two the run is an ordinary run: its activities are leased, lost and sent again, and a crash
//! leaves it to the next start of the engine. So a slot needs no claim of its own and cannot be left behind.

use super::{Core, Partition};
use crate::repair::{By, Rule};
use crate::routine::{Other, Step, decide, followed};
use crate::run::Run;
use crate::state::Outcome;
use crate::{IdReuse, Ran, RanSlot, RequestError, StartRequest};
use antiphon_conversation::retry::delay_after;
use antiphon_history::{
    EntityEvent, EntityName, EntityState, RoutineEvent, RoutineSlot, RoutineState, RunEvent, RunKey, SkipReason, Slot,
    SlotOutcome, Timestamp, WorkflowKey,
};

/// Most steps of one routine at one look: skipping and dropping are steps too.
const STEPS_MAX: usize = 2 * antiphon_history::RoutineSpec::BUFFER_MAX;

/// Most routines that one tick carries out, so that a batch stays small; the others are due still.
const PER_TICK: usize = 64;

/// How long the engine waits before it tries again by itself to start slots that it had no room for, in milliseconds.
const HELD_MS: u64 = 1_000;

/// Who asked for a slot, and why. Empty for what the schedule asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub(super) who: &'a str,
    pub(super) why: &'a str,
}

/// A run that must be in memory for something about routines, as far as the store has one: the newest of a workflow id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// As it lives: brought in by [`Partition::load`].
    Live(WorkflowKey),
    /// To be ended by the next step: [`Partition::bring_in_to_end`] will do.
    ToEnd(WorkflowKey),
}

impl Need {
    /// Its workflow id.
    pub fn workflow(&self) -> &WorkflowKey {
        match self {
            Need::Live(workflow) | Need::ToEnd(workflow) => workflow,
        }
    }
}

impl Partition {
    /// The runs that must be in memory, as far as the store has them, before routines are carried out at `now`: those of the
    /// ids that would be started, since an id is never given twice, and the open runs that would be cancelled or terminated.
    pub fn routine_needs(&self, limit: usize, now: Timestamp) -> Vec<Need> {
        let now = self.core.now.max(now);
        let due = self.core.routines.due_by(now, limit);
        due.iter().flat_map(|id| self.needs_of(id, now)).collect()
    }

    /// The same, for what [`Input::Tick`](crate::Input::Tick) carries out by itself. Empty at no cost if nothing is due.
    pub fn tick_needs(&self, now: Timestamp) -> Vec<Need> {
        if self.next_routine().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.routine_needs(PER_TICK, now)
    }

    /// The workflow ids of a routine's open runs.
    pub(super) fn open_ids(&self, id: &str) -> Vec<WorkflowKey> {
        let Some(state) = self.core.routine(id) else { return Vec::new() };
        state.open.iter().map(|open| default_key(state.workflow_id(open.slot, open.attempt))).collect()
    }

    fn needs_of(&self, id: &str, now: Timestamp) -> Vec<Need> {
        let Some(mut state) = self.core.routine(id).cloned() else { return Vec::new() };
        let calendar = self.core.calendar.as_ref();
        for _ in 0..STEPS_MAX {
            match decide(&state, now, calendar) {
                Some(Step::Start { slot, attempt, .. }) => {
                    return vec![Need::Live(default_key(state.workflow_id(slot, attempt)))];
                }
                Some(Step::Buffer { slot, other: other @ (Other::Cancelled | Other::Terminated), .. }) => {
                    let need = if other == Other::Terminated { Need::ToEnd } else { Need::Live };
                    // If they end at once, the slot starts in the same breath.
                    let next = Need::Live(default_key(state.workflow_id(Slot::Planned(slot), 1)));
                    return self.open_ids(id).into_iter().map(need).chain([next]).collect();
                }
                None => break,
                Some(step) => {
                    let Some(event) = written(step) else { break };
                    if state.apply(&event, now).is_err() {
                        break;
                    }
                }
            }
        }
        Vec::new()
    }

    /// Carries out what is due by itself, if it is to.
    pub(super) fn tick_routines(&mut self) {
        let now = self.core.now;
        if !self.core.config.run_routines || self.core.routines.held_until > now {
            return;
        }
        for id in self.core.routines.due_by(now, PER_TICK) {
            if self.is_full() {
                break;
            }
            let ran = self.carry_out_due(&id, now);
            if ran.iter().any(|ran| matches!(ran.ran, Ran::Held(_))) {
                self.core.routines.held_until = now.plus_ms(HELD_MS);
                break;
            }
        }
    }

    /// Starts no slots by itself for a while: the caller can take no new runs now.
    pub fn hold_routines(&mut self) {
        self.core.routines.held_until = self.core.now.plus_ms(HELD_MS);
    }

    /// When routines want a tick, if the engine carries them out by itself.
    pub(super) fn next_routine(&self) -> Option<Timestamp> {
        let due = self.core.routines.next_due().filter(|_| self.core.config.run_routines)?;
        Some(due.max(self.core.routines.held_until))
    }

    /// Does what is due of one routine, until it has started a slot or nothing is due any more.
    pub(super) fn carry_out_due(&mut self, id: &str, now: Timestamp) -> Vec<RanSlot> {
        let mut done = Vec::new();
        for _ in 0..STEPS_MAX {
            let Some(state) = self.core.routine(id) else { break };
            let Some(step) = decide(state, now, self.core.calendar.as_ref()) else { break };
            let (slot, ran) = match step {
                Step::Start { slot, attempt, next } => {
                    let ran = self.start_slot(id, slot, attempt, next, now, Asked::default());
                    done.push(RanSlot { id: id.to_owned(), slot, ran });
                    break;
                }
                Step::Skip { from, reason, .. } => (Slot::Planned(from), Ran::Skipped(reason)),
                Step::Buffer { slot, .. } => (Slot::Planned(slot), Ran::Buffered),
                Step::Drop { slot, reason } => (slot, Ran::Skipped(reason)),
            };
            let Some(event) = written(step) else { break };
            if !self.core.record_routine(id, event) {
                break;
            }
            done.push(RanSlot { id: id.to_owned(), slot, ran });
            if let Step::Buffer { other, .. } = step {
                self.core.skip_what_it_stands_for(id, now);
                self.make_room(id, other);
            }
        }
        done
    }

    /// The runs of slots that are under way and not in memory, at most `limit`. Each is open on record, unless the record
    /// is damaged: then [`Partition::load`] of an ended one returns its slot, and [`Partition::slot_without_run`] that of
    /// one that is not there.
    pub fn slot_runs_elsewhere(&self, limit: usize) -> Vec<RunKey> {
        let open = self.core.entities.iter().filter_map(|(_, entity)| match &entity.state {
            EntityState::Routine(Some(state)) => Some(&state.open),
            _ => None,
        });
        open.flatten().filter_map(|open| open.run).filter(|run| !self.runs.contains_key(run)).take(limit).collect()
    }

    /// Returns the slot of a run that is not in the store.
    pub fn slot_without_run(&mut self, run: RunKey) {
        let stranded = self.core.entities.iter().find_map(|(_, entity)| match (&entity.name, &entity.state) {
            (EntityName::Routine(id), EntityState::Routine(Some(state))) => {
                let open = state.open.iter().find(|open| open.run == Some(run))?;
                Some(RoutineSlot { routine: id.clone(), slot: open.slot, attempt: open.attempt })
            }
            _ => None,
        });
        if let Some(of) = stranded.filter(|_| !self.runs.contains_key(&run)) {
            self.core.audit_slot(&of.routine, "its run is not on record");
            self.core.end_slot(&of, SlotOutcome::Failed { error: "its run is not on record".to_owned() });
        }
    }

    /// Starts one attempt of a slot, or records why its run cannot be started, which counts as a failed attempt.
    pub(super) fn start_slot(
        &mut self,
        id: &str,
        slot: Slot,
        attempt: u32,
        next: Option<Timestamp>,
        now: Timestamp,
        asked: Asked<'_>,
    ) -> Ran {
        let Some(state) = self.core.routine(id) else { return Ran::Failed { attempt, error: String::new() } };
        let workflow_id = state.workflow_id(slot, attempt);
        let target = &state.spec.target;
        let request = StartRequest {
            workflow: default_key(workflow_id.clone()),
            workflow_type: target.workflow_type().to_owned(),
            input: state.spec.input(),
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        let program = match self.startable(&request) {
            Err(error @ RequestError::Overloaded { .. }) => return Ran::Held(error.to_string()),
            other => other,
        };
        let run = program.as_ref().ok().map(|_| RunKey(self.core.next_run));
        let Asked { who, why } = asked;
        let event = RoutineEvent::SlotStarted { slot, attempt, run, next, who: who.to_owned(), why: why.to_owned() };
        if !self.core.record_routine(id, event) {
            return Ran::Failed { attempt, error: "the slot could not be recorded".to_owned() };
        }
        if !slot.is_manual() && attempt == 1 {
            self.core.skip_what_it_stands_for(id, now);
        }
        match program {
            Ok(program) => {
                let of = RoutineSlot { routine: id.to_owned(), slot, attempt };
                let key = self.begin(request, program.as_ref(), Some(Box::new(of)));
                Ran::Started { attempt, workflow_id, run_id: self.runs[&key].state.started.run_id }
            }
            Err(error) => {
                let error = bounded_error(&error.to_string());
                let failed = SlotOutcome::Failed { error: error.clone() };
                self.core.end_slot(&RoutineSlot { routine: id.to_owned(), slot, attempt }, failed);
                Ran::Failed { attempt, error }
            }
        }
    }

    /// Does to the open runs of a routine what its overlap policy says.
    fn make_room(&mut self, id: &str, other: Other) {
        let Some(state) = self.core.routine(id) else { return };
        let runs: Vec<RunKey> = state.open.iter().filter_map(|open| open.run).collect();
        let why = SkipReason::Superseded.name();
        match other {
            Other::GoesOn => {}
            Other::Cancelled => self.cancel_runs(&runs, why),
            Other::Terminated => self.terminate_runs(&runs, &By::the_engine(why)),
        }
    }

    /// Asks runs to cancel, those of them that are in memory and have not been asked.
    pub(super) fn cancel_runs(&mut self, runs: &[RunKey], reason: &str) {
        for key in runs {
            if let Some(run) = self.runs.get_mut(key)
                && !run.state.cancel_requested
                && !run.state.status.is_closed()
            {
                self.core.arrive(run, RunEvent::CancelRequested { reason: reason.to_owned() });
            }
        }
    }
}

impl Core {
    /// The state of a routine, if there is one of this id.
    pub(crate) fn routine(&self, id: &str) -> Option<&RoutineState> {
        match &self.entities.get(&EntityName::Routine(id.to_owned()))?.state {
            EntityState::Routine(state) => state.as_deref(),
            _ => None,
        }
    }

    /// Records an event of a routine. False, and counted, if it cannot follow.
    pub(super) fn record_routine(&mut self, id: &str, event: RoutineEvent) -> bool {
        let name = EntityName::Routine(id.to_owned());
        let is_new = self.entities.get(&name).is_none();
        let told = self.tell(&name, &EntityEvent::Routine(event));
        let Core { entities, routines, .. } = self;
        if let Some(EntityState::Routine(Some(state))) = entities.get(&name).map(|entity| &entity.state) {
            if is_new { routines.add(state) } else { routines.note(state) }
        }
        told
    }

    /// Under the policy `one` a slot that was taken stands for all that are due.
    fn skip_what_it_stands_for(&mut self, id: &str, now: Timestamp) {
        let Some(state) = self.routine(id) else { return };
        if let Some(event) = followed(state, now, self.calendar.as_ref()).and_then(written) {
            self.record_routine(id, event);
        }
    }

    /// The run of a slot has ended. What is late (the routine was cancelled meanwhile) changes nothing.
    pub(super) fn run_of_slot_ended(&mut self, of: &RoutineSlot, run: RunKey, outcome: Option<&Outcome>) {
        if !self.routine(&of.routine).is_some_and(|state| state.holds(of, run)) {
            return;
        }
        let outcome = match outcome {
            Some(Outcome::Completed(_)) => SlotOutcome::Completed,
            Some(Outcome::Failed(failure)) => SlotOutcome::Failed { error: bounded_error(&failure.message) },
            Some(Outcome::Cancelled(_)) => SlotOutcome::Cancelled,
            Some(Outcome::Terminated(_)) => SlotOutcome::Terminated,
            None => return,
        };
        self.end_slot(of, outcome);
    }

    /// Returns a slot whose run has ended without ending it, which no crash leaves behind: a damaged or foreign record.
    pub(super) fn return_slot(&mut self, run: &Run) {
        let Some(of) = run.state.started.routine.clone().filter(|_| run.state.status.is_closed()) else { return };
        if self.routine(&of.routine).is_some_and(|state| state.holds(&of, run.state.key)) {
            self.audit_slot(&of.routine, "its run has ended");
            self.run_of_slot_ended(&of, run.state.key, run.state.outcome.as_deref());
        }
    }

    fn audit_slot(&mut self, routine: &str, why: &str) {
        self.repairs[Rule::SlotStranded as usize].repaired += 1;
        self.audit(Rule::SlotStranded.verb(), format!("routine {routine}"), &By::the_engine(why));
    }

    fn end_slot(&mut self, of: &RoutineSlot, outcome: SlotOutcome) {
        let Some(state) = self.routine(&of.routine) else { return };
        let (slot, attempt) = (of.slot, of.attempt);
        let may_retry = matches!(outcome, SlotOutcome::Failed { .. }) && !slot.is_manual() && state.end.is_none();
        let wait = delay_after(&state.spec.retry, attempt).filter(|_| may_retry);
        let retry_at = wait.map(|wait| self.now.plus_ms(wait));
        self.record_routine(&of.routine, RoutineEvent::SlotEnded { slot, attempt, outcome, retry_at });
    }
}

/// The event that records a step, other than a start.
fn written(step: Step) -> Option<RoutineEvent> {
    Some(match step {
        Step::Start { .. } => return None,
        Step::Skip { from, through, reason, next } => RoutineEvent::SlotsSkipped { from, through, reason, next },
        Step::Buffer { slot, next, .. } => RoutineEvent::SlotBuffered { slot, next },
        Step::Drop { slot, reason } => RoutineEvent::SlotDropped { slot, reason },
    })
}

pub(super) fn default_key(id: String) -> WorkflowKey {
    WorkflowKey { namespace: WorkflowKey::DEFAULT_NAMESPACE.to_owned(), id }
}

/// An error text as a routine's state keeps it.
fn bounded_error(text: &str) -> String {
    let mut end = text.len().min(SlotOutcome::ERROR_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
