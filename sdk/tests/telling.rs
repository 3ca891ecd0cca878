//! What a program hears of its engine by `tracing`. In a binary of its own: the listener is the process's.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, CallError, Pool, Route, Routine, Timestamp, WorkflowContext, activity, millis, workflow,
};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every event in a line.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("antiphon")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("there are no spans")
    }
    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[activity]
async fn charge(act: ActivityContext, card: String) -> Result<String, String> {
    let _ = act;
    match card.as_str() {
        "s3cret-panics" => panic!("s3cret of the panic"),
        "s3cret-fails" => Err("s3cret of the error".to_owned()),
        _ => Ok("s3cret result".to_owned()),
    }
}

#[workflow]
async fn order(ctx: WorkflowContext<'_>, card: String) -> antiphon::Result<String, CallError<String>> {
    let call = ctx.call(charge(card)).attempts(2).max_losses(1).backoff(millis(1), millis(1));
    Ok(call.route(Route::round_robin()).await?)
}

#[workflow]
async fn odd(ctx: WorkflowContext<'_>) -> antiphon::Result<(), String> {
    let _ = ctx;
    panic!("s3cret of the workflow")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_durable_is_told_and_nothing_secret_with_it() {
    let listener = Listener::default();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    let no = |_: &antiphon::RoutineAsk<'_>| Err("on Sundays".to_owned());
    let builder = Antiphon::test().workflow(order).workflow(odd).activity(charge).routine_guard("no", no);
    let app = builder.pool(Pool::named("second")).start().unwrap();
    app.run("paid", order("s3cret".to_owned())).await.unwrap();
    app.run("fails", order("s3cret-fails".to_owned())).await.unwrap_err();
    app.run("panics", order("s3cret-panics".to_owned())).await.unwrap_err();
    app.run("odd", odd()).await.unwrap_err();
    app.terminate("odd", "ada", "no more").await.unwrap();
    let routine = || Routine::once(Timestamp(0), charge("s3cret".to_owned())).id("nightly");
    app.routines().by("bob").create(routine().guard("no")).await.unwrap_err();
    app.routines().create(routine()).await.unwrap();
    app.routines().run_due(1).await.unwrap();
    app.repair().discard(1, "ada", "paid by hand").await.unwrap();
    app.stop();
    // Of a store whose files are taken from under it.
    let folder = tempfile::tempdir().unwrap();
    let app = Antiphon::open(folder.path().join("data")).start().unwrap();
    std::fs::remove_file(folder.path().join("data/log.db")).unwrap();
    while app.status().await.is_ok() {
        tokio::task::yield_now().await;
    }
    app.stop();

    let told = listener.0.lock().unwrap().clone();
    let all = told.join("\n");
    let heard = |parts: &[&str]| {
        assert!(told.iter().any(|line| parts.iter().all(|part| line.contains(part))), "{parts:?} in\n{all}");
    };
    heard(&["INFO antiphon::store", "message=opened"]);
    heard(&["INFO antiphon::worker", "message=joined", "worker=\"second\"", "capacity="]);
    heard(&[
        "DEBUG antiphon::routing",
        "message=selected",
        "workflow_id=\"paid\"",
        "attempt=1",
        "policy=\"round_robin\"",
    ]);
    heard(&["WARN antiphon::leg", "message=lost", "workflow_id=\"panics\"", "cause=\"panicked\""]);
    heard(&["WARN antiphon::dead_letter", "message=noted", "workflow_id=\"fails\"", "activity_type=\"charge\""]);
    heard(&["INFO antiphon::dead_letter", "message=settled", "letter=1", "who=\"ada\""]);
    heard(&["WARN antiphon::run", "message=blocked", "workflow_id=\"odd\"", "cause=\"panic\""]);
    heard(&["INFO antiphon::run", "message=terminated", "workflow_id=\"odd\"", "who=\"ada\""]);
    heard(&["WARN antiphon::audit", "message=refused", "who=\"bob\"", "verb=\"routine.create\"", "on Sundays"]);
    heard(&["INFO antiphon::audit", "message=done", "verb=\"dead-letter.discard\""]);
    heard(&["INFO antiphon::routine", "message=started", "routine=\"nightly\"", "attempt=1"]);
    heard(&["ERROR antiphon::store", "message=failed", "log.db", "[A00"]);
    assert!(!all.contains("s3cret"), "{all}");
}

#[test]
fn every_target_is_on_the_page() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/observability.md")).unwrap();
    let sources = ["runtime/src/tell.rs", "runtime/src/shell.rs"].map(|file| std::fs::read_to_string(root.join(file)));
    let sources = sources.map(Result::unwrap).join("\n");
    let targets: Vec<&str> =
        sources.split("target: \"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(target, _)| target).collect();
    assert!(targets.len() > 20, "{targets:?}");
    for target in targets {
        assert!(page.contains(&format!("| `{target}` |")), "{target}");
    }
}
