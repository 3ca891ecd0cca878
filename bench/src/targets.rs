//! What this engine wants to reach on two cores, and what it reaches here and now.

use crate::alone::{self, NAMES, Place};
use crate::measure::{Row, medians};
use crate::results::Setting;
use crate::{Failure, child, stores, table};
use clap::Args;
use std::path::Path;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Rounds of the workloads; medians are compared.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Runs in the large stores. Less than the default makes their figures easier to reach, and is told.
    #[arg(long, default_value_t = MILLION)]
    runs: usize,
    #[command(flatten)]
    place: Place,
}

const MILLION: usize = 1_000_000;

/// A bound on a figure of the row whose name begins with `row`.
struct Target {
    name: &'static str,
    row: &'static str,
    figure: fn(&Row) -> Option<f64>,
    bound: Bound,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

const fn target(
    name: &'static str,
    row: &'static str,
    figure: fn(&Row) -> Option<f64>,
    bound: Bound,
    unit: &'static str,
) -> Target {
    Target { name, row, figure, bound, unit }
}

const TARGETS: [Target; 24] = [
    target("W1, 1 caller, p50", "W1 c=1", |row| ms(row.p50_us), AtMost(0.6), "ms"),
    target("W1, 64 callers", "W1 c=64", |row| row.runs_per_s, AtLeast(27_000.0), "runs/s"),
    target("W1, 1,000 callers", "W1 c=1000", |row| row.runs_per_s, AtLeast(60_000.0), "runs/s"),
    target("W2, 64 callers", "W2 10 in a row c=64", |row| row.activities_per_s, AtLeast(60_000.0), "activities/s"),
    target(
        "W2, 1,000 callers",
        "W2 10 in a row c=1000",
        |row| row.activities_per_s,
        AtLeast(150_000.0),
        "activities/s",
    ),
    target("W2, 64 callers, CPU", "W2 10 in a row c=64", |row| row.cpu_us_per_activity, AtMost(20.0), "us/activity"),
    target(
        "W2, 64 callers, bytes",
        "W2 10 in a row c=64",
        |row| row.device_bytes_per_activity,
        AtMost(800.0),
        "B/activity",
    ),
    target("W3, 1,000 joined", "W3 1000", |row| ms(row.p50_us), AtMost(30.0), "ms"),
    target("W4, 2,000 in a row", "W4 2000", |row| ms(row.p50_us), AtMost(600.0), "ms"),
    target("W4, steps of 50,000 against 2,000", LONG, |row| row.flatness, AtLeast(0.8), "x"),
    target("W5, above the ideal", "W5", |row| row.over_ideal_s, AtMost(0.2), "s"),
    target("W5, runs lost", "W5", |row| row.lost.map(|lost| lost as f64), AtMost(0.0), ""),
    target("W6, 10,000 started", "W6", |row| row.start_s, AtMost(0.3), "s"),
    target("W6, 10,000 woken and done", "W6", |row| row.wake_s, AtMost(0.3), "s"),
    target("W6, resident per parked run", "W6", |row| row.parked_bytes, AtMost(512.0), "B"),
    target("W6, runs lost", "W6", |row| row.lost.map(|lost| lost as f64), AtMost(0.0), ""),
    target("steady load, p99 against p50", "steady", |row| row.p99_over_p50, AtMost(5.0), "x"),
    target("parked on timers, most resident", PARKED, |row| row.peak_mib, AtMost(256.0), "MiB"),
    target("parked on timers, settled", PARKED, |row| row.resident_mib, AtMost(256.0), "MiB"),
    target("parked on timers, new start, p99", "new runs beside", |row| ms(row.ack_p99_us), AtMost(5.0), "ms"),
    target("parked on timers, opening", OPENED_PARKED, |row| row.open_s, AtMost(0.5), "s"),
    target("finished runs, opening", OPENED_FINISHED, |row| row.open_s, AtMost(0.5), "s"),
    target("replay, all events", "replay of", |row| row.events_per_s, AtLeast(1_000_000.0), "events/s"),
    target("replay, run stream", "replay, run stream", |row| row.events_per_s, AtLeast(1_000_000.0), "events/s"),
];

/// Rows that get their names here.
const LONG: &str = "W4 50000 in a row";
const PARKED: &str = "parked on timers";
const OPENED_PARKED: &str = "opened with parked runs";
const OPENED_FINISHED: &str = "opened with finished runs";

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let scratch = options.place.scratch()?;
    let settings = serde_json::json!({"rounds": options.rounds, "runs": options.runs, "durability": "full"});
    let setting = Setting::here(scratch.path(), settings);
    println!("{}", setting.headline());
    let workloads = alone::Options {
        rounds: options.rounds,
        only: NAMES.map(str::to_owned).to_vec(),
        place: options.place.clone(),
        json: false,
    };
    let mut rows = medians(&alone::rounds(&workloads, &setting, scratch.path())?);
    table::print(&rows);
    let others = others(options.runs, scratch.path())?;
    options.place.keep(&setting, &others)?;
    println!();
    table::print(&others);
    rows.extend(others);
    if options.runs != MILLION {
        println!("\nThe large stores have {} runs here; the targets are for {MILLION}.", options.runs);
    }
    print(&rows);
    Ok(())
}

/// What the workloads do not show.
fn others(runs: usize, scratch: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = child::rows(&["replay", "--activities", "10000"], &scratch.join("replay"))?;
    for long in child::rows(&["point", "history", "--x", "50000"], &scratch.join("history"))? {
        rows.push(Row { workload: LONG.to_owned(), ..long });
    }
    for (how, filled, opened) in [("timers", PARKED, OPENED_PARKED), ("finished", "finished runs", OPENED_FINISHED)] {
        let mut large = stores::filled_and_reopened(how, runs, &scratch.join(how))?;
        if let Some(first) = large.first_mut() {
            first.workload = filled.to_owned();
        }
        for row in large.iter_mut().filter(|row| row.open_s.is_some()) {
            row.workload = opened.to_owned();
        }
        rows.extend(large);
    }
    Ok(rows)
}

fn print(rows: &[Row]) {
    println!("\n{:<36} {:>22} {:>14}", "target", "wanted", "measured");
    for target in &TARGETS {
        let row = rows.iter().find(|row| row.workload == target.row);
        let row = row.or_else(|| rows.iter().find(|row| row.workload.starts_with(target.row)));
        let measured = row.and_then(target.figure);
        let (sign, bound) = match target.bound {
            AtMost(bound) => ("<=", bound),
            AtLeast(bound) => (">=", bound),
        };
        let word = match (measured, target.bound) {
            (None, _) => "not measured",
            (Some(value), AtMost(bound)) if value <= bound => "met",
            (Some(value), AtLeast(bound)) if value >= bound => "met",
            _ => "MISSED",
        };
        let shown = measured.map_or_else(|| "-".to_owned(), plain);
        let wanted = format!("{sign} {} {}", plain(bound), target.unit);
        println!("{:<36} {wanted:>22} {shown:>14}  {word}", target.name);
    }
}

/// Three digits are enough to compare by; large figures are whole.
fn plain(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn ms(micros: Option<u64>) -> Option<f64> {
    micros.map(|micros| micros as f64 / 1_000.0)
}
