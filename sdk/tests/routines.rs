//! Routines as an author uses them, on the memory store with a clock that stands still until it is told to go on.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, Builder, CallError, CatchUp, Never, Ran, Routine, RoutineError, RoutineStatus,
    RoutinesError, RunStatus, Slot, Timestamp, WorkflowContext, activity, days, hours, minutes, secs, workflow,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Default, Clone)]
struct Sent(Arc<AtomicU32>);

#[activity]
async fn send(act: ActivityContext, report: String) -> Result<u32, Never> {
    let _ = report;
    Ok(act.state::<Sent>().0.fetch_add(1, Ordering::SeqCst) + 1)
}

#[workflow]
async fn report(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(send(name)).await?)
}

fn builder(from: Builder, sent: &Sent) -> Builder {
    from.workflow(report).activity(send).state(sent.clone())
}

fn daily() -> Routine {
    Routine::cron("30 2 * * *", "Europe/Berlin", report("sales".to_owned())).id("daily")
}

#[tokio::test]
async fn the_engine_carries_a_routine_out_day_by_day_over_a_change_of_the_clocks_and_a_restart() {
    let sent = Sent::default();
    // The clock begins at 2026-01-01T00:00:00Z; Berlin has 2026-03-29 without 02:30.
    let app = builder(Antiphon::test(), &sent).run_routines().start().unwrap();
    app.routines().by("ada").create(daily()).await.unwrap();
    app.pass(days(60)).await.unwrap();
    assert_eq!(sent.0.load(Ordering::SeqCst), 60);
    let again = builder(Antiphon::test_again(&app), &sent).run_routines();
    app.stop();
    let app = again.start().unwrap();
    app.pass(days(40)).await.unwrap();
    assert_eq!(sent.0.load(Ordering::SeqCst), 100);
    let skipped_hour = app.describe("daily/2026-03-29T01:00:00Z").unwrap().expect("the end of the gap");
    assert_eq!(skipped_hour.status, RunStatus::Completed);
    let view = app.routines().get("daily").await.unwrap();
    assert_eq!((view.status, view.state.runs), (RoutineStatus::Active, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_callers_of_run_due_share_the_due_routines_and_start_each_once() {
    let sent = Sent::default();
    let app = builder(Antiphon::test(), &sent).start().unwrap();
    for number in 0..100 {
        let routine = Routine::once(Timestamp(0), report("x".to_owned())).id(format!("r{number}"));
        app.routines().create(routine).await.unwrap();
    }
    let (one, two) = (app.routines(), app.routines());
    let (one, two) = tokio::join!(
        tokio::spawn(async move { one.run_due(100).await.unwrap() }),
        tokio::spawn(async move { two.run_due(100).await.unwrap() }),
    );
    let started: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).collect();
    assert!(started.iter().all(|slot| matches!(slot.ran, Ran::Started { attempt: 1, .. })));
    assert_eq!(started.len(), 100);
    assert_eq!(started.iter().map(|slot| &slot.id).collect::<BTreeSet<_>>().len(), 100);
    for number in 0..100 {
        let run = app.get::<report>(format!("r{number}/1970-01-01T00:00:00Z")).unwrap();
        run.result().await.unwrap();
        assert_eq!(app.routines().get(&format!("r{number}")).await.unwrap().status, RoutineStatus::Completed);
    }
    assert_eq!(sent.0.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn a_caller_drives_routines_by_asking_when_the_next_one_is_due() {
    let sent = Sent::default();
    let app = builder(Antiphon::test(), &sent).start().unwrap();
    let routines = app.routines();
    let every = Routine::every(minutes(10), report("x".to_owned())).id("every").catch_up(CatchUp::All).max_runs(3);
    let created = routines.create(every).await.unwrap();
    let first = created.due_at.unwrap();
    for run in 0..3 {
        let due = routines.next_due_at().await.unwrap().unwrap();
        assert_eq!(due.0, first.0 + run * 600_000);
        let slots = routines.run_due(10).await.unwrap();
        assert_eq!(slots[0].slot, Slot::Planned(due));
        let Ran::Started { workflow_id, .. } = &slots[0].ran else { panic!("{slots:?}") };
        app.get::<report>(workflow_id.clone()).unwrap().result().await.unwrap();
        app.advance(minutes(10)).await.unwrap();
    }
    assert_eq!(routines.next_due_at().await.unwrap(), None);
    assert_eq!(routines.get("every").await.unwrap().status, RoutineStatus::Completed);
}

#[tokio::test]
async fn an_activity_is_carried_out_on_its_own_without_a_workflow() {
    let sent = Sent::default();
    let app = builder(Antiphon::test(), &sent).run_routines().start().unwrap();
    let every = Routine::every(hours(1), send("x".to_owned()).attempts(2)).id("mail").max_runs(3);
    let view = app.routines().create(every).await.unwrap();
    assert_eq!(view.state.spec.target.name(), "activity");
    app.pass(hours(5)).await.unwrap();
    assert_eq!(sent.0.load(Ordering::SeqCst), 3);
    assert_eq!(app.routines().get("mail").await.unwrap().status, RoutineStatus::Completed);
    let run = app.describe("mail/2026-01-01T01:00:00Z").unwrap().expect("the second slot");
    assert_eq!((run.workflow_type.as_str(), run.status), ("antiphon.activity", RunStatus::Completed));
}

#[tokio::test]
async fn routines_are_in_the_folder_and_come_back_from_it_with_all_that_waits() {
    let (folder, sent) = (tempfile::tempdir().unwrap(), Sent::default());
    let open = || builder(Antiphon::open(folder.path()), &sent).start().unwrap();
    let app = open();
    app.routines().by("ada").because("the books").create(daily().label("team", "sales")).await.unwrap();
    let past = Routine::every(hours(1), report("old".to_owned())).id("past").start_at(Timestamp(0));
    app.routines().create(past.attempts(2, hours(9)).catch_up(CatchUp::All)).await.unwrap();
    let slots = app.routines().run_due(10).await.unwrap();
    let Ran::Started { workflow_id, .. } = &slots[0].ran else { panic!("{slots:?}") };
    app.get::<report>(workflow_id.clone()).unwrap().result().await.unwrap();
    app.routines().pause("daily", "holidays").await.unwrap();
    app.routines().backfill("past", Timestamp(0), Timestamp(7_200_000)).await.unwrap();
    let before = [app.routines().get("daily").await.unwrap(), app.routines().get("past").await.unwrap()];
    app.stop();
    // Twice: from the log's tail and from the archive.
    for _ in 0..2 {
        let app = open();
        let after = [app.routines().get("daily").await.unwrap(), app.routines().get("past").await.unwrap()];
        assert_eq!(before, after);
        assert_eq!(after[1].state.next, Some(Timestamp(3_600_000)));
        app.stop();
    }
}

#[tokio::test]
async fn requests_that_cannot_be_are_typed_errors_with_their_codes() {
    let app = builder(Antiphon::test(), &Sent::default()).start().unwrap();
    let routines = app.routines();
    let wrong = Routine::cron("30 2 * * *", "Europe/Nowhere", report("x".to_owned()));
    let error = routines.create(wrong).await.unwrap_err();
    assert!(
        error.to_string().contains("\"Europe/Nowhere\"") || error.to_string().contains("Europe/Nowhere"),
        "{error}"
    );
    assert!(matches!(error, RoutinesError::Refused(RoutineError::Invalid { field: "time zone", .. })), "{error:?}");
    let error = routines.get("nobody").await.unwrap_err();
    assert!(error.to_string().ends_with("[A0049]"), "{error}");
    routines.create(daily()).await.unwrap();
    let error = routines.create(daily().jitter(secs(1))).await.unwrap_err();
    assert!(error.to_string().ends_with("[A0051]"), "{error}");
    routines.cancel("daily").await.unwrap();
    let error = routines.pause("daily", "").await.unwrap_err();
    assert!(error.to_string().ends_with("[A0050]"), "{error}");
    app.advance(hours(48)).await.unwrap();
    assert!(routines.run_due(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_registered_guard_and_a_route_are_part_of_a_routine() {
    let sent = Sent::default();
    let only_ada = |ask: &antiphon::RoutineAsk<'_>| match ask.who {
        "ada" => Ok(()),
        who => Err(format!("{who} may not")),
    };
    let builder = builder(Antiphon::test(), &sent).routine_guard("only-ada", only_ada);
    let app = builder.pool(antiphon::Pool::named("press")).start().unwrap();
    let route = antiphon::Route::to("press");
    let routine =
        || Routine::once(Timestamp(0), send("x".to_owned())).id("print").guard("only-ada").route(route.clone());
    let refused = app.routines().by("bob").create(routine()).await.unwrap_err().to_string();
    assert!(refused.contains("bob may not") && refused.contains("[A0066]"), "{refused}");
    app.routines().by("ada").create(routine()).await.unwrap();
    app.routines().run_due(10).await.unwrap();
    let view = app.routines().get("print").await.unwrap();
    let run = app.describe(&view.state.workflow_id(Slot::Planned(Timestamp(0)), 1)).unwrap().unwrap();
    while app.describe(&run.workflow.id).unwrap().unwrap().status == RunStatus::Running {
        tokio::task::yield_now().await;
    }
    let history = app.history(&run.workflow.id).unwrap().unwrap();
    let selected = history.records.iter().any(|record| record.windows(5).any(|bytes| bytes == b"press"));
    assert!(selected, "the named pool has it");
    let contradiction = antiphon::Route::sticky("");
    let refused = Routine::once(Timestamp(0), send("x".to_owned())).route(contradiction);
    assert!(app.routines().create(refused).await.is_err());
}
