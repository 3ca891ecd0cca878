use std::fmt;
use std::io;

/// What a storm must not change. The numbers are those of the reliability programme.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// A start that was acknowledged.
    StartKept,
    /// One run for one id.
    OneRun,
    /// Whole or absent.
    AllOrNothing,
    /// Signals, cancels and ends that were acknowledged.
    RequestKept,
    /// A repeated request counts once.
    CountedOnce,
    /// Sequence numbers without gaps; what was written stays.
    AppendOnly,
    /// One end.
    OneEnd,
    /// Nothing after it.
    NothingAfter,
    /// The store is whole by its own check.
    Whole,
    /// The state is the fold of the log.
    Rebuilt,
    /// The order within a conversation.
    Order,
    /// Everything ends once faults stop.
    Ends,
    /// One outcome.
    OneOutcome,
    /// No body without a durable `Sent`.
    SentFirst,
    /// Never twice where it was to be once.
    AtMostOnce,
    /// Attempts and losses within their bounds.
    Budget,
    /// The result as it was sent.
    SameBytes,
    /// Timers.
    Timers,
    /// Every prefix replays.
    Replays,
    /// It opens without a person, and only for one.
    Opens,
    /// Files and names are synced in time.
    Synced,
    /// No panic.
    NoPanic,
}

impl Invariant {
    fn words(self) -> &'static str {
        match self {
            Invariant::StartKept => "I1 an acknowledged start is in the record",
            Invariant::OneRun => "I2 one id is one run",
            Invariant::AllOrNothing => "I3 what was asked is there whole or not at all, and nothing else is",
            Invariant::RequestKept => "I4 acknowledged signals, cancels and ends are in the record",
            Invariant::CountedOnce => "I5 a repeated request counts once",
            Invariant::AppendOnly => "I7 events are numbered without gaps and never change",
            Invariant::OneEnd => "I8 a run has one end",
            Invariant::NothingAfter => "I9 nothing follows the end of a run",
            Invariant::Whole => "I10 the store passes its own check",
            Invariant::Rebuilt => "I11, I12 what is opened is the fold of what was written",
            Invariant::Order => "I14 the events of a conversation are in order",
            Invariant::Ends => "I15 everything ends once faults stop",
            Invariant::OneOutcome => "I16 an outcome is recorded once",
            Invariant::SentFirst => "I17 no body begins without its Sent on record, and once for each",
            Invariant::AtMostOnce => "I18 at most once means at most once",
            Invariant::Budget => "I19 attempts and losses keep to their bounds",
            Invariant::SameBytes => "I20 the recorded result is what the body returned",
            Invariant::Timers => "I29 a timer fires once and not early",
            Invariant::Replays => "I33 every prefix of a history replays",
            Invariant::Opens => "F1 a store opens again without a person, for one engine at a time",
            Invariant::Synced => "F2 files and their names are synced before they are relied on",
            Invariant::NoPanic => "no thread of the engine panics",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A broken invariant, with what a person needs to begin.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// How it shows.
    pub how: String,
    /// The events of the run up to that point, one per line; empty if it is not one run's.
    pub events: Vec<String>,
}

impl Broken {
    /// Without a run.
    pub fn new(invariant: Invariant, how: impl Into<String>) -> Broken {
        Broken { invariant, how: how.into(), events: Vec::new() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  but: {}", self.invariant, self.how)?;
        self.events.iter().try_for_each(|event| write!(f, "\n    {event}"))
    }
}

/// Why a storm ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine broke a promise.
    #[error("BROKEN: {0}")]
    Broken(Box<Broken>),
    /// The machine refused something to the harness.
    #[error("{doing}: {source}")]
    Io {
        /// What was done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A command of the machine failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it printed.
        said: String,
    },
    /// A victim said what it cannot say.
    #[error("a victim said {0:?}")]
    Garbled(String),
    /// A fault that was planted was not noticed, or a harness could not fail.
    #[error("{0} was not noticed: the harness is blind to it")]
    Unnoticed(String),
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Error {
        Error::Broken(Box::new(broken))
    }
}

impl Error {
    /// For `map_err`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }
}
