//! Conversations by themselves, against the run stream, and against the ledger.
//!
//! The order is spelt out here a second time, so that a mistake in the engine's table cannot excuse itself.

use super::told::{Run, Told};
use crate::ledger::Ledger;
use crate::words::LegName;
use crate::{Broken, Invariant};
use antiphon_history::{
    ActivityCall, ActivityOutcome, ConversationEvent, ConversationOutcome, Digest, Response, RunEvent,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one conversation came to.
#[derive(Default)]
struct Life {
    sent: Vec<u32>,
    received: Option<(u32, Response)>,
    losses: u32,
    outcome: Option<ConversationOutcome>,
}

/// Where a conversation stands, in the checker's own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stands {
    Nowhere,
    InLine,
    Chosen,
    Away,
    Answered,
    Over,
}

/// Checks all conversations of a run. `closed`: the run has ended, so they must have.
pub(super) fn check(run: &Run, run_id: &str, ledger: &Ledger) -> Result<Vec<LegName>, Broken> {
    let mut calls = BTreeMap::<u32, &Arc<ActivityCall>>::new();
    let mut outcomes = BTreeMap::new();
    let mut ended = false;
    for (_, event) in &run.events {
        match event {
            RunEvent::ActivityScheduled { ordinal, call } => _ = calls.insert(ordinal.0, call),
            RunEvent::ActivityResolved { ordinal, outcome } => _ = outcomes.insert(ordinal.0, outcome),
            event => ended |= event.is_terminal(),
        }
    }
    let mut attempts = BTreeMap::<u32, u32>::new();
    let mut sent = Vec::new();
    for (&(ordinal, attempt), told) in &run.conversations {
        let broken = |invariant, how: String| run.broken(invariant, format!("#{ordinal}.{attempt}: {how}"));
        let life = follow(told).map_err(|how| broken(Invariant::Order, how))?;
        let Some(call) = calls.get(&ordinal) else {
            return Err(broken(Invariant::Order, "its activity was never scheduled".to_owned()));
        };
        let before = attempts.insert(ordinal, attempt).unwrap_or(0);
        if attempt != before + 1 || attempt > call.options.retry.max_attempts {
            let how = format!("it follows attempt {before} of at most {}", call.options.retry.max_attempts);
            return Err(broken(Invariant::Budget, how));
        }
        if life.losses > call.options.max_losses + 1 || (call.options.at_most_once && life.sent.len() > 1) {
            let invariant = if call.options.at_most_once { Invariant::AtMostOnce } else { Invariant::Budget };
            return Err(broken(invariant, format!("it was sent {} times", life.sent.len())));
        }
        if ended && life.outcome.is_none() {
            return Err(broken(Invariant::Ends, "it is open although its run has ended".to_owned()));
        }
        let name = |leg| LegName { run: run_id.to_owned(), ordinal, attempt, leg };
        if let Some((leg, response)) = &life.received {
            check_outside(response, ledger, &name(*leg)).map_err(|how| broken(Invariant::SameBytes, how))?;
        }
        if let Some(outcome) = outcomes.get(&ordinal).filter(|_| life.outcome == Some(ConversationOutcome::Completed)) {
            check_outcome(&life, outcome).map_err(|how| broken(Invariant::SameBytes, how))?;
        }
        sent.extend(life.sent.iter().map(|leg| name(*leg)));
    }
    for (ordinal, outcome) in outcomes {
        let last = attempts.get(&ordinal).and_then(|attempt| run.conversations.get(&(ordinal, *attempt)));
        let closed = last.and_then(|told| told.last()).map(|(_, event)| event.clone());
        if !fits(outcome, closed.as_ref()) {
            let how = format!("activity #{ordinal} is resolved as {outcome:?}, its last attempt ended with {closed:?}");
            return Err(run.broken(Invariant::OneOutcome, how));
        }
    }
    Ok(sent)
}

/// The only orders that there are.
fn follow(told: &Told<ConversationEvent>) -> Result<Life, String> {
    use ConversationEvent as E;
    let (mut stands, mut leg, mut life) = (Stands::Nowhere, 0, Life::default());
    for (_, event) in told {
        stands = match (stands, event) {
            (Stands::Nowhere, E::Scheduled { .. }) => Stands::InLine,
            (Stands::InLine, E::NoWorker { .. }) => Stands::InLine,
            (Stands::InLine, E::WorkerSelected { leg: chosen, .. }) if *chosen == leg + 1 => {
                leg = *chosen;
                Stands::Chosen
            }
            (Stands::Chosen, E::Sent { leg: sent }) if *sent == leg => {
                life.sent.push(leg);
                Stands::Away
            }
            (Stands::Away, E::Heartbeat { leg: told, .. } | E::CancelSent { leg: told }) if *told == leg => {
                Stands::Away
            }
            (Stands::Away, E::Received { leg: told, response }) if *told == leg => {
                life.received = Some((leg, response.clone()));
                Stands::Answered
            }
            (Stands::Chosen | Stands::Away, E::Exited { leg: told, reason, .. }) if *told == leg => {
                life.losses += u32::from(reason.is_loss());
                Stands::InLine
            }
            (Stands::InLine | Stands::Answered, E::Closed { outcome }) => {
                let answered = matches!(outcome, ConversationOutcome::Completed | ConversationOutcome::Failed);
                if answered != (stands == Stands::Answered) {
                    return Err(format!("it is closed as {outcome} where it stands {stands:?}"));
                }
                life.outcome = Some(*outcome);
                Stands::Over
            }
            (stands, event) => return Err(format!("{event} at leg {leg}, where it stands {stands:?}")),
        };
    }
    Ok(life)
}

/// What was received is what the body was about to return, by the ledger.
fn check_outside(response: &Response, ledger: &Ledger, leg: &LegName) -> Result<(), String> {
    let Some(noted) = ledger.get(leg) else { return Err(format!("an answer of {leg}, which never ran")) };
    let returned = noted.left.iter().any(|left| match (left, response) {
        (Some(result), Response::Completed { digest, .. }) => of_result(result).is_some_and(|made| made == *digest),
        (None, Response::Failed { .. }) => true,
        _ => false,
    });
    if returned { Ok(()) } else { Err(format!("{response:?} of {leg}, whose body returned {:?}", noted.left)) }
}

/// The digest by which a conversation proves a result of one payload.
fn of_result(payload: &str) -> Option<Digest> {
    let digits = payload.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Vec<u8> = digits.chunks(2).map_while(byte).collect();
    Digest::from_slice(&bytes).map(|digest| antiphon_history::payload_digest(&digest.0))
}

/// What the workflow was given is what was received.
fn check_outcome(life: &Life, outcome: &ActivityOutcome) -> Result<(), String> {
    match (outcome, &life.received) {
        (ActivityOutcome::Completed { result }, Some((_, Response::Completed { digest, len })))
            if antiphon_conversation::result_digest(result) == (*digest, *len) =>
        {
            Ok(())
        }
        (outcome, received) => Err(format!("received {received:?}, resolved as {outcome:?}")),
    }
}

/// Whether an activity may be resolved so after its last conversation ended so.
fn fits(outcome: &ActivityOutcome, closed: Option<&ConversationEvent>) -> bool {
    let Some(ConversationEvent::Closed { outcome: closed }) = closed else { return false };
    matches!(
        (outcome, closed),
        (ActivityOutcome::Completed { .. }, ConversationOutcome::Completed)
            | (ActivityOutcome::Failed { .. }, ConversationOutcome::Failed)
            | (ActivityOutcome::TimedOut { .. }, ConversationOutcome::TimedOut)
            | (ActivityOutcome::Cancelled, ConversationOutcome::Cancelled)
            | (ActivityOutcome::Lost { .. }, ConversationOutcome::Lost)
            | (ActivityOutcome::NoWorker { .. }, ConversationOutcome::NoWorker)
    )
}

/// The ledger against all legs that were ever sent.
pub(super) fn check_ledger(
    ledger: &Ledger,
    sent: &BTreeSet<LegName>,
    once: &BTreeSet<(String, u32)>,
) -> Result<(), Broken> {
    let mut begun = BTreeMap::<(String, u32), usize>::new();
    for (leg, noted) in ledger.legs() {
        if !sent.contains(leg) {
            return Err(Broken::new(Invariant::SentFirst, format!("a body of {leg} began, and its Sent is not there")));
        }
        if noted.nonces.len() > 1 {
            return Err(Broken::new(Invariant::SentFirst, format!("{leg} began {} times", noted.nonces.len())));
        }
        *begun.entry((leg.run.clone(), leg.ordinal)).or_default() += 1;
    }
    match once.iter().find(|activity| begun.get(*activity).is_some_and(|count| *count > 1)) {
        Some((run, ordinal)) => {
            Err(Broken::new(Invariant::AtMostOnce, format!("activity #{ordinal} of run {run} began more than once")))
        }
        None => Ok(()),
    }
}
