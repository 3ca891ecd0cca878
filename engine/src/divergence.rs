//! Comparing what the workflow asks with what it asked before, and saying where the two part.

use antiphon_history::limits::bounded_text;
use antiphon_history::{ActivityCall, DivergenceReport, Failure, Payload, RunEvent, Site};

/// The first field in which two commands differ, with both values; `None` if they are the same question.
///
/// Compared: kind, ordinal, names, inputs, results. Not compared: places in the source (code may move), options and
/// due times (the recorded ones stay in force, so tuning a timeout is no divergence), values of side effects.
pub(crate) fn first_difference(recorded: &RunEvent, attempted: &RunEvent) -> Option<String> {
    use RunEvent as E;
    if recorded.name() != attempted.name() {
        return differs("kind", recorded.name(), attempted.name());
    }
    if let Some(found) = differs("ordinal", ordinal(recorded), ordinal(attempted)) {
        return Some(found);
    }
    match (recorded, attempted) {
        (E::ActivityScheduled { call: a, .. }, E::ActivityScheduled { call: b, .. })
        | (E::CompensationPushed { call: a, .. }, E::CompensationPushed { call: b, .. }) => call_difference(a, b),
        (E::PatchMarked { name: a }, E::PatchMarked { name: b }) => differs("patch", a.as_str(), b.as_str()),
        (E::RunCompleted { result: a }, E::RunCompleted { result: b }) => payload_difference("result", a, b),
        (E::RunFailed { failure: a }, E::RunFailed { failure: b }) => failure_difference(a, b),
        (E::RunCancelled { reason: a }, E::RunCancelled { reason: b }) => differs("reason", a.as_str(), b.as_str()),
        _ => None,
    }
}

fn call_difference(recorded: &ActivityCall, attempted: &ActivityCall) -> Option<String> {
    differs("activity type", recorded.activity_type.as_str(), attempted.activity_type.as_str())
        .or_else(|| differs("task queue", recorded.queue.as_str(), attempted.queue.as_str()))
        .or_else(|| payload_difference("argument", &recorded.input, &attempted.input))
}

fn failure_difference(recorded: &Failure, attempted: &Failure) -> Option<String> {
    // Not the message: rewording it changes nothing that anybody acts on.
    let details = |failure: &Failure| failure.details.iter().cloned().collect::<Vec<_>>();
    differs("error type", recorded.kind.as_str(), attempted.kind.as_str())
        .or_else(|| payload_difference("error value", &details(recorded), &details(attempted)))
}

fn payload_difference(what: &str, recorded: &[Payload], attempted: &[Payload]) -> Option<String> {
    for (index, (a, b)) in recorded.iter().zip(attempted).enumerate() {
        if !a.same_value(b) {
            return differs(&format!("{what} {}", index + 1), a.to_string(), b.to_string())
                .or_else(|| differs(&format!("digest of {what} {}", index + 1), a.digest(), b.digest()));
        }
    }
    differs(&format!("number of {what}s"), recorded.len(), attempted.len())
}

fn differs<T: PartialEq + ToString>(what: &str, recorded: T, attempted: T) -> Option<String> {
    (recorded != attempted)
        .then(|| format!("{what}: recorded {}, attempted {}", recorded.to_string(), attempted.to_string()))
}

fn ordinal(event: &RunEvent) -> u32 {
    match event {
        RunEvent::ActivityScheduled { ordinal, .. }
        | RunEvent::ActivityCancelled { ordinal }
        | RunEvent::TimerStarted { ordinal, .. }
        | RunEvent::TimerCancelled { ordinal }
        | RunEvent::SideEffectRecorded { ordinal, .. }
        | RunEvent::CompensationPushed { ordinal, .. } => ordinal.0,
        _ => 0,
    }
}

/// The place that a command was asked for, where it carries one.
pub(crate) fn site(event: &RunEvent) -> Site {
    match event {
        RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => call.site.clone(),
        RunEvent::TimerStarted { site, .. } | RunEvent::SideEffectRecorded { site, .. } => site.clone(),
        _ => Site::default(),
    }
}

/// A command in one line without its place, for reports that print the place beside it.
fn line(event: &RunEvent) -> String {
    let text = event.to_string();
    let place = site(event);
    let shown = if place.is_unknown() { text } else { text.trim_end_matches(&format!(" at {place}")).to_owned() };
    bounded_text(&shown)
}

/// Both commands exist and differ.
pub(crate) fn other(seq: u64, recorded: &RunEvent, attempted: &RunEvent, at: &Site, field: String) -> DivergenceReport {
    let repair = if recorded.name() == attempted.name() && field.starts_with("argument") {
        "the call is the same but its input is not: derive inputs only from the workflow's arguments, recorded results, \
         ctx.now() and ctx.random(), or guard the change with ctx.patched(\"name\")"
    } else {
        "guard the change with ctx.patched(\"name\") so that runs recorded before it take the old path, or put the old \
         code back until they have ended"
    };
    DivergenceReport {
        seq,
        recorded: line(recorded),
        recorded_site: site(recorded),
        attempted: line(attempted),
        attempted_site: at.clone(),
        field: bounded_text(&field),
        repair: repair.to_owned(),
    }
}

/// The workflow asks for something where the record has nothing.
pub(crate) fn extra(seq: u64, attempted: &RunEvent, at: &Site) -> DivergenceReport {
    DivergenceReport {
        seq,
        recorded: "nothing: the turn ended here when it was recorded".to_owned(),
        recorded_site: Site::default(),
        attempted: line(attempted),
        attempted_site: at.clone(),
        field: "number of calls in the turn: the attempted one is new".to_owned(),
        repair: "guard the new call with ctx.patched(\"name\") so that runs recorded before it do not make it"
            .to_owned(),
    }
}

/// The record has something that the workflow no longer asks for.
pub(crate) fn missing(seq: u64, recorded: &RunEvent, now_at: &Site, ended: bool) -> DivergenceReport {
    let attempted = if ended { "nothing: the workflow returned" } else { "nothing: the workflow waits" };
    DivergenceReport {
        seq,
        recorded: line(recorded),
        recorded_site: site(recorded),
        attempted: attempted.to_owned(),
        attempted_site: now_at.clone(),
        field: "number of calls in the turn: the recorded one is missing".to_owned(),
        repair:
            "keep the removed call for runs recorded before: `if !ctx.patched(\"name\") { old call }`, or put the old \
                 code back until they have ended"
                .to_owned(),
    }
}
