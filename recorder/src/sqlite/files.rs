//! Whether the files that SQLite has open are still those in the folder.
//!
//! A file that is removed or replaced lives on, unseen, for whoever has it open: commits go on to succeed, and all of
//! them are gone when the process ends. SQLite does not look, so somebody must.

use super::folder::Folder;
use crate::Error;
use antiphon_history::planted;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is there before the store is opened. A write-ahead log may still go then, with the last of its users.
pub(super) const OPENED: [&str; 3] = ["log.db", "archive.db", "lock"];

/// What stands by its name as long as the store is open. Not the anchor, which is replaced with every writing of it.
pub(super) const HELD: [&str; 7] =
    ["log.db", "log.db-wal", "log.db-shm", "archive.db", "archive.db-wal", "archive.db-shm", "lock"];

/// Device and number of a file, which no other file has while it is open.
type Identity = (u64, u64);

/// The files of a folder as they were when it was looked at.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Identity)>);

impl Files {
    /// Looks at those of `names` that are there.
    pub(super) fn look(folder: &Folder, names: &[&str]) -> Result<Files, Error> {
        let mut files = Vec::new();
        for name in names {
            let path = folder.file(name);
            if let Some(identity) = identity(&path)? {
                files.push((path, identity));
            }
        }
        Ok(Files(files))
    }

    /// Errors: [`Error::Displaced`] if one of them is gone, or another one stands by its name.
    pub(super) fn check(&self) -> Result<(), Error> {
        if planted!("files-not-watched") {
            return Ok(());
        }
        for (path, before) in &self.0 {
            if identity(path)? != Some(*before) {
                return Err(Error::Displaced { path: path.clone() });
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> Result<Option<Identity>, Error> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("looking at a file", path, error)),
    }
}
