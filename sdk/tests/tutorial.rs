//! The code of `docs/tutorial.md`, so that it compiles and does what the page says.
//!
//! Every Rust block of the page stands here, line for line; the last test checks that.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, reason = "what is a module here is a reader's library")]

use antiphon::{Antiphon, CallError, RunError};
use shop::*;

/// Step 1: one workflow, one activity.
#[allow(dead_code, reason = "a program's main, which tests do not call")]
mod first {
    use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, workflow};

    #[activity]
    async fn greet(_act: ActivityContext, name: String) -> Result<String, Never> {
        println!("greeting {name}");
        Ok(format!("Hello, {name}!"))
    }

    #[workflow]
    async fn hello(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<String, CallError<Never>> {
        Ok(ctx.call(greet(name)).await?)
    }

    #[tokio::main]
    async fn main() -> Result<(), Box<dyn std::error::Error>> {
        let app = Antiphon::open("data").workflow(hello).activity(greet).start()?;
        println!("{}", app.run("hello-1", hello("world".to_owned())).await?);
        Ok(())
    }

    #[tokio::test]
    async fn the_first_workflow_says_hello_and_the_same_id_finds_the_same_run() {
        let app = Antiphon::test().workflow(hello).activity(greet).start().unwrap();
        assert_eq!(app.run("hello-1", hello("world".to_owned())).await.unwrap(), "Hello, world!");
        assert!(app.start("hello-1", hello("world".to_owned())).await.unwrap().existed());
    }
}

/// Step 2: long enough to be killed.
mod second {
    use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, secs, workflow};

    #[activity]
    async fn greet(_act: ActivityContext, name: String) -> Result<String, Never> {
        println!("greeting {name}");
        Ok(format!("Hello, {name}!"))
    }

    #[workflow]
    async fn hello(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<String, CallError<Never>> {
        let first = ctx.call(greet(name.clone())).await?;
        ctx.sleep(secs(20)).await;
        let again = ctx.call(greet(name)).await?;
        Ok(format!("{first} {again}"))
    }

    #[tokio::test]
    async fn a_run_goes_on_after_its_engine_was_stopped_in_the_middle() {
        let app = Antiphon::test().workflow(hello).activity(greet).start().unwrap();
        app.start("hello-2", hello("world".to_owned())).await.unwrap();
        // Nobody waits for the run, so the clock of the test stands still and the run stays in its sleep.
        while app.describe("hello-2").unwrap().unwrap().timers.is_empty() {
            app.status().await.unwrap();
        }
        let again = Antiphon::test_again(&app).workflow(hello).activity(greet);
        app.stop();
        let app = again.start().unwrap();
        let greeting = app.run("hello-2", hello("world".to_owned())).await.unwrap();
        assert_eq!(greeting, "Hello, world! Hello, world!");
        assert_eq!(
            app.describe("hello-2").unwrap().unwrap().activities,
            2,
            "the first greeting was not asked for again"
        );
    }
}

/// Steps 3 to 5: an order with retries, a signal, a timer and a compensation.
mod shop {
    use antiphon::{
        ActivityContext, CallError, Never, OrApp, WorkflowContext, activity, days, millis, minutes, race, secs,
        workflow,
    };
    use serde::{Deserialize, Serialize};
    use std::sync::{Arc, Mutex};

    /// What the bank was asked.
    #[derive(Clone, Default)]
    pub struct Bank(Arc<Mutex<Vec<String>>>);

    impl Bank {
        pub fn asked(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }

        fn ask(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
    pub enum Declined {
        #[error("the bank does not answer")]
        NoAnswer,
        #[error("the card is blocked")]
        CardBlocked,
    }

    impl Declined {
        fn is_final(&self) -> bool {
            *self == Declined::CardBlocked
        }
    }

    #[activity(name = "pay.charge", fatal = Declined::is_final)]
    pub async fn charge(act: ActivityContext, order: u64, cents: u64) -> Result<String, Declined> {
        act.state::<Bank>().ask(format!("charge {cents}, attempt {}", act.attempt()));
        match (cents, act.attempt()) {
            (0, _) => Err(Declined::CardBlocked),
            (_, 1) => Err(Declined::NoAnswer),
            _ => Ok(format!("receipt {order}")),
        }
    }

    #[activity(name = "pay.refund")]
    pub async fn refund(act: ActivityContext, receipt: String) -> Result<(), Never> {
        act.state::<Bank>().ask(format!("refund {receipt}"));
        Ok(())
    }

    #[derive(Debug, Serialize, Deserialize, thiserror::Error)]
    pub enum OrderError {
        #[error("not paid: {0}")]
        Payment(CallError<Declined>),
        #[error("nobody packed it")]
        NeverPacked,
    }

    #[workflow]
    pub async fn order(ctx: WorkflowContext<'_>, id: u64, cents: u64) -> antiphon::Result<String, OrderError> {
        let receipt = ctx
            .call(charge(id, cents))
            .start_to_close(secs(30))
            .schedule_to_close(minutes(10))
            .attempts(5)
            .backoff(millis(200), secs(10))
            .await
            .or_app(OrderError::Payment)?;
        ctx.undo(refund(receipt.clone()));
        let packed_by = race! { ctx;
            name = ctx.signal::<String>("packed") => Some(name),
            _ = ctx.sleep(days(2))                => None,
        };
        match packed_by {
            Some(name) => Ok(format!("{receipt}, packed by {name}")),
            None => Err(OrderError::NeverPacked)?,
        }
    }
}

/// Step 8: a change that runs on record cannot follow.
mod changed {
    use super::shop::*;
    use antiphon::{ActivityContext, OrApp, WorkflowContext, activity, days, millis, minutes, race, secs, workflow};

    #[activity(name = "pay.authorise")]
    pub async fn authorise(_act: ActivityContext, _order: u64, _cents: u64) -> Result<(), Declined> {
        Ok(())
    }

    #[workflow]
    pub async fn order(ctx: WorkflowContext<'_>, id: u64, cents: u64) -> antiphon::Result<String, OrderError> {
        ctx.call(authorise(id, cents)).await.or_app(OrderError::Payment)?;
        let receipt = ctx
            .call(charge(id, cents))
            .start_to_close(secs(30))
            .schedule_to_close(minutes(10))
            .attempts(5)
            .backoff(millis(200), secs(10))
            .await
            .or_app(OrderError::Payment)?;
        ctx.undo(refund(receipt.clone()));
        let packed_by = race! { ctx;
            name = ctx.signal::<String>("packed") => Some(name),
            _ = ctx.sleep(days(2))                => None,
        };
        match packed_by {
            Some(name) => Ok(format!("{receipt}, packed by {name}")),
            None => Err(OrderError::NeverPacked)?,
        }
    }
}

/// Step 9: the same change behind a patch.
mod mended {
    use super::changed::authorise;
    use super::shop::*;
    use antiphon::{OrApp, WorkflowContext, days, millis, minutes, race, secs, workflow};

    #[workflow]
    pub async fn order(ctx: WorkflowContext<'_>, id: u64, cents: u64) -> antiphon::Result<String, OrderError> {
        if ctx.patched("authorise-first") {
            ctx.call(authorise(id, cents)).await.or_app(OrderError::Payment)?;
        }
        let receipt = ctx
            .call(charge(id, cents))
            .start_to_close(secs(30))
            .schedule_to_close(minutes(10))
            .attempts(5)
            .backoff(millis(200), secs(10))
            .await
            .or_app(OrderError::Payment)?;
        ctx.undo(refund(receipt.clone()));
        let packed_by = race! { ctx;
            name = ctx.signal::<String>("packed") => Some(name),
            _ = ctx.sleep(days(2))                => None,
        };
        match packed_by {
            Some(name) => Ok(format!("{receipt}, packed by {name}")),
            None => Err(OrderError::NeverPacked)?,
        }
    }
}

fn engine(bank: &Bank) -> Antiphon {
    Antiphon::test().workflow(order).activity(charge).activity(refund).state(bank.clone()).start().unwrap()
}

#[tokio::test]
async fn a_packed_order_is_kept() {
    let bank = Bank::default();
    let app = engine(&bank);
    let run = app.start("order-7", order(7, 1250)).await.unwrap();
    run.signal("packed", &"Ada").await.unwrap();
    assert_eq!(run.result().await.unwrap(), "receipt 7, packed by Ada");
    assert_eq!(bank.asked(), ["charge 1250, attempt 1", "charge 1250, attempt 2"]);
}

#[tokio::test]
async fn an_order_that_nobody_packs_for_two_days_is_refunded() {
    let bank = Bank::default();
    let app = engine(&bank);
    let run = app.start("order-7", order(7, 1250)).await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(matches!(error, RunError::Failed(OrderError::NeverPacked)));
    assert_eq!(bank.asked().last().unwrap(), "refund receipt 7");
    let row = app.describe("order-7").unwrap().unwrap();
    assert!(row.updated_at.since_ms(row.started_at) >= 2 * 24 * 60 * 60 * 1000);
}

#[tokio::test]
async fn a_blocked_card_is_not_asked_again() {
    let bank = Bank::default();
    let error = engine(&bank).run("order-7", order(7, 0)).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(OrderError::Payment(CallError::App(Declined::CardBlocked)))));
    assert_eq!(bank.asked(), ["charge 0, attempt 1"]);
}

#[test]
fn order_7_replays_on_the_code_of_today() {
    let replayed = Antiphon::test().workflow(order).replay_every_prefix("tests/order-7.history");
    replayed.unwrap_or_else(|report| panic!("{report}"));
}

#[tokio::test]
async fn the_history_of_a_new_run_replays_as_the_file_does() {
    let app = engine(&Bank::default());
    let run = app.start("order-7", order(7, 1250)).await.unwrap();
    run.signal("packed", &"Ada").await.unwrap();
    run.result().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order-7.history");
    std::fs::write(&file, app.history("order-7").unwrap().unwrap().to_bytes()).unwrap();
    let fresh = Antiphon::test().workflow(order).replay_every_prefix(file).unwrap();
    let kept = Antiphon::test().workflow(order).replay("tests/order-7.history").unwrap();
    assert_eq!((fresh.status, fresh.stopped), (kept.status, kept.stopped));
}

#[test]
fn the_changed_order_diverges_with_the_report_that_the_page_shows() {
    let replayed = Antiphon::test().workflow(changed::order).replay_every_prefix("tests/order-7.history");
    let report = replayed.unwrap_err().to_string();
    // Places in the source are those of a reader's project on the page, and of this file here.
    let plain = |text: &str| text.lines().filter(|line| !line.contains(" at s")).collect::<Vec<_>>().join("\n");
    assert_eq!(plain(&report), plain(text_block("does not replay")));
}

#[tokio::test]
async fn the_mended_order_replays_the_old_history_and_new_runs_take_the_new_side() {
    Antiphon::test().workflow(mended::order).replay_every_prefix("tests/order-7.history").unwrap();
    let app = Antiphon::test().workflow(mended::order).activity(changed::authorise);
    let app = app.activity(charge).activity(refund).state(Bank::default()).start().unwrap();
    let run = app.start("order-8", mended::order(8, 1250)).await.unwrap();
    run.signal("packed", &"Ada").await.unwrap();
    run.result().await.unwrap();
    assert_eq!(app.describe("order-8").unwrap().unwrap().activities, 2);
}

/// Step 7: the program whose run is exported.
#[allow(dead_code, reason = "a program's main, which tests do not call")]
mod program {
    use super::shop::*;
    use antiphon::Antiphon;

    #[tokio::main]
    async fn main() -> Result<(), Box<dyn std::error::Error>> {
        let bank = Bank::default();
        let app = Antiphon::open("data").workflow(order).activity(charge).activity(refund).state(bank).start()?;
        let run = app.start("order-7", order(7, 1250)).await?;
        run.signal("packed", &"Ada").await?;
        println!("{}", run.result().await?);
        Ok(())
    }
}

const PAGE: &str = include_str!("../../docs/tutorial.md");

/// The page's text block that has `part` in it.
fn text_block(part: &str) -> &'static str {
    let mut blocks = PAGE.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(part)).expect("the page has the block")
}

#[test]
fn every_rust_block_of_the_page_stands_in_this_file() {
    // Indentation differs: what is a module here is the whole file of a reader.
    let plain = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let source = plain(include_str!("tutorial.rs"));
    let blocks: Vec<&str> = PAGE.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 8, "the page has {} Rust blocks", blocks.len());
    for block in blocks {
        assert!(source.contains(&plain(block)), "this block is not in tests/tutorial.rs:\n{block}");
    }
}
