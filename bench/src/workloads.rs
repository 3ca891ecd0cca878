use crate::measure::{Row, Usage};
use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, workflow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

#[activity]
async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

/// `n` echoes, one after the other. With `n` = 1 this is W1.
#[workflow]
async fn sequence(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<String, CallError<Never>> {
    let mut last = String::new();
    for _ in 0..n {
        last = ctx.call(echo("hello-world".to_owned())).await?;
    }
    Ok(last)
}

/// `n` echoes at once, joined.
#[workflow]
async fn fan(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<u64, CallError<Never>> {
    let calls = (0..n).map(|_| ctx.call(echo("hello-world".to_owned())));
    Ok(ctx.join_all(calls).await.len() as u64)
}

/// Runs one workload on a fresh store.
pub(crate) async fn run(name: &str, folder: &Path) -> Result<Vec<Row>, Failure> {
    let app = Arc::new(Antiphon::open(folder).workflow(sequence).workflow(fan).activity(echo).start()?);
    // The first runs pay for page faults and prepared statements; nobody asks about them.
    closed_loop(&app, "warm", 50, 4, 1).await?;
    let mut rows = Vec::new();
    match name {
        "w1" => {
            for (callers, runs) in [(1, 500), (64, 6_000), (1_000, 20_000)] {
                rows.push(measured(&app, &format!("W1 c={callers}"), runs, callers, 1).await?);
            }
        }
        "w2" => {
            for (callers, runs) in [(64, 3_000), (1_000, 6_000)] {
                rows.push(measured(&app, &format!("W2 10 in a row c={callers}"), runs, callers, 10).await?);
            }
        }
        "w3" => {
            let (before, syncs) = (Usage::now(), app.status().await?.syncs);
            let started = Instant::now();
            app.run("fan", fan(1_000)).await?;
            let micros = vec![started.elapsed().as_micros() as u64];
            rows.push(Row::new("W3 1000 at once", 1, 1_000, &before, micros, app.status().await?.syncs - syncs));
        }
        _ => {
            for n in [500, 1_000, 2_000] {
                rows.push(measured(&app, &format!("W4 {n} in a row"), 1, 1, n).await?);
            }
        }
    }
    Arc::into_inner(app).expect("all callers have ended").stop();
    Ok(rows)
}

async fn measured(app: &Arc<Antiphon>, label: &str, runs: usize, callers: usize, n: u64) -> Result<Row, Failure> {
    let (before, syncs) = (Usage::now(), app.status().await?.syncs);
    let micros = closed_loop(app, label, runs, callers, n).await?;
    let syncs = app.status().await?.syncs - syncs;
    Ok(Row::new(label, runs, runs * n as usize, &before, micros, syncs))
}

/// `callers` callers, each starting a workflow and waiting for its result, until `runs` are done. Returns the time of
/// each in microseconds.
async fn closed_loop(
    app: &Arc<Antiphon>,
    label: &str,
    runs: usize,
    callers: usize,
    n: u64,
) -> Result<Vec<u64>, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..callers.min(runs))
        .map(|_| {
            let (app, next, label) = (Arc::clone(app), Arc::clone(&next), label.to_owned());
            tokio::spawn(async move {
                let mut micros = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= runs {
                        return Ok::<_, String>(micros);
                    }
                    let started = Instant::now();
                    let result = app.run(format!("{label}-{index}"), sequence(n)).await;
                    result.map_err(|error| error.to_string())?;
                    micros.push(started.elapsed().as_micros() as u64);
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(runs);
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}
