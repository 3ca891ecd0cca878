//! The dispatch queue as a worker that asks for its work sees it: claims, leases, tokens, answers. C-T11 is about the line
//! and stands with it.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Token;
use antiphon_engine::{
    Fence, LegRef, OverReason, Reply, RequestError, RunOutcome, WorkersError, WorkersReply, WorkersRequest,
};
use antiphon_history::{ActivityCall, ActivityOptions, RetryPolicy, RunKey, STANDALONE, Timestamp};
use antiphon_replay_tests::pulling::claiming;
use antiphon_replay_tests::world::{Begin, World, call, done, json, names, with, worker};
use proptest::prelude::*;

/// One activity, whose result is the run's.
const ONE: (&str, Begin) = ("one", |context, _| {
    Box::pin(async move {
        let outcome = context.activity(call("work", "7")).await;
        done(&format!("{outcome:?}"))
    })
});

/// One activity with three attempts, a second apart.
const THREE: (&str, Begin) = ("three", |context, _| {
    Box::pin(async move {
        let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        context.activity(with("work", "7", |options| options.retry = retry)).await;
        done("1")
    })
});

/// Two activities at once; the run ends with the first.
const RACE: (&str, Begin) = ("race", |context, _| {
    Box::pin(async move {
        let (first, second) = (context.activity(call("work", "1")), context.activity(call("work", "2")));
        let _ = antiphon_replay_tests::world::first(first, second).await;
        done("1")
    })
});

fn world(programs: &[(&'static str, Begin)]) -> World {
    let mut world = World::new(programs, vec![]);
    world.puller("a", &["work"], 10);
    world.puller("b", &["work"], 10);
    world
}

fn fence(asked: Result<WorkersReply, WorkersError>) -> Fence {
    match asked {
        Err(WorkersError::Fenced { fence, .. }) => fence,
        other => panic!("{other:?} is no fence"),
    }
}

fn over(asked: Result<WorkersReply, WorkersError>) -> OverReason {
    match asked {
        Err(WorkersError::Over { problem, .. }) => problem,
        other => panic!("{other:?} is not over"),
    }
}

fn ended(repeated: bool) -> Result<WorkersReply, WorkersError> {
    Ok(WorkersReply::Ended { repeated })
}

#[test]
fn c_t1_of_two_who_claim_one_attempt_one_gets_it_and_the_other_nothing() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claims = world.claim_as("a", 5, 1_000).unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(world.claim_as("b", 5, 1_000).unwrap(), vec![]);
    // Where two act for one claim, the one whose view is old is told so and may look again.
    let at = LegRef { revision: Some(claims[0].revision), ..claims[0].leg() };
    let old = LegRef { revision: Some(claims[0].revision - 1), ..claims[0].leg() };
    assert_eq!(fence(world.complete_claim(old, "1")), Fence::Revision { expected: 2, found: 3 });
    assert_eq!(world.complete_claim(at, "1"), ended(false));
}

#[test]
fn c_t2_a_claim_is_invisible_until_its_lease_ends_and_at_that_instant_another_may_have_it() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let first = world.claim_one("a", 1_000);
    assert_eq!(first.lease_until, Timestamp(world.now + 1_000));
    world.pass(999);
    assert_eq!(world.claim_as("b", 1, 1_000).unwrap(), vec![]);
    world.pass(1);
    let second = world.claim_one("b", 1_000);
    assert_eq!((first.request.leg, second.request.leg), (1, 2));
    assert_ne!(first.request.token, second.request.token);
    assert!(second.fencing > first.fencing);
    assert_eq!(fence(world.complete_claim(first.leg(), "1")), Fence::Stale);
    assert_eq!(world.complete_claim(second.leg(), "2"), ended(false));
    let text = world.text(1);
    assert!(text.contains("#1.1 2 WorkerSelected leg=1 worker=a lease_ms=1000 (it asked)"), "{text}");
    assert!(text.contains("#1.1 4 Exited leg=1 the lease ended\n#1.1 5 WorkerSelected leg=2 worker=b"), "{text}");
}

#[test]
fn c_t2_the_old_leg_may_still_answer_as_long_as_nobody_else_has_taken_its_place() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    world.pass(5_000);
    assert_eq!(fence(world.hold_claim(claim.leg())), Fence::Expired);
    assert_eq!(world.complete_claim(claim.leg(), "1"), ended(false));
    assert_eq!(world.claim_as("b", 1, 1_000).unwrap(), vec![]);
    assert!(!world.text(1).contains("Exited"), "{}", world.text(1));
}

#[test]
fn c_t3_a_heartbeat_prolongs_and_is_refused_with_a_wrong_token_after_the_end_and_when_the_run_is_over() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    world.pass(900);
    assert_eq!(world.hold_claim(claim.leg()), Ok(WorkersReply::Held { until: Timestamp(world.now + 1_000) }));
    world.pass(900);
    assert_eq!(world.claim_as("b", 1, 1_000).unwrap(), vec![]);
    let longer = WorkersRequest::Heartbeat { leg: claim.leg(), details: None, lease_ms: Some(3_000) };
    assert_eq!(world.ask_workers(longer), Ok(WorkersReply::Held { until: Timestamp(world.now + 3_000) }));
    world.pass(2_999);
    let (before, segments) = (world.text(1), world.segments);
    let wrong = LegRef { token: Token([9; 16]), ..claim.leg() };
    assert_eq!(fence(world.hold_claim(wrong)), Fence::Forged);
    world.pass(1);
    assert_eq!(fence(world.hold_claim(claim.leg())), Fence::Expired);
    assert_eq!((world.text(1), world.segments), (before, segments), "refused heartbeats write nothing");
    world.cancel("r", "enough");
    let before = world.text(1);
    assert_eq!(over(world.hold_claim(claim.leg())), OverReason::RunEnded);
    assert_eq!(world.text(1), before);
    assert_eq!(world.partition.stats().fenced, 3);
}

#[test]
fn c_t4_the_same_completion_again_succeeds_without_an_event_and_another_one_conflicts() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    assert_eq!(world.complete_claim(claim.leg(), "1"), ended(false));
    for restarted in [false, true] {
        if restarted {
            world.restart(None);
        }
        let (before, segments) = (world.text(1), world.segments);
        assert_eq!(world.complete_claim(claim.leg(), "1"), ended(true), "restarted {restarted}");
        let other = world.complete_claim(claim.leg(), "2");
        assert!(matches!(other, Err(WorkersError::Conflicting { .. })), "{other:?}");
        let forged = LegRef { token: Token([9; 16]), ..claim.leg() };
        assert_eq!(fence(world.complete_claim(forged, "1")), Fence::Forged);
        assert_eq!((world.text(1), world.segments), (before, segments));
    }
    assert_eq!(names(&world.text(1)).iter().filter(|name| *name == "Received").count(), 1);
}

#[test]
fn c_t4_the_same_failure_again_succeeds_too_while_its_retry_waits() {
    let mut world = world(&[THREE]);
    world.start("r", "three", "0");
    let claim = world.claim_one("a", 1_000);
    assert_eq!(world.fail_claim(claim.leg(), "busy", None), ended(false));
    assert_eq!(world.fail_claim(claim.leg(), "busy", None), ended(true));
    world.restart(None);
    assert_eq!(world.fail_claim(claim.leg(), "busy", None), ended(true));
    let other = world.fail_claim(claim.leg(), "gone", None);
    assert!(matches!(other, Err(WorkersError::Conflicting { .. })), "{other:?}");
}

#[test]
fn c_t5_the_next_attempt_is_visible_at_its_time_across_a_restart_and_keeps_the_idempotency_key() {
    let mut world = world(&[THREE]);
    world.start("r", "three", "0");
    let first = world.claim_one("a", 1_000);
    assert_eq!(world.fail_claim(first.leg(), "busy", Some(5_000)), ended(false));
    world.pass(4_000);
    assert_eq!(world.claim_as("b", 1, 1_000).unwrap(), vec![]);
    world.restart(None);
    world.pass(999);
    assert_eq!(world.claim_as("b", 1, 1_000).unwrap(), vec![]);
    world.pass(1);
    let second = world.claim_one("b", 1_000);
    assert_eq!(second.request.conversation.attempt, 2);
    assert_eq!(second.request.idempotency_key(), first.request.idempotency_key());
    assert!(second.fencing > first.fencing);
}

#[test]
fn c_t6_the_token_stands_nowhere_in_what_is_written_or_shown() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    world.complete_claim(claim.leg(), "1").unwrap();
    let token = claim.request.token.0;
    let holds = |bytes: &[u8]| bytes.windows(16).any(|window| window == token);
    assert!(!world.records.iter().any(|record| holds(record)));
    // The hash does stand there: the search would find the token too.
    let hash = claim.request.token.hash().0;
    assert!(world.records.iter().any(|record| record.windows(16).any(|window| window == hash)));
    let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = format!("{}{:?}{claim:?}", world.text(1), claim.leg());
    assert!(!shown.contains(&hex) && !shown.contains(&format!("{token:?}")), "{shown}");
}

#[test]
fn c_t8_what_a_start_asks_for_is_in_line_with_it_and_after_a_crash_goes_out_once() {
    let mut world = world(&[ONE]);
    let before = world.segments;
    world.start("r", "one", "0");
    assert_eq!(world.segments, before + 1, "the start and its first activity are durable together");
    world.restart(None);
    assert_eq!(world.claim_as("a", 5, 1_000).unwrap().len(), 1);
    assert_eq!(world.claim_as("b", 5, 1_000).unwrap(), vec![]);
}

#[test]
fn c_t9_a_completion_and_what_the_workflow_makes_of_it_are_durable_together() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    let before = world.segments;
    world.complete_claim(claim.leg(), "1").unwrap();
    assert_eq!(world.segments, before + 1);
    let text = world.text(1);
    world.restart(None);
    assert_eq!(world.text(1), text, "nothing is applied a second time");
    let resolved = names(&text).iter().filter(|name| *name == "ActivityResolved").count();
    assert_eq!(resolved, 1);
}

#[test]
fn c_t10_what_waits_for_an_ended_run_cannot_be_claimed_and_late_words_for_it_are_counted_only() {
    let mut world = world(&[RACE]);
    world.start("r", "race", "0");
    let claim = world.claim_one("a", 60_000);
    world.cancel("r", "enough");
    assert_eq!(world.claim_as("b", 5, 1_000).unwrap(), vec![]);
    let (before, segments) = (world.text(1), world.segments);
    assert_eq!(over(world.complete_claim(claim.leg(), "1")), OverReason::RunEnded);
    assert_eq!(over(world.ask_workers(WorkersRequest::Release { leg: claim.leg() })), OverReason::RunEnded);
    assert_eq!((world.text(1), world.segments), (before, segments));
    assert_eq!((world.partition.stats().fenced, world.partition.stats().anomalies), (2, 0));
}

#[test]
fn c_t12_the_same_key_with_another_intent_is_a_conflict_and_the_first_stands() {
    let mut world = world(&[]);
    let schedule = |world: &mut World, input: &str| {
        let call =
            ActivityCall { options: ActivityOptions { max_losses: 9, ..Default::default() }, ..call("work", input) };
        world.start_payloads("bill-7", STANDALONE, call.to_standalone())
    };
    let first = schedule(&mut world, "1");
    assert!(matches!(first, Reply::Started { existing: false, .. }), "{first:?}");
    assert!(matches!(schedule(&mut world, "1"), Reply::Started { existing: true, .. }));
    let other = schedule(&mut world, "2");
    assert!(matches!(other, Reply::Refused(RequestError::Conflict { what: "input", .. })), "{other:?}");
    let claims = world.claim_as("a", 5, 1_000).unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].request.call.input, vec![json("1")]);
    world.complete_claim(claims[0].leg(), "\"paid\"").unwrap();
    let ended = world.ended("bill-7");
    let Some(Reply::Ended { outcome: RunOutcome::Completed { result }, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(result, vec![json("\"paid\"")]);
}

#[test]
fn c_t13_who_is_never_woken_finds_its_work_at_the_next_look() {
    let mut world = world(&[ONE]);
    // This one is woken.
    let waits = world.ask_later(claiming("b", 1, 1_000, 10_000));
    assert_eq!(world.fetch(waits), None);
    world.start("r", "one", "0");
    let Some(Ok(WorkersReply::Claimed(woken))) = world.fetch(waits) else { panic!("it was woken") };
    world.complete_claim(woken[0].leg(), "1").unwrap();
    // This one only looks, every second.
    world.start("s", "one", "0");
    world.pass(1_000);
    let found = world.claim_one("a", 1_000);
    world.complete_claim(found.leg(), "1").unwrap();
    // A wait without work ends at its time, with nothing.
    let waits = world.ask_later(claiming("b", 1, 1_000, 10_000));
    world.pass(9_999);
    assert_eq!(world.fetch(waits), None);
    world.pass(1);
    assert_eq!(world.fetch(waits), Some(Ok(WorkersReply::Claimed(vec![]))));
}

#[test]
fn of_those_who_wait_the_first_that_may_have_the_call_gets_it() {
    let mut world = world(&[ONE]);
    world.puller("deaf", &["another"], 1);
    let mut only = claiming("a", 1, 1_000, 10_000);
    let WorkersRequest::Claim(claim) = &mut only else { panic!("it is a claim") };
    claim.queues = vec!["default".into()];
    let waits: Vec<u64> = [claiming("deaf", 1, 1_000, 10_000), only, claiming("b", 1, 1_000, 10_000)]
        .into_iter()
        .map(|claim| world.ask_later(claim))
        .collect();
    for (place, run) in [(1, "r"), (2, "s")] {
        world.start(run, "one", "0");
        let got: Vec<bool> = waits.iter().map(|to| world.fetch(*to).is_some()).collect();
        assert_eq!(got, [false, place == 1, place == 2], "{run}");
    }
}

#[test]
fn a_worker_that_gives_a_claim_back_loses_nothing_and_another_has_it_at_once() {
    let mut world = world(&[ONE]);
    world.start("r", "one", "0");
    let claim = world.claim_one("a", 1_000);
    assert_eq!(world.ask_workers(WorkersRequest::Release { leg: claim.leg() }), Ok(WorkersReply::Done));
    for leg in 2..9 {
        let next = world.claim_one("b", 1_000);
        assert_eq!(next.request.leg, leg);
        world.ask_workers(WorkersRequest::Release { leg: next.leg() }).unwrap();
    }
    // So many losses would have been too many; the first real one is not.
    world.claim_one("b", 1_000);
    world.pass(1_000);
    assert_eq!(world.claim_one("a", 1_000).request.leg, 10);
    assert!(world.text(1).contains("Exited leg=1 given back"), "{}", world.text(1));
    assert_eq!(fence(world.complete_claim(claim.leg(), "1")), Fence::Stale);
}

#[test]
fn a_token_of_another_leg_and_a_leg_of_another_worker_are_foreign() {
    let mut world = world(&[RACE]);
    world.start("r", "race", "0");
    let claims = world.claim_as("a", 2, 1_000).unwrap();
    let swapped = LegRef { token: claims[1].request.token, ..claims[0].leg() };
    assert_eq!(fence(world.complete_claim(swapped, "1")), Fence::Foreign);
    let taken = LegRef { worker: "b".into(), ..claims[0].leg() };
    assert_eq!(fence(world.complete_claim(taken, "1")), Fence::Foreign);
    let mut unknown = claims[0].leg();
    unknown.conversation.run = RunKey(99);
    assert_eq!(over(world.complete_claim(unknown, "1")), OverReason::Unknown);
}

#[test]
fn impossible_numbers_and_unknown_workers_are_refused_by_name() {
    let mut world = world(&[]);
    for (max, lease_ms) in [(0, 1), (1, 0), (1, u64::MAX)] {
        let refused = world.claim_as("a", max, lease_ms);
        assert!(matches!(refused, Err(WorkersError::Option { .. })), "{refused:?}");
    }
    let nobody = world.claim_as("nobody", 1, 1);
    assert!(matches!(nobody, Err(WorkersError::NoSuchWorker { .. })), "{nobody:?}");
    let spec = worker("", &["work"], 1);
    let kind = antiphon_history::WorkerKind::Pull;
    assert!(matches!(
        world.ask_workers(WorkersRequest::Join { spec, kind, instance: None }),
        Err(WorkersError::Name(_))
    ));
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Claim { worker: bool, max: u32 },
    Complete(usize),
    Fail(usize),
    Release(usize),
    Hold(usize),
    Pass(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Start),
        6 => (any::<bool>(), 1..4u32).prop_map(|(worker, max)| Step::Claim { worker, max }),
        3 => (0..8usize).prop_map(Step::Complete),
        2 => (0..8usize).prop_map(Step::Fail),
        1 => (0..8usize).prop_map(Step::Release),
        2 => (0..8usize).prop_map(Step::Hold),
        4 => prop_oneof![1..50i64, 400..1_100i64].prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn c_t7_what_is_in_memory_after_any_life_is_what_the_record_alone_says(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = world(&[ONE, THREE, RACE]);
        let (mut held, mut started) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Start => {
                    started += 1;
                    let flow = ["one", "three", "race"][started % 3];
                    world.start(&format!("r{started}"), flow, "0");
                }
                Step::Claim { worker, max } => {
                    let worker = if worker { "a" } else { "b" };
                    held.extend(world.claim_as(worker, max, 500).unwrap());
                }
                // Whether it counts or not: nothing but its own leg may change by it.
                Step::Complete(index) => drop(held.get(index).map(|claim| world.complete_claim(claim.leg(), "1"))),
                Step::Fail(index) => drop(held.get(index).map(|claim| world.fail_claim(claim.leg(), "busy", None))),
                Step::Release(index) => {
                    drop(held.get(index).map(|claim| world.ask_workers(WorkersRequest::Release { leg: claim.leg() })));
                }
                Step::Hold(index) => drop(held.get(index).map(|claim| world.hold_claim(claim.leg()))),
                Step::Pass(ms) => world.pass(ms),
                Step::Restart => world.restart(None),
            }
            for (run, history) in world.runs() {
                prop_assert_eq!(world.partition.check_recorded(run, &history), Ok(()));
            }
        }
        // Every claim was given to one worker at a time, and each leg once.
        let mut legs: Vec<_> = held.iter().map(|claim| (claim.request.conversation, claim.request.leg)).collect();
        legs.sort_unstable();
        prop_assert!(legs.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", legs);
    }
}
