//! Ten times the load that the engine can take, inside a memory limit: what is acknowledged must end, all else must be
//! refused with an error that says to try again, nothing may grow without bound, and calm must come back at once.

use crate::Failure;
use crate::alone::Folder;
use crate::child::{self, Running};
use crate::flows::engine;
use crate::limit::Limit;
use crate::measure::Row;
use crate::results::Setting;
use crate::storm::{ACKNOWLEDGED, Beat, Told};
use antiphon::{Filter, RunStatus};
use clap::Args;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long each storm lasts.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Memory of the process in MiB. There is always a limit: an engine without bounds would take the machine with it.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(64..))]
    memory: u64,
    /// How many times the rate that 64 callers reach.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Which storms: small (starts of one short activity), large (one start in 20 carries a large payload).
    #[arg(long, default_value = "small,large", value_delimiter = ',')]
    only: Vec<String>,
    /// The large payloads.
    #[arg(long, default_value_t = 256)]
    large_kib: u64,
    #[command(flatten)]
    folder: Folder,
}

const LARGE_EVERY: u64 = 20;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if let Some(unknown) = options.only.iter().find(|name| !["small", "large"].contains(&name.as_str())) {
        return Err(format!("there is no storm {unknown:?}; there are small, large").into());
    }
    let scratch = options.folder.scratch()?;
    println!("{}", Setting::here(scratch.path(), serde_json::Value::Null).headline());
    for name in &options.only {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder)?;
        storm(options, name, &folder)?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn storm(options: &Options, name: &str, folder: &Path) -> Result<(), Failure> {
    let limit = Limit::new(options.memory);
    println!("\nstorm of {name} starts for {} s; memory limit: {}", options.seconds, limit.said(options.memory));
    let large_every = if name == "large" { LARGE_EVERY } else { 0 };
    let mut job: Vec<String> = ["storm".to_owned()].into();
    for (argument, value) in [
        ("--seconds", options.seconds.to_string()),
        ("--times", options.times.to_string()),
        ("--large-every", large_every.to_string()),
        ("--large-kib", options.large_kib.to_string()),
    ] {
        job.extend([argument.to_owned(), value]);
    }
    job.extend(limit.arguments(options.memory));
    let job: Vec<&str> = job.iter().map(String::as_str).collect();
    let mut running = Running::start(child::command(&job, folder)?)?;
    let mut beats: Vec<Beat> = Vec::new();
    let mut after = None;
    while let Some(told) = running.next::<Told>()? {
        match told {
            Told::Calm { rate, p50_us, p99_us } => {
                println!("calm: {rate:.0} runs/s with 64 callers; a lone run p50 {p50_us} us, p99 {p99_us} us");
            }
            Told::Beat(beat) => beats.push(beat),
            Told::After { answered_ms, usual_ms, ended_s } => after = Some((answered_ms, usual_ms, ended_s)),
        }
    }
    let survived = running.finish();
    print(&beats);
    match (&survived, after) {
        (Ok(()), Some((answered_ms, usual_ms, ended_s))) => {
            let usual = usual_ms.map_or_else(|| "never".to_owned(), |ms| format!("after {ms} ms"));
            let ended = ended_s.map_or_else(|| "not within 300 s".to_owned(), |s| format!("after {s:.1} s"));
            println!(
                "after the storm: a new run answered after {answered_ms} ms, as fast as usual {usual}; all ended {ended}"
            );
        }
        (Err(error), _) => println!("NOT BOUNDED: the process did not survive: {error}"),
        (Ok(()), None) => println!("NOT BOUNDED: the process ended in the middle"),
    }
    let verified = child::rows(&["verify-storm"], folder)?;
    for row in &verified {
        let lost = row.lost.unwrap_or(0);
        println!(
            "opened again in {:.3} s without a limit: {} of the acknowledged starts that were noted are lost{}",
            row.open_s.unwrap_or(0.0),
            lost,
            if lost > 0 { ": THIS MUST NOT BE" } else { "" }
        );
    }
    Ok(())
}

fn print(beats: &[Beat]) {
    const MOST: usize = 20;
    let columns = [
        "s",
        "offered",
        "acknowledged",
        "try again",
        "refused",
        "behind",
        "unanswered",
        "live runs",
        "resident",
        "data",
        "log MiB",
        "store MiB",
    ];
    columns.iter().for_each(|head| print!("{head:>13}"));
    println!();
    let every = beats.len().div_ceil(MOST).max(1);
    let last = beats.len().saturating_sub(1);
    for (_, beat) in beats.iter().enumerate().filter(|(index, _)| index % every == 0 || *index == last) {
        let live = beat.live_runs.map_or_else(|| "-".to_owned(), |runs| runs.to_string());
        let mib = |value: Option<f64>| crate::table::number(value, 0).unwrap_or_else(|| "-".to_owned());
        print!("{:>13.1}{:>13}{:>13}", beat.at_s, beat.offered, beat.acknowledged);
        print!("{:>13}{:>13}{:>13}", beat.retryable, beat.refused, beat.behind);
        print!("{:>13}{live:>13}", beat.unanswered);
        print!("{:>13}{:>13}", mib(beat.resident_mib), mib(beat.data_mib));
        println!("{:>13.0}{:>13.0}", beat.log_mib, beat.store_mib);
    }
    let most = |pick: fn(&Beat) -> f64| beats.iter().map(pick).fold(0.0, f64::max);
    println!(
        "most: resident {:.0} MiB, unanswered {:.0}, live runs {:.0}, log {:.0} MiB",
        most(|beat| beat.resident_mib.unwrap_or(0.0)),
        most(|beat| beat.unanswered as f64),
        most(|beat| beat.live_runs.unwrap_or(0) as f64),
        most(|beat| beat.log_mib),
    );
}

/// Opens the store that a storm has left, lets everything end, and looks for every start that was acknowledged.
pub(crate) async fn verify(folder: &Path) -> Result<Vec<Row>, Failure> {
    const GIVE_UP: Duration = Duration::from_secs(300);
    let begun = Instant::now();
    let app = engine(&folder.join("store")).wait_for_lock(Duration::from_secs(10)).start()?;
    let open_s = begun.elapsed().as_secs_f64();
    while app.status().await?.stats.live_runs > 0 && begun.elapsed() < GIVE_UP {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bytes = std::fs::read(folder.join(ACKNOWLEDGED))?;
    let noted = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let mut missing: std::collections::HashSet<u64> = noted.collect();
    let mut filter = Filter { status: Some(RunStatus::Completed), limit: 10_000, ..Filter::default() };
    loop {
        let page = app.list(&filter)?;
        for row in &page {
            let number = row.workflow.id.strip_prefix("storm-").and_then(|number| number.parse().ok());
            number.map(|number: u64| missing.remove(&number));
        }
        let Some(last) = page.last() else { break };
        filter.before_key = Some(last.key);
    }
    for number in missing.iter().take(5) {
        eprintln!("bench: storm-{number} was acknowledged and has not completed");
    }
    app.stop();
    Ok(vec![Row { open_s: Some(open_s), lost: Some(missing.len() as u64), ..Row::default() }])
}
