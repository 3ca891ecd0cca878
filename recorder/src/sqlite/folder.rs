//! The folder and its plain files: who may use it, what may be in it, and how names become durable.

use crate::Error;
use antiphon_history::planted;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files that make a folder a store.
const DATABASES: [&str; 2] = ["log.db", "archive.db"];
/// Everything that creating a store may have left behind if it was interrupted.
const OURS: [&str; 11] = [
    "log.db",
    "log.db-wal",
    "log.db-shm",
    "log.db-journal",
    "archive.db",
    "archive.db-wal",
    "archive.db-shm",
    "archive.db-journal",
    "head",
    "head.new",
    "lock",
];
/// Found at the root of a volume that was mounted for the store.
const TOLERATED: [&str; 2] = ["ballast", "lost+found"];

/// A folder that was looked at: real, ours, and with nothing foreign in it.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Prepares a folder for writing: creates it if it is missing, refuses it if it is not usable.
    pub(super) fn prepare(path: &Path) -> Result<Folder, Error> {
        match path.symlink_metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(Error::io("looking at the folder", path, error)),
        }
        let folder = Folder::look(path)?;
        let found = folder.names()?;
        let is_store = DATABASES.iter().any(|database| found.iter().any(|name| name == database));
        let foreign = found.iter().find(|name| !OURS.contains(&name.as_str()) && !TOLERATED.contains(&name.as_str()));
        if let (false, Some(foreign)) = (is_store, foreign) {
            let problem = format!("it has no store but other files ({foreign:?}); name an empty or a new folder");
            return Err(refuse(path, problem));
        }
        let metadata = folder.path.metadata().map_err(|error| Error::io("looking at the folder", path, error))?;
        // Files that another user's engine cannot write would lock the owner out of the own store.
        let us = rustix::process::geteuid().as_raw();
        if metadata.uid() != us {
            let problem = format!("it belongs to user {}, this process runs as user {us}", metadata.uid());
            return Err(Error::NotWritable { path: path.to_owned(), problem });
        }
        if metadata.mode() & 0o777 != 0o700 {
            // Histories hold what users sent: nobody else on the machine is to read them.
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&folder.path, mode)
                .map_err(|error| Error::io("closing the folder to others", path, error))?;
        }
        for name in OURS.iter().chain(&["ballast"]) {
            refuse_odd_file(&folder.file(name))?;
        }
        Ok(folder)
    }

    /// Looks at a folder that must hold a store already, without changing it.
    pub(super) fn existing(path: &Path) -> Result<Folder, Error> {
        let folder = Folder::look(path)?;
        // All of them, not the databases alone: SQLite follows a link under the name of a write-ahead log.
        for name in OURS {
            refuse_odd_file(&folder.file(name))?;
        }
        for name in DATABASES {
            if !folder.file(name).exists() {
                return Err(refuse(path, format!("it has no {name}, so there is no store; name the store's folder")));
            }
        }
        Ok(folder)
    }

    fn look(path: &Path) -> Result<Folder, Error> {
        let metadata = path.symlink_metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refuse(path, "there is no such folder".to_owned()),
            _ => Error::io("looking at the folder", path, error),
        })?;
        if metadata.is_symlink() {
            // Whoever can move the link could move the store under us.
            return Err(refuse(path, "it is a symbolic link; name the folder itself".to_owned()));
        }
        if !metadata.is_dir() {
            return Err(refuse(path, "it is not a folder; name a folder".to_owned()));
        }
        // SQLite refuses links anywhere in the path, and links above the folder are the system's business (/tmp on macOS).
        let path = path.canonicalize().map_err(|error| Error::io("looking at the folder", path, error))?;
        Ok(Folder { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates an empty file for us alone, unless it is there. True if it was created.
    pub(super) fn create_file(&self, name: &str) -> Result<bool, Error> {
        let path = self.file(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("creating a file", &path, error)),
        }
    }

    /// Makes created and renamed names durable: a synced file whose name is lost is lost.
    pub(super) fn sync(&self) -> Result<(), Error> {
        if planted!("folder-not-synced") {
            return Ok(());
        }
        sync_folder(&self.path)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let unreadable = |error| Error::io("listing the folder", &self.path, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

fn create(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("creating the folder", path, error);
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Folders above are created with the usual rights: they are the user's, not the store's.
    std::fs::create_dir_all(parent).map_err(failed)?;
    DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
    sync_folder(parent)
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::io("syncing the folder", path, error))
}

/// A link or a device under one of our names would send our writes elsewhere.
fn refuse_odd_file(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(refuse(path, "it is a link or not a plain file; remove it or name another folder".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("looking at a file", path, error)),
    }
}

fn refuse(path: &Path, problem: String) -> Error {
    Error::Folder { path: path.to_owned(), problem }
}
