//! W5: a thousand workflows are in flight, the process is killed, another opens the store and brings them to their end.

use crate::Failure;
use crate::child::{self, Running};
use crate::flows::{engine, slow};
use crate::load::{Until, closed_loop, stop};
use crate::measure::Row;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STEPS: u64 = 5;
const STEP_MS: u64 = 400;
/// After the starts: in the middle of every run's third step, so that what is left does not hang by a few milliseconds.
const KILL_AFTER: Duration = Duration::from_millis(2 * STEP_MS + STEP_MS / 2);
/// Much longer than any sound recovery; afterwards runs count as lost.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Kills, restarts and measures.
pub(crate) fn run(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    let runs_text = runs.to_string();
    let mut first = Running::start(child::command(&["in-flight", "--runs", &runs_text], folder)?)?;
    let started: Row = first.next()?.ok_or("the engine that was to be killed ended by itself")?;
    std::thread::park_timeout(KILL_AFTER);
    // Every run has begun when the row came, and the first of them `start_s` earlier.
    first.kill()?;
    let restarted = Instant::now();
    let mut second = Running::start(child::command(&["recover", "--runs", &runs_text], folder)?)?;
    let recovered: Row = second.next()?.ok_or("the engine that was to recover said nothing")?;
    let seconds = restarted.elapsed().as_secs_f64();
    second.finish()?;
    // A step that was under way has no answer on record and is carried out again, from its beginning.
    let done = KILL_AFTER.as_millis() as u64 / STEP_MS;
    let ideal = ((STEPS - done) * STEP_MS) as f64 / 1_000.0;
    Ok(vec![Row {
        workload: format!("W5 {runs} in flight, killed"),
        seconds: Some(seconds),
        start_s: started.start_s,
        over_ideal_s: Some(seconds - ideal),
        ..recovered
    }])
}

/// Starts the runs and reports that all of them are acknowledged.
pub(crate) async fn in_flight(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    let app = Arc::new(engine(folder).start()?);
    let begun = Instant::now();
    let asked = Arc::clone(&app);
    closed_loop(64, Until::Asked(runs), move |index| {
        let app = Arc::clone(&asked);
        async move {
            let started = app.start(format!("slow-{index}"), slow(STEPS, STEP_MS)).await;
            started.map(drop).map_err(|error| error.to_string())
        }
    })
    .await?;
    child::say(&Row { start_s: Some(begun.elapsed().as_secs_f64()), ..Row::default() })?;
    // Nobody kills it if the parent has died; then it stops by itself.
    tokio::time::sleep(GIVE_UP).await;
    stop(app);
    Ok(Vec::new())
}

/// Opens the store and waits for every run's end.
pub(crate) async fn recover(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    let begun = Instant::now();
    let app = Arc::new(engine(folder).wait_for_lock(Duration::from_secs(10)).start()?);
    let open_s = begun.elapsed().as_secs_f64();
    let completed = Arc::new(AtomicU64::new(0));
    let (asked, counted) = (Arc::clone(&app), Arc::clone(&completed));
    let all = closed_loop(runs, Until::Asked(runs), move |index| {
        let (app, completed) = (Arc::clone(&asked), Arc::clone(&counted));
        async move {
            let run = app.get::<slow>(format!("slow-{index}")).map_err(|error| error.to_string())?;
            match run.result().await {
                Ok(()) => drop(completed.fetch_add(1, Ordering::Relaxed)),
                Err(error) => eprintln!("bench: slow-{index}: {error}"),
            }
            Ok(())
        }
    });
    if tokio::time::timeout(GIVE_UP, all).await.is_err() {
        eprintln!("bench: not all runs had ended after {} s", GIVE_UP.as_secs());
    }
    let lost = runs as u64 - completed.load(Ordering::Relaxed);
    let row =
        Row { open_s: Some(open_s), lost: Some(lost), resident_mib: crate::measure::resident_mib(), ..Row::default() };
    child::say(&row)?;
    // Callers that were given up still hold the engine; it goes with the process.
    if let Some(app) = Arc::into_inner(app) {
        app.stop();
    }
    Ok(Vec::new())
}
