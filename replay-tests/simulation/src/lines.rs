//! The lines of the task queues, as the record tells of them: who waited, who was under way, which rules held, and so
//! whether whoever went out was allowed to. Written from the promises, apart from the engine's own line.

use crate::broken::{Broken, Checked};
use crate::routes::{allows, serves};
use crate::told::{LegKey, Told};
use antiphon_history::{
    ActivityCall, ConversationEvent, ConversationKey, EntityEvent, EntityName, Health, Name, QueueEvent, QueueRate,
    QueueSettings, RouteReason, RouteRequest, RoutingEvent, RunKey, Timestamp, WorkerOffer, WorkersEvent,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An activity.
type Item = (RunKey, u32);

/// All lines.
#[derive(Default)]
pub(crate) struct Lines {
    queues: BTreeMap<Name, Line>,
    /// What each worker announced last.
    offers: BTreeMap<String, Announced>,
    /// A choice in turn whose cursor has not moved yet.
    in_turn: Option<Name>,
    /// The engine begins anew: not all that waits is in line yet.
    pub(crate) is_loading: bool,
    /// Who changed a queue.
    pub(crate) by: BTreeSet<String>,
}

/// A worker.
struct Announced {
    offer: WorkerOffer,
    draining: bool,
    health: Health,
}

/// One queue.
#[derive(Default)]
struct Line {
    settings: QueueSettings,
    paused: bool,
    /// The route of calls that say nothing.
    route: Option<Box<RouteRequest>>,
    rate: Rate,
    waits: BTreeMap<Item, Waits>,
    under_way: BTreeMap<Item, UnderWay>,
    /// Who has a part of a limit key: from the first leg until the activity is over.
    has_key: BTreeMap<Item, String>,
}

struct Waits {
    call: Arc<ActivityCall>,
    since: Timestamp,
    /// Nothing is asked of its worker but what the call needs.
    plain: bool,
}

struct UnderWay {
    leg: LegKey,
    sent_at: Timestamp,
    lease_ms: Option<u64>,
}

/// What was given out under one rate. In no stretch of time more than its length allows, and the burst.
#[derive(Default)]
struct Rate {
    count: i128,
    /// The least of `place × period - moment × count` over all that were given out.
    least: Option<i128>,
}

impl Rate {
    /// One more is given out; false if that is too much. A moment is a whole millisecond, so a stretch is up to one longer
    /// than it looks.
    fn gives(&mut self, rate: QueueRate, at: Timestamp) -> bool {
        let (period, count) = (i128::from(rate.period_ms), i128::from(rate.count));
        let here = self.count * period - i128::from(at.0) * count;
        let least = self.least.map_or(here, |least| least.min(here));
        (self.least, self.count) = (Some(least), self.count + 1);
        here + period * (1 - i128::from(rate.burst)) - count < least
    }
}

fn wrong<T>(what: &'static str, detail: String) -> Checked<T> {
    Err(Broken::new(4, what, detail))
}

impl Lines {
    /// Something happened to an entity.
    pub(crate) fn entity(&mut self, name: &EntityName, event: &EntityEvent) {
        match (name, event) {
            (EntityName::Queue(queue), EntityEvent::Queue(event)) => {
                let line = self.queues.entry(queue.clone()).or_default();
                match event {
                    QueueEvent::Set { settings, who, .. } => {
                        self.by.insert(who.clone());
                        if settings.rate != line.settings.rate {
                            line.rate = Rate::default();
                        }
                        line.settings = (**settings).clone();
                    }
                    QueueEvent::Paused { who, .. } | QueueEvent::Resumed { who, .. } => {
                        self.by.insert(who.clone());
                        line.paused = matches!(event, QueueEvent::Paused { .. });
                    }
                }
            }
            (EntityName::Routing(queue), EntityEvent::Routing(RoutingEvent::DefaultSet { route, .. })) => {
                self.queues.entry(queue.clone()).or_default().route = route.clone();
            }
            (_, EntityEvent::Workers(WorkersEvent::Joined { worker, offer })) => {
                let offer = (**offer).clone();
                self.offers.insert(worker.clone(), Announced { offer, draining: false, health: Health::Healthy });
            }
            (_, EntityEvent::Workers(WorkersEvent::Draining { worker, .. })) => {
                self.offers.entry(worker.clone()).and_modify(|known| known.draining = true);
            }
            (_, EntityEvent::Workers(WorkersEvent::HealthSet { worker, health, .. })) => {
                self.offers.entry(worker.clone()).and_modify(|known| known.health = *health);
            }
            (
                _,
                EntityEvent::Routing(RoutingEvent::CursorMoved { worker, .. } | RoutingEvent::KeyBound { worker, .. }),
            ) if self.in_turn.as_ref() == Some(worker) => {
                self.in_turn = None;
            }
            _ => {}
        }
    }

    /// Something happened in a conversation. `spoiled`: a worker lost a leg of it.
    pub(crate) fn conversation(
        &mut self,
        conversation: ConversationKey,
        event: &ConversationEvent,
        at: Timestamp,
        call: &Arc<ActivityCall>,
        spoiled: bool,
        told: &Told,
    ) -> Checked {
        use ConversationEvent as E;
        let item = (conversation.run, conversation.ordinal.0);
        let line = match self.queues.get_mut(&call.queue) {
            Some(line) => line,
            None => self.queues.entry(call.queue.clone()).or_default(),
        };
        match event {
            E::Scheduled { visible_at, .. } | E::Exited { visible_at, .. } => {
                line.under_way.remove(&item);
                let since = visible_at.unwrap_or(at);
                let plain = !spoiled && call.options.route.is_none();
                line.waits.insert(item, Waits { call: Arc::clone(call), since, plain });
            }
            E::WorkerSelected { leg, worker, lease_ms, why, .. } => {
                let Some(known) = self.offers.get(worker.as_str()) else {
                    return wrong("a worker was chosen that nobody knows", worker.to_string());
                };
                let offer = Some(&known.offer).filter(|_| !self.is_loading);
                if let Some(unsettled) = &self.in_turn {
                    return wrong("a choice in turn moved no cursor", unsettled.to_string());
                }
                let reason = why.as_ref().and_then(|why| why.route.as_ref()).map(|route| route.reason);
                let moves = [RouteReason::NextInTurn, RouteReason::BoundKey, RouteReason::MovedKey];
                self.in_turn = reason.filter(|reason| moves.contains(reason)).map(|_| worker.clone());
                let allowed = known.allows(line.route.as_deref(), call, worker);
                allowed.and_then(|()| line.goes(item, call, offer, at, told)).map_err(|broken| Broken {
                    detail: format!("{conversation} leg {leg}: {}", broken.detail),
                    ..broken
                })?;
                let leg = (conversation, *leg);
                line.under_way.insert(item, UnderWay { leg, sent_at: at, lease_ms: *lease_ms });
            }
            E::Received { .. } => _ = line.under_way.remove(&item),
            E::Closed { .. } => _ = line.waits.remove(&item),
            E::Held { .. } => {
                line.waits.remove(&item);
                line.has_key.remove(&item);
            }
            E::Sent { .. } | E::Heartbeat { .. } | E::CancelSent { .. } | E::NoWorker { .. } => {}
        }
        Ok(())
    }

    /// The workflow has its outcome, or no longer waits for it.
    pub(crate) fn over(&mut self, item: Item, queue: &Name) {
        if let Some(line) = self.queues.get_mut(queue) {
            line.has_key.remove(&item);
        }
    }

    /// Whether the rules of its queue let an attempt go for certain, if so many bodies of the engine's own process run.
    pub(crate) fn lets_go(&self, item: Item, call: &ActivityCall, bodies: u32) -> bool {
        let Some(line) = self.queues.get(&call.queue) else { return call.options.route.is_none() };
        let leased = line.under_way.values().filter(|leg| leg.lease_ms.is_some()).count() as u32;
        let settings = &line.settings;
        let has_key =
            call.options.limit_key.is_empty() || settings.per_key_max.is_none() || line.has_key.contains_key(&item);
        let has_place = settings.in_flight_max.is_none_or(|max| leased + bodies < max);
        let plain = call.options.route.is_none() && line.route.is_none();
        plain && !line.paused && settings.rate.is_none() && has_key && has_place
    }

    /// Whether a worker is to get anything new, as far as operators go.
    pub(crate) fn is_well(&self, worker: &str) -> bool {
        self.offers.get(worker).is_none_or(|known| !known.draining && known.health.takes_calls())
    }

    /// A segment is at its end: a choice and what it moves are in one.
    pub(crate) fn segment_ends(&mut self) -> Checked {
        match self.in_turn.take() {
            Some(worker) => wrong("a choice in turn moved no cursor", worker.to_string()),
            None => Ok(()),
        }
    }

    /// What is said of a queue, how many wait and are under way, and how many of these for certain.
    pub(crate) fn of(&self, queue: &str, at: Timestamp, told: &Told) -> (QueueSettings, bool, u64, u64, u64) {
        self.queues.get(queue).map_or_else(Default::default, |line| {
            let certain = line.under_way.values().filter(|leg| leg.counts(at, told)).count();
            let (waits, under_way) = (line.waits.len() as u64, line.under_way.len() as u64);
            (line.settings.clone(), line.paused, waits, under_way, certain as u64)
        })
    }
}

impl Line {
    /// Somebody goes out: everything must allow it.
    fn goes(
        &mut self,
        item: Item,
        call: &ActivityCall,
        offer: Option<&WorkerOffer>,
        at: Timestamp,
        told: &Told,
    ) -> Checked {
        let own = self.waits.remove(&item);
        if self.paused {
            return wrong("a leg went out of a queue that is paused", call.queue.to_string());
        }
        if let Some(max) = self.settings.in_flight_max {
            let now = self.under_way.values().filter(|other| other.counts(at, told)).count();
            if now >= max as usize {
                return wrong("more legs of a queue are under way than may be", format!("{now} of {max} before it"));
            }
        }
        if let Some(rate) = self.settings.rate
            && !self.rate.gives(rate, at)
        {
            return wrong("a queue gives out faster than its rate", format!("{rate:?} at {}", at.0));
        }
        let since = own.map_or(at, |own| own.since);
        self.takes_key(item, call, since)?;
        let Some(offer) = offer else { return Ok(()) };
        let before = |(other, waits): &(&Item, &Waits)| {
            let options = &waits.call.options;
            options.priority < call.options.priority
                && waits.since <= at
                && waits.plain
                && self.route.is_none()
                && (options.limit_key.is_empty()
                    || self.settings.per_key_max.is_none()
                    || self.has_key.contains_key(*other))
                && serves(offer, &waits.call)
        };
        match self.waits.iter().find(before) {
            Some(((run, ordinal), _)) => {
                let detail = format!("activity {ordinal} of {run:?} is more urgent");
                wrong("a less urgent call went before one that could have gone", detail)
            }
            None => Ok(()),
        }
    }

    fn takes_key(&mut self, item: Item, call: &ActivityCall, since: Timestamp) -> Checked {
        let key = &call.options.limit_key;
        if key.is_empty() || self.has_key.contains_key(&item) {
            return Ok(());
        }
        if let Some(max) = self.settings.per_key_max {
            let now = self.has_key.values().filter(|other| *other == key).count();
            if now >= max as usize {
                return wrong("more calls of a limit key are under way than may be", format!("{key}: {now} of {max}"));
            }
            let older = |(other, waits): &(&Item, &Waits)| {
                waits.call.options.limit_key == *key && waits.since < since && !self.has_key.contains_key(*other)
            };
            let before = self.waits.iter().filter(older).count();
            if now + before >= max as usize {
                return wrong("a call went before an older one of its limit key", format!("{key}: {before} are older"));
            }
        }
        self.has_key.insert(item, key.clone());
        Ok(())
    }
}

impl Announced {
    /// Whether it may have a call at this moment.
    fn allows(&self, default: Option<&RouteRequest>, call: &ActivityCall, worker: &str) -> Checked {
        if self.draining {
            return wrong("a worker that drains was chosen", worker.to_owned());
        }
        if !self.health.takes_calls() {
            return wrong("a worker that is not well was chosen", worker.to_owned());
        }
        if !serves(&self.offer, call) {
            return wrong("a worker was chosen that cannot take the call", worker.to_owned());
        }
        match (call.options.route.as_deref(), default) {
            (None, None) => Ok(()),
            (Some(own), None) => allows(own, worker, &self.offer),
            (None, Some(default)) => allows(default, worker, &self.offer),
            (Some(own), Some(default)) => allows(&own.over(default), worker, &self.offer),
        }
    }
}

impl UnderWay {
    /// Whether it takes up one of the places of its queue for certain: a leg whose lease has ended does not, and of one that
    /// was prolonged its worker knows.
    fn counts(&self, at: Timestamp, told: &Told) -> bool {
        let Some(ms) = self.lease_ms else { return true };
        told.held_until(self.leg).unwrap_or(self.sent_at.plus_ms(ms)) > at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_its_burst_and_then_one_in_each_interval() {
        let rate = QueueRate { count: 1, period_ms: 10, burst: 2 };
        let all = |moments: &[i64]| {
            let mut seen = Rate::default();
            moments.iter().map(|at| seen.gives(rate, Timestamp(*at))).collect::<Vec<_>>()
        };
        assert_eq!(all(&[100, 100, 110, 120]), [true; 4]);
        assert_eq!(all(&[100, 100, 109]), [true, true, false]);
        assert_eq!(all(&[100, 120, 130, 130, 130]), [true, true, true, true, false]);
    }
}
