//! Stores with very many runs in them: parked on timers, or finished.

use crate::Failure;
use crate::alone::Place;
use crate::flows::{engine, nap, sequence};
use crate::load::{Until, closed_loop, sequences, stop, warm};
use crate::measure::{Done, Row, Usage, percentile, resident_mib};
use crate::parked::{each, settle};
use crate::points::fill;
use crate::results::Setting;
use crate::{child, proc, table};
use antiphon::Antiphon;
use clap::Args;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How many runs the store gets first.
    #[arg(long, default_value_t = 1_000_000)]
    runs: usize,
    #[command(flatten)]
    place: Place,
    /// Print one JSON line per figure instead of the table.
    #[arg(long)]
    json: bool,
}

/// Fills a store by the child's job `how` (`timers` or `finished`), and opens it again in another process.
pub(crate) fn run(how: &str, options: &Options) -> Result<(), Failure> {
    let scratch = options.place.scratch()?;
    let settings = serde_json::json!({"store": how, "runs": options.runs, "durability": "full"});
    let setting = Setting::here(scratch.path(), settings);
    let rows = filled_and_reopened(how, options.runs, &scratch.path().join(how))?;
    options.place.keep(&setting, &rows)?;
    if options.json {
        return rows.iter().try_for_each(child::say);
    }
    println!("{}", setting.headline());
    table::print(&rows);
    Ok(())
}

pub(crate) fn filled_and_reopened(how: &str, runs: usize, folder: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = child::rows(&[how, "--runs", &runs.to_string()], folder)?;
    rows.extend(child::rows(&["reopen"], folder)?);
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// Parks `runs` on timers that are far away, lets them leave memory, and starts others beside them.
pub(crate) async fn timers(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    const FAR_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let before = proc::resident_kib();
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let asked = Arc::clone(&app);
    let micros = closed_loop(256, Until::Asked(runs), move |index| {
        let app = Arc::clone(&asked);
        async move { app.start(format!("nap-{index}"), nap(FAR_MS)).await.map(drop).map_err(|error| error.to_string()) }
    })
    .await?;
    let syncs = app.status().await?.syncs - syncs;
    let mut row = usage.row(format!("{runs} parked on timers"), Done { runs, activities: runs, micros, syncs });
    row.activities_per_s = None;
    row.start_s = row.seconds;
    row.parked_first_bytes = each(before, runs);
    settle(&app).await?;
    row.parked_bytes = each(before, runs);
    row.resident_mib = resident_mib();
    row.peak_mib = proc::peak_kib().map(|kib| kib as f64 / 1024.0);
    row.store_mib = Some(store_mib(folder));
    let rows = vec![row, beside(&app, folder).await?];
    stop(app);
    Ok(rows)
}

/// One caller's new runs, with the time of the acknowledgement apart.
async fn beside(app: &Arc<Antiphon>, folder: &Path) -> Result<Row, Failure> {
    const RUNS: usize = 1_000;
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let (mut acks, mut micros) = (Vec::with_capacity(RUNS), Vec::with_capacity(RUNS));
    for index in 0..RUNS {
        let started = Instant::now();
        let run = app.start(format!("beside-{index}"), sequence(1)).await?;
        acks.push(started.elapsed().as_micros() as u64);
        run.result().await?;
        micros.push(started.elapsed().as_micros() as u64);
    }
    let syncs = app.status().await?.syncs - syncs;
    let mut row = usage.row("new runs beside them c=1", Done { runs: RUNS, activities: RUNS, micros, syncs });
    acks.sort_unstable();
    (row.ack_p50_us, row.ack_p99_us) = (percentile(&acks, 0.50), percentile(&acks, 0.99));
    Ok(row)
}

/// Fills the store with `runs` finished runs of one activity.
pub(crate) async fn finished(folder: &Path, runs: usize) -> Result<Vec<Row>, Failure> {
    let app = Arc::new(engine(folder).start()?);
    warm(&app, folder).await?;
    let mut row = fill(&app, folder, runs).await?;
    row.workload = format!("{runs} finished runs c=1000");
    stop(app);
    row.store_mib = Some(store_mib(folder));
    Ok(vec![row])
}

/// Opens a store that is there, and runs W1 on it.
pub(crate) async fn reopen(folder: &Path) -> Result<Vec<Row>, Failure> {
    let begun = Instant::now();
    let app = Arc::new(engine(folder).wait_for_lock(Duration::from_secs(10)).start()?);
    let open_s = begun.elapsed().as_secs_f64();
    let opened = Row {
        workload: "opened again".to_owned(),
        seconds: Some(open_s),
        open_s: Some(open_s),
        resident_mib: resident_mib(),
        ..Row::default()
    };
    let load = Until::Passed(Duration::from_secs(3));
    let rows = vec![opened, sequences(&app, folder, "W1 on it c=64", 64, load, 1).await?];
    stop(app);
    Ok(rows)
}

fn store_mib(folder: &Path) -> f64 {
    proc::folder_bytes(folder, "") as f64 / (1024.0 * 1024.0)
}
