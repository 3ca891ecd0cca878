//! Who is there: joining, leaving, draining, health, and the silence of workers that are elsewhere.

use super::{Core, Due, Partition};
use crate::workers::WorkerEntry;
use crate::workers_error::possible;
use crate::{By, ReplyTo, WorkerProblem, WorkerSpec, WorkersError, WorkersReply};
use antiphon_history::limits::bounded_text;
use antiphon_history::{
    EntityEvent, EntityName, EntityState, ExitReason, Health, IdError, InstanceId, Liveness, Name, Timestamp,
    WorkerKind, WorkerOffer, WorkerRecord, WorkersEvent, WorkersState,
};
use std::collections::BTreeMap;

/// What is known of the workers besides the record: who was heard when. Gone with the engine.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// Workers whose silence is watched.
    heard: BTreeMap<Name, Heard>,
    /// When the silence is next looked at.
    look_at: Option<Timestamp>,
    /// Instance ids given out.
    minted: u64,
    /// Nothing new is given out; these wait until nothing is under way here any more.
    quiet: Option<Vec<ReplyTo>>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Timestamp,
    /// It has said something since it joined, or since the engine started.
    spoke: bool,
}

impl Presence {
    /// Whether nothing new is given out.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.is_some()
    }
}

impl Partition {
    /// A worker of this process is there. On record only if its offer is new: a start of the same program writes nothing.
    pub(super) fn local_joined(&mut self, spec: WorkerSpec, kind: WorkerKind) {
        // A worker that joins under the name of one that is there has begun anew: what that one had is lost.
        self.worker_gone(&spec.name, &ExitReason::WorkerExit);
        let offer = offer_of(&spec, kind, None);
        let known = self.core.registry().and_then(|registry| registry.present.get(&spec.name));
        if known.is_none_or(|known| known.offer != offer || known.draining || known.health != Health::Healthy) {
            self.core.tell_of_workers(WorkersEvent::Joined { worker: spec.name.clone(), offer: Box::new(offer) });
        }
        self.core.dispatch.join(spec, false);
    }

    /// A worker of this process is gone; its legs are lost.
    pub(super) fn local_left(&mut self, name: &str, reason: &ExitReason) {
        self.worker_gone(name, reason);
        if self.core.registry().is_some_and(|registry| registry.present.contains_key(name)) {
            let reason = reason.to_string();
            self.core.tell_of_workers(WorkersEvent::Lost { worker: name.to_owned(), reason });
        }
    }

    /// All workers of this process have joined: those on record that ended with an engine before and are not here again
    /// are gone.
    pub fn settle_workers(&mut self) {
        let here = |name: &str| self.core.dispatch.has_worker(name);
        let away = self.core.registry().map(|registry| {
            let left = registry.present.iter().filter(|(name, of)| of.offer.kind.ends_with_engine() && !here(name));
            left.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        });
        for worker in away.unwrap_or_default() {
            let reason = "its engine ended".to_owned();
            self.core.tell_of_workers(WorkersEvent::Lost { worker, reason });
        }
    }

    pub(super) fn worker_joins(
        &mut self,
        spec: WorkerSpec,
        kind: WorkerKind,
        instance: Option<InstanceId>,
    ) -> Result<WorkersReply, WorkersError> {
        check_spec(&spec)?;
        let refuse = |problem| Err(WorkersError::NoSuchWorker { worker: spec.name.clone(), problem });
        if kind.ends_with_engine() {
            return refuse(WorkerProblem::OfEngine);
        }
        let registry = self.core.registry();
        let known = registry.and_then(|registry| registry.present.get(&spec.name)).cloned();
        let known = known.as_ref();
        if known.is_some_and(|known| known.offer.kind.ends_with_engine()) {
            return refuse(WorkerProblem::OfEngine);
        }
        if known.is_none() && registry.is_some_and(|registry| registry.present.len() >= antiphon_history::WORKERS_MAX) {
            return refuse(WorkerProblem::TooMany);
        }
        let same = instance.is_some() && known.is_some_and(|known| known.offer.instance == instance);
        let instance = instance.unwrap_or_else(|| self.core.new_instance());
        let offer = offer_of(&spec, kind, Some(instance));
        if same && known.is_some_and(|known| known.offer == offer) {
            // It did not hear our answer, or only wants to be sure.
            self.core.heard(&spec.name);
            return Ok(WorkersReply::Joined { instance });
        }
        self.worker_gone(&spec.name, &ExitReason::WorkerExit);
        self.core.tell_of_workers(WorkersEvent::Joined { worker: spec.name.clone(), offer: Box::new(offer) });
        let name = spec.name.clone();
        self.core.dispatch.join(spec, kind == WorkerKind::Pull);
        self.core.watch(&name);
        Ok(WorkersReply::Joined { instance })
    }

    pub(super) fn worker_leaves(&mut self, name: &str, reason: &str) -> Result<WorkersReply, WorkersError> {
        self.core.asking_worker(name, None)?;
        self.worker_gone(name, &ExitReason::WorkerExit);
        let event = WorkersEvent::Left { worker: name.to_owned(), reason: bounded_text(reason) };
        self.core.tell_of_workers(event);
        Ok(WorkersReply::Done)
    }

    /// Forgets a worker's connection. Legs without a lease are lost; the others are the worker's until their leases end.
    fn worker_gone(&mut self, name: &str, reason: &ExitReason) {
        self.core.presence.heard.remove(name);
        self.core.unpark(name);
        self.worker_left(name, reason);
    }

    /// Somebody is to look whether a worker has been silent for too long.
    pub(super) fn silence_due(&mut self) {
        self.core.presence.look_at = None;
        let (now, silence_ms) = (self.core.now, self.core.config.worker_silence_ms);
        let over = |heard: &Heard| heard.at.plus_ms(silence_ms) <= now;
        let heard = &self.core.presence.heard;
        let silent: Vec<Name> = heard.iter().filter(|(_, heard)| over(heard)).map(|(name, _)| name.clone()).collect();
        for name in silent {
            self.worker_gone(&name, &ExitReason::WorkerExit);
            let reason = format!("silent for {silence_ms} ms");
            self.core.tell_of_workers(WorkersEvent::Lost { worker: name.to_string(), reason });
        }
        self.core.look_at_silence();
    }

    /// Everybody who is there and was there lately, by name.
    pub(super) fn list_workers(&self) -> WorkersReply {
        let mut present = Vec::new();
        for view in self.core.dispatch.views() {
            let name = view.spec.name.clone();
            let record = self.core.registry().and_then(|registry| registry.present.get(&name));
            let heard_at = self.core.presence.heard.get(&*name).map(|heard| heard.at);
            present.push(WorkerEntry {
                kind: record.map_or(WorkerKind::Pool, |record| record.offer.kind),
                instance: record.and_then(|record| record.offer.instance),
                joined_at: record.map(|record| record.joined_at),
                health: record.map_or(Health::Healthy, |record| record.health),
                liveness: self.core.liveness(&name, record),
                heard_at,
                view,
            });
        }
        let gone = self.core.registry().map(|registry| registry.gone.iter().cloned().collect()).unwrap_or_default();
        WorkersReply::Workers { present, gone }
    }

    /// Gives out nothing new, and answers when nothing is under way in this process any more.
    pub(super) fn quiesce(&mut self, to: ReplyTo) {
        self.core.presence.quiet.get_or_insert_default().push(to);
        for to in self.core.parked_claims() {
            self.claim_due(to);
        }
        self.tell_quiet();
    }

    /// Tells those who wait for quiet, if nothing is under way in this process.
    pub(super) fn tell_quiet(&mut self) {
        if !self.core.presence.is_quiet() || self.core.dispatch.pushed_legs().next().is_some() {
            return;
        }
        let waiting = self.core.presence.quiet.as_mut().map(std::mem::take).unwrap_or_default();
        waiting.into_iter().for_each(|to| self.core.tell_worker(to, Ok(WorkersReply::Done)));
    }

    /// Takes back every leg that is under way in this process: none is lost, all go out again at the next start.
    pub(super) fn release_all(&mut self) -> WorkersReply {
        let legs: Vec<_> = self.core.dispatch.pushed_legs().collect();
        for (worker, conversation, leg) in legs {
            self.core.dispatch.release(conversation, leg, self.core.now);
            let Some(run) = self.runs.get_mut(&conversation.run) else { continue };
            if super::activities::is_current(run, conversation, leg) {
                self.core.released(run, conversation.ordinal);
                self.core.effects.push(crate::Effect::CancelLeg { worker, conversation, leg });
            }
        }
        WorkersReply::Done
    }
}

impl Core {
    /// What is on record of workers.
    pub(super) fn registry(&self) -> Option<&WorkersState> {
        match &self.entities.get(&EntityName::Workers)?.state {
            EntityState::Workers(state) => Some(state),
            _ => None,
        }
    }

    fn tell_of_workers(&mut self, event: WorkersEvent) {
        self.tell(&EntityName::Workers, &EntityEvent::Workers(event));
    }

    /// Takes workers over that were there when the engine before ended and may still be: they have as long to speak as if
    /// they had spoken now.
    pub(crate) fn restore_workers(&mut self, may_be_there: impl Fn(&WorkerRecord) -> bool) {
        let Some(registry) = self.registry() else { return };
        let list: Vec<(String, WorkerRecord)> = registry
            .present
            .iter()
            .filter(|(_, record)| may_be_there(record))
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect();
        for (name, record) in list {
            let WorkerOffer { kind, queues, activities, labels, capacity, .. } = record.offer;
            let spec = WorkerSpec { name: name.clone(), queues, activities, labels, capacity };
            self.dispatch.join(spec, kind == WorkerKind::Pull);
            if record.draining {
                self.dispatch.drain(&name);
            }
            self.dispatch.set_health(&name, record.health);
            self.watch(&name);
        }
    }

    /// The worker gets nothing new.
    pub(super) fn drain_worker(&mut self, name: &str, who: String, why: String) -> Result<WorkersReply, WorkersError> {
        let record = self.present(name)?;
        if !record.draining {
            let (who, why) = (bounded_text(&who), bounded_text(&why));
            let by = By { who: who.clone(), why: why.clone() };
            self.audit("worker.drain", name.to_owned(), &by);
            self.tell_of_workers(WorkersEvent::Draining { worker: name.to_owned(), who, why });
            self.dispatch.drain(name);
            self.unpark(name);
        }
        Ok(WorkersReply::Done)
    }

    pub(super) fn set_worker_health(
        &mut self,
        name: &str,
        health: Health,
        who: String,
        why: String,
    ) -> Result<WorkersReply, WorkersError> {
        if self.present(name)?.health != health {
            let (who, why) = (bounded_text(&who), bounded_text(&why));
            let by = By { who: who.clone(), why: why.clone() };
            self.audit("worker.health", name.to_owned(), &by);
            self.tell_of_workers(WorkersEvent::HealthSet { worker: name.to_owned(), health, who, why });
            self.dispatch.set_health(name, health);
        }
        Ok(WorkersReply::Done)
    }

    fn present(&self, name: &str) -> Result<&WorkerRecord, WorkersError> {
        let missing = WorkersError::NoSuchWorker { worker: bounded_text(name), problem: WorkerProblem::Absent };
        self.registry().and_then(|registry| registry.present.get(name)).ok_or(missing)
    }

    /// A worker that speaks for itself: refused if another has taken its name, or if it was taken for gone.
    pub(super) fn asking_worker(&mut self, name: &str, instance: Option<InstanceId>) -> Result<(), WorkersError> {
        let problem = match self.registry().and_then(|registry| registry.present.get(name)) {
            None => WorkerProblem::Absent,
            Some(record) if record.offer.kind.ends_with_engine() => WorkerProblem::OfEngine,
            Some(record) if instance.is_some() && record.offer.instance != instance => WorkerProblem::Replaced,
            Some(_) => {
                self.heard(name);
                return Ok(());
            }
        };
        Err(WorkersError::NoSuchWorker { worker: bounded_text(name), problem })
    }

    /// The worker has said something.
    pub(super) fn heard(&mut self, name: &str) {
        self.heard_until(name, self.now);
    }

    /// The worker is known to be there until then, as far as silence goes: it waits for our answer.
    pub(super) fn heard_until(&mut self, name: &str, until: Timestamp) {
        if let Some(heard) = self.presence.heard.get_mut(name) {
            *heard = Heard { at: heard.at.max(until), spoke: true };
            self.dispatch.set_liveness(name, Liveness::Live);
        }
    }

    /// Begins to watch a worker's silence.
    fn watch(&mut self, name: &str) {
        self.presence.heard.insert(name.into(), Heard { at: self.now, spoke: false });
        self.dispatch.set_liveness(name, Liveness::Joining);
        self.look_at_silence();
    }

    /// Marks who is suspect, and notes when somebody is to look again. Words of workers only move that away, so a look that
    /// comes too early does nothing but look again later.
    fn look_at_silence(&mut self) {
        let silence_ms = self.config.worker_silence_ms;
        if silence_ms == 0 {
            return;
        }
        let mut next: Option<Timestamp> = None;
        let mut suspects = Vec::new();
        for (name, heard) in &self.presence.heard {
            let half = heard.at.plus_ms(silence_ms / 2);
            if half <= self.now {
                suspects.push(name.clone());
            }
            let at = if half > self.now { half } else { heard.at.plus_ms(silence_ms) };
            next = next.into_iter().chain([at]).min();
        }
        suspects.iter().for_each(|name| self.dispatch.set_liveness(name, Liveness::Suspect));
        if let Some(at) = next
            && self.presence.look_at.is_none_or(|known| at < known)
        {
            if let Some(known) = self.presence.look_at {
                self.deadlines.remove(&(known, Due::Silence));
            }
            self.deadlines.insert((at, Due::Silence));
            self.presence.look_at = Some(at);
        }
    }

    pub(super) fn liveness(&self, name: &str, record: Option<&WorkerRecord>) -> Liveness {
        if record.is_some_and(|record| record.draining) {
            return Liveness::Draining;
        }
        let silence_ms = self.config.worker_silence_ms;
        match self.presence.heard.get(name) {
            None => Liveness::Live,
            Some(heard) if silence_ms > 0 && heard.at.plus_ms(silence_ms / 2) <= self.now => Liveness::Suspect,
            Some(heard) if !heard.spoke => Liveness::Joining,
            Some(_) => Liveness::Live,
        }
    }

    /// A fresh id for one life of a worker: nobody outside can guess it, no engine gives it twice.
    fn new_instance(&mut self) -> InstanceId {
        self.presence.minted += 1;
        InstanceId(self.mint.instance(self.presence.minted))
    }
}

fn offer_of(spec: &WorkerSpec, kind: WorkerKind, instance: Option<InstanceId>) -> WorkerOffer {
    WorkerOffer {
        kind,
        instance,
        queues: spec.queues.clone(),
        activities: spec.activities.clone(),
        labels: spec.labels.clone(),
        capacity: spec.capacity,
    }
}

/// Most names in one list of an offer: its record is to stay within some KiB.
const OFFER_NAMES_MAX: usize = 1_024;

fn check_spec(spec: &WorkerSpec) -> Result<(), WorkersError> {
    let names = spec.queues.len().max(spec.activities.len()).max(spec.labels.len());
    possible("capacity", u64::from(spec.capacity), 65_536)?;
    possible("names", (names as u64).max(1), OFFER_NAMES_MAX as u64)?;
    let lists = [("task queue", &spec.queues), ("activity", &spec.activities), ("label", &spec.labels)];
    IdError::check("worker name", &spec.name)?;
    for (what, names) in lists {
        names.iter().try_for_each(|name| IdError::check(what, name))?;
    }
    Ok(())
}
