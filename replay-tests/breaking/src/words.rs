//! What the harness and a victim say to each other: one line of JSON each, over the victim's standard streams.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of workflow that victims run; see `flows.rs`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Shape {
    /// Activities one after the other.
    Sequence,
    /// Activities side by side, then all joined.
    Fan,
    /// A signal against a timer.
    Race,
    /// An activity that fails some times.
    Retry,
    /// An activity that must not run twice.
    Once,
    /// So many signals, in order.
    Counted,
    /// Waits for a signal; cancelled, it takes back what it did.
    Patient,
    /// Waits for a signal or for its cancellation, which it answers itself.
    Aware,
    /// Fails, and takes back what it did.
    Failing,
    /// An activity with a limit that it may pass.
    Slow,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 10] = [
        Shape::Sequence,
        Shape::Fan,
        Shape::Race,
        Shape::Retry,
        Shape::Once,
        Shape::Counted,
        Shape::Patient,
        Shape::Aware,
        Shape::Failing,
        Shape::Slow,
    ];

    /// The workflow type.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Sequence => "sequence",
            Shape::Fan => "fan",
            Shape::Race => "race",
            Shape::Retry => "retry",
            Shape::Once => "once",
            Shape::Counted => "counted",
            Shape::Patient => "patient",
            Shape::Aware => "aware",
            Shape::Failing => "failing",
            Shape::Slow => "slow",
        }
    }

    /// The signal that it waits for, if it waits for one.
    pub fn signal(self) -> Option<&'static str> {
        match self {
            Shape::Race | Shape::Patient | Shape::Aware => Some("go"),
            Shape::Counted => Some("tick"),
            _ => None,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a workflow gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How many of whatever the shape has several of, from 1.
    pub steps: u32,
    /// How many bytes an activity returns.
    pub bytes: u32,
    /// Makes the inputs of two runs differ.
    pub salt: u64,
}

/// A request to the engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Start a run.
    Start {
        /// The workflow id.
        workflow: String,
        /// The workflow type.
        shape: Shape,
        /// Its input.
        plan: Plan,
    },
    /// Send a signal.
    Signal {
        /// The workflow id.
        workflow: String,
        /// The signal's name.
        name: String,
        /// What it says.
        value: u64,
        /// The request id: however often it is sent, it counts once.
        key: String,
    },
    /// Cancel a run.
    Cancel {
        /// The workflow id.
        workflow: String,
    },
    /// Wait for a run's end.
    Wait {
        /// The workflow id.
        workflow: String,
    },
}

impl Ask {
    /// The run that is meant.
    pub fn workflow(&self) -> &str {
        match self {
            Ask::Start { workflow, .. }
            | Ask::Signal { workflow, .. }
            | Ask::Cancel { workflow }
            | Ask::Wait { workflow } => workflow,
        }
    }
}

/// The engine's word on a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The run exists.
    Started {
        /// Its run id.
        run: String,
    },
    /// The signal or the cancel is recorded.
    Accepted,
    /// The run has ended.
    Ended {
        /// Its run id.
        run: String,
        /// Its end.
        end: End,
    },
    /// Refused; nothing was changed.
    Refused {
        /// The error's code.
        code: String,
        /// Its text.
        text: String,
    },
    /// The engine does not know whether it was recorded.
    Unknown {
        /// The error's text.
        text: String,
    },
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// With a result of this digest.
    Completed(String),
    /// With an error that says this.
    Failed(String),
    /// By a cancel.
    Cancelled,
    /// By somebody's word alone. Nobody in this world says it.
    Terminated,
}

/// Names one leg of an activity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LegName {
    /// The run id.
    pub run: String,
    /// The activity.
    pub ordinal: u32,
    /// The attempt.
    pub attempt: u32,
    /// The leg.
    pub leg: u32,
}

impl fmt::Display for LegName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} #{}.{} leg {}", self.run, self.ordinal, self.attempt, self.leg)
    }
}

/// What a body tells the ledger. It goes on only when that is noted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Moment {
    /// It has begun, with an input of this digest.
    Entered {
        /// The digest.
        input: String,
    },
    /// It is about to return.
    Left {
        /// The nonce that it was given when it began.
        nonce: u64,
        /// The digest of its result; `None` for an error.
        result: Option<String>,
    },
}

/// To a victim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToVictim {
    /// Do this and say how it went.
    Ask {
        /// Which request, for the answer.
        number: u64,
        /// What.
        ask: Ask,
    },
    /// The ledger has noted.
    Noted {
        /// Which call of a body.
        number: u64,
        /// A number that no other body gets.
        nonce: u64,
    },
    /// Stop in good order.
    Stop,
}

/// From a victim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromVictim {
    /// The store is open.
    Ready,
    /// The store did not open.
    Unopened {
        /// Why.
        text: String,
    },
    /// An answer.
    Answered {
        /// To which request.
        number: u64,
        /// What.
        answer: Answer,
    },
    /// A body calls.
    Body {
        /// Which call, for the reply.
        number: u64,
        /// Whose.
        leg: LegName,
        /// What.
        moment: Moment,
    },
    /// Stopped in good order; the process ends.
    Stopped,
}
