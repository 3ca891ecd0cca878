//! What is stuck is found, repaired once, and never where it has recovered.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    By, Context, Finding, Input, LEASE_ENDED, QueuesReply, QueuesRequest, RepairError, RepairReply, RepairRequest,
    Report, RequestError, RoutinesReply, RoutinesRequest, Rule, RuleStats, RunFuture, Thresholds, WorkersRequest,
};
use antiphon_history::{
    EntityEvent, EntityName, Events, Payload, Record, RoutineEvent, RoutineSpec, RoutineTarget, RunEvent, RunKey,
    Schedule, Timestamp,
};
use antiphon_replay_tests::world::*;

fn one(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

fn bounded(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.max_losses = 2;
            options.retry.factor_percent = 100;
        });
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

fn once(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| options.at_most_once = true);
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

fn racing(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        match first(context.activity(call("echo", "1")), context.signal("enough")).await {
            Ok(outcome) => done(&format!("\"{outcome}\"")),
            Err(_) => done("\"enough\""),
        }
    })
}

const LIST: &[(&str, Begin)] = &[("one", one), ("bounded", bounded), ("once", once), ("racing", racing)];

/// Five minutes, in milliseconds.
const SILENT_MS: i64 = 300_000;

fn by() -> By {
    By { who: "ann".into(), why: "it hangs".into() }
}

fn report(world: &mut World, request: RepairRequest) -> Report {
    match world.repair(request).unwrap() {
        RepairReply::Report(report) => report,
        other => panic!("a look was answered with {other:?}"),
    }
}

fn scan(world: &mut World) -> Vec<Finding> {
    report(world, RepairRequest::Scan(Thresholds::default())).findings
}

fn reconcile(world: &mut World) -> Report {
    report(world, RepairRequest::Reconcile { thresholds: Thresholds::default(), dry_run: false, by: by() })
}

fn repair(world: &mut World, finding: &Finding) -> Result<RepairReply, RequestError> {
    let (finding, thresholds) = (finding.clone(), Thresholds::default());
    world.repair(RepairRequest::Repair { finding, thresholds, by: by() })
}

fn stats(report: &Report, rule: Rule) -> RuleStats {
    report.rules.iter().find(|(of, _)| *of == rule).unwrap().1
}

fn world() -> World {
    World::new(LIST, vec![worker("w1", &["echo"], 4)])
}

#[test]
fn e_t7_a_leg_that_is_silent_on_a_live_worker_is_sent_again_a_bounded_number_of_times() {
    let mut world = world();
    world.start("a", "bounded", "0");
    for leg in 1..=3 {
        assert_eq!(world.sent.last().unwrap().1.leg, leg);
        world.pass(SILENT_MS - 1);
        assert_eq!(reconcile(&mut world).repaired, 0, "not before its time");
        world.pass(1);
        assert_eq!(reconcile(&mut world).repaired, 1);
        // There is no other worker, so a wait comes between the legs.
        world.pass(1_000);
    }
    let text = world.text(1);
    assert_eq!(text.matches("Exited leg=1 nothing was heard of it for too long").count(), 1, "{text}");
    assert_eq!(world.cancelled.len(), 3, "the worker is told to stop each of them");
    assert!(text.contains("ActivityResolved #1 lost after 3: nothing was heard of it for too long"), "{text}");
    let letters = world.entity_text(&EntityName::DeadLetters);
    let noted = "Noted a #1.1 echo queue=default redriven: lost after 3: nothing was heard of it for too long";
    assert_eq!((letters.matches("Noted").count(), letters.contains(noted)), (1, true), "{letters}");
    let audit = world.entity_text(&EntityName::Audit);
    assert_eq!(audit.matches("Done repair.leg-silent a #1.1 leg").count(), 3, "{audit}");
    let first = world.sent.remove(0).1;
    world.answer_to(&first, Answer::Completed { result: vec![json("1")] });
    assert_eq!(world.text(1), text, "the lost answer that turns up at last changes nothing");
}

#[test]
fn a_call_that_must_not_run_twice_is_reported_and_never_sent_again() {
    let mut world = world();
    world.start("a", "once", "0");
    world.pass(SILENT_MS);
    let report = reconcile(&mut world);
    assert_eq!((report.findings.len(), report.repaired), (1, 0));
    let legs = stats(&report, Rule::LegSilent);
    assert_eq!((legs.found, legs.waiting, legs.repaired), (1, 1, 0));
    let refused = repair(&mut world, &report.findings[0]);
    assert!(matches!(refused, Err(RequestError::Repair(RepairError::NoLonger { .. }))), "{refused:?}");
}

#[test]
fn a_dry_run_tells_what_would_be_done_and_writes_nothing() {
    let mut world = world();
    world.start("a", "one", "0");
    world.pass(SILENT_MS);
    let (text, segments) = (world.text(1), world.segments);
    let dry = RepairRequest::Reconcile { thresholds: Thresholds::default(), dry_run: true, by: by() };
    let told = report(&mut world, dry);
    assert_eq!((told.findings.len(), told.repaired), (1, 0));
    assert_eq!((world.text(1), world.segments), (text, segments));
}

#[test]
fn e_t8_a_leg_whose_worker_is_gone_for_too_long_is_ended_by_force_once() {
    let mut world = World::new(LIST, vec![]);
    world.puller("w1", &["echo"], 1);
    world.start("a", "one", "0");
    let claim = world.claim_one("w1", 3_600_000);
    // Its lease is an hour; a worker that has said that it leaves will not use it, and need not be waited for.
    let leave = WorkersRequest::Leave { worker: "w1".into(), instance: None, reason: "pulled the plug".into() };
    world.ask_workers(leave).unwrap();
    world.pass(600_000 - 1);
    assert_eq!(reconcile(&mut world).repaired, 0, "not before its time");
    world.pass(1);
    assert_eq!(reconcile(&mut world).repaired, 1);
    let text = world.text(1);
    assert!(text.contains("Exited leg=1 the worker was gone for too long"), "{text}");
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.ends_with("Done repair.worker-gone a #1.1 leg 1 by ann: it hangs"), "{audit}");
    let second = reconcile(&mut world);
    assert_eq!((second.findings.len(), second.repaired), (0, 0));
    assert_eq!((world.text(1), world.entity_text(&EntityName::Audit)), (text, audit), "a second sweep writes nothing");
    assert!(world.complete_claim(claim.leg(), "1").is_err(), "its late answer is refused");
}

#[test]
fn a_leg_under_a_lease_may_be_silent_until_the_lease_ends() {
    let mut world = World::new(LIST, vec![]);
    world.puller("w1", &["echo"], 1);
    world.start("a", "one", "0");
    world.claim_one("w1", 3_600_000);
    let say_for = |world: &mut World, ms: i64| {
        for _ in 0..ms / 10_000 {
            world.pass(10_000);
            world.ask_workers(WorkersRequest::Alive { worker: "w1".into(), instance: None }).unwrap();
        }
    };
    for _ in 0..12 {
        assert!(scan(&mut world).is_empty());
        say_for(&mut world, SILENT_MS);
    }
    assert!(scan(&mut world).is_empty(), "it has ended at this very moment");
    say_for(&mut world, SILENT_MS);
    let found = scan(&mut world);
    assert_eq!(
        (found[0].rule, found[0].only_reported.as_deref()),
        (Rule::WaitsLong, Some("its lease has ended, and no other worker took it"))
    );
    let QueuesReply::Queues(views) = world.queues(QueuesRequest::List).unwrap() else { panic!("a list") };
    let stats = &views[0].stats;
    assert_eq!((stats.waiting, stats.in_flight, stats.oldest_ms), (1, 0, Some(SILENT_MS as u64)), "in line again");
    assert_eq!(stats.reasons, [(LEASE_ENDED, 1)].into());
}

#[test]
fn a_leg_under_a_lease_is_not_forced_because_its_worker_is_silent() {
    let mut world = World::new(LIST, vec![]);
    world.puller("w1", &["echo"], 1);
    world.start("a", "one", "0");
    let claim = world.claim_one("w1", 3_600_000);
    world.pass(1_800_000);
    assert!(world.entity_text(&EntityName::Workers).contains("Lost w1"), "it is gone, as far as anybody knows");
    assert_eq!(reconcile(&mut world).findings, [], "it may be at work behind a broken network");
    world.complete_claim(claim.leg(), "1").unwrap();
    assert!(world.text(1).contains("ActivityResolved #1 completed"), "{}", world.text(1));
}

#[test]
fn e_t9_two_who_found_the_same_repair_it_once() {
    let mut world = world();
    world.start("a", "one", "0");
    world.pass(SILENT_MS);
    let (ours, theirs) = (scan(&mut world), scan(&mut world));
    assert_eq!(ours, theirs);
    assert_eq!(repair(&mut world, &ours[0]).unwrap(), RepairReply::Done { changed: true });
    let text = world.text(1);
    let error = repair(&mut world, &theirs[0]).unwrap_err().to_string();
    assert!(error.starts_with("leg-silent run 1 #1.1 leg 1 for 300000 ms: that holds no longer"), "{error}");
    assert_eq!(world.text(1), text);
    let report = reconcile(&mut world);
    let legs = stats(&report, Rule::LegSilent);
    assert_eq!((legs.found, legs.repaired, legs.refused, report.repaired), (0, 1, 1, 0), "and a sweep finds no more");
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.ends_with("2 Done repair.leg-silent a #1.1 leg 1 by ann: it hangs"), "{audit}");
}

#[test]
fn e_t10_what_recovers_between_scan_and_repair_is_left_alone() {
    let mut world = world();
    world.start("a", "one", "0");
    world.start("b", "one", "0");
    world.pass(SILENT_MS);
    let found = scan(&mut world);
    assert_eq!(found.len(), 2);
    // One tells that it is alive, which leaves no event; the other answers.
    let (alive, answers) = (world.sent[0].1.clone(), world.sent[1].1.clone());
    let Finding { conversation, leg, .. } = found[0];
    assert_eq!((alive.conversation, alive.leg), (conversation, leg));
    world.step(Input::Heartbeat { conversation, leg, token: alive.token, details: None });
    world.answer_to(&answers, Answer::Completed { result: vec![json("1")] });
    let texts = (world.text(1), world.text(2));
    for finding in &found {
        let refused = repair(&mut world, finding);
        assert!(matches!(refused, Err(RequestError::Repair(RepairError::NoLonger { .. }))), "{refused:?}");
    }
    assert_eq!((world.text(1), world.text(2)), texts);
}

#[test]
fn a_finding_about_one_leg_repairs_no_other_that_is_stuck_in_the_same_way() {
    let mut world = world();
    world.start("a", "one", "0");
    world.pass(SILENT_MS);
    let old = scan(&mut world);
    repair(&mut world, &old[0]).unwrap();
    world.pass(1_000 + SILENT_MS);
    let new = scan(&mut world);
    assert_eq!((new[0].rule, new[0].leg), (Rule::LegSilent, 2));
    let text = world.text(1);
    assert!(repair(&mut world, &old[0]).is_err(), "the fence is around leg 1");
    assert_eq!(world.text(1), text);
    repair(&mut world, &new[0]).unwrap();
}

#[test]
fn e_t11_the_counts_are_those_of_the_record() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 2)]);
    for id in ["a", "b", "c", "d", "e"] {
        world.start(id, "one", "0");
    }
    world.pass(SILENT_MS);
    let texts: Vec<String> = (1..=5).map(|run| world.text(run)).collect();
    let in_flight = texts.iter().filter(|text| text.contains("Sent leg=1")).count();
    let waiting = texts.len() - in_flight;
    let told = report(&mut world, RepairRequest::Scan(Thresholds::default()));
    assert_eq!(stats(&told, Rule::LegSilent).found, in_flight as u64);
    let long = stats(&told, Rule::WaitsLong);
    assert_eq!((long.found, long.waiting), (waiting as u64, waiting as u64), "what waits is reported, never repaired");
    let now = world.partition.stats();
    assert_eq!((now.in_flight, now.waiting), (in_flight, waiting));
    assert_eq!(told.findings.iter().map(|finding| finding.for_ms).max(), Some(SILENT_MS as u64));
}

/// Takes out of the record what `keep` refuses: a history as no crash leaves it, since what is taken out travelled in the
/// segment of what stays.
fn damage(world: &mut World, keep: impl Fn(&Record) -> bool) {
    world.records.retain(|bytes| keep(&Record::read(bytes).unwrap()));
    world.restart(None);
}

fn holds(record: &Record, of_run: impl Fn(&RunEvent) -> bool) -> bool {
    matches!(&record.events, Events::Run(events) if events.iter().any(of_run))
}

#[test]
fn e_t13_what_an_ended_run_left_open_is_closed_and_not_sent_again() {
    let mut world = world();
    world.start("a", "one", "0");
    let end = Record {
        run: RunKey(1),
        first_seq: 3,
        at: Timestamp(world.now),
        events: Events::Run(vec![RunEvent::RunCompleted { result: vec![] }]),
    };
    world.records.push(end.to_bytes().into());
    world.restart(None);
    let text = world.text(1);
    assert!(text.ends_with("CancelSent leg=1\n#1.1 5 Exited leg=1 cancelled\n#1.1 6 Closed cancelled"), "{text}");
    assert!(world.sent.is_empty());
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.ends_with("2 Done repair.run-ended a #1.1 leg 1 by engine: found while loading"), "{audit}");
    let told = reconcile(&mut world);
    assert_eq!(stats(&told, Rule::RunEnded), RuleStats { repaired: 1, ..RuleStats::default() });
    world.pass(2 * SILENT_MS);
    world.restart(None);
    assert_eq!(world.text(1), text, "once");
    assert!(world.sent.is_empty());
}

#[test]
fn c_t8_an_activity_that_was_asked_for_and_never_opened_is_opened_once() {
    let mut world = world();
    world.start("a", "one", "0");
    assert_eq!(world.segments, 1, "asking and opening are one segment: no crash comes between them");
    damage(&mut world, |record| matches!(record.events, Events::Run(_)));
    let text = world.text(1);
    assert_eq!(text.matches("#1.1 1 Scheduled").count(), 1, "{text}");
    world.restart(None);
    assert_eq!(world.text(1).matches("Scheduled echo").count(), 1, "once");
    world.pass(60_000);
    world.complete("\"hello\"");
    assert!(world.ended("a").is_some());
}

#[test]
fn c_t9_an_answer_that_was_recorded_and_never_applied_reaches_the_workflow_once() {
    let resolved = |event: &RunEvent| matches!(event, RunEvent::ActivityResolved { .. });
    let mut world = world();
    world.start("a", "one", "0");
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    assert_eq!(world.segments, 2, "answer and outcome are one segment: no crash comes between them");
    damage(&mut world, |record| !holds(record, resolved));
    let text = world.text(1);
    assert!(
        text.ends_with("run 3 ActivityResolved #1 failed after 1: busy\nrun 4 RunCompleted (\"failed after 1: busy\")")
    );
    world.restart(None);
    assert_eq!(world.text(1), text, "once");

    // A result stands in the outcome alone: without it the body has to say it again.
    world.start("b", "one", "0");
    world.complete("\"hello\"");
    damage(&mut world, |record| record.run.0 == 1 || !holds(record, resolved));
    assert!(world.text(2).contains("#1.2 1 Scheduled echo"), "{}", world.text(2));
    world.complete("\"hello\"");
    assert_eq!(world.text(2).matches("ActivityResolved").count(), 1);
}

#[test]
fn c_t9_a_result_that_is_gone_ends_a_call_that_must_not_run_twice_as_lost() {
    let mut world = world();
    world.start("a", "once", "0");
    world.complete("1");
    damage(&mut world, |record| !holds(record, |event| matches!(event, RunEvent::ActivityResolved { .. })));
    let text = world.text(1);
    assert!(text.contains("ActivityResolved #1 lost after 0: it completed, and its result is not on record"), "{text}");
    assert!(world.sent.is_empty());
}

#[test]
fn c_t10_nothing_of_an_ended_run_can_be_taken_and_later_words_for_it_change_nothing() {
    let mut world = World::new(LIST, vec![]);
    world.start("a", "racing", "0");
    world.signal("a", "enough", "1", None);
    let queued = world.text(1);
    world.step(Input::WorkerJoined(worker("w1", &["echo"], 1)));
    assert!(world.sent.is_empty(), "its attempt was waiting, and is not any more");

    world.start("b", "racing", "0");
    let request = world.sent.remove(0).1;
    world.signal("b", "enough", "1", None);
    let running = world.text(2);
    world.answer_to(&request, Answer::Completed { result: vec![json("1")] });
    let (conversation, leg, token) = (request.conversation, request.leg, request.token);
    world.step(Input::Heartbeat { conversation, leg, token, details: Some(json("1")) });
    assert_eq!(world.partition.stats().stale_answers, 2, "both are counted");
    assert_eq!((world.text(1), world.text(2)), (queued, running));
}

/// How many slots the routine has open.
fn open_slots(world: &mut World) -> usize {
    match world.routines(RoutinesRequest::Get { id: "daily".into() }) {
        RoutinesReply::Routine { routine, .. } => routine.state.open.len(),
        other => panic!("{other:?}"),
    }
}

/// A world with a routine whose first slot is under way.
fn world_with_a_slot() -> World {
    let mut world = world();
    let target = RoutineTarget::Workflow { workflow_type: "one".into(), id_prefix: String::new(), input: vec![] };
    let spec = Box::new(RoutineSpec::new(Schedule::Interval { every_ms: 3_600_000, phase_ms: None }, target));
    world.routines(RoutinesRequest::Create { id: Some("daily".into()), spec, who: "ann".into(), why: String::new() });
    world.pass(3_600_000);
    world.routines(RoutinesRequest::RunDue { now: None, limit: 10 });
    assert_eq!(open_slots(&mut world), 1);
    world
}

#[test]
fn a_slot_whose_run_has_ended_and_did_not_end_it_is_returned_once() {
    let mut world = world_with_a_slot();
    let before = world.segments;
    world.complete("1");
    assert_eq!((world.segments, open_slots(&mut world)), (before + 1, 0), "one segment: no crash comes between them");
    let ends = |event: &EntityEvent| matches!(event, EntityEvent::Routine(RoutineEvent::SlotEnded { .. }));
    damage(&mut world, |record| !matches!(&record.events, Events::Entity(events) if events.iter().any(ends)));
    assert_eq!(open_slots(&mut world), 0);
    let audit = world.entity_text(&EntityName::Audit);
    assert_eq!(
        audit.matches("Done repair.slot-stranded routine daily by engine: its run has ended").count(),
        1,
        "{audit}"
    );
    world.restart(None);
    assert_eq!(world.entity_text(&EntityName::Audit), audit, "once");
}

#[test]
fn a_slot_whose_run_is_not_on_record_is_returned_as_failed() {
    let mut world = world_with_a_slot();
    damage(&mut world, |record| record.run != RunKey(1));
    assert_eq!(open_slots(&mut world), 1);
    assert_eq!(world.partition.slot_runs_elsewhere(10), [RunKey(1)]);
    world.partition.slot_without_run(RunKey(1));
    world.step(Input::Tick);
    assert_eq!(open_slots(&mut world), 0);
    let routine = world.entity_text(&EntityName::Routine("daily".into()));
    assert!(routine.contains("its run is not on record"), "{routine}");
    assert!(world.partition.slot_runs_elsewhere(10).is_empty());
}
