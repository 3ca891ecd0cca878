//! Routines: durable jobs that start runs by a schedule.
//!
//! ```text
//!  RoutineSpec ── schedule ──▶ Slot ──▶ one run per attempt
//!       │                        │
//!       └── RoutineEvent ────────┴──▶ RoutineState (the fold; what lists show and what the engine decides by)
//! ```
//!
//! A slot is one planned firing. It is started in the segment that records its run's first event, and ends in the segment
//! that records its run's last one: no slot can be left behind.

mod due;
mod event;
mod patch;
mod slot;
mod spec;
mod state;
mod status;
mod text;

pub use event::{RoutineEvent, SkipReason, SlotOutcome};
pub use patch::{Change, RoutinePatch};
pub use slot::{RoutineSlot, Slot, rfc3339};
pub use spec::{CatchUp, Overlap, RoutineSpec, RoutineTarget, Schedule};
pub use state::{Backfill, EndedSlot, IllegalRoutineEvent, OpenSlot, RetrySlot, RoutineEnd, RoutineState};
pub use status::RoutineStatus;
