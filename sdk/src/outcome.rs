//! Results and errors of bodies as the record keeps them, and what a workflow reads back.

use crate::ActivityDefinition;
use crate::error::{CallError, EngineError, Error};
use crate::value::{DecodeError, EncodeError, Place, decode_at, encode_at};
use antiphon_history::limits::bounded_text;
use antiphon_history::{ActivityOutcome, Failure, Payload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::fmt::Display;

/// Writes what a body returned: always one payload.
pub(crate) fn encode_result<T: Serialize>(result: &T) -> Result<Vec<Payload>, EncodeError> {
    Ok(vec![encode_at(Place::Result, result)?])
}

/// Reads what a body returned.
pub(crate) fn decode_result<T: DeserializeOwned>(result: &[Payload]) -> Result<T, DecodeError> {
    match result {
        [payload] => decode_at(Place::Result, payload),
        payloads => Err(DecodeError::Absent {
            place: Place::Result,
            type_name: type_name::<T>().to_owned(),
            problem: format!("the record holds {} values instead of one", payloads.len()),
        }),
    }
}

/// Writes the error that a body returned: its `Display` cut to 4 KiB, the last part of its type's name, its serde form.
///
/// Never fails, because an error about an error helps nobody: where the serde form cannot be written, the failure has
/// no details and its message says why.
pub(crate) fn failure_of<E: Serialize + Display>(error: &E) -> Failure {
    let kind = last_name(type_name::<E>()).to_owned();
    match encode_at(Place::Error, error) {
        Ok(details) => Failure { message: bounded_text(&error.to_string()), kind, details: Some(details) },
        Err(problem) => {
            // The cause stands first: the error's own text may fill the whole message.
            let message = bounded_text(&format!("{problem}; the error says: {error}"));
            Failure { message, kind, details: None }
        }
    }
}

/// Writes the error that a workflow returned. Those of the engine have no details: they are not the application's type.
pub(crate) fn failure_of_run<E: Serialize + Display>(error: &Error<E>) -> Failure {
    match error {
        Error::App(error) => failure_of(error),
        Error::Engine(error) => failure_of_engine(error),
    }
}

fn failure_of_engine(error: &EngineError) -> Failure {
    Failure {
        message: bounded_text(&error.to_string()),
        kind: last_name(type_name::<EngineError>()).to_owned(),
        details: None,
    }
}

/// Reads the error that a body returned.
pub(crate) fn error_of<E: DeserializeOwned>(failure: &Failure) -> Result<E, DecodeError> {
    match &failure.details {
        Some(details) => decode_at(Place::Error, details),
        None => Err(DecodeError::Absent {
            place: Place::Error,
            type_name: type_name::<E>().to_owned(),
            problem: bounded_text(&format!("known is its message, {:?}", failure.message)),
        }),
    }
}

/// What the workflow is told of an activity's recorded end.
///
/// A result or an error that this code cannot read becomes [`CallError::Refused`] with
/// [`CallRefused::Undecodable`](crate::CallRefused::Undecodable).
pub(crate) fn result_of<D: ActivityDefinition>(outcome: &ActivityOutcome) -> Result<D::Output, CallError<D::Error>> {
    let refused = |problem: DecodeError| CallError::Refused(problem.into());
    Err(match outcome {
        ActivityOutcome::Completed { result } => return decode_result(result).map_err(refused),
        ActivityOutcome::Failed { failure, .. } => error_of(failure).map_or_else(refused, CallError::App),
        ActivityOutcome::TimedOut { kind, .. } => CallError::TimedOut(*kind),
        ActivityOutcome::Cancelled => CallError::Cancelled,
        ActivityOutcome::NoWorker { reason } => CallError::NoWorker { reason: reason.clone() },
        ActivityOutcome::Lost { losses, reason } => CallError::Lost { losses: *losses, reason: reason.clone() },
    })
}

/// `Declined` of `pay::errors::Declined<u64>`. The path in front may change with any tidying up of modules, and what is
/// recorded should not.
fn last_name(path: &str) -> &str {
    let bare = path.split('<').next().unwrap_or(path);
    bare.rsplit("::").next().unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActivityContext, CallRefused};
    use antiphon_history::TimeoutKind;
    use antiphon_history::limits::{PAYLOAD_MAX_BYTES, TEXT_MAX_BYTES};
    use serde::Deserialize;

    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
    #[error("declined: {code}")]
    struct Declined {
        code: String,
    }

    struct Charge;
    impl ActivityDefinition for Charge {
        const NAME: &'static str = "charge";
        const SITE: &'static str = "here:1";
        type Args = ();
        type Output = u64;
        type Error = Declined;
        async fn run(_: ActivityContext, (): ()) -> Result<u64, Declined> {
            Ok(1)
        }
    }

    fn failed(failure: Failure) -> ActivityOutcome {
        ActivityOutcome::Failed { failure, attempts: 1 }
    }

    #[test]
    fn a_result_reads_back() {
        let completed = ActivityOutcome::Completed { result: encode_result(&7u64).unwrap() };
        assert_eq!(result_of::<Charge>(&completed), Ok(7));
    }

    #[test]
    fn an_error_is_recorded_with_message_type_and_value_and_reads_back() {
        let declined = Declined { code: "51".to_owned() };
        let failure = failure_of(&declined);
        assert_eq!((failure.message.as_str(), failure.kind.as_str()), ("declined: 51", "Declined"));
        assert_eq!(result_of::<Charge>(&failed(failure)), Err(CallError::App(declined)));
    }

    #[test]
    fn a_long_message_is_cut_and_the_value_kept_whole() {
        let declined = Declined { code: "x".repeat(TEXT_MAX_BYTES) };
        let failure = failure_of(&declined);
        assert_eq!(failure.message.len(), TEXT_MAX_BYTES);
        assert_eq!(error_of(&failure), Ok(declined));
    }

    #[test]
    fn an_error_too_large_to_record_is_told_as_such() {
        let failure = failure_of(&Declined { code: "x".repeat(PAYLOAD_MAX_BYTES) });
        assert!(failure.message.contains("[A0015]; the error says: declined: x"), "{}", failure.message);
        assert_eq!(failure.details, None);
        let Err(CallError::Refused(refused)) = result_of::<Charge>(&failed(failure)) else { panic!() };
        assert!(refused.to_string().contains("[A0015]"), "{refused}");
    }

    #[test]
    fn an_outcome_of_another_shape_is_refused_with_its_place_and_type() {
        for result in [vec![], vec![Payload::json("\"x\"".as_bytes())]] {
            let outcome = result_of::<Charge>(&ActivityOutcome::Completed { result });
            let Err(CallError::Refused(CallRefused::Undecodable(problem))) = outcome else { panic!("{outcome:?}") };
            let text = problem.to_string();
            assert!(text.contains("the result") && text.contains("u64") && text.ends_with("[A0016]"), "{text}");
        }
        let failure = Failure { details: Some(Payload::json("{}".as_bytes())), ..failure_of(&Other) };
        let Err(CallError::Refused(refused)) = result_of::<Charge>(&failed(failure)) else { panic!() };
        assert!(refused.to_string().starts_with("the error cannot be read as"), "{refused}");
    }

    #[derive(Serialize, thiserror::Error, Debug)]
    #[error("other")]
    struct Other;

    #[test]
    fn every_other_outcome_keeps_its_facts() {
        let kind = TimeoutKind::Heartbeat;
        let reason = || "r".to_owned();
        for (outcome, error) in [
            (ActivityOutcome::TimedOut { kind, attempts: 2 }, CallError::TimedOut(kind)),
            (ActivityOutcome::Cancelled, CallError::Cancelled),
            (ActivityOutcome::NoWorker { reason: reason() }, CallError::NoWorker { reason: reason() }),
            (ActivityOutcome::Lost { losses: 6, reason: reason() }, CallError::Lost { losses: 6, reason: reason() }),
        ] {
            assert_eq!(result_of::<Charge>(&outcome), Err(error));
        }
    }

    #[test]
    fn an_error_of_the_engine_is_not_taken_for_the_applications() {
        let refused = CallRefused::from(DecodeError::Count { expected: 1, found: 2 });
        let failure = failure_of_run::<Declined>(&Error::Engine(refused.into()));
        assert_eq!((failure.kind.as_str(), &failure.details), ("EngineError", &None));
        assert!(error_of::<Declined>(&failure).is_err());
        let app = failure_of_run(&Error::App(Declined { code: "51".to_owned() }));
        assert_eq!(app, failure_of(&Declined { code: "51".to_owned() }));
    }

    #[test]
    fn a_type_is_named_without_its_path_and_parameters() {
        assert_eq!(last_name("pay::errors::Declined<alloc::string::String>"), "Declined");
        assert_eq!(last_name("u64"), "u64");
    }
}
