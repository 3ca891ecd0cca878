use super::{Core, Due};
use crate::run::Run;
use crate::state::Outcome;
use crate::{Effect, Reply, ReplyTo, RequestError, RunOutcome};
use antiphon_conversation::{Deadlines, Phase};
use antiphon_history::{ConversationEvent, ConversationOutcome, ExitReason, Ordinal, RunEvent, Timestamp, planted};

impl Core {
    /// Records an arrival, hands it to the workflow, records what it asks and does what follows from it.
    pub(super) fn arrive(&mut self, run: &mut Run, arrival: RunEvent) {
        if !self.record(run, &arrival) {
            return;
        }
        let commands = run.take_in(arrival, self.now);
        self.carry_out(run, commands);
    }

    /// Records events that the run's code or its driver gave, then does what follows from them.
    ///
    /// Three passes: the run's events are consecutive in the record, and the conversations that they open come behind. Only
    /// then is looked whether anybody could take them: that may give an outcome at once, on which the workflow may let go of
    /// the others.
    pub(super) fn carry_out(&mut self, run: &mut Run, mut events: Vec<RunEvent>) {
        events.retain(|event| self.record(run, event));
        for event in &events {
            match event {
                RunEvent::ActivityScheduled { ordinal, .. } => self.open(run, *ordinal, None),
                RunEvent::ActivityCancelled { ordinal } => self.withdraw(run, *ordinal),
                RunEvent::TimerStarted { ordinal, due, .. } if run.state.timers.contains(*ordinal) => {
                    self.deadlines.insert((*due, Due::Timer(run.state.key, *ordinal)));
                }
                RunEvent::Blocked(_) => {
                    self.stats.blocked += 1;
                    self.tell_waiters(run);
                }
                event if event.is_terminal() => self.ended(run),
                _ => {}
            }
        }
        for event in &events {
            if let RunEvent::ActivityScheduled { ordinal, .. } = event {
                self.note_nobody(run, *ordinal);
            }
        }
        self.rest(run);
    }

    /// What follows from the last event of a run, whoever gave it.
    pub(super) fn ended(&mut self, run: &Run) {
        self.stats.ended += 1;
        self.tell_waiters(run);
        if let Some(of) = &run.state.started.routine {
            self.run_of_slot_ended(of, run.state.key, run.state.outcome.as_deref());
        }
    }

    /// Records one event of the run stream. False, and counted, if it cannot follow (invariant 8).
    pub(super) fn record(&mut self, run: &mut Run, event: &RunEvent) -> bool {
        let seq = run.state.next_seq;
        if let RunEvent::TimerCancelled { ordinal } = event
            && let Some(due) = run.state.timers.get(*ordinal)
        {
            self.deadlines.remove(&(*due, Due::Timer(run.state.key, *ordinal)));
        }
        if run.state.apply_run(event, self.now).is_err() {
            self.stats.anomalies += 1;
            return false;
        }
        self.batch.run_event(run.state.key, seq, self.now, event);
        self.touch(run);
        true
    }

    /// Records one event of an activity's conversation. False, and counted, if it cannot follow.
    pub(super) fn converse(&mut self, run: &mut Run, ordinal: Ordinal, event: ConversationEvent) -> bool {
        let Some(activity) = run.state.activities.get(ordinal) else { return false };
        let opens = matches!(event, ConversationEvent::Scheduled { .. });
        let attempt = activity.attempt + u32::from(opens);
        let seq = if opens { 1 } else { activity.conversation.events() + 1 };
        if run.state.apply_conversation(ordinal, attempt, &event, self.now).is_err() {
            self.stats.anomalies += 1;
            return false;
        }
        self.batch.conversation_event(run.state.key, (ordinal, attempt), seq, self.now, &event);
        self.touch(run);
        true
    }

    /// Opens the conversation of an activity's next attempt, to be taken from `visible_at` on.
    pub(super) fn open(&mut self, run: &mut Run, ordinal: Ordinal, visible_at: Option<Timestamp>) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let event = ConversationEvent::Scheduled {
            activity_type: activity.call.activity_type.clone(),
            queue: activity.call.queue.clone(),
            visible_at,
        };
        if self.converse(run, ordinal, event) {
            self.line_up(run, ordinal);
            self.reindex(run, ordinal);
        }
    }

    /// Puts an attempt in line, if it may be taken now: it waits for a worker, or the lease of its leg has ended.
    pub(super) fn line_up(&mut self, run: &Run, ordinal: Ordinal) {
        if let Some(activity) = run.state.activities.get(ordinal)
            && activity.may_be_taken(self.now)
        {
            self.dispatch.add(run.state.key, ordinal, &activity.call, activity.conversation.visible_at());
        }
    }

    /// The workflow no longer waits for an activity: its conversation ends now, and a running leg is told to stop.
    pub(super) fn withdraw(&mut self, run: &mut Run, ordinal: Ordinal) {
        self.settle_withdrawn(run, ordinal);
        if let Some(activity) = run.state.activities.get(ordinal) {
            self.dispatch.over(run.state.key, ordinal, &activity.call);
        }
        self.unindex(run, ordinal);
        self.stop_leg(run, ordinal, ExitReason::Cancelled);
        self.converse(run, ordinal, ConversationEvent::Closed { outcome: ConversationOutcome::Cancelled });
    }

    /// Ends the leg that is under way, if one is, and tells its worker to stop. Its answer no longer counts; its place
    /// is given back when the worker says that the body has ended.
    pub(super) fn stop_leg(&mut self, run: &mut Run, ordinal: Ordinal, reason: ExitReason) {
        let Some(conversation) = run.state.conversation_key(ordinal) else { return };
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (number, worker, leased) = (leg.number, leg.worker.clone(), leg.lease_ms.is_some());
        let details = activity.conversation.details().cloned();
        if activity.conversation.phase() == Phase::InDoubt {
            self.converse(run, ordinal, ConversationEvent::CancelSent { leg: number });
        }
        let event = ConversationEvent::Exited { leg: number, reason, details, visible_at: None };
        self.converse(run, ordinal, event);
        if leased {
            // Nobody promises to say when the body has ended: the place is free when the leg no longer counts.
            self.dispatch.release(conversation, number, self.now);
        }
        self.effects.push(Effect::CancelLeg { worker, conversation, leg: number });
    }

    /// Brings the deadline index in line with an activity's conversation.
    pub(super) fn reindex(&mut self, run: &mut Run, ordinal: Ordinal) {
        let key = run.state.key;
        let Some(activity) = run.state.activities.get_mut(ordinal) else { return };
        let wanted =
            Deadlines::of(&activity.conversation, &activity.call.options, activity.scheduled_at, self.now).next;
        if activity.indexed == wanted {
            return;
        }
        if let Some((at, _)) = activity.indexed {
            self.deadlines.remove(&(at, Due::Activity(key, ordinal)));
        }
        if let Some((at, _)) = wanted
            && !planted!("deadline-not-indexed")
        {
            self.deadlines.insert((at, Due::Activity(key, ordinal)));
        }
        activity.indexed = wanted;
    }

    pub(super) fn unindex(&mut self, run: &mut Run, ordinal: Ordinal) {
        let key = run.state.key;
        if let Some(activity) = run.state.activities.get_mut(ordinal)
            && let Some((at, _)) = activity.indexed.take()
        {
            self.deadlines.remove(&(at, Due::Activity(key, ordinal)));
        }
    }

    /// Answers everybody who waits for a run that has ended, or cannot go on.
    fn tell_waiters(&mut self, run: &Run) {
        let key = run.state.key;
        while let Some(&(_, to)) = self.waiters.range((key, ReplyTo(0))..=(key, ReplyTo(u64::MAX))).next() {
            self.waiters.remove(&(key, to));
            self.waiting.remove(&to);
            self.await_end(run, to);
        }
    }

    /// Answers a caller who waits for a run, now if it has ended or is blocked, else when it does.
    pub(super) fn await_end(&mut self, run: &Run, to: ReplyTo) {
        let run_id = run.state.started.run_id;
        let ended = |outcome| Reply::Ended { run_id, outcome };
        let reply = match (run.state.outcome.as_deref(), &run.state.blocked) {
            (Some(Outcome::Completed(result)), _) => ended(RunOutcome::Completed { result: result.clone() }),
            (Some(Outcome::Failed(failure)), _) => ended(RunOutcome::Failed { failure: failure.clone() }),
            (Some(Outcome::Cancelled(reason)), _) => ended(RunOutcome::Cancelled { reason: reason.clone() }),
            (Some(Outcome::Terminated(reason)), _) => ended(RunOutcome::Terminated { reason: reason.clone() }),
            (None, Some(reason)) => Reply::Blocked { run_id, reason: reason.clone() },
            (None, None) => {
                self.waiters.insert((run.state.key, to));
                self.waiting.insert(to, run.state.key);
                return;
            }
        };
        self.reply(to, reply);
    }

    /// Answers everybody who waits for any run with an error.
    pub(super) fn refuse_waiters(&mut self, error: &RequestError) {
        self.waiters.clear();
        for (to, _) in std::mem::take(&mut self.waiting) {
            self.reply(to, Reply::Refused(error.clone()));
        }
    }

    pub(super) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.effects.push(Effect::Reply { to, reply });
    }

    pub(super) fn forget(&mut self, to: ReplyTo) {
        self.forget_claim(to);
        if let Some(run) = self.waiting.remove(&to) {
            self.waiters.remove(&(run, to));
        }
    }

    /// Brings the sum of bytes held in line with a run.
    pub(super) fn count_bytes(&mut self, run: &mut Run, bytes: usize) {
        self.held_bytes = self.held_bytes + bytes - std::mem::replace(&mut run.counted_bytes, bytes);
    }

    fn touch(&mut self, run: &mut Run) {
        self.unrest(run);
        self.count_bytes(run, run.state.held_bytes());
        run.last_segment = self.next_segment;
        run.touched_at = self.now;
    }
}
