//! The workflows and activities that are measured, and the engine that they run on.

use antiphon::{ActivityContext, Antiphon, Builder, CallError, Never, WorkflowContext, activity, millis, workflow};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[activity]
pub(crate) async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

/// Takes a while.
#[activity]
pub(crate) async fn pause(_act: ActivityContext, ms: u64) -> Result<(), Never> {
    tokio::time::sleep(millis(ms)).await;
    Ok(())
}

/// Notes when it was run.
#[activity]
pub(crate) async fn mark(act: ActivityContext) -> Result<(), Never> {
    act.state::<Marks>().add();
    Ok(())
}

/// `n` echoes, one after the other.
#[workflow]
pub(crate) async fn sequence(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<String, CallError<Never>> {
    let mut last = String::new();
    for _ in 0..n {
        last = ctx.call(echo("hello-world".to_owned())).await?;
    }
    Ok(last)
}

/// `n` echoes at once, joined.
#[workflow]
pub(crate) async fn fan(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<u64, CallError<Never>> {
    let calls = (0..n).map(|_| ctx.call(echo("hello-world".to_owned())));
    Ok(ctx.join_all(calls).await.len() as u64)
}

/// One echo of a text, which is input, argument, answer and result: recorded four times.
#[workflow]
pub(crate) async fn carry(ctx: WorkflowContext<'_>, text: String) -> antiphon::Result<String, CallError<Never>> {
    Ok(ctx.call(echo(text)).await?)
}

/// `n` pauses of `ms`, one after the other.
#[workflow]
pub(crate) async fn slow(ctx: WorkflowContext<'_>, n: u64, ms: u64) -> antiphon::Result<(), CallError<Never>> {
    for _ in 0..n {
        ctx.call(pause(ms)).await?;
    }
    Ok(())
}

/// `n` marks, one after the other.
#[workflow]
pub(crate) async fn marked(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<(), CallError<Never>> {
    for _ in 0..n {
        ctx.call(mark()).await?;
    }
    Ok(())
}

/// Waits for the signal `go`.
#[workflow]
pub(crate) async fn park(ctx: WorkflowContext<'_>) -> antiphon::Result<(), Never> {
    ctx.signal::<()>("go").await;
    Ok(())
}

/// Sleeps.
#[workflow]
pub(crate) async fn nap(ctx: WorkflowContext<'_>, ms: u64) -> antiphon::Result<(), Never> {
    ctx.sleep(millis(ms)).await;
    Ok(())
}

/// The moments at which the activity `mark` ran, for workflows whose steps are to be timed from outside of the engine.
#[derive(Clone, Default)]
pub(crate) struct Marks(Arc<Mutex<Vec<Instant>>>);

impl Marks {
    fn add(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    /// Takes the moments out, oldest first.
    pub(crate) fn take(&self) -> Vec<Instant> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An engine on the store in `folder` with all of this. Settings are the defaults: `synchronous=FULL`.
pub(crate) fn engine(folder: &Path) -> Builder {
    Antiphon::open(folder)
        .workflow(sequence)
        .workflow(fan)
        .workflow(carry)
        .workflow(slow)
        .workflow(marked)
        .workflow(park)
        .workflow(nap)
        .activity(echo)
        .activity(pause)
        .activity(mark)
        .state(Marks::default())
}
