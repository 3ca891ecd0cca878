//! KEEPS. Makes segments durable, folds them into an archive that can be asked, and proves that both are whole.
//!
//! ```text
//!              append (one commit, one sync)          fold (behind, in batches)
//!  Segment ───────────────▶ Log ───────────────────────────▶ Archive ◀── Reader ── engine
//!                            │ tail above the watermark          │ up to the watermark
//!                            └──────────────┬────────────────────┘
//!                                           ▼
//!                            snapshot: archive + fold of the tail ──▶ command line, page, tests
//!
//!  Anchor: where log and archive stood, outside both, so that a lost tail is noticed.
//! ```
//!
//! There is one fold (`fold.rs`); the archive, a snapshot, recovery and `verify` all use it. The traits have two
//! implementations, [`memory`] and [`sqlite`], and one suite of properties that both must have ([`conformance`]).
//!
//! This crate must not know the engine, conversations' rules, a runtime or a clock: every time comes with a segment.

mod archive;
#[cfg(feature = "sqlite")]
mod block;
pub mod conformance;
mod error;
mod fold;
mod log;
pub mod memory;
mod overlay;
mod pack;
mod reader;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "sqlite")]
mod squeeze;
mod store;
#[cfg(feature = "strangers")]
pub mod strangers;
mod varint;

pub use archive::{Archive, Watermark};
pub use error::{Cause, Error, ErrorKind};
pub use log::{Log, Tip};
pub use reader::{Filter, Reader};
pub use store::{Anchor, Checkpoint, Durability, Guard, Space, Store};
