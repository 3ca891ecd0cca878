//! What the lab does: prints of orders, and cleaning.

use antiphon::{ActivityContext, CallError, Never, Route, WorkflowContext, activity, millis, workflow};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What one picture is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Picture {
    pub(crate) customer: String,
    pub(crate) number: u32,
}

/// The room that the machines stand in.
#[derive(Clone, Default)]
pub(crate) struct Room {
    /// What came out of the machines, in order.
    pub(crate) printed: Arc<Mutex<Vec<String>>>,
    /// A picture is stuck, and whoever tries to print it again will find it still there.
    pub(crate) jammed: Arc<AtomicBool>,
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{} of {} is stuck in the machine", .0.number, .0.customer)]
pub(crate) struct Jam(Picture);

#[activity]
pub(crate) async fn print(act: ActivityContext, picture: Picture) -> Result<(), Jam> {
    let room = act.state::<Room>();
    if (&*picture.customer, picture.number) == ("ann", 2) && room.jammed.load(Ordering::Relaxed) {
        return Err(Jam(picture));
    }
    let Picture { customer, number } = picture;
    room.printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("{customer} {number}"));
    Ok(())
}

#[activity]
pub(crate) async fn clean(_act: ActivityContext) -> Result<(), Never> {
    Ok(())
}

/// Prints all pictures of a customer, each on whichever machine is free, and returns how many there were.
#[workflow]
pub(crate) async fn order(
    ctx: WorkflowContext<'_>,
    customer: String,
    pictures: u32,
) -> antiphon::Result<u32, CallError<Jam>> {
    let prints = (1..=pictures).map(|number| {
        let call = ctx.call(print(Picture { customer: customer.clone(), number })).queue("lab");
        // Customers share the machines. What fails twice waits for somebody who looks at it, and the order with it.
        call.fairness_key(&customer).attempts(2).backoff(millis(10), millis(10)).hold()
    });
    for printed in ctx.join_all(prints).await {
        printed?;
    }
    Ok(pictures)
}

/// Cleans one machine after the other.
#[workflow]
pub(crate) async fn night(ctx: WorkflowContext<'_>) -> antiphon::Result<(), CallError<Never>> {
    for machine in ["machine-1", "machine-2"] {
        ctx.call(clean()).queue("lab").route(Route::to(machine)).await?;
    }
    Ok(())
}
