//! What the simulation found, each in the fewest steps that show it.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::router::RoutingRequest;
use antiphon_engine::{
    By, Context, Input, QueuesRequest, RepairReply, RepairRequest, Reply, RunFuture, Which, replay, replay_prefix,
};
use antiphon_history::{Payload, QueueSettings, RetryPolicy, RouteRequest};
use antiphon_replay_tests::world::*;
use std::pin::pin;

fn fragile(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(with("echo", "1", |options| options.max_losses = 0)).await;
        done("\"over\"")
    })
}

fn diverged(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("other", "1")).await;
        done("\"over\"")
    })
}

/// The block was recorded behind the outcome that the restart itself gave, and said that nothing was held back; so mended
/// code met a record that lacked its answer, and the run stayed blocked for ever.
#[test]
fn a_run_whose_leg_is_lost_at_the_start_of_broken_code_goes_on_with_mended_code() {
    let mut world = World::new(&[("w", fragile)], vec![worker("w0", &["echo"], 1)]);
    world.start("a", "w", "1");
    world.restart(Some(&[("w", diverged)]));
    let text = world.text(1);
    assert!(text.find("Blocked diverged").unwrap() < text.find("ActivityResolved #1 lost").unwrap(), "{text}");
    world.restart(Some(&[("w", fragile)]));
    assert!(matches!(world.ended("a"), Some(Reply::Ended { .. })), "{}", world.text(1));
    assert_eq!(replay(&programs(&[("w", fragile)]), &world.history(1)).unwrap().stopped, None);
}

fn hears(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let mut fragile = pin!(context.activity(with("echo", "1", |options| options.max_losses = 0)));
        if first(&mut fragile, context.signal("go")).await.is_err() {
            context.activity(call("echo", "2")).await;
            fragile.await;
        }
        done("\"heard\"")
    })
}

fn cannot_hear(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let fragile = pin!(context.activity(with("echo", "1", |options| options.max_losses = 0)));
        if first(fragile, context.signal("go")).await.is_err() {
            panic!("cannot hear");
        }
        done("\"deaf\"")
    })
}

/// What was held back stood behind the outcome that the restart itself gave, although the code had taken it in before.
#[test]
fn what_a_block_held_back_is_taken_in_before_the_legs_that_the_restart_lost() {
    let mut world = World::new(&[("w", cannot_hear)], vec![worker("w0", &["echo"], 1)]);
    world.start("a", "w", "1");
    world.signal("a", "go", "1", None);
    assert!(world.text(1).contains("Blocked panicked"), "{}", world.text(1));
    world.restart(Some(&[("w", hears)]));
    let text = world.text(1);
    assert!(text.find("Unblocked").unwrap() < text.find("ActivityResolved #1 lost").unwrap(), "{text}");
    world.complete("2");
    assert!(matches!(world.ended("a"), Some(Reply::Ended { .. })), "{}", world.text(1));
    assert_eq!(replay(&programs(&[("w", hears)]), &world.history(1)).unwrap().stopped, None);
}

fn changes_its_mind(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = context.activity(with("echo", "1", |options| options.fail_fast = true));
        let _ = first(call, std::future::ready(())).await;
        done("\"nothing\"")
    })
}

/// The call was to fail fast and nobody could take it, so it got an outcome although it was withdrawn: an anomaly.
#[test]
fn a_call_that_is_dropped_in_its_own_turn_closes_as_cancelled_although_nobody_could_take_it() {
    let mut world = World::new(&[("w", changes_its_mind)], vec![]);
    world.start("a", "w", "1");
    let expected = ["RunStarted", "ActivityScheduled", "ActivityCancelled", "RunCompleted", "Scheduled", "Closed"];
    assert_eq!(names(&world.text(1)), expected);
    world.step(Input::Tick);
    assert!(world.text(1).ends_with("Closed cancelled"), "{}", world.text(1));
}

fn calls_either(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let fast = context.activity(with("echo", "1", |options| options.fail_fast = true));
        let _ = first(fast, context.activity(call("echo", "2"))).await;
        done("\"either\"")
    })
}

/// The first call's outcome came before the second one's conversation was opened, which then was closed before it began,
/// opened behind the end of its run, and never closed.
#[test]
fn calls_that_fail_fast_are_refused_only_when_all_calls_of_the_turn_are_open() {
    let mut world = World::new(&[("w", calls_either)], vec![]);
    world.start("a", "w", "1");
    let text = world.text(1);
    assert!(text.contains("#2.1 2 Closed cancelled"), "{text}");
    assert_eq!(world.history(1).row().unwrap().open_conversations, 0, "{text}");
}

fn draws_or_calls(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let _ = first(context.side_effect(|| json("7"), site()), context.activity(call("echo", "1"))).await;
        done("\"drawn\"")
    })
}

/// Behind a cut before a side effect the rest of the turn depends on a value that replay must not take. What the code went
/// on to ask without it was returned, although the record says otherwise.
#[test]
fn a_prefix_that_ends_before_a_side_effect_guesses_nothing() {
    let mut world = World::new(&[("w", draws_or_calls)], vec![]);
    world.start("a", "w", "1");
    let replayed = replay_prefix(&programs(&[("w", draws_or_calls)]), &world.history(1), 1).unwrap();
    assert_eq!((replayed.stopped, replayed.beyond), (None, vec![]));
}

const BEATING: (&str, Begin) = ("beating", |context, _| {
    Box::pin(async move {
        let call = with("work", "7", |options| {
            options.heartbeat_ms = Some(3_000);
            options.retry = RetryPolicy { max_attempts: 3, initial_ms: 900, ..RetryPolicy::default() };
        });
        done(&format!("{:?}", context.activity(call).await))
    })
});

/// A leg whose lease had ended stood in line when its heartbeat was missed, and the next attempt took its place there.
#[test]
fn an_attempt_after_a_leg_whose_lease_had_ended_keeps_its_wait() {
    let mut world = World::new(&[BEATING], vec![]);
    world.puller("a", &["work"], 1);
    world.start("x", "beating", "0");
    world.claim_one("a", 40);
    world.pass(3_000);
    world.puller("b", &["work"], 1);
    assert_eq!(world.claim_as("b", 1, 1_000), Ok(Vec::new()));
    world.pass(899);
    assert_eq!(world.claim_as("b", 1, 1_000), Ok(Vec::new()));
    world.pass(1);
    assert_eq!(world.claim_one("b", 1_000).request.conversation.attempt, 2);
}

fn of_one_key(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.limit_key = "alice".to_owned();
            options.hold = true;
            options.start_to_close_ms = Some(1_000);
            options.retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
        });
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

/// One at a time of each limit key.
fn world_of_one_key() -> World {
    let mut world = World::new(&[("w", of_one_key)], vec![worker("w1", &["echo"], 8)]);
    let settings = QueueSettings { per_key_max: Some(1), ..QueueSettings::default() };
    let (queue, settings) = ("default".into(), Box::new(settings));
    world.queues(QueuesRequest::Set { queue, settings, by: By::default() }).unwrap();
    world
}

fn retry(world: &mut World, letter: u64) {
    let request = RepairRequest::Retry { which: Which::Letter(letter), call: None, by: By::default() };
    assert_eq!(world.repair(request), Ok(RepairReply::Done { changed: true }));
}

fn out(world: &World) -> Vec<u64> {
    world.sent.iter().map(|(_, request)| request.conversation.run.0).collect()
}

/// A start took every attempt but the first for one that is under way, and gave it the key that another had.
#[test]
fn a_held_call_that_was_retried_and_waits_for_its_limit_key_waits_on_after_a_restart() {
    let mut world = world_of_one_key();
    world.start("a", "w", "1");
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    world.start("b", "w", "1");
    retry(&mut world, 1);
    assert_eq!(out(&world), [2], "the key is the other's");
    world.restart(None);
    assert_eq!(out(&world), [2], "and stays so");
    world.complete("2");
    assert_eq!(out(&world), [1]);
}

/// The body that was told to stop kept the key for its call, and the retry took that for its own turn.
#[test]
fn a_held_call_that_was_retried_waits_for_its_limit_key_while_its_own_old_body_runs() {
    let mut world = world_of_one_key();
    world.start("a", "w", "1");
    world.pass(1_000);
    assert!(world.text(1).ends_with("Held timed out (start-to-close) after 1"), "{}", world.text(1));
    let old = world.sent[0].1.clone();
    retry(&mut world, 1);
    assert!(world.text(1).ends_with("#1.2 1 Scheduled echo queue=default"), "{}", world.text(1));
    world.answer_to(&old, Answer::Stopped);
    assert!(world.text(1).ends_with("#1.2 3 Sent leg=1"), "{}", world.text(1));
}

fn asks_once(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

/// That nobody may have it was to be noted in the middle of a leg, where it cannot follow.
#[test]
fn a_leg_whose_lease_has_ended_waits_for_its_worker_where_the_route_lets_nobody_take_its_place() {
    let mut world = World::new(&[("w", asks_once)], vec![worker("b", &["echo"], 1)]);
    let without = |world: &mut World, names: &[&str]| {
        let excluded = names.iter().map(|name| (*name).into()).collect();
        let route = Some(RouteRequest { excluded, ..RouteRequest::default() });
        let request = RoutingRequest::Default { queue: "default".into(), route, by: By::default() };
        world.ask(|to| Input::Routing(Box::new(request), to));
    };
    without(&mut world, &["b"]);
    world.puller("a", &["echo"], 1);
    world.start("r", "w", "1");
    let claim = world.claim_as("a", 1, 1_000).unwrap().remove(0);
    without(&mut world, &["a", "b"]);
    world.pass(1_000);
    assert!(world.text(1).ends_with("Sent leg=1"), "{}", world.text(1));
    world.complete_claim(claim.leg(), "7").unwrap();
    assert!(matches!(world.ended("r"), Some(Reply::Ended { .. })), "{}", world.text(1));
}
