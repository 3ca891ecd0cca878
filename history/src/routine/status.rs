use std::fmt;
use std::str::FromStr;

/// How a routine stands: what follows from its state, never stored beside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoutineStatus {
    /// It waits for its next slot.
    Active,
    /// A run of it is open.
    Running,
    /// A slot's run failed and is tried again later.
    RetryWaiting,
    /// It starts nothing until it is resumed.
    Paused,
    /// It has no slot left.
    Completed,
    /// Its only slot failed, as often as it may.
    Exhausted,
    /// Somebody ended it.
    Cancelled,
}

impl RoutineStatus {
    /// Every status, in the order in which lists show them.
    pub const ALL: [RoutineStatus; 7] = [
        RoutineStatus::Active,
        RoutineStatus::Running,
        RoutineStatus::RetryWaiting,
        RoutineStatus::Paused,
        RoutineStatus::Completed,
        RoutineStatus::Exhausted,
        RoutineStatus::Cancelled,
    ];

    /// The stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            RoutineStatus::Active => "active",
            RoutineStatus::Running => "running",
            RoutineStatus::RetryWaiting => "retry_waiting",
            RoutineStatus::Paused => "paused",
            RoutineStatus::Completed => "completed",
            RoutineStatus::Exhausted => "exhausted",
            RoutineStatus::Cancelled => "cancelled",
        }
    }

    /// Whether it is over for good.
    pub fn is_terminal(self) -> bool {
        matches!(self, RoutineStatus::Completed | RoutineStatus::Exhausted | RoutineStatus::Cancelled)
    }
}

impl fmt::Display for RoutineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RoutineStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<RoutineStatus, String> {
        RoutineStatus::ALL.into_iter().find(|status| status.name() == text).ok_or_else(|| {
            let names: Vec<_> = RoutineStatus::ALL.iter().map(|status| status.name()).collect();
            format!("{text:?} is not a routine's status; use one of {}", names.join(", "))
        })
    }
}
