use antiphon_history::{IdError, Name, RoutineStatus};

/// Why a request about routines changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutineError {
    /// A0012. A name cannot be used.
    #[error(transparent)]
    Name(#[from] IdError),
    /// A0048. Part of the request cannot be.
    #[error("the routine's {field} cannot be {value}: {problem} [A0048]")]
    Invalid {
        /// Which part.
        field: &'static str,
        /// What was given, cut to 64 characters.
        value: String,
        /// Why not.
        problem: String,
    },
    /// A0049. There is no such routine.
    #[error("there is no routine {id:?} in this store [A0049]")]
    NotFound {
        /// The id.
        id: String,
    },
    /// A0050. A run of the routine is open, or a slot waits for its next attempt.
    #[error("routine {id:?} is {status} and cannot be {verb} now: wait until it is active again, or pause it [A0050]")]
    Busy {
        /// The routine.
        id: String,
        /// How it stands.
        status: RoutineStatus,
        /// What was asked.
        verb: &'static str,
    },
    /// A0050. The routine is over.
    #[error("routine {id:?} is {status}, which is final: it cannot be {verb}; create another one [A0050]")]
    Terminal {
        /// The routine.
        id: String,
        /// How it stands.
        status: RoutineStatus,
        /// What was asked.
        verb: &'static str,
    },
    /// A0051. The id or the idempotency key belongs to another routine.
    #[error(
        "the {what} {name:?} belongs to routine {id:?}, which was created by another request: choose another one [A0051]"
    )]
    Conflict {
        /// What is taken.
        what: &'static str,
        /// Its value.
        name: String,
        /// The routine that has it.
        id: String,
    },
    /// A0052. A bound is reached.
    #[error("{what} would be more than {max}: {todo} [A0052]")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: u64,
        /// What to do.
        todo: &'static str,
    },
    /// A0066. The guard that the routine names did not agree.
    #[error("guard {guard:?} does not let routine {id:?} be {verb}: {reason} [A0066]")]
    Denied {
        /// The routine; empty for a new one that was given no id.
        id: String,
        /// What was asked.
        verb: &'static str,
        /// The guard.
        guard: Name,
        /// What it said.
        reason: String,
    },
    /// A run cannot be started now. See the error's own code.
    #[error(transparent)]
    Start(#[from] crate::RequestError),
}

impl RoutineError {
    /// Longest id of a routine and prefix of its runs' ids: slot and attempt stand behind it.
    pub const PREFIX_MAX_BYTES: usize = 160;
}
