//! W1 to W4 and the steady load, each on a fresh store in a process of its own.

use crate::Failure;
use crate::flows::{engine, fan};
use crate::load::{Until, sequences, stop, warm};
use crate::measure::{Done, Row, Usage};
use antiphon::Antiphon;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for some tens of archive folds and checkpoints.
const STEADY: Duration = Duration::from_secs(10);

/// Runs one workload. With `callers`, only with that many, for `seconds` instead of a number of runs.
pub(crate) async fn run(
    name: &str,
    folder: &Path,
    callers: Option<usize>,
    seconds: Option<u64>,
) -> Result<Vec<Row>, Failure> {
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let until = |runs| seconds.map_or(Until::Asked(runs), |seconds| Until::Passed(Duration::from_secs(seconds)));
    let chosen = |all: &[(usize, usize)]| match callers {
        Some(callers) => vec![(callers, all.last().map_or(1, |(_, runs)| *runs))],
        None => all.to_vec(),
    };
    let mut rows = Vec::new();
    match name {
        "w1" => {
            for (callers, runs) in chosen(&[(1, 500), (64, 6_000), (1_000, 20_000)]) {
                let label = format!("W1 c={callers}");
                rows.push(sequences(&app, folder, &label, callers, until(runs), 1).await?);
            }
        }
        "w2" => {
            for (callers, runs) in chosen(&[(64, 3_000), (1_000, 6_000)]) {
                let label = format!("W2 10 in a row c={callers}");
                rows.push(sequences(&app, folder, &label, callers, until(runs), 10).await?);
            }
        }
        "w3" => rows.push(joined(&app, folder, 1_000, 1).await?),
        "w4" => {
            for n in [500, 1_000, 2_000] {
                let label = format!("W4 {n} in a row");
                rows.push(sequences(&app, folder, &label, 1, Until::Asked(1), n).await?);
            }
        }
        "steady" => {
            let mut row = sequences(&app, folder, "steady W1 c=64", 64, Until::Passed(STEADY), 1).await?;
            row.p99_over_p50 = row.p99_us.zip(row.p50_us).map(|(p99, p50)| p99 as f64 / p50.max(1) as f64);
            rows.push(row);
        }
        other => return Err(format!("there is no workload {other:?} of this kind").into()),
    }
    stop(app);
    Ok(rows)
}

/// `times` workflows, one after the other, that join `n` activities at once.
pub(crate) async fn joined(app: &Arc<Antiphon>, folder: &Path, n: u64, times: usize) -> Result<Row, Failure> {
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let asked = Arc::clone(app);
    let micros = crate::load::closed_loop(1, Until::Asked(times), move |index| {
        let app = Arc::clone(&asked);
        async move { app.run(format!("fan-{n}-{index}"), fan(n)).await.map(drop).map_err(|error| error.to_string()) }
    })
    .await?;
    let syncs = app.status().await?.syncs - syncs;
    Ok(usage.row(format!("W3 {n} at once"), Done { runs: times, activities: n as usize * times, micros, syncs }))
}
