//! The acceptance rows of routines, each by its id: what a caller sees, and what the record says.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    Context, Ran, RanSlot, RoutineError, RoutineFilter, RoutineView, RoutinesReply, RoutinesRequest, RunFuture,
};
use antiphon_history::{
    ActivityOutcome, CatchUp, EntityName, Payload, RetryPolicy, RoutinePatch, RoutineSpec, RoutineStatus,
    RoutineTarget, Schedule, Slot, Timestamp,
};
use antiphon_replay_tests::world::*;

const MINUTE: i64 = 60_000;

fn quick(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { done("1") })
}

fn failing(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { antiphon_engine::Ending::Failed(failure("it never works")) })
}

/// Does what the worker says.
fn works(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        match context.activity(call("work", "1")).await {
            ActivityOutcome::Completed { result } => antiphon_engine::Ending::Completed(result),
            _ => antiphon_engine::Ending::Failed(failure("the work failed")),
        }
    })
}

fn panics(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { panic!("this workflow always panics") })
}

fn unattended(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("nobody", "1")).await;
        done("1")
    })
}

const PROGRAMS: &[(&str, Begin)] =
    &[("quick", quick), ("failing", failing), ("works", works), ("panics", panics), ("unattended", unattended)];

fn world() -> World {
    World::new(PROGRAMS, vec![worker("w", &["work"], 10)])
}

fn to(workflow_type: &str) -> RoutineTarget {
    RoutineTarget::Workflow { workflow_type: workflow_type.into(), id_prefix: String::new(), input: vec![] }
}

fn once(at: i64) -> Schedule {
    Schedule::Once { at: Timestamp(at) }
}

fn every(every_ms: i64) -> Schedule {
    Schedule::Interval { every_ms: every_ms as u64, phase_ms: None }
}

fn try_create(
    world: &mut World,
    id: &str,
    schedule: Schedule,
    target: &str,
    set: impl FnOnce(&mut RoutineSpec),
) -> RoutinesReply {
    let mut spec = Box::new(RoutineSpec::new(schedule, to(target)));
    set(&mut spec);
    world.routines(RoutinesRequest::Create { id: Some(id.into()), spec, who: "ada".into(), why: "a test".into() })
}

fn create(
    world: &mut World,
    id: &str,
    schedule: Schedule,
    target: &str,
    set: impl FnOnce(&mut RoutineSpec),
) -> RoutineView {
    shown(try_create(world, id, schedule, target, set))
}

fn shown(reply: RoutinesReply) -> RoutineView {
    match reply {
        RoutinesReply::Routine { routine, .. } => *routine,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: RoutinesReply) -> RoutineError {
    match reply {
        RoutinesReply::Refused(error) => error,
        other => panic!("{other:?}"),
    }
}

fn get(world: &mut World, id: &str) -> RoutineView {
    shown(world.routines(RoutinesRequest::Get { id: id.into() }))
}

fn status(world: &mut World, id: &str) -> RoutineStatus {
    get(world, id).status
}

fn ran(reply: RoutinesReply) -> Vec<RanSlot> {
    match reply {
        RoutinesReply::Ran(slots) => slots,
        other => panic!("{other:?}"),
    }
}

fn run_due(world: &mut World) -> Vec<RanSlot> {
    ran(world.routines(RoutinesRequest::RunDue { now: None, limit: 1_000 }))
}

/// Calls `run_due` until nothing is due. The slots that were started, in order.
fn run_all_due(world: &mut World) -> Vec<Slot> {
    let mut started = Vec::new();
    loop {
        let slots = run_due(world);
        if slots.is_empty() {
            return started;
        }
        started.extend(slots.iter().filter(|slot| matches!(slot.ran, Ran::Started { .. })).map(|slot| slot.slot));
    }
}

fn run_now(world: &mut World, id: &str) -> RoutinesReply {
    world.routines(RoutinesRequest::RunNow { id: id.into(), who: "ada".into(), why: "now".into() })
}

fn cancel(world: &mut World, id: &str) -> RoutinesReply {
    world.routines(RoutinesRequest::Cancel { id: id.into(), who: "ada".into(), why: "enough".into() })
}

fn pause(world: &mut World, id: &str) -> RoutineView {
    shown(world.routines(RoutinesRequest::Pause { id: id.into(), note: "holidays".into(), who: "ada".into() }))
}

fn next_due_at(world: &mut World) -> Option<i64> {
    match world.routines(RoutinesRequest::NextDueAt) {
        RoutinesReply::NextDueAt(at) => at.map(|at| at.0),
        other => panic!("{other:?}"),
    }
}

fn list_due(world: &mut World) -> Vec<String> {
    match world.routines(RoutinesRequest::ListDue { at: None, limit: 100 }) {
        RoutinesReply::Listed { routines, .. } => routines.into_iter().map(|view| view.state.id).collect(),
        other => panic!("{other:?}"),
    }
}

/// The events of a routine, one per line.
fn dump(world: &World, id: &str) -> String {
    world.entity_text(&EntityName::Routine(id.into()))
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_b_t1_a_once_routine_in_the_past_runs_at_the_first_run_due_and_is_completed() {
    let mut world = world();
    create(&mut world, "r", once(0), "quick", |_| {});
    assert_eq!(list_due(&mut world), ["r"]);
    let slots = run_due(&mut world);
    assert!(matches!(&slots[..], [RanSlot { slot: Slot::Planned(Timestamp(0)), ran: Ran::Started { .. }, .. }]));
    let view = get(&mut world, "r");
    assert_eq!((view.status, view.state.next, view.state.runs), (RoutineStatus::Completed, None, 1));
    assert!(list_due(&mut world).is_empty());
    assert_eq!(run_due(&mut world), []);
    assert_eq!(next_due_at(&mut world), None);
    let dump = dump(&world, "r");
    assert!(dump.contains("SlotStarted 1970-01-01T00:00:00Z attempt 1 run 1"), "{dump}");
    assert!(dump.ends_with("SlotEnded 1970-01-01T00:00:00Z attempt 1 completed"), "{dump}");
    assert!(world.text(1).starts_with("run 1 RunStarted quick v1 () routine=r slot=1970-01-01T00:00:00Z attempt=1"));
}

#[test]
fn a_b_t2_what_was_missed_in_ten_minutes_runs_once_ten_times_or_not_at_all_by_the_catch_up_policy() {
    let slept = |catch_up| {
        let mut world = world();
        let start = Timestamp(world.now + MINUTE);
        create(&mut world, "r", every(MINUTE), "quick", |spec| {
            spec.catch_up = catch_up;
            spec.start_at = Some(start);
        });
        world.pass(10 * MINUTE + MINUTE / 2);
        let at = |slot: Slot| (slot.at().0 - start.0) / MINUTE;
        let caught_up: Vec<i64> = run_all_due(&mut world).into_iter().map(at).collect();
        let next = (get(&mut world, "r").state.next.unwrap().0 - start.0) / MINUTE;
        world.pass(MINUTE / 2);
        (caught_up, next, run_all_due(&mut world).into_iter().map(at).collect::<Vec<_>>())
    };
    assert_eq!(slept(CatchUp::One), (vec![0], 10, vec![10]));
    assert_eq!(slept(CatchUp::All), ((0..10).collect(), 10, vec![10]));
    assert_eq!(slept(CatchUp::Skip { late_ms: 10_000 }), (vec![], 10, vec![10]));
}

#[test]
fn a_b_t3_an_always_failing_slot_waits_for_its_retry_and_then_exhausts_the_routine() {
    let mut world = world();
    let at = world.now;
    create(&mut world, "r", once(at), "failing", |spec| {
        spec.retry = RetryPolicy { max_attempts: 2, initial_ms: 25, ..RetryPolicy::default() };
    });
    run_due(&mut world);
    let view = get(&mut world, "r");
    assert_eq!(view.status, RoutineStatus::RetryWaiting);
    assert!(view.due_at.unwrap().0 >= at + 25, "{view:?}");
    assert_eq!(run_due(&mut world), [], "the wait is not over");
    world.pass(25);
    assert!(matches!(run_due(&mut world)[0].ran, Ran::Started { attempt: 2, .. }));
    let view = get(&mut world, "r");
    assert_eq!(view.status, RoutineStatus::Exhausted);
    assert!(view.state.last_failed.is_some() && view.state.last_completed.is_none());
    let dump = dump(&world, "r");
    assert_eq!((count(&dump, "SlotStarted"), count(&dump, "SlotEnded")), (2, 2), "{dump}");
    assert!(dump.contains("attempt 1 run 1") && dump.contains("attempt 2 run 2"), "{dump}");
    assert!(world.text(2).contains("routine=r slot=1970-01-01T00:00:01Z attempt=2"), "{}", world.text(2));
}

#[test]
fn a_b_t4_after_a_retry_succeeds_the_next_slot_is_on_the_original_grid() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", every(MINUTE), "works", |spec| {
        spec.retry = RetryPolicy { max_attempts: 2, initial_ms: 25_000, ..RetryPolicy::default() };
    });
    run_due(&mut world);
    world.answer(Answer::Failed { failure: failure("no"), retryable: true });
    assert_eq!(status(&mut world, "r"), RoutineStatus::RetryWaiting);
    world.pass(25_000);
    run_due(&mut world);
    world.complete("1");
    let view = get(&mut world, "r");
    assert_eq!((view.status, view.state.next), (RoutineStatus::Active, Some(Timestamp(start + MINUTE))));
    world.pass(MINUTE - 25_000);
    assert_eq!(run_due(&mut world)[0].slot, Slot::Planned(Timestamp(start + MINUTE)));
}

#[test]
fn a_b_t5_two_runners_on_a_hundred_due_routines_start_a_hundred_runs_none_twice() {
    let mut world = world();
    for number in 0..100 {
        create(&mut world, &format!("r{number:02}"), once(0), "works", |_| {});
    }
    let ask = || RoutinesRequest::RunDue { now: None, limit: 60 };
    let both = world.routines_at_once(vec![ask(), ask()]);
    let ids: Vec<String> = both.into_iter().flat_map(ran).map(|slot| slot.id).collect();
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (100, 100));
    assert_eq!(run_due(&mut world), []);
    assert_eq!(world.runs().len(), 100);
}

#[test]
fn a_b_t6_a_kill_inside_an_execution_leaves_no_routine_in_running() {
    let mut world = world();
    create(&mut world, "r", every(MINUTE), "works", |_| {});
    run_due(&mut world);
    assert_eq!(world.sent.len(), 1);
    // The engine dies with the worker's request under way.
    world.restart(None);
    assert_eq!(status(&mut world, "r"), RoutineStatus::Running);
    assert_eq!(run_due(&mut world), [], "the slot is taken: nobody starts it again");
    world.pass(30_000);
    let (_, request) = world.sent[0].clone();
    assert_eq!(request.leg, 2, "the lost leg is sent again");
    world.complete("1");
    assert_eq!(status(&mut world, "r"), RoutineStatus::Active);
    let dump = dump(&world, "r");
    assert_eq!((count(&dump, "SlotStarted"), count(&dump, "SlotEnded")), (1, 1), "{dump}");
}

#[test]
fn a_b_t7_run_now_is_refused_while_running_and_leaves_the_next_slot_of_a_paused_routine() {
    let mut world = world();
    create(&mut world, "r", every(MINUTE), "works", |_| {});
    run_due(&mut world);
    let before = dump(&world, "r");
    assert!(matches!(refused(run_now(&mut world, "r")), RoutineError::Busy { status: RoutineStatus::Running, .. }));
    assert_eq!((world.sent.len(), dump(&world, "r")), (1, before));
    world.complete("1");
    let next = pause(&mut world, "r").state.next;
    let slots = ran(run_now(&mut world, "r"));
    assert!(matches!(&slots[0], RanSlot { slot: Slot::Manual { number: 1, .. }, ran: Ran::Started { .. }, .. }));
    assert_eq!(status(&mut world, "r"), RoutineStatus::Running);
    world.complete("1");
    let view = get(&mut world, "r");
    assert_eq!((view.status, view.state.next), (RoutineStatus::Paused, next));
    assert_eq!(view.state.last.unwrap().slot, slots[0].slot);
}

#[test]
fn a_b_t8_busy_and_finished_routines_are_not_updated() {
    let mut world = world();
    let update = |world: &mut World, id: &str| {
        let patch = Box::new(RoutinePatch { jitter_ms: Some(5), ..RoutinePatch::default() });
        world.routines(RoutinesRequest::Update { id: id.into(), patch, who: "ada".into(), why: String::new() })
    };
    let retry = |spec: &mut RoutineSpec| spec.retry.max_attempts = 2;
    create(&mut world, "running", every(MINUTE), "works", |_| {});
    create(&mut world, "waiting", every(MINUTE), "failing", retry);
    create(&mut world, "completed", once(0), "quick", |_| {});
    create(&mut world, "cancelled", every(MINUTE), "quick", |_| {});
    cancel(&mut world, "cancelled");
    run_due(&mut world);
    for (id, busy) in [("running", true), ("waiting", true), ("completed", false), ("cancelled", false)] {
        let before = dump(&world, id);
        let error = refused(update(&mut world, id));
        assert_eq!(matches!(error, RoutineError::Busy { .. }), busy, "{id}: {error}");
        assert_eq!(matches!(error, RoutineError::Terminal { .. }), !busy, "{id}: {error}");
        assert_eq!(dump(&world, id), before);
    }
    create(&mut world, "active", every(MINUTE), "quick", |_| {});
    assert_eq!(shown(update(&mut world, "active")).state.spec.jitter_ms, 5);
}

#[test]
fn a_b_t9_cancel_while_running_cancels_the_run_and_a_late_success_changes_nothing() {
    let mut world = world();
    create(&mut world, "r", every(MINUTE), "works", |_| {});
    run_due(&mut world);
    let (_, request) = world.sent[0].clone();
    let view = shown(cancel(&mut world, "r"));
    assert_eq!((view.status, view.state.next, view.state.open.len()), (RoutineStatus::Cancelled, None, 0));
    assert!(world.text(1).contains("RunCancelled"), "{}", world.text(1));
    let before = dump(&world, "r");
    world.answer_to(&request, Answer::Completed { result: vec![json("1")] });
    world.pass(10 * MINUTE);
    assert_eq!(run_due(&mut world), []);
    assert!(matches!(cancel(&mut world, "r"), RoutinesReply::Routine { existing: true, .. }));
    assert_eq!(dump(&world, "r"), before);
    assert!(matches!(refused(run_now(&mut world, "r")), RoutineError::Terminal { .. }));
}

#[test]
fn a_b_t10_one_idempotency_key_is_one_routine_and_another_body_is_a_conflict() {
    let mut world = world();
    let ask = |world: &mut World, every_ms| {
        let mut spec = Box::new(RoutineSpec::new(every(every_ms), to("quick")));
        spec.idempotency_key = Some("order 7".into());
        world.routines(RoutinesRequest::Create { id: None, spec, who: "ada".into(), why: String::new() })
    };
    let first = shown(ask(&mut world, MINUTE));
    world.restart(None);
    let RoutinesReply::Routine { routine, existing } = ask(&mut world, MINUTE) else { panic!("a routine") };
    assert_eq!((routine.state.id, existing), (first.state.id.clone(), true));
    let before = world.records.len();
    let error = refused(ask(&mut world, 2 * MINUTE));
    let RoutineError::Conflict { what, id, .. } = error else { panic!("{error}") };
    assert_eq!((what, id, world.records.len()), ("idempotency key", first.state.id, before));
}

#[test]
fn a_b_t11_next_due_at_is_the_smallest_slot_of_those_that_are_active_or_wait_for_a_retry() {
    let mut world = world();
    assert_eq!(next_due_at(&mut world), None);
    let now = world.now;
    create(&mut world, "late", once(now + 900), "quick", |_| {});
    create(&mut world, "retrying", once(now), "failing", |spec| {
        spec.retry = RetryPolicy { max_attempts: 2, initial_ms: 500, ..RetryPolicy::default() };
    });
    assert_eq!(next_due_at(&mut world), Some(now));
    run_due(&mut world);
    assert_eq!(next_due_at(&mut world), Some(now + 500), "the retry");
    create(&mut world, "soon", once(now + 100), "quick", |_| {});
    assert_eq!(next_due_at(&mut world), Some(now + 100));
    for id in ["soon", "retrying", "late"] {
        pause(&mut world, id);
    }
    assert_eq!(next_due_at(&mut world), None, "all are paused");
}

#[test]
fn a_b_t12_a_routine_that_cannot_work_fails_alone_and_the_rest_of_the_batch_runs() {
    let mut world = world();
    for (id, target) in [
        ("a-panics", "panics"),
        ("b-nobody", "unattended"),
        ("c-gone", "failing"),
        ("d-fine", "quick"),
        ("e-fine", "quick"),
    ] {
        create(&mut world, id, once(0), target, |_| {});
    }
    // A program that no longer has the code of one of them.
    let left: Vec<(&'static str, Begin)> = PROGRAMS.iter().copied().filter(|(name, _)| *name != "failing").collect();
    world.restart(Some(&left));
    let slots = run_due(&mut world);
    assert_eq!(
        slots.iter().map(|slot| slot.id.as_str()).collect::<Vec<_>>(),
        ["a-panics", "b-nobody", "c-gone", "d-fine", "e-fine"]
    );
    assert!(matches!(&slots[2].ran, Ran::Failed { attempt: 1, error } if error.contains("A0018")), "{slots:?}");
    let all = ["a-panics", "b-nobody", "c-gone", "d-fine", "e-fine"].map(|id| status(&mut world, id));
    use RoutineStatus::{Completed, Exhausted, Running};
    assert_eq!(all, [Running, Running, Exhausted, Completed, Completed]);
    assert!(world.text(1).contains("Blocked"), "{}", world.text(1));
    let filter = RoutineFilter { status: Some(Completed), ..RoutineFilter::default() };
    let RoutinesReply::Listed { routines, more } =
        world.routines(RoutinesRequest::List { filter, after: None, limit: 1 })
    else {
        panic!("a list")
    };
    assert_eq!((routines.len(), more), (1, true));
}
