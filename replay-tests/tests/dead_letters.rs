//! The list of activities whose attempts or losses were used up, and what becomes of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    By, Context, Letters, RepairError, RepairReply, RepairRequest, Reply, RequestError, RunFuture, RunOutcome, Which,
};
use antiphon_history::{DeadCause, EntityName, Payload, RetryPolicy, Settled};
use antiphon_replay_tests::world::*;

fn asks(hold: bool, attempts: u32) -> impl Fn(Context, Vec<Payload>) -> RunFuture {
    move |context, _| {
        Box::pin(async move {
            let call = with("echo", "1", |options| {
                options.hold = hold;
                options.max_losses = 0;
                options.retry = RetryPolicy { max_attempts: attempts, initial_ms: 0, ..RetryPolicy::default() };
            });
            match first(context.activity(call), context.signal("enough")).await {
                Ok(outcome) => done(&format!("\"{outcome}\"")),
                Err(_) => done("\"enough\""),
            }
        })
    }
}

const LIST: &[(&str, Begin)] = &[
    ("holds", |context, input| asks(true, 1)(context, input)),
    ("tells", |context, input| asks(false, 2)(context, input)),
    ("answers", |context, input| asks(false, 1)(context, input)),
];

fn by() -> By {
    By { who: "ann".into(), why: "the bank is back".into() }
}

fn retry(world: &mut World, number: u64) -> Result<RepairReply, RequestError> {
    world.repair(RepairRequest::Retry { which: Which::Letter(number), call: None, by: by() })
}

fn discard(world: &mut World, number: u64) -> Result<RepairReply, RequestError> {
    world.repair(RepairRequest::Discard { which: Which::Letter(number), by: by() })
}

fn letters(world: &mut World) -> Letters {
    let request = RepairRequest::DeadLetters { after: 0, limit: 100, settled_too: true };
    match world.repair(request).unwrap() {
        RepairReply::Letters(letters) => letters,
        other => panic!("the list was answered with {other:?}"),
    }
}

fn busy() -> Answer {
    Answer::Failed { failure: failure("busy"), retryable: true }
}

fn world() -> World {
    World::new(LIST, vec![worker("w1", &["echo"], 8)])
}

#[test]
fn what_used_up_its_attempts_or_losses_is_noted_with_the_reason_and_a_plain_error_is_not() {
    let mut world = world();
    world.start("held", "holds", "0");
    world.answer(busy());
    world.start("told", "tells", "0");
    world.answer(busy());
    world.answer(busy());
    world.start("lost", "answers", "0");
    world.answer(Answer::Panicked { message: "boom".into() });
    // One attempt was all that was asked for: its error is the answer.
    world.start("answer", "answers", "0");
    world.answer(busy());
    world.start("fatal", "tells", "0");
    world.answer(Answer::Failed { failure: failure("stolen"), retryable: false });
    let list = letters(&mut world);
    let told: Vec<_> = list
        .letters
        .iter()
        .map(|(number, entry)| {
            let letter = &entry.letter;
            (*number, letter.workflow_id.as_str(), letter.attempt, letter.cause, letter.held, letter.reason.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "held", 1, DeadCause::Attempts, true, "failed after 1: busy"),
            (2, "told", 2, DeadCause::Attempts, false, "failed after 2: busy"),
            (3, "lost", 1, DeadCause::Losses, false, "lost after 1: the activity panicked: boom"),
        ]
    );
    assert_eq!((list.held, list.told, list.dropped), (1, 2, 0));
    world.restart(None);
    assert_eq!(letters(&mut world), list, "a restart reads the same list");
}

#[test]
fn a_letter_is_retried_once_and_the_record_says_by_whom() {
    let mut world = world();
    world.start("a", "holds", "0");
    world.answer(busy());
    assert_eq!(retry(&mut world, 1).unwrap(), RepairReply::Done { changed: true });
    assert_eq!(retry(&mut world, 1).unwrap(), RepairReply::Done { changed: false });
    let error = discard(&mut world, 1).unwrap_err().to_string();
    assert_eq!(error, "dead letter 1 was retried by ann, so it cannot be settled otherwise any more [A0059]");
    assert_eq!(world.sent.len(), 1, "one new attempt");
    assert_eq!(
        world.entity_text(&EntityName::Audit),
        "run 1 Opened audit\nrun 2 Done dead-letter.retry a #1.1, letter 1 by ann: the bank is back"
    );
    // It fails once more: a letter of its own, that is given up.
    world.answer(busy());
    assert_eq!(discard(&mut world, 2).unwrap(), RepairReply::Done { changed: true });
    let segments = world.segments;
    assert_eq!(discard(&mut world, 2).unwrap(), RepairReply::Done { changed: false });
    assert_eq!(world.segments, segments, "the same word again writes nothing");
    assert!(world.text(1).ends_with("RunCompleted (\"failed after 2: busy\")"), "{}", world.text(1));
    assert!(matches!(retry(&mut world, 3), Err(RequestError::Repair(RepairError::NotHeld { .. }))));
}

#[test]
fn a_letter_whose_workflow_was_told_is_discarded_without_a_word_to_it() {
    let mut world = world();
    world.start("a", "tells", "0");
    world.answer(busy());
    world.answer(busy());
    let text = world.text(1);
    assert_eq!(discard(&mut world, 1).unwrap(), RepairReply::Done { changed: true });
    assert_eq!(world.text(1), text);
    let settled = letters(&mut world).letters[0].1.settled.clone().unwrap();
    assert_eq!((settled.how, settled.who.as_str()), (Settled::Discarded, "ann"));
}

#[test]
fn a_letter_whose_workflow_was_told_is_tried_again_as_a_run_of_its_own() {
    let mut world = world();
    world.start("a", "tells", "0");
    let first = world.sent[0].1.clone();
    world.answer(busy());
    world.answer(busy());
    let text = world.text(1);
    assert_eq!(retry(&mut world, 1).unwrap(), RepairReply::Done { changed: true });
    assert_eq!(retry(&mut world, 1).unwrap(), RepairReply::Done { changed: false });
    let again = world.sent[0].1.clone();
    assert_eq!((world.sent.len(), &again.call.input, &again.call.options), (1, &first.call.input, &first.call.options));
    assert_eq!(world.text(1), text, "the workflow that was told hears nothing more");
    world.complete("2");
    assert!(matches!(world.ended("a/dead-letter-1"), Some(Reply::Ended { outcome: RunOutcome::Completed { .. }, .. })));
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.ends_with("dead-letter.retry a/dead-letter-1, letter 1 by ann: the bank is back"), "{audit}");
}

#[test]
fn a_letter_of_a_run_that_left_memory_is_retried_once_it_is_back() {
    let mut world = world();
    world.start("a", "holds", "0");
    world.answer(busy());
    world.step(antiphon_engine::Input::Archived { through: world.segments });
    world.pass(10_000);
    assert!(!world.partition.has_run(antiphon_history::RunKey(1)));
    let run = world.partition.letter(1).unwrap().run;
    let history = world.history(run.0);
    world.load(&history);
    assert_eq!(retry(&mut world, 1).unwrap(), RepairReply::Done { changed: true });
    world.complete("2");
    assert!(world.text(1).ends_with("RunCompleted (\"completed (2)\")"));
}

#[test]
fn a_workflow_that_no_longer_waits_settles_its_letter() {
    let mut world = world();
    world.start("a", "holds", "0");
    world.answer(busy());
    world.signal("a", "enough", "1", None);
    let list = letters(&mut world);
    let settled = list.letters[0].1.settled.clone().unwrap();
    assert_eq!((list.held, settled.how, settled.who.as_str()), (0, Settled::Withdrawn, "engine"));
}
