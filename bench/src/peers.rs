//! Antiphon and other engines on the same workloads in one run: rounds in turns, medians, ratios.
//!
//! | file | has |
//! |---|---|
//! | `engine` | the peers: what each needs, and how one runs one workload |
//! | `postgres`, `restate` | the servers that two of them need |
//! | `noise` | what others do on the machine meanwhile |
//! | `process` | processes that talk in lines and never hang a round |
//! | `report` | tables, ratios and results |

mod engine;
mod noise;
mod postgres;
mod process;
mod report;
mod restate;

use crate::measure::Row;
use crate::results::Setting;
use clap::{Args, ValueEnum};
use engine::{Engine, Peer, Servers};
use noise::Meter;
use process::{Next, Process};
use report::{Figure, Report};
use serde_json::Value;
use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Antiphon and the installed peers, in turns.
#[derive(Args, Debug)]
pub(crate) struct PeerOptions {
    /// Rounds; the median of each figure is printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Workloads, separated by commas.
    #[arg(long, default_value = "w1,w2,w3,w4,w5,w6", value_delimiter = ',')]
    only: Vec<String>,
    /// Peers, separated by commas; a tuned one has other settings than it is shipped with.
    #[arg(long, default_value = "dbos,restate,restate-tuned,duroxide-tuned", value_delimiter = ',')]
    peers: Vec<Peer>,
    /// The folder for the stores: on the disk under test. Default: a fresh temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Append each figure of each round to this file, one JSON line each, with machine, commit and settings.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Run nothing; print the tables of a file of results again.
    #[arg(long, value_name = "RESULTS")]
    show: Option<PathBuf>,
    /// Seconds after which a figure of a peer ends with what has completed by then.
    #[arg(long, default_value_t = 60)]
    cap_s: u64,
    /// Seconds to wait before each part until others leave the machine alone; then it goes on anyway.
    #[arg(long, default_value_t = 0)]
    patience_s: u64,
}

const WORKLOADS: [&str; 6] = ["w1", "w2", "w3", "w4", "w5", "w6"];

/// Runs everything and prints the tables. A peer that is not there, or a part that fails, is named; the rest goes on.
pub(crate) fn run(options: &PeerOptions) -> Result<(), Box<dyn Error>> {
    if let Some(file) = &options.show {
        Report::read(file)?.print();
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|name| !WORKLOADS.contains(&name.as_str())) {
        return Err(format!("there is no workload {unknown:?}; there are {}", WORKLOADS.join(", ")).into());
    }
    let scratch = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    // PostgreSQL refuses to run as root; the user that it runs as must be able to pass through.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))?;
    let servers = Servers::find(&options.peers, scratch.path());
    let mut report = Report::new(options.results.clone());
    let mut engines = Vec::new();
    for peer in &options.peers {
        match Engine::find(*peer, &servers) {
            Ok(engine) => engines.push(engine),
            Err(missing) => report.miss(format!("{peer} is left out: {missing}")),
        }
    }
    let mut run = Run { options, scratch: scratch.path(), server: servers.postgres_pid(), report };
    println!("{}", run.setting().headline());
    for round in 1..=options.rounds.max(1) {
        for workload in &options.only {
            // One after the other for each workload, so that what is compared was measured within minutes.
            run.turn(round, "antiphon", workload, || antiphon(workload, scratch.path()))?;
            for engine in &engines {
                run.turn(round, engine.name(), workload, || {
                    let folder = scratch.path().join(format!("{}-{workload}-{round}", engine.name()));
                    engine.run(workload, &folder, &servers, Duration::from_secs(options.cap_s))
                })?;
            }
        }
    }
    run.report.print();
    Ok(())
}

struct Run<'a> {
    options: &'a PeerOptions,
    scratch: &'a Path,
    /// A server that runs all the time.
    server: Option<u32>,
    report: Report,
}

impl Run<'_> {
    /// The machine as it is now, and what was asked for.
    fn setting(&self) -> Setting {
        let options = self.options;
        let peers: Vec<String> = options.peers.iter().map(Peer::to_string).collect();
        let settings = serde_json::json!({
            "rounds": options.rounds, "only": options.only, "peers": peers, "cap_s": options.cap_s,
            "patience_s": options.patience_s
        });
        Setting::here(self.scratch, settings)
    }

    /// One engine's part of a round. Its failure is told and does not end the run; that results cannot be kept does.
    fn turn(
        &mut self,
        round: usize,
        engine: &str,
        workload: &str,
        part: impl FnOnce() -> Result<Part, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        noise::wait_for_quiet(Duration::from_secs(self.options.patience_s));
        let (setting, meter) = (self.setting(), Meter::start(self.server));
        eprintln!("bench: round {round} of {}: {engine} {workload}", self.options.rounds.max(1));
        match part() {
            Ok(part) => {
                let others = meter.others();
                for (row, note) in part.rows {
                    let (engine, about) = (engine.to_owned(), part.about.clone());
                    self.report.keep(Figure { engine, round, about, row, note, others }, &setting)?;
                }
            }
            Err(error) => self.report.miss(format!("{engine} {workload} gave no figures in round {round}: {error}")),
        }
        Ok(())
    }
}

/// What one part has given: figures, each with what to know about it, and what was measured.
#[derive(Debug, Default)]
struct Part {
    about: Option<String>,
    rows: Vec<(Row, String)>,
}

/// Much longer than a workload of Antiphon takes on a slow disk.
const ALONE_LIMIT: Duration = Duration::from_secs(300);

/// Antiphon, by this very binary, with its raw limits.
fn antiphon(workload: &str, scratch: &Path) -> Result<Part, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["alone", "--json", "--rounds", "1", "--only", workload, "--folder"]).arg(scratch);
    let mut process = Process::start(command, &scratch.join("antiphon.log"))?;
    let about = Some(format!("antiphon {}: as shipped, every commit synced", env!("CARGO_PKG_VERSION")));
    Ok(Part { about, ..figures(&mut process, Instant::now() + ALONE_LIMIT)? })
}

/// Reads what a process prints until its end: what it is, and its figures.
///
/// Errors: it ended with a failure before any figure. If there are figures, the failure becomes the note of the last.
fn figures(process: &mut Process, end: Instant) -> Result<Part, Box<dyn Error>> {
    let mut part = Part::default();
    let trouble = loop {
        match process.next(end) {
            Next::Line(line) => {
                part.about = part.about.or_else(|| told_about(&line));
                part.rows.extend(told_row(&line));
            }
            Next::Over => break process.finish().err(),
            Next::Late => {
                process.kill();
                break Some("it took too long and was ended".into());
            }
        }
    };
    match (trouble, part.rows.last_mut()) {
        (None, _) => {}
        (Some(trouble), None) => return Err(trouble),
        (Some(trouble), Some((_, note))) => note.push_str(&format!(" (what followed failed: {trouble})")),
    }
    Ok(part)
}

/// What is measured, if the line says so.
fn told_about(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(format!("{}: {}", value["version"].as_str()?, value["settings"].as_str()?))
}

/// A figure and what to know about it, if the line is one. What a row does not have is left out.
fn told_row(line: &str) -> Option<(Row, String)> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["workload"].as_str()?;
    let note = value["note"].as_str().unwrap_or_default().to_owned();
    Some((serde_json::from_value(value).ok()?, note))
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_figure_a_description_or_nothing() {
        let (row, note) = told_row(r#"{"workload":"W1 c=1","p50_us":7,"of_tomorrow":1,"note":"reduced"}"#).unwrap();
        assert_eq!((row.workload.as_str(), row.p50_us, note.as_str()), ("W1 c=1", Some(7), "reduced"));
        assert_eq!(told_about(r#"{"version":"dbos 0.5.0","settings":"tuned"}"#).as_deref(), Some("dbos 0.5.0: tuned"));
        assert!(told_row("WARN of a peer").is_none() && told_about("{}").is_none());
    }

    #[test]
    fn peers_are_named_as_on_the_command_line() {
        assert_eq!(Peer::RestateTuned.to_string(), "restate-tuned");
    }
}
