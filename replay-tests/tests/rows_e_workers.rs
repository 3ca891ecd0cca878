//! Workers that come, fall silent, drain, are replaced and go; a lost acknowledgement.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{Fence, Input, WorkerProblem, WorkersError, WorkersReply, WorkersRequest};
use antiphon_history::{EntityName, Health, Liveness, WorkerKind};
use antiphon_replay_tests::pulling::claiming;
use antiphon_replay_tests::world::{Begin, World, call, done, worker};

const ONE: (&str, Begin) = ("one", |context, _| {
    Box::pin(async move {
        context.activity(call("work", "7")).await;
        done("1")
    })
});

fn liveness(world: &mut World) -> Vec<(String, Liveness)> {
    let Ok(WorkersReply::Workers { present, .. }) = world.ask_workers(WorkersRequest::List) else { panic!("a list") };
    present.into_iter().map(|entry| (entry.view.spec.name, entry.liveness)).collect()
}

fn gone(world: &mut World) -> Vec<(String, String)> {
    let Ok(WorkersReply::Workers { gone, .. }) = world.ask_workers(WorkersRequest::List) else { panic!("a list") };
    gone.into_iter().map(|gone| (gone.worker, gone.reason)).collect()
}

fn problem<T: std::fmt::Debug>(asked: Result<T, WorkersError>) -> WorkerProblem {
    match asked {
        Err(WorkersError::NoSuchWorker { problem, .. }) => problem,
        other => panic!("{other:?} is no problem of a worker"),
    }
}

fn drain(name: &str) -> WorkersRequest {
    WorkersRequest::Drain { worker: name.into(), who: "ada".into(), why: "new version".into() }
}

#[test]
fn e_t6_after_a_lost_answer_the_attempt_goes_out_again_with_the_same_key_and_the_late_reply_is_ignored() {
    let mut world = World::new(&[ONE], vec![]);
    world.puller("a", &["work"], 1);
    world.puller("b", &["work"], 1);
    world.start("r", "one", "0");
    let first = world.claim_one("a", 1_000);
    // Its answer is lost on the way; at the lease's end the attempt is there for others.
    world.pass(1_000);
    let second = world.claim_one("b", 1_000);
    assert_eq!(second.request.idempotency_key(), first.request.idempotency_key());
    let before = world.text(1);
    let late = world.complete_claim(first.leg(), "1");
    assert!(matches!(late, Err(WorkersError::Fenced { fence: Fence::Stale, .. })), "{late:?}");
    assert_eq!(world.text(1), before);
    world.complete_claim(second.leg(), "2").unwrap();
}

#[test]
fn a_worker_is_joining_then_live_then_suspect_then_gone_and_a_word_makes_it_live_again() {
    let mut world = World::new(&[], vec![]);
    world.puller("a", &["work"], 1);
    let is = |world: &mut World, liveness: Liveness| {
        assert_eq!(self::liveness(world), [("a".to_owned(), liveness)], "at {}", world.now);
    };
    is(&mut world, Liveness::Joining);
    let alive = || WorkersRequest::Alive { worker: "a".into(), instance: None };
    world.ask_workers(alive()).unwrap();
    is(&mut world, Liveness::Live);
    world.pass(29_999);
    is(&mut world, Liveness::Live);
    world.pass(1);
    is(&mut world, Liveness::Suspect);
    world.ask_workers(alive()).unwrap();
    is(&mut world, Liveness::Live);
    world.pass(59_999);
    is(&mut world, Liveness::Suspect);
    world.pass(1);
    assert_eq!(liveness(&mut world), []);
    assert_eq!(gone(&mut world), [("a".to_owned(), "silent for 60000 ms".to_owned())]);
    assert_eq!(problem(world.ask_workers(alive())), WorkerProblem::Absent);
}

#[test]
fn a_worker_that_waits_for_work_is_not_silent() {
    let mut world = World::new(&[ONE], vec![]);
    world.puller("a", &["work"], 1);
    let waits = world.ask_later(claiming("a", 1, 1_000, 300_000));
    world.pass(299_000);
    assert_eq!(liveness(&mut world), [("a".to_owned(), Liveness::Live)]);
    world.start("r", "one", "0");
    let Some(Ok(WorkersReply::Claimed(claims))) = world.fetch(waits) else { panic!("work came") };
    assert_eq!(claims.len(), 1);
}

#[test]
fn who_is_gone_keeps_its_leases_until_they_end() {
    let mut world = World::new(&[ONE], vec![]);
    world.puller("a", &["work"], 1);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 200_000);
    world.pass(60_000);
    assert_eq!(liveness(&mut world), []);
    assert!(!world.text(1).contains("Exited"), "{}", world.text(1));
    world.complete_claim(claim.leg(), "1").unwrap();
    assert!(world.text(1).contains("RunCompleted"), "{}", world.text(1));
}

#[test]
fn a_second_life_under_one_name_takes_the_first_ones_place_and_not_its_leases() {
    let mut world = World::new(&[ONE], vec![]);
    let first = world.puller("a", &["work"], 1);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 5_000);
    let second = world.puller("a", &["work"], 1);
    assert_ne!(first, second);
    let old = WorkersRequest::Alive { worker: "a".into(), instance: Some(first) };
    assert_eq!(problem(world.ask_workers(old)), WorkerProblem::Replaced);
    assert_eq!(world.claim_as("a", 1, 1_000).unwrap(), vec![], "the first life still has it");
    world.complete_claim(claim.leg(), "1").unwrap();
    // The same life again changes nothing.
    let spec = worker("a", &["work"], 1);
    let segments = world.segments;
    let again = WorkersRequest::Join { spec, kind: WorkerKind::Pull, instance: Some(second) };
    assert_eq!(world.ask_workers(again), Ok(WorkersReply::Joined { instance: second }));
    assert_eq!(world.segments, segments);
}

#[test]
fn a_draining_worker_gets_nothing_new_finishes_what_it_has_and_who_said_so_is_in_the_audit() {
    let mut world = World::new(&[ONE], vec![worker("pool", &["work"], 1)]);
    world.puller("a", &["work"], 2);
    world.ask_workers(drain("pool")).unwrap();
    world.start("r", "one", "0");
    assert_eq!(world.sent.len(), 0, "the pool drains");
    let claim = world.claim_one("a", 1_000);
    let waits = world.ask_later(claiming("a", 1, 1_000, 10_000));
    world.ask_workers(drain("a")).unwrap();
    assert_eq!(world.fetch(waits), Some(Ok(WorkersReply::Claimed(vec![]))));
    world.start("s", "one", "0");
    assert_eq!(problem(world.claim_as("a", 1, 1_000)), WorkerProblem::Draining);
    world.complete_claim(claim.leg(), "1").unwrap();
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.contains("Done worker.drain a by ada: new version"), "{audit}");
    // Draining outlives the engine, for a worker that does.
    world.restart(None);
    assert_eq!(problem(world.claim_as("a", 1, 1_000)), WorkerProblem::Draining);
    assert!(liveness(&mut world).contains(&("a".to_owned(), Liveness::Draining)));
    // A worker that begins anew drains no longer; the pool began anew with its engine.
    assert_eq!(world.sent.len(), 1);
    world.puller("a", &["work"], 2);
    world.start("t", "one", "0");
    assert_eq!(world.claim_as("a", 1, 1_000).unwrap().len(), 1);
}

#[test]
fn an_unhealthy_worker_gets_nothing_until_somebody_says_that_it_is_well() {
    let mut world = World::new(&[ONE], vec![worker("pool", &["work"], 1)]);
    let set = |name: &str, health| WorkersRequest::SetHealth {
        worker: name.into(),
        health,
        who: "probe".into(),
        why: String::new(),
    };
    world.puller("a", &["work"], 1);
    world.ask_workers(set("pool", Health::Down)).unwrap();
    world.ask_workers(set("a", Health::Unhealthy)).unwrap();
    world.start("r", "one", "0");
    assert_eq!(world.sent.len(), 0);
    let waits = world.ask_later(claiming("a", 1, 1_000, 10_000));
    assert_eq!(world.fetch(waits), None);
    world.ask_workers(set("a", Health::Degraded)).unwrap();
    let Some(Ok(WorkersReply::Claimed(claims))) = world.fetch(waits) else { panic!("it is well enough now") };
    assert_eq!(claims.len(), 1);
    assert_eq!(problem(world.ask_workers(set("nobody", Health::Down))), WorkerProblem::Absent);
}

#[test]
fn a_worker_elsewhere_outlives_the_engine_and_its_lease_counts_anew() {
    let mut world = World::new(&[ONE], vec![]);
    let instance = world.puller("a", &["work"], 1);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    world.pass(900);
    world.restart(None);
    assert_eq!(liveness(&mut world), [("a".to_owned(), Liveness::Joining)]);
    world.pass(900);
    assert!(world.hold_claim(claim.leg()).is_ok(), "nobody could listen before, so the lease began anew");
    let alive = WorkersRequest::Alive { worker: "a".into(), instance: Some(instance) };
    assert_eq!(world.ask_workers(alive), Ok(WorkersReply::Done));
    assert_eq!(world.claim_as("a", 1, 1_000).unwrap(), vec![], "its one place is taken");
    world.complete_claim(claim.leg(), "1").unwrap();
    assert!(!world.text(1).contains("Exited"), "{}", world.text(1));
}

#[test]
fn a_start_with_the_same_workers_writes_nothing_of_them_and_one_without_says_that_they_are_gone() {
    let mut world = World::new(&[], vec![worker("pool", &["work"], 1)]);
    let joined = world.entity_text(&EntityName::Workers);
    assert_eq!(joined.lines().count(), 2, "{joined}");
    let segments = world.segments;
    world.restart(None);
    assert_eq!((world.entity_text(&EntityName::Workers), world.segments), (joined, segments));
    world.forget_workers();
    world.restart(None);
    assert_eq!(gone(&mut world), [("pool".to_owned(), "its engine ended".to_owned())]);
    // A name of the engine's own is not to be had from outside while it is there.
    world.step(Input::WorkerJoined(worker("pool", &["work"], 1)));
    let spec = worker("pool", &["work"], 1);
    let asked = world.ask_workers(WorkersRequest::Join { spec, kind: WorkerKind::Pull, instance: None });
    assert_eq!(problem(asked), WorkerProblem::OfEngine);
}

#[test]
fn after_quiet_nothing_new_goes_out_and_what_is_given_back_is_no_loss() {
    let mut world = World::new(&[ONE], vec![worker("pool", &["work"], 2)]);
    world.start("r", "one", "0");
    let quiet = world.ask_later(WorkersRequest::Quiesce);
    assert_eq!(world.fetch(quiet), None, "one is under way");
    world.start("s", "one", "0");
    assert_eq!(world.sent.len(), 1, "nothing new goes out");
    world.ask_workers(WorkersRequest::ReleaseAll).unwrap();
    assert_eq!(world.fetch(quiet), Some(Ok(WorkersReply::Done)));
    assert_eq!(world.cancelled, [("pool".to_owned(), 1)]);
    world.restart(None);
    assert_eq!(world.sent.len(), 2);
    let text = world.text(1);
    assert!(text.contains("Exited leg=1 given back") && !text.contains("restarted"), "{text}");
}
