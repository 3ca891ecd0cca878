use antiphon_engine::{RequestError, WorkersError};

/// Why a request to a running engine did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused it. It changed nothing.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// A0005. The volume is nearly full: no new runs until space is free. Nothing was written.
    #[error(
        "the store's volume is nearly full, so no new runs are taken: free some space, the engine goes on by itself [A0005]"
    )]
    DiskFull,
    /// A0024. The engine has been stopped. Whatever was acknowledged is durable.
    #[error("the engine has been stopped: start it again to go on [A0024]")]
    Stopped,
    /// A0031. The run waited for cannot go on with this program's code. It has not ended: code that agrees with its record
    /// lets it go on, and then it can be waited for again.
    #[error("run {run_id} is blocked until the code is mended: {reason} [A0031]")]
    Blocked {
        /// The run.
        run_id: antiphon_history::RunId,
        /// Why, as on record.
        reason: Box<antiphon_history::BlockedReason>,
    },
    /// A0030. The engine stopped by itself: its store is damaged, or another engine has taken it over. Whatever was
    /// acknowledged is as durable as the store is sound.
    #[error("the engine has stopped because of its store: {cause} [A0030]")]
    Broken {
        /// What was found when the store failed or was opened again.
        cause: std::sync::Arc<StartError>,
    },
    /// A0025. The store failed; whether this request was recorded is unknown. Repeat it: starts, and signals with a
    /// request id, count once.
    #[error(
        "the store failed and is being opened again; whether this request was recorded is unknown, repeat it with the same id [A0025]"
    )]
    Unavailable,
    /// A0026. Too many requests wait. This one was not taken.
    #[error("{waiting} requests are waiting, the most that are kept: try again after a pause [A0026]")]
    Overloaded {
        /// How many wait.
        waiting: usize,
    },
    /// Reading the store failed.
    #[error(transparent)]
    Store(#[from] antiphon_recorder::Error),
}

impl Error {
    /// Whether the same request may succeed later without anybody changing it.
    pub fn retryable(&self) -> bool {
        match self {
            Error::Refused(
                RequestError::Overloaded { .. }
                | RequestError::QueueFull { .. }
                | RequestError::Workers(WorkersError::TooManyWait { .. }),
            ) => true,
            Error::Refused(_) | Error::Stopped | Error::Broken { .. } | Error::Blocked { .. } => false,
            Error::DiskFull | Error::Unavailable | Error::Overloaded { .. } => true,
            Error::Store(error) => error.retryable(),
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened. See the error's own code.
    #[error(transparent)]
    Store(#[from] antiphon_recorder::Error),
    /// A0027. A run on record cannot be brought back.
    #[error(transparent)]
    Load(#[from] antiphon_engine::LoadError),
    /// A0028. The store has open runs that this program has no code for. Nothing was changed.
    #[error(
        "the store has open runs of workflows that this program does not have: {missing}. Register them, or allow unknown workflows to leave them blocked [A0028]"
    )]
    MissingWorkflows {
        /// Their types, separated by commas.
        missing: String,
    },
    /// A thread could not be started.
    #[error("the operating system refused a thread: {0}")]
    Thread(std::io::Error),
    /// No source of randomness for the tokens' secret.
    #[error("the operating system gave no random bytes: {0}")]
    Random(std::io::Error),
}
