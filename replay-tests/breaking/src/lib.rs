//! BREAKS the engine from outside: kills it, cuts its power, fails its system calls, and reads what it left behind.
//!
//! ```text
//!  driver ──requests──▶ victim: engine, workflows, bodies ──▶ store
//!    │  ◀──answers────     │ ▲                                 │
//!  notes          "I begin"│ │"noted"                          │ nobody has it open
//!    │                   ledger                                ▼
//!    └────────────────────┴───────────────────────────────▶ checker ──▶ the first broken invariant
//! ```
//!
//! The victim is a process of its own and the only one that is broken. Driver, ledger and checker live in the process
//! that breaks it, so their notes outlive every kill; the store lies on a file system that may lose its power.
//!
//! This crate must not excuse the engine: the checker spells the order of events out for itself, and a harness that was
//! never seen to fail counts for nothing (`planted.rs`).

pub mod check;
mod cut;
pub mod driver;
mod error;
pub mod flows;
mod kill;
pub mod ledger;
pub mod notes;
mod peer;
#[cfg(feature = "planted")]
mod planted;
pub mod power;
pub mod process;
mod random;
pub mod strace;
mod sweep;
mod victim;
pub mod volume;
pub mod words;
mod workers;

pub use check::Looked;
pub use cut::{CutTally, Cuts, check_that_cuts_cut, cuts};
pub use error::{Broken, Error, Invariant};
pub use kill::{Storm, Tally, storm};
pub use peer::{FromPeer, Lost, Peer, ToPeer, peer, run_peer};
#[cfg(feature = "planted")]
pub use planted::{Planting, planted};
pub use random::Random;
pub use sweep::{Sweep, SweepTally, sweep};
pub use victim::{Settings, open_only, run as run_victim};
pub use words::{Plan, Shape};
