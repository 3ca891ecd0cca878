//! What callers ask about routines. Each refusal is typed and writes nothing.

use super::Partition;
use super::slots::{Asked, Need, default_key};
use crate::routine::{RoutineAsk, Routines, check_spec, first_slot, following};
use crate::{By, ReplyTo, RoutineError, RoutineFilter, RoutineView, RoutinesReply, RoutinesRequest};
use antiphon_history::limits::bounded_text;
use antiphon_history::{
    AuditEvent, Entity, EntityEvent, EntityName, EntityState, IdError, RoutineEnd, RoutineEvent, RoutinePatch,
    RoutineSpec, RoutineState, RoutineStatus, RoutineTarget, RunKey, Schedule, Slot, Timestamp,
};
use std::cmp::Reverse;

type Answer = Result<RoutinesReply, RoutineError>;

impl Partition {
    /// The runs that must be in memory, as far as the store has them, before a request is carried out.
    pub fn needs_of_request(&self, request: &RoutinesRequest, now: Timestamp) -> Vec<Need> {
        match request {
            RoutinesRequest::RunDue { now: by, limit } => self.routine_needs(*limit, by.unwrap_or(now)),
            RoutinesRequest::RunNow { id, .. } => {
                let state = self.core.routine(id);
                let next = |state: &RoutineState| Slot::Manual { number: state.manual_runs + 1, at: now };
                state.map(|state| Need::Live(default_key(state.workflow_id(next(state), 1)))).into_iter().collect()
            }
            RoutinesRequest::Cancel { id, .. } => self.open_ids(id).into_iter().map(Need::Live).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn routines(&mut self, request: RoutinesRequest, reply: ReplyTo) {
        let answer = self.answer_routines(request).unwrap_or_else(RoutinesReply::Refused);
        self.core.reply(reply, crate::Reply::Routines(Box::new(answer)));
    }

    pub(super) fn answer_routines(&mut self, request: RoutinesRequest) -> Answer {
        match request {
            RoutinesRequest::Create { id, spec, who, why } => self.create_routine(id, spec, who, why),
            RoutinesRequest::Update { id, patch, who, why } => self.update_routine(&id, patch, who, why),
            RoutinesRequest::Pause { id, note, who } => self.pause_routine(&id, note, who),
            RoutinesRequest::Resume { id, who, why } => self.resume_routine(&id, who, why),
            RoutinesRequest::Cancel { id, who, why } => self.cancel_routine(&id, who, why),
            RoutinesRequest::Get { id } => self.state_of(&id).map(|state| self.shown(&state.id, true)),
            RoutinesRequest::List { filter, after, limit } => Ok(self.list_routines(&filter, after, limit)),
            RoutinesRequest::ListDue { at, limit } => {
                let at = at.unwrap_or(self.core.now);
                let mut ids = self.core.routines.due_by(at, limit.saturating_add(1));
                let more = ids.len() > limit;
                ids.truncate(limit);
                Ok(RoutinesReply::Listed { routines: self.views(&ids), more })
            }
            RoutinesRequest::NextDueAt => Ok(RoutinesReply::NextDueAt(self.core.routines.next_due())),
            RoutinesRequest::RunDue { now, limit } => self.run_due(now, limit),
            RoutinesRequest::RunNow { id, who, why } => self.run_routine_now(&id, &who, &why),
            RoutinesRequest::Backfill { id, from, to, who, why } => self.backfill(&id, from, to, who, why),
        }
    }

    fn create_routine(&mut self, id: Option<String>, spec: Box<RoutineSpec>, who: String, why: String) -> Answer {
        if let Some(id) = &id {
            check_id(id)?;
        }
        let request = spec.digest(id.as_deref());
        let found = |what: &'static str, name: &str, id: &str| match self.core.routine(id) {
            Some(state) if state.request == request => Ok(self.shown(id, true)),
            _ => Err(RoutineError::Conflict { what, name: name.to_owned(), id: id.to_owned() }),
        };
        if let Some(name) = &spec.idempotency_key
            && let Some(id) = self.core.routines.of_request(name)
        {
            return found("idempotency key", name, id);
        }
        if let Some(id) = id.as_deref().filter(|id| self.core.routine(id).is_some()) {
            return found("id", id, id);
        }
        let next = check_spec(&spec, self.core.now, self.core.calendar.as_ref())?;
        self.check_routine_target(&spec.target)?;
        let ask = RoutineAsk { id: id.as_deref().unwrap_or_default(), spec: &spec, before: None, who: &who };
        if let Err(denied) = self.core.programs.routine_guards.agree(&ask) {
            return Err(self.denied("routine.create", id.as_deref().unwrap_or_default(), who, denied));
        }
        if self.core.routines.len() >= Routines::MAX {
            let todo = "no routine is ever forgotten; keep those that belong together in one, or use another store";
            return Err(RoutineError::TooMany { what: "the routines of this store", max: Routines::MAX as u64, todo });
        }
        let (who, why) = (bounded_text(&who), bounded_text(&why));
        let id = id.unwrap_or_else(|| self.core.new_routine_id());
        let event = RoutineEvent::Created { id: id.clone(), spec, request, next, who, why };
        self.core.record_routine(&id, event);
        Ok(self.shown(&id, false))
    }

    fn update_routine(&mut self, id: &str, patch: Box<RoutinePatch>, who: String, why: String) -> Answer {
        let state = self.state_for(id, "updated")?;
        refuse_unless_idle(state, "updated")?;
        let mut spec = state.spec.clone();
        patch.apply(&mut spec);
        let (now, calendar) = (self.core.now, self.core.calendar.as_ref());
        check_spec(&spec, now, calendar)?;
        if let Some(target) = &patch.target {
            self.check_routine_target(target)?;
        }
        let ask = RoutineAsk { id, spec: &spec, before: Some(&state.spec), who: &who };
        if let Err(denied) = self.core.programs.routine_guards.agree(&ask) {
            return Err(self.denied("routine.update", id, who, denied));
        }
        let next = match patch.next {
            Some(next) => Some(next),
            // A new schedule begins now, not at a start that is long past.
            None if patch.schedule.is_some() || !patch.start_at.is_keep() => {
                let start_at = Some(spec.start_at.map_or(now, |start| start.max(now)));
                first_slot(&RoutineSpec { start_at, ..spec.clone() }, now, calendar)
            }
            None => state.next,
        };
        let next = next.filter(|next| {
            spec.end_at.is_none_or(|end| *next <= end) && spec.max_runs.is_none_or(|max| state.runs < max)
        });
        let (who, why) = (bounded_text(&who), bounded_text(&why));
        self.core.record_routine(id, RoutineEvent::Updated { patch, next, who, why });
        Ok(self.shown(id, false))
    }

    /// What a guard refused stands in the audit, as a choice of a worker does.
    fn denied(&mut self, verb: &str, id: &str, who: String, denied: RoutineError) -> RoutineError {
        let By { who, why } = By { who, why: denied.to_string() }.bounded();
        let refused = AuditEvent::Refused { who, verb: verb.to_owned(), on: format!("routine {id}"), why };
        self.core.tell(&EntityName::Audit, &EntityEvent::Audit(refused));
        denied
    }

    fn pause_routine(&mut self, id: &str, note: String, who: String) -> Answer {
        if self.state_for(id, "paused")?.paused.is_some() {
            return Ok(self.shown(id, true));
        }
        let (note, who) = (bounded_text(&note), bounded_text(&who));
        self.core.record_routine(id, RoutineEvent::Paused { note, who });
        Ok(self.shown(id, false))
    }

    fn resume_routine(&mut self, id: &str, who: String, why: String) -> Answer {
        if self.state_for(id, "resumed")?.paused.is_none() {
            return Ok(self.shown(id, true));
        }
        let (who, why) = (bounded_text(&who), bounded_text(&why));
        self.core.record_routine(id, RoutineEvent::Resumed { who, why });
        Ok(self.shown(id, false))
    }

    fn cancel_routine(&mut self, id: &str, who: String, why: String) -> Answer {
        if self.state_of(id)?.end == Some(RoutineEnd::Cancelled) {
            return Ok(self.shown(id, true));
        }
        let open: Vec<RunKey> = self.state_for(id, "cancelled")?.open.iter().filter_map(|open| open.run).collect();
        let (who, why) = (bounded_text(&who), bounded_text(&why));
        let reason = if why.is_empty() { "its routine was cancelled".to_owned() } else { why.clone() };
        // First the routine: what its runs come to from here on is not its business any more.
        self.core.record_routine(id, RoutineEvent::Cancelled { who, why });
        self.cancel_runs(&open, &reason);
        Ok(self.shown(id, false))
    }

    fn list_routines(&self, filter: &RoutineFilter, after: Option<(Timestamp, String)>, limit: usize) -> RoutinesReply {
        let place = |state: &RoutineState| (Reverse(state.updated_at), state.id.clone());
        let after = after.map(|(at, id)| (Reverse(at), id));
        let mut found: Vec<(Reverse<Timestamp>, String)> = self
            .core
            .entities
            .iter()
            .filter_map(|(_, entity)| routine_of(entity))
            .filter(|state| filter.fits(state))
            .map(place)
            .filter(|place| after.as_ref().is_none_or(|after| place > after))
            .collect();
        found.sort();
        let more = found.len() > limit;
        found.truncate(limit);
        let ids: Vec<String> = found.into_iter().map(|(_, id)| id).collect();
        RoutinesReply::Listed { routines: self.views(&ids), more }
    }

    fn run_due(&mut self, now: Option<Timestamp>, limit: usize) -> Answer {
        let now = self.not_later_than_now("now", now.unwrap_or(self.core.now))?;
        let due = self.core.routines.due_by(now, limit);
        Ok(RoutinesReply::Ran(due.iter().flat_map(|id| self.carry_out_due(id, now)).collect()))
    }

    fn run_routine_now(&mut self, id: &str, who: &str, why: &str) -> Answer {
        let state = self.state_of(id)?;
        let status = state.status();
        if status == RoutineStatus::Cancelled {
            return Err(RoutineError::Terminal { id: id.to_owned(), status, verb: "run" });
        }
        if state.is_busy() {
            return Err(RoutineError::Busy { id: id.to_owned(), status, verb: "run" });
        }
        let slot = Slot::Manual { number: state.manual_runs + 1, at: self.core.now };
        self.check_routine_target(&state.spec.target)?;
        let (who, why) = (bounded_text(who), bounded_text(why));
        let ran = self.start_slot(id, slot, 1, None, self.core.now, Asked { who: &who, why: &why });
        Ok(RoutinesReply::Ran(vec![crate::RanSlot { id: id.to_owned(), slot, ran }]))
    }

    fn backfill(&mut self, id: &str, from: Timestamp, to: Timestamp, who: String, why: String) -> Answer {
        self.not_later_than_now("to", to)?;
        let state = self.state_for(id, "backfilled")?;
        if state.backfills.len() >= RoutineState::BACKFILLS_MAX {
            let (what, max) = ("the backfills that are under way", RoutineState::BACKFILLS_MAX as u64);
            return Err(RoutineError::TooMany { what, max, todo: "wait until one is through" });
        }
        let before = Timestamp(from.0.saturating_sub(1));
        let first = match &state.spec.schedule {
            Schedule::Once { at } => Some(*at).filter(|at| *at >= from),
            _ => following(&state.spec, state.origin, before, self.core.calendar.as_ref()),
        };
        let Some(first) = first.filter(|first| *first <= to) else {
            let value = antiphon_history::rfc3339(from);
            let problem = "the schedule has no slot in that time".to_owned();
            return Err(RoutineError::Invalid { field: "backfill", value, problem });
        };
        let (who, why) = (bounded_text(&who), bounded_text(&why));
        self.core.record_routine(id, RoutineEvent::BackfillAsked { from: first, to, who, why });
        Ok(self.shown(id, false))
    }

    /// What a target needs of this program: its code, and an input that the code can read.
    fn check_routine_target(&self, target: &RoutineTarget) -> Result<(), RoutineError> {
        Ok(self.program_for(target.workflow_type(), &target.input()).map(drop)?)
    }

    fn not_later_than_now(&self, field: &'static str, at: Timestamp) -> Result<Timestamp, RoutineError> {
        if at <= self.core.now {
            return Ok(at);
        }
        let problem = "it is later than the engine's time".to_owned();
        Err(RoutineError::Invalid { field, value: antiphon_history::rfc3339(at), problem })
    }

    fn state_of(&self, id: &str) -> Result<&RoutineState, RoutineError> {
        self.core.routine(id).ok_or_else(|| RoutineError::NotFound { id: id.chars().take(64).collect() })
    }

    /// The state of a routine that is not over.
    fn state_for(&self, id: &str, verb: &'static str) -> Result<&RoutineState, RoutineError> {
        let state = self.state_of(id)?;
        let status = state.status();
        if status.is_terminal() {
            return Err(RoutineError::Terminal { id: state.id.clone(), status, verb });
        }
        Ok(state)
    }

    fn shown(&self, id: &str, existing: bool) -> RoutinesReply {
        match self.views(&[id]).pop() {
            Some(routine) => RoutinesReply::Routine { routine: Box::new(routine), existing },
            None => RoutinesReply::Refused(RoutineError::NotFound { id: id.to_owned() }),
        }
    }

    fn views(&self, ids: &[impl AsRef<str>]) -> Vec<RoutineView> {
        let view = |id: &str| {
            let key = self.core.entities.key(&EntityName::Routine(id.to_owned()))?;
            Some(RoutineView::new(key, self.core.routine(id)?.clone()))
        };
        ids.iter().filter_map(|id| view(id.as_ref())).collect()
    }
}

fn routine_of(entity: &Entity) -> Option<&RoutineState> {
    match &entity.state {
        EntityState::Routine(state) => state.as_deref(),
        _ => None,
    }
}

fn refuse_unless_idle(state: &RoutineState, verb: &'static str) -> Result<(), RoutineError> {
    match state.status() {
        RoutineStatus::Active | RoutineStatus::Paused => Ok(()),
        status => Err(RoutineError::Busy { id: state.id.clone(), status, verb }),
    }
}

fn check_id(id: &str) -> Result<(), RoutineError> {
    IdError::check("routine id", id)?;
    if id.len() > RoutineError::PREFIX_MAX_BYTES {
        let problem = format!("use up to {} bytes: slots stand behind it", RoutineError::PREFIX_MAX_BYTES);
        return Err(RoutineError::Invalid { field: "id", value: id.chars().take(64).collect(), problem });
    }
    Ok(())
}
