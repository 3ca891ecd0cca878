//! What operators ask when something is stuck, and what they are told.

use crate::recorded::Recorded;
use crate::{Explanation, Target};
use antiphon_history::limits::bounded_text;
use antiphon_history::{ActivityCall, ConversationKey, DeadLetterEntry, HistoryFile, Ordinal, RunEvent, Settled};
use std::fmt;

/// Who asks for a repair, and why: kept in the audit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct By {
    /// Who, in their own words.
    pub who: String,
    /// Why; may be empty.
    pub why: String,
}

impl By {
    /// What the engine does of itself.
    pub(crate) fn the_engine(why: &str) -> By {
        By { who: "engine".to_owned(), why: why.to_owned() }
    }

    /// Cut to what is kept: 255 bytes and 4 KiB.
    pub(crate) fn bounded(mut self) -> By {
        let end = (0..=self.who.len().min(255)).rev().find(|end| self.who.is_char_boundary(*end)).unwrap_or(0);
        self.who.truncate(end);
        self.why = bounded_text(&self.why);
        self
    }
}

/// Which activity is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// The one of a dead letter, by its number in the list.
    Letter(u64),
    /// A held one, by its run.
    Activity {
        /// Its run.
        target: Target,
        /// Its place in the run.
        ordinal: Ordinal,
    },
}

impl Which {
    /// The workflow id of the standalone activity by which a letter that is not held is tried again.
    pub fn retry_id(workflow_id: &str, letter: u64) -> String {
        format!("{workflow_id}/dead-letter-{letter}")
    }
}

/// What a workflow asked of one of its activities.
fn call_of(history: &HistoryFile, ordinal: Ordinal) -> Option<ActivityCall> {
    let recorded = Recorded::read(history).ok()?;
    recorded.run.iter().find_map(|(_, _, event)| match event {
        RunEvent::ActivityScheduled { ordinal: found, call } if *found == ordinal => Some((**call).clone()),
        _ => None,
    })
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Letter(number) => write!(f, "dead letter {number}"),
            Which::Activity { target, ordinal } => write!(f, "activity {ordinal} of {}", target.workflow),
        }
    }
}

/// Something that an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepairRequest {
    /// The dead letters.
    DeadLetters {
        /// Only those with a number above this.
        after: u64,
        /// At most so many, and never more than [`LETTERS_MAX`].
        limit: usize,
        /// Also those that were taken care of.
        settled_too: bool,
    },
    /// Tries a dead letter again. If it is held the activity goes on with fresh attempts, losses and time; else the same
    /// call begins anew as a standalone activity under [`Which::retry_id`].
    Retry {
        /// Which.
        which: Which,
        /// The call, for a letter that is not held: [`RepairRequest::give_call`] takes it from the history of its run.
        call: Option<Box<ActivityCall>>,
        /// Who and why.
        by: By,
    },
    /// Gives a dead letter up. If it is held, the workflow gets the error that it was held for.
    Discard {
        /// Which.
        which: Which,
        /// Who and why.
        by: By,
    },
    /// Says what a run waits for, and why.
    Explain {
        /// Which run.
        target: Target,
        /// Only this activity or timer.
        ordinal: Option<Ordinal>,
    },
    /// Looks for what is stuck. Changes nothing.
    Scan(Thresholds),
    /// Repairs one finding, if what was found still holds.
    Repair {
        /// What a scan found.
        finding: Finding,
        /// Under the thresholds of that scan.
        thresholds: Thresholds,
        /// Who and why.
        by: By,
    },
    /// Looks for what is stuck and repairs it, in one step.
    Reconcile {
        /// When something counts as stuck.
        thresholds: Thresholds,
        /// Only tell what would be done.
        dry_run: bool,
        /// Who and why.
        by: By,
    },
}

impl RepairRequest {
    /// The workflow id whose run it speaks of, which must be in memory.
    pub fn target(&self) -> Option<&Target> {
        match self {
            RepairRequest::Retry { which: Which::Activity { target, .. }, .. }
            | RepairRequest::Discard { which: Which::Activity { target, .. }, .. }
            | RepairRequest::Explain { target, .. } => Some(target),
            _ => None,
        }
    }

    /// Whether it repairs whatever there is to repair, wherever that is.
    pub fn repairs_all(&self) -> bool {
        matches!(self, RepairRequest::Reconcile { dry_run: false, .. })
    }

    /// Gives the request the call of a letter that is not held, if it asks for a retry, from the history of its run.
    pub fn give_call(&mut self, history: &HistoryFile, ordinal: Ordinal) {
        if let RepairRequest::Retry { call, .. } = self {
            *call = call_of(history, ordinal).map(Box::new);
        }
    }

    /// The number of the dead letter that it speaks of, whose run must be in memory.
    pub fn letter(&self) -> Option<u64> {
        match self {
            RepairRequest::Retry { which: Which::Letter(number), .. }
            | RepairRequest::Discard { which: Which::Letter(number), .. } => Some(*number),
            _ => None,
        }
    }
}

/// Most dead letters of one answer.
pub const LETTERS_MAX: usize = 1_000;

/// A page of dead letters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Letters {
    /// By number, in order.
    pub letters: Vec<(u64, DeadLetterEntry)>,
    /// How many are held in all: they wait, and so do their workflows.
    pub held: usize,
    /// How many in all were told to their workflows, and nobody has taken care of them.
    pub told: usize,
    /// How many went because there were too many.
    pub dropped: u64,
}

/// What an operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepairReply {
    /// It is so now. `false`: it was so before, and nothing was written.
    Done {
        /// Whether something was written.
        changed: bool,
    },
    /// What a scan or a pass found.
    Report(Report),
    /// The dead letters.
    Letters(Letters),
    /// What a run waits for.
    Explanation(Box<Explanation>),
}

/// Why a repair was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// A0056. There is nothing of this kind to retry or discard.
    #[error("{what} is not held as a dead letter: list the dead letters to see what is [A0056]")]
    NotHeld {
        /// What was asked for.
        what: String,
    },
    /// A0057. The workflow was told of it, and the call is not on record to begin anew.
    #[error("dead letter {number} is not held, and cannot be tried again: {problem} [A0057]")]
    CannotRetry {
        /// The letter.
        number: u64,
        /// Why.
        problem: String,
    },
    /// A0059. Somebody was quicker, and decided otherwise.
    #[error("dead letter {number} was {how} by {who}, so it cannot be settled otherwise any more [A0059]")]
    Settled {
        /// The letter.
        number: u64,
        /// How it was settled.
        how: Settled,
        /// By whom.
        who: String,
    },
    /// A0058. What a scan found holds no longer.
    #[error(
        "{finding}: that holds no longer ({now}), so nothing is repaired; scan again if something still looks stuck [A0058]"
    )]
    NoLonger {
        /// What was found.
        finding: Finding,
        /// How it stands now.
        now: String,
    },
}

/// When something counts as stuck, in milliseconds without a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// A leg whose worker is gone is ended by force after this.
    pub gone_ms: u64,
    /// A leg whose worker is there, but of which nothing was heard since it was sent or last told of itself, is sent
    /// again after this. Longer than any honest body is silent.
    pub silent_ms: u64,
    /// What waits for a worker longer than this is reported. It is never repaired: there is nothing to repair.
    pub waiting_ms: u64,
}

impl Thresholds {
    /// Nothing counts as stuck by its age.
    pub(crate) const NEVER: Thresholds = Thresholds { gone_ms: u64::MAX, silent_ms: u64::MAX, waiting_ms: u64::MAX };
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        // Stuck after five minutes, forced after ten: long beside a missed heartbeat, short beside a person's patience.
        Thresholds { gone_ms: 600_000, silent_ms: 300_000, waiting_ms: 300_000 }
    }
}

/// What can be wrong with an open activity, and what is done about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Its run has ended: it is closed, never sent again.
    RunEnded,
    /// The workflow asked for it, and no attempt was ever opened: the first one is.
    NeverOpened,
    /// Its last attempt is over, and the workflow was not told: it is told, or a next attempt is opened if the answer
    /// itself is gone.
    NeverApplied,
    /// Its leg is with a worker that is gone: the leg is ended by force.
    WorkerGone,
    /// Its leg is with a worker that is there, and nothing is heard of it: it is sent again.
    LegSilent,
    /// It waits for a worker: reported.
    WaitsLong,
    /// A slot of a routine is noted as under way and its run has ended, or is not there: the slot is returned.
    SlotStranded,
}

impl Rule {
    /// Every rule, in the order in which they are looked at.
    pub const ALL: [Rule; 7] = [
        Rule::RunEnded,
        Rule::NeverOpened,
        Rule::NeverApplied,
        Rule::WorkerGone,
        Rule::LegSilent,
        Rule::WaitsLong,
        Rule::SlotStranded,
    ];

    /// Its repair, as the audit names it.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Rule::RunEnded => "repair.run-ended",
            Rule::NeverOpened => "repair.never-opened",
            Rule::NeverApplied => "repair.never-applied",
            Rule::WorkerGone => "repair.worker-gone",
            Rule::LegSilent => "repair.leg-silent",
            Rule::WaitsLong => "repair.waits-long",
            Rule::SlotStranded => "repair.slot-stranded",
        }
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Rule::RunEnded => "run-ended",
            Rule::NeverOpened => "never-opened",
            Rule::NeverApplied => "never-applied",
            Rule::WorkerGone => "worker-gone",
            Rule::LegSilent => "leg-silent",
            Rule::WaitsLong => "waits-long",
            Rule::SlotStranded => "slot-stranded",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that is stuck, and the fence behind which it was seen: a repair is refused if anything has happened to the
/// conversation since.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// What is wrong.
    pub rule: Rule,
    /// With which attempt.
    pub conversation: ConversationKey,
    /// With which of its legs; 0 before the first.
    pub leg: u32,
    /// How many events its conversation had.
    pub events: u64,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Why it is only reported; `None`: a repair is possible.
    pub only_reported: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConversationKey { run, ordinal, attempt } = self.conversation;
        write!(f, "{} run {} {ordinal}.{attempt} leg {} for {} ms", self.rule, run.0, self.leg, self.for_ms)?;
        self.only_reported.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// What one look at everything open came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What is stuck, in the order of runs; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more there are than are listed. A next pass finds them.
    pub more: u64,
    /// Repairs made in this step.
    pub repaired: u64,
    /// Counts per rule since the engine started, in the order of [`Rule::ALL`].
    pub rules: Vec<(Rule, RuleStats)>,
}

/// Counts of one rule since the engine started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RuleStats {
    /// Findings of the latest look.
    pub found: u64,
    /// Of those, how many were only reported.
    pub waiting: u64,
    /// Repairs, since the engine started.
    pub repaired: u64,
    /// Repairs refused because what was found held no longer, since the engine started.
    pub refused: u64,
}

/// Most findings of one look, and so most repairs of one pass: a step must stay short. Sorted by run, so that those left
/// over come first once these are repaired.
pub const FINDINGS_MAX: usize = 1_000;
