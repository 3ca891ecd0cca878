use super::json::Json;
use super::output::{Out, Paint, clean_lines};
use super::{Error, Exit, events, inspect};
use antiphon_engine::{Programs, Replayed, replay, replay_prefix};
use antiphon_history::{BlockedReason, HistoryFile, HistoryFileError};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Nothing but the file and this program's code is in reach: no worker, clock, random source or network.

Examples:
  orders replay fixtures/*.history
  orders replay order-7.history --every-prefix";

/// `replay`: only in a binary that has workflow code.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Replay {
    /// History files, as `export` writes them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Replay every prefix as well, each on a fresh thread: finds code that depends on anything but the record. The work
    /// grows with the square of the history's length
    #[arg(long)]
    every_prefix: bool,
}

impl Replay {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut exit = Exit::Done;
        for path in &self.files {
            let result = inspect::read(path).and_then(|history| {
                follow(programs, &history, self.every_prefix)
                    .map_err(|source| Error::History { path: path.clone(), source })
            });
            let name = path.display().to_string();
            match result {
                Ok(followed) => {
                    if followed.stopped.is_some() {
                        exit = Exit::Problem;
                    }
                    let subject = Subject { name: &name, fields: vec![("file", name.as_str().into())] };
                    print(&subject, &followed, out)?;
                }
                // A file that cannot be read hides no verdict on the others: they are still replayed.
                Err(error @ (Error::File { .. } | Error::History { .. })) => {
                    exit = if exit == Exit::Problem { exit } else { error.exit() };
                    if out.json {
                        let fields = vec![("file", name.as_str().into()), ("error", error.to_string().into())];
                        out.json(&Json::Object(fields))?;
                    } else {
                        let text = clean_lines(&error.to_string(), "");
                        let line = format!("{} {}", out.style.paint(Paint::Bad, "unreadable"), text.trim_end());
                        out.line(line)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(exit)
    }
}

/// What today's code did with a history.
pub(super) struct Followed {
    /// Events of the run stream that were replayed.
    pub(super) events: usize,
    /// How many of them the replay that stopped had; `None` if it had all, or none stopped.
    pub(super) prefix: Option<usize>,
    /// Why it could not go on.
    pub(super) stopped: Option<BlockedReason>,
}

/// Replays a history, and if asked every prefix of it.
pub(super) fn follow(
    programs: &Programs,
    history: &HistoryFile,
    every_prefix: bool,
) -> Result<Followed, HistoryFileError> {
    let whole = on_fresh_thread(|| replay(programs, history))?;
    let events = whole.events;
    if whole.stopped.is_some() || !every_prefix {
        return Ok(Followed { events, prefix: None, stopped: whole.stopped });
    }
    for prefix in 1..=events {
        let replayed = on_fresh_thread(|| replay_prefix(programs, history, prefix))?;
        if replayed.stopped.is_some() {
            return Ok(Followed { events, prefix: Some(prefix), stopped: replayed.stopped });
        }
    }
    Ok(Followed { events, prefix: None, stopped: None })
}

/// A fresh thread has fresh thread locals, and with them other hash seeds: code that depends on them is found out.
fn on_fresh_thread(
    replay: impl FnOnce() -> Result<Replayed, HistoryFileError> + Send,
) -> Result<Replayed, HistoryFileError> {
    std::thread::scope(|scope| scope.spawn(replay).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// What was replayed, as text and as fields.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) fields: Vec<(&'static str, Json)>,
}

/// Prints what came of a replay: one line, and the whole report if the code and the record part.
pub(super) fn print(subject: &Subject<'_>, followed: &Followed, out: &mut Out<'_>) -> Result<(), Error> {
    if out.json {
        let mut fields = subject.fields.clone();
        fields.extend([
            ("ok", followed.stopped.is_none().into()),
            ("events", followed.events.into()),
            ("prefix", followed.prefix.into()),
            ("stopped", followed.stopped.as_ref().map_or(Json::Null, events::blocked)),
        ]);
        return out.json(&Json::Object(fields));
    }
    let name = super::output::clean(subject.name);
    match &followed.stopped {
        None => {
            let ok = out.style.paint(Paint::Good, "ok");
            out.line(format!("{ok}       {name}  {} events", followed.events))
        }
        Some(reason) => {
            let word = if matches!(reason, BlockedReason::Divergence(_)) { "diverges" } else { "stops   " };
            let word = out.style.paint(Paint::Bad, word);
            let prefix = followed.prefix.map(|prefix| format!(" (its first {prefix} events)")).unwrap_or_default();
            out.line(format!("{word} {name}{prefix}"))?;
            out.line(clean_lines(&reason.to_string(), "  ").trim_end())
        }
    }
}
