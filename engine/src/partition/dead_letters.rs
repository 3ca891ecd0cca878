use super::{Core, Partition};
use crate::repair::{By, LETTERS_MAX, Letters, RepairError, RepairReply, Which};
use crate::run::Run;
use crate::state::Activity;
use crate::{IdReuse, RepairRequest, Reply, ReplyTo, RequestError, StartRequest, Target};
use antiphon_conversation::Phase;
use antiphon_history::{
    ActivityCall, ActivityOutcome, ConversationEvent, DeadCause, DeadLetter, DeadLettersEvent, DeadLettersState,
    EntityEvent, EntityName, EntityState, ExitReason, Ordinal, STANDALONE, Settled, WorkflowKey, planted,
};

impl Partition {
    pub(super) fn repair_request(&mut self, request: RepairRequest, to: ReplyTo) {
        let reply = match self.answer_repair(request) {
            Ok(reply) => Reply::Repair(Box::new(reply)),
            Err(error) => Reply::Refused(error),
        };
        self.core.reply(to, reply);
    }

    pub(super) fn answer_repair(&mut self, request: RepairRequest) -> Result<RepairReply, RequestError> {
        let done = |changed| RepairReply::Done { changed };
        match request {
            RepairRequest::DeadLetters { after, limit, settled_too } => {
                Ok(RepairReply::Letters(self.letters(after, limit, settled_too)))
            }
            RepairRequest::Retry { which, call, by } => {
                self.settle(&which, Settled::Retried, call, &by.bounded()).map(done)
            }
            RepairRequest::Discard { which, by } => {
                self.settle(&which, Settled::Discarded, None, &by.bounded()).map(done)
            }
            RepairRequest::Explain { target, ordinal } => self.explain_target(&target, ordinal),
            RepairRequest::Scan(thresholds) => Ok(self.scan(thresholds)),
            RepairRequest::Repair { finding, thresholds, by } => {
                self.repair(&finding, thresholds, &by.bounded()).map(|()| done(true))
            }
            RepairRequest::Reconcile { thresholds, dry_run, by } => {
                Ok(self.reconcile(thresholds, dry_run, &by.bounded()))
            }
        }
    }

    /// Whether a dead letter waits for somebody; with `held` only if its workflow waits too.
    pub(super) fn is_open_letter(&self, number: u64, held: bool) -> bool {
        let entry = self.core.dead_letters().and_then(|state| state.get(number));
        entry.is_some_and(|entry| entry.settled.is_none() && (entry.letter.held || !held))
    }

    fn explain_target(&self, target: &Target, ordinal: Option<Ordinal>) -> Result<RepairReply, RequestError> {
        let key = self.target(target)?;
        let explanation = self.explain(key, ordinal).expect("target returns runs in memory");
        Ok(RepairReply::Explanation(Box::new(explanation)))
    }

    fn letters(&self, after: u64, limit: usize, settled_too: bool) -> Letters {
        let Some(state) = self.core.dead_letters() else { return Letters::default() };
        let (held, told) = state.open();
        let page = state.after(after, settled_too).take(limit.min(LETTERS_MAX));
        let letters = page.map(|(number, entry)| (number, entry.clone())).collect();
        Letters { letters, held, told, dropped: state.dropped() }
    }

    /// A dead letter, by its number. The run of a held one must be in memory for a request about it; the history of any
    /// other gives a retry its call.
    pub fn letter(&self, number: u64) -> Option<&DeadLetter> {
        Some(&self.core.dead_letters()?.get(number)?.letter)
    }

    /// Retries or discards. False if that was done before.
    fn settle(
        &mut self,
        which: &Which,
        how: Settled,
        call: Option<Box<ActivityCall>>,
        by: &By,
    ) -> Result<bool, RequestError> {
        let (key, ordinal, number) = match which {
            Which::Letter(number) => {
                let nothing = || RepairError::NotHeld { what: which.to_string() };
                let entry = self.core.dead_letters().and_then(|state| state.get(*number)).ok_or_else(nothing)?;
                match &entry.settled {
                    Some(before) if before.how == how => return Ok(false),
                    Some(before) => {
                        let (number, how, who) = (*number, before.how, before.who.clone());
                        return Err(RepairError::Settled { number, how, who }.into());
                    }
                    None if !entry.letter.held => return self.settle_told(*number, how, call, by),
                    None => (entry.letter.run, entry.letter.ordinal, Some(*number)),
                }
            }
            Which::Activity { target, ordinal } => {
                let key = self.target(target)?;
                (key, *ordinal, self.core.dead_letters().and_then(|state| state.of_held(key, *ordinal)))
            }
        };
        let nothing = || RepairError::NotHeld { what: which.to_string() };
        let run = self.runs.get_mut(&key).ok_or_else(nothing)?;
        let activity = run.state.activities.get(ordinal).ok_or_else(nothing)?;
        let Some(outcome) = held(activity).cloned() else {
            // The same word twice: it is under way again already.
            let again = how == Settled::Retried && activity.attempts_forgiven > 0;
            return if again { Ok(false) } else { Err(nothing().into()) };
        };
        let on = format!("{} {ordinal}.{}", run.state.workflow(), activity.attempt);
        self.core.note_settled(number, how, by, on);
        match how {
            Settled::Discarded if planted!("discarded-call-runs-again") => self.core.retry_held(run, ordinal),
            Settled::Retried => self.core.retry_held(run, ordinal),
            Settled::Discarded | Settled::Withdrawn => self.core.close(run, ordinal, outcome.closes_as(), outcome),
        }
        Ok(true)
    }

    /// Settles a letter whose workflow has its error already. A retry is a run of its own.
    fn settle_told(
        &mut self,
        number: u64,
        how: Settled,
        call: Option<Box<ActivityCall>>,
        by: &By,
    ) -> Result<bool, RequestError> {
        let on = match how {
            Settled::Retried => self.start_again(number, call)?.to_string(),
            Settled::Discarded | Settled::Withdrawn => String::new(),
        };
        self.core.note_settled(Some(number), how, by, on);
        Ok(true)
    }

    /// Starts the call of a letter as a standalone activity. Returns its workflow id.
    fn start_again(&mut self, number: u64, call: Option<Box<ActivityCall>>) -> Result<WorkflowKey, RequestError> {
        let problem = "the record of its run has no such call".to_owned();
        let call = call.ok_or(RepairError::CannotRetry { number, problem })?;
        let workflow =
            self.retry_key(number).ok_or_else(|| RepairError::NotHeld { what: format!("letter {number}") })?;
        let request = StartRequest {
            workflow: workflow.clone(),
            workflow_type: STANDALONE.to_owned(),
            input: call.to_standalone(),
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        self.try_start(request)?;
        Ok(workflow)
    }

    /// The workflow id under which a letter that is not held is tried again.
    pub fn retry_key(&self, number: u64) -> Option<WorkflowKey> {
        let letter = &self.core.dead_letters()?.get(number)?.letter;
        Some(WorkflowKey { namespace: letter.namespace.clone(), id: Which::retry_id(&letter.workflow_id, number) })
    }
}

/// What an activity is held for, if it is.
fn held(activity: &Activity) -> Option<&ActivityOutcome> {
    activity.conversation.held().filter(|_| activity.conversation.phase() == Phase::Held)
}

impl Core {
    pub(super) fn dead_letters(&self) -> Option<&DeadLettersState> {
        match &self.entities.get(&EntityName::DeadLetters)?.state {
            EntityState::DeadLetters(state) => Some(state),
            _ => None,
        }
    }

    /// The attempts or losses of an activity are used up: it is held if its call asked for that, else it ends. Either
    /// way it is a dead letter.
    ///
    /// A call with one attempt has no attempts to use up: its error is its answer, and is no dead letter unless held.
    pub(super) fn used_up(&mut self, run: &mut Run, ordinal: Ordinal, outcome: ActivityOutcome) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let options = &activity.call.options;
        let is_answer = matches!(outcome, ActivityOutcome::Failed { .. }) && options.retry.max_attempts <= 1;
        let hold = options.hold;
        if (hold || !is_answer) && !planted!("held-call-not-listed") {
            let letter = letter_of(run, ordinal, activity, &outcome);
            self.tell(&EntityName::DeadLetters, &EntityEvent::DeadLetters(DeadLettersEvent::Noted(Box::new(letter))));
        }
        if !hold {
            return self.close(run, ordinal, outcome.closes_as(), outcome);
        }
        self.dispatch.over(run.state.key, ordinal, &activity.call);
        self.converse(run, ordinal, ConversationEvent::Held { outcome: Box::new(outcome) });
        self.reindex(run, ordinal);
        self.rest(run);
    }

    /// The workflow no longer waits for an activity: if it was held, nobody needs to take care of it any more.
    pub(super) fn settle_withdrawn(&mut self, run: &Run, ordinal: Ordinal) {
        let is_held = run.state.activities.get(ordinal).is_some_and(|activity| held(activity).is_some());
        if !is_held {
            return;
        }
        let number = self.dead_letters().and_then(|state| state.of_held(run.state.key, ordinal));
        if let Some(number) = number {
            let by = By::the_engine("its workflow no longer waits for it");
            self.tell_settled(number, Settled::Withdrawn, &by);
        }
    }

    /// Records that somebody took care of a letter, and who. The letter itself may be gone, if there were too many.
    fn note_settled(&mut self, number: Option<u64>, how: Settled, by: &By, on: String) {
        let verb = if how == Settled::Retried { "dead-letter.retry" } else { "dead-letter.discard" };
        let letter = number.map(|number| format!("letter {number}")).unwrap_or_default();
        self.audit(verb, [on, letter].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "), by);
        if let Some(number) = number {
            self.tell_settled(number, how, by);
        }
    }

    fn tell_settled(&mut self, number: u64, how: Settled, by: &By) {
        let settled = DeadLettersEvent::Settled { number, how, who: by.who.clone(), why: by.why.clone() };
        self.tell(&EntityName::DeadLetters, &EntityEvent::DeadLetters(settled));
    }

    /// Ends the attempt for which an activity is held and opens the next one, with fresh budgets.
    fn retry_held(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(outcome) = run.state.activities.get(ordinal).and_then(|activity| held(activity)) else { return };
        let outcome = outcome.closes_as();
        self.converse(run, ordinal, ConversationEvent::Closed { outcome });
        self.open(run, ordinal, None);
        self.note_nobody(run, ordinal);
    }
}

fn letter_of(run: &Run, ordinal: Ordinal, activity: &Activity, outcome: &ActivityOutcome) -> DeadLetter {
    let redriven = matches!(activity.conversation.last_exit(), Some(ExitReason::Redriven));
    let cause = match outcome {
        ActivityOutcome::Lost { .. } if redriven => DeadCause::Redriven,
        ActivityOutcome::Lost { .. } => DeadCause::Losses,
        _ => DeadCause::Attempts,
    };
    DeadLetter {
        run: run.state.key,
        run_id: run.state.started.run_id,
        namespace: run.state.started.namespace.clone(),
        workflow_id: run.state.started.workflow_id.clone(),
        ordinal,
        attempt: activity.attempt,
        activity_type: activity.call.activity_type.clone(),
        queue: activity.call.queue.clone(),
        cause,
        reason: DeadLetter::reason_of(outcome),
        held: activity.call.options.hold,
    }
}
