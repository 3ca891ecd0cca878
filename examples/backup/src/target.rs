//! The folder that holds a backup, and the one way in which files get into it.
//!
//! ```text
//!  format               says that the folder is a backup, and of which format
//!  objects/ab/cdef…     contents, compressed, named by their digest
//!  snapshots/000001     one manifest per finished backup
//!  runs/<name>          which run works on the backup of that name, or did last
//!  work/000002/         what an unfinished backup needs; gone, or empty, when it is finished
//!  tmp/                 files that are being written; emptied at every start
//!  .antiphon/           the record
//! ```
//!
//! A file is written under `tmp/`, synced, renamed into its place, and its folder is synced: after a crash it is there
//! whole, or not at all.

use crate::{Fault, ObjectId};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// First line of the file `format`. A later layout gets another number, and this program refuses it.
const FORMAT: &str = "antiphon backup 1\n";

/// A folder that holds a backup.
#[derive(Clone, Debug)]
pub struct Target {
    root: PathBuf,
}

/// How many contents are kept, and how much room they take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Objects {
    /// How many.
    pub count: u64,
    /// Their compressed bytes.
    pub bytes: u64,
}

impl Target {
    /// Makes the folder a target, if it is not one yet.
    ///
    /// Errors: [`Fault::Refused`] if it holds something else, [`Fault::Target`] if it cannot be written.
    pub fn prepare(root: &Path) -> Result<Target, Fault> {
        fs::create_dir_all(root).map_err(Fault::target(root))?;
        let target = Target { root: root.to_owned() };
        if !target.root.join("format").exists() {
            let foreign = fs::read_dir(root).map_err(Fault::target(root))?.filter_map(Result::ok).find(|entry| {
                // A first start that was killed leaves these without `format`.
                !["tmp", ".antiphon"].iter().any(|ours| entry.file_name() == *ours)
            });
            if let Some(foreign) = foreign {
                let (root, found) = (root.display(), foreign.file_name());
                return Err(Fault::Refused(format!(
                    "{root} is not a backup, and not empty (it holds {found:?}): give an empty folder or a new name"
                )));
            }
        }
        for folder in ["tmp", "objects", "snapshots", "runs", "work"] {
            // `format` comes first of what is not ours alone: without it the folder would look foreign after a crash.
            if folder == "objects" && !target.root.join("format").exists() {
                target.write(&target.root.join("format"), FORMAT.as_bytes())?;
            }
            let folder = target.root.join(folder);
            fs::create_dir_all(&folder).map_err(Fault::target(&folder))?;
        }
        Target::open(root)
    }

    /// Opens a folder that is a target.
    ///
    /// Errors: [`Fault::Refused`] if it is none, or one of another format.
    pub fn open(root: &Path) -> Result<Target, Fault> {
        match fs::read_to_string(root.join("format")) {
            Ok(format) if format == FORMAT => Ok(Target { root: root.to_owned() }),
            Ok(format) => Err(Fault::Refused(format!(
                "{} has the format {:?}, this program knows {:?}: use the program that wrote it",
                root.display(),
                format.trim(),
                FORMAT.trim()
            ))),
            Err(_) => Err(Fault::Refused(format!("{} is not a backup: make one with `backup run`", root.display()))),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a content is kept.
    pub fn object(&self, id: ObjectId) -> PathBuf {
        let name = id.to_string();
        self.root.join("objects").join(&name[..2]).join(&name[2..])
    }

    /// The manifest of a snapshot.
    pub fn snapshot(&self, number: u64) -> PathBuf {
        self.root.join("snapshots").join(format!("{number:06}"))
    }

    /// The folder of what the backup of a snapshot needs until it is finished.
    pub fn work(&self, number: u64) -> PathBuf {
        self.root.join("work").join(format!("{number:06}"))
    }

    /// The file that says which run works on the backup of a name.
    pub fn marker(&self, name: &str) -> PathBuf {
        self.root.join("runs").join(name)
    }

    /// The folder of the record, where none was chosen.
    pub fn state(&self) -> PathBuf {
        self.root.join(".antiphon")
    }

    /// The numbers of the finished snapshots, in order.
    pub fn snapshots(&self) -> Result<Vec<u64>, Fault> {
        numbers(&self.root.join("snapshots"))
    }

    /// Takes a free snapshot number above `last` and above all that are in use.
    pub fn reserve_snapshot(&self, last: u64) -> Result<u64, Fault> {
        let taken = [self.snapshots()?, numbers(&self.root.join("work"))?].concat();
        let mut next = taken.into_iter().max().unwrap_or(0).max(last) + 1;
        loop {
            let folder = self.work(next);
            // Making the folder is the claim: of two that come at once, one goes on to the next number.
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(next),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => next += 1,
                Err(error) => return Err(Fault::target(&folder)(error)),
            }
        }
    }

    /// Counts what is kept.
    pub fn count_objects(&self) -> Result<Objects, Fault> {
        let mut objects = Objects::default();
        let folder = self.root.join("objects");
        for entry in walkdir::WalkDir::new(&folder) {
            let found = entry.and_then(|entry| entry.metadata());
            let found = found.map_err(|error| Fault::target(&folder)(error.into()))?;
            if found.is_file() {
                objects.count += 1;
                objects.bytes += found.len();
            }
        }
        Ok(objects)
    }

    /// Writes a whole file. Durable on return; nobody ever sees half of it.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let temporary = self.temporary()?;
        temporary.file().write_all(bytes).map_err(Fault::target(temporary.path()))?;
        temporary.become_file(path)
    }

    /// Begins a file. It is gone if it is dropped.
    pub fn temporary(&self) -> Result<Temporary, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder).map_err(Fault::target(&folder))?;
        loop {
            let path = folder.join(format!("{}{}", our_prefix(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Temporary { file, path, placed: false }),
                // Left by an earlier process that had our number and was killed: the next name is free, or the one after.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Fault::target(&path)(error)),
            }
        }
    }

    /// Removes what earlier processes did not finish writing. Only for whoever holds the record's lock; what this
    /// process is writing meanwhile stays.
    pub fn clear_temporary(&self) -> Result<(), Fault> {
        let folder = self.root.join("tmp");
        for entry in fs::read_dir(&folder).map_err(Fault::target(&folder))? {
            let entry = entry.map_err(Fault::target(&folder))?;
            if !entry.file_name().to_string_lossy().starts_with(&our_prefix()) {
                fs::remove_file(entry.path()).map_err(Fault::target(&entry.path()))?;
            }
        }
        Ok(())
    }

    /// Removes what an unfinished backup needed. Its number stays taken.
    pub fn empty_work(&self, number: u64) -> Result<(), Fault> {
        let folder = self.work(number);
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
        for entry in entries {
            let path = entry.map_err(Fault::target(&folder))?.path();
            fs::remove_file(&path).map_err(Fault::target(&path))?;
        }
        Ok(())
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Temporary {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl Temporary {
    /// What to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is meanwhile, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file where it belongs, in place of an earlier one. Durable on return.
    pub fn become_file(mut self, path: &Path) -> Result<(), Fault> {
        self.file.sync_all().map_err(Fault::target(&self.path))?;
        let Some(folder) = path.parent() else { return Ok(()) };
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(Fault::target(folder))?;
            if let Some(above) = folder.parent() {
                sync_folder(above)?;
            }
        }
        fs::rename(&self.path, path).map_err(Fault::target(path))?;
        self.placed = true;
        // A rename lives in its folder: without this a power cut could take the name away after we answered.
        sync_folder(folder)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            // Best effort: what stays is removed at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How the names of this process's unfinished files begin.
fn our_prefix() -> String {
    format!("{}-", std::process::id())
}

fn sync_folder(folder: &Path) -> Result<(), Fault> {
    File::open(folder).and_then(|opened| opened.sync_all()).map_err(Fault::target(folder))
}

fn numbers(folder: &Path) -> Result<Vec<u64>, Fault> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(Fault::target(folder))? {
        let entry = entry.map_err(Fault::target(folder))?;
        numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let refused = Target::prepare(folder.path()).unwrap_err();
        assert!(refused.to_string().contains("letter.txt"), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Target::open(folder.path()).is_err());
    }

    #[test]
    fn a_first_start_that_was_killed_anywhere_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        fs::write(folder.path().join("tmp/0-0"), "half").unwrap();
        fs::create_dir(folder.path().join(".antiphon")).unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        target.clear_temporary().unwrap();
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        Target::prepare(folder.path()).unwrap();
    }

    #[test]
    fn a_snapshot_number_is_given_once() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        assert_eq!(target.reserve_snapshot(0).unwrap(), 1);
        assert_eq!(target.reserve_snapshot(0).unwrap(), 2);
        fs::remove_dir(target.work(1)).unwrap();
        target.write(&target.snapshot(9), b"").unwrap();
        assert_eq!(target.reserve_snapshot(0).unwrap(), 10);
        assert_eq!(target.reserve_snapshot(20).unwrap(), 21);
    }

    #[test]
    fn a_file_that_was_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        drop(target.temporary().unwrap());
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}
