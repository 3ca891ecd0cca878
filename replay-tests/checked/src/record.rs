//! What is written of one activity, the fold of it, and a witness that judges it without the fold's own rules.

use crate::witness::Witness;
use antiphon_conversation::{Conversation, IllegalEvent, Phase};
use antiphon_history::{ConversationEvent, TimeoutKind, Timestamp};

/// One event of the activity, of whichever stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// Of the conversation of one attempt.
    Talk {
        /// The attempt, from 1.
        attempt: u32,
        /// The event.
        event: ConversationEvent,
    },
    /// Of the run: the workflow got the outcome.
    Resolved(End),
    /// Of the run: the workflow no longer waits.
    Withdrawn,
}

/// How the activity ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// With a result.
    Completed,
    /// With the error of its last attempt.
    Failed,
    /// By a deadline.
    TimedOut(TimeoutKind),
    /// By too many losses.
    Lost,
    /// Nobody could take it.
    NoWorker,
    /// The workflow no longer wanted it.
    Cancelled,
}

/// An event with its recorded time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When it was decided.
    pub at: Timestamp,
    /// What.
    pub what: Written,
}

/// The activity as its record tells it. The conversation is the real fold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Life {
    /// The attempt under way, from 1.
    pub attempt: u32,
    /// Its conversation.
    pub conversation: Conversation,
    /// When the activity was scheduled.
    pub scheduled_at: Timestamp,
    /// The workflow no longer waits for it.
    pub withdrawn: bool,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// What an onlooker makes of the same record.
    pub witness: Witness,
}

/// A line that cannot follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misfit {
    /// The conversation refuses it.
    Conversation(IllegalEvent),
    /// It names an attempt that is not under way, or an activity that has ended.
    Elsewhere,
}

impl Life {
    /// Folds the next line. After an error nothing has changed but what the witness has seen.
    pub fn apply(&mut self, line: &Line) -> Result<(), Misfit> {
        self.witness.see(&line.what);
        if self.end.is_some() {
            return Err(Misfit::Elsewhere);
        }
        match &line.what {
            Written::Talk { attempt, event } => {
                let opens = *attempt == self.attempt + 1 && matches!(event, ConversationEvent::Scheduled { .. });
                if opens {
                    self.conversation = self.conversation.next_attempt();
                    self.attempt = *attempt;
                } else if *attempt != self.attempt {
                    return Err(Misfit::Elsewhere);
                }
                self.conversation.apply(event, line.at).map_err(Misfit::Conversation)?;
                if self.withdrawn && matches!(event, ConversationEvent::Closed { .. }) {
                    self.end = Some(End::Cancelled);
                }
            }
            Written::Resolved(end) => self.end = Some(*end),
            Written::Withdrawn => self.withdrawn = true,
        }
        Ok(())
    }

    /// Whether an attempt waits for a worker.
    pub fn is_queued(&self) -> bool {
        self.end.is_none() && self.conversation.phase() == Phase::Queued
    }

    /// Whether the same record stands behind both: equal but for what is kept in memory alone, when a worker was heard.
    pub fn same_record(&self, other: &Life) -> bool {
        let heard = |life: &Life| life.conversation.leg().map(|leg| leg.heard_at);
        let mut other = other.clone();
        if let Some(at) = heard(self) {
            other.conversation.heard(at);
        }
        let mut mine = self.clone();
        if let Some(at) = heard(&other) {
            mine.conversation.heard(at);
        }
        mine == other
    }
}
