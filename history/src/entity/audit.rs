use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an operator, or a repair, did. Every verb that changes how work goes on leaves one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AuditEvent {
    /// Something was done, in the same segment as this event.
    #[serde(rename = "do")]
    Done {
        /// Who did it: a person, a program, or `engine`.
        #[serde(rename = "b")]
        who: String,
        /// The verb, such as `queue.pause`.
        #[serde(rename = "v")]
        verb: String,
        /// What it was done to.
        #[serde(rename = "o")]
        on: String,
        /// Why, in the words of whoever did it.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Something was asked for and refused by a rule, such as a guard.
    #[serde(rename = "no")]
    Refused {
        /// Who asked.
        #[serde(rename = "b")]
        who: String,
        /// The verb.
        #[serde(rename = "v")]
        verb: String,
        /// What it was to be done to.
        #[serde(rename = "o")]
        on: String,
        /// The rule's reason.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

impl AuditEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            AuditEvent::Done { .. } => "Done",
            AuditEvent::Refused { .. } => "Refused",
        }
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (AuditEvent::Done { who, verb, on, why } | AuditEvent::Refused { who, verb, on, why }) = self;
        write!(f, " {verb} {on} by {who}")?;
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

/// What the audit comes to. Its events are the point; here is only how many there are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditState {
    /// Things done.
    #[serde(rename = "d")]
    pub done: u64,
    /// Things refused.
    #[serde(rename = "r")]
    pub refused: u64,
    /// When the last entry was written.
    #[serde(rename = "a")]
    pub last_at: Timestamp,
}

impl AuditState {
    pub(super) fn apply(&mut self, event: &AuditEvent, at: Timestamp) -> Result<(), String> {
        match event {
            AuditEvent::Done { .. } => self.done = self.done.saturating_add(1),
            AuditEvent::Refused { .. } => self.refused = self.refused.saturating_add(1),
        }
        self.last_at = at;
        Ok(())
    }
}
