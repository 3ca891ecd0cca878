//! Events of routines as JSON, and the specification that lists show too.

use super::json::{Json, payloads};
use antiphon_history::{
    CatchUp, Change, RetryPolicy, RoutineEvent, RoutinePatch, RoutineSlot, RoutineSpec, RoutineTarget, Schedule, Slot,
    SlotOutcome, Timestamp,
};

/// The fields of an event of a routine.
pub(super) fn routine(event: &RoutineEvent) -> Vec<(&'static str, Json)> {
    let mut fields = match event {
        RoutineEvent::Created { id, spec: wanted, request, next, .. } => vec![
            ("id", id.as_str().into()),
            ("spec", spec(wanted)),
            ("request", request.to_string().into()),
            ("next", (*next).into()),
        ],
        RoutineEvent::Updated { patch: changed, next, .. } => {
            vec![("changes", patch(changed)), ("next", (*next).into())]
        }
        RoutineEvent::Paused { note, who } => vec![("note", note.as_str().into()), ("who", who.as_str().into())],
        RoutineEvent::Resumed { .. } | RoutineEvent::Cancelled { .. } => Vec::new(),
        RoutineEvent::SlotStarted { slot: started, attempt, run, next, .. } => vec![
            ("slot", slot(started)),
            ("attempt", (*attempt).into()),
            ("run_key", run.map(|run| run.0).into()),
            ("next", (*next).into()),
        ],
        RoutineEvent::SlotEnded { slot: ended, attempt, outcome: how, retry_at } => vec![
            ("slot", slot(ended)),
            ("attempt", (*attempt).into()),
            ("outcome", outcome(how).into()),
            ("error", error(how)),
            ("retry_at", (*retry_at).into()),
        ],
        RoutineEvent::SlotsSkipped { from, through, reason, next } => vec![
            ("from", (*from).into()),
            ("through", (*through).into()),
            ("reason", reason.name().into()),
            ("next", (*next).into()),
        ],
        RoutineEvent::SlotBuffered { slot, next } => vec![("slot", (*slot).into()), ("next", (*next).into())],
        RoutineEvent::SlotDropped { slot: dropped, reason } => {
            vec![("slot", slot(dropped)), ("reason", reason.name().into())]
        }
        RoutineEvent::BackfillAsked { from, to, .. } => vec![("from", (*from).into()), ("to", (*to).into())],
    };
    if let RoutineEvent::Created { who, why, .. }
    | RoutineEvent::Updated { who, why, .. }
    | RoutineEvent::Resumed { who, why }
    | RoutineEvent::Cancelled { who, why }
    | RoutineEvent::SlotStarted { who, why, .. }
    | RoutineEvent::BackfillAsked { who, why, .. } = event
    {
        fields.extend([("who", who.as_str().into()), ("why", why.as_str().into())]);
    }
    fields
}

/// The slot that a run carries out.
pub(super) fn carried_out(of: &RoutineSlot) -> Json {
    Json::Object(vec![("id", of.routine.as_str().into()), ("slot", slot(&of.slot)), ("attempt", of.attempt.into())])
}

pub(super) fn slot(slot: &Slot) -> Json {
    slot.to_string().into()
}

pub(super) fn outcome(outcome: &SlotOutcome) -> &'static str {
    match outcome {
        SlotOutcome::Completed => "completed",
        SlotOutcome::Failed { .. } => "failed",
        SlotOutcome::Cancelled => "cancelled",
        SlotOutcome::Terminated => "terminated",
    }
}

fn error(outcome: &SlotOutcome) -> Json {
    match outcome {
        SlotOutcome::Failed { error } => error.as_str().into(),
        SlotOutcome::Completed | SlotOutcome::Cancelled | SlotOutcome::Terminated => Json::Null,
    }
}

/// A whole specification.
pub(super) fn spec(spec: &RoutineSpec) -> Json {
    let RoutineSpec {
        schedule: when,
        target: what,
        catch_up: missed,
        overlap,
        jitter_ms,
        start_at,
        end_at,
        max_runs,
        retry,
        idempotency_key,
        labels: words,
        paused,
        route,
        guard,
    } = spec;
    Json::Object(vec![
        ("schedule", schedule(when)),
        ("target", target(what)),
        ("catch_up", catch_up(*missed)),
        ("overlap", overlap.name().into()),
        ("jitter_ms", (*jitter_ms).into()),
        ("start_at", (*start_at).into()),
        ("end_at", (*end_at).into()),
        ("max_runs", (*max_runs).into()),
        ("retry", retry_policy(retry)),
        ("idempotency_key", idempotency_key.as_deref().into()),
        ("labels", labels(words)),
        ("paused", paused.as_deref().into()),
        ("route", route.as_deref().map_or(Json::Null, super::events::written)),
        ("guard", guard.as_deref().into()),
    ])
}

/// What an update changes: the fields that it names. A field that it clears is null.
fn patch(patch: &RoutinePatch) -> Json {
    let RoutinePatch {
        schedule: when,
        target: what,
        catch_up: missed,
        overlap,
        jitter_ms,
        start_at,
        end_at,
        max_runs,
        retry,
        labels: words,
        route,
        guard,
        next,
    } = patch;
    let changes = [
        when.as_ref().map(|when| ("schedule", schedule(when))),
        what.as_ref().map(|what| ("target", target(what))),
        missed.map(|missed| ("catch_up", catch_up(missed))),
        overlap.map(|overlap| ("overlap", overlap.name().into())),
        jitter_ms.map(|jitter_ms| ("jitter_ms", jitter_ms.into())),
        changed("start_at", start_at),
        changed("end_at", end_at),
        changed("max_runs", max_runs),
        retry.as_ref().map(|policy| ("retry", retry_policy(policy))),
        words.as_ref().map(|words| ("labels", labels(words))),
        changed_to("route", route, |route| super::events::written(route)),
        changed_to("guard", guard, |guard| (&**guard).into()),
        next.map(|next: Timestamp| ("next", next.into())),
    ];
    Json::Object(changes.into_iter().flatten().collect())
}

fn changed<T: Clone + Into<Json>>(name: &'static str, change: &Change<T>) -> Option<(&'static str, Json)> {
    changed_to(name, change, |value| value.clone().into())
}

fn changed_to<T>(
    name: &'static str,
    change: &Change<T>,
    json: impl FnOnce(&T) -> Json,
) -> Option<(&'static str, Json)> {
    match change {
        Change::Keep => None,
        Change::Clear => Some((name, Json::Null)),
        Change::Set(value) => Some((name, json(value))),
    }
}

fn schedule(schedule: &Schedule) -> Json {
    let mut fields = vec![("kind", schedule.name().into())];
    match schedule {
        Schedule::Once { at } => fields.push(("at", (*at).into())),
        Schedule::Interval { every_ms, phase_ms } => {
            fields.extend([("every_ms", (*every_ms).into()), ("phase_ms", (*phase_ms).into())]);
        }
        Schedule::Cron { expression, zone } => {
            fields.extend([("expression", expression.as_str().into()), ("zone", zone.as_str().into())]);
        }
    }
    Json::Object(fields)
}

fn target(target: &RoutineTarget) -> Json {
    let mut fields = vec![("kind", target.name().into())];
    match target {
        RoutineTarget::Workflow { workflow_type, input, .. } => {
            fields.extend([("workflow_type", workflow_type.as_str().into()), ("input", payloads(input))]);
        }
        RoutineTarget::Activity { call, .. } => fields.push(("call", super::events::activity_call(call))),
    }
    fields.push(("id_prefix", target.id_prefix().into()));
    Json::Object(fields)
}

fn retry_policy(policy: &RetryPolicy) -> Json {
    let RetryPolicy { max_attempts, initial_ms, factor_percent, max_ms } = policy;
    Json::Object(vec![
        ("max_attempts", (*max_attempts).into()),
        ("backoff_initial_ms", (*initial_ms).into()),
        ("backoff_factor_percent", (*factor_percent).into()),
        ("backoff_max_ms", (*max_ms).into()),
    ])
}

fn catch_up(policy: CatchUp) -> Json {
    match policy {
        CatchUp::All => "all".into(),
        CatchUp::One => "one".into(),
        CatchUp::Skip { late_ms } => Json::Object(vec![("skip_late_ms", late_ms.into())]),
    }
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> Json {
    let pair = |(name, value): (&String, &String)| Json::List(vec![name.as_str().into(), value.as_str().into()]);
    Json::List(labels.iter().map(pair).collect())
}
