//! Workloads in processes of their own: nothing of one is left in the memory of the next, and one can be killed.
//!
//! The parent starts its own binary with the hidden subcommand `child`; the child prints JSON lines, rows in most cases.

use crate::measure::Row;
use crate::{Failure, overload, parked, points, recovery, replaying, stores, storm, workloads};
use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What a child can be asked to do. The store is in the folder.
#[derive(Subcommand, Debug)]
pub(crate) enum Job {
    /// W1 to W4 or the steady load, on a fresh store.
    Work {
        name: String,
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        callers: Option<usize>,
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// W6.
    Parked {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        runs: usize,
    },
    /// W5, first half: starts runs, says so, and goes on until it is killed.
    InFlight {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        runs: usize,
    },
    /// W5, second half: opens the store and waits for the end of all runs.
    Recover {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        runs: usize,
    },
    /// A point of a curve.
    Point {
        curve: String,
        #[arg(long)]
        x: u64,
        #[arg(long)]
        folder: PathBuf,
    },
    /// Runs that wait for timers, and others beside them.
    Timers {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        runs: usize,
    },
    /// Runs that have ended.
    Finished {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        runs: usize,
    },
    /// Opens what a child before left there.
    Reopen {
        #[arg(long)]
        folder: PathBuf,
    },
    /// Records a run and replays it.
    Replay {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        activities: u64,
    },
    /// Is overloaded.
    Storm(storm::Storm),
    /// Looks for what a storm has acknowledged.
    VerifyStorm {
        #[arg(long)]
        folder: PathBuf,
    },
}

/// Does a job and prints what came out.
pub(crate) async fn run(job: &Job) -> Result<(), Failure> {
    // Nobody is left to read what comes out, or to end it, if the parent is killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let rows = match job {
        Job::Work { name, folder, callers, seconds } => workloads::run(name, folder, *callers, *seconds).await?,
        Job::Parked { folder, runs } => parked::on_signals(folder, *runs).await?,
        Job::InFlight { folder, runs } => recovery::in_flight(folder, *runs).await?,
        Job::Recover { folder, runs } => recovery::recover(folder, *runs).await?,
        Job::Point { curve, x, folder } => points::run(curve, *x, folder).await?,
        Job::Timers { folder, runs } => stores::timers(folder, *runs).await?,
        Job::Finished { folder, runs } => stores::finished(folder, *runs).await?,
        Job::Reopen { folder } => stores::reopen(folder).await?,
        Job::Replay { folder, activities } => replaying::run(folder, *activities).await?,
        Job::Storm(options) => return storm::run(options).await,
        Job::VerifyStorm { folder } => overload::verify(folder).await?,
    };
    for row in rows {
        say(&row)?;
    }
    Ok(())
}

/// Prints one line of JSON to the parent, at once.
pub(crate) fn say(what: &impl Serialize) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// The command line of a child: the job with its arguments, and the folder.
pub(crate) fn command(job: &[&str], folder: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").args(job).arg("--folder").arg(folder);
    Ok(command)
}

/// Lets a child do a job; returns the rows that it printed.
pub(crate) fn rows(job: &[&str], folder: &Path) -> Result<Vec<Row>, Failure> {
    let mut running = Running::start(command(job, folder)?)?;
    let mut rows = Vec::new();
    while let Some(row) = running.next()? {
        rows.push(row);
    }
    running.finish()?;
    Ok(rows)
}

/// A child at work. It is killed if it is dropped before its end.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Running, Failure> {
        let said = format!("{command:?}");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("a child has no output")?;
        Ok(Running { child, out: BufReader::new(out), said })
    }

    /// The next line that the child prints; `None` when it prints no more.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let mut line = String::new();
        if self.out.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line).map_err(|error| format!("{} printed {line:?}: {error}", self.said))?))
    }

    /// Waits for the child's own end.
    ///
    /// Errors: it ended with a failure, which it has told on the error output.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{} ended with {status}", self.said).into()),
        }
    }

    /// Kills the child as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone, in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
