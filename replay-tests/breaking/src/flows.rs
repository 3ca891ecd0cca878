//! What victims run: small workflows of every shape, whose bodies all answer to a ledger outside.
#![allow(missing_docs, reason = "the macros make public items whose words stand on the functions")]

use crate::words::{LegName, Moment, Plan};
use antiphon::{ActivityContext, Antiphon, Builder, CallError, ChildWorker, Never, Programs, WorkflowContext};
use antiphon::{activity, encode, millis, race, workflow};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Calls the ledger and returns when it has noted: the nonce.
pub type CallLedger = Arc<dyn Fn(LegName, Moment) -> Pin<Box<dyn Future<Output = u64> + Send>> + Send + Sync>;

/// The way of a body to the ledger.
#[derive(Clone)]
pub struct Outside(pub CallLedger);

/// What a body returns: no two legs return the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The ledger's number for the leg.
    pub nonce: u64,
    filling: String,
}

/// An error on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("busy in attempt {attempt}")]
pub struct Busy {
    attempt: u32,
}

/// As many restarts as a storm of kills may bring: losses are what the storm makes, and most runs are to outlive it.
const MANY: u32 = 1_000_000;

fn leg_of(act: &ActivityContext) -> LegName {
    let (run, key) = (act.run_id().expect("run by an engine"), act.conversation().expect("run by an engine"));
    LegName { run: run.to_string(), ordinal: key.ordinal.0, attempt: key.attempt, leg: act.leg() }
}

/// Text that does not shrink when it is squeezed, so that sizes are sizes.
fn filling(nonce: u64, bytes: u32) -> String {
    let mut random = crate::Random::new(nonce);
    (0..bytes).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

async fn enter(act: &ActivityContext, input: &impl Serialize) -> u64 {
    let input = encode(input).expect("small").digest().to_string();
    (act.state::<Outside>().0)(leg_of(act), Moment::Entered { input }).await
}

async fn leave(act: &ActivityContext, nonce: u64, bytes: u32) -> Done {
    let done = Done { nonce, filling: filling(nonce, bytes) };
    let result = Some(encode(&done).expect("within the limit").digest().to_string());
    (act.state::<Outside>().0)(leg_of(act), Moment::Left { nonce, result }).await;
    done
}

#[activity]
pub async fn work(act: ActivityContext, salt: u64, bytes: u32) -> Result<Done, Never> {
    let nonce = enter(&act, &salt).await;
    Ok(leave(&act, nonce, bytes).await)
}

#[activity]
pub async fn flaky(act: ActivityContext, salt: u64, good_from: u32) -> Result<Done, Busy> {
    let nonce = enter(&act, &salt).await;
    if act.attempt() < good_from {
        (act.state::<Outside>().0)(leg_of(&act), Moment::Left { nonce, result: None }).await;
        return Err(Busy { attempt: act.attempt() });
    }
    Ok(leave(&act, nonce, 10).await)
}

/// Takes its time, and says so.
#[activity]
pub async fn dawdle(act: ActivityContext, salt: u64, ms: u64) -> Result<Done, Never> {
    let nonce = enter(&act, &salt).await;
    for passed in 0..ms {
        tokio::time::sleep(Duration::from_millis(1)).await;
        act.heartbeat(passed).await;
    }
    Ok(leave(&act, nonce, 10).await)
}

#[workflow]
pub async fn sequence(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Vec<u64>, CallError<Never>> {
    let mut nonces = Vec::new();
    for step in 0..plan.steps {
        nonces.push(ctx.call(work(plan.salt + u64::from(step), plan.bytes)).max_losses(MANY).await?.nonce);
    }
    Ok(nonces)
}

/// With the usual number of losses: a run that is killed often enough in one place ends as lost, and says so.
#[workflow]
pub async fn fan(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Vec<u64>, CallError<Never>> {
    let calls = (0..plan.steps).map(|step| ctx.call(work(plan.salt + u64::from(step), plan.bytes)));
    let mut nonces = Vec::new();
    for done in ctx.join_all(calls).await {
        nonces.push(done?.nonce);
    }
    Ok(nonces)
}

#[workflow(name = "race")]
pub async fn racing(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Option<u64>, CallError<Never>> {
    let first = race! { ctx;
        value = ctx.signal::<u64>("go") => Some(value),
        _ = ctx.sleep(millis(u64::from(plan.steps) * 10)) => None,
    };
    ctx.call(work(plan.salt, plan.bytes)).max_losses(MANY).await?;
    Ok(first)
}

#[workflow]
pub async fn retry(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<u64, CallError<Busy>> {
    let call = ctx.call(flaky(plan.salt, plan.steps)).attempts(plan.steps).backoff(millis(1), millis(8));
    Ok(call.max_losses(MANY).await?.nonce)
}

#[workflow]
pub async fn once(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Option<u64>, CallError<Never>> {
    match ctx.call(work(plan.salt, plan.bytes)).at_most_once().await {
        Ok(done) => Ok(Some(done.nonce)),
        Err(CallError::Lost { .. }) => Ok(None),
        Err(other) => Err(other)?,
    }
}

#[workflow]
pub async fn counted(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Vec<u64>, Never> {
    let mut values = Vec::new();
    for _ in 0..plan.steps {
        values.push(ctx.signal::<u64>("tick").await);
    }
    Ok(values)
}

#[workflow]
pub async fn patient(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<u64, CallError<Never>> {
    ctx.call(work(plan.salt, plan.bytes)).max_losses(MANY).await?;
    ctx.undo(work(plan.salt + 1, 10).max_losses(MANY));
    ctx.undo(work(plan.salt + 2, 10).max_losses(MANY));
    Ok(ctx.signal::<u64>("go").await)
}

#[workflow]
pub async fn aware(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Option<u64>, CallError<Never>> {
    let told = race! { ctx;
        value = ctx.signal::<u64>("go") => Some(value),
        _ = ctx.cancelled() => None,
    };
    ctx.call(work(plan.salt, plan.bytes)).max_losses(MANY).await?;
    Ok(told)
}

#[workflow]
pub async fn failing(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<u64, Busy> {
    for step in 0..plan.steps {
        ctx.undo(work(plan.salt + u64::from(step), plan.bytes).max_losses(MANY));
    }
    Err(Busy { attempt: plan.steps })?
}

#[workflow]
pub async fn slow(ctx: WorkflowContext<'_>, plan: Plan) -> antiphon::Result<Option<u64>, CallError<Never>> {
    let call = ctx.call(dawdle(plan.salt, u64::from(plan.steps) * 5)).max_losses(MANY);
    match call.start_to_close(millis(25)).heartbeat_timeout(millis(20)).attempts(2).backoff(millis(1), millis(2)).await
    {
        Ok(done) => Ok(Some(done.nonce)),
        Err(CallError::TimedOut(_)) => Ok(None),
        Err(other) => Err(other)?,
    }
}

/// Gives a builder all of this.
pub fn register(builder: Builder) -> Builder {
    workflows(builder.activity(work).activity(flaky).activity(dawdle))
}

/// Gives a builder all of this, with the bodies in processes of their own.
pub fn register_apart(builder: Builder, worker: ChildWorker) -> Builder {
    workflows(builder.child_worker(worker.activity(work).activity(flaky).activity(dawdle)))
}

fn workflows(builder: Builder) -> Builder {
    let builder = builder.workflow(sequence).workflow(fan).workflow(racing).workflow(retry).workflow(once);
    builder.workflow(counted).workflow(patient).workflow(aware).workflow(failing).workflow(slow)
}

/// The workflows alone, for replay.
pub fn programs() -> Programs {
    register(Antiphon::test()).programs().expect("every name is used once")
}
