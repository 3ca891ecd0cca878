//! The author's crate as an author uses it: on the memory store, with a clock that skips.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, CallError, IdReuse, Never, OpenError, OrApp, RequestError, RunError, RunStatus,
    TimeoutKind, WorkflowContext, activity, hours, millis, race, secs, workflow,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often a body ran: outside of the engine, so that it can be compared with the record.
#[derive(Default, Clone)]
struct Ran(Arc<AtomicU32>);

impl Ran {
    fn count(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum Refused {
    #[error("busy, try {0}")]
    Busy(u32),
    #[error("never")]
    Never,
}

impl Refused {
    fn is_final(&self) -> bool {
        *self == Refused::Never
    }
}

#[activity(fatal = Refused::is_final)]
async fn flaky(act: ActivityContext, good_from: u32) -> Result<u32, Refused> {
    let run = act.state::<Ran>().count();
    match good_from {
        0 => Err(Refused::Never),
        good if act.attempt() < good => Err(Refused::Busy(act.attempt())),
        _ => Ok(run),
    }
}

#[activity]
async fn count(act: ActivityContext) -> Result<u32, Never> {
    Ok(act.state::<Ran>().count())
}

#[activity]
async fn panicking(act: ActivityContext, times: u32) -> Result<u32, Never> {
    let run = act.state::<Ran>().count();
    assert!(run > times, "run {run} panics");
    Ok(act.leg())
}

/// Never returns, but tells how far it is.
#[activity]
async fn hanging(act: ActivityContext) -> Result<u32, Never> {
    let from = act.progress::<u32>().unwrap_or(0);
    if from >= 1 {
        return Ok(from);
    }
    act.state::<Ran>().count();
    act.heartbeat(from + 1).await;
    std::future::pending().await
}

#[workflow]
async fn flaking(ctx: WorkflowContext<'_>, good_from: u32) -> antiphon::Result<u32, CallError<Refused>> {
    Ok(ctx.call(flaky(good_from)).attempts(4).backoff(hours(1), hours(8)).await?)
}

#[workflow]
async fn counting(ctx: WorkflowContext<'_>) -> antiphon::Result<(u32, u32), CallError<Never>> {
    let first = ctx.call(count()).await?;
    let second = ctx.call(count()).await?;
    ctx.signal::<()>("go").await;
    Ok((first, second))
}

#[workflow]
async fn surviving(ctx: WorkflowContext<'_>, times: u32) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(panicking(times)).max_losses(3).await?)
}

#[workflow]
async fn waiting(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(hanging()).heartbeat_timeout(secs(30)).attempts(2).await?)
}

#[workflow]
async fn parcel(ctx: WorkflowContext<'_>) -> antiphon::Result<Option<String>, Never> {
    Ok(race! { ctx;
        by = ctx.signal::<String>("packed") => Some(by),
        _ = ctx.sleep(hours(48)) => None,
    })
}

#[workflow]
async fn each(ctx: WorkflowContext<'_>, n: u32) -> antiphon::Result<Vec<u32>, CallError<Never>> {
    let mut set = ctx.each_as_done([]);
    let (mut next, mut all) = (0, Vec::new());
    loop {
        while set.len() < 3 && next < n {
            set.push(ctx.call(count()));
            next += 1;
        }
        let Some((_, counted)) = set.next().await else { return Ok(all) };
        all.push(counted?);
    }
}

#[tokio::test]
async fn a_failing_activity_is_tried_again_hours_later_in_no_time() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(flaking).activity(flaky).state(ran.clone()).start().unwrap();
    assert_eq!(app.run("a", flaking(3)).await.unwrap(), 3);
    assert_eq!(ran.times(), 3);
}

#[tokio::test]
async fn typed_errors_come_through_the_record_and_a_final_one_is_not_tried_again() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(flaking).activity(flaky).state(ran.clone()).start().unwrap();
    let error = app.run("never", flaking(0)).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(CallError::App(Refused::Never))), "{error}");
    assert_eq!(ran.times(), 1);
    let error = app.run("busy", flaking(9)).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(CallError::App(Refused::Busy(4)))), "{error}");
}

#[tokio::test]
async fn two_days_pass_while_a_test_waits_and_not_before() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    let first = app.start("first", parcel()).await.unwrap();
    first.signal("packed", &"Ada".to_owned()).await.unwrap();
    assert_eq!(first.result().await.unwrap(), Some("Ada".to_owned()));
    assert_eq!(app.run("second", parcel()).await.unwrap(), None);
    assert_eq!(app.describe("second").unwrap().unwrap().status, RunStatus::Completed);
}

#[tokio::test]
async fn time_that_a_test_moves_by_hand_fires_timers_too() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    let run = app.start("a", parcel()).await.unwrap();
    app.advance(hours(47)).await.unwrap();
    assert_eq!(app.describe("a").unwrap().unwrap().status, RunStatus::Running);
    app.advance(hours(1)).await.unwrap();
    assert_eq!(run.result().await.unwrap(), None);
}

#[tokio::test]
async fn a_panicking_body_costs_legs_and_not_the_engine() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(surviving).activity(panicking).state(ran.clone()).start().unwrap();
    assert_eq!(app.run("a", surviving(2)).await.unwrap(), 3, "the third leg answered");
    let error = app.run("b", surviving(99)).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(CallError::Lost { losses: 4, .. })), "{error}");
}

#[tokio::test]
async fn a_silent_body_is_stopped_and_the_next_attempt_goes_on_from_its_progress() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(waiting).activity(hanging).state(ran.clone()).start().unwrap();
    let run = app.start("a", waiting()).await.unwrap();
    // The clock skips only while nothing is under way; a hanging body is under way, so the test moves time itself.
    while ran.times() == 0 || app.status().await.unwrap().stats.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    app.advance(millis(1)).await.unwrap();
    app.advance(secs(31)).await.unwrap();
    assert_eq!(run.result().await.unwrap(), 1);
    assert_eq!(ran.times(), 1);
}

#[tokio::test]
async fn a_restart_runs_nothing_again_that_is_on_record_and_equal_calls_keep_their_own_outcomes() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(counting).activity(count).state(ran.clone()).start().unwrap();
    app.start("a", counting()).await.unwrap();
    while app.describe("a").unwrap().unwrap().open_conversations > 0 || ran.times() < 2 {
        tokio::task::yield_now().await;
    }
    let builder = Antiphon::test_again(&app);
    app.stop();
    let again = builder.workflow(counting).activity(count).state(ran.clone()).start().unwrap();
    let run = again.start("a", counting()).await.unwrap();
    assert!(run.existed());
    run.signal("go", &()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), (1, 2));
    assert_eq!(ran.times(), 2);
}

#[tokio::test]
async fn a_bounded_number_is_under_way_and_every_result_is_taken_once() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(each).activity(count).state(ran.clone()).start().unwrap();
    let mut all = app.run("a", each(50)).await.unwrap();
    all.sort_unstable();
    assert_eq!(all, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_that_cannot_be_say_why_and_change_nothing() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    let code = |error: RequestError| error.to_string();
    assert!(code(app.start("", parcel()).await.unwrap_err()).contains("[A0012]"));
    assert!(code(app.start("a", flaking(1)).await.unwrap_err()).contains("[A0018]"));
    assert!(code(app.signal("nobody", "packed", &1).await.unwrap_err()).contains("[A0021]"));
    assert!(app.list(&antiphon::Filter::default()).unwrap().is_empty());
    app.run("a", parcel()).await.unwrap();
    assert!(code(app.signal("a", "packed", &1).await.unwrap_err()).contains("[A0022]"));
    let again = app.start_with("a", parcel(), IdReuse::Always).await.unwrap();
    assert!(!again.existed());
    let large = "x".repeat(3_000_000);
    assert!(code(again.signal("packed", &large).await.unwrap_err()).contains("[A0015]"));
    again.cancel("enough").await.unwrap();
    assert!(matches!(again.result().await.unwrap_err(), RunError::Cancelled { .. }));
}

#[tokio::test]
async fn a_blocked_run_is_terminated_and_whoever_asks_is_told_so() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    let run = app.start("a", parcel()).await.unwrap();
    run.signal("packed", &7u32).await.unwrap();
    assert!(run.result().await.unwrap_err().to_string().contains("[A0031]"));
    run.terminate("ada", "packed by hand").await.unwrap();
    for handle in [run, app.get::<parcel>("a").unwrap()] {
        let told = handle.result().await.unwrap_err();
        assert!(matches!(&told, RunError::Terminated { reason } if reason == "packed by hand"), "{told}");
    }
    let row = app.describe("a").unwrap().unwrap();
    assert_eq!((row.status, row.blocked.as_str()), (RunStatus::Terminated, ""));
    let terminated = antiphon::Filter { status: Some(RunStatus::Terminated), ..Default::default() };
    assert_eq!(app.list(&terminated).unwrap(), [row]);
    assert!(app.terminate("a", "ada", "again").await.unwrap_err().to_string().contains("[A0022]"));
    assert!(app.terminate("b", "ada", "").await.unwrap_err().to_string().contains("[A0021]"));
}

#[tokio::test]
async fn a_run_that_left_memory_is_terminated_where_its_code_is_gone() {
    let app = Antiphon::test().workflow(parcel).config(forgetful()).start().unwrap();
    app.start("a", parcel()).await.unwrap();
    while app.status().await.unwrap().stats.live_runs > 0 {
        app.handle().look();
        tokio::task::yield_now().await;
    }
    let again = Antiphon::test_again(&app);
    app.stop();
    let app = again.allow_unknown_workflows().start().unwrap();
    app.terminate("a", "ada", "its code is gone").await.unwrap();
    assert_eq!(app.status().await.unwrap().stats.loaded, 0, "it was not replayed");
    let told = app.get::<parcel>("a").unwrap().result().await.unwrap_err();
    assert!(matches!(told, RunError::Terminated { .. }), "{told}");
}

#[tokio::test]
async fn a_signal_of_another_shape_blocks_the_run_until_code_that_reads_it_is_back() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    let run = app.start("a", parcel()).await.unwrap();
    app.signal("a", "packed", &7u32).await.unwrap();
    let told = run.result().await.unwrap_err().to_string();
    assert!(told.contains("signal \"packed\"") && told.contains("[A0031]"), "{told}");
    let row = app.describe("a").unwrap().unwrap();
    assert_eq!(row.status, RunStatus::Blocked);
    assert!(row.blocked.contains("signal \"packed\""), "{}", row.blocked);

    mod mended {
        use antiphon::{WorkflowContext, hours, race};
        #[antiphon::workflow(name = "parcel")]
        pub(super) async fn parcel(ctx: WorkflowContext<'_>) -> antiphon::Result<Option<String>, antiphon::Never> {
            Ok(race! { ctx;
                by = ctx.signal::<u32>("packed") => Some(by.to_string()),
                _ = ctx.sleep(hours(48)) => None,
            })
        }
    }
    let builder = Antiphon::test_again(&app);
    app.stop();
    let again = builder.workflow(mended::parcel).start().unwrap();
    assert_eq!(again.get::<parcel>("a").unwrap().result().await.unwrap(), Some("7".to_owned()));
}

#[tokio::test]
async fn twins_impossible_options_and_missing_code_are_refused_at_start() {
    let twins = Antiphon::test().workflow(parcel).workflow(parcel).start().unwrap_err().to_string();
    assert!(twins.contains("[A0019]") && twins.matches("engine.rs:").count() == 2, "{twins}");
    let twins = Antiphon::test().activity(count).activity(count).start().unwrap_err().to_string();
    assert!(twins.contains("[A0019]") && twins.matches("engine.rs:").count() == 2, "{twins}");
    let zero = Antiphon::test().capacity(0).start().unwrap_err().to_string();
    assert!(zero.contains("[A0017]"), "{zero}");

    let app = Antiphon::test().workflow(parcel).start().unwrap();
    app.start("a", parcel()).await.unwrap();
    let (missing, allowed) = (Antiphon::test_again(&app), Antiphon::test_again(&app));
    app.stop();
    let error = missing.start().unwrap_err().to_string();
    assert!(error.contains("parcel") && error.contains("[A0028]"), "{error}");
    allowed.allow_unknown_workflows().start().unwrap();
}

#[test]
fn a_start_without_tokio_says_what_is_missing() {
    let error = Antiphon::test().start().unwrap_err();
    assert!(matches!(error, OpenError::NoTokio), "{error}");
}

#[tokio::test]
async fn a_body_is_an_ordinary_function_in_a_unit_test() {
    let act = ActivityContext::unit_test().with_state(Ran::default());
    assert_eq!(flaky::run(act.clone(), 1).await, Ok(1));
    assert_eq!(flaky::run(act, 0).await, Err(Refused::Never));
}

#[tokio::test]
async fn an_exported_history_replays_in_a_test_and_changed_code_is_told_where() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(flaking).activity(flaky).state(ran.clone()).start().unwrap();
    app.run("a", flaking(2)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flaking.history");
    std::fs::write(&file, app.history("a").unwrap().unwrap().to_bytes()).unwrap();

    Antiphon::test().workflow(flaking).replay_every_prefix(&file).unwrap();
    assert_eq!(ran.times(), 2, "replay ran no body");

    mod changed {
        use super::{CallError, Refused, WorkflowContext, flaky};
        #[antiphon::workflow]
        pub(super) async fn flaking(
            ctx: WorkflowContext<'_>,
            good_from: u32,
        ) -> antiphon::Result<u32, CallError<Refused>> {
            Ok(ctx.call(flaky(good_from + 1)).await?)
        }
    }
    let report = Antiphon::test().workflow(changed::flaking).replay(&file).unwrap_err().to_string();
    for part in [
        "recorded:  ActivityScheduled #1 flaky(2)",
        "attempted: ActivityScheduled #1 flaky(3)",
        "engine.rs:",
        "differs:   argument 1",
        "repair:",
    ] {
        assert!(report.contains(part), "{part:?} is missing in\n{report}");
    }
}

#[activity]
async fn huge(_act: ActivityContext) -> Result<String, Never> {
    Ok("x".repeat(3_000_000))
}

#[workflow]
async fn asking_too_much(ctx: WorkflowContext<'_>) -> antiphon::Result<String, Never> {
    match ctx.call(huge()).await {
        Err(CallError::Refused(refused)) => Ok(refused.to_string()),
        other => Ok(format!("{other:?}")),
    }
}

#[tokio::test]
async fn a_result_over_the_limit_is_an_error_that_the_workflow_can_handle() {
    let app = Antiphon::test().workflow(asking_too_much).activity(huge).start().unwrap();
    let told = app.run("a", asking_too_much()).await.unwrap();
    assert!(told.contains("[A0015]"), "{told}");
}

#[workflow]
async fn particular(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(count()).queue("heavy").needs("gpu").fail_fast().await?)
}

#[tokio::test]
async fn a_process_takes_the_queues_and_labels_it_says_under_the_name_it_says() {
    let plain = Antiphon::test().workflow(particular).activity(count).state(Ran::default()).queue("heavy");
    let error = plain.start().unwrap().run("a", particular()).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(CallError::NoWorker { .. })), "{error}");

    let able = Antiphon::test().workflow(particular).activity(count).state(Ran::default()).queue("heavy").label("gpu");
    let app = able.worker_name("north").start().unwrap();
    assert_eq!(app.run("a", particular()).await.unwrap(), 1);
    assert_eq!(app.status().await.unwrap().workers[0].spec.name, "north");
}

/// Never ends by itself, and always has something under way.
#[workflow]
async fn restless(ctx: WorkflowContext<'_>) -> antiphon::Result<(), CallError<Never>> {
    loop {
        ctx.call(count()).await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_busy_stops_when_it_is_told_and_goes_on_at_the_next_start() {
    let ran = Ran::default();
    let app = Antiphon::test().workflow(restless).activity(count).state(ran.clone()).start().unwrap();
    let runs: Vec<_> = [app.start("a", restless()).await.unwrap(), app.start("b", restless()).await.unwrap()].into();
    while ran.times() < 100 {
        tokio::task::yield_now().await;
    }
    let handle = app.handle().clone();
    let again = Antiphon::test_again(&app);
    app.stop();
    let late = handle.status().await.unwrap_err();
    assert!(late.to_string().contains("[A0024]"), "{late}");
    let before = ran.times();
    let app = again.workflow(restless).activity(count).state(ran.clone()).start().unwrap();
    while ran.times() < before + 100 {
        tokio::task::yield_now().await;
    }
    for run in runs {
        app.cancel(run.workflow_id(), "enough").await.unwrap();
        let ended = app.get::<restless>(run.workflow_id()).unwrap().result().await.unwrap_err();
        assert!(matches!(ended, RunError::Cancelled { .. }), "{ended}");
    }
}

/// An engine that lets go of waiting runs as soon as the archive has them.
fn forgetful() -> antiphon::Config {
    let mut config = antiphon::Config { archive_every_ms: 1, ..antiphon::Config::default() };
    config.engine.evict_after_ms = 0;
    config
}

#[tokio::test]
async fn waiting_runs_leave_memory_and_come_back_for_signals_and_for_their_timers() {
    // More than the engine brings back at once, all due in the same millisecond.
    const RUNS: u64 = 700;
    let app = Antiphon::test().workflow(parcel).config(forgetful()).start().unwrap();
    let mut runs = Vec::new();
    for index in 0..RUNS {
        runs.push(app.start(format!("parcel-{index}"), parcel()).await.unwrap());
    }
    while app.status().await.unwrap().stats.live_runs > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.status().await.unwrap().stats.evicted, RUNS);
    for run in runs.iter().step_by(2) {
        run.signal("packed", &"Ada".to_owned()).await.unwrap();
    }
    for (index, run) in runs.iter().enumerate() {
        let expected = (index % 2 == 0).then(|| "Ada".to_owned());
        assert_eq!(run.result().await.unwrap(), expected, "parcel {index}");
    }
}

#[tokio::test]
async fn an_input_that_the_workflow_cannot_read_is_refused_before_anything_is_written() {
    let app = Antiphon::test().workflow(flaking).start().unwrap();
    let request = antiphon_engine::StartRequest {
        workflow: antiphon_history::WorkflowKey::new("a").unwrap(),
        workflow_type: "flaking".to_owned(),
        input: vec![antiphon::encode("not a number").unwrap()],
        id_reuse: IdReuse::Never,
        request_id: None,
    };
    let error = app.handle().start(request).await.unwrap_err().to_string();
    assert!(error.contains("\"flaking\"") && error.contains("[A0016]"), "{error}");
    assert!(app.describe("a").unwrap().is_none());
}

#[tokio::test]
async fn the_history_of_a_workflow_that_is_not_registered_says_so() {
    let app = Antiphon::test().workflow(parcel).start().unwrap();
    app.run("a", parcel()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parcel.history");
    std::fs::write(&file, app.history("a").unwrap().unwrap().to_bytes()).unwrap();
    let error = Antiphon::test().workflow(flaking).replay(&file).unwrap_err().to_string();
    assert!(error.contains("no workflow \"parcel\""), "{error}");
    std::fs::write(&file, b"something else").unwrap();
    let error = Antiphon::test().workflow(parcel).replay(&file).unwrap_err().to_string();
    assert!(error.contains("[A0013]"), "{error}");
}

#[workflow]
async fn wrapped(ctx: WorkflowContext<'_>) -> antiphon::Result<(), WrappedError> {
    ctx.call(hanging()).schedule_to_start(secs(5)).queue("nobody").await.or_app(WrappedError)?;
    Ok(())
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("wrapped: {0}")]
struct WrappedError(CallError<Never>);

#[tokio::test]
async fn a_test_that_forgot_to_register_an_activity_is_told_instead_of_hanging() {
    let app = Antiphon::test().workflow(flaking).start().unwrap();
    let error = app.run("a", flaking(1)).await.unwrap_err().to_string();
    assert!(
        error.contains("flaky(1)") && error.contains("has the activity \"flaky\"") && error.contains("[A0032]"),
        "{error}"
    );
}

#[tokio::test]
async fn a_queue_without_workers_times_out_with_its_kind() {
    let app = Antiphon::test().workflow(wrapped).activity(hanging).state(Ran::default()).start().unwrap();
    let error = app.run("a", wrapped()).await.unwrap_err();
    let RunError::Failed(WrappedError(CallError::TimedOut(kind))) = error else { panic!("{error}") };
    assert_eq!(kind, TimeoutKind::ScheduleToStart);
}
