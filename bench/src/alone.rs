//! Antiphon alone: all workloads in turns, some rounds, medians.

use crate::measure::{Row, medians};
use crate::results::Setting;
use crate::{Failure, child, raw, recovery, table};
use clap::Args;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The names of the workloads, in the order in which they run.
pub(crate) const NAMES: [&str; 7] = ["w1", "w2", "w3", "w4", "w5", "w6", "steady"];

#[derive(Args, Debug, Clone)]
pub(crate) struct Options {
    /// Rounds; the median of each figure is printed.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Workloads, separated by commas.
    #[arg(long, default_value = "w1,w2,w3,w4,w5,w6,steady", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print one JSON line per figure instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where stores are made.
#[derive(Args, Debug, Clone)]
pub(crate) struct Folder {
    /// The folder for the stores: on the disk under test. Default: a fresh temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Where stores are made, and where figures are kept.
#[derive(Args, Debug, Clone)]
pub(crate) struct Place {
    #[command(flatten)]
    folder: Folder,
    /// Append each figure of each round to this file, one JSON line each, with machine, commit and settings.
    #[arg(long)]
    results: Option<PathBuf>,
}

impl Folder {
    /// A folder for this command alone; it goes with the value.
    pub(crate) fn scratch(&self) -> std::io::Result<TempDir> {
        match &self.folder {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }
    }
}

impl Place {
    /// A folder for this command alone; it goes with the value.
    pub(crate) fn scratch(&self) -> std::io::Result<TempDir> {
        self.folder.scratch()
    }

    /// Keeps rows, if they are to be kept.
    pub(crate) fn keep(&self, setting: &Setting, rows: &[Row]) -> Result<(), Failure> {
        self.results.as_ref().map_or(Ok(()), |file| setting.save(file, rows))
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let scratch = options.place.scratch()?;
    let settings = serde_json::json!({"rounds": options.rounds, "only": options.only, "durability": "full"});
    let setting = Setting::here(scratch.path(), settings);
    let rounds = rounds(options, &setting, scratch.path())?;
    let rows = medians(&rounds);
    if options.json {
        rows.iter().try_for_each(child::say)?;
    } else {
        println!("{}", setting.headline());
        table::print(&rows);
    }
    Ok(())
}

/// All rounds: the raw limits, then each workload in a process of its own.
pub(crate) fn rounds(options: &Options, setting: &Setting, scratch: &Path) -> Result<Vec<Vec<Row>>, Failure> {
    if let Some(unknown) = options.only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("there is no workload {unknown:?}; there are {}", NAMES.join(", ")).into());
    }
    let mut rounds = Vec::new();
    for round in 0..options.rounds.max(1) {
        let mut rows = raw_limits(scratch)?;
        for name in &options.only {
            let folder = scratch.join(format!("{name}-{round}"));
            rows.extend(match name.as_str() {
                "w5" => recovery::run(&folder, 1_000)?,
                "w6" => child::rows(&["parked", "--runs", "10000"], &folder)?,
                other => child::rows(&["work", other], &folder)?,
            });
            std::fs::remove_dir_all(&folder)?;
        }
        compare_with_raw(&mut rows);
        options.place.keep(setting, &rows)?;
        rounds.push(rows);
    }
    Ok(rounds)
}

fn raw_limits(folder: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = vec![raw::append_and_sync(folder)?];
    for callers in [64, 1_000] {
        rows.push(crate::block_on(raw::bare_log(folder, callers))?);
    }
    Ok(rows)
}

/// Sets each row's share of the raw rate with as many callers.
fn compare_with_raw(rows: &mut [Row]) {
    let is_raw = |row: &Row| row.workload.starts_with("raw") || row.workload.starts_with("bare");
    let limits: Vec<(Option<u64>, Option<f64>)> =
        rows.iter().filter(|row| is_raw(row)).map(|row| (row.callers, row.activities_per_s)).collect();
    for row in rows.iter_mut().filter(|row| !is_raw(row) && row.callers.is_some()) {
        let limit = limits.iter().find(|(callers, _)| *callers == row.callers).and_then(|(_, rate)| *rate);
        row.of_raw = row.activities_per_s.zip(limit).map(|(rate, limit)| rate / limit);
    }
}
