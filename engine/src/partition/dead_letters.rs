use super::{Core, Partition};
use crate::repair::{RepairError, RepairReply, Which};
use crate::run::Run;
use crate::state::Activity;
use crate::{RepairRequest, Reply, ReplyTo, RequestError};
use antiphon_conversation::Phase;
use antiphon_history::{ActivityOutcome, ConversationEvent, Ordinal};

impl Partition {
    pub(super) fn repair_request(&mut self, request: RepairRequest, to: ReplyTo) {
        let done = |changed| RepairReply::Done { changed };
        let answer = match request {
            RepairRequest::Retry { which, by: _ } => self.retry_held(&which).map(done),
            RepairRequest::Discard { which, by: _ } => self.discard_held(&which).map(done),
            RepairRequest::Scan(thresholds) => Ok(self.scan(thresholds)),
            RepairRequest::Repair { finding, thresholds, by: _ } => {
                self.repair(&finding, thresholds).map(|()| done(true))
            }
            RepairRequest::Reconcile { thresholds, dry_run, by: _ } => Ok(self.reconcile(thresholds, dry_run)),
        };
        let reply = match answer {
            Ok(reply) => Reply::Repair(Box::new(reply)),
            Err(error) => Reply::Refused(error),
        };
        self.core.reply(to, reply);
    }

    fn retry_held(&mut self, which: &Which) -> Result<bool, RequestError> {
        let key = self.target(&which.target)?;
        let run = self.runs.get_mut(&key).expect("target returns runs in memory");
        let activity = run.state.activities.get(which.ordinal);
        match activity {
            Some(activity) if activity.conversation.phase() == Phase::Held => {
                self.core.retry_held(run, which.ordinal);
                Ok(true)
            }
            // The same word twice: it is under way again already.
            Some(activity) if activity.attempts_forgiven > 0 => Ok(false),
            _ => Err(RepairError::NotHeld { what: which.to_string() }.into()),
        }
    }

    fn discard_held(&mut self, which: &Which) -> Result<bool, RequestError> {
        let key = self.target(&which.target)?;
        let run = self.runs.get_mut(&key).expect("target returns runs in memory");
        let held = run.state.activities.get(which.ordinal).and_then(|activity| held(activity));
        let Some(outcome) = held.cloned() else {
            return Err(RepairError::NotHeld { what: which.to_string() }.into());
        };
        self.core.close(run, which.ordinal, outcome.closes_as(), outcome);
        Ok(true)
    }
}

/// What an activity is held for, if it is.
fn held(activity: &Activity) -> Option<&ActivityOutcome> {
    activity.conversation.held().filter(|_| activity.conversation.phase() == Phase::Held)
}

impl Core {
    /// The attempts or losses of an activity are used up: it is held if its call asked for that, else it ends.
    pub(super) fn used_up(&mut self, run: &mut Run, ordinal: Ordinal, outcome: ActivityOutcome) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        if !activity.call.options.hold {
            return self.close(run, ordinal, outcome.closes_as(), outcome);
        }
        self.dispatch.remove(run.state.key, ordinal);
        self.converse(run, ordinal, ConversationEvent::Held { outcome: Box::new(outcome) });
        self.reindex(run, ordinal);
        self.rest(run);
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
