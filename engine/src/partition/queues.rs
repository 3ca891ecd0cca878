use super::{Core, Partition};
use crate::dispatch::{Rate, Reasons, Rules};
use crate::queues::{BACKING_OFF, LEASE_ENDED, QueueStats, QueueView, QueuesReply, QueuesRequest};
use crate::state::Activity;
use crate::{AttemptState, By, Reply, ReplyTo, RequestError};
use antiphon_conversation::Leg;
use antiphon_history::limits::bounded_text;
use antiphon_history::{
    ActivityCall, EntityEvent, EntityName, EntityState, Name, Ordinal, QueueEvent, QueueState, RunKey,
};
use std::collections::BTreeMap;

impl Partition {
    pub(super) fn queues_request(&mut self, request: QueuesRequest, to: ReplyTo) {
        let reply = match self.queues_reply(request) {
            Ok(reply) => Reply::Queues(Box::new(reply)),
            Err(error) => Reply::Refused(error),
        };
        self.core.reply(to, reply);
    }

    pub(super) fn queues_reply(&mut self, request: QueuesRequest) -> Result<QueuesReply, RequestError> {
        request.check()?;
        Ok(match request {
            QueuesRequest::Set { queue, settings, by } => {
                settings.check()?;
                let changed = self.core.queue(&queue).is_none_or(|state| state.settings != *settings);
                if changed {
                    let By { who, why } = bounded(&by);
                    self.core.change_queue(&queue, "queue.set", QueueEvent::Set { settings, who, why }, &by);
                }
                QueuesReply::Done { changed }
            }
            QueuesRequest::Pause { queue, by } => {
                let changed = self.core.queue(&queue).is_none_or(|state| state.paused.is_none());
                if changed {
                    let By { who, why } = bounded(&by);
                    self.core.change_queue(&queue, "queue.pause", QueueEvent::Paused { who, why }, &by);
                }
                QueuesReply::Done { changed }
            }
            QueuesRequest::Resume { queue, by } => {
                let changed = self.core.queue(&queue).is_some_and(|state| state.paused.is_some());
                if changed {
                    let By { who, why } = bounded(&by);
                    self.core.change_queue(&queue, "queue.resume", QueueEvent::Resumed { who, why }, &by);
                }
                QueuesReply::Done { changed }
            }
            QueuesRequest::Describe { queue } => {
                let stats = self.queue_stats(Some(&queue)).remove(&queue).unwrap_or_default();
                QueuesReply::Queues(vec![self.core.view(queue, stats)])
            }
            QueuesRequest::List => QueuesReply::Queues(self.queue_views()),
            QueuesRequest::Attempts(ask) => QueuesReply::Attempts(self.attempts(&ask)),
        })
    }

    /// All queues that have settings or open activities, by name.
    pub fn queue_views(&self) -> Vec<QueueView> {
        let mut stats = self.queue_stats(None);
        for (_, entity) in self.entities() {
            if let EntityName::Queue(queue) = &entity.name {
                stats.entry(queue.clone()).or_default();
            }
        }
        stats.into_iter().map(|(queue, stats)| self.core.view(queue, stats)).collect()
    }

    /// What is in the queues, or in one of them, folded from the open activities.
    fn queue_stats(&self, only: Option<&Name>) -> BTreeMap<Name, QueueStats> {
        let mut all: BTreeMap<Name, QueueStats> = BTreeMap::new();
        let mut known = Reasons::default();
        for (key, run) in &self.runs {
            for (ordinal, activity) in run.state.activities.iter() {
                let queue = &activity.call.queue;
                if only.is_none_or(|only| only == queue) {
                    let stats = match all.get_mut(queue) {
                        Some(stats) => stats,
                        None => all.entry(queue.clone()).or_default(),
                    };
                    self.core.count(stats, *key, ordinal, activity, &mut known);
                }
            }
        }
        all
    }

    /// Whether a standalone activity may come into its queue.
    pub(super) fn check_queue(&self, call: &ActivityCall) -> Result<(), RequestError> {
        match self.core.dispatch.brim(&call.queue) {
            Some((waiting, max)) => Err(RequestError::QueueFull { queue: call.queue.to_string(), waiting, max }),
            None => Ok(()),
        }
    }
}

impl Core {
    /// What operators set for a queue, if they ever did.
    pub(super) fn queue(&self, queue: &Name) -> Option<&QueueState> {
        match &self.entities.get(&EntityName::Queue(queue.clone()))?.state {
            EntityState::Queue(state) => Some(state),
            _ => None,
        }
    }

    fn view(&self, queue: Name, stats: QueueStats) -> QueueView {
        QueueView { state: self.queue(&queue).cloned().unwrap_or_default(), queue, stats }
    }

    fn change_queue(&mut self, queue: &Name, verb: &str, event: QueueEvent, by: &By) {
        self.tell(&EntityName::Queue(queue.clone()), &EntityEvent::Queue(event));
        self.audit(verb, format!("queue {queue}"), by);
        self.follow_queue(queue);
    }

    /// Lets the line follow what stands in a queue's entity.
    pub(crate) fn follow_queue(&mut self, queue: &Name) {
        let Some(state) = self.queue(queue) else { return };
        let settings = &state.settings;
        let rules = Rules {
            paused: state.paused.is_some(),
            in_flight_max: settings.in_flight_max,
            per_key_max: settings.per_key_max,
            rate: settings.rate.map(|rate| Rate { count: rate.count, period_ms: rate.period_ms, burst: rate.burst }),
            weights: settings.weights.clone(),
            waiting_max: settings.waiting_max,
        };
        self.dispatch.set_rules(queue, rules, self.now);
    }

    fn count(&self, stats: &mut QueueStats, run: RunKey, ordinal: Ordinal, activity: &Activity, known: &mut Reasons) {
        let conversation = &activity.conversation;
        let (kind, since) = match super::attempts::stands(conversation, self.now) {
            Some(AttemptState::Waiting) => {
                let kind = self.dispatch.kind_of_wait((run, ordinal), &activity.call, self.now, known);
                (kind, Some(conversation.visible_at()))
            }
            Some(AttemptState::BackingOff) => (BACKING_OFF, None),
            Some(AttemptState::LeaseEnded) => (LEASE_ENDED, conversation.leg().and_then(Leg::lease_until)),
            Some(AttemptState::InFlight) => return stats.in_flight += 1,
            Some(AttemptState::Held) => return stats.held += 1,
            None => return,
        };
        stats.waiting += 1;
        stats.oldest_ms = stats.oldest_ms.max(since.map(|since| self.now.since_ms(since)));
        *stats.reasons.entry(kind).or_default() += 1;
    }
}

fn bounded(by: &By) -> By {
    By { who: bounded_text(&by.who), why: bounded_text(&by.why) }
}
