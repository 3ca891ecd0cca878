//! Events as JSON: the readable names of everything that is recorded. Each match is exhaustive, so that a new event or
//! field is given a name here before it can be recorded.

use super::json::{Json, payload, payloads};
use super::routine_events;
use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, AuditEvent, BlockedReason, ConversationEvent, DeadLetter,
    DeadLettersEvent, DivergenceReport, EntityEvent, Failure, Name, QueueEvent, QueueSettings, Response, RouteDecision,
    RouteForm, RouteRequest, RoutingEvent, RunEvent, RunStarted, Selection, Site, WorkerOffer, WorkersEvent,
};
use std::collections::BTreeSet;

type Fields = Vec<(&'static str, Json)>;

/// The fields of an event of the run stream.
pub(super) fn run(event: &RunEvent) -> Json {
    Json::Object(match event {
        RunEvent::RunStarted(started) => run_started(started),
        RunEvent::ActivityResolved { ordinal, outcome: ended } => {
            let mut fields = vec![("ordinal", ordinal.0.into())];
            fields.extend(outcome(ended));
            fields
        }
        RunEvent::TimerFired { ordinal }
        | RunEvent::TimerCancelled { ordinal }
        | RunEvent::ActivityCancelled { ordinal } => vec![("ordinal", ordinal.0.into())],
        RunEvent::SignalReceived { name, input, request_id } => vec![
            ("name", name.as_str().into()),
            ("input", payloads(input)),
            ("request_id", request_id.as_deref().into()),
        ],
        RunEvent::CancelRequested { reason } | RunEvent::RunCancelled { reason } => {
            vec![("reason", reason.as_str().into())]
        }
        RunEvent::RunTerminated { who, reason } => {
            vec![("who", who.as_str().into()), ("reason", reason.as_str().into())]
        }
        RunEvent::ActivityScheduled { ordinal, call: asked }
        | RunEvent::CompensationPushed { ordinal, call: asked } => {
            let mut fields = vec![("ordinal", ordinal.0.into())];
            fields.extend(call(asked));
            fields
        }
        RunEvent::TimerStarted { ordinal, due, site: asked_at } => {
            vec![("ordinal", ordinal.0.into()), ("due", (*due).into()), ("site", site(asked_at))]
        }
        RunEvent::SideEffectRecorded { ordinal, value, site: asked_at } => {
            vec![("ordinal", ordinal.0.into()), ("value", payload(value)), ("site", site(asked_at))]
        }
        RunEvent::PatchMarked { name } => vec![("name", name.as_str().into())],
        RunEvent::RunCompleted { result } => vec![("result", payloads(result))],
        RunEvent::RunFailed { failure: error } => vec![("failure", failure(error))],
        RunEvent::Blocked(block) => vec![("reason", blocked(&block.reason)), ("held", block.held.into())],
        RunEvent::Unblocked => Vec::new(),
    })
}

/// The fields of an event of an entity.
pub(super) fn entity(event: &EntityEvent) -> Json {
    Json::Object(match event {
        EntityEvent::Opened { name } => vec![("name", name.to_string().into())],
        EntityEvent::Routine(event) => routine_events::routine(event),
        EntityEvent::Audit(AuditEvent::Done { who, verb, on, why } | AuditEvent::Refused { who, verb, on, why }) => {
            vec![
                ("who", who.as_str().into()),
                ("verb", verb.as_str().into()),
                ("on", on.as_str().into()),
                ("why", why.as_str().into()),
            ]
        }
        EntityEvent::Routing(event) => routing(event),
        EntityEvent::DeadLetters(DeadLettersEvent::Noted(letter)) => dead_letter(letter),
        EntityEvent::DeadLetters(DeadLettersEvent::Settled { number, how, who, why }) => vec![
            ("number", (*number).into()),
            ("how", how.to_string().into()),
            ("who", who.as_str().into()),
            ("why", why.as_str().into()),
        ],
        EntityEvent::Workers(event) => workers(event),
        EntityEvent::Queue(event) => queue(event),
    })
}

fn queue(event: &QueueEvent) -> Fields {
    let (who, why) = match event {
        QueueEvent::Set { who, why, .. } | QueueEvent::Paused { who, why } | QueueEvent::Resumed { who, why } => {
            (who, why)
        }
    };
    let mut fields: Fields = Vec::new();
    if let QueueEvent::Set { settings, .. } = event {
        let QueueSettings { in_flight_max, per_key_max, rate, waiting_max, weights } = &**settings;
        fields.extend([
            ("in_flight_max", (*in_flight_max).into()),
            ("per_key_max", (*per_key_max).into()),
            ("rate_count", rate.map(|rate| rate.count).into()),
            ("rate_period_ms", rate.map(|rate| rate.period_ms).into()),
            ("rate_burst", rate.map(|rate| rate.burst).into()),
            ("waiting_max", (*waiting_max).into()),
            ("weights", weights.iter().map(|(key, weight)| format!("{key}={weight}")).collect::<Vec<String>>().into()),
        ]);
    }
    fields.extend([("who", who.as_str().into()), ("why", why.as_str().into())]);
    fields
}

fn routing(event: &RoutingEvent) -> Fields {
    match event {
        RoutingEvent::CursorMoved { class, worker } => {
            vec![("class", class.as_str().into()), ("worker", worker.as_str().into())]
        }
        RoutingEvent::KeyBound { class, key, worker } => {
            vec![("class", class.as_str().into()), ("key", key.as_str().into()), ("worker", worker.as_str().into())]
        }
        RoutingEvent::KeyUsed { key } => vec![("key", key.as_str().into())],
        RoutingEvent::Set { affinities_max, affinity_ttl_ms, who, why } => vec![
            ("affinities_max", (*affinities_max).into()),
            ("affinity_ttl_ms", (*affinity_ttl_ms).into()),
            ("who", who.as_str().into()),
            ("why", why.as_str().into()),
        ],
        RoutingEvent::DefaultSet { route, who, why } => vec![
            ("route", route.as_deref().map_or(Json::Null, written)),
            ("who", who.as_str().into()),
            ("why", why.as_str().into()),
        ],
        RoutingEvent::Reset { what, who, why } => {
            vec![("what", what.to_string().into()), ("who", who.as_str().into()), ("why", why.as_str().into())]
        }
    }
}

pub(super) fn dead_letter(letter: &DeadLetter) -> Fields {
    vec![
        ("run_id", letter.run_id.to_string().into()),
        ("namespace", letter.namespace.as_str().into()),
        ("workflow_id", letter.workflow_id.as_str().into()),
        ("ordinal", letter.ordinal.0.into()),
        ("attempt", letter.attempt.into()),
        ("activity_type", letter.activity_type.as_str().into()),
        ("queue", letter.queue.as_str().into()),
        ("cause", letter.cause.to_string().into()),
        ("reason", letter.reason.as_str().into()),
        ("held", letter.held.into()),
    ]
}

fn workers(event: &WorkersEvent) -> Fields {
    let names = |names: &BTreeSet<String>| Json::from(names.iter().cloned().collect::<Vec<_>>());
    match event {
        WorkersEvent::Joined { worker, offer } => {
            let WorkerOffer { kind, instance, queues, activities, labels, capacity } = &**offer;
            vec![
                ("worker", worker.as_str().into()),
                ("kind", kind.name().into()),
                ("instance", instance.map(|instance| instance.to_string()).as_deref().into()),
                ("queues", names(queues)),
                ("activities", names(activities)),
                ("labels", names(labels)),
                ("capacity", (*capacity).into()),
            ]
        }
        WorkersEvent::Draining { worker, who, why } => {
            vec![("worker", worker.as_str().into()), ("who", who.as_str().into()), ("why", why.as_str().into())]
        }
        WorkersEvent::HealthSet { worker, health, who, why } => vec![
            ("worker", worker.as_str().into()),
            ("health", health.word().into()),
            ("who", who.as_str().into()),
            ("why", why.as_str().into()),
        ],
        WorkersEvent::Left { worker, reason } | WorkersEvent::Lost { worker, reason } => {
            vec![("worker", worker.as_str().into()), ("reason", reason.as_str().into())]
        }
    }
}

/// The fields of an event of a conversation.
pub(super) fn conversation(event: &ConversationEvent) -> Json {
    Json::Object(match event {
        ConversationEvent::Scheduled { activity_type, queue, visible_at } => vec![
            ("activity_type", activity_type.as_str().into()),
            ("queue", queue.as_str().into()),
            ("visible_at", (*visible_at).into()),
        ],
        ConversationEvent::WorkerSelected { leg, worker, token, why, lease_ms } => vec![
            ("leg", (*leg).into()),
            ("worker", worker.as_str().into()),
            ("token_hash", super::json::hex(&token.0).into()),
            ("why", why.as_ref().map_or(Json::Null, selection)),
            ("lease_ms", (*lease_ms).into()),
        ],
        ConversationEvent::Sent { leg } | ConversationEvent::CancelSent { leg } => vec![("leg", (*leg).into())],
        ConversationEvent::Heartbeat { leg, details } => vec![("leg", (*leg).into()), ("details", payload(details))],
        ConversationEvent::Received { leg, response } => {
            let mut fields = vec![("leg", (*leg).into())];
            match response {
                Response::Completed { digest, len } => fields.extend([
                    ("response", "completed".into()),
                    ("digest", digest.to_string().into()),
                    ("bytes", (*len).into()),
                ]),
                Response::Failed { message, retryable } => fields.extend([
                    ("response", "failed".into()),
                    ("message", message.as_str().into()),
                    ("retryable", (*retryable).into()),
                ]),
            }
            fields
        }
        ConversationEvent::Exited { leg, reason, details, visible_at } => vec![
            ("leg", (*leg).into()),
            ("reason", reason.to_string().into()),
            ("loss", reason.is_loss().into()),
            ("details", details.as_ref().map_or(Json::Null, payload)),
            ("visible_at", (*visible_at).into()),
        ],
        ConversationEvent::NoWorker { reason } => vec![("reason", reason.as_str().into())],
        ConversationEvent::Held { outcome: held } => outcome(held),
        ConversationEvent::Closed { outcome } => vec![("outcome", outcome.to_string().into())],
    })
}

fn run_started(started: &RunStarted) -> Fields {
    let RunStarted {
        namespace,
        workflow_id,
        run_id,
        workflow_type,
        version,
        input,
        semantics,
        driver,
        request_id,
        routine,
    } = started;
    let mut fields = vec![
        ("namespace", namespace.as_str().into()),
        ("workflow_id", workflow_id.as_str().into()),
        ("run_id", run_id.to_string().into()),
        ("workflow_type", workflow_type.as_str().into()),
        ("version", (*version).into()),
        ("input", payloads(input)),
        ("semantics", (*semantics).into()),
        ("driver", driver.as_str().into()),
        ("request_id", request_id.as_deref().into()),
    ];
    fields.extend(routine.as_deref().map(|of| ("routine", routine_events::carried_out(of))));
    fields
}

/// A whole call.
pub(super) fn activity_call(asked: &ActivityCall) -> Json {
    Json::Object(call(asked))
}

fn call(call: &ActivityCall) -> Fields {
    let ActivityCall { activity_type, queue, input, options: rules, site: asked_at } = call;
    vec![
        ("activity_type", activity_type.as_str().into()),
        ("queue", queue.as_str().into()),
        ("input", payloads(input)),
        ("options", options(rules)),
        ("site", site(asked_at)),
    ]
}

fn options(options: &ActivityOptions) -> Json {
    let ActivityOptions {
        schedule_to_start_ms,
        start_to_close_ms,
        schedule_to_close_ms,
        heartbeat_ms,
        retry,
        max_losses,
        at_most_once,
        fail_fast,
        hold,
        needs,
        route,
        summary,
        priority,
        fairness_key,
        fairness_weight,
        limit_key,
    } = options;
    let mut fields = vec![
        ("schedule_to_start_ms", (*schedule_to_start_ms).into()),
        ("start_to_close_ms", (*start_to_close_ms).into()),
        ("schedule_to_close_ms", (*schedule_to_close_ms).into()),
        ("heartbeat_ms", (*heartbeat_ms).into()),
        ("max_attempts", retry.max_attempts.into()),
        ("backoff_initial_ms", retry.initial_ms.into()),
        ("backoff_factor_percent", retry.factor_percent.into()),
        ("backoff_max_ms", retry.max_ms.into()),
        ("max_losses", (*max_losses).into()),
        ("at_most_once", (*at_most_once).into()),
        ("fail_fast", (*fail_fast).into()),
        ("hold", (*hold).into()),
        ("needs", needs.clone().into()),
        ("summary", summary.as_str().into()),
        ("priority", u32::from(*priority).into()),
        ("fairness_key", fairness_key.as_str().into()),
        ("fairness_weight", (*fairness_weight).into()),
        ("limit_key", limit_key.as_str().into()),
    ];
    if let Some(request) = route {
        fields.push(("route", written(request)));
    }
    Json::Object(fields)
}

/// A route request as people write it.
pub(super) fn written(request: &RouteRequest) -> Json {
    serde_json::value::to_raw_value(&RouteForm::from(request.clone())).map_or(Json::Null, Json::Raw)
}

fn outcome(outcome: &ActivityOutcome) -> Fields {
    match outcome {
        ActivityOutcome::Completed { result } => vec![("outcome", "completed".into()), ("result", payloads(result))],
        ActivityOutcome::Failed { failure: error, attempts } => {
            vec![("outcome", "failed".into()), ("failure", failure(error)), ("attempts", (*attempts).into())]
        }
        ActivityOutcome::TimedOut { kind, attempts } => vec![
            ("outcome", "timed_out".into()),
            ("deadline", kind.to_string().into()),
            ("attempts", (*attempts).into()),
        ],
        ActivityOutcome::Cancelled => vec![("outcome", "cancelled".into())],
        ActivityOutcome::NoWorker { reason } => {
            vec![("outcome", "no_worker".into()), ("reason", reason.as_str().into())]
        }
        ActivityOutcome::Lost { losses, reason } => {
            vec![("outcome", "lost".into()), ("losses", (*losses).into()), ("reason", reason.as_str().into())]
        }
    }
}

fn failure(failure: &Failure) -> Json {
    let Failure { message, kind, details } = failure;
    Json::Object(vec![
        ("message", message.as_str().into()),
        ("kind", kind.as_str().into()),
        ("details", details.as_ref().map_or(Json::Null, payload)),
    ])
}

fn selection(why: &Selection) -> Json {
    let Selection { policy, candidates, free, left_out, route } = why;
    let left_out = left_out.iter().map(|out| {
        Json::Object(vec![("worker", out.worker.as_str().into()), ("reason", out.reason.to_string().into())])
    });
    let mut fields = vec![
        ("policy", policy.as_str().into()),
        ("candidates", (*candidates).into()),
        ("free", (*free).into()),
        ("left_out", Json::List(left_out.collect())),
    ];
    if let Some(route) = route {
        fields.push(("route", decision(route)));
    }
    Json::Object(fields)
}

fn decision(route: &RouteDecision) -> Json {
    let RouteDecision { reason, eligible, chain, affinity, guard, snapshot } = route;
    let name = |name: &Option<Name>| name.as_ref().map_or(Json::Null, |name| name.as_str().into());
    Json::Object(vec![
        ("reason", reason.to_string().into()),
        ("eligible", (*eligible).into()),
        ("chain", Json::List(chain.iter().map(|name| name.as_str().into()).collect())),
        ("affinity_key", name(affinity)),
        ("guard", name(guard)),
        ("snapshot", format!("{snapshot:016x}").into()),
    ])
}

/// Why a run is blocked, or why a replay stopped.
pub(super) fn blocked(reason: &BlockedReason) -> Json {
    let mut fields: Fields = match reason {
        BlockedReason::Divergence(report) => {
            let DivergenceReport { seq, recorded, recorded_site, attempted, attempted_site, field, repair } = report;
            vec![
                ("kind", "divergence".into()),
                ("seq", (*seq).into()),
                ("recorded", recorded.as_str().into()),
                ("recorded_site", site(recorded_site)),
                ("attempted", attempted.as_str().into()),
                ("attempted_site", site(attempted_site)),
                ("field", field.as_str().into()),
                ("repair", repair.as_str().into()),
            ]
        }
        BlockedReason::Panic { message, site: after } => {
            vec![("kind", "panic".into()), ("message", message.as_str().into()), ("site", site(after))]
        }
        BlockedReason::ForeignAwait { after } => vec![("kind", "foreign_await".into()), ("site", site(after))],
        BlockedReason::Spinning { polls } => vec![("kind", "spinning".into()), ("polls", (*polls).into())],
        BlockedReason::Oversized { bytes, max } => {
            vec![("kind", "oversized".into()), ("bytes", (*bytes).into()), ("max", (*max).into())]
        }
        BlockedReason::Undecodable { message, site: asked_at } => {
            vec![("kind", "undecodable".into()), ("message", message.as_str().into()), ("site", site(asked_at))]
        }
        BlockedReason::UnknownWorkflow { workflow_type } => {
            vec![("kind", "unknown_workflow".into()), ("workflow_type", workflow_type.as_str().into())]
        }
    };
    fields.push(("headline", reason.headline().into()));
    Json::Object(fields)
}

fn site(site: &Site) -> Json {
    (!site.is_unknown()).then_some(site.0.as_str()).into()
}
