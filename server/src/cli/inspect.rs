use super::output::Out;
use super::timeline::Timeline;
use super::{Error, Exit, dump, show};
use antiphon_history::HistoryFile;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
The file is checked first: framing, the chain of its records, the digests of its payloads. One that was changed or cut
is refused with exit code 1.

Examples:
  antiphon inspect order-7.history
  antiphon inspect order-7.history --events
  antiphon inspect order-7.history --events --json";

/// `antiphon inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// The history file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print every event, as `dump` does
    #[arg(long)]
    events: bool,
    /// Leave out what was said in the activities' conversations
    #[arg(long, conflicts_with = "events")]
    brief: bool,
}

impl Inspect {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let file = read(&self.file)?;
        let timeline = Timeline::read(&file).map_err(|source| Error::History { path: self.file.clone(), source })?;
        if self.events {
            dump::print(&timeline, false, out)?;
        } else {
            show::print(&timeline, self.brief, out)?;
        }
        Ok(Exit::Done)
    }
}

/// Reads and checks a history file.
pub(super) fn read(path: &Path) -> Result<HistoryFile, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File { doing: "read", path: path.to_owned(), source })?;
    HistoryFile::read(&bytes).map_err(|source| Error::History { path: path.to_owned(), source })
}
