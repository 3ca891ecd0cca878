//! Commands, one file each; this file parses, runs one of them and turns what came of it into an exit code.

mod attempts;
mod audit;
mod by;
mod check;
mod dead_letter;
mod dump;
mod entities;
mod error;
mod events;
mod explain;
mod export;
mod find;
mod inspect;
mod json;
mod letters;
mod list;
mod operate;
mod output;
mod queue;
mod queues;
mod reconcile;
mod replay;
mod routine;
mod routine_args;
mod routine_events;
mod routines;
mod routing;
pub mod show;
mod stats;
mod table;
mod terminate;
mod time;
mod timeline;
mod verify;
mod worker;
mod workers;

pub use error::{Error, Exit};
pub use output::{Style, View};
pub use time::Zone;

use antiphon_engine::Programs;
use clap::{Parser, Subcommand};
use output::Out;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const ABOUT_EXITS: &str = "\
Exit codes:
  0  done
  1  a problem was found (verify, check, replay, inspect, reconcile)
  2  the command line is wrong
  3  the store or file cannot be opened, read or written
  4  there is no such run, or no such thing
  5  what was asked for is refused as things stand; nothing was written

Every error has a code such as A0007; the page docs/errors/A0007.md says how to check and what to do.";

const ABOUT: &str = "\
Reads stores and history files of Antiphon: what happened, who did it, why it is stuck.
Reading may go on beside the engine that writes the store. Acting (routing set, routine pause and the like) takes a store
that no engine has open.";

const ABOUT_WITH_CODE: &str = "\
Reads stores and history files of Antiphon: what happened, who did it, why it is stuck.
Replays them on the workflow code of this program. Reading may go on beside the engine that writes the store. Acting
(routing set, routine create and the like) takes a store that no engine has open.";

/// The command line of the plain binary.
#[derive(Debug, Parser)]
#[command(name = "antiphon", version, about = ABOUT, after_help = ABOUT_EXITS, arg_required_else_help = true)]
pub struct Cli {
    /// How things are printed.
    #[command(flatten)]
    pub view: View,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked of a store or a history file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List runs, newest first
    List(list::List),
    /// Show one run as a timeline, with the conversations of its activities
    Show(show::Show),
    /// Say what a run waits for, and why
    Explain(explain::Explain),
    /// Tell what is stuck, without repairing it
    Reconcile(reconcile::Reconcile),
    /// Print every recorded event, as text or JSON
    Dump(dump::Dump),
    /// Write one run to a history file
    Export(export::Export),
    /// Show or dump a history file
    Inspect(inspect::Inspect),
    /// Check that a store is whole and unchanged
    Verify(verify::Verify),
    /// End an open run without asking its code
    Terminate(terminate::Terminate),
    /// Count runs and all else, and tell how large a store is
    Stats(stats::Stats),
    /// Show what operators and repairs did, the latest first
    Audit(audit::Audit),
    /// Show what waits on task queues, and is under way
    Queues(queues::Queues),
    /// List open attempts: what waits, is under way, or has outlived its lease
    Attempts(attempts::Attempts),
    /// Pause or resume a task queue, or set its limits
    Queue(queue::Queue),
    /// List workers
    Workers(workers::Workers),
    /// Drain a worker, or say how well it is
    Worker(worker::Worker),
    /// Show where the routing of task queues stands, reset it, or set its bounds
    Routing(routing::Routing),
    /// List activities whose attempts or losses were used up
    DeadLetters(letters::DeadLetters),
    /// Take care of one of them
    DeadLetter(dead_letter::DeadLetter),
    /// List routines, the latest changed first
    Routines(routines::Routines),
    /// Show one routine, make one, or change one
    Routine(routine::Routine),
}

/// The command line of a binary that has workflow code: all of [`Command`], and what needs the code.
///
/// A binary with commands of its own puts [`View`] and [`ProgramCommand`] among its arguments (`#[command(flatten)]`) and
/// makes one of these of them to [`execute`](ProgramCli::execute).
#[derive(Debug, Parser)]
#[command(name = "antiphon", version, about = ABOUT_WITH_CODE, long_about = ABOUT_WITH_CODE, after_help = ABOUT_EXITS, arg_required_else_help = true)]
pub struct ProgramCli {
    /// How things are printed.
    #[command(flatten)]
    pub view: View,
    /// What to do.
    #[command(subcommand)]
    pub command: ProgramCommand,
}

/// What a binary that has workflow code can be asked.
#[derive(Debug, Subcommand)]
pub enum ProgramCommand {
    /// One of the commands that every binary has.
    #[command(flatten)]
    Read(Command),
    /// Replay history files on the workflow code of this program
    Replay(replay::Replay),
    /// Replay every open run of a store on the workflow code of this program
    Check(check::Check),
}

/// Runs the command line of the plain binary. Prints to stdout, errors to stderr.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    match Cli::try_parse_from(args) {
        Ok(cli) => cli.execute(),
        Err(refused) => refuse(&refused),
    }
}

/// Runs the command line of a binary that has workflow code: with `replay` and `check`, and under the binary's own name.
///
/// `programs` come from `Builder::programs()` of the crate `antiphon`.
pub fn run_with(programs: Programs, args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    match ProgramCli::try_parse_from(args) {
        Ok(cli) => cli.execute(&programs),
        Err(refused) => refuse(&refused),
    }
}

impl Cli {
    /// Carries out the command. Prints to stdout, errors to stderr.
    pub fn execute(&self) -> ExitCode {
        on_stdout(&self.view, |to| self.run_to(to))
    }

    /// Carries out the command and prints to `to`, remarks apart, which go to stderr.
    pub fn run_to(&self, to: &mut dyn Write) -> Result<Exit, Error> {
        let mut out = Out::new(to, &self.view);
        let exit = self.command.run(&Programs::default(), &mut out)?;
        out.flush().map(|()| exit)
    }
}

impl ProgramCli {
    /// Carries out the command with the workflow code of this program. Prints to stdout, errors to stderr.
    pub fn execute(&self, programs: &Programs) -> ExitCode {
        on_stdout(&self.view, |to| self.run_to(programs, to))
    }

    /// Carries out the command with the workflow code of this program and prints to `to`, remarks apart, which go to
    /// stderr.
    pub fn run_to(&self, programs: &Programs, to: &mut dyn Write) -> Result<Exit, Error> {
        let mut out = Out::new(to, &self.view);
        let exit = match &self.command {
            ProgramCommand::Read(command) => command.run(programs, &mut out),
            ProgramCommand::Replay(replay) => replay.run(programs, &mut out),
            ProgramCommand::Check(check) => check.run(programs, &mut out),
        }?;
        out.flush().map(|()| exit)
    }
}

impl Command {
    fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        match self {
            Command::List(list) => list.run(out),
            Command::Show(show) => show.run(out),
            Command::Explain(explain) => explain.run(out),
            Command::Reconcile(reconcile) => reconcile.run(out),
            Command::Dump(dump) => dump.run(out),
            Command::Export(export) => export.run(out),
            Command::Inspect(inspect) => inspect.run(out),
            Command::Verify(verify) => verify.run(out),
            Command::Terminate(terminate) => terminate.run(programs, out),
            Command::Stats(stats) => stats.run(out),
            Command::Audit(audit) => audit.run(out),
            Command::Queues(queues) => queues.run(out),
            Command::Attempts(attempts) => attempts.run(out),
            Command::Queue(queue) => queue.run(programs, out),
            Command::Workers(workers) => workers.run(out),
            Command::Worker(worker) => worker.run(programs, out),
            Command::Routing(routing) => routing.run(programs, out),
            Command::DeadLetters(letters) => letters.run(out),
            Command::DeadLetter(letter) => letter.run(programs, out),
            Command::Routines(routines) => routines.run(out),
            Command::Routine(routine) => routine.run(programs, out),
        }
    }
}

fn refuse(refused: &clap::Error) -> ExitCode {
    // Nobody is left to tell if this cannot be printed; the exit code still says it.
    let _ = refused.print();
    if refused.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

fn on_stdout(view: &View, command: impl FnOnce(&mut dyn Write) -> Result<Exit, Error>) -> ExitCode {
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    match command(&mut stdout) {
        Ok(exit) => exit.into(),
        // Whoever reads our output has seen enough (`antiphon dump … | head`).
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            // What is still buffered would fail once more when the buffer is dropped.
            let _ = stdout.into_parts();
            Exit::Done.into()
        }
        Err(error) => {
            // What was printed before the error belongs above it. If stdout is what failed, this fails again.
            let _ = stdout.flush();
            error.print(view);
            error.exit().into()
        }
    }
}
