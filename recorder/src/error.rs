use antiphon_history::RunKey;
use std::io;
use std::path::{Path, PathBuf};

/// What lies under an error: of the file system, of SQLite, of a decoder.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What an error means for whoever keeps. Each has one rule in the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The segment does not follow: the caller's picture is old. Nothing was written.
    Conflict,
    /// Somebody holds a lock for longer than we wait. Nothing was written.
    Busy,
    /// No space is left. Nothing was written.
    Full,
    /// It may have been written or not. Open again and look.
    Unknown,
    /// What was read is not what was written. Stop.
    Corrupt,
    /// Somebody else writes this store, or it is no longer where it was. Stop at once.
    Fenced,
    /// The store cannot be used as it is; nothing was touched. A person has to change something.
    Open,
}

/// Why keeping failed. Every variant that a person can meet has a code and a page `docs/errors/<code>.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A0001. Nothing was written.
    #[error("{path} cannot hold a store: {problem} [A0001]")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A0002. Nothing was written.
    #[error(
        "{path} cannot be written: {problem}; run as the user that owns it, on a volume that is mounted for writing [A0002]"
    )]
    NotWritable {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A0003. Nothing was written.
    #[error(
        "{path} is open elsewhere ({holder}): a store has one engine at a time; stop that one first, or only read [A0003]"
    )]
    OpenElsewhere {
        /// The folder.
        path: PathBuf,
        /// What is known of the other one.
        holder: String,
    },
    /// A0003. Somebody wrote beside us, in spite of the lock.
    #[error(
        "segment {segment} was written by somebody else: this engine no longer owns the store; stop it, and find who shares the folder [A0003]"
    )]
    Fenced {
        /// The number that was to be ours.
        segment: u64,
    },
    /// A0004. Nothing was written.
    #[error("{path} has format {found}, this program knows up to {known}: update the program [A0004]")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// A0005. Nothing was written; every earlier acknowledgement stands.
    #[error("no space is left at {path}: free some or enlarge the volume; work goes on by itself [A0005]")]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Cause,
    },
    /// A0006. The log is not what was written.
    #[error("the log is damaged{}: {problem}; run `antiphon verify` on the folder, then restore a backup [A0006]", at_segment(.segment))]
    LogDamaged {
        /// The first segment that is wrong, where one can be named.
        segment: Option<u64>,
        /// How.
        problem: String,
    },
    /// A0007. Acknowledged segments are gone. Nothing was changed.
    #[error(
        "the log ends at segment {tip}, but segment {anchored} was durable once: {lost} segments are lost; restore them, or go on without them by `accept_loss` [A0007]"
    )]
    Loss {
        /// How many segments.
        lost: u64,
        /// Where the log ends.
        tip: u64,
        /// Where it once ended.
        anchored: u64,
    },
    /// A0007. What the anchor says cannot be compared. Nothing was changed.
    #[error(
        "the anchor {path} does not vouch for this store: {problem}; if the folder is what you mean to use, go on by `accept_loss` [A0007]"
    )]
    AnchorUnusable {
        /// The anchor.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A0008. The archive is not what was written.
    #[error("the archive is damaged{}: {problem}; run `antiphon verify` on the folder, then restore a backup [A0008]", in_run(.run))]
    ArchiveDamaged {
        /// The run, if it is one run's.
        run: Option<RunKey>,
        /// How.
        problem: String,
    },
    /// A0009. Whether it was written is unknown; every earlier acknowledgement stands.
    #[error("whether {doing} succeeded is unknown: {source}; open the store again, which finds out [A0009]")]
    Unknown {
        /// What was done.
        doing: &'static str,
        /// What the system said.
        source: Cause,
    },
    /// A0010. Nothing was written.
    #[error("the store was busy for too long: {source}; find what else writes to its files, and try again [A0010]")]
    Busy {
        /// What the system said.
        source: Cause,
    },
    /// A0011. Nothing was written.
    #[error(
        "SQLite is not as it must be: {what} is {found}, not {expected}; use the library that Antiphon brings, and leave its files alone [A0011]"
    )]
    Setting {
        /// What is not as it must be.
        what: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A0033. What was committed since the file went may be nowhere; nothing more is written.
    #[error(
        "{path} was removed or replaced while the store was open: this engine writes to a file that nobody else can find, and stops; put the folder back as it was, or restore a backup [A0033]"
    )]
    Displaced {
        /// The file.
        path: PathBuf,
    },
    /// A0034. Nothing was written.
    #[error(
        "{path} is on a network file system ({kind}), where neither locks nor syncs can be relied on: use a local disk, or go on by `allow_network_volume` [A0034]"
    )]
    NetworkVolume {
        /// The folder.
        path: PathBuf,
        /// Which.
        kind: &'static str,
    },
    /// The caller's segment does not follow. Nothing was written.
    #[error("segment {found} does not follow here, where {expected} is next: {problem}")]
    Conflict {
        /// The number that is next.
        expected: u64,
        /// The number that came.
        found: u64,
        /// Why it does not follow.
        problem: &'static str,
    },
}

fn at_segment(segment: &Option<u64>) -> String {
    segment.map(|segment| format!(" at segment {segment}")).unwrap_or_default()
}

fn in_run(run: &Option<RunKey>) -> String {
    run.map(|run| format!(" in run {}", run.0)).unwrap_or_default()
}

impl Error {
    /// What it means for whoever keeps.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Folder { .. }
            | Error::NotWritable { .. }
            | Error::OpenElsewhere { .. }
            | Error::NewerFormat { .. }
            | Error::NetworkVolume { .. }
            | Error::Setting { .. } => ErrorKind::Open,
            Error::Fenced { .. } | Error::Displaced { .. } => ErrorKind::Fenced,
            Error::Full { .. } => ErrorKind::Full,
            Error::LogDamaged { .. }
            | Error::Loss { .. }
            | Error::AnchorUnusable { .. }
            | Error::ArchiveDamaged { .. } => ErrorKind::Corrupt,
            Error::Unknown { .. } => ErrorKind::Unknown,
            Error::Busy { .. } => ErrorKind::Busy,
            Error::Conflict { .. } => ErrorKind::Conflict,
        }
    }

    /// The stable code; `None` for [`Error::Conflict`], which only a caller's mistake can bring about.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Error::Folder { .. } => "A0001",
            Error::NotWritable { .. } => "A0002",
            Error::OpenElsewhere { .. } | Error::Fenced { .. } => "A0003",
            Error::NewerFormat { .. } => "A0004",
            Error::Full { .. } => "A0005",
            Error::LogDamaged { .. } => "A0006",
            Error::Loss { .. } | Error::AnchorUnusable { .. } => "A0007",
            Error::ArchiveDamaged { .. } => "A0008",
            Error::Unknown { .. } => "A0009",
            Error::Busy { .. } => "A0010",
            Error::Setting { .. } => "A0011",
            Error::Displaced { .. } => "A0033",
            Error::NetworkVolume { .. } => "A0034",
            Error::Conflict { .. } => return None,
        })
    }

    /// Whether opening the store again, later, may succeed without anybody changing it.
    pub fn retryable(&self) -> bool {
        match self {
            Error::Full { .. } | Error::Unknown { .. } | Error::Busy { .. } | Error::OpenElsewhere { .. } => true,
            Error::Folder { .. }
            | Error::NotWritable { .. }
            | Error::Fenced { .. }
            | Error::NewerFormat { .. }
            | Error::LogDamaged { .. }
            | Error::Loss { .. }
            | Error::AnchorUnusable { .. }
            | Error::ArchiveDamaged { .. }
            | Error::Setting { .. }
            | Error::Displaced { .. }
            | Error::NetworkVolume { .. }
            | Error::Conflict { .. } => false,
        }
    }

    /// A run whose record cannot be used, found by whoever read it.
    pub fn damaged_run(run: RunKey, problem: impl Into<String>) -> Error {
        Error::ArchiveDamaged { run: Some(run), problem: problem.into() }
    }

    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn damaged_archive(problem: impl Into<String>) -> Error {
        Error::ArchiveDamaged { run: None, problem: problem.into() }
    }

    pub(crate) fn damaged_log(segment: u64, problem: impl Into<String>) -> Error {
        Error::LogDamaged { segment: Some(segment), problem: problem.into() }
    }

    /// Sorts what the file system said while `doing` something to `path`.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Error {
        use io::ErrorKind as K;
        let path = path.to_owned();
        match source.kind() {
            K::StorageFull | K::QuotaExceeded => Error::Full { path, source: source.into() },
            K::PermissionDenied | K::ReadOnlyFilesystem => Error::NotWritable { path, problem: source.to_string() },
            _ => Error::Unknown { doing, source: source.into() },
        }
    }
}
