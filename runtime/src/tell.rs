//! What a program may listen to by `tracing`: what has become durable, in a few words each.
//!
//! The words are made from the segment, when it is durable: so nothing is told that a crash could take back, deciding knows
//! nothing of it, and where nobody listens nothing is read. Targets and fields are listed in `docs/observability.md` and are
//! as stable as the format. Inputs, results, errors of activities, panics, progress and tokens are in no field.

use antiphon_engine::Partition;
use antiphon_history::{
    AuditEvent, BlockedReason, Bytes, ConversationEvent, DeadLettersEvent, EntityEvent, EntityName, Events, ExitReason,
    Record, RoutineEvent, RunEvent, RunKey, SegmentBody, SlotOutcome, WorkersEvent,
};
use std::collections::{BTreeMap, BTreeSet};
use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, enabled, info, warn};

/// The records of one segment, with the names of their runs and entities.
pub(crate) struct Told(Vec<(String, Record)>);

/// What is to be told once a segment is durable. `None` where nobody listens, which costs a look at a few flags.
pub(crate) fn of(segment: Option<&Bytes>, partition: &Partition) -> Option<Box<Told>> {
    let segment = segment.filter(|_| somebody_listens())?;
    // What the engine has just written can be read; if not, the archive says so.
    let bodies = SegmentBody::read(segment).ok()?.records;
    let records: Vec<Record> = bodies.iter().filter_map(|bytes| Record::read(bytes).ok()).collect();
    let routines = names_of_routines(&records, partition);
    let named = records.into_iter().map(|record| {
        let of_run = || partition.workflow_of(record.run).map(|workflow| workflow.to_string());
        (routines.get(&record.run).cloned().or_else(of_run).unwrap_or_default(), record)
    });
    Some(Box::new(Told(named.collect())))
}

/// The ids of the routines that records are of. Entities are known by name, so that all are gone through, once.
fn names_of_routines(records: &[Record], partition: &Partition) -> BTreeMap<RunKey, String> {
    let is_of_routine = |record: &&Record| match &record.events {
        Events::Entity(events) => events.iter().any(|event| matches!(event, EntityEvent::Routine(_))),
        _ => false,
    };
    let wanted: BTreeSet<RunKey> = records.iter().filter(is_of_routine).map(|record| record.run).collect();
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let found = partition.entities().filter(|(key, _)| wanted.contains(key));
    found.filter_map(|(key, entity)| Some((key, routine_id(&entity.name)?))).collect()
}

fn routine_id(name: &EntityName) -> Option<String> {
    match name {
        EntityName::Routine(id) => Some(id.clone()),
        _ => None,
    }
}

fn somebody_listens() -> bool {
    LevelFilter::current() != LevelFilter::OFF
        && (enabled!(target: "antiphon::run", Level::INFO)
            || enabled!(target: "antiphon::routing", Level::INFO)
            || enabled!(target: "antiphon::leg", Level::WARN)
            || enabled!(target: "antiphon::worker", Level::INFO)
            || enabled!(target: "antiphon::routine", Level::INFO)
            || enabled!(target: "antiphon::dead_letter", Level::INFO)
            || enabled!(target: "antiphon::audit", Level::INFO))
}

impl Told {
    /// Tells it. Only when the segment is durable.
    pub(crate) fn tell(&self) {
        for (name, record) in &self.0 {
            match &record.events {
                Events::Run(events) => events.iter().for_each(|event| of_run(name, event)),
                Events::Conversation { ordinal, attempt, events } => {
                    events.iter().for_each(|event| of_leg(name, ordinal.0, *attempt, event));
                }
                Events::Entity(events) => events.iter().for_each(|event| of_entity(name, event)),
            }
        }
    }
}

fn of_run(workflow_id: &str, event: &RunEvent) {
    match event {
        RunEvent::Blocked(blocked) => {
            warn!(target: "antiphon::run", workflow_id, cause = blocked_by(&blocked.reason), "blocked");
        }
        RunEvent::Unblocked => info!(target: "antiphon::run", workflow_id, "unblocked"),
        RunEvent::RunTerminated { who, .. } => info!(target: "antiphon::run", workflow_id, who, "terminated"),
        _ => {}
    }
}

fn of_leg(workflow_id: &str, activity: u32, attempt: u32, event: &ConversationEvent) {
    match event {
        ConversationEvent::WorkerSelected { leg, worker, why, .. } => {
            let route = why.as_ref().and_then(|why| why.route.as_deref());
            debug!(
                target: "antiphon::routing",
                workflow_id, activity, attempt, leg,
                worker = &**worker,
                policy = why.as_ref().map(|why| why.policy.as_str()),
                candidates = why.as_ref().map(|why| why.candidates),
                left_out = why.as_ref().map(|why| why.left_out.len()),
                eligible = route.map(|route| route.eligible),
                guard = route.and_then(|route| route.guard.as_deref()),
                "selected"
            );
        }
        ConversationEvent::NoWorker { reason } => {
            info!(target: "antiphon::routing", workflow_id, activity, attempt, reason, "nobody");
        }
        ConversationEvent::Exited { leg, reason, .. } if reason.is_loss() => {
            let how = match reason {
                ExitReason::WorkerDied { how } => Some(how.as_str()),
                _ => None,
            };
            warn!(target: "antiphon::leg", workflow_id, activity, attempt, leg, cause = lost_by(reason), how, "lost");
        }
        _ => {}
    }
}

fn of_entity(name: &str, event: &EntityEvent) {
    match event {
        EntityEvent::Routine(event) => of_routine(name, event),
        EntityEvent::Workers(event) => of_worker(event),
        EntityEvent::DeadLetters(DeadLettersEvent::Noted(letter)) => warn!(
            target: "antiphon::dead_letter",
            workflow_id = letter.workflow_id,
            activity = letter.ordinal.0,
            attempt = letter.attempt,
            activity_type = &*letter.activity_type,
            queue = &*letter.queue,
            held = letter.held,
            "noted"
        ),
        EntityEvent::DeadLetters(DeadLettersEvent::Settled { number, how, who, .. }) => {
            info!(target: "antiphon::dead_letter", letter = number, how = %how, who, "settled");
        }
        EntityEvent::Audit(AuditEvent::Done { who, verb, on, why }) => {
            info!(target: "antiphon::audit", who, verb, on, why, "done");
        }
        EntityEvent::Audit(AuditEvent::Refused { who, verb, on, why }) => {
            warn!(target: "antiphon::audit", who, verb, on, why, "refused");
        }
        _ => {}
    }
}

fn of_worker(event: &WorkersEvent) {
    match event {
        WorkersEvent::Joined { worker, offer } => {
            info!(target: "antiphon::worker", worker, kind = %offer.kind, capacity = offer.capacity, "joined");
        }
        WorkersEvent::Draining { worker, who, .. } => info!(target: "antiphon::worker", worker, who, "draining"),
        WorkersEvent::HealthSet { worker, health, who, .. } => {
            info!(target: "antiphon::worker", worker, health = %health, who, "health");
        }
        WorkersEvent::Left { worker, reason } => info!(target: "antiphon::worker", worker, reason, "left"),
        WorkersEvent::Lost { worker, reason } => warn!(target: "antiphon::worker", worker, reason, "lost"),
    }
}

fn of_routine(routine: &str, event: &RoutineEvent) {
    match event {
        RoutineEvent::SlotStarted { slot, attempt, .. } => {
            info!(target: "antiphon::routine", routine, slot = %slot, attempt, "started");
        }
        RoutineEvent::SlotEnded { slot, attempt, outcome, retry_at } => {
            let outcome = match outcome {
                SlotOutcome::Completed => "completed",
                SlotOutcome::Failed { .. } => "failed",
                SlotOutcome::Cancelled => "cancelled",
                SlotOutcome::Terminated => "terminated",
            };
            info!(target: "antiphon::routine", routine, slot = %slot, attempt, outcome, again = retry_at.is_some(), "ended");
        }
        RoutineEvent::SlotsSkipped { reason, .. } => {
            info!(target: "antiphon::routine", routine, reason = reason.name(), "skipped");
        }
        RoutineEvent::SlotDropped { slot, reason } => {
            info!(target: "antiphon::routine", routine, slot = %slot, reason = reason.name(), "dropped");
        }
        RoutineEvent::SlotBuffered { .. } => info!(target: "antiphon::routine", routine, "buffered"),
        _ => {}
    }
}

fn blocked_by(reason: &BlockedReason) -> &'static str {
    match reason {
        BlockedReason::Divergence(_) => "divergence",
        BlockedReason::Panic { .. } => "panic",
        BlockedReason::ForeignAwait { .. } => "foreign_await",
        BlockedReason::Spinning { .. } => "spinning",
        BlockedReason::Undecodable { .. } => "undecodable",
        BlockedReason::Oversized { .. } => "oversized",
        BlockedReason::UnknownWorkflow { .. } => "unknown_workflow",
    }
}

fn lost_by(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::WorkerExit => "worker_exit",
        ExitReason::WorkerDied { .. } => "worker_died",
        ExitReason::Panicked { .. } => "panicked",
        ExitReason::EngineRestart => "engine_restart",
        ExitReason::LeaseExpired => "lease_expired",
        ExitReason::Forced => "forced",
        ExitReason::Redriven => "redriven",
        ExitReason::TimedOut { .. } => "timed_out",
        ExitReason::Cancelled => "cancelled",
        ExitReason::Released => "released",
    }
}
