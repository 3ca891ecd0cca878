//! An activity on its own: how a call stands in the input of the run that makes it, and its outcome in that run's end.

use crate::codec::{self, DecodeError};
use crate::{ActivityCall, ActivityOutcome, Failure, Payload, PayloadData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// What the names of workflow types and namespaces begin with that belong to the engine. Users' must not.
pub const RESERVED_PREFIX: &str = "antiphon.";

/// The workflow type of a run that makes one activity call and ends as it does.
pub const STANDALONE: &str = "antiphon.activity";

/// The encoding of a call inside such a run's input: MessagePack, as in `ActivityScheduled`.
const CALL_ENCODING: &str = "antiphon.call";

/// The encoding of an outcome inside such a run's failure: MessagePack, as in `ActivityResolved`.
const OUTCOME_ENCODING: &str = "antiphon.outcome";

impl ActivityCall {
    /// The input of a standalone run that makes this call: the call without its arguments, then each argument. The place in
    /// the source is left out, so that the same call from two places is the same input.
    pub fn to_standalone(&self) -> Vec<Payload> {
        let bare = ActivityCall { input: Vec::new(), site: crate::Site::default(), ..self.clone() };
        std::iter::once(written(CALL_ENCODING, &bare)).chain(self.input.iter().cloned()).collect()
    }

    /// Reads the input of a standalone run.
    ///
    /// Errors: [`DecodeError`], for anything that [`ActivityCall::to_standalone`] would not have written.
    pub fn from_standalone(input: &[Payload]) -> Result<ActivityCall, DecodeError> {
        let (call, arguments) = input.split_first().ok_or(DecodeError::Truncated)?;
        let bare: ActivityCall = read(CALL_ENCODING, call)?;
        Ok(ActivityCall { input: arguments.to_vec(), ..bare })
    }
}

impl ActivityOutcome {
    /// How a standalone run fails of which the activity ended so; `Err` with the result if it did not fail.
    pub fn to_standalone(self) -> Result<Failure, Vec<Payload>> {
        let kind = match &self {
            ActivityOutcome::Completed { .. } => "",
            ActivityOutcome::Failed { .. } => "Failed",
            ActivityOutcome::TimedOut { .. } => "TimedOut",
            ActivityOutcome::Cancelled => "Cancelled",
            ActivityOutcome::NoWorker { .. } => "NoWorker",
            ActivityOutcome::Lost { .. } => "Lost",
        };
        let message = match &self {
            ActivityOutcome::TimedOut { kind, .. } => format!("the activity timed out: its {kind} limit passed"),
            ActivityOutcome::NoWorker { reason } => format!("no worker could ever take the activity: {reason}"),
            ActivityOutcome::Lost { losses, reason } => {
                format!("the activity was lost {losses} times, at last because {reason}")
            }
            _ => "the activity was cancelled".to_owned(),
        };
        match self {
            ActivityOutcome::Completed { result } => Err(result),
            ActivityOutcome::Failed { failure, .. } => Ok(failure),
            other => {
                let details = Some(written(OUTCOME_ENCODING, &other));
                Ok(Failure { message, kind: format!("{RESERVED_PREFIX}{kind}"), details })
            }
        }
    }

    /// The outcome of the activity whose standalone run failed so. The number of attempts of a failed one is not known here
    /// and stands as 0; the run's record has it.
    pub fn from_standalone(failure: &Failure) -> ActivityOutcome {
        let details = failure.details.as_ref().filter(|details| details.encoding == OUTCOME_ENCODING);
        match details.map(|details| read(OUTCOME_ENCODING, details)) {
            Some(Ok(outcome)) => outcome,
            _ => ActivityOutcome::Failed { failure: failure.clone(), attempts: 0 },
        }
    }
}

fn written(encoding: &'static str, value: &impl Serialize) -> Payload {
    let bytes = codec::encode(value);
    Payload { encoding: Cow::Borrowed(encoding), ..Payload::json(bytes) }
}

fn read<T: DeserializeOwned>(encoding: &str, payload: &Payload) -> Result<T, DecodeError> {
    match &payload.data {
        PayloadData::Inline(bytes) if payload.encoding == encoding => codec::decode(bytes),
        _ => Err(DecodeError::Event(format!("a payload of the encoding {encoding:?} was expected"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActivityOptions, Site, TimeoutKind};

    fn call(site: &str) -> ActivityCall {
        ActivityCall {
            activity_type: "pay".into(),
            queue: "money".into(),
            input: vec![Payload::json(b"7".to_vec()), Payload::binary(vec![1, 2])],
            options: ActivityOptions { start_to_close_ms: Some(5), ..ActivityOptions::default() },
            site: Site(site.into()),
        }
    }

    #[test]
    fn a_call_reads_back_and_is_the_same_from_every_place_in_the_source() {
        let input = call("a.rs:1").to_standalone();
        assert_eq!(input, call("b.rs:2").to_standalone());
        assert_eq!(ActivityCall::from_standalone(&input).unwrap(), ActivityCall { site: Site::default(), ..call("") });
        assert!(ActivityCall::from_standalone(&input[1..]).is_err());
        assert!(ActivityCall::from_standalone(&[]).is_err());
    }

    #[test]
    fn every_outcome_reads_back_from_the_end_of_its_run() {
        let failure = Failure { message: "no".into(), kind: "Declined".into(), details: None };
        for outcome in [
            ActivityOutcome::Failed { failure, attempts: 0 },
            ActivityOutcome::TimedOut { kind: TimeoutKind::Heartbeat, attempts: 2 },
            ActivityOutcome::Cancelled,
            ActivityOutcome::NoWorker { reason: "r".into() },
            ActivityOutcome::Lost { losses: 3, reason: "r".into() },
        ] {
            let failure = outcome.clone().to_standalone().unwrap();
            assert!(!failure.message.is_empty());
            assert_eq!(ActivityOutcome::from_standalone(&failure), outcome);
        }
        let result = vec![Payload::json(b"1".to_vec())];
        assert_eq!(ActivityOutcome::Completed { result: result.clone() }.to_standalone(), Err(result));
    }
}
