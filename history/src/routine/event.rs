use super::Slot;
use super::spec::RoutineSpec;
use crate::{Digest, RunKey, Timestamp};
use serde::{Deserialize, Serialize};

/// What happened to a routine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoutineEvent {
    /// It exists. Always the first event.
    #[serde(rename = "rc")]
    Created {
        /// Its name, unique in the store for ever.
        #[serde(rename = "id")]
        id: String,
        /// What it is.
        #[serde(rename = "s")]
        spec: Box<RoutineSpec>,
        /// The digest of the request, by which a repeated one is known.
        #[serde(rename = "h")]
        request: Digest,
        /// Its first slot.
        #[serde(rename = "nx")]
        next: Timestamp,
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It was changed.
    #[serde(rename = "ru")]
    Updated {
        /// What is different now.
        #[serde(rename = "p")]
        patch: Box<super::RoutinePatch>,
        /// Its next slot from now on; none if no slot is left.
        #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It starts nothing by itself until it is resumed. Open runs go on.
    #[serde(rename = "rp")]
    Paused {
        /// Why, for whoever finds it paused.
        #[serde(rename = "n", default, skip_serializing_if = "String::is_empty")]
        note: String,
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
    },
    /// It goes on; what it missed meanwhile goes by its catch-up policy.
    #[serde(rename = "rr")]
    Resumed {
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It is over, because somebody asked. Its slots are forgotten; its open runs are asked to cancel.
    #[serde(rename = "rx")]
    Cancelled {
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// A slot's attempt began: its run's first event is in the same segment.
    #[serde(rename = "ss")]
    SlotStarted {
        /// The slot.
        #[serde(rename = "s")]
        slot: Slot,
        /// The attempt, from 1.
        #[serde(rename = "a")]
        attempt: u32,
        /// The run. None: it could not be started; the slot's end follows in the same segment and says why.
        #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
        run: Option<RunKey>,
        /// The slot that follows in the schedule or the backfill, if this one was taken from there.
        #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
        /// Who asked, of a slot outside the schedule.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// A slot's attempt ended: its run's last event is in the same segment.
    #[serde(rename = "se")]
    SlotEnded {
        /// The slot.
        #[serde(rename = "s")]
        slot: Slot,
        /// The attempt.
        #[serde(rename = "a")]
        attempt: u32,
        /// How.
        #[serde(rename = "x")]
        outcome: SlotOutcome,
        /// When the next attempt is due, if there is one.
        #[serde(rename = "ra", default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// Slots of the schedule that are not carried out.
    #[serde(rename = "sk")]
    SlotsSkipped {
        /// The first of them.
        #[serde(rename = "f")]
        from: Timestamp,
        /// None of them lies behind this moment.
        #[serde(rename = "t")]
        through: Timestamp,
        /// Why.
        #[serde(rename = "r")]
        reason: SkipReason,
        /// The slot that follows them.
        #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
    },
    /// A slot of the schedule waits for an open run to end.
    #[serde(rename = "sb")]
    SlotBuffered {
        /// Its moment.
        #[serde(rename = "s")]
        slot: Timestamp,
        /// The slot that follows in the schedule.
        #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
    },
    /// A slot that waited, for an open run or its next attempt, is given up.
    #[serde(rename = "sd")]
    SlotDropped {
        /// The slot.
        #[serde(rename = "s")]
        slot: Slot,
        /// Why.
        #[serde(rename = "r")]
        reason: SkipReason,
    },
    /// Somebody asked for the slots of a time that is past.
    #[serde(rename = "bf")]
    BackfillAsked {
        /// The first slot.
        #[serde(rename = "f")]
        from: Timestamp,
        /// None of them lies behind this moment.
        #[serde(rename = "t")]
        to: Timestamp,
        /// Who asked.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

/// How an attempt of a slot ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SlotOutcome {
    /// The run completed.
    #[serde(rename = "ok")]
    Completed,
    /// The run failed, or could not be started.
    #[serde(rename = "er")]
    Failed {
        /// What the error says, at most [`SlotOutcome::ERROR_MAX_BYTES`] bytes.
        #[serde(rename = "m")]
        error: String,
    },
    /// The run was cancelled. The schedule goes on as after a success.
    #[serde(rename = "cx")]
    Cancelled,
    /// Somebody ended the run, and its code was not asked. The schedule goes on as after a success.
    #[serde(rename = "tm")]
    Terminated,
}

impl SlotOutcome {
    /// Longest error text: it is kept in the routine's state, and there are many routines.
    pub const ERROR_MAX_BYTES: usize = 512;
}

/// Why a slot is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SkipReason {
    /// It was missed, and the catch-up policy does not make up for it.
    #[serde(rename = "mi")]
    Missed,
    /// A run was open, or a slot waited for its next attempt.
    #[serde(rename = "ov")]
    Overlap,
    /// A later slot took its place.
    #[serde(rename = "su")]
    Superseded,
    /// As many slots wait, or runs are open, as may be.
    #[serde(rename = "fu")]
    Full,
}

impl SkipReason {
    /// The reason in words.
    pub fn name(self) -> &'static str {
        match self {
            SkipReason::Missed => "missed",
            SkipReason::Overlap => "a run was open",
            SkipReason::Superseded => "a later slot took its place",
            SkipReason::Full => "as many wait as may",
        }
    }
}

impl RoutineEvent {
    /// The event's name, as documents and dumps print it.
    pub fn name(&self) -> &'static str {
        match self {
            RoutineEvent::Created { .. } => "RoutineCreated",
            RoutineEvent::Updated { .. } => "RoutineUpdated",
            RoutineEvent::Paused { .. } => "RoutinePaused",
            RoutineEvent::Resumed { .. } => "RoutineResumed",
            RoutineEvent::Cancelled { .. } => "RoutineCancelled",
            RoutineEvent::SlotStarted { .. } => "SlotStarted",
            RoutineEvent::SlotEnded { .. } => "SlotEnded",
            RoutineEvent::SlotsSkipped { .. } => "SlotsSkipped",
            RoutineEvent::SlotBuffered { .. } => "SlotBuffered",
            RoutineEvent::SlotDropped { .. } => "SlotDropped",
            RoutineEvent::BackfillAsked { .. } => "BackfillAsked",
        }
    }
}
