use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the backup is. Clones share the numbers; activities add to them, the progress bar reads them.
///
/// For the eye only: nothing depends on it, and the record knows better.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    expected: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    /// Tells how many files there are in all.
    pub fn expect(&self, files: u64) {
        self.0.expected.store(files, Ordering::Relaxed);
    }

    /// Tells that one more is stored.
    pub fn done(&self) {
        self.done_before(1);
    }

    /// Tells how many were stored by earlier processes.
    pub fn done_before(&self, files: u64) {
        self.0.done.fetch_add(files, Ordering::Relaxed);
    }

    /// How many are stored, of how many; zero of zero while the folder is being listed.
    pub fn now(&self) -> (u64, u64) {
        (self.0.done.load(Ordering::Relaxed), self.0.expected.load(Ordering::Relaxed))
    }
}
