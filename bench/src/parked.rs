//! W6 and the million: runs that wait and should cost next to nothing meanwhile.

use crate::Failure;
use crate::flows::{engine, park, sequence};
use crate::load::{Until, closed_loop, stop, warm};
use crate::measure::{Done, Row, Usage};
use crate::proc;
use antiphon::Antiphon;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// W6: parks `runs` on a signal with 64 callers, lets them leave memory, and wakes all of them.
pub(crate) async fn on_signals(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    const CALLERS: usize = 64;
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let before = proc::resident_kib();
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let asked = Arc::clone(&app);
    closed_loop(CALLERS, Until::Asked(runs), move |index| {
        let app = Arc::clone(&asked);
        async move { app.start(format!("park-{index}"), park()).await.map(drop).map_err(|error| error.to_string()) }
    })
    .await?;
    let start_s = usage.seconds();
    let parked_first_bytes = each(before, runs);
    settle(&app).await?;
    let parked_bytes = each(before, runs);
    let waking = Instant::now();
    let asked = Arc::clone(&app);
    let micros = closed_loop(CALLERS, Until::Asked(runs), move |index| {
        let app = Arc::clone(&asked);
        async move { app.signal(&format!("park-{index}"), "go", &()).await.map_err(|error| error.to_string()) }
    })
    .await?;
    let lost = wait_for(&app, runs).await;
    let wake_s = waking.elapsed().as_secs_f64();
    let syncs = app.status().await?.syncs - syncs;
    let mut row = usage.row(format!("W6 {runs} parked"), Done { runs, activities: runs, micros, syncs });
    // There are no activities here; bytes, CPU and syncs are per run.
    (row.runs_per_s, row.activities_per_s) = (None, None);
    row.start_s = Some(start_s);
    row.wake_s = Some(wake_s);
    row.parked_first_bytes = parked_first_bytes;
    row.parked_bytes = parked_bytes;
    row.lost = Some(lost);
    stop(app);
    Ok(vec![row])
}

/// Waits until all have ended; returns how many did not complete.
async fn wait_for(app: &Arc<Antiphon>, runs: usize) -> u64 {
    let completed = Arc::new(Mutex::new(0u64));
    let (asked, counted) = (Arc::clone(app), Arc::clone(&completed));
    let waited = closed_loop(64, Until::Asked(runs), move |index| {
        let (app, completed) = (Arc::clone(&asked), Arc::clone(&counted));
        async move {
            let run = app.get::<park>(format!("park-{index}")).map_err(|error| error.to_string())?;
            run.result().await.map_err(|error| error.to_string())?;
            *completed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            Ok(())
        }
    })
    .await;
    if let Err(error) = waited {
        eprintln!("bench: a parked run did not complete: {error}");
    }
    runs as u64 - *completed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the parked runs have left memory. An engine that only lets go of runs while it has other work is given some:
/// one small run every 100 ms, and that is told.
pub(crate) async fn settle(app: &Antiphon) -> Result<(), Failure> {
    // The default of `evict_after_ms`, and as much again for the archive.
    const BY_ITSELF: Duration = Duration::from_secs(10);
    const WITH_WORK: Duration = Duration::from_secs(30);
    let begun = Instant::now();
    let mut nudges = 0;
    while app.status().await?.stats.live_runs > 1 && begun.elapsed() < BY_ITSELF + WITH_WORK {
        if begun.elapsed() > BY_ITSELF {
            nudges += 1;
            app.run(format!("nudge-{nudges}"), sequence(1)).await?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let left = app.status().await?.stats.live_runs;
    if nudges > 0 || left > 1 {
        eprintln!(
            "bench: idle runs did not leave memory by themselves in {} s; after {nudges} small runs beside them {left} are left",
            BY_ITSELF.as_secs()
        );
    }
    Ok(())
}

/// Bytes of resident memory that have come since, for each run.
pub(crate) fn each(before_kib: Option<u64>, runs: usize) -> Option<f64> {
    let (now, before) = proc::resident_kib().zip(before_kib)?;
    Some((now as f64 - before as f64) * 1024.0 / runs as f64)
}
