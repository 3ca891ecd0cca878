use crate::shop::{Declined, OutOfStock, charge, print_label, refund, release, reserve, send_mail};
use antiphon::{CallError, Never, OrApp, WorkflowContext, hours, millis, race, secs};
use serde::{Deserialize, Serialize};

/// What was ordered, and how it is paid.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The shop's number of the order; the workflow id is `order-<id>`.
    pub id: String,
    /// The price in cents.
    pub cents: u64,
    /// The card to charge.
    pub card: String,
}

/// What the packer tells: the signal `packed`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Packed {
    /// Who packed it.
    pub by: String,
}

/// What is left when all went well.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shipped {
    /// The payment's number.
    pub receipt: String,
    /// The parcel's number.
    pub parcel: String,
    /// Who packed it.
    pub packed_by: String,
}

/// Why an order was not shipped. Everything that had been done was undone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum OrderError {
    /// The goods could not be set aside.
    #[error("could not reserve the goods: {0}")]
    Stock(CallError<OutOfStock>),
    /// The card could not be charged.
    #[error("could not charge the card: {0}")]
    Payment(CallError<Declined>),
    /// The label could not be printed.
    #[error("could not print the label: {0}")]
    Label(CallError<Never>),
    /// Nobody packed it in time.
    #[error("not packed within 48 hours")]
    NeverPacked,
}

/// Ships one order, or leaves no trace of it.
#[antiphon::workflow(name = "order")]
pub async fn order(ctx: WorkflowContext<'_>, order: Order) -> antiphon::Result<Shipped, OrderError> {
    // Each undo is pushed before its step: if the step's outcome is never known, it may have happened. Undoing what
    // did not happen does nothing (see shop.rs), so pushing early is safe and pushing late is not.
    ctx.undo(release(order.id.clone()));
    ctx.call(reserve(order.id.clone())).attempts(3).await.or_app(OrderError::Stock)?;

    ctx.undo(refund(order.id.clone()));
    let receipt = ctx
        .call(charge(order.id.clone(), order.cents, order.card))
        .start_to_close(secs(30))
        .attempts(5)
        .backoff(millis(500), secs(10))
        .await
        .or_app(OrderError::Payment)?;

    let label = ctx.call(print_label(order.id.clone())).attempts(3);
    let mail = ctx.call(send_mail(order.id, format!("paid, receipt {}", receipt.number))).attempts(3);
    let (label, mail) = ctx.join((label, mail)).await;
    let label = label.or_app(OrderError::Label)?;
    // A mail that could not be sent is on record; it is no reason to keep the goods.
    drop(mail);

    let packed = race! { ctx;
        packed = ctx.signal::<Packed>("packed") => Some(packed),
        _ = ctx.sleep(hours(48))                => None,
    };
    match packed {
        Some(Packed { by }) => Ok(Shipped { receipt: receipt.number, parcel: label.parcel, packed_by: by }),
        None => Err(OrderError::NeverPacked)?,
    }
}
