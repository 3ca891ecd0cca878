//! Replay reaches nothing outside the record: everything outside panics, and it does not notice.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use antiphon::{ActivityContext, Antiphon, Builder, CallError, Never, WorkflowContext, activity, race, secs, workflow};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Once set, every door to the outside panics.
static SHUT: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU32 = AtomicU32::new(0);

fn outside(what: &str) -> u32 {
    assert!(!SHUT.load(Ordering::SeqCst), "replay reached {what}");
    CALLS.fetch_add(1, Ordering::SeqCst)
}

#[activity]
async fn number(_act: ActivityContext) -> Result<u32, Never> {
    Ok(outside("a worker"))
}

#[workflow]
async fn all_doors(ctx: WorkflowContext<'_>) -> antiphon::Result<Vec<String>, CallError<Never>> {
    let mut seen = vec![ctx.now().0.to_string(), ctx.random().to_string(), ctx.uuid()];
    seen.push(ctx.side_effect(|| outside("a side effect")).await.to_string());
    // Two equal calls: each keeps its own outcome.
    seen.push(ctx.call(number()).await?.to_string());
    seen.push(ctx.call(number()).await?.to_string());
    ctx.sleep(secs(60)).await;
    seen.push(ctx.now().0.to_string());
    let told = race! { ctx;
        text = ctx.signal::<String>("tell") => text,
        _ = ctx.sleep(secs(3600)) => "nobody told".to_owned(),
    };
    seen.push(told);
    Ok(seen)
}

fn code(builder: Builder) -> Builder {
    builder.workflow(all_doors).activity(number)
}

#[tokio::test]
async fn replay_calls_no_worker_side_effect_clock_or_random_source_and_ends_in_the_same_result() {
    let app = code(Antiphon::test()).start().unwrap();
    let live = app.run("doors", all_doors()).await.unwrap();
    assert_ne!(live[4], live[5], "two equal calls have their own outcomes");
    let history = app.history("doors").unwrap().unwrap();
    let again = Antiphon::test_again(&app);
    app.stop();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doors.history");
    std::fs::write(&file, history.to_bytes()).unwrap();

    SHUT.store(true, Ordering::SeqCst);
    let calls = CALLS.load(Ordering::SeqCst);
    // The result is compared with the recorded one as part of the replay: another time or another random number would
    // be a divergence in RunCompleted.
    let replayed = code(Antiphon::test()).replay_every_prefix(&file).unwrap();
    assert_eq!(replayed.events, 11);
    // A new engine on the same store answers from the record as well.
    let app = code(again).start().unwrap();
    assert_eq!(app.run("doors", all_doors()).await.unwrap(), live);
    assert_eq!(CALLS.load(Ordering::SeqCst), calls);
}
