use super::{Core, Partition};
use crate::attempts::{ATTEMPTS_MAX, AttemptState, AttemptView, Attempts, AttemptsAsk};
use crate::dispatch::Reasons;
use crate::state::{Activity, RunState};
use antiphon_conversation::{Conversation, Phase};
use antiphon_history::{ConversationKey, Ordinal, RunKey, Timestamp};

impl Partition {
    /// Open attempts of the runs in memory, which are all runs that have some.
    pub fn attempts(&self, ask: &AttemptsAsk) -> Attempts {
        let at = ask.at.unwrap_or(self.core.now);
        let limit = ask.limit.min(ATTEMPTS_MAX);
        let mut found = Attempts::default();
        let mut known = Reasons::default();
        for run in self.runs.range(ask.after.map_or(RunKey(0), |after| after.run)..).map(|(_, run)| run) {
            for (ordinal, activity) in run.state.activities.iter() {
                let key = ConversationKey { run: run.state.key, ordinal, attempt: activity.attempt };
                let Some(state) = stands(&activity.conversation, at) else { continue };
                if ask.after.is_some_and(|after| key <= after)
                    || ask.state.is_some_and(|wanted| wanted != state)
                    || ask.queue.as_ref().is_some_and(|queue| *queue != activity.call.queue)
                {
                    continue;
                }
                if found.attempts.len() >= limit {
                    found.more = true;
                    return found;
                }
                let view = self.core.attempt(&run.state, ordinal, activity, state, &mut known);
                found.attempts.push(view);
            }
        }
        found
    }
}

/// How an attempt stands at a moment, if it is open.
pub(super) fn stands(conversation: &Conversation, at: Timestamp) -> Option<AttemptState> {
    match (conversation.phase(), conversation.leg()) {
        (Phase::Queued, _) if conversation.visible_at() > at => Some(AttemptState::BackingOff),
        (Phase::Queued, _) => Some(AttemptState::Waiting),
        (Phase::InDoubt, Some(leg)) if leg.is_expired(at) => Some(AttemptState::LeaseEnded),
        (Phase::Selected | Phase::InDoubt, _) => Some(AttemptState::InFlight),
        (Phase::Held, _) => Some(AttemptState::Held),
        (Phase::New | Phase::Answered | Phase::Closed, _) => None,
    }
}

impl Core {
    fn attempt(
        &self,
        run: &RunState,
        ordinal: Ordinal,
        activity: &Activity,
        state: AttemptState,
        known: &mut Reasons,
    ) -> AttemptView {
        let (call, conversation) = (&activity.call, &activity.conversation);
        let leg = conversation.leg();
        let waits = conversation.phase() == Phase::Queued && conversation.visible_at() <= self.now;
        AttemptView {
            conversation: ConversationKey { run: run.key, ordinal, attempt: activity.attempt },
            workflow: run.workflow().clone(),
            run_id: run.started.run_id,
            activity_type: call.activity_type.clone(),
            queue: call.queue.clone(),
            state,
            since: leg.map_or(conversation.visible_at(), |leg| leg.sent_at.unwrap_or(leg.heard_at)),
            worker: leg.map(|leg| leg.worker.clone()),
            lease_until: leg.and_then(|leg| leg.lease_until()),
            priority: call.options.priority,
            fairness_key: call.options.fairness_key.clone(),
            limit_key: call.options.limit_key.clone(),
            why: waits.then(|| self.dispatch.kind_of_wait((run.key, ordinal), call, self.now, known)),
        }
    }
}
