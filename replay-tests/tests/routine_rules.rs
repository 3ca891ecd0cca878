//! What may stand in the way of a routine, and how the worker of its call is chosen.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::router::RoutingRequest;
use antiphon_engine::{By, Input, Reply, RoutineAsk, RoutineError, RoutinesReply, RoutinesRequest};
use antiphon_history::{
    Change, EntityName, Overlap, RoutePolicy, RouteRequest, RoutinePatch, RoutineSpec, RoutineTarget, Schedule,
};
use antiphon_replay_tests::world::*;
use std::sync::Arc;

const MINUTE: i64 = 60_000;

/// A world with three workers, and the guards `yes`, `no`, `panics` and `small`, which allows up to ten runs.
fn world() -> World {
    let mut programs = programs(&[]);
    let guards = &mut programs.routine_guards;
    assert!(guards.add("yes", Arc::new(|_: &RoutineAsk<'_>| Ok(()))));
    assert!(guards.add("no", Arc::new(|ask: &RoutineAsk<'_>| Err(format!("not for {} of {}", ask.who, ask.id)))));
    assert!(guards.add("panics", Arc::new(|_: &RoutineAsk<'_>| panic!("no such policy"))));
    assert!(!guards.add("no", Arc::new(|_: &RoutineAsk<'_>| Ok(()))), "a name is given once");
    let small = |ask: &RoutineAsk<'_>| match ask.spec.max_runs {
        Some(0..=10) => Ok(()),
        _ => Err(format!("more than ten runs; there were {:?}", ask.before.and_then(|before| before.max_runs))),
    };
    assert!(guards.add("small", Arc::new(small)));
    assert!(programs.routes.add_guard("closed", Arc::new(|_| Err("the shop is closed".to_owned()))));
    assert!(programs.routes.add_guard("open", Arc::new(|_| Ok(()))));
    let workers = ["w1", "w2", "w3"].map(|name| worker(name, &["work"], 9));
    World::with_programs(programs, workers.into())
}

fn prefers(worker: &str) -> RouteRequest {
    RouteRequest { preferred: vec![worker.into()], ..RouteRequest::default() }
}

/// Every minute one call, under its own route.
fn spec(own: Option<RouteRequest>) -> RoutineSpec {
    let call = with("work", "1", |options| options.route = own.map(Box::new));
    let target = RoutineTarget::Activity { call: Box::new(call), id_prefix: String::new() };
    let schedule = Schedule::Interval { every_ms: MINUTE as u64, phase_ms: None };
    RoutineSpec { overlap: Overlap::AllowAll, ..RoutineSpec::new(schedule, target) }
}

fn create(world: &mut World, id: &str, spec: RoutineSpec) -> Result<(), RoutineError> {
    let (id, spec, who, why) = (Some(id.to_owned()), Box::new(spec), "ada".to_owned(), String::new());
    answered(world.routines(RoutinesRequest::Create { id, spec, who, why }))
}

fn update(world: &mut World, id: &str, patch: RoutinePatch) -> Result<(), RoutineError> {
    let (id, patch, who, why) = (id.to_owned(), Box::new(patch), "bob".to_owned(), String::new());
    answered(world.routines(RoutinesRequest::Update { id, patch, who, why }))
}

fn answered(reply: RoutinesReply) -> Result<(), RoutineError> {
    match reply {
        RoutinesReply::Routine { .. } => Ok(()),
        RoutinesReply::Refused(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

/// Who gets the call of the slot that is due now.
fn next(world: &mut World) -> String {
    world.routines(RoutinesRequest::RunDue { now: None, limit: 9 });
    let worker = world.sent[0].0.clone();
    world.complete("1");
    world.pass(MINUTE);
    worker
}

fn default_route(world: &mut World, route: RouteRequest) {
    let request = RoutingRequest::Default { queue: "default".into(), route: Some(route), by: By::default() };
    assert!(matches!(world.ask(|to| Input::Routing(Box::new(request), to)), Reply::Routing(_)));
}

#[test]
fn the_route_of_a_routine_lies_under_that_of_its_call_and_over_that_of_its_queue() {
    let mut world = world();
    default_route(&mut world, prefers("w3"));
    create(&mut world, "plain", spec(None)).unwrap();
    assert_eq!(next(&mut world), "w3", "the queue's");
    let patch = |route| RoutinePatch { route, ..RoutinePatch::default() };
    update(&mut world, "plain", patch(Change::Set(Box::new(prefers("w2"))))).unwrap();
    assert_eq!(next(&mut world), "w2", "the routine's over the queue's");
    world.restart(None);
    assert_eq!(next(&mut world), "w2", "also behind a restart");
    update(&mut world, "plain", patch(Change::Clear)).unwrap();
    assert_eq!(next(&mut world), "w3");

    let mut world = self::world();
    default_route(&mut world, prefers("w3"));
    create(&mut world, "own", RoutineSpec { route: Some(Box::new(prefers("w2"))), ..spec(Some(prefers("w1"))) })
        .unwrap();
    assert_eq!(next(&mut world), "w1", "the call's own over both");
}

#[test]
fn fields_of_the_layers_meet_and_a_guard_of_the_routine_stays_in_force() {
    let mut world = world();
    let excluded = RouteRequest { excluded: vec!["w1".into()], ..RouteRequest::default() };
    create(&mut world, "r", RoutineSpec { route: Some(Box::new(excluded)), ..spec(Some(prefers("w1"))) }).unwrap();
    assert_ne!(next(&mut world), "w1", "preferred by the call, excluded by the routine");

    let mut world = self::world();
    let guarded = |guard: &str| RouteRequest { guard: Some(guard.into()), ..RouteRequest::default() };
    let route = Some(Box::new(guarded("closed")));
    create(&mut world, "r", RoutineSpec { route, ..spec(Some(guarded("open"))) }).unwrap();
    world.routines(RoutinesRequest::RunDue { now: None, limit: 9 });
    assert!(world.sent.is_empty());
    assert!(world.text(1).contains("the shop is closed"), "{}", world.text(1));
}

#[test]
fn a_route_that_contradicts_itself_or_has_no_call_is_refused_and_nothing_is_written() {
    let mut world = world();
    let sticky = RouteRequest { policy: Some(RoutePolicy::Sticky), ..RouteRequest::default() };
    let refused = create(&mut world, "r", RoutineSpec { route: Some(Box::new(sticky)), ..spec(None) }).unwrap_err();
    assert!(refused.to_string().contains("[A0034]") || refused.to_string().contains("[A0035]"), "{refused}");
    let target = RoutineTarget::Workflow { workflow_type: "any".into(), id_prefix: String::new(), input: vec![] };
    let refused = create(&mut world, "r", RoutineSpec { route: Some(Box::new(prefers("w1"))), target, ..spec(None) });
    assert!(refused.unwrap_err().to_string().contains("[A0048]"));
    assert_eq!((world.entity_text(&EntityName::Routine("r".into())), world.segments), (String::new(), 0));
}

#[test]
fn a_guard_that_says_no_panics_or_is_not_there_keeps_a_routine_from_being_and_the_audit_says_so() {
    let mut world = world();
    for (guard, says) in [("no", "not for ada of r"), ("panics", "no such policy"), ("gone", "no guard of that name")] {
        let refused = create(&mut world, "r", RoutineSpec { guard: Some(guard.into()), ..spec(None) }).unwrap_err();
        assert!(refused.to_string().contains(says) && refused.to_string().contains("[A0066]"), "{refused}");
        assert!(world.entity_text(&EntityName::Audit).contains(says), "{}", world.entity_text(&EntityName::Audit));
    }
    assert_eq!(world.entity_text(&EntityName::Routine("r".into())), "");
    create(&mut world, "r", RoutineSpec { guard: Some("yes".into()), ..spec(None) }).unwrap();
}

#[test]
fn an_update_is_looked_at_again_and_nobody_frees_a_routine_from_its_guard_without_its_word() {
    let mut world = world();
    create(&mut world, "r", RoutineSpec { max_runs: Some(5), guard: Some("small".into()), ..spec(None) }).unwrap();
    let text = |world: &World| world.entity_text(&EntityName::Routine("r".into()));
    let before = text(&world);
    let more = RoutinePatch { max_runs: Change::Set(50), ..RoutinePatch::default() };
    let refused = update(&mut world, "r", more.clone()).unwrap_err();
    assert!(refused.to_string().contains("there were Some(5)"), "{refused}");
    for guard in [Change::Clear, Change::Set("yes".into())] {
        let refused = update(&mut world, "r", RoutinePatch { guard, ..more.clone() }).unwrap_err();
        assert!(matches!(refused, RoutineError::Denied { ref guard, .. } if &**guard == "small"), "{refused}");
    }
    let swapped = RoutinePatch { guard: Change::Set("no".into()), ..RoutinePatch::default() };
    let refused = update(&mut world, "r", swapped).unwrap_err();
    assert!(matches!(refused, RoutineError::Denied { ref guard, .. } if &**guard == "no"), "the new one is asked too");
    assert_eq!(text(&world), before);
    update(&mut world, "r", RoutinePatch { max_runs: Change::Set(7), ..RoutinePatch::default() }).unwrap();
    update(&mut world, "r", RoutinePatch { guard: Change::Clear, ..RoutinePatch::default() }).unwrap();
    update(&mut world, "r", more).unwrap();
}

#[test]
fn a_guard_is_not_asked_at_slots_nor_by_a_repeated_creation() {
    let mut world = world();
    create(&mut world, "r", RoutineSpec { guard: Some("yes".into()), ..spec(None) }).unwrap();
    world.restart_with(Some(programs(&[])));
    create(&mut world, "r", RoutineSpec { guard: Some("yes".into()), ..spec(None) }).unwrap();
    next(&mut world);
    assert!(world.text(1).contains("RunStarted"), "{}", world.text(1));
}
