use antiphon_recorder::{Error, Reader, Store, memory::MemoryStore};
use std::path::{Path, PathBuf};

/// Where a runtime finds its store, again and again: after a failed commit it is opened anew.
pub trait StoreSource: Send + Sync + 'static {
    /// Opens the store for writing. At most one at a time.
    fn open(&self) -> Result<Store, Error>;

    /// A consistent read-only view of everything durable, made at any time beside a running engine.
    fn snapshot(&self) -> Result<Box<dyn Reader>, Error>;

    /// Something failed for want of space: gives up what was kept for that case. Best effort.
    fn release_ballast(&self) {}
}

/// A store in a folder, on SQLite.
#[derive(Debug, Clone)]
pub struct SqliteFolder {
    folder: PathBuf,
    options: antiphon_recorder::sqlite::Options,
}

impl SqliteFolder {
    /// Names a folder. Nothing is opened yet.
    pub fn new(folder: impl Into<PathBuf>, options: antiphon_recorder::sqlite::Options) -> SqliteFolder {
        SqliteFolder { folder: folder.into(), options }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl StoreSource for SqliteFolder {
    fn open(&self) -> Result<Store, Error> {
        antiphon_recorder::sqlite::open(&self.folder, &self.options)
    }

    fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        antiphon_recorder::sqlite::snapshot(&self.folder)
    }

    fn release_ballast(&self) {
        // Missing is as good as removed: only the space counts.
        let _ = std::fs::remove_file(self.folder.join("ballast"));
    }
}

/// A store in memory, for tests. Clones share it.
#[derive(Clone)]
pub struct MemorySource(pub MemoryStore);

impl StoreSource for MemorySource {
    fn open(&self) -> Result<Store, Error> {
        self.0.open()
    }

    fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        self.0.snapshot()
    }
}
