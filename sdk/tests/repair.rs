//! What operators ask when something is stuck, through the whole engine.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, CallError, RequestError, Thresholds, WorkflowContext, activity, hours, millis, minutes,
    workflow,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the bank is there.
#[derive(Default)]
struct Bank {
    open: AtomicBool,
}

#[activity]
async fn charge(act: ActivityContext, cents: u64) -> Result<u64, String> {
    if act.state::<Bank>().open.load(Ordering::SeqCst) { Ok(cents) } else { Err("the bank is closed".to_owned()) }
}

#[activity]
async fn hang(_act: ActivityContext) -> Result<(), String> {
    std::future::pending().await
}

#[workflow]
async fn order(ctx: WorkflowContext<'_>, cents: u64) -> antiphon::Result<u64, CallError<String>> {
    Ok(ctx.call(charge(cents)).hold().await?)
}

#[workflow]
async fn hasty(ctx: WorkflowContext<'_>, cents: u64) -> antiphon::Result<u64, CallError<String>> {
    Ok(ctx.call(charge(cents)).attempts(2).backoff(millis(1), millis(1)).await?)
}

#[workflow]
async fn hangs(ctx: WorkflowContext<'_>) -> antiphon::Result<(), CallError<String>> {
    Ok(ctx.call(hang()).max_losses(0).await?)
}

fn engine() -> Antiphon {
    Antiphon::test()
        .workflow(order)
        .workflow(hangs)
        .activity(charge)
        .activity(hang)
        .state(Bank::default())
        .start()
        .unwrap()
}

/// Asks until the run is there: activities run on threads of their own.
async fn held(app: &Antiphon) -> antiphon::Letters {
    loop {
        let letters = app.repair().dead_letters(0, 10, true).await.unwrap();
        if !letters.letters.is_empty() {
            return letters;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_held_call_is_listed_explained_and_discarded_and_the_caller_gets_the_error() {
    let app = engine();
    let run = app.start("order-7", order(100)).await.unwrap();
    let letters = held(&app).await;
    assert_eq!((letters.held, letters.letters[0].1.letter.reason.as_str()), (1, "failed after 1: the bank is closed"));
    let why = app.repair().explain("order-7").await.unwrap().to_string();
    assert!(why.contains("is held as dead letter 1 until somebody retries or discards it"), "{why}");
    assert!(app.repair().discard(1, "ann", "the bank is gone").await.unwrap());
    assert!(!app.repair().discard(1, "ann", "the bank is gone").await.unwrap(), "once");
    assert!(run.result().await.unwrap_err().to_string().contains("the bank is closed"));
    let refused = app.repair().retry(1, "ben", "").await.unwrap_err();
    assert!(refused.to_string().ends_with("[A0059]") && !refused.retryable(), "{refused}");
    let unknown = app.repair().retry_activity("order-7", 9, "ben", "").await.unwrap_err();
    assert!(matches!(&unknown, RequestError::Engine(error) if error.to_string().ends_with("[A0056]")), "{unknown}");
}

#[tokio::test]
async fn a_held_call_that_left_memory_is_brought_back_and_tried_again() {
    let bank = Bank::default();
    bank.open.store(true, Ordering::SeqCst);
    let store = tempfile::tempdir().unwrap();
    let open = |bank: Bank| Antiphon::open(store.path()).workflow(order).activity(charge).state(bank).start().unwrap();
    let app = open(Bank::default());
    app.start("order-7", order(100)).await.unwrap();
    held(&app).await;
    app.stop();
    let app = open(bank);
    assert_eq!(held(&app).await.held, 1, "the list outlives the process");
    assert!(app.repair().retry_activity("order-7", 1, "ann", "the bank is open").await.unwrap());
    assert_eq!(app.get::<order>("order-7").unwrap().result().await.unwrap(), 100);
}

#[tokio::test]
async fn a_body_that_never_ends_is_found_and_given_up() {
    let app = engine();
    let run = app.start("a", hangs()).await.unwrap();
    while app.status().await.unwrap().stats.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    app.advance(minutes(5)).await.unwrap();
    let thresholds = Thresholds::default();
    let dry = app.repair().reconcile_once(thresholds, true, "ann", "it hangs").await.unwrap();
    assert_eq!((dry.findings.len(), dry.repaired), (1, 0));
    assert_eq!(app.repair().scan(thresholds).await.unwrap().findings, dry.findings);
    app.repair().repair(dry.findings[0].clone(), thresholds, "ann", "it hangs").await.unwrap();
    let again = app.repair().repair(dry.findings[0].clone(), thresholds, "ben", "").await.unwrap_err();
    assert!(again.to_string().ends_with("[A0058]"), "{again}");
    assert!(run.result().await.is_err());
}

#[tokio::test]
async fn an_engine_that_looks_by_itself_gives_a_silent_body_up() {
    let app = Antiphon::test()
        .workflow(hangs)
        .activity(hang)
        .reconcile_every(minutes(1), Thresholds { silent_ms: 3_600_000, ..Thresholds::default() })
        .start()
        .unwrap();
    let run = app.start("a", hangs()).await.unwrap();
    while app.status().await.unwrap().stats.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    app.advance(minutes(59)).await.unwrap();
    assert_eq!(app.status().await.unwrap().stats.in_flight, 1, "not before its time");
    app.advance(hours(1)).await.unwrap();
    assert!(run.result().await.unwrap_err().to_string().contains("nothing was heard of it for too long"));
}

#[tokio::test]
async fn a_call_whose_workflow_was_told_begins_anew_on_its_own() {
    let store = tempfile::tempdir().unwrap();
    let open = |bank: Bank| Antiphon::open(store.path()).workflow(hasty).activity(charge).state(bank).start().unwrap();
    let app = open(Bank::default());
    assert!(app.run("order-7", hasty(100)).await.is_err());
    app.stop();
    let bank = Bank::default();
    bank.open.store(true, Ordering::SeqCst);
    let app = open(bank);
    let letters = app.repair().dead_letters(0, 10, false).await.unwrap();
    assert_eq!((letters.told, letters.letters[0].1.letter.workflow_id.as_str()), (1, "order-7"));
    assert!(app.repair().retry(1, "ann", "the bank is open").await.unwrap());
    assert!(!app.repair().retry(1, "ann", "the bank is open").await.unwrap(), "once");
    let again = app.schedule("order-7/dead-letter-1", charge(100).attempts(2).backoff(millis(1), millis(1)));
    let again = again.await.unwrap();
    assert!(again.existed(), "it is the same call under that id");
    assert_eq!(again.result().await.unwrap(), 100);
}
