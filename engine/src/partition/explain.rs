use super::workers::Presence;
use super::{Core, Partition};
use crate::explain::{Explanation, WAITS_MAX, Wait, Why};
use crate::queues::LEASE_ENDED;
use crate::recorded::Recorded;
use crate::run::{Run, fold};
use crate::state::{Activity, RunState};
use crate::{Config, LoadError, Origin, Programs};
use antiphon_conversation::{Deadline, Deadlines, Phase};
use antiphon_history::{CatalogueRow, HistoryFile, Liveness, Ordinal, RunKey, Timestamp};

impl Partition {
    /// What a run in memory waits for, and why. `ordinal`: only this activity or timer. `None`: the run is not in memory.
    pub fn explain(&self, run: RunKey, ordinal: Option<Ordinal>) -> Option<Explanation> {
        let state = &self.runs.get(&run)?.state;
        let wanted = |found: Ordinal| ordinal.is_none_or(|wanted| wanted == found);
        let activities = state.activities.iter().filter(|(found, _)| wanted(*found));
        let mut waits: Vec<Wait> =
            activities.map(|(ordinal, activity)| self.core.explain_activity(state, ordinal, activity)).collect();
        let timers = state.timers.iter().filter(|(found, _)| wanted(*found));
        waits.extend(timers.map(|(ordinal, until)| Wait::Timer { ordinal, until: *until }));
        match &state.blocked {
            Some(reason) => waits.insert(0, Wait::Code { report: reason.to_string() }),
            None if waits.is_empty() && ordinal.is_none() && !state.status.is_closed() => waits.push(Wait::Signal),
            None => {}
        }
        let more = waits.len().saturating_sub(WAITS_MAX);
        waits.truncate(WAITS_MAX);
        Some(Explanation {
            workflow: state.workflow().to_string(),
            run_id: state.started.run_id.to_string(),
            workflow_type: state.started.workflow_type.clone(),
            status: state.status,
            at: self.core.now,
            waits,
            more,
        })
    }

    /// A partition that only looks: for another process than the engine's, on a snapshot of the store. It takes over all
    /// entities and is shown the runs that need care by [`Partition::show`]; then [`Partition::explain`] says what the
    /// engine would say, by the same code.
    ///
    /// It has no workflow code, writes nothing and must not be stepped.
    pub fn picture(entities: &[CatalogueRow], now: Timestamp) -> Partition {
        let origin = Origin { store_id: [0; 16], secret: [0; 32], last_segment: 0, last_run: 0, now };
        let mut picture = Partition::new(Config::default(), Programs::default(), origin);
        entities.iter().for_each(|row| picture.load_entity(row));
        // All of them, also those that end with their engine: whether that one runs, the record does not tell.
        picture.core.restore_workers(|_| true);
        picture.core.presence = Presence::default();
        picture
    }

    /// Shows a run to a partition that only looks. Errors change nothing.
    pub fn show(&mut self, history: &HistoryFile) -> Result<RunKey, LoadError> {
        let recorded = Recorded::read(history)?;
        let key = recorded.key;
        let state = fold(&recorded).map_err(|problem| LoadError::Fold { run: key, problem: problem.to_string() })?;
        self.core.now = self.core.now.max(recorded.updated_at);
        let run = Box::new(Run::shown(state, recorded.updated_at));
        for (ordinal, activity) in run.state.activities.iter() {
            let leg = activity.conversation.leg().filter(|_| activity.conversation.phase() == Phase::InDoubt);
            match (leg, run.state.conversation_key(ordinal)) {
                (Some(leg), Some(conversation)) => {
                    let now = self.core.now;
                    self.core.dispatch.take_back(&leg.worker, conversation, leg.number, &activity.call, now);
                }
                _ => self.core.line_up(&run, ordinal),
            }
        }
        self.ids.insert((run.state.workflow().fingerprint(), key));
        self.runs.insert(key, run);
        Ok(key)
    }
}

impl Core {
    fn explain_activity(&self, state: &RunState, ordinal: Ordinal, activity: &Activity) -> Wait {
        let call = &activity.call;
        Wait::Activity {
            ordinal,
            attempt: activity.attempt,
            activity_type: call.activity_type.to_string(),
            queue: call.queue.to_string(),
            why: self.why(state, ordinal, activity),
        }
    }

    fn why(&self, state: &RunState, ordinal: Ordinal, activity: &Activity) -> Why {
        let (conversation, call) = (&activity.conversation, &activity.call);
        match (conversation.phase(), conversation.leg()) {
            (Phase::Queued, _) if conversation.visible_at() > self.now => {
                let after = conversation.last_exit().map(ToString::to_string);
                Why::BackingOff { until: conversation.visible_at(), after }
            }
            (Phase::Queued, _) => {
                let (kind, reason) = self.why_waiting(state.key, ordinal, call);
                Why::Waiting { kind, reason, since: conversation.visible_at() }
            }
            (Phase::Selected | Phase::InDoubt, Some(leg)) => {
                let next = Deadlines::of(conversation, &call.options, activity.scheduled_at, self.now).next;
                let deadline = next.and_then(|(at, which)| match which {
                    Deadline::Timeout(kind) => Some((at, kind.to_string())),
                    _ => None,
                });
                if leg.is_expired(self.now) {
                    let reason = format!("the lease of {} on it has ended, and no other worker took it", leg.worker);
                    let since = leg.lease_until().unwrap_or(leg.heard_at);
                    return Why::Waiting { kind: LEASE_ENDED.to_owned(), reason, since };
                }
                let record = self.registry().and_then(|registry| registry.present.get(&*leg.worker));
                let here = self.dispatch.has_worker(&leg.worker);
                let liveness = if here { self.liveness(&leg.worker, record) } else { Liveness::Gone };
                Why::Running {
                    worker: leg.worker.to_string(),
                    liveness: liveness.to_string(),
                    leg: leg.number,
                    since: leg.sent_at.unwrap_or(leg.heard_at),
                    heard_at: leg.heard_at,
                    lease_until: leg.lease_until(),
                    deadline,
                }
            }
            (Phase::Held, _) => Why::Held {
                letter: self.dead_letters().and_then(|letters| letters.of_held(state.key, ordinal)),
                outcome: conversation.held().map(ToString::to_string).unwrap_or_default(),
            },
            (phase, _) => Why::Damaged { phase: phase.to_string() },
        }
    }

    /// Why an attempt that could be taken is with no worker: a short word and a sentence.
    pub(super) fn why_waiting(
        &self,
        run: RunKey,
        ordinal: Ordinal,
        call: &antiphon_history::ActivityCall,
    ) -> (String, String) {
        match self.dispatch.why_waiting((run, ordinal), call, self.now).or_else(|| self.dispatch.nobody(call)) {
            Some(why) if why.is_nobody() => ("nobody".to_owned(), why.to_string()),
            Some(why) => (why.kind().to_owned(), why.to_string()),
            None => ("full".to_owned(), "no worker that could take it has a free place".to_owned()),
        }
    }
}
