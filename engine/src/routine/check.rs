use super::{Calendar, CalendarError, RoutineError, first_slot};
use crate::RequestError;
use antiphon_history::limits::NAME_MAX_BYTES;
use antiphon_history::{IdError, RoutineSpec, RoutineTarget, Schedule, Timestamp};

/// Longest retry policy: each attempt is a run of its own.
const ATTEMPTS_MAX: u32 = 1_000;

/// Checks everything about a specification that needs no store. Returns its first slot.
pub(crate) fn check_spec(
    spec: &RoutineSpec,
    now: Timestamp,
    calendar: &dyn Calendar,
) -> Result<Timestamp, RoutineError> {
    check_schedule(&spec.schedule, spec.jitter_ms, calendar)?;
    check_target(&spec.target)?;
    check_route(spec)?;
    if let Some(guard) = &spec.guard {
        IdError::check("guard", guard)?;
    }
    if spec.max_runs == Some(0) {
        return Err(invalid("max_runs", "0", "it could never run; give at least 1"));
    }
    if !(1..=ATTEMPTS_MAX).contains(&spec.retry.max_attempts) {
        let problem = format!("give 1 to {ATTEMPTS_MAX}");
        return Err(invalid("retry.max_attempts", &spec.retry.max_attempts.to_string(), &problem));
    }
    if let Some(key) = &spec.idempotency_key {
        IdError::check("idempotency key", key)?;
    }
    if spec.labels.len() > RoutineSpec::LABELS_MAX {
        let problem = format!("give at most {}", RoutineSpec::LABELS_MAX);
        return Err(invalid("labels", &format!("{} labels", spec.labels.len()), &problem));
    }
    for (name, value) in &spec.labels {
        IdError::check("label", name)?;
        if value.len() > NAME_MAX_BYTES {
            return Err(invalid("labels", value, "a value may have 255 bytes"));
        }
    }
    first_slot(spec, now, calendar)
        .ok_or_else(|| invalid("schedule", spec.schedule.name(), "it has no slot before it ends"))
}

fn check_schedule(schedule: &Schedule, jitter_ms: u64, calendar: &dyn Calendar) -> Result<(), RoutineError> {
    match schedule {
        Schedule::Once { .. } => Ok(()),
        Schedule::Interval { every_ms: 0, .. } => {
            Err(invalid("schedule", "every_ms = 0", "the distance of two slots is at least 1 ms"))
        }
        Schedule::Interval { every_ms, phase_ms: Some(phase) } if phase >= every_ms => {
            Err(invalid("schedule", &format!("phase_ms = {phase}"), "it is not below every_ms"))
        }
        // Slots start in their order: none may be drawn behind the one that follows it.
        Schedule::Interval { every_ms, .. } if jitter_ms >= *every_ms => {
            Err(invalid("jitter_ms", &jitter_ms.to_string(), "it is not below every_ms"))
        }
        Schedule::Interval { .. } => Ok(()),
        Schedule::Cron { expression, zone } => calendar.check(expression, zone).map_err(|error| match error {
            CalendarError::Zone => invalid("time zone", zone, &error.to_string()),
            _ => invalid("cron expression", expression, &error.to_string()),
        }),
    }
}

fn check_target(target: &RoutineTarget) -> Result<(), RoutineError> {
    let id_prefix = target.id_prefix();
    match target {
        RoutineTarget::Workflow { workflow_type, .. } => IdError::check("workflow type", workflow_type)?,
        RoutineTarget::Activity { call, .. } => {
            IdError::check("activity type", &call.activity_type)?;
            IdError::check("task queue", &call.queue)?;
        }
    }
    // Room for the slot and the attempt behind it.
    if id_prefix.len() > RoutineError::PREFIX_MAX_BYTES || id_prefix.chars().any(char::is_control) {
        return Err(invalid("id prefix", id_prefix, "use up to 160 bytes without control characters"));
    }
    let bytes: u64 = target.input().iter().map(antiphon_history::Payload::len).sum();
    if bytes > RoutineSpec::INPUT_MAX_BYTES {
        let problem = format!("its input may have {} bytes: pass a reference", RoutineSpec::INPUT_MAX_BYTES);
        return Err(invalid("target", &format!("an input of {bytes} bytes"), &problem));
    }
    Ok(())
}

/// A route by itself and with the call's own over it; what the queue says besides is known only when a slot is carried out.
fn check_route(spec: &RoutineSpec) -> Result<(), RoutineError> {
    match (&spec.route, &spec.target) {
        (Some(route), RoutineTarget::Workflow { workflow_type, .. }) => {
            let value = format!("by {}", route.policy());
            let problem = format!("it starts the workflow {workflow_type:?}, whose calls say themselves how they go");
            Err(invalid("route", &value, &problem))
        }
        (_, RoutineTarget::Activity { .. }) => {
            for route in spec.route.as_deref().into_iter().chain(spec.route_of_call().as_ref()) {
                route.check().map_err(RequestError::from)?;
            }
            Ok(())
        }
        (None, RoutineTarget::Workflow { .. }) => Ok(()),
    }
}

pub(super) fn invalid(field: &'static str, value: &str, problem: &str) -> RoutineError {
    RoutineError::Invalid { field, value: value.chars().take(64).collect(), problem: problem.to_owned() }
}
