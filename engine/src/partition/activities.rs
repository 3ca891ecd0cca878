use super::{Core, Partition};
use crate::Effect;
use crate::run::Run;
use antiphon_conversation::{Answer, Deadline, Deadlines, Phase, Request, Token, result_digest, retry};
use antiphon_history::limits::{PAYLOAD_MAX_BYTES, bounded_text};
use antiphon_history::{
    ActivityOutcome, ConversationEvent, ConversationKey, ConversationOutcome, ExitReason, Failure, Name, Ordinal,
    Payload, Response, RunEvent, RunKey, Selection, TimeoutKind, planted,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Partition {
    /// A worker has ended a leg. Only the leg that is under way, with its token, counts (invariant 5).
    pub(super) fn answered(&mut self, conversation: ConversationKey, leg: u32, token: Token, answer: Answer) {
        let Some(run) = current(&mut self.runs, conversation, leg, token) else {
            // The body of a leg that no longer counts has ended: its place is free again. Only a body that we told to
            // stop is expected to say so. A forged token frees nothing.
            let genuine = self.core.mint.token(conversation, leg) == token;
            let had_place = genuine && self.core.dispatch.release(conversation, leg, self.core.now);
            if !(had_place && matches!(answer, Answer::Stopped)) {
                self.core.stats.stale_answers += 1;
            }
            return;
        };
        self.core.dispatch.release(conversation, leg, self.core.now);
        let ordinal = conversation.ordinal;
        match within_limits(answer) {
            Answer::Completed { result } => self.core.completed(run, ordinal, leg, result),
            Answer::Failed { failure, retryable } => self.core.failed(run, ordinal, leg, (failure, retryable), None),
            Answer::Panicked { message } => {
                self.core.lost(run, ordinal, ExitReason::Panicked { message: bounded_text(&message) });
            }
            // Nobody asked it to stop: the worker did, on its own way out.
            Answer::Stopped => self.core.lost(run, ordinal, ExitReason::WorkerExit),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        conversation: ConversationKey,
        leg: u32,
        token: Token,
        details: Option<Payload>,
    ) {
        let now = self.core.now;
        let Some(run) = current(&mut self.runs, conversation, leg, token) else {
            self.core.stats.stale_answers += 1;
            return;
        };
        let record_ms = self.core.config.heartbeat_record_ms;
        let ordinal = conversation.ordinal;
        let Some(activity) = run.state.activities.get_mut(ordinal) else { return };
        // From the very end of a lease on the leg belongs to whoever takes it next.
        if activity.conversation.leg().is_some_and(|leg| leg.is_expired(now)) {
            self.core.stats.stale_answers += 1;
            return;
        }
        activity.conversation.heard(now);
        if let Some(details) = details.filter(Payload::is_within_limit) {
            if activity.progress_recorded_at.plus_ms(record_ms) <= now {
                activity.progress_recorded_at = now;
                self.core.converse(run, ordinal, ConversationEvent::Heartbeat { leg, details });
            } else {
                activity.conversation.progress(details);
            }
        }
        self.core.reindex(run, ordinal);
    }

    pub(super) fn worker_left(&mut self, name: &str, reason: &ExitReason) {
        let passed = usize::from(planted!("leg-forgotten-at-a-death"));
        for (conversation, leg) in self.core.dispatch.leave(name).into_iter().skip(passed) {
            let run = self.runs.get_mut(&conversation.run).filter(|run| is_current(run, conversation, leg));
            // A leg under a lease stays with the name until the lease ends: the worker may only have lost its way to us.
            let open = run.as_ref().and_then(|run| run.state.activities.get(conversation.ordinal));
            if open.and_then(|open| open.conversation.leg()).is_some_and(|leg| leg.lease_ms.is_some()) {
                continue;
            }
            self.core.dispatch.release(conversation, leg, self.core.now);
            if let Some(run) = run {
                self.core.lost(run, conversation.ordinal, reason.clone());
            }
        }
    }

    /// A deadline of an activity, or the end of a wait between its legs or attempts, has come.
    pub(super) fn activity_due(&mut self, key: RunKey, ordinal: Ordinal) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        let Some(activity) = run.state.activities.get_mut(ordinal) else { return };
        activity.indexed = None;
        let now = self.core.now;
        // Computed again rather than believed: a heartbeat may have moved the deadline since it was noted.
        let next = Deadlines::of(&activity.conversation, &activity.call.options, activity.scheduled_at, now).next;
        match next {
            Some((at, Deadline::Timeout(kind))) if at <= now => self.core.timed_out(run, ordinal, kind),
            _ if activity.conversation.leg().is_some_and(|leg| leg.is_expired(now)) => self.core.expired(run, ordinal),
            _ => {
                self.core.line_up(run, ordinal);
                self.core.reindex(run, ordinal);
            }
        }
    }

    /// Gives waiting attempts to workers with free places, in the order of the line.
    pub(super) fn dispatch(&mut self) {
        if self.core.presence.is_quiet() {
            return;
        }
        while let Some((key, ordinal)) = self.core.dispatch.next(self.core.now) {
            let Some(run) = self.runs.get_mut(&key) else {
                self.core.dispatch.remove(key, ordinal);
                continue;
            };
            // An attempt that may not go to any worker with a free place (all are excluded) does not hold up others.
            if let Err(waits_for) = self.core.select(run, ordinal) {
                self.core.dispatch.set_aside(key, ordinal, waits_for.as_ref());
            }
        }
    }
}

impl Core {
    /// Chooses a worker for a waiting attempt; records the choice and the sending, and only then lets it leave.
    ///
    /// Errors: nobody with a free place may have it; with the one worker that it waits for, if it is one.
    fn select(&mut self, run: &mut Run, ordinal: Ordinal) -> Result<(), Option<Name>> {
        let activity = run.state.activities.get(ordinal).ok_or(None)?;
        let expired = activity.conversation.leg().map(|leg| leg.worker.clone());
        let mut excluded = Cow::Borrowed(activity.conversation.excluded());
        if let Some(worker) = expired {
            excluded.to_mut().push(worker);
        }
        let (choice, by_route) = match self.choose_by_route(run, ordinal, &excluded) {
            None => (self.dispatch.choose(&activity.call, &excluded), None),
            Some(Ok(by_route)) => (Some(by_route.choice()), Some(by_route)),
            Some(Err(error)) => return Err(self.not_routed(run, ordinal, &error)),
        };
        let choice = choice.ok_or(None)?;
        let request = self.send(run, ordinal, &choice.worker, choice.why, None).ok_or(None)?;
        if let Some(by_route) = by_route {
            self.chosen_by_route(&request.call.queue, by_route);
        }
        self.effects.push(Effect::Dispatch { worker: choice.worker, request: Box::new(request) });
        Ok(())
    }

    /// Records that a worker was chosen for an attempt in line and that the request leaves; takes the worker's place.
    /// `None` if that cannot follow; the attempt is out of line then.
    pub(super) fn send(
        &mut self,
        run: &mut Run,
        ordinal: Ordinal,
        worker: &Name,
        why: Option<Selection>,
        lease_ms: Option<u64>,
    ) -> Option<Request> {
        self.take_over(run, ordinal);
        let conversation = run.state.conversation_key(ordinal)?;
        let activity = run.state.activities.get(ordinal)?;
        let leg = activity.conversation.next_leg();
        let token = self.mint.token(conversation, leg);
        let request = Request {
            conversation,
            leg,
            token,
            run_id: run.state.started.run_id,
            call: Arc::clone(&activity.call),
            details: activity.conversation.details().cloned(),
        };
        let selected =
            ConversationEvent::WorkerSelected { leg, worker: worker.clone(), token: token.hash(), why, lease_ms };
        if !self.converse(run, ordinal, selected) || !self.converse(run, ordinal, ConversationEvent::Sent { leg }) {
            self.dispatch.remove(run.state.key, ordinal);
            return None;
        }
        self.dispatch.place(worker, conversation, leg, &request.call, self.now);
        self.reindex(run, ordinal);
        Some(request)
    }

    /// The lease of the leg under way has ended. Another worker may have it from now on; until one takes it, the old one
    /// may still answer. Where no other leg is allowed, it is over.
    fn expired(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(conversation) = run.state.conversation_key(ordinal) else { return };
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (number, worker) = (leg.number, leg.worker.clone());
        // What is silent takes no place.
        self.dispatch.release(conversation, number, self.now);
        if activity.is_over_if_lost() {
            self.effects.push(Effect::CancelLeg { worker, conversation, leg: number });
            self.lost(run, ordinal, ExitReason::LeaseExpired);
        } else {
            self.line_up(run, ordinal);
            self.reindex(run, ordinal);
        }
    }

    /// Somebody takes the place of a leg whose lease has ended: that one is over now, and lost.
    pub(super) fn take_over(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(conversation) = run.state.conversation_key(ordinal) else { return };
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (number, worker) = (leg.number, leg.worker.clone());
        let details = activity.conversation.details().cloned();
        let event =
            ConversationEvent::Exited { leg: number, reason: ExitReason::LeaseExpired, details, visible_at: None };
        self.converse(run, ordinal, event);
        self.effects.push(Effect::CancelLeg { worker, conversation, leg: number });
    }

    /// Records, once per reason, that no connected worker could ever take an attempt; fails it if it asked for that.
    pub(super) fn note_nobody(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        if self.is_plain(&activity.call) && self.dispatch.is_served(run.state.key, ordinal) {
            return;
        }
        let Some(reason) = self.nobody(&activity.call, &activity.conversation) else { return };
        if activity.conversation.phase() == Phase::Queued && activity.conversation.no_worker() != Some(&reason) {
            let fail_fast = activity.call.options.fail_fast;
            self.no_worker(run, ordinal, reason, fail_fast);
        }
    }

    pub(super) fn completed(&mut self, run: &mut Run, ordinal: Ordinal, leg: u32, result: Vec<Payload>) {
        let (digest, len) = result_digest(&result);
        let response = Response::Completed { digest, len };
        self.converse(run, ordinal, ConversationEvent::Received { leg, response });
        self.close(run, ordinal, ConversationOutcome::Completed, ActivityOutcome::Completed { result });
    }

    /// The body has returned an error. Another attempt may follow: after `wait_ms`, or as the policy says.
    pub(super) fn failed(
        &mut self,
        run: &mut Run,
        ordinal: Ordinal,
        leg: u32,
        (failure, retryable): (Failure, bool),
        wait_ms: Option<u64>,
    ) {
        let response = Response::Failed { message: failure.message.clone(), retryable };
        self.converse(run, ordinal, ConversationEvent::Received { leg, response });
        let attempts = run.state.activities.get(ordinal).map_or(1, |activity| activity.attempt);
        if retryable && self.retry(run, ordinal, ConversationOutcome::Failed, wait_ms) {
            return;
        }
        let outcome = ActivityOutcome::Failed { failure, attempts };
        if retryable {
            self.used_up(run, ordinal, outcome);
        } else {
            self.close(run, ordinal, ConversationOutcome::Failed, outcome);
        }
    }

    /// Closes the conversation of a failed attempt and opens the next one, if the policy allows, the body may run twice
    /// and there is time.
    fn retry(&mut self, run: &mut Run, ordinal: Ordinal, outcome: ConversationOutcome, asked_ms: Option<u64>) -> bool {
        let Some(activity) = run.state.activities.get(ordinal) else { return false };
        let options = &activity.call.options;
        if options.at_most_once {
            return false;
        }
        let attempt = activity.attempt - activity.attempts_forgiven;
        let Some(policy_ms) = retry::delay_after(&options.retry, attempt) else { return false };
        let wait_ms = asked_ms.unwrap_or(policy_ms);
        let visible_at = self.now.plus_ms(wait_ms);
        let too_late = options.schedule_to_close_ms.is_some_and(|ms| activity.scheduled_at.plus_ms(ms) <= visible_at);
        // A retry that could only meet the overall deadline would hide the real error behind a timeout.
        if too_late || !self.converse(run, ordinal, ConversationEvent::Closed { outcome }) {
            return false;
        }
        if planted!("limit-key-dropped-on-retry")
            && let Some(activity) = run.state.activities.get(ordinal)
        {
            self.dispatch.over(run.state.key, ordinal, &activity.call);
        }
        // A leg whose lease had ended stood in line; the next attempt has a wait of its own.
        self.dispatch.remove(run.state.key, ordinal);
        self.open(run, ordinal, (wait_ms > 0 && !planted!("retry-without-wait")).then_some(visible_at));
        self.note_nobody(run, ordinal);
        true
    }

    fn timed_out(&mut self, run: &mut Run, ordinal: Ordinal, kind: TimeoutKind) {
        self.stop_leg(run, ordinal, ExitReason::TimedOut { kind });
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let attempts = activity.attempt;
        let again = retry::is_worth_it(kind);
        if again && self.retry(run, ordinal, ConversationOutcome::TimedOut, None) {
            return;
        }
        let outcome = ActivityOutcome::TimedOut { kind, attempts };
        if again {
            self.used_up(run, ordinal, outcome);
        } else {
            self.close(run, ordinal, ConversationOutcome::TimedOut, outcome);
        }
    }

    /// A leg ended without a word of the activity. Another leg of the same conversation, while the budget lasts.
    pub(super) fn lost(&mut self, run: &mut Run, ordinal: Ordinal, reason: ExitReason) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (options, losses) = (&activity.call.options, activity.conversation.losses() + 1);
        let over = activity.is_over_if_lost();
        let mut excluded = activity.conversation.excluded().to_vec();
        excluded.push(leg.worker.clone());
        // At once where the fault was ours or another worker is there; else after a wait, so that a body that kills its
        // only worker does not spin.
        let at_once = over
            || matches!(reason, ExitReason::EngineRestart)
            || self.somebody_else(&activity.call, &activity.conversation, &excluded);
        let visible_at = (!at_once).then(|| self.now.plus_ms(retry::backoff_ms(&options.retry, losses)));
        let details = activity.conversation.details().cloned();
        let why = reason.to_string();
        let event = ConversationEvent::Exited { leg: leg.number, reason, details, visible_at };
        self.converse(run, ordinal, event);
        if over {
            self.used_up(run, ordinal, ActivityOutcome::Lost { losses, reason: why });
        } else {
            self.line_up(run, ordinal);
            self.reindex(run, ordinal);
            self.note_nobody(run, ordinal);
        }
    }

    /// Closes the conversation and gives the activity's outcome to the workflow, in the same segment.
    pub(super) fn close(
        &mut self,
        run: &mut Run,
        ordinal: Ordinal,
        closed: ConversationOutcome,
        outcome: ActivityOutcome,
    ) {
        if let Some(activity) = run.state.activities.get(ordinal) {
            self.dispatch.over(run.state.key, ordinal, &activity.call);
        }
        self.unindex(run, ordinal);
        if planted!("resolved-before-closed") {
            return self.arrive(run, RunEvent::ActivityResolved { ordinal, outcome });
        }
        self.converse(run, ordinal, ConversationEvent::Closed { outcome: closed });
        self.arrive(run, RunEvent::ActivityResolved { ordinal, outcome });
    }
}

/// The run of a leg that is under way and whose token this is.
fn current(
    runs: &mut BTreeMap<RunKey, Box<Run>>,
    conversation: ConversationKey,
    leg: u32,
    token: Token,
) -> Option<&mut Run> {
    let run = runs.get_mut(&conversation.run)?;
    let known = run.state.activities.get(conversation.ordinal)?.conversation.leg()?.token == token.hash();
    let known = known || planted!("late-answer-accepted");
    (known && is_current(run, conversation, leg)).then_some(run)
}

pub(super) fn is_current(run: &Run, conversation: ConversationKey, leg: u32) -> bool {
    run.state.activities.get(conversation.ordinal).is_some_and(|activity| {
        (activity.attempt == conversation.attempt || planted!("outcome-without-attempt"))
            && activity.conversation.phase() == Phase::InDoubt
            && activity
                .conversation
                .leg()
                .is_some_and(|current| current.number == leg || planted!("late-answer-accepted"))
    })
}

/// An answer that can be written: what is too large becomes a failure that says so, and is not tried again.
pub(super) fn within_limits(answer: Answer) -> Answer {
    let too_large = match &answer {
        Answer::Completed { result } => result.iter().find(|payload| !payload.is_within_limit()),
        Answer::Failed { failure, .. } => failure.details.iter().find(|payload| !payload.is_within_limit()),
        Answer::Panicked { .. } | Answer::Stopped => None,
    };
    let Some(large) = too_large else { return answer };
    let message = format!(
        "the activity returned {} bytes, over the limit of {PAYLOAD_MAX_BYTES}: keep the data elsewhere and return a \
         reference [A0015]",
        large.len()
    );
    Answer::Failed { failure: Failure { message, kind: "TooLarge".to_owned(), details: None }, retryable: false }
}
