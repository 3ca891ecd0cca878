//! One point of a curve, on a fresh store.

use crate::Failure;
use crate::flows::{Marks, carry, engine, marked, park};
use crate::load::{Until, closed_loop, sequences, stop, warm};
use crate::measure::{Done, Row, Usage, percentile};
use crate::workloads::joined;
use antiphon::{Antiphon, Config, RunError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the load runs beside what is already there.
const BESIDE: Until = Until::Passed(Duration::from_secs(3));
const CALLERS: usize = 64;

/// Measures the point of a curve at `x`.
pub(crate) async fn run(curve: &str, x: u64, folder: &Path) -> Result<Vec<Row>, Failure> {
    let mut row = match curve {
        "history" => history(x, folder).await?,
        "live" => live(x, folder).await?,
        "store" => store(x, folder).await?,
        "payload" => payload(x, folder).await?,
        "fan" => fan(x, folder).await?,
        other => return Err(format!("there is no curve {other:?}").into()),
    };
    row.workload = format!("curve {curve}");
    row.x = Some(x);
    Ok(vec![row])
}

/// One run of `x` activities in a row. The rate is the whole run's; p50 and p99 are the time from one activity to the
/// next in the last tenth of it, where it is as long as `x` says. Flatness compares the medians of the first 2,000 and of
/// that tenth, from one process and one run, so that a busy minute of the machine is not taken for a bend.
async fn history(x: u64, folder: &Path) -> Result<Row, Failure> {
    let marks = Marks::default();
    let app = Arc::new(engine(folder).state(marks.clone()).start()?);
    warm(&app, folder).await?;
    // Short runs are repeated, so that there is something to take a percentile of.
    let times = (2_000 / x.max(1)).max(1);
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for index in 0..times {
        app.run(format!("history-{index}"), marked(x)).await?;
        let moments = marks.take();
        first = steps(&moments[..moments.len().min(2_000)]);
        last.extend(steps(&moments[moments.len().saturating_sub((moments.len() / 10).max(10) + 1)..]));
    }
    let syncs = app.status().await?.syncs - syncs;
    let (runs, activities) = (times as usize, (times * x) as usize);
    let mut row = usage.row("", Done { runs, activities, micros: last, syncs });
    first.sort_unstable();
    let early = percentile(&first, 0.50).filter(|_| x >= 10_000);
    row.flatness = early.zip(row.p50_us).map(|(early, late)| early as f64 / late.max(1) as f64);
    stop(app);
    Ok(row)
}

fn steps(moments: &[Instant]) -> Vec<u64> {
    moments.windows(2).map(|pair| (pair[1] - pair[0]).as_micros() as u64).collect()
}

/// W1 beside `x` runs that wait for a signal and are kept in memory.
async fn live(x: u64, folder: &Path) -> Result<Row, Failure> {
    let mut config = Config::default();
    config.engine.evict_after_ms = 24 * 60 * 60 * 1_000;
    config.engine.waiting_runs_max = usize::MAX;
    let app = Arc::new(engine(folder).config(config).start()?);
    warm(&app, folder).await?;
    let asked = Arc::clone(&app);
    closed_loop(4 * CALLERS, Until::Asked(x as usize), move |index| {
        let app = Arc::clone(&asked);
        async move { app.start(format!("live-{index}"), park()).await.map(drop).map_err(|error| error.to_string()) }
    })
    .await?;
    let row = sequences(&app, folder, "beside", CALLERS, BESIDE, 1).await?;
    stop(app);
    Ok(row)
}

/// W1 in a store of `x` finished runs.
async fn store(x: u64, folder: &Path) -> Result<Row, Failure> {
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    fill(&app, folder, x as usize).await?;
    let row = sequences(&app, folder, "beside", CALLERS, BESIDE, 1).await?;
    stop(app);
    Ok(row)
}

/// Runs `runs` workflows of one activity to their end, as fast as it goes.
pub(crate) async fn fill(app: &Arc<Antiphon>, folder: &Path, runs: usize) -> Result<Row, Failure> {
    sequences(app, folder, "fill", 1_000, Until::Asked(runs), 1).await
}

/// One activity whose argument and answer have `x` bytes, as have the workflow's input and result.
async fn payload(x: u64, folder: &Path) -> Result<Row, Failure> {
    // Few enough that a thousand megabytes are not under way at once.
    const FEW: usize = 16;
    /// Digits that tell payloads apart; no payload is shorter.
    const NUMBER: usize = 16;
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let rest = "x".repeat((x as usize).saturating_sub(NUMBER));
    let asked = Arc::clone(&app);
    let micros = closed_loop(FEW, BESIDE, move |index| {
        // Equal payloads would be stored once.
        let (app, text) = (Arc::clone(&asked), format!("{index:0NUMBER$}{rest}"));
        async move {
            // Sixteen of the largest are more than may wait at once; who is refused tries again, as it is told.
            loop {
                match app.run(format!("carry-{index}"), carry(text.clone())).await {
                    Err(RunError::Request(error)) if error.retryable() => tokio::task::yield_now().await,
                    ended => return ended.map(drop).map_err(|error| error.to_string()),
                }
            }
        }
    })
    .await?;
    let runs = micros.len();
    let syncs = app.status().await?.syncs - syncs;
    let row = usage.row("", Done { runs, activities: runs, micros, syncs });
    stop(app);
    Ok(row)
}

/// `x` activities at once, joined.
async fn fan(x: u64, folder: &Path) -> Result<Row, Failure> {
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let times = (20_000 / x.max(1)).clamp(1, 200);
    let row = joined(&app, folder, x, times as usize).await?;
    stop(app);
    Ok(row)
}
