//! What has a call looked at again that waits for one worker or another. After every step the world checks that nobody
//! waits who need not, so a wake-up that is lost anywhere ends a test here.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::router::{RoutingReply, RoutingRequest};
use antiphon_engine::{By, Claim, Input, QueuesRequest, Reply, WorkerSpec, WorkersReply, WorkersRequest};
use antiphon_history::{Health, RoutingReset};
use antiphon_replay_tests::pulling::claiming;
use antiphon_replay_tests::world::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn world(workers: &[(&str, u32)]) -> World {
    let workers = workers.iter().map(|(name, capacity)| worker(name, &["echo"], *capacity)).collect();
    World::new(&[("routed", routed)], workers)
}

/// Where requests went since this was asked last.
fn went(world: &mut World) -> Vec<String> {
    world.sent.drain(..).map(|(worker, _)| worker).collect()
}

fn nobody() -> Vec<String> {
    Vec::new()
}

fn operate(world: &mut World, request: RoutingRequest) {
    let reply = world.ask(|to| Input::Routing(Box::new(request), to));
    assert!(matches!(&reply, Reply::Routing(done) if **done == RoutingReply::Done), "{reply:?}");
}

fn ada() -> By {
    By { who: "ada".to_owned(), why: String::new() }
}

fn keys(affinities_max: u32, affinity_ttl_ms: Option<u64>) -> RoutingRequest {
    RoutingRequest::Set { queue: "default".into(), affinities_max, affinity_ttl_ms, by: ada() }
}

fn health(world: &mut World, worker: &str, health: Health) {
    let (who, why) = ("ada".to_owned(), String::new());
    world.ask_workers(WorkersRequest::SetHealth { worker: worker.to_owned(), health, who, why }).unwrap();
}

fn drain(world: &mut World, worker: &str) {
    let (who, why) = ("ada".to_owned(), String::new());
    world.ask_workers(WorkersRequest::Drain { worker: worker.to_owned(), who, why }).unwrap();
}

const STICKY: &str = r#"{"policy": "sticky", "affinity_key": "c7", "preferred": ["w1"]}"#;

/// `w1` has the key and no place free, `w2` has one free, and a second call of the key waits for `w1`.
fn waits_for_w1() -> World {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    assert_eq!(went(&mut world), ["w1"]);
    world
}

#[test]
fn a_call_of_a_key_goes_when_its_worker_has_a_place_again() {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    world.complete("1");
    assert_eq!(went(&mut world), ["w1"]);
}

#[test]
fn a_call_of_a_key_goes_elsewhere_when_its_worker_drains() {
    let mut world = waits_for_w1();
    drain(&mut world, "w1");
    assert_eq!(went(&mut world), ["w2"]);
}

#[test]
fn a_call_of_a_key_goes_elsewhere_when_its_worker_is_unwell() {
    let mut world = waits_for_w1();
    health(&mut world, "w1", Health::Degraded);
    assert_eq!(went(&mut world), nobody(), "it may still have the call");
    health(&mut world, "w1", Health::Unhealthy);
    assert_eq!(went(&mut world), ["w2"]);
}

#[test]
fn a_call_of_a_key_goes_elsewhere_when_its_worker_is_gone() {
    let mut world = world(&[("w1", 1), ("w2", 2)]);
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    assert_eq!(went(&mut world), ["w1"]);
    world.step(Input::WorkerLeft { name: "w1".to_owned() });
    assert_eq!(went(&mut world), ["w2", "w2"], "with the call whose leg was lost");
}

#[test]
fn a_call_of_a_key_goes_elsewhere_when_the_key_is_reset() {
    let mut world = waits_for_w1();
    let what = RoutingReset::Key("c7".into());
    operate(&mut world, RoutingRequest::Reset { queue: "default".into(), what, by: ada() });
    assert_eq!(went(&mut world), ["w2"]);
}

#[test]
fn a_call_of_a_key_goes_elsewhere_at_the_moment_at_which_the_key_is_forgotten_for_its_age() {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    operate(&mut world, keys(10, Some(1_000)));
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    assert_eq!(went(&mut world), ["w1"]);
    world.pass(999);
    assert_eq!(went(&mut world), nobody());
    world.pass(1);
    assert_eq!(went(&mut world), ["w2"]);
}

#[test]
fn a_call_that_was_withdrawn_leaves_no_moment_behind_at_which_anybody_looks() {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("has the key", "routed", STICKY);
    let idle = world.partition.next_deadline();
    operate(&mut world, keys(10, Some(1_000)));
    world.start("waits", "routed", STICKY);
    assert_ne!(world.partition.next_deadline(), idle);
    world.cancel("waits", "no longer wanted");
    assert_eq!(world.partition.next_deadline(), idle);
}

#[test]
fn a_call_of_a_key_goes_elsewhere_when_the_key_is_forgotten_for_room() {
    let mut world = world(&[("w1", 1), ("w2", 2)]);
    operate(&mut world, keys(1, None));
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    assert_eq!(went(&mut world), ["w1"]);
    world.start("another key", "routed", r#"{"policy": "sticky", "affinity_key": "c8"}"#);
    assert_eq!(went(&mut world), ["w2", "w2"]);
}

#[test]
fn a_call_of_a_key_follows_the_key_to_another_worker() {
    let mut world = world(&[("w1", 1), ("w2", 2)]);
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    assert_eq!(went(&mut world), ["w1"]);
    world.start("takes it", "routed", r#"{"policy": "sticky", "affinity_key": "c7", "excluded": ["w1"]}"#);
    assert_eq!(went(&mut world), ["w2", "w2"]);
}

#[test]
fn a_call_of_a_key_that_names_others_goes_where_the_key_has_just_become_bound_and_calls_of_other_keys_stay() {
    let strict = |key: &str| {
        format!(r#"{{"policy": "sticky", "affinity_key": "{key}", "preferred": ["w1"], "fallback_policy": "none"}}"#)
    };
    let mut world = world(&[("w1", 1), ("w2", 3)]);
    world.start("fills", "routed", r#"{"policy": "explicit", "worker": "w1"}"#);
    world.start("waits", "routed", &strict("c7"));
    world.start("waits too", "routed", &strict("c8"));
    assert_eq!(went(&mut world), ["w1"], "no other may have them");
    world.start("binds", "routed", r#"{"policy": "sticky", "affinity_key": "c7"}"#);
    assert_eq!(went(&mut world), ["w2", "w2"], "the one that binds the key, and the one that waited for it");
}

#[test]
fn a_call_for_one_worker_goes_when_that_worker_comes_is_well_again_or_has_a_place() {
    let named = |name: &str| format!(r#"{{"worker": "{name}"}}"#);
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("comes", "routed", &named("w3"));
    assert_eq!(went(&mut world), nobody());
    world.step(Input::WorkerJoined(worker("w3", &["echo"], 1)));
    assert_eq!(went(&mut world), ["w3"]);
    health(&mut world, "w1", Health::Down);
    world.start("is well", "routed", &named("w1"));
    assert_eq!(went(&mut world), nobody());
    health(&mut world, "w1", Health::Healthy);
    assert_eq!(world.sent.len(), 1);
    world.start("has a place", "routed", &named("w1"));
    assert_eq!(world.sent.len(), 1);
    world.complete("1");
    assert_eq!(went(&mut world), ["w1"]);
}

#[test]
fn a_call_goes_to_the_worker_that_lost_it_when_the_other_one_may_no_longer_have_it() {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("busy", "routed", r#"{"worker": "w2"}"#);
    world.start("lost", "routed", r#"{"preferred": ["w1"]}"#);
    assert_eq!(world.sent.len(), 2);
    let (to, request) = world.sent.pop().unwrap();
    assert_eq!(to, "w1");
    world.answer_to(&request, Answer::Panicked { message: "oh".to_owned() });
    world.pass(60_000);
    assert_eq!(world.sent.len(), 1, "w2 may have it, once it has a place");
    health(&mut world, "w2", Health::Unhealthy);
    assert_eq!(went(&mut world), ["w2", "w1"]);
}

#[test]
fn a_routed_call_goes_when_its_queue_is_resumed_and_a_place_came_free_meanwhile() {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    world.start("has the key", "routed", STICKY);
    world.start("waits", "routed", STICKY);
    world.queues(QueuesRequest::Pause { queue: "default".into(), by: ada() }).unwrap();
    world.complete("1");
    assert_eq!(went(&mut world), nobody());
    world.queues(QueuesRequest::Resume { queue: "default".into(), by: ada() }).unwrap();
    assert_eq!(went(&mut world), ["w1"]);
}

#[test]
fn a_routed_call_that_waits_costs_nothing_while_nothing_happens_that_can_matter_to_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut programs = programs(&[("routed", routed)]);
    let counter = Arc::clone(&asked);
    let wait = move |_: &antiphon_engine::router::CustomAsk<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
        None
    };
    programs.routes.add_custom("wait", Arc::new(wait));
    let workers: Vec<WorkerSpec> =
        [("w1", &["echo"][..]), ("w2", &["other"][..])].map(|(name, activities)| worker(name, activities, 2)).to_vec();
    let mut world = World::with_programs(programs, workers);
    world.start("waits", "routed", r#"{"policy": "custom", "custom": "wait"}"#);
    let first = asked.load(Ordering::Relaxed);
    assert!(first > 0);
    for number in 0..20 {
        world.start(&format!("elsewhere {number}"), "routed", r#"{"worker": "w2"}"#);
        world.step(Input::Tick);
        world.pass(1);
        drain(&mut world, "w2");
    }
    assert_eq!(asked.load(Ordering::Relaxed), first, "none of this is about a worker that could have it");
    health(&mut world, "w1", Health::Degraded);
    assert!(asked.load(Ordering::Relaxed) > first);
}

/// `p1` asks for its work and has the key; `p2` waits for work, and a call of the key is in line.
fn waits_for_p1() -> (World, u64) {
    let mut world = world(&[]);
    operate(&mut world, keys(1, Some(10_000)));
    for name in ["p1", "p2"] {
        world.puller(name, &["echo"], 2);
    }
    world.start("has the key", "routed", r#"{"policy": "sticky", "affinity_key": "c7"}"#);
    world.claim_one("p1", 600_000);
    world.start("waits", "routed", r#"{"policy": "sticky", "affinity_key": "c7"}"#);
    let waits = world.ask_later(claiming("p2", 1, 600_000, 300_000));
    assert!(world.fetch(waits).is_none(), "it is not to have the call");
    (world, waits)
}

fn claimed(world: &mut World, to: u64) -> Vec<Claim> {
    match world.fetch(to) {
        Some(Ok(WorkersReply::Claimed(claims))) => claims,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_waits_for_work_gets_a_call_whose_worker_drains_is_unwell_or_leaves() {
    let (mut world, waits) = waits_for_p1();
    drain(&mut world, "p1");
    assert_eq!(claimed(&mut world, waits).len(), 1);
    let (mut world, waits) = waits_for_p1();
    health(&mut world, "p1", Health::Down);
    assert_eq!(claimed(&mut world, waits).len(), 1);
    let (mut world, waits) = waits_for_p1();
    let leave = WorkersRequest::Leave { worker: "p1".to_owned(), instance: None, reason: String::new() };
    world.ask_workers(leave).unwrap();
    assert_eq!(claimed(&mut world, waits).len(), 1);
}

#[test]
fn a_worker_that_waits_for_work_gets_a_call_whose_worker_falls_silent() {
    let (mut world, waits) = waits_for_p1();
    operate(&mut world, keys(1, None));
    world.pass(200_000);
    assert_eq!(claimed(&mut world, waits).len(), 1);
}

#[test]
fn a_worker_that_waits_for_work_gets_a_call_whose_key_is_reset_forgotten_or_needed_for_room() {
    let (mut world, waits) = waits_for_p1();
    let what = RoutingReset::All;
    operate(&mut world, RoutingRequest::Reset { queue: "default".into(), what, by: ada() });
    assert_eq!(claimed(&mut world, waits).len(), 1);

    let (mut world, waits) = waits_for_p1();
    world.pass(9_999);
    assert!(world.fetch(waits).is_none());
    world.pass(1);
    assert_eq!(claimed(&mut world, waits).len(), 1);

    let (mut world, waits) = waits_for_p1();
    world.start("another key", "routed", r#"{"policy": "sticky", "affinity_key": "c8", "excluded": ["p2"]}"#);
    assert_eq!(world.claim_as("p1", 1, 600_000).unwrap().len(), 1, "its own call comes first");
    assert!(world.fetch(waits).is_none());
    world.start("its own again", "routed", r#"{"policy": "sticky", "affinity_key": "c7"}"#);
    assert!(world.fetch(waits).is_none());
}

#[test]
fn a_worker_that_waits_for_work_gets_what_comes_in_and_in_the_order_of_the_line() {
    let mut world = world(&[]);
    world.puller("p1", &["echo"], 4);
    let waits = world.ask_later(claiming("p1", 4, 600_000, 300_000));
    world.start("a", "routed", r#"{"worker": "p9"}"#);
    assert!(world.fetch(waits).is_none());
    world.start("b", "routed", "{}");
    let runs: Vec<u64> = claimed(&mut world, waits).iter().map(|claim| claim.request.conversation.run.0).collect();
    assert_eq!(runs, [2], "the first one is for another");
}

#[test]
fn a_full_worker_that_waits_for_work_gets_the_next_when_it_has_a_place() {
    let mut world = world(&[]);
    world.puller("p1", &["echo"], 1);
    world.start("a", "routed", "{}");
    let first = world.claim_one("p1", 600_000);
    let waits = world.ask_later(claiming("p1", 1, 600_000, 300_000));
    world.start("b", "routed", "{}");
    assert!(world.fetch(waits).is_none(), "its one place is taken");
    world.complete_claim(first.leg(), "1").unwrap();
    assert_eq!(claimed(&mut world, waits)[0].request.conversation.run.0, 2);
}
