use super::find::RunArg;
use super::json::Json;
use super::output::Out;
use super::{Error, Exit};
use std::io::Write;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
The file holds the run's whole record with a digest over it. It opens with `antiphon inspect`, and replays in tests.
It also holds what the workflow was given and returned: treat it like the data itself.

Examples:
  antiphon export data order-7 order-7.history
  antiphon export data 01936f3e-7d2c-7abc-8def-0123456789ab fixtures/order.history --force";

/// `antiphon export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    #[command(flatten)]
    run: RunArg,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

impl Export {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        // Asked before the work as well as by the rename, so that a long export does not end in a refusal.
        if !self.force && self.file.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: self.file.clone() });
        }
        let (row, file) = self.run.load()?;
        let bytes = file.to_bytes();
        self.write(&bytes)?;
        if out.json {
            out.json(&Json::Object(vec![
                ("file", self.file.display().to_string().into()),
                ("run_id", row.run_id.to_string().into()),
                ("records", row.records.into()),
                ("payloads", file.payloads.len().into()),
                ("bytes", bytes.len().into()),
                ("tip", row.tip.to_string().into()),
            ]))?;
        } else {
            let (path, count) = (self.file.display(), row.records);
            out.line(format!("wrote {path}: run {}, {count} records, {} bytes", row.run_id, bytes.len()))?;
        }
        Ok(Exit::Done)
    }

    /// Writes beside the target and renames: whoever opens the target sees the old file or the whole new one.
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::File { doing: "write", path: self.file.clone(), source };
        let folder = match self.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut beside = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        beside.write_all(bytes).and_then(|()| beside.as_file().sync_all()).map_err(failed)?;
        let renamed = if self.force { beside.persist(&self.file) } else { beside.persist_noclobber(&self.file) };
        match renamed {
            Ok(_) => Ok(()),
            Err(refused) if refused.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path: self.file.clone() })
            }
            Err(refused) => Err(failed(refused.error)),
        }
    }
}
