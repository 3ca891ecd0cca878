//! The entities of a partition in memory: what has a stream of its own besides the runs.

use crate::partition::Core;
use crate::repair::By;
use antiphon_history::{
    AuditEvent, CatalogueRow, Entity, EntityEvent, EntityName, EntityState, IllegalEntityEvent, RunKey, Timestamp,
};
use std::collections::BTreeMap;

/// All entities of the partition: few, small, and always in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entities {
    held: BTreeMap<EntityName, Held>,
    next: u64,
    /// How many of them are the routing state of a queue: where none is, no call has to ask for its queue's.
    routings: usize,
}

#[derive(Clone, Debug)]
struct Held {
    key: RunKey,
    next_seq: u64,
    entity: Entity,
}

impl Entities {
    /// Takes an entity over from its row. A row of a run is left alone.
    pub(crate) fn load(&mut self, row: &CatalogueRow) {
        let (Some(entity), Some(number)) = (row.entity.as_deref(), row.key.entity_number()) else { return };
        self.next = self.next.max(number + 1);
        let held = Held { key: row.key, next_seq: row.run_events + 1, entity: entity.clone() };
        self.insert(entity.name.clone(), held);
    }

    fn insert(&mut self, name: EntityName, held: Held) {
        let is_routing = matches!(name, EntityName::Routing(_));
        if self.held.insert(name, held).is_none() {
            self.routings += usize::from(is_routing);
        }
    }

    /// Whether any queue has a routing state.
    #[inline]
    pub(crate) fn has_routings(&self) -> bool {
        self.routings > 0
    }

    pub(crate) fn get(&self, name: &EntityName) -> Option<&Entity> {
        self.held.get(name).map(|held| &held.entity)
    }

    /// The key of an entity, if it exists.
    pub(crate) fn key(&self, name: &EntityName) -> Option<RunKey> {
        self.held.get(name).map(|held| held.key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RunKey, &Entity)> {
        self.held.values().map(|held| (held.key, &held.entity))
    }

    /// Folds an event and gives the key and the number under which it is to be recorded; with it the event that opens the
    /// entity, where this is the first. After an error nothing has changed.
    fn apply(
        &mut self,
        name: &EntityName,
        event: &EntityEvent,
        at: Timestamp,
    ) -> Result<(RunKey, u64, Option<EntityEvent>), IllegalEntityEvent> {
        if let Some(held) = self.held.get_mut(name) {
            held.entity.apply(event, at)?;
            held.next_seq += 1;
            return Ok((held.key, held.next_seq - 1, None));
        }
        let mut entity = Entity::new(name.clone());
        entity.apply(event, at)?;
        let key = RunKey::of_entity(self.next);
        self.next += 1;
        self.insert(name.clone(), Held { key, next_seq: 3, entity });
        Ok((key, 2, Some(EntityEvent::Opened { name: name.clone() })))
    }
}

impl Core {
    /// Records one event of an entity, which is opened if it does not exist. False, and counted, if the event cannot follow
    /// (invariant 8). Like all else of a step it is durable before anything that follows from it leaves.
    pub(crate) fn tell(&mut self, name: &EntityName, event: &EntityEvent) -> bool {
        match self.entities.apply(name, event, self.now) {
            Ok((key, seq, opened)) => {
                if let Some(opened) = opened {
                    self.batch.entity_event(key, seq - 1, self.now, &opened);
                }
                self.batch.entity_event(key, seq, self.now, event);
                true
            }
            Err(_) => {
                self.stats.anomalies += 1;
                false
            }
        }
    }
}

impl Core {
    /// Notes in the audit what was done, and by whom.
    pub(crate) fn audit(&mut self, verb: &str, on: String, by: &By) {
        let done = AuditEvent::Done { who: by.who.clone(), verb: verb.to_owned(), on, why: by.why.clone() };
        self.tell(&EntityName::Audit, &EntityEvent::Audit(done));
    }
}

impl crate::Partition {
    /// Takes an entity over from its row. Called for all of them before anything else, once the partition is new.
    pub fn load_entity(&mut self, row: &CatalogueRow) {
        self.core.entities.load(row);
        if let Some(EntityState::Routine(Some(state))) = row.entity.as_deref().map(|entity| &entity.state) {
            self.core.routines.add(state);
        }
        self.core.now = self.core.now.max(row.updated_at);
        match row.entity.as_deref().map(|entity| &entity.name) {
            Some(EntityName::Workers) => self.core.restore_workers(|record| !record.offer.kind.ends_with_engine()),
            Some(EntityName::Queue(queue)) => self.core.follow_queue(queue),
            _ => {}
        }
    }

    /// An entity, if it exists.
    pub fn entity(&self, name: &EntityName) -> Option<&Entity> {
        self.core.entities.get(name)
    }

    /// All entities, by name.
    pub fn entities(&self) -> impl Iterator<Item = (RunKey, &Entity)> {
        self.core.entities.iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Origin, Partition, Programs};
    use antiphon_history::{
        AuditEvent, CatalogueRow, EntityEvent, EntityName, Events, Record, RunKey, SegmentBody, Timestamp,
    };

    fn partition() -> Partition {
        let origin = Origin { store_id: [1; 16], secret: [2; 32], last_segment: 0, last_run: 0, now: Timestamp(1_000) };
        Partition::new(Config::default(), Programs::default(), origin)
    }

    fn done(on: &str) -> EntityEvent {
        let (who, verb, on, why) = ("ada".to_owned(), "queue.pause".to_owned(), on.to_owned(), String::new());
        EntityEvent::Audit(AuditEvent::Done { who, verb, on, why })
    }

    #[test]
    fn what_is_told_of_an_entity_is_recorded_and_folds_to_what_is_in_memory() {
        let mut partition = partition();
        assert!(partition.core.tell(&EntityName::Audit, &done("mail")));
        assert!(partition.core.tell(&EntityName::Audit, &done("print")));
        let body = SegmentBody::read(&partition.take().segment.unwrap()).unwrap();
        let record = Record::read(&body.records[0]).unwrap();
        assert_eq!((body.records.len(), record.run), (1, RunKey::of_entity(0)));
        let opened = EntityEvent::Opened { name: EntityName::Audit };
        assert_eq!(record.events, Events::Entity(vec![opened, done("mail"), done("print")]));

        let row = CatalogueRow::begin(&record, &body.records[0]).unwrap();
        assert_eq!(row.entity.as_deref(), partition.entity(&EntityName::Audit));
        let mut after = self::partition();
        after.load_entity(&row);
        assert!(after.core.tell(&EntityName::Audit, &done("mail")));
        let body = SegmentBody::read(&after.take().segment.unwrap()).unwrap();
        let next = Record::read(&body.records[0]).unwrap();
        assert_eq!((next.run, next.first_seq), (RunKey::of_entity(0), 4));
    }

    #[test]
    fn an_event_that_cannot_follow_is_counted_and_not_recorded() {
        let mut partition = partition();
        assert!(!partition.core.tell(&EntityName::Audit, &EntityEvent::Opened { name: EntityName::Audit }));
        assert_eq!(partition.stats().anomalies, 1);
        assert!(partition.take().segment.is_none());
    }
}
