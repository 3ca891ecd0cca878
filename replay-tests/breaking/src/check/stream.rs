//! The run stream by itself, and against what was asked.

use super::told::Run;
use crate::notes::Asked;
use crate::words::End;
use crate::{Broken, Invariant};
use antiphon::{decode, encode};
use antiphon_conversation::result_digest;
use antiphon_history::{ActivityOutcome, RunEvent, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What of a run can only stand in a certain order.
pub(super) fn check(run: &Run) -> Result<(), Broken> {
    let broken = |invariant, how: String| Err(run.broken(invariant, how));
    let (mut asked, mut resolved, mut dropped) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut due, mut over) = (BTreeMap::<u32, Timestamp>::new(), BTreeSet::new());
    let (mut keys, mut cancels, mut ended) = (BTreeSet::new(), 0, false);
    for (place, (at, event)) in run.events.iter().enumerate() {
        if ended && event.is_terminal() {
            return broken(Invariant::OneEnd, format!("{event} is its second end"));
        }
        if ended {
            return broken(Invariant::NothingAfter, format!("{event} follows its end"));
        }
        ended = event.is_terminal();
        if (place == 0) != matches!(event, RunEvent::RunStarted(_)) {
            return broken(Invariant::AllOrNothing, format!("{event} is event {}", place + 1));
        }
        match event {
            RunEvent::ActivityScheduled { ordinal, .. } if !asked.insert(ordinal.0) => {
                return broken(Invariant::CountedOnce, format!("activity {ordinal} is scheduled twice"));
            }
            RunEvent::ActivityCancelled { ordinal } => _ = dropped.insert(ordinal.0),
            RunEvent::ActivityResolved { ordinal, .. } => {
                if !resolved.insert(ordinal.0) || dropped.contains(&ordinal.0) {
                    return broken(Invariant::OneOutcome, format!("activity {ordinal} is resolved once too often"));
                }
                if !asked.contains(&ordinal.0) {
                    return broken(Invariant::Order, format!("activity {ordinal} is resolved and was not scheduled"));
                }
            }
            RunEvent::TimerStarted { ordinal, due: at, .. } => _ = due.insert(ordinal.0, *at),
            RunEvent::TimerCancelled { ordinal } => _ = over.insert(ordinal.0),
            RunEvent::TimerFired { ordinal } => {
                if !over.insert(ordinal.0) {
                    return broken(Invariant::Timers, format!("timer {ordinal} fires twice, or after it was dropped"));
                }
                if due.get(&ordinal.0).is_none_or(|due| at < due) {
                    return broken(Invariant::Timers, format!("timer {ordinal} fires early"));
                }
            }
            RunEvent::SignalReceived { request_id: Some(key), .. } if !keys.insert(key.clone()) => {
                return broken(Invariant::CountedOnce, format!("signal {key} is there twice"));
            }
            RunEvent::CancelRequested { .. } => {
                cancels += 1;
                if cancels > 1 {
                    return broken(Invariant::CountedOnce, "it is asked to cancel twice".to_owned());
                }
            }
            RunEvent::Blocked(blocked) => return broken(Invariant::Replays, format!("it is blocked: {blocked:?}")),
            _ => {}
        }
    }
    Ok(())
}

/// The stream against the driver's notes: nothing acknowledged is missing, nothing is there that nobody asked for.
pub(super) fn check_asked(run: &Run, asked: &Asked) -> Result<(), Broken> {
    let broken = |invariant, how: String| Err(run.broken(invariant, how));
    let Some((_, RunEvent::RunStarted(started))) = run.events.first() else { return Ok(()) };
    if started.workflow_type != asked.shape.name() || started.input.first() != encode(&asked.plan).ok().as_ref() {
        return broken(Invariant::AllOrNothing, format!("it was asked for as {} {:?}", asked.shape, asked.plan));
    }
    if let Some(acknowledged) = asked.started.as_ref().filter(|id| **id != started.run_id.to_string()) {
        return broken(Invariant::StartKept, format!("its start was acknowledged as run {acknowledged}"));
    }
    let mut recorded = BTreeSet::new();
    let (mut cancelled, mut end) = (false, None);
    for (_, event) in &run.events {
        match event {
            RunEvent::SignalReceived { name, input, request_id } => {
                let key = request_id.clone().unwrap_or_default();
                let value = input.first().and_then(|value| decode::<u64>(value).ok());
                let known = asked.signals.get(&key);
                if known.is_none_or(|known| known.name != *name || Some(known.value) != value) {
                    return broken(Invariant::AllOrNothing, format!("nobody sent {event}"));
                }
                recorded.insert(key);
            }
            RunEvent::CancelRequested { .. } => cancelled = true,
            RunEvent::RunCompleted { result } => end = Some(End::Completed(result_digest(result).0.to_string())),
            RunEvent::RunFailed { failure } => end = Some(End::Failed(failure.message.clone())),
            RunEvent::RunCancelled { .. } => end = Some(End::Cancelled),
            RunEvent::RunTerminated { .. } => {
                return broken(Invariant::AllOrNothing, "nobody asked to terminate it".to_owned());
            }
            _ => {}
        }
    }
    let mut acknowledged = asked.signals.iter().filter(|(_, signal)| signal.acknowledged);
    if let Some((key, _)) = acknowledged.find(|(key, _)| !recorded.contains(*key)) {
        return broken(Invariant::RequestKept, format!("signal {key} was acknowledged and is not there"));
    }
    if asked.cancelled && !cancelled {
        return broken(Invariant::RequestKept, "a cancel was acknowledged and is not there".to_owned());
    }
    if cancelled && !asked.cancel_asked {
        return broken(Invariant::AllOrNothing, "nobody asked it to cancel".to_owned());
    }
    if asked.ended.is_some() && asked.ended != end {
        let how = format!("it was told to have ended as {:?}, and has ended as {end:?}", asked.ended);
        return broken(Invariant::RequestKept, how);
    }
    Ok(())
}

/// The result of a run that takes signals is what the signals say, in the order of the record.
pub(super) fn check_counted(run: &Run, asked: &Asked) -> Result<(), Broken> {
    let Some((_, RunEvent::RunCompleted { result })) = run.events.last() else { return Ok(()) };
    let values = run.events.iter().filter_map(|(_, event)| match event {
        RunEvent::SignalReceived { input, .. } => input.first().and_then(|value| decode::<u64>(value).ok()),
        _ => None,
    });
    let expected: Vec<u64> = values.take(asked.plan.steps as usize).collect();
    let found = result.first().and_then(|result| decode::<Vec<u64>>(result).ok());
    if found.as_ref() != Some(&expected) {
        let how = format!("it counted {found:?}, and was sent {expected:?}");
        return Err(run.broken(Invariant::SameBytes, how));
    }
    Ok(())
}

/// Nonces of the results that the workflow was given, in the order of their activities.
pub(super) fn check_nonces(run: &Run) -> Result<(), Broken> {
    let Some((_, RunEvent::RunCompleted { result })) = run.events.last() else { return Ok(()) };
    let mut given = BTreeMap::new();
    for (_, event) in &run.events {
        if let RunEvent::ActivityResolved { ordinal, outcome: ActivityOutcome::Completed { result } } = event {
            let nonce = result.first().and_then(|done| decode::<crate::flows::Done>(done).ok()).map(|done| done.nonce);
            given.extend(nonce.map(|nonce| (ordinal.0, nonce)));
        }
    }
    let expected: Vec<u64> = given.into_values().collect();
    let found = result.first().and_then(|result| decode::<Vec<u64>>(result).ok());
    // Results over 16 KiB stand beside the record and do not decode here: their digests are compared elsewhere.
    if found.as_ref().is_some_and(|found| found.len() == expected.len() && *found != expected) {
        let how = format!("it returned {found:?}, and its activities {expected:?}");
        return Err(run.broken(Invariant::SameBytes, how));
    }
    Ok(())
}
