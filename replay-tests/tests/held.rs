//! Calls that are held when their attempts or losses are used up, until somebody retries or discards them.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    By, Context, Input, RepairError, RepairReply, RepairRequest, RequestError, RunFuture, Which, replay, replay_prefix,
};
use antiphon_history::{Ordinal, Payload, RetryPolicy};
use antiphon_replay_tests::world::*;

fn holding(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.hold = true;
            options.max_losses = 1;
            options.start_to_close_ms = Some(1_000);
            options.schedule_to_close_ms = Some(5_000);
            options.retry = RetryPolicy { max_attempts: 2, initial_ms: 100, ..RetryPolicy::default() };
        });
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

fn impatient(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| options.hold = true);
        match first(context.activity(call), context.signal("enough")).await {
            Ok(outcome) => done(&format!("\"{outcome}\"")),
            Err(_) => done("\"enough\""),
        }
    })
}

const LIST: &[(&str, Begin)] = &[("holding", holding), ("impatient", impatient)];

fn which(ordinal: u32) -> Which {
    Which::Activity { target: target("a"), ordinal: Ordinal(ordinal) }
}

fn by() -> By {
    By { who: "ann".into(), why: "the bank is back".into() }
}

fn retry(world: &mut World) -> Result<RepairReply, RequestError> {
    world.repair(RepairRequest::Retry { which: which(1), call: None, by: by() })
}

fn discard(world: &mut World) -> Result<RepairReply, RequestError> {
    world.repair(RepairRequest::Discard { which: which(1), by: by() })
}

fn busy() -> Answer {
    Answer::Failed { failure: failure("busy"), retryable: true }
}

/// A world whose only activity has failed as often as it may.
fn world_with_a_held_call() -> World {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "holding", "0");
    world.answer(busy());
    world.pass(100);
    world.answer(busy());
    world
}

#[test]
fn attempts_used_up_hold_the_call_without_a_deadline_and_the_workflow_hears_nothing() {
    let mut world = world_with_a_held_call();
    let text = world.text(1);
    assert!(text.ends_with("#1.2 4 Received leg=1 failed: busy\n#1.2 5 Held failed after 2: busy"), "{text}");
    world.pass(100_000);
    assert_eq!(world.text(1), text, "nothing moves it but somebody's word");
    assert!(world.ended("a").is_none() && world.sent.is_empty());
}

#[test]
fn a_retry_opens_the_next_attempt_with_fresh_attempts_losses_and_time() {
    let mut world = world_with_a_held_call();
    world.pass(100_000);
    assert_eq!(retry(&mut world).unwrap(), RepairReply::Done { changed: true });
    assert_eq!(retry(&mut world).unwrap(), RepairReply::Done { changed: false }, "the same word again changes nothing");
    let text = world.text(1);
    assert!(text.contains("#1.2 6 Closed failed\n#1.3 1 Scheduled echo queue=default"), "{text}");
    // The overall time begins anew, or its deadline would have ended the call at once.
    world.pass(999);
    world.answer(busy());
    world.pass(100);
    assert_eq!(world.sent[0].1.conversation.attempt, 4, "two more attempts, as the policy says");
    world.complete("2");
    assert!(world.text(1).ends_with("run 3 ActivityResolved #1 completed (2)\nrun 4 RunCompleted (\"completed (2)\")"));
    assert!(matches!(retry(&mut world), Err(RequestError::Repair(RepairError::NotHeld { .. }))));
}

#[test]
fn a_discard_gives_the_workflow_the_recorded_error() {
    let mut world = world_with_a_held_call();
    assert_eq!(discard(&mut world).unwrap(), RepairReply::Done { changed: true });
    let text = world.text(1);
    assert!(
        text.ends_with(
            "#1.2 6 Closed failed\nrun 3 ActivityResolved #1 failed after 2: busy\n\
             run 4 RunCompleted (\"failed after 2: busy\")"
        ),
        "{text}"
    );
    assert!(matches!(discard(&mut world), Err(RequestError::Repair(RepairError::NotHeld { .. }))));
    assert_eq!(world.text(1), text);
}

#[test]
fn losses_and_timeouts_that_are_used_up_hold_as_well_and_a_fatal_error_does_not() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 4)]);
    world.start("a", "holding", "0");
    world.answer(Answer::Panicked { message: "boom".into() });
    world.pass(100);
    world.answer(Answer::Panicked { message: "boom".into() });
    assert!(world.text(1).ends_with("Held lost after 2: the activity panicked: boom"), "{}", world.text(1));

    world.start("b", "holding", "0");
    world.pass(1_000 + 100 + 1_000);
    assert!(world.text(2).ends_with("Held timed out (start-to-close) after 2"), "{}", world.text(2));

    world.start("c", "holding", "0");
    let mine = world.sent.iter().position(|(_, request)| request.conversation.run.0 == 3);
    let mine = world.sent.remove(mine.unwrap()).1;
    world.answer_to(&mine, Answer::Failed { failure: failure("stolen"), retryable: false });
    assert!(world.text(3).contains("ActivityResolved #1 failed after 1: stolen"), "{}", world.text(3));
}

#[test]
fn a_held_call_survives_restart_eviction_and_replay() {
    let mut world = world_with_a_held_call();
    let text = world.text(1);
    world.restart(None);
    assert_eq!(world.text(1), text, "a restart writes nothing for it");
    world.step(Input::Archived { through: world.segments });
    world.pass(10_000);
    assert_eq!(world.partition.stats().live_runs, 0, "a run that waits for a person leaves memory");
    let history = world.history(1);
    world.load(&history);
    assert_eq!(retry(&mut world).unwrap(), RepairReply::Done { changed: true });
    world.restart(None);
    world.pass(100);
    assert_eq!(world.sent[0].1.conversation.attempt, 3);
    world.complete("2");
    assert!(world.text(1).ends_with("RunCompleted (\"completed (2)\")"), "{}", world.text(1));
    let history = world.history(1);
    let whole = replay(&programs(LIST), &history).unwrap();
    assert!(whole.stopped.is_none(), "{whole:?}");
    for events in 1..=whole.events {
        assert!(replay_prefix(&programs(LIST), &history, events).unwrap().stopped.is_none());
    }
}

#[test]
fn a_workflow_that_no_longer_waits_withdraws_what_is_held() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "impatient", "0");
    world.answer(busy());
    assert!(world.text(1).ends_with("Held failed after 1: busy"), "{}", world.text(1));
    world.signal("a", "enough", "1", None);
    assert!(world.text(1).contains("#1.1 6 Closed cancelled"), "{}", world.text(1));
    assert!(world.text(1).contains("RunCompleted (\"enough\")"), "{}", world.text(1));
    assert!(matches!(retry(&mut world), Err(RequestError::Repair(RepairError::NotHeld { .. }))));
}
