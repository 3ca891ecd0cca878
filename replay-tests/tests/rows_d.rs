//! The recorded conversation: membership and foreign answers. The other rows of D stand where they were first built; the
//! table in `docs/dispatch.md` says where.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{Fence, Input, LegRef, WorkersError};
use antiphon_replay_tests::world::{Begin, World, call, done, json, with, worker};

/// Two activities, one after the other.
const TWO: (&str, Begin) = ("two", |context, _| {
    Box::pin(async move {
        context.activity(call("work", "1")).await;
        context.activity(call("work", "2")).await;
        done("1")
    })
});

#[test]
fn d_t9_who_joins_or_leaves_changes_the_next_choice_only() {
    let mut world = World::new(&[TWO], vec![worker("w2", &["work"], 1)]);
    world.start("r", "two", "0");
    world.start("s", "two", "0");
    assert_eq!(world.sent.len(), 1, "one place, one request");
    world.step(Input::WorkerJoined(worker("w1", &["work"], 1)));
    assert_eq!(world.sent.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["w2", "w1"]);
    let before = world.text(1);
    // Another joins and leaves again: what is under way goes on where it is.
    world.step(Input::WorkerJoined(worker("w0", &["work"], 1)));
    world.step(Input::WorkerLeft { name: "w0".into() });
    assert_eq!((world.text(1), world.cancelled.len()), (before, 0));
    world.complete("1");
    assert_eq!(world.sent[1].0, "w2", "the next choice is among those that are there now");
    world.step(Input::WorkerLeft { name: "w1".into() });
    assert!(world.text(2).contains("Exited leg=1 the worker left"), "{}", world.text(2));
    assert!(!world.text(1).contains("Exited"), "{}", world.text(1));
}

#[test]
fn d_t10_an_answer_of_anybody_but_the_present_worker_is_counted_and_ignored() {
    let mut world = World::new(&[TWO], vec![worker("w1", &["work"], 1)]);
    world.start("r", "two", "0");
    let (_, lost) = world.sent.remove(0);
    world.step(Input::WorkerLeft { name: "w1".into() });
    world.step(Input::WorkerJoined(worker("w2", &["work"], 1)));
    world.pass(60_000);
    assert_eq!(world.sent[0].0, "w2");
    let before = world.text(1);
    world.answer_to(&lost, Answer::Completed { result: vec![json("1")] });
    assert_eq!((world.text(1), world.partition.stats().stale_answers), (before, 1));

    // The same of a worker that asks: another may not answer for it, whatever it knows.
    let mut world = World::new(&[TWO], vec![]);
    world.puller("a", &["work"], 1);
    world.puller("b", &["work"], 1);
    world.start("r", "two", "0");
    let claim = world.claim_one("a", 1_000);
    let before = world.text(1);
    let refused = world.complete_claim(LegRef { worker: "b".into(), ..claim.leg() }, "1");
    assert!(matches!(refused, Err(WorkersError::Fenced { fence: Fence::Foreign, .. })), "{refused:?}");
    assert_eq!((world.text(1), world.partition.stats().fenced), (before, 1));
}

/// One activity that may take five seconds.
const TIMED: (&str, Begin) = ("timed", |context, _| {
    Box::pin(async move {
        let outcome = context.activity(with("work", "1", |options| options.start_to_close_ms = Some(5_000))).await;
        done(&format!("{outcome:?}"))
    })
});

#[test]
fn d_t11_start_to_close_passes_though_the_process_was_restarted_in_between() {
    let mut world = World::new(&[TIMED], vec![]);
    world.puller("a", &["work"], 1);
    world.start("r", "timed", "0");
    // The lease is far longer than the deadline, and outlives the engine.
    let claim = world.claim_one("a", 3_600_000);
    world.pass(4_000);
    world.restart(None);
    world.pass(999);
    assert!(!world.text(1).contains("Exited"), "{}", world.text(1));
    world.pass(1);
    assert!(world.text(1).contains("Exited leg=1 start-to-close passed"), "{}", world.text(1));
    assert!(world.text(1).contains("ActivityResolved #1 timed out (start-to-close) after 1"), "{}", world.text(1));
    let before = world.text(1);
    assert!(world.complete_claim(claim.leg(), "1").is_err(), "it comes too late");
    assert_eq!(world.text(1), before);
}
