//! Routines under random requests, answers, waits and restarts: what is in memory is what the record says, and no slot is
//! carried out twice, out of order or off its grid.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{Context, RoutinesReply, RoutinesRequest, RunFuture};
use antiphon_history::{
    ActivityOutcome, CatchUp, EntityEvent, EntityName, EntityState, Events, Overlap, Payload, Record, RetryPolicy,
    RoutineEvent, RoutineSpec, RoutineState, RoutineStatus, RoutineTarget, RunKey, RunStatus, Schedule, Slot,
    SlotOutcome, Timestamp,
};
use antiphon_replay_tests::world::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const EVERY: i64 = 1_000;

fn works(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        match context.activity(call("work", "1")).await {
            ActivityOutcome::Completed { .. } => done("1"),
            _ => antiphon_engine::Ending::Failed(failure("no")),
        }
    })
}

#[derive(Clone, Debug)]
enum Act {
    Pass(i64),
    Sleep(i64),
    RunDue,
    Answer(bool),
    Pause,
    Resume,
    RunNow,
    Backfill(i64, i64),
    Update(Overlap),
    Restart,
    Cancel,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0i64..3 * EVERY).prop_map(Act::Pass),
        2 => (0i64..8 * EVERY).prop_map(Act::Sleep),
        8 => Just(Act::RunDue),
        8 => any::<bool>().prop_map(Act::Answer),
        1 => Just(Act::Pause),
        2 => Just(Act::Resume),
        2 => Just(Act::RunNow),
        1 => (0i64..10 * EVERY, 0i64..5 * EVERY).prop_map(|(back, length)| Act::Backfill(back, length)),
        1 => overlap().prop_map(Act::Update),
        2 => Just(Act::Restart),
    ]
}

fn overlap() -> impl Strategy<Value = Overlap> {
    prop::sample::select(vec![
        Overlap::Skip,
        Overlap::BufferOne,
        Overlap::BufferAll,
        Overlap::CancelOther,
        Overlap::TerminateOther,
        Overlap::AllowAll,
    ])
}

fn spec() -> impl Strategy<Value = RoutineSpec> {
    let catch_up = prop_oneof![
        Just(CatchUp::All),
        Just(CatchUp::One),
        (600u64..2_000).prop_map(|late_ms| CatchUp::Skip { late_ms })
    ];
    let schedule = prop_oneof![
        4 => prop::option::of(0u64..EVERY as u64)
            .prop_map(|phase_ms| Schedule::Interval { every_ms: EVERY as u64, phase_ms }),
        1 => (0i64..5 * EVERY).prop_map(|at| Schedule::Once { at: Timestamp(at) }),
    ];
    (schedule, catch_up, overlap(), 1u32..4, prop::option::of(1u64..9), 0u64..EVERY as u64).prop_map(
        |(schedule, catch_up, overlap, max_attempts, max_runs, jitter_ms)| {
            let target =
                RoutineTarget::Workflow { workflow_type: "works".into(), id_prefix: String::new(), input: vec![] };
            let retry = RetryPolicy { max_attempts, initial_ms: 300, ..RetryPolicy::default() };
            RoutineSpec { catch_up, overlap, retry, max_runs, jitter_ms, ..RoutineSpec::new(schedule, target) }
        },
    )
}

fn state(world: &mut World) -> RoutineState {
    match world.routines(RoutinesRequest::Get { id: "r".into() }) {
        RoutinesReply::Routine { routine, .. } => routine.state,
        other => panic!("{other:?}"),
    }
}

fn carry_out(world: &mut World, act: &Act) {
    let (id, who, why) = ("r".to_owned(), "ada".to_owned(), String::new());
    let request = match act {
        Act::Pass(ms) => return world.pass(*ms),
        Act::Sleep(ms) => {
            world.now += ms;
            return;
        }
        Act::Answer(well) if !world.sent.is_empty() => {
            let answer = if *well {
                Answer::Completed { result: vec![json("1")] }
            } else {
                Answer::Failed { failure: failure("no"), retryable: true }
            };
            return world.answer(answer);
        }
        Act::Answer(_) => return,
        Act::Restart => return world.restart(None),
        Act::RunDue => RoutinesRequest::RunDue { now: None, limit: 10 },
        Act::Pause => RoutinesRequest::Pause { id, note: "wait".into(), who },
        Act::Resume => RoutinesRequest::Resume { id, who, why },
        Act::RunNow => RoutinesRequest::RunNow { id, who, why },
        Act::Cancel => RoutinesRequest::Cancel { id, who, why },
        Act::Backfill(back, length) => {
            let from = Timestamp(world.now - back);
            let to = Timestamp((from.0 + length).min(world.now));
            RoutinesRequest::Backfill { id, from, to, who, why }
        }
        Act::Update(overlap) => {
            let patch = antiphon_history::RoutinePatch { overlap: Some(*overlap), ..Default::default() };
            RoutinesRequest::Update { id, patch: Box::new(patch), who, why }
        }
    };
    // Refusals are part of life; what they leave behind is checked like everything else.
    world.routines(request);
}

/// What the record alone says of the routine.
fn recorded(world: &World) -> RoutineState {
    let rows = world.entities();
    let entity = rows.into_iter().find_map(|row| row.entity).expect("the routine exists");
    assert_eq!(entity.name, EntityName::Routine("r".into()));
    match entity.state {
        EntityState::Routine(Some(state)) => *state,
        other => panic!("{other:?}"),
    }
}

/// What must hold of every record of a routine.
fn check(world: &World, spec: &RoutineSpec, origin: i64) -> Result<(), TestCaseError> {
    let mut attempts: BTreeMap<Slot, u32> = BTreeMap::new();
    let mut open: BTreeMap<Slot, RunKey> = BTreeMap::new();
    let mut latest = i64::MIN;
    let runs = world.runs();
    let mut carried = BTreeSet::new();
    for bytes in &world.records {
        let record = Record::read(bytes).unwrap();
        let Events::Entity(events) = &record.events else { continue };
        for event in events {
            let EntityEvent::Routine(event) = event else { continue };
            match event {
                RoutineEvent::SlotStarted { slot, attempt, run, .. } => {
                    let before = attempts.insert(*slot, *attempt).unwrap_or(0);
                    prop_assert_eq!(before + 1, *attempt, "attempts of {} in a row", slot);
                    prop_assert!(*attempt <= spec.retry.max_attempts.max(1));
                    let run = run.expect("every run can be started here");
                    prop_assert!(carried.insert(run), "a run of its own");
                    prop_assert!(open.insert(*slot, run).is_none());
                    prop_assert!(record.at >= slot.at(), "not before its time");
                    if let Slot::Planned(at) = slot {
                        if matches!(spec.schedule, Schedule::Interval { .. }) {
                            prop_assert_eq!((at.0 - origin).rem_euclid(EVERY), 0, "on the grid");
                        }
                        if *attempt == 1 {
                            prop_assert!(at.0 > latest, "slots start in order");
                            latest = at.0;
                        }
                    }
                }
                RoutineEvent::SlotEnded { slot, outcome, .. } => {
                    let run = open.remove(slot).expect("it was open");
                    let status = runs[&run].row().unwrap().status;
                    let said = match outcome {
                        SlotOutcome::Completed => RunStatus::Completed,
                        SlotOutcome::Failed { .. } => RunStatus::Failed,
                        SlotOutcome::Cancelled => RunStatus::Cancelled,
                        SlotOutcome::Terminated => RunStatus::Terminated,
                    };
                    prop_assert_eq!(status, said, "slot and run end alike");
                }
                RoutineEvent::Cancelled { .. } => open.clear(),
                _ => {}
            }
        }
    }
    for (slot, run) in open {
        prop_assert!(!runs[&run].row().unwrap().status.is_closed(), "{slot} is open, its run has ended");
    }
    prop_assert_eq!(carried.len(), runs.len(), "no run without a slot");
    let planned = attempts.keys().filter(|slot| matches!(slot, Slot::Planned(_))).count() as u64;
    prop_assert!(spec.max_runs.is_none_or(|max| planned <= max), "{} of {:?}", planned, spec.max_runs);
    Ok(())
}

/// How many lives; more with `ANTIPHON_LIVES`.
fn lives() -> u32 {
    std::env::var("ANTIPHON_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: lives(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_of_a_routine_is_what_its_record_says_and_comes_to_rest(
        spec in spec(),
        by_itself: bool,
        acts in prop::collection::vec(act(), 1..60),
        cancelled: bool,
    ) {
        let mut world = World::new(&[("works", works)], vec![worker("w", &["work"], 50)]);
        if by_itself {
            world = world.with_routines();
        }
        let (id, who, why) = (Some("r".to_owned()), String::new(), String::new());
        world.routines(RoutinesRequest::Create { id, spec: Box::new(spec.clone()), who, why });
        let origin = state(&mut world).origin.0;
        for act in &acts {
            carry_out(&mut world, act);
            prop_assert_eq!(state(&mut world), recorded(&world), "after {:?}", act);
        }
        check(&world, &spec, origin)?;

        // From here on all is well: it comes to rest, or goes on for ever if it may.
        carry_out(&mut world, &Act::Resume);
        if cancelled {
            carry_out(&mut world, &Act::Cancel);
            prop_assert!(state(&mut world).status().is_terminal());
        }
        for _ in 0..400 {
            carry_out(&mut world, &Act::RunDue);
            carry_out(&mut world, &Act::Answer(true));
            world.pass(EVERY / 2);
        }
        check(&world, &spec, origin)?;
        let status = state(&mut world).status();
        let ends = cancelled || spec.max_runs.is_some() || matches!(spec.schedule, Schedule::Once { .. });
        prop_assert_eq!(status.is_terminal(), ends, "{}", status);
        prop_assert!(status != RoutineStatus::Running || !world.sent.is_empty(), "nothing is stranded");
    }
}
