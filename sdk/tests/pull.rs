//! Workers that ask for their work, activities on their own, and shutting down in order.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, ActivityError, Antiphon, CallError, Liveness, Never, RequestError, WorkflowContext, activity,
    workflow,
};
use antiphon_history::{Events, Record};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A body that has begun, and that may end.
#[derive(Clone, Default)]
struct Gate {
    begun: Arc<Notify>,
    open: Arc<Notify>,
    runs: Arc<AtomicU32>,
}

#[activity]
async fn double(_act: ActivityContext, number: u32) -> Result<u32, Never> {
    Ok(number * 2)
}

#[activity]
async fn gated(act: ActivityContext) -> Result<u32, Never> {
    let gate = act.state::<Gate>().clone();
    gate.begun.notify_one();
    gate.open.notified().await;
    Ok(gate.runs.fetch_add(1, Ordering::Relaxed) + 1)
}

#[activity]
async fn declines(_act: ActivityContext) -> Result<u32, String> {
    Err("no".to_owned())
}

#[activity]
async fn panics(_act: ActivityContext) -> Result<u32, Never> {
    panic!("at the disco")
}

#[workflow]
async fn doubled(ctx: WorkflowContext<'_>, number: u32) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(double(number).queue("far")).await?)
}

#[workflow]
async fn through(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(gated()).await?)
}

/// Every event of the conversations of a run, one per line.
fn talk(app: &Antiphon, id: &str) -> String {
    let history = app.history(id).unwrap().unwrap();
    let records = history.records.iter().map(|bytes| Record::read(bytes).unwrap());
    let lines = records.filter_map(|record| match record.events {
        Events::Conversation { events, .. } => Some(events.into_iter().map(|event| event.to_string())),
        _ => None,
    });
    lines.flatten().collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_worker_that_asks_gets_the_calls_of_its_queue_and_the_record_says_that_it_asked() {
    let app = Antiphon::test().workflow(doubled).start().unwrap();
    let worker = app.pull_worker("far-1").queue("far").activity(double).start().await.unwrap();
    assert_eq!(app.run("r", doubled(21)).await.unwrap(), 42);
    let text = talk(&app, "r");
    assert!(text.contains("WorkerSelected leg=1 worker=far-1 lease_ms=30000 (it asked)"), "{text}");
    worker.shutdown(Duration::from_secs(60)).await.unwrap();
    let list = app.workers().list().await.unwrap();
    assert_eq!(list.gone.iter().map(|gone| gone.worker.as_str()).collect::<Vec<_>>(), ["far-1"]);
}

#[tokio::test]
async fn timers_still_jump_while_workers_wait_for_work() {
    #[workflow]
    async fn sleepy(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
        ctx.sleep(antiphon::days(400)).await;
        Ok(ctx.call(double(1)).await?)
    }
    let app = Antiphon::test().workflow(sleepy).start().unwrap();
    let _worker = app.pull_worker("w").activity(double).start().await.unwrap();
    assert_eq!(app.run("r", sleepy()).await.unwrap(), 2);
}

#[tokio::test]
async fn e_t12_a_shutdown_lets_what_runs_finish_gives_back_what_is_late_and_loses_nothing() {
    let app = Antiphon::test().workflow(through).start().unwrap();
    let begin = async |name: &str, gate: &Gate| {
        app.pull_worker(name).activity(gated).state(gate.clone()).start().await.unwrap()
    };
    // One that ends in time.
    let quick = Gate::default();
    let worker = begin("quick", &quick).await;
    let first = app.start("first", through()).await.unwrap();
    quick.begun.notified().await;
    let (down, ()) = tokio::join!(worker.shutdown(Duration::from_secs(600)), async { quick.open.notify_one() });
    down.unwrap();
    assert_eq!(first.result().await.unwrap(), 1);
    // One that does not.
    let stuck = Gate::default();
    let worker = begin("stuck", &stuck).await;
    let second = app.start("second", through()).await.unwrap();
    stuck.begun.notified().await;
    worker.shutdown(Duration::ZERO).await.unwrap();
    let third = app.start("third", through()).await.unwrap();
    assert_eq!(app.status().await.unwrap().stats.in_flight, 0, "nothing is left claimed, nothing new was");
    // Whoever comes next has both.
    let last = Gate::default();
    last.open.notify_one();
    let _worker = begin("last", &last).await;
    assert_eq!(second.result().await.unwrap(), 1);
    last.open.notify_one();
    assert_eq!(third.result().await.unwrap(), 2);
    let text = talk(&app, "second");
    assert!(text.contains("Exited leg=1 given back\nWorkerSelected leg=2 worker=last"), "{text}");
}

#[tokio::test]
async fn e_t12_an_engine_that_shuts_down_gives_back_what_its_own_pool_could_not_finish() {
    let gate = Gate::default();
    let app = Antiphon::test().workflow(through).activity(gated).state(gate.clone()).start().unwrap();
    let again = Antiphon::test_again(&app);
    app.start("r", through()).await.unwrap();
    gate.begun.notified().await;
    app.shutdown(Duration::ZERO).await.unwrap();
    gate.open.notify_one();
    let app = again.workflow(through).activity(gated).state(gate.clone()).start().unwrap();
    assert_eq!(app.get::<through>("r").unwrap().result().await.unwrap(), 1);
    let text = talk(&app, "r");
    assert!(text.contains("Exited leg=1 given back") && !text.contains("restarted"), "{text}");
}

#[tokio::test]
async fn an_activity_on_its_own_is_durable_under_its_key_and_ends_as_its_body_does() {
    let app = Antiphon::test().activity(double).activity(declines).start().unwrap();
    let one = app.schedule("twice-21", double(21)).await.unwrap();
    assert_eq!((one.result().await.unwrap(), one.existed()), (42, false));
    let same = app.schedule("twice-21", double(21)).await.unwrap();
    assert_eq!((same.result().await.unwrap(), same.existed(), same.run_id()), (42, true, one.run_id()));
    let other = app.schedule("twice-21", double(22)).await.unwrap_err();
    assert!(other.to_string().ends_with("[A0020]"), "{other}");
    let failed = app.schedule("no", declines()).await.unwrap().result().await.unwrap_err();
    assert!(matches!(&failed, ActivityError::Call(CallError::App(error)) if error == "no"), "{failed:?}");
    let waits = app.schedule("late", double(1).queue("nobody").fail_fast()).await.unwrap().result().await.unwrap_err();
    assert!(matches!(&waits, ActivityError::Call(CallError::NoWorker { .. })), "{waits:?}");
    let cancelled = app.schedule("never", double(1).queue("nobody")).await.unwrap();
    cancelled.cancel("enough").await.unwrap();
    let cancelled = cancelled.result().await.unwrap_err();
    assert!(matches!(cancelled, ActivityError::Call(CallError::Cancelled)), "{cancelled:?}");
}

#[tokio::test]
async fn a_body_that_panics_costs_a_leg_and_not_the_worker() {
    let app = Antiphon::test().start().unwrap();
    let worker = app.pull_worker("w").activity(panics).activity(double).start().await.unwrap();
    let lost = app.schedule("p", panics().max_losses(1)).await.unwrap().result().await.unwrap_err();
    assert!(matches!(&lost, ActivityError::Call(CallError::Lost { losses: 2, .. })), "{lost:?}");
    assert_eq!(app.schedule("d", double(4)).await.unwrap().result().await.unwrap(), 8);
    worker.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn a_second_worker_of_the_same_name_ends_the_first() {
    let app = Antiphon::test().start().unwrap();
    let first = app.pull_worker("w").activity(double).start().await.unwrap();
    let second = app.pull_worker("w").activity(double).start().await.unwrap();
    let ended = first.stopped().await.unwrap_err();
    assert!(ended.to_string().ends_with("[A0045]"), "{ended}");
    assert_eq!(app.schedule("d", double(4)).await.unwrap().result().await.unwrap(), 8);
    second.shutdown(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn workers_are_listed_drained_and_refused_by_name() {
    let app = Antiphon::test().activity(double).start().unwrap();
    let list = app.workers().list().await.unwrap();
    assert_eq!(list.present.len(), 1);
    assert_eq!((list.present[0].view.spec.name.as_str(), list.present[0].liveness), ("local", Liveness::Live));
    app.workers().drain("local", "ada", "new version").await.unwrap();
    assert_eq!(app.workers().list().await.unwrap().present[0].liveness, Liveness::Draining);
    let refused = app.workers().drain("nobody", "ada", "").await.unwrap_err();
    assert!(refused.to_string().ends_with("[A0045]"), "{refused}");
    let refused = app.pull_worker("local").activity(double).start().await.unwrap_err();
    assert!(matches!(refused, RequestError::Engine(_)) && refused.to_string().ends_with("[A0045]"), "{refused}");
    let worker = || app.pull_worker("w").activity(double);
    let impossible = [
        worker().capacity(0),
        worker().lease(Duration::ZERO),
        worker().lease(antiphon::days(2)),
        worker().wait(antiphon::days(1)),
    ];
    for worker in impossible {
        let refused = worker.start().await.unwrap_err();
        assert!(refused.to_string().ends_with("[A0017]"), "{refused}");
    }
}

#[test]
fn names_of_the_engine_are_refused_for_users() {
    #[workflow(name = "antiphon.mine")]
    async fn mine(_ctx: WorkflowContext<'_>) -> antiphon::Result<u32, Never> {
        Ok(1)
    }
    let refused = Antiphon::test().workflow(mine).programs().unwrap_err();
    assert!(refused.to_string().ends_with("[A0047]"), "{refused}");
}
