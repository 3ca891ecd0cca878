//! ENTITIES: what has a stream of its own besides the runs.
//!
//! | kind | one per | its stream tells |
//! |---|---|---|
//! | `audit` | store | what operators and repairs did |
//! | `queue` | task queue | what operators set, paused and resumed |
//! | `routing` | task queue | which worker had the last turn, and which affinity keys are whose |
//! | `routine` | durable job | what was asked of it, and what became of its slots |
//! | `dead-letters` | store | activities whose attempts or losses were used up, and who took care of them |
//! | `workers` | store | who joined, drained, left or was lost |
//!
//! An entity's records lie in the same segments as those of runs, under keys from 2^55 on. Its state is the fold of its
//! events; the archive keeps it in the entity's row, so a start reads one row each and no history. That is why every state has
//! a bound. Nothing here is read by the replay of a run.

mod audit;
mod dead_letters;
mod queue;
mod routing;
mod workers;

pub use audit::{AuditEvent, AuditState};
pub use dead_letters::{
    DEAD_LETTERS_MAX, DeadCause, DeadLetter, DeadLetterEntry, DeadLettersEvent, DeadLettersState, Settled, Settlement,
};
pub use queue::{
    QUEUE_WEIGHTS_MAX, QueueEvent, QueuePause, QueueRate, QueueSettings, QueueSettingsError, QueueState,
    RATE_PERIOD_MAX_MS,
};
pub use routing::{Affinity, Cursor, RoutingEvent, RoutingReset, RoutingState};
pub use workers::{
    GONE_WORKERS_MAX, GoneWorker, InstanceId, WORKERS_MAX, WorkerKind, WorkerOffer, WorkerRecord, WorkersEvent,
    WorkersState,
};

use crate::{Name, RoutineEvent, RoutineState, RunKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The first key of an entity. Runs count from 1 and never come near: at a million a second it takes a thousand years. Blocks keep keys below 2^56.
const FIRST: u64 = 1 << 55;

impl RunKey {
    /// The key of the `number`th entity of a store, from 0.
    pub const fn of_entity(number: u64) -> RunKey {
        RunKey(FIRST.saturating_add(number))
    }

    /// Whether this is the key of an entity, and of no run.
    pub const fn is_entity(self) -> bool {
        self.0 >= FIRST
    }

    /// Which entity of its store this is, from 0. `None` for a run.
    pub const fn entity_number(self) -> Option<u64> {
        self.0.checked_sub(FIRST)
    }
}

/// Which entity: its kind and, where a store may have several of the kind, its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum EntityName {
    /// What operators and repairs did.
    #[serde(rename = "au")]
    Audit,
    /// Cursors and affinity keys of a task queue.
    #[serde(rename = "rt")]
    Routing(
        /// The queue.
        Name,
    ),
    /// A durable job, by its id.
    #[serde(rename = "ro")]
    Routine(String),
    /// Activities whose attempts or losses were used up.
    #[serde(rename = "dl")]
    DeadLetters,
    /// The workers.
    #[serde(rename = "wo")]
    Workers,
    /// A task queue.
    #[serde(rename = "qu")]
    Queue(
        /// Its name.
        Name,
    ),
}

impl EntityName {
    /// The namespace under which an entity stands in its row. No workflow may use it.
    pub const NAMESPACE: &str = "antiphon.entity";
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntityName::Audit => f.write_str("audit"),
            EntityName::Routing(queue) => write!(f, "routing:{queue}"),
            EntityName::Routine(id) => write!(f, "routine:{id}"),
            EntityName::DeadLetters => f.write_str("dead-letters"),
            EntityName::Workers => f.write_str("workers"),
            EntityName::Queue(queue) => write!(f, "queue:{queue}"),
        }
    }
}

/// What happened to an entity.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EntityEvent {
    /// The entity exists. Always the first event.
    #[serde(rename = "op")]
    Opened {
        /// Which it is.
        #[serde(rename = "n")]
        name: EntityName,
    },
    /// Of the audit.
    #[serde(rename = "au")]
    Audit(AuditEvent),
    /// Of a queue's routing.
    #[serde(rename = "rt")]
    Routing(RoutingEvent),
    /// Of a routine.
    #[serde(rename = "ro")]
    Routine(RoutineEvent),
    /// Of the dead letters.
    #[serde(rename = "dl")]
    DeadLetters(DeadLettersEvent),
    /// Of the workers.
    #[serde(rename = "wo")]
    Workers(WorkersEvent),
    /// Of a task queue.
    #[serde(rename = "qu")]
    Queue(QueueEvent),
}

impl EntityEvent {
    /// The event's name, as documents and dumps print it.
    pub fn name(&self) -> &'static str {
        match self {
            EntityEvent::Opened { .. } => "Opened",
            EntityEvent::Audit(event) => event.name(),
            EntityEvent::Routing(event) => event.name(),
            EntityEvent::Routine(event) => event.name(),
            EntityEvent::DeadLetters(event) => event.name(),
            EntityEvent::Workers(event) => event.name(),
            EntityEvent::Queue(event) => event.name(),
        }
    }
}

impl fmt::Display for EntityEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            EntityEvent::Opened { name } => write!(f, " {name}"),
            EntityEvent::Audit(event) => event.fmt(f),
            EntityEvent::Routing(event) => event.fmt(f),
            EntityEvent::Routine(event) => event.fmt(f),
            EntityEvent::DeadLetters(event) => event.fmt(f),
            EntityEvent::Workers(event) => event.fmt(f),
            EntityEvent::Queue(event) => event.fmt(f),
        }
    }
}

/// An entity as its events left it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entity {
    /// Which it is.
    #[serde(rename = "n")]
    pub name: EntityName,
    /// What is known of it.
    #[serde(rename = "s")]
    pub state: EntityState,
}

/// What is known of an entity, by its kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EntityState {
    /// The audit.
    #[serde(rename = "au")]
    Audit(AuditState),
    /// A queue's routing.
    #[serde(rename = "rt")]
    Routing(Box<RoutingState>),
    /// A routine; none before its first event.
    #[serde(rename = "ro")]
    Routine(Option<Box<RoutineState>>),
    /// The dead letters.
    #[serde(rename = "dl")]
    DeadLetters(DeadLettersState),
    /// The workers.
    #[serde(rename = "wo")]
    Workers(WorkersState),
    /// A task queue.
    #[serde(rename = "qu")]
    Queue(Box<QueueState>),
}

/// An event that cannot follow in its entity's stream. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow in the stream of {entity}: {problem}")]
pub struct IllegalEntityEvent {
    /// The entity.
    pub entity: String,
    /// The event's name.
    pub event: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl Entity {
    /// A new entity of a name.
    pub fn new(name: EntityName) -> Entity {
        let state = match &name {
            EntityName::Audit => EntityState::Audit(AuditState::default()),
            EntityName::Routing(_) => EntityState::Routing(Box::default()),
            EntityName::Routine(_) => EntityState::Routine(None),
            EntityName::DeadLetters => EntityState::DeadLetters(DeadLettersState::default()),
            EntityName::Workers => EntityState::Workers(WorkersState::default()),
            EntityName::Queue(_) => EntityState::Queue(Box::default()),
        };
        Entity { name, state }
    }

    /// Folds the next event of the stream, recorded at `at`. After an error nothing has changed.
    pub fn apply(&mut self, event: &EntityEvent, at: Timestamp) -> Result<(), IllegalEntityEvent> {
        let told = match (&mut self.state, event) {
            (EntityState::Audit(state), EntityEvent::Audit(event)) => state.apply(event, at),
            (EntityState::Routing(state), EntityEvent::Routing(event)) => state.apply(event, at),
            (EntityState::Routine(state), EntityEvent::Routine(event)) => RoutineState::fold(state, event, at),
            (EntityState::DeadLetters(state), EntityEvent::DeadLetters(event)) => state.apply(event, at),
            (EntityState::Workers(state), EntityEvent::Workers(event)) => state.apply(event, at),
            (EntityState::Queue(state), EntityEvent::Queue(event)) => state.apply(event, at),
            (_, EntityEvent::Opened { .. }) => Err("it exists already".to_owned()),
            _ => Err("it is an event of another kind of entity".to_owned()),
        };
        told.map_err(|problem| IllegalEntityEvent { entity: self.name.to_string(), event: event.name(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_and_runs_have_different_keys() {
        assert!(!RunKey(1).is_entity() && !RunKey(FIRST - 1).is_entity());
        assert!(RunKey::of_entity(0).is_entity());
        assert_eq!((RunKey::of_entity(7).entity_number(), RunKey(7).entity_number()), (Some(7), None));
    }

    #[test]
    fn an_entity_is_opened_once() {
        let mut audit = Entity::new(EntityName::Audit);
        let before = audit.clone();
        assert!(audit.apply(&EntityEvent::Opened { name: EntityName::Audit }, Timestamp(1)).is_err());
        assert_eq!(audit, before);
    }
}
