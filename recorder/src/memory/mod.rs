//! The store as a model in memory: what SQLite must do, in the plainest form, with faults on request.
//!
//! Durable means here: in the shared state. Dropping an opened store is a crash; opening again sees what was appended.

mod archived;

use crate::fold::{self, Batch};
use crate::overlay::Overlay;
use crate::{Anchor, Archive, Cause, Checkpoint, Error, Guard, Log, Reader, Space, Store, Tip, Watermark};
use antiphon_history::Segment;
use archived::{Archived, ArchivedReader};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How the next write fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailKind {
    /// No space: nothing is written.
    Full,
    /// The result is unknown, and it was written.
    UnknownApplied,
    /// The result is unknown, and it was not written.
    UnknownNotApplied,
}

/// A store in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

struct State {
    id: [u8; 16],
    segments: VecDeque<Segment>,
    archive: Arc<Archived>,
    anchor: (Tip, Watermark),
    fail_append: Option<FailKind>,
    fail_fold: Option<FailKind>,
    free_bytes: u64,
    min_free_bytes: u64,
    /// Set while an opened store lives; each opening has its own number, so that one that was left behind is fenced.
    opened: Option<u64>,
    openings: u64,
}

/// The bound of one append's deletion; see [`Log::prune`].
const PRUNE_AT_ONCE: usize = 4;
/// Most segments folded in one batch when the store is opened.
const CATCH_UP_SEGMENTS: usize = 256;

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new([0; 16])
    }
}

impl MemoryStore {
    /// An empty store called `id`.
    pub fn new(id: [u8; 16]) -> MemoryStore {
        let state = State {
            id,
            segments: VecDeque::new(),
            archive: Arc::new(Archived::default()),
            anchor: (Tip::START, Watermark::START),
            fail_append: None,
            fail_fold: None,
            free_bytes: u64::MAX,
            min_free_bytes: 0,
            opened: None,
            openings: 0,
        };
        MemoryStore { state: Arc::new(Mutex::new(state)) }
    }

    /// Opens the store: checks the chain from the watermark and the anchor, then folds the tail into the archive.
    ///
    /// Errors: [`Error::OpenElsewhere`] while an earlier opening lives; [`Error::Loss`]; [`Error::LogDamaged`].
    pub fn open(&self) -> Result<Store, Error> {
        self.open_with(false)
    }

    /// Opens the store as it is, even if the anchor says that segments are gone.
    pub fn open_accepting_loss(&self) -> Result<Store, Error> {
        self.open_with(true)
    }

    fn open_with(&self, accept_loss: bool) -> Result<Store, Error> {
        let mut state = self.lock();
        if state.opened.is_some() {
            return Err(Error::OpenElsewhere { path: name(), holder: "this process".to_owned() });
        }
        let tip = state.checked_tip()?;
        let anchored = state.anchor.0;
        if tip.id < anchored.id && !accept_loss {
            return Err(Error::Loss { lost: anchored.id - tip.id, tip: tip.id, anchored: anchored.id });
        }
        let tail = state.tail();
        for portion in tail.chunks(CATCH_UP_SEGMENTS) {
            Arc::make_mut(&mut state.archive).fold(portion)?;
        }
        state.anchor = (tip, state.archive.watermark);
        state.openings += 1;
        let opening = state.openings;
        state.opened = Some(opening);
        let id = state.id;
        drop(state);
        let claim = Arc::new(Claim { store: self.clone(), opening });
        let part = || Part { claim: Arc::clone(&claim) };
        Ok(Store {
            id,
            log: Box::new(MemoryLog { part: part(), prune_through: 0, syncs: 0, broken: false }),
            archive: Box::new(MemoryArchive { part: part() }),
            reader: Box::new(ArchivedReader::live(self.clone())),
            anchor: Box::new(part()),
            space: Box::new(part()),
            checkpoint: Box::new(part()),
            guard: Guard::new(Arc::clone(&claim)),
        })
    }

    /// Everything durable, frozen: archive and fold of the tail. May be taken at any time.
    pub fn snapshot(&self) -> Result<Box<dyn Reader>, Error> {
        let (archive, tail) = {
            let state = self.lock();
            (Arc::clone(&state.archive), state.tail())
        };
        let mut batch = Batch::empty(archive.watermark);
        batch.extend(&tail, &mut |run| Ok(archive.row(run).cloned()))?;
        Ok(Box::new(Overlay::new(Box::new(ArchivedReader::frozen(archive)), batch)))
    }

    /// Makes the next append fail, and every later one of the same opening if its result is unknown.
    pub fn fail_next_append(&self, how: FailKind) {
        self.lock().fail_append = Some(how);
    }

    /// Makes the next fold fail.
    pub fn fail_next_fold(&self, how: FailKind) {
        self.lock().fail_fold = Some(how);
    }

    /// Takes the store from whoever has it open, as a second engine that got past the lock would. Their next write is
    /// fenced, and the store can be opened again.
    pub fn seize(&self) {
        self.lock().opened = None;
    }

    /// Loses the last `count` segments of the log behind everybody's back, as a disk that lied about a sync does.
    pub fn lose(&self, count: usize) {
        let mut state = self.lock();
        let keep = state.segments.len().saturating_sub(count);
        state.segments.truncate(keep);
    }

    /// Takes the archive back to `earlier`'s, as a restored copy would be.
    pub fn restore_archive_of(&self, earlier: &MemoryStore) {
        let archive = Arc::clone(&earlier.lock().archive);
        self.lock().archive = archive;
    }

    /// An independent store with the same contents, not open.
    pub fn copy(&self) -> MemoryStore {
        let state = self.lock();
        let copy = MemoryStore::new(state.id);
        {
            let mut other = copy.lock();
            other.segments = state.segments.clone();
            other.archive = Arc::clone(&state.archive);
            other.anchor = state.anchor;
        }
        copy
    }

    /// Sets what the volume says: the bytes that are free, and below how many it is low.
    pub fn set_space(&self, free_bytes: u64, min_free_bytes: u64) {
        let mut state = self.lock();
        (state.free_bytes, state.min_free_bytes) = (free_bytes, min_free_bytes);
    }
    /// A test that failed while it held the lock must not turn every later assertion into a second panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Segments above the watermark.
    fn tail(&self) -> Vec<Segment> {
        self.segments.iter().filter(|segment| segment.id > self.archive.watermark.segment).cloned().collect()
    }

    fn tip(&self) -> Tip {
        let archived = self.archive.watermark.tip();
        match self.segments.back() {
            Some(last) if last.id > archived.id => Tip::of(last),
            _ => archived,
        }
    }

    fn checked_tip(&self) -> Result<Tip, Error> {
        let mut tip = self.archive.watermark.tip();
        for segment in self.tail() {
            tip.check_next(&segment).map_err(|error| Error::damaged_log(tip.id + 1, error.to_string()))?;
            tip = Tip::of(&segment);
        }
        Ok(tip)
    }
}

/// What every part of one opening shares.
struct Part {
    claim: Arc<Claim>,
}

impl Part {
    fn store(&self) -> &MemoryStore {
        &self.claim.store
    }

    /// The state, unless somebody else has taken the store.
    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.store().lock();
        match state.opened == Some(self.claim.opening) {
            true => Ok(state),
            false => Err(Error::Fenced { segment: state.tip().id + 1 }),
        }
    }
}

/// One opening; ends when its last part is gone.
struct Claim {
    store: MemoryStore,
    opening: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        if state.opened == Some(self.opening) {
            state.opened = None;
        }
    }
}

struct MemoryLog {
    part: Part,
    prune_through: u64,
    syncs: u64,
    broken: bool,
}

impl Log for MemoryLog {
    fn tip(&self) -> Tip {
        self.part.store().lock().tip()
    }

    fn append(&mut self, segment: &Segment) -> Result<(), Error> {
        if self.broken {
            return Err(unknown("the append"));
        }
        let mut state = self.part.state()?;
        state.tip().check_next(segment)?;
        let failure = state.fail_append.take();
        match failure {
            Some(FailKind::Full) => return Err(full()),
            Some(FailKind::UnknownNotApplied) => {
                drop(state);
                self.broken = true;
                return Err(unknown("the append"));
            }
            Some(FailKind::UnknownApplied) | None => {}
        }
        state.segments.push_back(segment.clone());
        let through = self.prune_through.min(state.archive.watermark.segment);
        for _ in 0..PRUNE_AT_ONCE {
            if state.segments.front().is_none_or(|first| first.id > through) {
                break;
            }
            state.segments.pop_front();
        }
        drop(state);
        if failure.is_some() {
            self.broken = true;
            return Err(unknown("the append"));
        }
        self.syncs += 1;
        Ok(())
    }

    fn read_after(&mut self, after: u64, max_segments: usize) -> Result<Vec<Segment>, Error> {
        let state = self.part.state()?;
        Ok(state.segments.iter().filter(|segment| segment.id > after).take(max_segments).cloned().collect())
    }

    fn prune(&mut self, through: u64) {
        self.prune_through = self.prune_through.max(through);
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }
}

struct MemoryArchive {
    part: Part,
}

impl Archive for MemoryArchive {
    fn watermark(&self) -> Watermark {
        self.part.store().lock().archive.watermark
    }

    fn fold(&mut self, segments: &[Segment]) -> Result<Watermark, Error> {
        let mut state = self.part.state()?;
        match state.fail_fold.take() {
            Some(FailKind::Full) => return Err(full()),
            Some(FailKind::UnknownNotApplied) => return Err(unknown("the fold")),
            Some(FailKind::UnknownApplied) => {
                Arc::make_mut(&mut state.archive).fold(segments)?;
                return Err(unknown("the fold"));
            }
            None => {}
        }
        Arc::make_mut(&mut state.archive).fold(segments)
    }
}

impl Anchor for Part {
    fn write(&mut self, log: Tip, watermark: Watermark) -> Result<(), Error> {
        self.state()?.anchor = (log, watermark);
        Ok(())
    }
}

impl Space for Part {
    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(self.store().lock().free_bytes)
    }

    fn is_low(&self) -> Result<bool, Error> {
        let state = self.store().lock();
        Ok(state.free_bytes < state.min_free_bytes)
    }

    fn release_ballast(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn restore_ballast(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Checkpoint for Part {
    fn run_if_needed(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn name() -> PathBuf {
    Path::new("(memory)").to_owned()
}

fn full() -> Error {
    Error::Full { path: name(), source: injected() }
}

fn unknown(doing: &'static str) -> Error {
    Error::Unknown { doing, source: injected() }
}

fn injected() -> Cause {
    "a fault that the test asked for".into()
}
