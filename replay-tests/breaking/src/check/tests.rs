//! Every check is seen to fail: one true history, and one lie at a time.

use super::conversations::{check as check_conversations, check_ledger};
use super::stream;
use super::told::Run;
use crate::ledger::Ledger;
use crate::notes::Notes;
use crate::words::{Answer, Ask, LegName, Moment};
use crate::{Broken, Invariant, Plan, Shape};
use antiphon::encode;
use antiphon_conversation::result_digest;
use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, ConversationEvent as Told, ConversationOutcome, ExitReason,
    Ordinal, Response, RunEvent, RunId, RunStarted, Site, Timestamp, TokenHash,
};
use std::collections::BTreeSet;
use std::sync::Arc;

const ID: RunId = RunId([7; 16]);
const AT: Timestamp = Timestamp(1_000);

fn plan() -> Plan {
    Plan { steps: 1, bytes: 1, salt: 1 }
}

fn leg(number: u32) -> LegName {
    LegName { run: ID.to_string(), ordinal: 1, attempt: 1, leg: number }
}

fn call(at_most_once: bool) -> Arc<ActivityCall> {
    let options = ActivityOptions { at_most_once, ..ActivityOptions::default() };
    let (activity_type, queue, input) = ("work".into(), "default".into(), vec![encode(&1).unwrap()]);
    Arc::new(ActivityCall { activity_type, queue, input, options, site: Site::default() })
}

fn result() -> Vec<antiphon_history::Payload> {
    vec![encode(&9).unwrap()]
}

/// A run that was signalled, told to stop, had one activity, slept, and has ended.
fn truth() -> Vec<RunEvent> {
    let started = RunStarted {
        namespace: "default".into(),
        workflow_id: "w".into(),
        run_id: ID,
        workflow_type: Shape::Patient.name().into(),
        version: 1,
        input: vec![encode(&plan()).unwrap()],
        semantics: 1,
        driver: "native".into(),
        request_id: None,
        routine: None,
    };
    vec![
        RunEvent::RunStarted(Arc::new(started)),
        RunEvent::ActivityScheduled { ordinal: Ordinal(1), call: call(false) },
        RunEvent::TimerStarted { ordinal: Ordinal(2), due: AT, site: Site::default() },
        RunEvent::SignalReceived { name: "go".into(), input: vec![encode(&5).unwrap()], request_id: Some("k".into()) },
        RunEvent::CancelRequested { reason: "asked".into() },
        RunEvent::TimerFired { ordinal: Ordinal(2) },
        RunEvent::ActivityResolved { ordinal: Ordinal(1), outcome: ActivityOutcome::Completed { result: result() } },
        RunEvent::RunCompleted { result: vec![] },
    ]
}

fn conversation() -> Vec<Told> {
    let (digest, len) = result_digest(&result());
    let chosen = |leg| Told::WorkerSelected {
        leg,
        worker: "local".into(),
        token: TokenHash([1; 16]),
        why: None,
        lease_ms: None,
    };
    vec![
        Told::Scheduled { activity_type: "work".into(), queue: "default".into(), visible_at: None },
        chosen(1),
        Told::Sent { leg: 1 },
        Told::Exited { leg: 1, reason: ExitReason::EngineRestart, details: None, visible_at: None },
        chosen(2),
        Told::Sent { leg: 2 },
        Told::Received { leg: 2, response: Response::Completed { digest, len } },
        Told::Closed { outcome: ConversationOutcome::Completed },
    ]
}

fn run_of(events: Vec<RunEvent>, conversation: Vec<Told>) -> Run {
    let timed = |event| (AT, event);
    let conversations = [((1, 1), conversation.into_iter().map(|event| (AT, event)).collect())].into();
    Run { events: events.into_iter().map(timed).collect(), conversations, lines: vec!["a line".to_owned()] }
}

/// Both legs began, and the second returned.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for number in [1, 2] {
        let nonce = ledger.note(leg(number), Moment::Entered { input: String::new() });
        let result = Some(result()[0].digest().to_string());
        ledger.note(leg(number), Moment::Left { nonce, result });
    }
    ledger
}

fn notes() -> Notes {
    let mut notes = Notes::default();
    let workflow = || "w".to_owned();
    let signal = Ask::Signal { workflow: workflow(), name: "go".into(), value: 5, key: "k".into() };
    let start = Ask::Start { workflow: workflow(), shape: Shape::Patient, plan: plan() };
    for (ask, answer) in [
        (start, Answer::Started { run: ID.to_string() }),
        (signal, Answer::Accepted),
        (Ask::Cancel { workflow: workflow() }, Answer::Accepted),
    ] {
        let number = notes.ask(&ask);
        notes.answer(number, answer).unwrap();
    }
    notes
}

fn all(run: &Run, notes: &Notes, ledger: &Ledger) -> Result<(), Broken> {
    stream::check(run)?;
    stream::check_asked(run, &notes.runs()["w"])?;
    let sent: BTreeSet<LegName> = check_conversations(run, &ID.to_string(), ledger)?.into_iter().collect();
    let once = run.events.iter().any(|(_, event)| match event {
        RunEvent::ActivityScheduled { call, .. } => call.options.at_most_once,
        _ => false,
    });
    let once = once.then(|| (ID.to_string(), 1)).into_iter().collect();
    check_ledger(ledger, &sent, &once)
}

/// The invariant that a changed run stream breaks.
fn of_stream(change: impl FnOnce(&mut Vec<RunEvent>)) -> Option<Invariant> {
    let mut events = truth();
    change(&mut events);
    all(&run_of(events, conversation()), &notes(), &ledger()).err().map(|broken| broken.invariant)
}

/// The invariant that a changed conversation breaks.
fn of_conversation(change: impl FnOnce(&mut Vec<Told>)) -> Option<Invariant> {
    let mut told = conversation();
    change(&mut told);
    all(&run_of(truth(), told), &notes(), &ledger()).err().map(|broken| broken.invariant)
}

/// The invariant that a changed ledger breaks.
fn of_ledger(change: impl FnOnce(&mut Ledger)) -> Option<Invariant> {
    let mut ledger = ledger();
    change(&mut ledger);
    all(&run_of(truth(), conversation()), &notes(), &ledger).err().map(|broken| broken.invariant)
}

#[test]
fn the_truth_breaks_nothing() {
    assert_eq!(of_stream(|_| {}), None);
}

#[test]
fn each_lie_in_a_run_stream_breaks_its_invariant() {
    let twice = |place: usize| move |events: &mut Vec<RunEvent>| events.insert(place, events[place].clone());
    let without = |place: usize| move |events: &mut Vec<RunEvent>| _ = events.remove(place);
    assert_eq!(of_stream(without(0)), Some(Invariant::AllOrNothing), "no beginning");
    assert_eq!(of_stream(twice(0)), Some(Invariant::AllOrNothing), "two beginnings");
    assert_eq!(of_stream(twice(1)), Some(Invariant::CountedOnce), "an activity twice");
    assert_eq!(of_stream(without(1)), Some(Invariant::Order), "an outcome of nothing");
    assert_eq!(of_stream(twice(3)), Some(Invariant::CountedOnce), "a signal twice");
    assert_eq!(of_stream(without(3)), Some(Invariant::RequestKept), "a signal lost");
    assert_eq!(of_stream(twice(4)), Some(Invariant::CountedOnce), "a cancel twice");
    assert_eq!(of_stream(without(4)), Some(Invariant::RequestKept), "a cancel lost");
    assert_eq!(of_stream(twice(5)), Some(Invariant::Timers), "a timer twice");
    assert_eq!(of_stream(twice(6)), Some(Invariant::OneOutcome), "an outcome twice");
    assert_eq!(of_stream(twice(7)), Some(Invariant::OneEnd), "two ends");
    assert_eq!(of_stream(|events| events.swap(6, 7)), Some(Invariant::NothingAfter), "an outcome after the end");
    let early = |events: &mut Vec<RunEvent>| {
        events[2] = RunEvent::TimerStarted { ordinal: Ordinal(2), due: AT.plus_ms(1), site: Site::default() };
    };
    assert_eq!(of_stream(early), Some(Invariant::Timers), "an early timer");
    let other = |events: &mut Vec<RunEvent>| {
        let outcome = ActivityOutcome::Completed { result: vec![encode(&8).unwrap()] };
        events[6] = RunEvent::ActivityResolved { ordinal: Ordinal(1), outcome };
    };
    assert_eq!(of_stream(other), Some(Invariant::SameBytes), "another result");
    let invented = |events: &mut Vec<RunEvent>| {
        events[3] = RunEvent::SignalReceived { name: "go".into(), input: vec![], request_id: Some("k".into()) };
    };
    assert_eq!(of_stream(invented), Some(Invariant::AllOrNothing), "a signal that nobody sent");
    let once = |events: &mut Vec<RunEvent>| {
        events[1] = RunEvent::ActivityScheduled { ordinal: Ordinal(1), call: call(true) };
    };
    assert_eq!(of_stream(once), Some(Invariant::AtMostOnce), "sent twice where once was asked for");
}

#[test]
fn each_lie_in_a_conversation_breaks_its_invariant() {
    for place in 1..conversation().len() - 1 {
        let found = of_conversation(|told| _ = told.remove(place));
        assert!(found.is_some(), "event {place} was left out");
        let found = of_conversation(|told| told.insert(place, told[place].clone()));
        assert_eq!(found, Some(Invariant::Order), "event {place} twice");
    }
    assert_eq!(of_conversation(|told| _ = told.pop()), Some(Invariant::Ends), "never closed");
    let lost = |told: &mut Vec<Told>| told[7] = Told::Closed { outcome: ConversationOutcome::Lost };
    assert_eq!(of_conversation(lost), Some(Invariant::Order), "answered and lost");
    let worn = |told: &mut Vec<Told>| {
        let leg: Vec<Told> = told.drain(1..4).collect();
        let legs = (1..=8).flat_map(|number| leg.iter().map(move |event| renumbered(event, number)));
        let legs: Vec<Told> = legs.collect();
        told.splice(1..1, legs);
        told.truncate(25);
        told.push(Told::Closed { outcome: ConversationOutcome::Lost });
    };
    assert_eq!(of_conversation(worn), Some(Invariant::Budget), "more losses than allowed");
}

fn renumbered(event: &Told, leg: u32) -> Told {
    match event.clone() {
        Told::WorkerSelected { worker, token, why, lease_ms, .. } => {
            Told::WorkerSelected { leg, worker, token, why, lease_ms }
        }
        Told::Exited { reason, details, visible_at, .. } => Told::Exited { leg, reason, details, visible_at },
        _ => Told::Sent { leg },
    }
}

#[test]
fn each_lie_of_the_ledger_breaks_its_invariant() {
    let begin =
        |leg: LegName| move |ledger: &mut Ledger| _ = ledger.note(leg, Moment::Entered { input: String::new() });
    assert_eq!(of_ledger(begin(leg(3))), Some(Invariant::SentFirst), "a body that was never sent");
    assert_eq!(of_ledger(begin(leg(2))), Some(Invariant::SentFirst), "a leg that began twice");
    assert_eq!(of_ledger(|ledger| *ledger = Ledger::default()), Some(Invariant::SameBytes), "a result of nobody");
}

#[test]
fn an_acknowledged_start_under_another_run_id_is_found() {
    let mut notes = Notes::default();
    let ask = Ask::Start { workflow: "w".into(), shape: Shape::Patient, plan: plan() };
    let number = notes.ask(&ask);
    notes.answer(number, Answer::Started { run: "another".into() }).unwrap();
    let broken = all(&run_of(truth(), conversation()), &notes, &ledger()).unwrap_err();
    assert_eq!(broken.invariant, Invariant::StartKept);
}

#[test]
fn answers_that_contradict_each_other_are_found_without_a_record() {
    let start = || Ask::Start { workflow: "w".into(), shape: Shape::Patient, plan: plan() };
    let gone = Answer::Refused { code: "A0021".into(), text: String::new() };
    for (ask, answer, invariant) in [
        (start(), Answer::Started { run: "another".into() }, Invariant::OneRun),
        (Ask::Cancel { workflow: "w".into() }, gone, Invariant::StartKept),
        (start(), Answer::Accepted, Invariant::AllOrNothing),
    ] {
        let mut notes = notes();
        let number = notes.ask(&ask);
        assert_eq!(notes.answer(number, answer).unwrap_err().invariant, invariant, "{ask:?}");
    }
}
