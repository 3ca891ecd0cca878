//! A run with its activities as one JSON object.

use crate::cli::events;
use crate::cli::json::{self, Json};
use crate::cli::timeline::Timeline;
use antiphon_history::{ActivityCall, ActivityOutcome, Ordinal, RunEvent, Timestamp};

/// The whole run; how long an open one has been going on is counted up to `now`.
pub(super) fn object(timeline: &Timeline, now: Timestamp) -> Json {
    let mut fields = json::row(&timeline.row);
    fields.push(("duration_ms", Timeline::lasted_ms(&timeline.row, now).into()));
    fields.push((
        "block",
        timeline.blocked().map_or(Json::Null, |(at, blocked)| {
            Json::Object(vec![
                ("since", at.into()),
                ("held", blocked.held.into()),
                ("reason", events::blocked(&blocked.reason)),
            ])
        }),
    ));
    let run = timeline.row.run_id.to_string();
    fields.push(("events", Json::List(timeline.run_stream().map(|(entry, _)| entry.json(&run)).collect())));
    let activities = timeline.run_stream().filter_map(|(entry, event)| match event {
        RunEvent::ActivityScheduled { ordinal, call } => Some(activity(timeline, *ordinal, call, entry.at)),
        _ => None,
    });
    fields.push(("activities", Json::List(activities.collect())));
    Json::Object(fields)
}

fn activity(timeline: &Timeline, ordinal: Ordinal, call: &ActivityCall, scheduled: Timestamp) -> Json {
    let resolved = timeline.resolved(ordinal);
    let attempts = timeline.attempts_of(ordinal).map(|(number, attempt)| {
        let events = timeline.events_of(attempt).map(|(entry, _)| entry.json(&timeline.row.run_id.to_string()));
        Json::Object(vec![
            ("attempt", number.into()),
            ("state", attempt.state().to_string().into()),
            ("worker", timeline.worker_of(attempt).into()),
            ("losses", attempt.fold.losses().into()),
            ("no_worker", attempt.fold.no_worker().into()),
            ("anomalies", attempt.anomalies.iter().map(ToString::to_string).collect::<Vec<_>>().into()),
            ("events", Json::List(events.collect())),
        ])
    });
    let state = match resolved {
        Some((_, ActivityOutcome::Completed { .. })) => "completed".to_owned(),
        Some((_, ActivityOutcome::Failed { .. })) => "failed".to_owned(),
        Some((_, ActivityOutcome::TimedOut { .. })) => "timed out".to_owned(),
        Some((_, ActivityOutcome::Cancelled)) => "cancelled".to_owned(),
        Some((_, ActivityOutcome::NoWorker { .. })) => "no worker".to_owned(),
        Some((_, ActivityOutcome::Lost { .. })) => "lost".to_owned(),
        None => timeline.attempts_of(ordinal).last().map_or("scheduled".to_owned(), |(_, a)| a.state().to_string()),
    };
    Json::Object(vec![
        ("ordinal", ordinal.0.into()),
        ("activity_type", call.activity_type.as_str().into()),
        ("queue", call.queue.as_str().into()),
        ("site", (!call.site.is_unknown()).then_some(call.site.0.as_str()).into()),
        ("state", state.into()),
        ("scheduled_at", scheduled.into()),
        ("resolved_at", resolved.map(|(at, _)| at).into()),
        ("duration_ms", resolved.map(|(at, _)| at.since_ms(scheduled)).into()),
        ("attempts", Json::List(attempts.collect())),
    ])
}
