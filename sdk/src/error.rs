//! How calls and workflows fail, typed from end to end.
//!
//! ```text
//!  activity returns E ─▶ recorded ─▶ CallError<E> ── or_app(OrderError::Payment) ─▶ Error<OrderError> ─▶ the run's end
//! ```

use crate::value::{DecodeError, EncodeError};
use antiphon_history::{IdError, RouteError, TimeoutKind};
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::fmt;

/// What a workflow returns.
pub type Result<T, E> = std::result::Result<T, Error<E>>;

/// Why a workflow ends without a result. `Err(error)?` and `.or_app(..)?` make one of the application's error.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// The application's own error.
    App(E),
    /// The engine's.
    Engine(EngineError),
}

/// What the engine itself can have against a workflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A value, a name or an option of the workflow's cannot be used.
    #[error(transparent)]
    #[serde(rename = "refused")]
    Refused(#[from] CallRefused),
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Error<E> {
        Error::App(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::App(error) => error.fmt(f),
            Error::Engine(error) => error.fmt(f),
        }
    }
}

impl<E: StdError> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // Both halves speak for themselves in `Display`, so the next one down is theirs.
        match self {
            Error::App(error) => error.source(),
            Error::Engine(error) => error.source(),
        }
    }
}

/// How a call of an activity ended without a result. `E` is the activity's own error.
///
/// It can be written and read by serde, so that a workflow's error can hold it. Its names in JSON never change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The activity returned this error, and no further attempt is allowed.
    #[serde(rename = "app")]
    App(E),
    /// A deadline passed, and no further attempt is allowed.
    #[serde(rename = "timed_out")]
    TimedOut(#[serde(with = "kind")] TimeoutKind),
    /// The workflow or an operator no longer wanted it.
    #[serde(rename = "cancelled")]
    Cancelled,
    /// No worker could ever take it, and the call was to fail fast.
    #[serde(rename = "no_worker")]
    NoWorker {
        /// Why none could.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// Its workers were lost too often, or once where the body must not run twice. The body may or may not have run.
    #[serde(rename = "lost")]
    Lost {
        /// How many were lost.
        #[serde(rename = "losses")]
        losses: u32,
        /// What happened to the last one.
        #[serde(rename = "reason")]
        reason: String,
    },
    /// The call itself is at fault, or its recorded outcome cannot be read by this code.
    #[serde(rename = "refused")]
    Refused(CallRefused),
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::App(error) => error.fmt(f),
            CallError::TimedOut(kind) => write!(f, "the activity timed out: its {kind} limit passed"),
            CallError::Cancelled => f.write_str("the activity was cancelled"),
            CallError::NoWorker { reason } => write!(f, "no worker could ever take the activity: {reason}"),
            CallError::Lost { losses, reason } => write!(
                f,
                "the activity was lost {losses} times, at last because {reason}; its body may or may not have run"
            ),
            CallError::Refused(refused) => refused.fmt(f),
        }
    }
}

impl<E: StdError> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            CallError::App(error) => error.source(),
            CallError::Refused(refused) => refused.source(),
            _ => None,
        }
    }
}

/// A call that cannot be made as it stands, or whose outcome this code cannot read. Trying again changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CallRefused {
    /// A0015 or A0016. An argument cannot be written.
    #[error(transparent)]
    #[serde(rename = "unencodable")]
    Unencodable(#[from] EncodeError),
    /// A0016. What was recorded cannot be read.
    #[error(transparent)]
    #[serde(rename = "undecodable")]
    Undecodable(#[from] DecodeError),
    /// A0017. An option is impossible.
    #[error(transparent)]
    #[serde(rename = "option")]
    Option(#[from] OptionError),
    /// A0012. A name cannot be used.
    #[error("{message}")]
    #[serde(rename = "name")]
    Name {
        /// What, which, and why.
        #[serde(rename = "message")]
        message: String,
    },
    /// A0035. The route cannot be.
    #[error("{message}")]
    #[serde(rename = "route")]
    Route {
        /// Which field, and why.
        #[serde(rename = "message")]
        message: String,
    },
}

impl From<RouteError> for CallRefused {
    fn from(wrong: RouteError) -> CallRefused {
        CallRefused::Route { message: wrong.to_string() }
    }
}

impl From<IdError> for CallRefused {
    fn from(wrong: IdError) -> CallRefused {
        CallRefused::Name { message: wrong.to_string() }
    }
}

/// A0017. An option of a call that can mean nothing. Nothing was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{option}({value}) is impossible: {problem} [A0017]", value = shown(.value))]
pub struct OptionError {
    /// The option, by the name of its builder method.
    #[serde(rename = "option")]
    pub option: String,
    /// What was given.
    #[serde(rename = "value")]
    pub value: String,
    /// Why it is impossible, and what to give instead.
    #[serde(rename = "problem")]
    pub problem: String,
}

/// Several values were given as a tuple; the message prints them as the arguments they were.
fn shown(value: &str) -> &str {
    value.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(value)
}

/// The error of an activity or a workflow that cannot fail. There is no value of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl StdError for Never {}

/// Turns the error of a call into the application's: `ctx.call(charge(..)).await.or_app(OrderError::Payment)?`.
pub trait OrApp<T, E> {
    /// Maps the error with `into_app`, most often a variant of the workflow's own error.
    fn or_app<E2>(self, into_app: impl FnOnce(CallError<E>) -> E2) -> Result<T, E2>;
}

impl<T, E> OrApp<T, E> for std::result::Result<T, CallError<E>> {
    fn or_app<E2>(self, into_app: impl FnOnce(CallError<E>) -> E2) -> Result<T, E2> {
        self.map_err(|error| Error::App(into_app(error)))
    }
}

/// A deadline's name inside the application's JSON: words, where the record has its three letters.
mod kind {
    use antiphon_history::TimeoutKind;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    const KINDS: [TimeoutKind; 4] =
        [TimeoutKind::ScheduleToStart, TimeoutKind::StartToClose, TimeoutKind::ScheduleToClose, TimeoutKind::Heartbeat];

    pub(super) fn serialize<S: Serializer>(kind: &TimeoutKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(kind)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeoutKind, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = KINDS.into_iter().find(|kind| kind.to_string() == name);
        found.ok_or_else(|| D::Error::custom(format_args!("{name:?} is not the name of a deadline")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Place;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum OrderError {
        #[error("payment: {0}")]
        Payment(CallError<Never>),
        #[error("never packed")]
        NeverPacked,
    }

    fn pay(paid: std::result::Result<u8, CallError<Never>>) -> Result<u8, OrderError> {
        let paid = paid.or_app(OrderError::Payment)?;
        if paid == 0 {
            Err(OrderError::NeverPacked)?;
        }
        Ok(paid)
    }

    #[test]
    fn errors_of_calls_and_of_the_application_both_end_a_workflow_by_question_mark() {
        assert_eq!(pay(Ok(1)), Ok(1));
        assert_eq!(pay(Ok(0)), Err(Error::App(OrderError::NeverPacked)));
        let cancelled = pay(Err(CallError::Cancelled)).unwrap_err();
        assert_eq!(cancelled.to_string(), "payment: the activity was cancelled");
    }

    #[test]
    fn a_workflow_whose_error_is_the_call_error_needs_no_mapping() {
        fn pay(paid: std::result::Result<u8, CallError<Never>>) -> Result<u8, CallError<Never>> {
            Ok(paid?)
        }
        assert_eq!(pay(Err(CallError::Cancelled)), Err(Error::App(CallError::Cancelled)));
    }

    #[test]
    fn every_call_error_reads_back_from_its_fixed_json() {
        let place = Place::Argument { number: 2 };
        let unencodable = EncodeError::TooLarge { place, type_name: "T".into(), bytes: 9, max: 8 };
        let option = OptionError { option: "attempts".into(), value: "0".into(), problem: "p".into() };
        for (error, json) in [
            (CallError::App(7), r#"{"app":7}"#),
            (CallError::TimedOut(TimeoutKind::ScheduleToStart), r#"{"timed_out":"schedule-to-start"}"#),
            (CallError::TimedOut(TimeoutKind::StartToClose), r#"{"timed_out":"start-to-close"}"#),
            (CallError::TimedOut(TimeoutKind::ScheduleToClose), r#"{"timed_out":"schedule-to-close"}"#),
            (CallError::TimedOut(TimeoutKind::Heartbeat), r#"{"timed_out":"heartbeat"}"#),
            (CallError::Cancelled, r#""cancelled""#),
            (CallError::NoWorker { reason: "r".into() }, r#"{"no_worker":{"reason":"r"}}"#),
            (CallError::Lost { losses: 6, reason: "r".into() }, r#"{"lost":{"losses":6,"reason":"r"}}"#),
            (
                CallError::Refused(unencodable.into()),
                r#"{"refused":{"unencodable":{"too_large":{"place":{"argument":{"number":2}},"type":"T","bytes":9,"max":8}}}}"#,
            ),
            (
                CallError::Refused(DecodeError::Count { expected: 1, found: 2 }.into()),
                r#"{"refused":{"undecodable":{"count":{"expected":1,"found":2}}}}"#,
            ),
            (
                CallError::Refused(option.into()),
                r#"{"refused":{"option":{"option":"attempts","value":"0","problem":"p"}}}"#,
            ),
            (CallError::Refused(CallRefused::Name { message: "m".into() }), r#"{"refused":{"name":{"message":"m"}}}"#),
        ] {
            assert_eq!(serde_json::to_string(&error).unwrap(), json);
            assert_eq!(serde_json::from_str::<CallError<u8>>(json).unwrap(), error);
        }
        assert!(serde_json::from_str::<CallError<u8>>(r#"{"timed_out":"s2c"}"#).is_err());
    }

    #[test]
    fn an_unknown_outcome_says_that_the_body_may_have_run() {
        let lost = CallError::<Never>::Lost { losses: 6, reason: "the worker left".into() };
        assert!(lost.to_string().ends_with("the worker left; its body may or may not have run"), "{lost}");
    }

    #[test]
    fn no_json_is_a_never() {
        assert!(serde_json::from_str::<Never>("\"x\"").is_err());
        assert!(serde_json::from_str::<Never>("null").is_err());
    }

    #[test]
    fn the_cause_of_an_error_is_asked_of_the_application() {
        #[derive(Debug, thiserror::Error)]
        #[error("declined")]
        struct Declined(#[source] std::fmt::Error);
        let error = Error::App(CallError::App(Declined(std::fmt::Error)));
        assert_eq!(error.source().unwrap().to_string(), std::fmt::Error.to_string());
    }
}
