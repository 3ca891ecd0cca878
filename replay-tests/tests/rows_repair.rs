//! What has gone wrong in other systems of this kind, one scenario each.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{By, Context, Input, RepairRequest, Reply, RequestError, RunFuture, Thresholds};
use antiphon_history::Payload;
use antiphon_replay_tests::world::*;

fn one(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

fn beating(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.heartbeat_ms = Some(1_000);
            options.retry.max_attempts = 2;
        });
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

fn racing(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        match first(context.activity(call("echo", "1")), context.signal("enough")).await {
            Ok(outcome) => done(&format!("\"{outcome}\"")),
            Err(_) => done("\"enough\""),
        }
    })
}

const LIST: &[(&str, Begin)] = &[("one", one), ("beating", beating), ("racing", racing)];

fn reconcile(world: &mut World) {
    let by = By { who: "ann".into(), why: String::new() };
    let request = RepairRequest::Reconcile { thresholds: Thresholds::default(), dry_run: false, by };
    world.repair(request).unwrap();
}

#[test]
fn d_x8_a_leg_of_a_run_that_has_ended_is_never_sent_again() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "racing", "0");
    world.sent.clear();
    world.signal("a", "enough", "1", None);
    let text = world.text(1);
    world.restart(None);
    world.pass(3_600_000);
    reconcile(&mut world);
    world.step(Input::WorkerJoined(worker("w2", &["echo"], 1)));
    assert!(world.sent.is_empty());
    assert_eq!(world.text(1), text);
}

#[test]
fn d_x8_what_the_infrastructure_refuses_costs_no_attempt_and_ends_nothing() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    // The call has one attempt. A worker that dies, one that stops and an engine that restarts are none of it.
    world.step(Input::WorkerLeft { name: "w1".into() });
    world.step(Input::WorkerJoined(worker("w1", &["echo"], 1)));
    world.pass(1_000);
    world.sent.remove(0);
    world.answer(Answer::Stopped);
    world.pass(2_000);
    world.restart(None);
    world.complete("\"hello\"");
    let text = world.text(1);
    assert!(text.contains("#1.1 4 Exited leg=1 the worker left"), "{text}");
    assert!(text.ends_with("RunCompleted (\"completed (\"hello\")\")") && !text.contains("#1.2"), "{text}");
}

#[test]
fn d_x8_a_second_start_of_the_same_id_neither_moves_the_token_nor_wedges_the_call() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    let text = world.text(1);
    assert!(matches!(world.start("a", "one", "0"), Reply::Started { existing: true, .. }));
    assert!(matches!(world.start("a", "one", "1"), Reply::Refused(RequestError::Conflict { .. })));
    assert_eq!((world.text(1), world.sent.len()), (text, 1));
    world.complete("\"hello\"");
    assert_eq!(world.partition.stats().stale_answers, 0, "the token of the first is the one that counts");
    assert!(world.text(1).ends_with("RunCompleted (\"completed (\"hello\")\")"));
}

#[test]
fn d_x8_a_worker_that_is_busy_and_silent_stays_and_its_answer_counts() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    world.pass(299_999);
    reconcile(&mut world);
    world.step(Input::WorkerJoined(worker("w2", &["echo"], 1)));
    world.step(Input::WorkerLeft { name: "w2".into() });
    assert_eq!(world.partition.workers().len(), 1);
    world.complete("\"hello\"");
    let text = world.text(1);
    assert!(text.ends_with("RunCompleted (\"completed (\"hello\")\")") && !text.contains("Exited"), "{text}");
}

#[test]
fn d_x8_a_heartbeat_that_lapses_on_a_live_worker_ends_the_attempt_by_itself() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 2)]);
    world.start("a", "beating", "0");
    world.pass(1_000);
    assert!(world.text(1).contains("#1.1 5 Exited leg=1 heartbeat passed\n#1.1 6 Closed timed out"));
    world.pass(1_000);
    assert_eq!(world.sent.last().unwrap().1.conversation.attempt, 2, "nobody had to look for it");
    world.pass(1_000);
    assert!(world.text(1).contains("ActivityResolved #1 timed out (heartbeat) after 2"), "{}", world.text(1));
}

#[test]
fn d_x8_an_answer_whose_segment_failed_is_asked_for_again_and_counts_once() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    let request = world.sent[0].1.clone();
    let answer = Answer::Completed { result: vec![json("\"hello\"")] };
    let (conversation, leg, token) = (request.conversation, request.leg, request.token);
    let input = Input::Answered { conversation, leg, token, answer: answer.clone() };
    // The engine took the answer, and the commit failed: what it decided on is dropped with it.
    world.partition.step(input, antiphon_history::Timestamp(world.now));
    world.restart(None);
    assert_eq!(world.sent[0].1.idempotency_key(), request.idempotency_key());
    world.answer_to(&request, answer.clone());
    assert_eq!(world.partition.stats().stale_answers, 1, "the leg of the engine before is over");
    world.answer(answer);
    let text = world.text(1);
    assert_eq!((text.matches("Received").count(), text.matches("ActivityResolved").count()), (1, 1), "{text}");
}

#[test]
fn d_x8_a_reply_that_was_lost_on_the_way_is_asked_for_again() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    let lost = world.sent.remove(0).1;
    world.pass(300_000);
    reconcile(&mut world);
    world.pass(1_000);
    let again = world.sent[0].1.clone();
    assert_eq!((lost.leg, again.leg, lost.idempotency_key()), (1, 2, again.idempotency_key()));
    world.complete("\"hello\"");
    assert!(world.text(1).ends_with("RunCompleted (\"completed (\"hello\")\")"), "{}", world.text(1));
}
