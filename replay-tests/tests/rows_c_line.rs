//! The order of waiting work and its limits, as an operator and the dump see them: the rows of the dispatch queue that are
//! about the line.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    By, Context, IdReuse, Input, QueueView, QueuesReply, QueuesRequest, ReplyTo, RunFuture, StartRequest,
};
use antiphon_history::{
    ActivityCall, ActivityOptions, EntityName, Payload, QueueRate, QueueSettings, RetryPolicy, Timestamp, WorkflowKey,
};
use antiphon_replay_tests::world::*;

/// A workflow that makes one call; its input says with which options: `priority fairness_key weight limit_key`.
fn one(context: Context, input: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(asked(&input)).await)) })
}

fn asked(input: &[Payload]) -> ActivityCall {
    let text = String::from_utf8(input[0].bytes().unwrap().to_vec()).unwrap();
    let words: Vec<&str> = text.trim_matches('"').split(' ').collect();
    with("echo", "1", |options: &mut ActivityOptions| {
        options.priority = words[0].parse().unwrap();
        options.fairness_key = words[1].trim_matches('-').to_owned();
        options.fairness_weight = words[2].parse().unwrap();
        options.limit_key = words[3].trim_matches('-').to_owned();
        options.retry = RetryPolicy { max_attempts: 2, initial_ms: 100, ..RetryPolicy::default() };
    })
}

fn world(capacity: u32) -> World {
    World::new(&[("one", one)], vec![worker("w1", &["echo"], capacity)])
}

fn ada() -> By {
    By { who: "ada".to_owned(), why: "a test".to_owned() }
}

fn set(world: &mut World, settings: QueueSettings) {
    let settings = Box::new(settings);
    world.queues(QueuesRequest::Set { queue: "default".into(), settings, by: ada() }).unwrap();
}

fn view(world: &mut World) -> QueueView {
    match world.queues(QueuesRequest::Describe { queue: "default".into() }).unwrap() {
        QueuesReply::Queues(mut views) => views.remove(0),
        _ => panic!("a queue was asked for"),
    }
}

/// The runs whose requests are out, oldest first.
fn out(world: &World) -> Vec<u64> {
    world.sent.iter().map(|(_, request)| request.conversation.run.0).collect()
}

/// Completes the oldest request until none is out; returns the runs in the order of their sending.
fn drain(world: &mut World) -> Vec<u64> {
    let mut order = Vec::new();
    while let Some(run) = out(world).first().copied() {
        order.push(run);
        world.complete("1");
    }
    order
}

#[test]
fn c_t11_the_first_in_line_belongs_to_an_ended_run_and_the_next_one_is_given_out_in_the_same_step() {
    let mut world = world(1);
    for id in ["a", "b", "c"] {
        world.start(id, "one", "\"3 - 1 -\"");
    }
    assert_eq!(out(&world), [1]);
    world.cancel("b", "no longer wanted");
    let segments = world.segments;
    world.complete("1");
    assert_eq!(out(&world), [3], "the second one has gone");
    assert_eq!(world.segments, segments + 1);
    assert!(!world.text(2).contains("WorkerSelected"), "{}", world.text(2));
}

#[test]
fn c_line_the_more_urgent_goes_first_and_keys_share_by_their_weights() {
    let mut world = world(1);
    world.start("first", "one", "\"3 - 1 -\"");
    for number in 0..6 {
        world.start(&format!("big {number}"), "one", "\"3 big 1 -\"");
    }
    for number in 0..4 {
        world.start(&format!("vip {number}"), "one", "\"3 vip 2 -\"");
    }
    world.start("urgent", "one", "\"1 - 1 -\"");
    let order = drain(&mut world);
    assert_eq!(order[..2], [1, 12], "the urgent one goes next, however long the others wait");
    let vip = order[2..8].iter().filter(|run| (8..12).contains(*run)).count();
    assert_eq!(vip, 4, "two for one: {order:?}");
}

#[test]
fn c_line_a_queue_that_is_paused_stays_so_across_a_restart_and_goes_on_when_it_is_resumed() {
    let mut world = world(2);
    let pause = || QueuesRequest::Pause { queue: "default".into(), by: ada() };
    assert_eq!(world.queues(pause()), Ok(QueuesReply::Done { changed: true }));
    assert_eq!(world.queues(pause()), Ok(QueuesReply::Done { changed: false }), "the same word again changes nothing");
    world.start("a", "one", "\"3 - 1 -\"");
    world.restart(None);
    assert_eq!(out(&world), [0; 0]);
    assert_eq!(view(&mut world).stats.reasons.into_iter().collect::<Vec<_>>(), [("queue_paused", 1)]);
    world.queues(QueuesRequest::Resume { queue: "default".into(), by: ada() }).unwrap();
    assert_eq!(out(&world), [1]);
    let told = world.entity_text(&EntityName::Queue("default".into()));
    assert!(told.contains("QueuePaused by ada: a test") && told.contains("QueueResumed by ada"), "{told}");
    let audit = world.entity_text(&EntityName::Audit);
    assert_eq!(audit.matches("queue.pause").count(), 1, "{audit}");
}

#[test]
fn c_line_no_more_is_in_flight_than_the_limit_also_after_a_restart() {
    let mut world = world(10);
    set(&mut world, QueueSettings { in_flight_max: Some(2), ..QueueSettings::default() });
    for id in ["a", "b", "c"] {
        world.start(id, "one", "\"3 - 1 -\"");
    }
    assert_eq!(out(&world), [1, 2]);
    world.restart(None);
    assert_eq!(out(&world).len(), 2, "what was under way is lost and sent again, two at a time");
    assert_eq!(drain(&mut world).len(), 3);
}

#[test]
fn c_line_calls_of_one_key_are_done_in_order_retries_and_restarts_included() {
    let mut world = world(10);
    set(&mut world, QueueSettings { per_key_max: Some(1), ..QueueSettings::default() });
    for id in ["a", "b"] {
        world.start(id, "one", "\"3 - 1 session\"");
    }
    world.start("c", "one", "\"3 - 1 other\"");
    assert_eq!(out(&world), [1, 3], "another key is not held up");
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    assert_eq!(out(&world), [3], "the first one is not over");
    world.restart(None);
    assert_eq!(out(&world), [3]);
    world.pass(100);
    assert_eq!(out(&world), [3, 1]);
    world.complete("1");
    assert_eq!(out(&world), [1]);
    world.complete("1");
    assert_eq!(out(&world), [2]);
}

#[test]
fn c_line_a_rate_is_kept_and_its_next_moment_needs_no_word_from_anybody() {
    let mut world = world(10);
    let rate = Some(QueueRate { count: 2, period_ms: 1_000, burst: 1 });
    set(&mut world, QueueSettings { rate, ..QueueSettings::default() });
    for id in ["a", "b", "c"] {
        world.start(id, "one", "\"3 - 1 -\"");
    }
    assert_eq!(out(&world), [0; 0]);
    world.pass(499);
    assert_eq!(out(&world), [0; 0]);
    world.pass(1);
    assert_eq!(out(&world), [1]);
    world.pass(500);
    assert_eq!(out(&world), [1, 2]);
    world.restart(None);
    assert_eq!(out(&world), [0; 0], "nothing was saved up for the restart");
    world.pass(1_500);
    assert_eq!(out(&world).len(), 3);
}

#[test]
fn c_line_settings_that_cannot_be_are_refused_by_name_and_write_nothing() {
    let mut world = world(1);
    let segments = world.segments;
    let settings = Box::new(QueueSettings { in_flight_max: Some(0), ..QueueSettings::default() });
    let refused = world.queues(QueuesRequest::Set { queue: "default".into(), settings, by: ada() }).unwrap_err();
    assert!(refused.to_string().starts_with("in_flight_max of a task queue cannot be 0"), "{refused}");
    assert_eq!(world.segments, segments);
}

#[test]
fn e_t5_five_thousand_wait_for_the_first_worker_and_each_runs_once() {
    const COUNT: u64 = 5_000;
    let mut world = World::new(&[("one", one)], vec![]);
    let now = Timestamp(world.now);
    for number in 0..COUNT {
        let request = StartRequest {
            workflow: WorkflowKey::new(format!("run {number}")).unwrap(),
            workflow_type: "one".to_owned(),
            input: vec![json(&format!("\"3 k{} 1 -\"", number % 50))],
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        // Straight to the engine, many to a batch: the whole is checked where a batch ends.
        world.partition.step(Input::Start(request, ReplyTo(1_000_000 + number)), now);
        if number % 500 == 499 {
            world.step(Input::Tick);
        }
    }
    world.restart(None);
    assert!(world.sent.is_empty());
    world.step(Input::WorkerJoined(worker("w1", &["echo"], 250)));
    let mut order = Vec::new();
    while !world.sent.is_empty() {
        for (_, request) in std::mem::take(&mut world.sent) {
            order.push(request.conversation.run.0);
            let answer = Answer::Completed { result: vec![json("1")] };
            let (conversation, leg, token) = (request.conversation, request.leg, request.token);
            world.partition.step(Input::Answered { conversation, leg, token, answer }, now);
        }
        world.step(Input::Tick);
    }
    let first: std::collections::BTreeSet<u64> = order[..250].iter().map(|run| (run - 1) % 50).collect();
    assert_eq!(first.len(), 50, "every key is among the first");
    order.sort_unstable();
    assert_eq!(order, (1..=COUNT).collect::<Vec<_>>(), "each was sent once");
    let stats = view(&mut world).stats;
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
}

#[test]
fn e_t11_what_the_queue_says_matches_the_dump() {
    let mut world = world(2);
    for id in ["a", "b", "c", "d"] {
        world.start(id, "one", "\"3 - 1 -\"");
    }
    world.pass(700);
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    world.pass(50);
    let stats = view(&mut world).stats;
    let dumps: Vec<String> = (1..=4).map(|run| world.text(run)).collect();
    let ends = |end: &str| dumps.iter().filter(|dump| dump.lines().last().unwrap().contains(end)).count() as u64;
    assert_eq!((stats.in_flight, stats.waiting), (ends("Sent"), ends("Scheduled")), "{dumps:#?}");
    assert_eq!((stats.in_flight, stats.waiting), (2, 2));
    assert_eq!(stats.oldest_ms, Some(750), "the one that has waited from the start");
    let reasons: Vec<_> = stats.reasons.into_iter().collect();
    assert_eq!(reasons, [("backing_off", 1), ("full", 1)]);
}
