//! Whether anybody waits in vain: because nobody could ever take it, or because a wake-up was lost.

use super::{Core, Partition};
use crate::RequestError;
use crate::run::Run;
use crate::state::Activity;
use antiphon_conversation::Phase;
use antiphon_history::{Name, Ordinal, RunKey};
use std::collections::BTreeSet;

impl Partition {
    /// Why nothing may ever happen to some run: an attempt waits that no connected worker could take. Outside of tests
    /// that is no error; a worker may come.
    pub fn stuck(&self) -> Option<RequestError> {
        self.runs.values().find_map(|run| {
            let waits = |activity: &&Activity| activity.conversation.phase() == Phase::Queued;
            let activity = run.state.activities.iter().map(|(_, activity)| &**activity).find(waits)?;
            let reason = self.core.nobody(&activity.call, &activity.conversation)?;
            let call = activity.call.to_string();
            Some(RequestError::Stuck { workflow_id: run.state.workflow().to_string(), call, reason })
        })
    }

    /// Answers everybody who waits for a run with [`Partition::stuck`], if there is something. For drivers whose clock
    /// stands still, as in tests: there a forgotten registration would hang for ever.
    pub fn tell_stuck(&mut self) -> bool {
        let Some(stuck) = self.stuck() else { return false };
        self.core.refuse_waiters(&stuck);
        true
    }

    /// An attempt that waits although a worker could have it at this moment, and the worker: one with a free place, or one
    /// that waits for work. There is none between two steps (invariant 9). Looks at all that waits.
    pub(crate) fn forgotten(&self) -> Option<(RunKey, Ordinal, Name)> {
        let nobody_is_free = !self.core.dispatch.has_free_place() && self.core.claims.parked.is_empty();
        if nobody_is_free || self.core.presence.is_quiet() {
            return None;
        }
        // Calls that want nothing of their own need one look for all that the same workers could take.
        let mut looked_at = BTreeSet::new();
        self.runs.iter().find_map(|(key, run)| {
            run.state.activities.iter().find_map(|(ordinal, activity)| {
                let by_whom = self.core.dispatch.may_go(*key, ordinal)?;
                let conversation = &activity.conversation;
                let alike = conversation.excluded().is_empty() && conversation.leg().is_none();
                if alike && self.core.is_plain(&activity.call) && !looked_at.insert(by_whom) {
                    return None;
                }
                Some((*key, ordinal, self.core.could_go_to(run, ordinal)?))
            })
        })
    }
}

impl Core {
    fn could_go_to(&self, run: &Run, ordinal: Ordinal) -> Option<Name> {
        let activity = run.state.activities.get(ordinal)?;
        let route = self.route_in_force(&activity.call);
        if route.is_some_and(|route| route.guard.is_some() || route.custom.is_some()) {
            // Code of the program is asked once per choice, and by nobody else.
            return None;
        }
        let mut lost = activity.conversation.excluded().to_vec();
        lost.extend(activity.conversation.leg().map(|leg| leg.worker.clone()));
        let pushed = match self.choose_by_route(run, ordinal, &lost) {
            None => self.dispatch.choose(&activity.call, &lost).map(|choice| choice.worker),
            Some(chosen) => chosen.ok().map(|chosen| chosen.routed.worker),
        };
        let pulls = |worker: &Name| match self.claim_by_route(run, ordinal, worker, &lost) {
            None => !lost.contains(worker) || !self.dispatch.somebody_else(&activity.call, &lost),
            Some(claimed) => claimed.is_some_and(|claimed| claimed.is_ok()),
        };
        let mut waiting = self.claims.parked.values().map(|parked| &parked.request);
        pushed.or_else(|| {
            let this = [(run.state.key, ordinal)];
            waiting.find_map(|request| {
                let worker = Name::from(request.worker.as_str());
                let has_place = self.dispatch.next_of(&worker, &request.queues, &this).is_some();
                (has_place && pulls(&worker)).then_some(worker)
            })
        })
    }
}
