//! What a store knows besides runs: workers, routing, routines, dead letters, the audit.

use super::timeline::Timeline;
use super::{Error, find};
use antiphon_history::{
    CatalogueRow, DeadLettersState, Entity, EntityName, EntityState, Name, QueueState, RoutineState, RoutingState,
    RunKey, WorkersState,
};
use antiphon_recorder::Reader;
use std::path::Path;

/// Every entity of a store, in the order of their names.
pub(super) struct Entities {
    rows: Vec<CatalogueRow>,
}

impl Entities {
    pub(super) fn read(reader: &mut dyn Reader) -> Result<Entities, Error> {
        let mut rows = reader.entities()?;
        rows.sort_by(|one, other| name(one).cmp(&name(other)));
        Ok(Entities { rows })
    }

    pub(super) fn rows(&self) -> &[CatalogueRow] {
        &self.rows
    }

    fn states(&self) -> impl Iterator<Item = (&CatalogueRow, &Entity)> {
        self.rows.iter().filter_map(|row| Some((row, row.entity.as_deref()?)))
    }

    /// The task queues whose routing has something to remember, with their rows.
    pub(super) fn routing(&self) -> impl Iterator<Item = (&Name, &RoutingState, &CatalogueRow)> {
        self.states().filter_map(|(row, entity)| match (&entity.name, &entity.state) {
            (EntityName::Routing(queue), EntityState::Routing(state)) => Some((queue, &**state, row)),
            _ => None,
        })
    }

    /// The task queues of which an operator said something.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&Name, &QueueState)> {
        self.states().filter_map(|(_, entity)| match (&entity.name, &entity.state) {
            (EntityName::Queue(queue), EntityState::Queue(state)) => Some((queue, &**state)),
            _ => None,
        })
    }

    pub(super) fn routines(&self) -> impl Iterator<Item = (RunKey, &RoutineState)> {
        self.states().filter_map(|(row, entity)| match &entity.state {
            EntityState::Routine(Some(state)) => Some((row.key, &**state)),
            _ => None,
        })
    }

    pub(super) fn dead_letters(&self) -> Option<&DeadLettersState> {
        self.states().find_map(|(_, entity)| match &entity.state {
            EntityState::DeadLetters(state) => Some(state),
            _ => None,
        })
    }

    pub(super) fn workers(&self) -> Option<&WorkersState> {
        self.states().find_map(|(_, entity)| match &entity.state {
            EntityState::Workers(state) => Some(state),
            _ => None,
        })
    }

    /// An entity by the name that dumps give it, such as `routing:mail`.
    pub(super) fn named(&self, wanted: &str) -> Option<&CatalogueRow> {
        self.states().find(|(_, entity)| entity.name.to_string() == wanted).map(|(row, _)| row)
    }
}

fn name(row: &CatalogueRow) -> Option<&EntityName> {
    row.entity.as_deref().map(|entity| &entity.name)
}

/// What a row is called in lists and dumps.
pub(super) fn title(row: &CatalogueRow) -> String {
    name(row).map(ToString::to_string).unwrap_or_default()
}

/// Whether a name on the command line may be an entity's. Workflow ids may look alike; they go first.
pub(super) fn may_be(name: &str) -> bool {
    matches!(name, "audit" | "dead-letters" | "workers")
        || name.split_once(':').is_some_and(|(kind, _)| matches!(kind, "queue" | "routing" | "routine"))
}

/// Every event of an entity, in the order of its appending.
pub(super) fn timeline(reader: &mut dyn Reader, row: &CatalogueRow, store: &Path) -> Result<Timeline, Error> {
    let file = find::history(reader, row, store)?;
    Timeline::read(&file).map_err(|source| Error::Run { store: store.display().to_string(), run: title(row), source })
}
