//! A durable backup of any folder into a store of contents by their digest.
//!
//! ```text
//!  source ──list──▶ pages of paths ──store, n at a time──▶ objects/   (each content once)
//!                                        │
//!                                        └──parts──▶ snapshots/n      (paths, modes, times, digests)
//! ```
//!
//! `workflow.rs` says what is done in which order, `activities.rs` does it, and Antiphon remembers how far it came: kill
//! the process at any moment, and the next one goes on without doing a finished file again.
//!
//! This crate must not know how Antiphon keeps its record. Unix only: paths are bytes and files have modes.

mod activities;
mod fault;
pub mod listing;
mod object;
pub mod path_text;
mod plan;
mod progress;
mod restore;
mod snapshot;
mod target;
mod verify;
mod workflow;

pub use activities::{Job, Listed, Setting, Summary, list, manifest, page, part, store, tidy};
pub use fault::Fault;
pub use object::{ObjectId, digest_file};
pub use plan::{Marker, Plan};
pub use progress::Progress;
pub use restore::{Restored, restore};
pub use snapshot::{Entry, Header, Manifest, Totals};
pub use target::{Objects, Target, Temporary};
pub use verify::{Difference, compare};
pub use workflow::{BackupError, backup};

use antiphon::Builder;

/// Registers the workflow, its activities and what they share.
pub fn register(builder: Builder, setting: Setting) -> Builder {
    builder
        .workflow(backup)
        .activity(list)
        .activity(page)
        .activity(store)
        .activity(part)
        .activity(manifest)
        .activity(tidy)
        .state(setting)
}
