//! The stores of the recorder, without threads: what writer and keeper do is done here, at once.

use crate::store::Keep;
use antiphon_history::{Bytes, CatalogueRow, HistoryFile, RunKey, Segment, Timestamp, WorkflowKey};
use antiphon_recorder::conformance::{Picture, picture};
use antiphon_recorder::memory::MemoryStore;
use antiphon_recorder::{Durability, Error, Reader, Store, Tip, sqlite};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirEntry, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Where a store lies.
pub(crate) enum Place {
    Memory(MemoryStore),
    Folder {
        /// Removed with the last of it.
        parent: TempDir,
        /// The folder that is open; a hard death moves on to a copy.
        folder: PathBuf,
        copies: u32,
    },
}

/// An open store and what its keeper has before it.
pub(crate) struct Recorded {
    place: Place,
    store: Option<Store>,
    pending: Vec<Segment>,
    prunable: u64,
}

impl Recorded {
    pub(crate) fn memory() -> Result<Recorded, Error> {
        Recorded::at(Place::Memory(MemoryStore::new([1; 16])))
    }

    pub(crate) fn sqlite() -> Result<Recorded, Error> {
        // No power is cut here, so a file system in memory is as good, and spares the disk.
        let shared = Path::new("/dev/shm");
        let parent = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let parent = parent.expect("there is a place for temporary folders");
        let folder = parent.path().join("store-0");
        match NEW.get() {
            Some(files) => lay(files, &folder).expect("a store can be laid down"),
            None => {
                drop(sqlite::open(&folder, &options())?);
                // Where two threads are the first, either's will do.
                let _ = NEW.set(lift(&folder).expect("a closed store can be read"));
            }
        }
        Recorded::at(Place::Folder { parent, folder, copies: 0 })
    }

    fn at(place: Place) -> Result<Recorded, Error> {
        let store = Some(open(&place)?);
        Ok(Recorded { place, store, pending: Vec::new(), prunable: 0 })
    }

    fn open_store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the store is open between two deaths")
    }

    fn reader(&mut self) -> &mut dyn Reader {
        &mut *self.open_store().reader
    }
}

fn open(place: &Place) -> Result<Store, Error> {
    match place {
        Place::Memory(store) => store.open(),
        Place::Folder { folder, .. } => sqlite::open(folder, &options()),
    }
}

fn options() -> sqlite::Options {
    // Of a volume that counts as full the store takes nothing in advance: no ballast, no zeros in its write-ahead log. It is
    // opened some dozen times in each life.
    sqlite::Options { durability: Durability::Process, min_free_bytes: u64::MAX, ..sqlite::Options::default() }
}

/// A store that was made and closed. Each life begins with one: making it is a tenth of a life's time, and is broken on
/// purpose elsewhere.
static NEW: OnceLock<Vec<(OsString, Vec<u8>)>> = OnceLock::new();

fn lift(folder: &Path) -> std::io::Result<Vec<(OsString, Vec<u8>)>> {
    let file = |entry: std::io::Result<DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), std::fs::read(entry.path())?))
    };
    std::fs::read_dir(folder)?.map(file).collect()
}

fn lay(files: &[(OsString, Vec<u8>)], folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(folder)?;
    for (name, bytes) in files {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        file.write_all(bytes)?;
    }
    Ok(())
}

/// Copies a store as a death by `kill -9` would leave it: everything written is there, nothing was closed.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        // The index of the write-ahead log is rebuilt by the first who opens; the ballast is made again.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with("-shm") && name != "ballast" {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

impl Keep for Recorded {
    fn append(&mut self, body: &Bytes, at: Timestamp) -> Result<(), Error> {
        let prunable = self.prunable;
        let log = &mut self.open_store().log;
        let tip = log.tip();
        let segment = Segment::seal(tip.digest, tip.id + 1, at, body.clone());
        log.prune(prunable);
        log.append(&segment)?;
        self.pending.push(segment);
        Ok(())
    }

    fn fold(&mut self) -> Result<u64, Error> {
        let pending = std::mem::take(&mut self.pending);
        let store = self.open_store();
        store.archive.fold(&pending)?;
        let watermark = store.archive.watermark();
        let tip = pending.last().map_or(store.log.tip(), Tip::of);
        store.checkpoint.run_if_needed()?;
        store.anchor.write(tip, watermark)?;
        self.prunable = watermark.segment;
        Ok(watermark.segment)
    }

    fn find(&mut self, workflow: &WorkflowKey) -> Result<Option<RunKey>, Error> {
        Ok(self.reader().find(workflow)?.map(|row| row.key))
    }

    fn history(&mut self, run: RunKey) -> Result<Option<HistoryFile>, Error> {
        self.reader().history(run)
    }

    fn needs_loading(&mut self) -> Result<Vec<RunKey>, Error> {
        self.reader().needs_loading()
    }

    fn due_after(&mut self, after: Timestamp, limit: usize) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        self.reader().due_after(after, limit)
    }

    fn entities(&mut self) -> Result<Vec<CatalogueRow>, Error> {
        self.reader().entities()
    }

    fn last_run(&mut self) -> Result<u64, Error> {
        self.reader().last_run_key()
    }

    fn tip(&self) -> (u64, Timestamp) {
        let tip = self.store.as_ref().map_or(Tip::START, |store| store.log.tip());
        (tip.id, tip.at)
    }

    fn reopen(&mut self, hard: bool) -> Result<(), Error> {
        if hard && let Place::Folder { parent, folder, copies } = &mut self.place {
            *copies += 1;
            let next = parent.path().join(format!("store-{copies}"));
            copy(folder, &next).expect("a store can be copied");
            self.store = None;
            std::fs::remove_dir_all(&*folder).expect("a closed store can be removed");
            *folder = next;
        }
        self.store = None;
        self.pending.clear();
        self.prunable = 0;
        self.store = Some(open(&self.place)?);
        Ok(())
    }

    fn compare(&mut self, histories: &BTreeMap<RunKey, HistoryFile>) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        let mut snapshot = match &self.place {
            Place::Memory(store) => store.snapshot(),
            Place::Folder { folder, .. } => sqlite::snapshot(folder),
        }
        .map_err(told)?;
        let expected = Picture::of_histories(histories);
        if picture(&mut *snapshot).map_err(told)? != expected {
            return Err("a snapshot is not the fold of the records".to_owned());
        }
        drop(snapshot);
        self.fold().map_err(told)?;
        match picture(self.reader()).map_err(told)? == expected {
            true => Ok(()),
            false => Err("the archive is not the fold of the records".to_owned()),
        }
    }
}
