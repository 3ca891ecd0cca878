//! The saga on a store in memory, with a clock that skips.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{ActivityContext, Antiphon, CallError, RunError};
use order_saga::{Declined, Order, OrderError, Packed, Shop, charge, order, register};

fn engine(shop: &Shop) -> Antiphon {
    register(Antiphon::test(), shop.clone()).start().unwrap()
}

fn tea(card: &str) -> Order {
    Order { id: "7".to_owned(), cents: 1_250, card: card.to_owned() }
}

#[tokio::test]
async fn a_packed_order_is_shipped_and_nothing_is_undone() {
    let shop = Shop::default();
    let app = engine(&shop);
    let run = app.start("order-7", order(tea("visa"))).await.unwrap();
    run.signal("packed", &Packed { by: "ann".to_owned() }).await.unwrap();
    let shipped = run.result().await.unwrap();
    assert_eq!((shipped.parcel.as_str(), shipped.packed_by.as_str()), ("parcel-7", "ann"));
    let mut journal = shop.journal();
    // Label and mail run side by side, in either order.
    journal[2..].sort();
    assert_eq!(journal, ["reserve 7", "charge 7 1250 cents, attempt 1", "label 7", "mail 7"]);
}

#[tokio::test]
async fn an_order_that_nobody_packs_for_two_days_is_undone_in_reverse() {
    let shop = Shop::default();
    let app = engine(&shop);
    let run = app.start("order-7", order(tea("visa"))).await.unwrap();
    // The clock of the test jumps over the 48 hours while this waits.
    let error = run.result().await.unwrap_err();
    assert!(matches!(error, RunError::Failed(OrderError::NeverPacked)), "{error}");
    let row = app.describe("order-7").unwrap().unwrap();
    assert!(row.updated_at.since_ms(row.started_at) >= 48 * 3_600_000);
    assert_eq!(shop.journal()[4..], ["refund 7", "release 7"]);
}

#[tokio::test]
async fn a_declined_card_is_asked_once_and_the_goods_go_back() {
    let shop = Shop::default();
    let app = engine(&shop);
    let error = app.run("order-7", order(tea("declined"))).await.unwrap_err();
    let declined = Declined::Card { card: "declined".to_owned() };
    assert!(
        matches!(&error, RunError::Failed(OrderError::Payment(CallError::App(found))) if *found == declined),
        "{error}"
    );
    assert_eq!(shop.journal(), ["reserve 7", "charge 7 1250 cents, attempt 1", "refund 7", "release 7"]);
}

#[tokio::test]
async fn a_bank_that_does_not_answer_is_asked_again_until_it_does() {
    let shop = Shop::default();
    let app = engine(&shop);
    let run = app.start("order-7", order(tea("flaky"))).await.unwrap();
    run.signal("packed", &Packed { by: "ann".to_owned() }).await.unwrap();
    run.result().await.unwrap();
    let attempts: Vec<_> = shop.journal().into_iter().filter(|line| line.starts_with("charge")).collect();
    let expected: Vec<_> = (1..=3).map(|attempt| format!("charge 7 1250 cents, attempt {attempt}")).collect();
    assert_eq!(attempts, expected);
}

#[tokio::test]
async fn a_cancelled_order_is_undone_in_reverse() {
    let shop = Shop::default();
    let app = engine(&shop);
    let run = app.start("order-7", order(tea("visa"))).await.unwrap();
    run.cancel("the customer changed her mind").await.unwrap();
    let error = run.result().await.unwrap_err();
    assert!(matches!(&error, RunError::Cancelled { reason } if reason.contains("changed her mind")), "{error}");
    let journal = shop.journal();
    // How far it had come is a race; whatever was begun is undone, the last first.
    let undone: Vec<_> = journal.iter().filter(|line| line.starts_with("re") && !line.starts_with("reserve")).collect();
    assert!(undone == ["refund 7", "release 7"] || undone == ["release 7"], "{journal:?}");
}

#[tokio::test]
async fn the_body_of_an_activity_is_tested_without_an_engine() {
    let shop = Shop::default();
    let act = || ActivityContext::unit_test().with_state(shop.clone());
    assert_eq!(charge::run(act(), "7".into(), 100, "visa".into()).await.unwrap().number, "unit-tes");
    let flaky = charge::run(act(), "7".into(), 100, "flaky".into()).await.unwrap_err();
    assert!(!flaky.is_final());
    let declined = charge::run(act(), "7".into(), 100, "declined".into()).await.unwrap_err();
    assert!(declined.is_final());
    assert_eq!(shop.journal().len(), 3);
}

#[tokio::test]
async fn the_record_of_an_order_replays_without_touching_the_shop() {
    let shop = Shop::default();
    let app = engine(&shop);
    app.run("order-7", order(tea("visa"))).await.unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order.history");
    std::fs::write(&file, app.history("order-7").unwrap().unwrap().to_bytes()).unwrap();
    let done = shop.journal();
    // Keep such a file in your repository, and this test tells when a change would strand runs that are under way.
    register(Antiphon::test(), shop.clone()).replay_every_prefix(&file).unwrap();
    assert_eq!(shop.journal(), done);
}
