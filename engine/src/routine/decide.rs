//! What happens to a routine now. Pure: the state, the time and the calendar go in, one step comes out.
//!
//! The catch-up policy looks at slots that fell due while nobody looked, the overlap policy at slots that fall due while a
//! run is open. A slot that was missed before the open run began is not an overlap: it waits its turn.

use super::{Calendar, following};
use antiphon_history::{CatchUp, Overlap, RoutineState, Schedule, SkipReason, Slot, Timestamp};

/// What is to be done with a routine next. After it has been recorded the question is asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Start a slot's attempt. `next` follows it, if it was taken from the schedule or a backfill.
    Start { slot: Slot, attempt: u32, next: Option<Timestamp> },
    /// Let slots of the schedule go.
    Skip { from: Timestamp, through: Timestamp, reason: SkipReason, next: Option<Timestamp> },
    /// Let a slot of the schedule wait for the open run.
    Buffer { slot: Timestamp, next: Option<Timestamp>, other: Other },
    /// Give up a slot that waits.
    Drop { slot: Slot, reason: SkipReason },
}

/// What becomes of the open runs for which a slot waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Other {
    /// They go on.
    GoesOn,
    /// They are asked to end.
    Cancelled,
    /// They are ended, whatever their code would say.
    Terminated,
}

/// What is to be done with a routine at `now`, if anything.
pub(crate) fn decide(state: &RoutineState, now: Timestamp, calendar: &dyn Calendar) -> Option<Step> {
    if state.due_at().is_none_or(|due| due > now) {
        return None;
    }
    if let Some(retry) = state.retries.iter().filter(|retry| retry.at <= now).min_by_key(|retry| (retry.at, retry.slot))
    {
        return Some(Step::Start { slot: retry.slot, attempt: retry.attempt, next: None });
    }
    if let Some(slot) = state.buffer.first().filter(|_| state.may_start()) {
        return Some(Step::Start { slot: Slot::Planned(*slot), attempt: 1, next: None });
    }
    if let Some(slot) = state.next.filter(|slot| state.starts_at(*slot) <= now)
        && !state.next_waits_its_turn()
    {
        return Some(planned(state, slot, now, calendar));
    }
    let backfill = state.backfills.first().filter(|_| state.may_start())?;
    let next = next_on_grid(state, backfill.next, calendar).filter(|next| *next <= backfill.to);
    let slot = Slot::Backfill { number: backfill.number, at: backfill.next };
    Some(Step::Start { slot, attempt: 1, next })
}

/// What is to be done with the slot of the schedule that has fallen due.
fn planned(state: &RoutineState, slot: Timestamp, now: Timestamp, calendar: &dyn Calendar) -> Step {
    let once = matches!(state.spec.schedule, Schedule::Once { .. });
    if let CatchUp::Skip { late_ms } = state.spec.catch_up
        && !once
        && state.starts_at(slot).plus_ms(late_ms) < now
    {
        // What is not late yet is still carried out, also where the block that was missed reaches up to it.
        let through = Timestamp(now.0.saturating_sub_unsigned(late_ms).saturating_sub(1));
        return skip(state, slot, through.max(slot), SkipReason::Missed, calendar);
    }
    let next = after_taking(state, slot, calendar);
    let start = Step::Start { slot: Slot::Planned(slot), attempt: 1, next };
    if !state.is_busy() {
        return start;
    }
    let buffer = |other| Step::Buffer { slot, next, other };
    match state.spec.overlap {
        Overlap::AllowAll if state.has_room() => start,
        Overlap::AllowAll => skip(state, slot, slot, SkipReason::Full, calendar),
        // A routine's only slot is never skipped.
        Overlap::Skip | Overlap::BufferOne | Overlap::BufferAll if once => buffer(Other::GoesOn),
        Overlap::Skip => skip(state, slot, now, SkipReason::Overlap, calendar),
        Overlap::BufferOne if state.buffer.is_empty() => buffer(Other::GoesOn),
        Overlap::BufferOne => skip(state, slot, now, SkipReason::Overlap, calendar),
        Overlap::BufferAll if state.buffer.len() < antiphon_history::RoutineSpec::BUFFER_MAX => buffer(Other::GoesOn),
        Overlap::BufferAll => skip(state, slot, now, SkipReason::Full, calendar),
        Overlap::CancelOther | Overlap::TerminateOther => {
            let superseded = state.buffer.first().map(|slot| Slot::Planned(*slot));
            match superseded.or(state.retries.first().map(|retry| retry.slot)) {
                Some(slot) => Step::Drop { slot, reason: SkipReason::Superseded },
                None if state.spec.overlap == Overlap::TerminateOther => buffer(Other::Terminated),
                None => buffer(Other::Cancelled),
            }
        }
    }
}

/// What a slot that was just taken from the schedule stands for besides itself: under the policy `one`, all that are due.
pub(crate) fn followed(state: &RoutineState, now: Timestamp, calendar: &dyn Calendar) -> Option<Step> {
    let from = state.next.filter(|next| state.spec.catch_up == CatchUp::One && state.starts_at(*next) <= now)?;
    Some(skip(state, from, now, SkipReason::Missed, calendar))
}

fn skip(
    state: &RoutineState,
    from: Timestamp,
    through: Timestamp,
    reason: SkipReason,
    calendar: &dyn Calendar,
) -> Step {
    Step::Skip { from, through, reason, next: next_on_grid(state, through, calendar) }
}

/// The slot that follows one that is started or buffered; none when that was the last that the routine may have.
fn after_taking(state: &RoutineState, slot: Timestamp, calendar: &dyn Calendar) -> Option<Timestamp> {
    let taken = state.runs.saturating_add(state.buffer.len() as u64 + 1);
    if state.spec.max_runs.is_some_and(|max| taken >= max) {
        return None;
    }
    next_on_grid(state, slot, calendar)
}

fn next_on_grid(state: &RoutineState, after: Timestamp, calendar: &dyn Calendar) -> Option<Timestamp> {
    following(&state.spec, state.origin, after, calendar)
}
