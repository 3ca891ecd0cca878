//! What is checked, how much may go wrong, and the mistakes that must be found.

use antiphon_history::{ActivityOptions, Name, RetryPolicy};

/// What is checked: the activity's options, and how much may go wrong.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The options of the activity.
    pub options: ActivityOptions,
    /// How much may go wrong.
    pub bounds: Bounds,
    /// A mistake in the model's engine, to see that it is found.
    pub mistake: Option<Mistake>,
    /// The workers' names, in order.
    pub names: [Name; WORKERS],
}

/// Workers in the model.
pub const WORKERS: usize = 2;
/// Engines in the model.
pub const ENGINES: usize = 2;

/// How much may go wrong on one way through the states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Openings of the store, the first one included: each further one is a take-over, with the other engine dead or not.
    pub openings: u8,
    /// How often an engine may be told that a worker left, whether or not it did.
    pub leaves: u8,
    /// Words lost on the way, and bodies that vanish.
    pub lost: u8,
    /// Words that arrive and stay on their way, to arrive again.
    pub repeats: u8,
    /// Batches that may wait for their commit.
    pub pending: usize,
    /// Whether the workflow may cancel the activity.
    pub cancel: bool,
    /// Whether bodies tell of themselves.
    pub heartbeats: bool,
}

/// The named kinds of activity that are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// With deadlines for the wait, the leg and the whole.
    Timed,
    /// With a bound on its silence and on its length, and one attempt alone.
    Heard,
    /// Never sent a second time.
    AtMostOnce,
    /// Without deadlines: ends as soon as nobody could take it.
    FailFast,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Timed, Kind::Heard, Kind::AtMostOnce, Kind::FailFast];

    /// The options: two attempts, one loss; small numbers, so that deadlines meet each other, also in the same moment.
    pub fn options(self) -> ActivityOptions {
        let retry = RetryPolicy { max_attempts: 2, initial_ms: 1, factor_percent: 200, max_ms: 4 };
        let options = ActivityOptions { retry, max_losses: 1, ..ActivityOptions::default() };
        match self {
            Kind::Timed => ActivityOptions {
                schedule_to_start_ms: Some(2),
                start_to_close_ms: Some(2),
                schedule_to_close_ms: Some(5),
                ..options
            },
            Kind::Heard => ActivityOptions {
                heartbeat_ms: Some(2),
                start_to_close_ms: Some(3),
                retry: RetryPolicy { max_attempts: 1, ..retry },
                ..options
            },
            Kind::AtMostOnce => ActivityOptions { at_most_once: true, start_to_close_ms: Some(3), ..options },
            Kind::FailFast => ActivityOptions { fail_fast: true, ..options },
        }
    }
}

/// A mistake that could have been made. Each must be found by the property that it is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A commit does not look whether somebody else has written meanwhile.
    NoFence,
    /// Requests leave before their segment is durable.
    SendEarly,
    /// Words of workers count with any token.
    AnyToken,
    /// A heartbeat counts for whichever leg is under way.
    AnyHeartbeat,
    /// A lost leg is sent again under its old number.
    SameLegAgain,
    /// A lost leg is not ended before the next begins.
    LegLeftOpen,
    /// Losses are not counted.
    EndlessLosses,
    /// Failures are not counted.
    EndlessRetries,
    /// A lost leg goes out again although its body must not run twice.
    TwiceAnyway,
    /// A deadline resolves the activity, and the answer behind it does so again.
    AnswerAfterEnd,
    /// A leg found under way at a take-over is left as it is.
    NotTakenUp,
    /// The wait before the next leg is kept in memory and not written.
    WaitUnwritten,
    /// A take-over goes by its own clock, which is behind the record.
    ClockBehind,
    /// An attempt is closed twice.
    ClosedTwice,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 14] = [
        Mistake::NoFence,
        Mistake::SendEarly,
        Mistake::AnyToken,
        Mistake::AnyHeartbeat,
        Mistake::SameLegAgain,
        Mistake::LegLeftOpen,
        Mistake::EndlessLosses,
        Mistake::EndlessRetries,
        Mistake::TwiceAnyway,
        Mistake::AnswerAfterEnd,
        Mistake::NotTakenUp,
        Mistake::WaitUnwritten,
        Mistake::ClockBehind,
        Mistake::ClosedTwice,
    ];
}

impl Rules {
    /// An activity of a kind, with so much that may go wrong.
    pub fn new(kind: Kind, bounds: Bounds) -> Rules {
        Rules { options: kind.options(), bounds, mistake: None, names: ["a".into(), "b".into()] }
    }

    /// The same, with a mistake in the engine.
    pub fn with(self, mistake: Mistake) -> Rules {
        Rules { mistake: Some(mistake), ..self }
    }

    pub(crate) fn errs(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl Bounds {
    /// Seconds of work: for the gate.
    pub fn narrow(kind: Kind) -> Bounds {
        let bounds = Bounds { openings: 2, leaves: 0, lost: 0, repeats: 0, pending: 1, cancel: true, heartbeats: true };
        match kind {
            // With deadlines and two clocks there are most states by far.
            Kind::Timed => Bounds { openings: 1, leaves: 1, ..bounds },
            Kind::Heard | Kind::FailFast => bounds,
            Kind::AtMostOnce => Bounds { leaves: 1, ..bounds },
        }
    }

    /// Minutes of work.
    pub fn wide(kind: Kind) -> Bounds {
        let bounds = Bounds { openings: 2, leaves: 1, lost: 1, ..Bounds::narrow(kind) };
        match kind {
            Kind::Timed => Bounds { leaves: 0, ..bounds },
            Kind::Heard | Kind::FailFast => bounds,
            Kind::AtMostOnce => Bounds { openings: 3, leaves: 2, lost: 2, repeats: 1, pending: 2, ..bounds },
        }
    }
}
