use crate::{Archive, Error, Log, Reader, Tip, Watermark};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// An open store, in parts: each part may go to the thread that uses it.
///
/// ```text
/// writer thread: log       keeper thread: archive, anchor, space, checkpoint       engine thread: reader
/// ```
pub struct Store {
    /// What the store is called for ever; made when it was created.
    pub id: [u8; 16],
    /// The chain of segments.
    pub log: Box<dyn Log>,
    /// The archive's writer.
    pub archive: Box<dyn Archive>,
    /// Reads the archive, and only the archive: what is above the watermark is the engine's to know.
    pub reader: Box<dyn Reader>,
    /// Writes where log and archive stand, outside both.
    pub anchor: Box<dyn Anchor>,
    /// Watches the volume.
    pub space: Box<dyn Space>,
    /// Keeps commits short by doing their housekeeping elsewhere.
    pub checkpoint: Box<dyn Checkpoint>,
    /// Keeps everybody else out.
    pub guard: Guard,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("id", &self.id).field("tip", &self.log.tip()).finish_non_exhaustive()
    }
}

/// What an acknowledgement outlives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The process, the operating system and the power: each commit is on the disk before it is acknowledged.
    #[default]
    Full,
    /// The process only: `kill -9` loses nothing, but a power cut or a crash of the operating system loses the commits
    /// that the kernel had not written yet, up to some 30 seconds of them on Linux, though they were acknowledged. The
    /// store stays consistent, and its anchor tells at the next opening how many segments are gone. For tests and for
    /// work that can be done again.
    Process,
}

/// Keeps the store ours. The writing parts hold it too, so it ends with the last of them.
#[derive(Clone)]
pub struct Guard {
    _held: Arc<dyn Any + Send + Sync>,
}

impl Guard {
    /// Holds whatever ends the claim when it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Guard {
        Guard { _held: Arc::new(held) }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// Remembers outside the log and the archive where both stand.
///
/// A database that lost its tail still says of itself that it is whole. Only something beside it can tell.
pub trait Anchor: Send {
    /// Replaces the anchor, durably and at once. `log` and `watermark` must be durable already, or the next opening
    /// would report a loss that never was.
    fn write(&mut self, log: Tip, watermark: Watermark) -> Result<(), Error>;
}

/// The volume that the store lies on, and whether the store still lies there.
pub trait Space: Send {
    /// Whether the files that are written are still those that stand in the store's place. Cheap; call it about once a
    /// second, and before an anchor is written, which would vouch for what nobody will find.
    ///
    /// Errors: [`Error::Displaced`]. A store without files is where it is.
    fn check_in_place(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Bytes that may still be written.
    fn free_bytes(&self) -> Result<u64, Error>;

    /// Whether there is less room than new work should find; see `min_free_bytes` of the store's options.
    fn is_low(&self) -> Result<bool, Error>;

    /// Gives up the bytes that were kept for a full volume, so that what frees space (closing, pruning, a checkpoint)
    /// gets through: a full SQLite cannot even delete. Nothing to give up is no error.
    fn release_ballast(&mut self) -> Result<(), Error>;

    /// Keeps those bytes again. Does nothing while space is low.
    fn restore_ballast(&mut self) -> Result<(), Error>;
}

/// Housekeeping that would make a commit long if it were done inside one.
pub trait Checkpoint: Send {
    /// Looks how much there is to do and does it if it is worth it. Call it often, from a thread that may wait.
    fn run_if_needed(&mut self) -> Result<(), Error>;
}
