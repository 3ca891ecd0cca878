use super::{RoutineEvent, SlotOutcome, rfc3339};
use crate::Timestamp;
use std::fmt;

/// `label text`, if there is a text.
struct Said<'a>(&'static str, &'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1.is_empty() { Ok(()) } else { write!(f, " {}={:?}", self.0, self.1) }
    }
}

struct Then(Option<Timestamp>);

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |next| write!(f, ", next {}", rfc3339(next)))
    }
}

impl fmt::Display for RoutineEvent {
    /// What stands behind the event's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoutineEvent::Created { id, spec, next, who, why, .. } => {
                let (schedule, target) = (spec.schedule.name(), spec.target.name());
                write!(f, " {id} {schedule} {target} overlap={}{}", spec.overlap, Then(Some(*next)))?;
                write!(f, "{}{}", Said("who", who), Said("why", why))
            }
            RoutineEvent::Updated { next, who, why, .. } => {
                write!(f, "{}{}{}", Then(*next), Said("who", who), Said("why", why))
            }
            RoutineEvent::Paused { note, who } => write!(f, "{}{}", Said("note", note), Said("who", who)),
            RoutineEvent::Resumed { who, why } | RoutineEvent::Cancelled { who, why } => {
                write!(f, "{}{}", Said("who", who), Said("why", why))
            }
            RoutineEvent::SlotStarted { slot, attempt, run, next, who, why } => {
                write!(f, " {slot} attempt {attempt}")?;
                match run {
                    Some(run) => write!(f, " run {}", run.0)?,
                    None => f.write_str(" without a run")?,
                }
                write!(f, "{}{}{}", Then(*next), Said("who", who), Said("why", why))
            }
            RoutineEvent::SlotEnded { slot, attempt, outcome, retry_at } => {
                write!(f, " {slot} attempt {attempt} ")?;
                match outcome {
                    SlotOutcome::Completed => f.write_str("completed")?,
                    SlotOutcome::Failed { error } => write!(f, "failed {error:?}")?,
                    SlotOutcome::Cancelled => f.write_str("cancelled")?,
                    SlotOutcome::Terminated => f.write_str("terminated")?,
                }
                retry_at.map_or(Ok(()), |at| write!(f, ", again {}", rfc3339(at)))
            }
            RoutineEvent::SlotsSkipped { from, through, reason, next } => {
                write!(f, " from {} through {}: {}{}", rfc3339(*from), rfc3339(*through), reason.name(), Then(*next))
            }
            RoutineEvent::SlotBuffered { slot, next } => write!(f, " {}{}", rfc3339(*slot), Then(*next)),
            RoutineEvent::SlotDropped { slot, reason } => write!(f, " {slot}: {}", reason.name()),
            RoutineEvent::BackfillAsked { from, to, who, why } => {
                write!(f, " from {} through {}", rfc3339(*from), rfc3339(*to))?;
                write!(f, "{}{}", Said("who", who), Said("why", why))
            }
        }
    }
}
