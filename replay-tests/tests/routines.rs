//! What becomes of a routine's slots: overlapping, missed, asked for by hand, refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{
    By, Context, Input, Ran, RanSlot, Reply, RoutineError, RoutineFilter, RoutineView, RoutinesReply, RoutinesRequest,
    RunFuture,
};
use antiphon_history::{
    CatchUp, Change, EntityName, Overlap, Payload, RetryPolicy, RoutinePatch, RoutineSpec, RoutineStatus,
    RoutineTarget, Schedule, SkipReason, Slot, SlotOutcome, Timestamp,
};
use antiphon_replay_tests::world::*;

const MINUTE: i64 = 60_000;

fn quick(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { done("1") })
}

fn works(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("work", "1")).await;
        done("1")
    })
}

fn waits(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.signal("go").await;
        done("1")
    })
}

/// Has something to undo, by an activity that nobody offers.
fn undoes(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.compensate(call("undo", "1"));
        context.activity(call("work", "1")).await;
        done("1")
    })
}

fn panics(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { panic!("no such customer") })
}

fn world() -> World {
    let programs: &[(&str, Begin)] =
        &[("quick", quick), ("works", works), ("waits", waits), ("undoes", undoes), ("panics", panics)];
    World::new(programs, vec![worker("w", &["work"], 10)])
}

/// Every minute, with an overlap policy.
fn minutely(target: &str, overlap: Overlap) -> RoutineSpec {
    let target = RoutineTarget::Workflow { workflow_type: target.into(), id_prefix: String::new(), input: vec![] };
    let schedule = Schedule::Interval { every_ms: MINUTE as u64, phase_ms: None };
    RoutineSpec { overlap, ..RoutineSpec::new(schedule, target) }
}

fn try_create(world: &mut World, id: &str, spec: RoutineSpec) -> RoutinesReply {
    let (id, spec, who, why) = (Some(id.to_owned()), Box::new(spec), String::new(), String::new());
    world.routines(RoutinesRequest::Create { id, spec, who, why })
}

fn create(world: &mut World, id: &str, spec: RoutineSpec) -> RoutineView {
    shown(try_create(world, id, spec))
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

fn run_due(world: &mut World) -> Vec<RanSlot> {
    match world.routines(RoutinesRequest::RunDue { now: None, limit: 100 }) {
        RoutinesReply::Ran(slots) => slots,
        other => panic!("{other:?}"),
    }
}

fn update(world: &mut World, id: &str, patch: RoutinePatch) -> RoutinesReply {
    let (id, patch, who, why) = (id.to_owned(), Box::new(patch), String::new(), String::new());
    world.routines(RoutinesRequest::Update { id, patch, who, why })
}

fn backfill(world: &mut World, id: &str, from: i64, to: i64) -> RoutinesReply {
    let (id, who, why) = (id.to_owned(), "ada".to_owned(), "the disk was full".to_owned());
    world.routines(RoutinesRequest::Backfill { id, from: Timestamp(from), to: Timestamp(to), who, why })
}

/// What a call of `run_due` did, in words: the slot in minutes since `start`, and what became of it.
fn ran(world: &mut World, start: i64) -> Vec<String> {
    let words = |slot: RanSlot| {
        let minute = (slot.slot.at().0 - start) / MINUTE;
        match slot.ran {
            Ran::Started { .. } => format!("{minute} started"),
            Ran::Buffered => format!("{minute} buffered"),
            Ran::Skipped(SkipReason::Overlap) => format!("{minute} overlaps"),
            Ran::Skipped(reason) => format!("{minute} {}", reason.name()),
            Ran::Failed { error, .. } => format!("{minute} failed: {error}"),
            Ran::Held(why) => format!("{minute} held: {why}"),
        }
    };
    run_due(world).into_iter().map(words).collect()
}

/// A routine whose first run is open; then three more slots fall due, one after another.
fn overlapping(overlap: Overlap) -> (World, i64, Vec<Vec<String>>) {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", minutely("works", overlap));
    let mut told = vec![ran(&mut world, start)];
    for _ in 0..3 {
        world.pass(MINUTE);
        told.push(ran(&mut world, start));
    }
    (world, start, told)
}

fn all(lists: &[Vec<String>]) -> Vec<&str> {
    lists.iter().flatten().map(String::as_str).collect()
}

#[test]
fn skip_lets_go_of_slots_that_fall_due_while_a_run_is_open() {
    let (mut world, start, told) = overlapping(Overlap::Skip);
    assert_eq!(all(&told), ["0 started", "1 overlaps", "2 overlaps", "3 overlaps"]);
    world.complete("1");
    assert_eq!(ran(&mut world, start), [""; 0], "what was skipped does not come back");
    world.pass(MINUTE);
    assert_eq!(ran(&mut world, start), ["4 started"]);
}

#[test]
fn buffer_one_keeps_the_first_slot_and_starts_it_when_the_run_has_ended() {
    let (mut world, start, told) = overlapping(Overlap::BufferOne);
    assert_eq!(all(&told), ["0 started", "1 buffered", "2 overlaps", "3 overlaps"]);
    world.restart(None);
    world.pass(30_000);
    world.complete("1");
    assert_eq!(ran(&mut world, start), ["1 started"]);
}

#[test]
fn buffer_all_keeps_every_slot_in_its_order() {
    let (mut world, start, told) = overlapping(Overlap::BufferAll);
    assert_eq!(all(&told), ["0 started", "1 buffered", "2 buffered", "3 buffered"]);
    for expected in ["1 started", "2 started", "3 started"] {
        world.complete("1");
        assert_eq!(ran(&mut world, start), [expected]);
        assert_eq!(ran(&mut world, start), [""; 0], "one at a time");
    }
}

#[test]
fn allow_all_starts_slots_beside_the_open_runs() {
    let (mut world, _, told) = overlapping(Overlap::AllowAll);
    assert_eq!(all(&told), ["0 started", "1 started", "2 started", "3 started"]);
    assert_eq!(get(&mut world, "r").state.open.len(), 4);
    (0..4).for_each(|_| world.complete("1"));
    assert_eq!(get(&mut world, "r").status, RoutineStatus::Active);
}

#[test]
fn cancel_other_cancels_the_open_run_and_starts_the_later_slot() {
    let (mut world, start, told) = overlapping(Overlap::CancelOther);
    // The run of minute 0 has no compensations: it ends at once, and the look that cancelled it finds the slot startable.
    assert_eq!(
        all(&told),
        ["0 started", "1 buffered", "1 started", "2 buffered", "2 started", "3 buffered", "3 started"]
    );
    assert!(world.text(1).contains("RunCancelled \"a later slot took its place\""), "{}", world.text(1));
    let view = get(&mut world, "r");
    assert_eq!(
        view.state.open.iter().map(|open| open.slot).collect::<Vec<_>>(),
        [Slot::Planned(Timestamp(start + 3 * MINUTE))]
    );
}

#[test]
fn cancel_other_reaches_a_run_that_has_left_memory() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", minutely("waits", Overlap::CancelOther));
    assert_eq!(ran(&mut world, start), ["0 started"]);
    let through = world.segments;
    world.step(Input::Archived { through });
    world.pass(MINUTE);
    assert!(!world.partition.has_run(antiphon_history::RunKey(1)), "it waits for a signal and was let go of");
    assert_eq!(ran(&mut world, start), ["1 buffered", "1 started"]);
    assert!(world.text(1).contains("RunCancelled"), "{}", world.text(1));
}

#[test]
fn terminate_other_ends_the_open_run_at_once_although_it_would_take_its_time_to_undo() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", minutely("undoes", Overlap::TerminateOther));
    assert_eq!(ran(&mut world, start), ["0 started"]);
    world.pass(MINUTE);
    let segments = world.segments;
    assert_eq!(ran(&mut world, start), ["1 buffered", "1 started"]);
    assert_eq!(world.segments, segments + 1, "the end, the slot's end and the next start are one segment");
    let text = world.text(1);
    assert!(text.contains("RunTerminated by \"engine\": \"a later slot took its place\""), "{text}");
    let view = get(&mut world, "r");
    assert_eq!(view.state.last.map(|last| last.outcome), Some(SlotOutcome::Terminated));
    assert_eq!(view.state.open.len(), 1);
    world.restart(None);
    world.pass(30_000);
    assert_eq!((world.text(1), ran(&mut world, start)), (text, vec![]), "what ended stays so, and is not tried again");
}

#[test]
fn terminate_other_reaches_a_run_that_has_left_memory_and_a_blocked_one_without_their_code() {
    for target in ["waits", "panics"] {
        let mut world = world();
        let start = world.now;
        create(&mut world, "r", minutely(target, Overlap::TerminateOther));
        assert_eq!(ran(&mut world, start), ["0 started"]);
        let through = world.segments;
        world.step(Input::Archived { through });
        world.pass(MINUTE);
        assert_eq!(world.partition.has_run(antiphon_history::RunKey(1)), target == "panics", "blocked ones stay");
        let loaded = world.partition.stats().loaded;
        assert_eq!(ran(&mut world, start), ["1 buffered", "1 started"]);
        assert!(world.text(1).contains("RunTerminated by \"engine\""), "{}", world.text(1));
        assert_eq!(world.partition.stats().loaded, loaded, "it was not replayed");
    }
}

#[test]
fn a_slot_whose_run_an_operator_terminates_is_over_and_not_tried_again() {
    let mut world = world();
    let start = world.now;
    let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    create(&mut world, "r", RoutineSpec { retry, ..minutely("works", Overlap::Skip) });
    assert_eq!(ran(&mut world, start), ["0 started"]);
    let target = target("r/1970-01-01T00:00:01Z");
    let by = By { who: "ada".into(), why: "stuck".into() };
    assert_eq!(world.ask(|reply| Input::Terminate { target, by, reply }), Reply::Accepted);
    let view = get(&mut world, "r");
    assert_eq!((view.status, view.state.retries.len(), view.state.open.len()), (RoutineStatus::Active, 0, 0));
    world.pass(MINUTE);
    assert_eq!(ran(&mut world, start), ["1 started"]);
}

#[test]
fn a_slot_that_follows_a_cancelled_run_does_not_take_the_id_of_a_run_that_has_left_memory() {
    let mut world = world();
    let start = world.now;
    world.start("r/1970-01-01T00:01:01Z", "waits", "1");
    create(&mut world, "r", minutely("waits", Overlap::CancelOther));
    assert_eq!(ran(&mut world, start), ["0 started"]);
    let through = world.segments;
    world.step(Input::Archived { through });
    world.pass(MINUTE);
    assert!(!world.partition.has_run(antiphon_history::RunKey(1)), "the stranger's run was let go of");
    let told = ran(&mut world, start);
    assert_eq!(told[0], "1 buffered");
    assert!(told[1].starts_with("1 failed: workflow id \"r/1970-01-01T00:01:01Z\" belongs to run"), "{told:?}");
}

#[test]
fn slots_that_were_missed_before_the_run_began_wait_their_turn_and_overlap_with_nothing() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", RoutineSpec { catch_up: CatchUp::All, ..minutely("works", Overlap::Skip) });
    world.pass(2 * MINUTE + 1);
    assert_eq!(ran(&mut world, start), ["0 started"]);
    assert_eq!(ran(&mut world, start), [""; 0], "minute 1 waits");
    world.complete("1");
    assert_eq!(ran(&mut world, start), ["1 started"]);
    world.complete("1");
    assert_eq!(ran(&mut world, start), ["2 started"]);
    world.pass(MINUTE);
    assert_eq!(ran(&mut world, start), ["3 overlaps"], "that one fell due while the run was open");
}

#[test]
fn a_routine_is_completed_by_its_number_of_runs_or_by_its_end() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "two", RoutineSpec { max_runs: Some(2), ..minutely("quick", Overlap::Skip) });
    let end_at = Some(Timestamp(start + MINUTE + 1));
    create(&mut world, "until", RoutineSpec { end_at, ..minutely("quick", Overlap::Skip) });
    for _ in 0..5 {
        run_due(&mut world);
        world.pass(MINUTE);
    }
    for id in ["two", "until"] {
        let view = get(&mut world, id);
        assert_eq!((view.status, view.state.runs), (RoutineStatus::Completed, 2), "{id}");
    }
}

#[test]
fn a_paused_routine_starts_nothing_and_catches_up_by_its_policy_when_it_is_resumed() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", minutely("quick", Overlap::Skip));
    let pause = |note: &str| RoutinesRequest::Pause { id: "r".into(), note: note.into(), who: "ada".into() };
    let view = shown(world.routines(pause("holidays")));
    assert_eq!((view.status, view.state.paused.as_deref()), (RoutineStatus::Paused, Some("holidays")));
    assert!(matches!(world.routines(pause("again")), RoutinesReply::Routine { existing: true, .. }));
    world.pass(5 * MINUTE + 1);
    world.restart(None);
    assert_eq!(ran(&mut world, start), [""; 0]);
    let resume = || RoutinesRequest::Resume { id: "r".into(), who: "ada".into(), why: String::new() };
    assert_eq!(shown(world.routines(resume())).status, RoutineStatus::Active);
    assert!(matches!(world.routines(resume()), RoutinesReply::Routine { existing: true, .. }));
    assert_eq!(ran(&mut world, start), ["0 started"], "one for the block that was missed");
    assert_eq!(ran(&mut world, start), [""; 0]);
    world.pass(MINUTE);
    assert_eq!(ran(&mut world, start), ["6 started"]);
}

#[test]
fn jitter_starts_a_slot_later_by_a_draw_that_is_the_same_at_every_look() {
    let starts = |restarted: bool| {
        let mut world = world().with_routines();
        create(&mut world, "r", RoutineSpec { jitter_ms: 50_000, ..minutely("quick", Overlap::Skip) });
        let start = world.now;
        let mut due = Vec::new();
        for _ in 0..20 {
            let view = get(&mut world, "r");
            let (slot, at) = (view.state.next.unwrap().0, view.due_at.unwrap().0);
            assert!((0..=50_000).contains(&(at - slot)), "{slot} {at}");
            if restarted {
                world.restart(None);
            }
            world.pass(at - 1 - world.now);
            assert_eq!(get(&mut world, "r").state.next, Some(Timestamp(slot)), "not before its draw");
            world.pass(1);
            assert_eq!(get(&mut world, "r").state.next, Some(Timestamp(slot + MINUTE)));
            due.push(at - start);
        }
        due
    };
    let draws = starts(false);
    assert_eq!(draws, starts(true));
    let spread: std::collections::BTreeSet<i64> = draws.iter().map(|at| at % MINUTE / 10_000).collect();
    assert!(spread.len() > 2, "the draws are spread: {draws:?}");
}

#[test]
fn a_backfill_carries_out_the_slots_of_a_past_time_one_after_another_as_runs_of_their_own() {
    let mut world = world();
    let start = world.now;
    let skip = CatchUp::Skip { late_ms: 0 };
    create(&mut world, "r", RoutineSpec { catch_up: skip, ..minutely("works", Overlap::Skip) });
    world.pass(3 * MINUTE + 1);
    assert_eq!(ran(&mut world, start), ["0 missed"]);
    shown(backfill(&mut world, "r", start + 1, start + 3 * MINUTE));
    for minute in 1..=3 {
        assert_eq!(ran(&mut world, start), [format!("{minute} started")]);
        assert_eq!(ran(&mut world, start), [""; 0], "one at a time");
        world.complete("1");
    }
    assert_eq!(ran(&mut world, start), [""; 0], "it is through");
    let text = world.entity_text(&EntityName::Routine("r".into()));
    assert!(text.contains("BackfillAsked") && text.contains("why=\"the disk was full\""), "{text}");
    assert!(text.contains("SlotStarted backfill-1/1970-01-01T00:01:01Z attempt 1"), "{text}");
    for (from, to) in [(start, world.now + 1), (start + 1, start + 2), (start + MINUTE, start)] {
        assert!(matches!(refused(backfill(&mut world, "r", from, to)), RoutineError::Invalid { .. }));
    }
    for _ in 0..8 {
        shown(backfill(&mut world, "r", start, start));
    }
    assert!(matches!(refused(backfill(&mut world, "r", start, start)), RoutineError::TooMany { max: 8, .. }));
}

#[test]
fn a_slot_whose_workflow_id_is_taken_fails_and_the_next_one_goes_on() {
    let mut world = world();
    let start = world.now;
    world.start("r/1970-01-01T00:00:01Z", "works", "1");
    create(&mut world, "r", minutely("quick", Overlap::Skip));
    let told = ran(&mut world, start);
    assert!(told[0].starts_with("0 failed: workflow id \"r/1970-01-01T00:00:01Z\" belongs to run"), "{told:?}");
    world.pass(MINUTE);
    assert_eq!(ran(&mut world, start), ["1 started"]);
}

#[test]
fn the_engine_carries_routines_out_by_itself_where_it_is_told_to() {
    let mut world = world().with_routines();
    create(&mut world, "r", minutely("quick", Overlap::Skip));
    world.pass(10 * MINUTE);
    assert_eq!(get(&mut world, "r").state.runs, 11);
    world.now += 10 * MINUTE;
    world.restart(None);
    world.pass(0);
    assert_eq!(get(&mut world, "r").state.runs, 12, "one for the block that was missed");
}

#[test]
fn an_update_of_the_schedule_gives_a_new_next_slot_and_of_the_rest_none() {
    let mut world = world();
    let start = world.now;
    create(&mut world, "r", minutely("quick", Overlap::Skip));
    run_due(&mut world);
    world.pass(10_000);
    let rest = RoutinePatch { overlap: Some(Overlap::AllowAll), max_runs: Change::Set(9), ..RoutinePatch::default() };
    let view = shown(update(&mut world, "r", rest));
    assert_eq!((view.state.next, view.state.spec.max_runs), (Some(Timestamp(start + MINUTE)), Some(9)));
    let hourly = Schedule::Interval { every_ms: 60 * MINUTE as u64, phase_ms: Some(0) };
    let patch = RoutinePatch { schedule: Some(hourly), max_runs: Change::Clear, ..RoutinePatch::default() };
    let view = shown(update(&mut world, "r", patch));
    assert_eq!((view.state.next, view.state.spec.max_runs), (Some(Timestamp(60 * MINUTE)), None));
    let by_hand = RoutinePatch { next: Some(Timestamp(start + 20_000)), ..RoutinePatch::default() };
    assert_eq!(shown(update(&mut world, "r", by_hand)).due_at, Some(Timestamp(start + 20_000)));
}

#[test]
fn lists_are_filtered_and_come_in_pages_the_latest_changed_first() {
    let mut world = world();
    for (id, label) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")] {
        let mut spec = minutely("quick", Overlap::Skip);
        spec.labels.insert("team".into(), label.into());
        create(&mut world, id, spec);
        world.pass(1);
    }
    let filter = RoutineFilter { label: Some(("team".into(), "x".into())), ..RoutineFilter::default() };
    let mut page = |after: Option<(Timestamp, String)>| match world.routines(RoutinesRequest::List {
        filter: filter.clone(),
        after,
        limit: 2,
    }) {
        RoutinesReply::Listed { routines, more } => (routines, more),
        other => panic!("{other:?}"),
    };
    let (first, more) = page(None);
    let ids = |views: &[RoutineView]| views.iter().map(|view| view.state.id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&first), more), (vec!["d".to_owned(), "c".to_owned()], true));
    let last = &first[1].state;
    let (second, more) = page(Some((last.updated_at, last.id.clone())));
    assert_eq!((ids(&second), more), (vec!["a".to_owned()], false));
}

#[test]
fn what_cannot_be_is_refused_by_its_name_and_writes_nothing() {
    let mut world = world();
    let base = || minutely("quick", Overlap::Skip);
    let cron = |expression: &str, zone: &str| RoutineSpec {
        schedule: Schedule::Cron { expression: expression.into(), zone: zone.into() },
        ..base()
    };
    let interval = |every_ms, phase_ms| RoutineSpec { schedule: Schedule::Interval { every_ms, phase_ms }, ..base() };
    let mut attempts = base();
    attempts.retry.max_attempts = 0;
    let large = RoutineTarget::Workflow {
        workflow_type: "quick".into(),
        id_prefix: String::new(),
        input: vec![json(&"9".repeat(9_000))],
    };
    let cases = [
        (cron("61 * * * *", "UTC"), "cron expression"),
        (cron("* * * *", "UTC"), "cron expression"),
        (cron("0 0 * * *", "Mars/Olympus"), "time zone"),
        (cron("0 0 30 2 *", "UTC"), "schedule"),
        (interval(0, None), "schedule"),
        (interval(10, Some(10)), "schedule"),
        (RoutineSpec { jitter_ms: MINUTE as u64, ..base() }, "jitter_ms"),
        (RoutineSpec { end_at: Some(Timestamp(1)), ..base() }, "schedule"),
        (RoutineSpec { max_runs: Some(0), ..base() }, "max_runs"),
        (attempts, "retry.max_attempts"),
        (RoutineSpec { target: large, ..base() }, "target"),
    ];
    for (spec, expected) in cases {
        match refused(try_create(&mut world, "r", spec)) {
            RoutineError::Invalid { field, .. } => assert_eq!(field, expected),
            other => panic!("{expected}: {other}"),
        }
    }
    let unknown = refused(try_create(&mut world, "r", minutely("nowhere", Overlap::Skip)));
    assert!(unknown.to_string().contains("[A0018]"), "{unknown}");
    let long = refused(try_create(&mut world, &"x".repeat(161), base()));
    assert!(matches!(long, RoutineError::Invalid { field: "id", .. }), "{long}");
    let nobody = world.routines(RoutinesRequest::Get { id: "r".into() });
    assert!(matches!(refused(nobody), RoutineError::NotFound { .. }));
    let later = RoutinesRequest::RunDue { now: Some(Timestamp(world.now + 1)), limit: 1 };
    assert!(matches!(refused(world.routines(later)), RoutineError::Invalid { field: "now", .. }));
    assert!(world.records.is_empty(), "nothing was written");
}
