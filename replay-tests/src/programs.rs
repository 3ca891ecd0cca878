//! Workflows whose histories are recorded in `fixtures/`. They are changed only in ways that replay allows.

use antiphon::{
    ActivityContext, Antiphon, CallError, Never, OrApp, Programs, WorkflowContext, activity, hours, millis, minutes,
    race, secs, workflow,
};
use serde::{Deserialize, Serialize};

/// Repeats what it is told.
#[activity]
pub async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

/// Why a card was not charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declined {
    /// The bank is busy: try again.
    Busy,
    /// The card is stolen: do not.
    Stolen,
}

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Declined::Busy => "the bank is busy",
            Declined::Stolen => "the card is stolen",
        })
    }
}

impl Declined {
    fn is_final(&self) -> bool {
        *self == Declined::Stolen
    }
}

/// Charges a card.
#[activity(name = "pay.charge", fatal = Declined::is_final)]
pub async fn charge(_act: ActivityContext, order: u64, cents: u64) -> Result<u64, Declined> {
    if cents == 0 { Err(Declined::Stolen) } else { Ok(order * 1_000 + cents) }
}

/// Gives the money back.
#[activity(name = "pay.refund")]
pub async fn refund(_act: ActivityContext, _receipt: u64) -> Result<(), Never> {
    Ok(())
}

/// One echo.
#[workflow]
pub async fn one(ctx: WorkflowContext<'_>, text: String) -> antiphon::Result<String, CallError<Never>> {
    Ok(ctx.call(echo(text)).await?)
}

/// One charge with every deadline.
#[workflow]
pub async fn guarded(ctx: WorkflowContext<'_>, order: u64) -> antiphon::Result<u64, CallError<Declined>> {
    let paid = ctx
        .call(charge(order, 100))
        .attempts(3)
        .backoff(millis(200), secs(1))
        .schedule_to_start(secs(5))
        .start_to_close(secs(2))
        .schedule_to_close(secs(9))
        .heartbeat_timeout(secs(1))
        .await?;
    Ok(paid)
}

/// One charge that waits for somebody when its budgets are used up.
#[workflow]
pub async fn patient(ctx: WorkflowContext<'_>, order: u64) -> antiphon::Result<u64, CallError<Declined>> {
    Ok(ctx.call(charge(order, 100)).max_losses(1).hold().await?)
}

/// Waits for a signal, at most two days.
#[workflow]
pub async fn parcel(ctx: WorkflowContext<'_>) -> antiphon::Result<String, Never> {
    let packed = race! { ctx;
        by = ctx.signal::<String>("packed") => Some(by),
        _ = ctx.sleep(hours(48)) => None,
    };
    Ok(packed.map_or_else(|| "never packed".to_owned(), |by| format!("packed by {by}")))
}

/// Waits for a signal, for ever.
#[workflow]
pub async fn told(ctx: WorkflowContext<'_>) -> antiphon::Result<String, Never> {
    Ok(ctx.signal::<String>("tell").await)
}

/// Five echoes at once, joined, then one more.
#[workflow]
pub async fn fan(ctx: WorkflowContext<'_>, n: u32) -> antiphon::Result<Vec<String>, CallError<Never>> {
    let echoed = ctx.join_all((0..n).map(|index| ctx.call(echo(index.to_string())))).await;
    let mut all = echoed.into_iter().collect::<Result<Vec<_>, _>>()?;
    all.push(ctx.call(echo("last".to_owned())).await?);
    Ok(all)
}

/// How an order fails.
#[derive(Debug, Serialize, Deserialize)]
pub enum OrderError {
    /// The card was not charged.
    Payment(CallError<Declined>),
    /// Nobody packed it.
    NeverPacked,
}

impl std::fmt::Display for OrderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OrderError::Payment(error) => write!(f, "not paid: {error}"),
            OrderError::NeverPacked => f.write_str("nobody packed it"),
        }
    }
}

/// Charge, then wait for the parcel; the charge is refunded if anything goes wrong.
#[workflow(version = 2)]
pub async fn order(ctx: WorkflowContext<'_>, id: u64, cents: u64) -> antiphon::Result<String, OrderError> {
    let receipt = ctx.call(charge(id, cents)).await.or_app(OrderError::Payment)?;
    ctx.undo(refund(receipt));
    let packed = race! { ctx;
        by = ctx.signal::<String>("packed") => by,
        _ = ctx.sleep(minutes(30)) => Err(OrderError::NeverPacked)?,
    };
    Ok(format!("{receipt} packed by {packed}"))
}

/// Everything that comes from outside or from the run's own stream, and a value too large for an event.
#[workflow]
pub async fn outside(ctx: WorkflowContext<'_>, size: usize) -> antiphon::Result<(u64, u64), CallError<Never>> {
    let drawn = ctx.random() % 1_000;
    let host: String = ctx.side_effect(|| "a value from outside".to_owned()).await;
    let patched = ctx.patched("measure");
    let large = ctx.call(echo("x".repeat(size))).await?;
    ctx.sleep(secs(1)).await;
    let length = large.len() + host.len() + ctx.uuid().len() + usize::from(patched);
    Ok((drawn, length as u64))
}

/// Two charges, as the code was when it was recorded.
pub mod before {
    use super::{CallError, Declined, WorkflowContext, charge, workflow};

    /// Charges twice.
    #[workflow(name = "twice")]
    pub async fn twice(ctx: WorkflowContext<'_>, order: u64) -> antiphon::Result<u64, CallError<Declined>> {
        let first = ctx.call(charge(order, 100)).await?;
        let second = ctx.call(charge(order, 50)).await?;
        Ok(first + second)
    }
}

/// Two charges, after a change that runs on record cannot follow.
pub mod after {
    use super::{CallError, Declined, WorkflowContext, charge, workflow};

    /// Charges twice, the other way round.
    #[workflow(name = "twice")]
    pub async fn twice(ctx: WorkflowContext<'_>, order: u64) -> antiphon::Result<u64, CallError<Declined>> {
        let second = ctx.call(charge(order, 50)).await?;
        let first = ctx.call(charge(order, 100)).await?;
        Ok(first + second)
    }
}

/// The workflows as they are today.
pub fn today() -> Programs {
    register(Antiphon::test()).programs().expect("each name is given once")
}

/// Registers today's workflows and activities.
pub fn register(builder: antiphon::Builder) -> antiphon::Builder {
    everything_but_twice(builder).workflow(before::twice).activity(echo).activity(charge).activity(refund)
}

/// The workflows with the change that runs on record cannot follow.
pub fn changed() -> Programs {
    everything_but_twice(Antiphon::test()).workflow(after::twice).programs().expect("each name is given once")
}

fn everything_but_twice(builder: antiphon::Builder) -> antiphon::Builder {
    builder
        .workflow(one)
        .workflow(guarded)
        .workflow(patient)
        .workflow(parcel)
        .workflow(fan)
        .workflow(order)
        .workflow(outside)
        .workflow(told)
}

/// The names of all activities, for workers made by hand.
pub const ACTIVITIES: [&str; 3] = ["echo", "pay.charge", "pay.refund"];
