//! What an oracle says when something does not hold.

use antiphon_history::RunKey;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (invariant {invariant}): {detail}")]
pub struct Broken {
    /// The number of the invariant in `engine/src/check.rs`.
    pub invariant: u8,
    /// Which check found it; shrinking keeps to it.
    pub what: &'static str,
    /// What was found.
    pub detail: String,
    /// The run, if it is one run's.
    pub run: Option<RunKey>,
}

/// What an oracle returns.
pub(crate) type Checked<T = ()> = Result<T, Broken>;

impl Broken {
    pub(crate) fn new(invariant: u8, what: &'static str, detail: impl Into<String>) -> Broken {
        Broken { invariant, what, detail: detail.into(), run: None }
    }

    pub(crate) fn in_run(self, run: RunKey) -> Broken {
        Broken { run: Some(run), ..self }
    }

    /// What the engine says of itself.
    pub(crate) fn of_engine(broken: antiphon_engine::Broken) -> Broken {
        use antiphon_engine::Broken as B;
        let (invariant, what, run) = match &broken {
            B::Anomalies { .. } => (8, "an event that could not follow was produced", None),
            B::Stuck { run, .. } => (9, "an attempt is stuck", Some(*run)),
            B::Forgotten { run, .. } => (9, "an attempt waits although a worker could have it", Some(*run)),
            B::OpenAfterEnd { run, .. } => (4, "a closed run has something open", Some(*run)),
            B::OverCapacity => (7, "a worker has more than it can take", None),
            B::Miscounted { .. } => (7, "the bound on memory is miscounted", None),
            B::Routine { .. } => (9, "a routine is where nothing moves it", None),
            B::LostTimer { run, .. } => (9, "a timer is in no index", Some(*run)),
            B::NotAsRecorded { run, .. } => (6, "a run in memory is not what its record says", Some(*run)),
        };
        Broken { invariant, what, detail: broken.to_string(), run }
    }

    pub(crate) fn of_store(error: &antiphon_recorder::Error) -> Broken {
        Broken::new(6, "the store refused what it should take", error.to_string())
    }
}
