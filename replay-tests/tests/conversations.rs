//! What one activity leaves on record, from the first word to the last.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{Context, Input, RunFuture};
use antiphon_history::{ActivityOutcome, Payload, RetryPolicy};
use antiphon_replay_tests::world::*;

fn one(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

fn retrying(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.retry = RetryPolicy { max_attempts: 3, initial_ms: 100, ..RetryPolicy::default() };
            options.start_to_close_ms = Some(1_000);
            options.heartbeat_ms = Some(400);
        });
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

#[test]
fn a_success_reads_scheduled_selected_sent_received_closed_and_costs_two_segments() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 4)]);
    world.start("a", "one", "0");
    assert_eq!(world.segments, 1, "start, schedule and send travel together");
    world.complete("\"hello\"");
    assert_eq!(world.segments, 2, "answer and end travel together");
    assert_eq!(
        world.text(1),
        "run 1 RunStarted one v1 (0)\n\
         run 2 ActivityScheduled #1 echo(1) at flow.rs:4\n\
         #1.1 1 Scheduled echo queue=default\n\
         #1.1 2 WorkerSelected leg=1 worker=w1 (the only one)\n\
         #1.1 3 Sent leg=1\n\
         #1.1 4 Received leg=1 completed 7 bytes 84f357dd5f8d\n\
         #1.1 5 Closed completed\n\
         run 3 ActivityResolved #1 completed (\"hello\")\n\
         run 4 RunCompleted (\"completed (\"hello\")\")"
    );
}

#[test]
fn a_sequence_costs_one_segment_per_activity() {
    fn seq(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            for _ in 0..10 {
                context.activity(call("echo", "1")).await;
            }
            done("0")
        })
    }
    let mut world = World::new(&[("seq", seq)], vec![worker("w1", &["echo"], 4)]);
    world.start("a", "seq", "0");
    for _ in 0..10 {
        world.complete("1");
    }
    assert_eq!(world.segments, 11);
    assert!(world.ended("a").is_some());
}

#[test]
fn a_worker_that_died_is_on_record_with_its_cause_and_left_out_of_the_next_leg() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1), worker("w2", &["echo"], 1)]);
    world.start("a", "one", "0");
    let how = "signal 9 (SIGKILL)";
    world.step(Input::WorkerDied { name: "w1".into(), how: how.into() });
    assert_eq!(world.sent[1].0, "w2");
    assert!(world.text(1).contains("Exited leg=1 the worker died: signal 9 (SIGKILL)"), "{}", world.text(1));
    world.step(Input::WorkerJoined(worker("w1", &["echo"], 1)));
    world.step(Input::WorkerDied { name: "w2".into(), how: "x".repeat(5_000) });
    world.pass(60_000);
    assert_eq!(world.sent[2].0, "w1", "all that could take it are left out: it goes to one of them");
    assert!(world.text(1).len() < 6_000, "the cause is cut");
}

#[test]
fn a_lost_worker_ends_the_leg_and_another_takes_the_same_request() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1), worker("w2", &["echo"], 1)]);
    world.start("a", "one", "0");
    let (first, request) = world.sent.remove(0);
    assert_eq!(first, "w1");
    world.step(Input::WorkerLeft { name: "w1".into() });
    let (second, again) = world.sent[0].clone();
    assert_eq!(second, "w2");
    assert_eq!(
        (request.conversation, 2, request.call.input.clone()),
        (again.conversation, again.leg, again.call.input.clone())
    );
    assert_eq!(request.idempotency_key(), again.idempotency_key());
    world.answer_to(&request, Answer::Completed { result: vec![json("\"late\"")] });
    assert_eq!(world.partition.stats().stale_answers, 1, "the lost leg's answer changes nothing");
    world.complete("\"hello\"");
    let text = world.text(1);
    assert!(text.contains("#1.1 4 Exited leg=1 the worker left"), "{text}");
    assert!(text.contains("(\"completed (\"hello\")\")"), "{text}");
}

// Found by random lives: the legs of the earlier one were forgotten, and waited for ever.
#[test]
fn a_worker_that_joins_again_under_its_name_has_lost_what_it_had() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    world.step(Input::WorkerJoined(worker("w1", &["echo"], 1)));
    assert!(world.text(1).contains("Exited leg=1 the worker left"), "{}", world.text(1));
    world.sent.remove(0);
    world.pass(1_000);
    assert_eq!(world.sent[0].1.leg, 2, "the request goes out again");
}

#[test]
fn a_panic_moves_to_another_worker_and_the_record_says_who_was_left_out() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1), worker("w2", &["echo"], 1)]);
    world.start("a", "one", "0");
    world.answer(Answer::Panicked { message: "boom".into() });
    assert_eq!(world.sent[0].0, "w2");
    let text = world.text(1);
    assert!(text.contains("Exited leg=1 the activity panicked: boom"), "{text}");
    assert!(
        text.contains(
            "WorkerSelected leg=2 worker=w2 policy=least_loaded candidates=2 free=1 left_out=w1:lost an earlier leg"
        ),
        "{text}"
    );
}

#[test]
fn a_body_that_kills_its_only_worker_waits_between_legs_and_ends_as_lost() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    for leg in 1..=6 {
        assert_eq!(world.sent.len(), 1, "leg {leg} was sent");
        world.answer(Answer::Panicked { message: "boom".into() });
        assert!(world.sent.is_empty(), "no new leg at once");
        world.pass(60_000);
    }
    assert!(
        world.text(1).contains("ActivityResolved #1 lost after 6: the activity panicked: boom"),
        "{}",
        world.text(1)
    );
}

#[test]
fn a_failure_is_tried_again_in_a_new_conversation_after_its_backoff() {
    let mut world = World::new(&[("r", retrying)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "r", "0");
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    assert!(world.sent.is_empty());
    world.pass(99);
    assert!(world.sent.is_empty(), "not before the backoff is over");
    world.pass(1);
    assert_eq!(world.sent[0].1.conversation.attempt, 2);
    world.complete("7");
    let text = world.text(1);
    assert!(text.contains("#1.1 4 Received leg=1 failed: busy\n#1.1 5 Closed failed\n#1.2 1 Scheduled"), "{text}");
    assert!(text.contains("ActivityResolved #1 completed (7)"), "{text}");
}

#[test]
fn an_error_that_is_final_is_not_tried_again() {
    let mut world = World::new(&[("r", retrying)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "r", "0");
    world.answer(Answer::Failed { failure: failure("card stolen"), retryable: false });
    assert!(world.text(1).contains("ActivityResolved #1 failed after 1: card stolen"), "{}", world.text(1));
}

#[test]
fn a_running_leg_that_passes_its_deadline_is_told_to_stop_and_the_next_attempt_goes_out() {
    let mut world = World::new(&[("r", retrying)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "r", "0");
    let request = world.sent.remove(0).1;
    for _ in 0..3 {
        world.pass(300);
        let (conversation, leg, token) = (request.conversation, request.leg, request.token);
        world.step(Input::Heartbeat { conversation, leg, token, details: Some(json("\"half\"")) });
    }
    world.pass(100);
    assert_eq!(world.cancelled, [("w1".to_owned(), 1)], "heartbeats do not move start-to-close");
    world.pass(100);
    assert!(world.sent.is_empty(), "the only worker still holds the place of the body that was told to stop");
    world.answer_to(&request, Answer::Stopped);
    assert_eq!(world.sent[0].1.conversation.attempt, 2);
    assert!(world.text(1).contains("Exited leg=1 start-to-close passed progress=\"half\""), "{}", world.text(1));
    assert_eq!(world.partition.stats().stale_answers, 0);
}

#[test]
fn silence_beyond_the_heartbeat_limit_ends_the_leg() {
    let mut world = World::new(&[("r", retrying)], vec![worker("w1", &["echo"], 2)]);
    world.start("a", "r", "0");
    world.pass(399);
    assert!(world.cancelled.is_empty());
    world.pass(1);
    assert!(world.text(1).contains("Exited leg=1 heartbeat passed"), "{}", world.text(1));
}

#[test]
fn an_attempt_that_no_worker_takes_in_time_is_not_tried_again() {
    fn waiting(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let call = with("echo", "1", |options| options.schedule_to_start_ms = Some(500));
            done(&format!("\"{}\"", context.activity(call).await))
        })
    }
    let mut world = World::new(&[("w", waiting)], vec![]);
    world.start("a", "w", "0");
    world.pass(500);
    let text = world.text(1);
    assert!(text.contains("#1.1 2 NoWorker no worker subscribes to task queue \"default\""), "{text}");
    assert!(text.contains("ActivityResolved #1 timed out (schedule-to-start) after 1"), "{text}");
}

#[test]
fn the_overall_deadline_covers_attempts_and_waits_together() {
    fn total(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let call = with("echo", "1", |options| {
                options.schedule_to_close_ms = Some(1_000);
                options.retry = RetryPolicy { max_attempts: 9, initial_ms: 400, factor_percent: 100, max_ms: 400 };
            });
            done(&format!("\"{}\"", context.activity(call).await))
        })
    }
    let mut world = World::new(&[("t", total)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "t", "0");
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    world.pass(400);
    assert_eq!(world.sent.len(), 1, "the second attempt is out");
    world.pass(600);
    assert!(world.text(1).contains("timed out (schedule-to-close) after 2"), "{}", world.text(1));
}

#[test]
fn a_call_that_fails_fast_learns_at_once_that_nobody_can_take_it() {
    fn fast(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let call = with("echo", "1", |options| {
                options.fail_fast = true;
                options.needs = vec!["gpu".into()];
            });
            match context.activity(call).await {
                ActivityOutcome::NoWorker { reason } => done(&format!("\"{reason}\"")),
                other => done(&format!("\"{other}\"")),
            }
        })
    }
    let mut world = World::new(&[("f", fast)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "f", "0");
    assert!(world.text(1).contains("has all of the labels gpu"), "{}", world.text(1));
    assert!(world.ended("a").is_some());
}

#[test]
fn an_activity_that_may_run_only_once_ends_as_lost_with_its_first_leg() {
    fn once(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let call = with("echo", "1", |options| options.at_most_once = true);
            done(&format!("\"{}\"", context.activity(call).await))
        })
    }
    let mut world = World::new(&[("o", once)], vec![worker("w1", &["echo"], 1), worker("w2", &["echo"], 1)]);
    world.start("a", "o", "0");
    world.restart(None);
    assert!(world.sent.is_empty(), "the body is never sent twice");
    assert!(world.text(1).contains("ActivityResolved #1 lost after 1: the engine restarted"), "{}", world.text(1));
}

#[test]
fn wrong_tokens_legs_attempts_and_second_answers_change_nothing_and_are_counted() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    let request = world.sent.remove(0).1;
    let before = world.text(1);
    let answer = || Answer::Completed { result: vec![json("\"forged\"")] };
    for bit in 0..128 {
        let mut token = request.token;
        token.0[bit / 8] ^= 1 << (bit % 8);
        let (conversation, leg) = (request.conversation, request.leg);
        world.step(Input::Answered { conversation, leg, token, answer: answer() });
        assert_eq!(world.text(1), before);
    }
    assert_eq!(world.partition.stats().stale_answers, 128);
    assert_eq!(world.partition.workers()[0].in_flight, 1, "a forged answer does not free the worker's place");
    world.answer_to(&request, Answer::Completed { result: vec![json("1")] });
    let ended = world.text(1);
    world.answer_to(&request, answer());
    assert_eq!(world.text(1), ended);
    assert_eq!(world.partition.stats().stale_answers, 129);
}

#[test]
fn a_result_over_the_limit_fails_the_activity_and_names_the_limit() {
    let mut world = World::new(&[("r", retrying)], vec![worker("w1", &["echo"], 1)]);
    world.start("a", "r", "0");
    world.answer(Answer::Completed { result: vec![Payload::binary(vec![0; 2 * 1024 * 1024 + 1])] });
    assert!(world.text(1).contains("ActivityResolved #1 failed after 1: the activity returned 2097153 bytes"));
}

#[test]
fn a_full_worker_makes_attempts_wait_their_turn_oldest_first() {
    let mut world = World::new(&[("one", one)], vec![worker("w1", &["echo"], 2)]);
    for id in ["a", "b", "c", "d"] {
        world.start(id, "one", "0");
    }
    assert_eq!(world.sent.len(), 2);
    world.complete("1");
    let runs: Vec<u64> = world.sent.iter().map(|(_, request)| request.conversation.run.0).collect();
    assert_eq!(runs, [2, 3]);
}
