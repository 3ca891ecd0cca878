//! The store on SQLite: a folder with two databases and four small files.
//!
//! ```text
//!  log.db       segment(id, at_ms, digest, body): one row per commit, the truth
//!  archive.db   run, name, block, history, payload, tally, ledger, meta: derived, up to the watermark
//!  head         the anchor: where both stood, one line of text
//!  lock         held by the one engine that writes here
//!  ballast      1 MiB that is given up when the volume is full
//! ```
//!
//! Nothing in this process opens a database file but SQLite itself: closing any other descriptor of it would drop
//! SQLite's locks (POSIX record locks belong to the process, not to the descriptor).

mod anchor;
mod archive;
mod checkpoint;
mod db;
mod files;
mod folder;
mod history;
mod ledger;
mod lock;
mod log;
mod names;
mod network;
mod open;
mod pragma;
mod reader;
mod recent;
mod row;
mod schema;
mod shape;
mod snapshot;
mod space;
#[cfg(feature = "strangers")]
pub(crate) mod strangers;
mod stretch;
mod verify;

pub use open::open;
pub use snapshot::{snapshot, snapshot_accepting_loss};
pub use verify::{Problem, VerifyReport, verify};

use crate::Durability;

/// How a folder is opened for writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What an acknowledgement outlives. Default: [`Durability::Full`].
    pub durability: Durability,
    /// Go on although the anchor says that segments are gone or does not fit, and write a new anchor for what is there.
    /// Default: false. Set it for one opening, once you know why.
    pub accept_loss: bool,
    /// Below this many free bytes the volume counts as low, and the ballast is not restored. Default: 64 MiB, which is
    /// the largest write-ahead log that a writer tolerates.
    pub min_free_bytes: u64,
    /// Go on although the folder lies on a network file system, where neither locks nor syncs can be relied on; see
    /// A0034. Default: false.
    pub allow_network_volume: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Full,
            accept_loss: false,
            min_free_bytes: 64 * 1024 * 1024,
            allow_network_volume: false,
        }
    }
}
