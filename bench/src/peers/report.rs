//! Tables, ratios and results.

use super::noise::QUIET;
use crate::measure::{Row, medians};
use crate::results::Setting;
use crate::table::number;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One figure of one engine in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) engine: String,
    /// From 1.
    pub(super) round: usize,
    /// Version and settings.
    pub(super) about: Option<String>,
    pub(super) row: Row,
    /// What to know when reading it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
    /// The share of the machine that others used during the part.
    pub(super) others: Option<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    #[serde(flatten)]
    figure: &'a Figure,
}

/// All figures of a run.
pub(super) struct Report {
    results: Option<PathBuf>,
    figures: Vec<Figure>,
    /// What is not there, and why.
    missed: Vec<String>,
}

/// What is printed of one engine on one workload.
struct Median {
    row: Row,
    /// Rounds in which others left the machine alone.
    quiet: usize,
    rounds: usize,
}

/// A column: its head, its width, and how a row fills it.
type Column = (&'static str, usize, fn(&Row) -> Option<String>);

const RATES: [Column; 9] = [
    ("runs/s", 8, |row| number(row.runs_per_s, 0)),
    ("act/s", 8, |row| number(row.activities_per_s, 0)),
    ("seconds", 8, |row| number(row.seconds, 3)),
    ("p50 ms", 9, |row| number(millis(row.p50_us), 2)),
    ("p99 ms", 9, |row| number(millis(row.p99_us), 2)),
    ("CPU us/act", 10, |row| number(row.cpu_us_per_activity, 1)),
    ("flush/act", 9, |row| number(row.disk_flushes_per_activity, 3)),
    ("disk B/act", 10, |row| number(row.disk_bytes_per_activity, 0)),
    ("MiB", 7, |row| number(row.resident_mib, 0)),
];

const ENDURANCE: [Column; 9] = [
    ("start s", 8, |row| number(row.start_s, 2)),
    ("wake s", 8, |row| number(row.wake_s, 2)),
    ("restart s", 9, |row| number(row.seconds.filter(|_| row.over_ideal_s.is_some()), 2)),
    ("over ideal", 10, |row| number(row.over_ideal_s, 2)),
    ("B/parked", 9, |row| number(row.parked_bytes, 0)),
    ("CPU us/run", 10, |row| number(row.cpu_us_per_activity, 1)),
    ("disk B/run", 10, |row| number(row.disk_bytes_per_activity, 0)),
    ("lost", 6, |row| row.lost.map(|lost| lost.to_string())),
    ("MiB", 7, |row| number(row.resident_mib, 0)),
];

/// A ratio: its name, the figure, and whether more of it is better.
type Ratio = (&'static str, fn(&Row) -> Option<f64>, bool);

const RATIOS: [Ratio; 10] = [
    ("rate", |row| row.activities_per_s, true),
    ("p50", |row| millis(row.p50_us), false),
    ("p99", |row| millis(row.p99_us), false),
    ("CPU", |row| row.cpu_us_per_activity, false),
    ("flushes", |row| row.disk_flushes_per_activity, false),
    ("disk bytes", |row| row.disk_bytes_per_activity, false),
    ("start", |row| row.start_s, false),
    ("wake", |row| row.wake_s, false),
    // Below the ideal, which noise can do, there is no ratio.
    ("time above the ideal", |row| row.over_ideal_s.filter(|seconds| *seconds > 0.0), false),
    ("memory per parked", |row| row.parked_bytes, false),
];

/// How Antiphon is called in figures.
const US: &str = "antiphon";

impl Report {
    pub(super) fn new(results: Option<PathBuf>) -> Report {
        Report { results, figures: Vec::new(), missed: Vec::new() }
    }

    /// The figures of a file of results.
    pub(super) fn read(file: &Path) -> Result<Report, Box<dyn Error>> {
        let unread = |error: &dyn Error| format!("{} could not be read: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| unread(&error))?;
        let figures: Result<Vec<Figure>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Report { figures: figures.map_err(|error| unread(&error))?, ..Report::new(None) })
    }

    /// Keeps a figure, in the file of results too.
    pub(super) fn keep(&mut self, figure: Figure, setting: &Setting) -> Result<(), Box<dyn Error>> {
        if let Some(file) = &self.results {
            let mut out = OpenOptions::new().create(true).append(true).open(file)?;
            writeln!(out, "{}", serde_json::to_string(&Line { setting, figure: &figure })?)?;
        }
        self.figures.push(figure);
        Ok(())
    }

    /// Tells at once what there is no figure of, and again below the tables.
    pub(super) fn miss(&mut self, what: String) {
        eprintln!("bench: {what}");
        self.missed.push(what);
    }

    /// Prints who was measured, then one table for each workload with the ratios below it.
    pub(super) fn print(&self) {
        for engine in self.engines() {
            let about =
                self.figures.iter().filter(|figure| figure.engine == engine).find_map(|figure| figure.about.as_ref());
            println!("{engine:<16} {}", about.map_or("-", String::as_str));
        }
        let mut workloads: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !workloads.contains(&figure.row.workload.as_str()) {
                workloads.push(&figure.row.workload);
            }
        }
        // Peers of reduced size have labels of their own; they stand beside the others of their kind.
        workloads.sort_by_key(|workload| kind(workload));
        for workload in workloads {
            self.print_workload(workload);
        }
        if !self.missed.is_empty() {
            println!("\nNot measured");
            self.missed.iter().for_each(|what| println!("{what}"));
        }
    }

    fn print_workload(&self, workload: &str) {
        let rows: Vec<(&str, Median)> =
            self.engines().into_iter().filter_map(|engine| Some((engine, self.median(engine, workload)?))).collect();
        let columns: &[Column] = match kind(workload) {
            Kind::Recovery | Kind::Parked => &ENDURANCE,
            Kind::Raw | Kind::Load => &RATES,
        };
        println!("\n{workload}");
        print!("{:<16}", "");
        columns.iter().for_each(|(head, width, _)| print!(" {head:>width$}"));
        println!("   quiet");
        for (engine, median) in &rows {
            print!("{engine:<16}");
            columns.iter().for_each(|(_, width, fill)| {
                print!(" {:>width$}", fill(&median.row).unwrap_or_else(|| "-".to_owned()));
            });
            println!(" {:>7}", format!("{}/{}", median.quiet, median.rounds));
        }
        if let Some((_, us)) = rows.iter().find(|(engine, _)| *engine == US) {
            for (engine, them) in rows.iter().filter(|(engine, _)| *engine != US) {
                if let Some(ratios) = ratios(&us.row, &them.row) {
                    let doubt =
                        if us.quiet.min(them.quiet) == 0 { " Not to be believed: others were at work." } else { "" };
                    println!("Antiphon is {ratios} times as good as {engine}.{doubt}");
                }
            }
        }
        for (engine, note) in self.notes(workload) {
            println!("{engine}: {note}");
        }
    }

    fn engines(&self) -> Vec<&str> {
        let mut engines: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !engines.contains(&figure.engine.as_str()) {
                engines.push(&figure.engine);
            }
        }
        engines
    }

    /// Medians over the rounds in which others left the machine alone; over all if there was none.
    fn median(&self, engine: &str, workload: &str) -> Option<Median> {
        let of = |figure: &&Figure| figure.engine == engine && figure.row.workload == workload;
        let all: Vec<&Figure> = self.figures.iter().filter(of).collect();
        let quiet: Vec<&Figure> =
            all.iter().filter(|figure| figure.others.is_some_and(|share| share < QUIET)).copied().collect();
        let taken = if quiet.is_empty() { &all } else { &quiet };
        let rows: Vec<Vec<Row>> = taken.iter().map(|figure| vec![figure.row.clone()]).collect();
        Some(Median { row: medians(&rows).into_iter().next()?, quiet: quiet.len(), rounds: all.len() })
    }

    fn notes(&self, workload: &str) -> Vec<(&str, &str)> {
        let mut notes: Vec<(&str, &str)> = Vec::new();
        for figure in self.figures.iter().filter(|figure| figure.row.workload == workload && !figure.note.is_empty()) {
            if !notes.contains(&(&figure.engine, &figure.note)) {
                notes.push((&figure.engine, &figure.note));
            }
        }
        notes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Raw,
    Load,
    Recovery,
    Parked,
}

fn kind(workload: &str) -> Kind {
    match workload.get(..2) {
        Some("W5") => Kind::Recovery,
        Some("W6") => Kind::Parked,
        Some(other) if other.starts_with('W') => Kind::Load,
        _ => Kind::Raw,
    }
}

/// By how much `us` is better, figure by figure; `None` if nothing can be compared.
fn ratios(us: &Row, them: &Row) -> Option<String> {
    let ratio = |(name, figure, more_is_better): &Ratio| {
        let (us, them) = figure(us).zip(figure(them))?;
        let times = if *more_is_better { us / them } else { them / us };
        (times.is_finite() && times > 0.0).then(|| format!("{times:.1} ({name})"))
    };
    let all: Vec<String> = RATIOS.iter().filter_map(ratio).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn millis(micros: Option<u64>) -> Option<f64> {
    micros.map(|micros| micros as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_better_for_us_whatever_the_figure() {
        let us = Row { activities_per_s: Some(30_000.0), p50_us: Some(2_000), ..Row::default() };
        let them = Row { activities_per_s: Some(3_000.0), p50_us: Some(20_000), lost: Some(0), ..Row::default() };
        assert_eq!(ratios(&us, &them).as_deref(), Some("10.0 (rate), 10.0 (p50)"));
        assert_eq!(ratios(&us, &Row::default()), None);
    }

    #[test]
    fn rounds_with_others_at_work_are_left_out_if_there_are_quiet_ones() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("results");
        let mut report = Report::new(Some(results.clone()));
        let setting = Setting::here(folder.path(), serde_json::Value::Null);
        for (round, (seconds, others)) in [(1.0, 0.02), (9.0, 0.80), (3.0, 0.01), (2.0, 0.03)].into_iter().enumerate() {
            let row = Row { workload: "W1 c=1".to_owned(), seconds: Some(seconds), ..Row::default() };
            let (engine, about, note, others) = ("dbos".to_owned(), None, String::new(), Some(others));
            report.keep(Figure { engine, round, about, row, note, others }, &setting).unwrap();
        }
        for report in [report, Report::read(&results).unwrap()] {
            let median = report.median("dbos", "W1 c=1").unwrap();
            assert_eq!((median.row.seconds, median.quiet, median.rounds), (Some(2.0), 3, 4));
        }
    }

    #[test]
    fn workloads_are_told_apart_by_their_labels() {
        assert_eq!(kind("W5 1000 in flight, killed"), Kind::Recovery);
        assert_eq!(kind("W2 10 in a row c=64"), Kind::Load);
        assert_eq!(kind("raw append+fdatasync"), Kind::Raw);
    }
}
