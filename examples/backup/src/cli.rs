//! What the command line understands.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Backs up folders, durably: stop it, kill it, lose power, and start it again, and it goes on where it was.
#[derive(Debug, Parser)]
#[command(name = "backup", version, after_help = NOTES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const NOTES: &str = "\
Examples:
  backup run ~/photos /mnt/disk/photos         a first backup; again later, only what is new is stored
  backup status /mnt/disk/photos               which snapshots there are
  backup verify /mnt/disk/photos ~/photos      does the last snapshot say what the folder holds?
  backup restore /mnt/disk/photos ~/photos-2   the last snapshot into a new folder

Exit codes:
  0    done
  1    failed, or `verify` found differences
  2    wrong usage
  3    done, but some files could not be read and are reported
  130  interrupted; the same command goes on

BACKUP_LEDGER=<file> lets every storing of a file first append a line (conversation, leg, path): for the kill test.";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Backs up a folder, or goes on with a backup that was interrupted.
    #[command(after_help = "Example:\n  backup run ~/photos /mnt/disk/photos --parallel 8")]
    Run(Run),
    /// Restores a snapshot into a new folder, and reads every file again to prove it.
    #[command(after_help = "Example:\n  backup restore /mnt/disk/photos ~/photos-2 --snapshot 3")]
    Restore {
        /// The backup.
        target: PathBuf,
        /// Where to: a folder that is empty, or not there yet.
        destination: PathBuf,
        /// Which snapshot; the last one if not given.
        #[arg(long)]
        snapshot: Option<u64>,
        /// Also compares the whole restored folder with the snapshot: names, modes, times, links, nothing more.
        #[arg(long)]
        verify: bool,
    },
    /// Compares a folder with a snapshot.
    #[command(after_help = "Example:\n  backup verify /mnt/disk/photos ~/photos")]
    Verify {
        /// The backup.
        target: PathBuf,
        /// The folder.
        source: PathBuf,
        /// Which snapshot; the last one if not given.
        #[arg(long)]
        snapshot: Option<u64>,
    },
    /// Tells which snapshots there are and which backups are unfinished. Works while a backup runs.
    #[command(after_help = "Example:\n  backup status /mnt/disk/photos")]
    Status {
        /// The backup.
        target: PathBuf,
        /// The folder of the record, if `run` was given one.
        #[arg(long)]
        state: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The folder to back up.
    pub(crate) source: PathBuf,
    /// Where to. It is made if it is not there; if it lies inside the source, it is left out.
    pub(crate) target: PathBuf,
    /// Most files at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) parallel: u32,
    /// The folder of the record. Default: `.antiphon` in the target.
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// What the backup is called. Default: made of source and target.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Lets every file wait this long before it is stored.
    #[arg(long, env = "BACKUP_PAUSE_MS", hide = true, default_value_t = 0)]
    pub(crate) pause_ms: u64,
    /// The ledger of the kill test.
    #[arg(long, env = "BACKUP_LEDGER", hide = true)]
    pub(crate) ledger: Option<PathBuf>,
}
