//! What else has a stream besides the runs, as the durable record tells of it.

use crate::book::RunBook;
use crate::broken::{Broken, Checked};
use crate::slots::SlotBook;
use antiphon_history::{Bytes, Entity, EntityEvent, EntityName, HistoryFile, RoutineSlot, RunKey, Timestamp};
use std::collections::BTreeMap;

/// All entities.
#[derive(Default)]
pub(crate) struct Entities {
    /// The history of each, and the fold of it.
    kept: BTreeMap<RunKey, (HistoryFile, Option<Entity>)>,
    pub(crate) routines: BTreeMap<RunKey, SlotBook>,
}

impl Entities {
    /// Takes in a record that has become durable.
    pub(crate) fn record(&mut self, key: RunKey, events: &[EntityEvent], bytes: Bytes, at: Timestamp) -> Checked {
        let (history, entity) = self.kept.entry(key).or_default();
        history.records.push(bytes);
        fold(entity, events, at)?;
        for event in events {
            let EntityEvent::Routine(event) = event else { continue };
            match self.routines.get_mut(&key) {
                Some(book) => book.follow(event, at)?,
                None => _ = self.routines.insert(key, SlotBook::begin(event)?),
            }
        }
        Ok(())
    }

    /// The entities, as their records leave them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RunKey, &Entity)> {
        self.kept.iter().filter_map(|(key, (_, entity))| Some((*key, entity.as_ref()?)))
    }

    /// Which entity has this key.
    pub(crate) fn name(&self, key: RunKey) -> Option<&EntityName> {
        Some(&self.kept.get(&key)?.1.as_ref()?.name)
    }

    pub(crate) fn histories(&self) -> impl Iterator<Item = (RunKey, HistoryFile)> {
        self.kept.iter().map(|(key, (history, _))| (*key, history.clone()))
    }

    /// A slot and its run begin and end in the same segment.
    pub(crate) fn check_slots(&self, runs: &BTreeMap<RunKey, RunBook>) -> Checked {
        for book in self.routines.values() {
            for ((slot, attempt), run) in &book.open {
                let run = run.and_then(|key| runs.get(&key));
                let of = run.filter(|run| !run.ended).and_then(|run| run.started.routine.as_deref());
                if of.is_none_or(|of| (&of.routine, of.slot, of.attempt) != (&book.id, *slot, *attempt)) {
                    let detail = format!("{} {slot} attempt {attempt}", book.id);
                    return Err(Broken::new(4, "a slot is open, and no run carries it out", detail));
                }
            }
        }
        if self.routines.is_empty() {
            return Ok(());
        }
        let carried = |of: &RoutineSlot| {
            let mut books = self.routines.values().filter(|book| book.id == of.routine);
            books.any(|book| book.cancelled || book.open.contains_key(&(of.slot, of.attempt)))
        };
        let mut left = runs.iter().filter(|(_, run)| !run.ended);
        match left.find(|(_, run)| run.started.routine.as_deref().is_some_and(|of| !carried(of))) {
            Some((key, _)) => Err(Broken::new(4, "a run outlives its slot", format!("{key:?}")).in_run(*key)),
            None => Ok(()),
        }
    }
}

/// Takes the next events of an entity in. None of them may be one that cannot follow (invariant 8).
fn fold(entity: &mut Option<Entity>, events: &[EntityEvent], at: Timestamp) -> Checked {
    for event in events {
        match (&mut *entity, event) {
            (None, EntityEvent::Opened { name }) => *entity = Some(Entity::new(name.clone())),
            (Some(entity), event) => {
                let folded = entity.apply(event, at);
                folded.map_err(|error| Broken::new(8, "an entity's event cannot follow", error.to_string()))?;
            }
            (None, event) => return Err(Broken::new(4, "an entity does not begin with Opened", event.to_string())),
        }
    }
    Ok(())
}
