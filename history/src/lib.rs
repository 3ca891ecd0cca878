//! THE WRITTEN WORD. Everything that Antiphon writes down, and how it becomes bytes and text.
//!
//! ```text
//!  RunEvent ─┐                      ┌─ Segment ── digest ─▶ log
//!            ├─▶ Record ──▶ bytes ──┤
//!  Conversation                     └─ HistoryFile ───────▶ export, fixtures
//!     Event ─┤        └─▶ CatalogueRow (what lists show, derived)
//!  EntityEvent ─┘
//! ```
//!
//! What is written here can be read by every later version: variants and fields carry short explicit names that are
//! never changed, formats only grow, and an unknown name is an error, never a guess. The bytes are described in
//! `docs/history-format.md`.
//!
//! This crate must not know the engine, a store, a clock or a source of randomness.

mod activity;
mod blocked;
mod bytes;
mod catalogue;
mod chain;
mod codec;
mod conversation_event;
mod entity;
mod file;
mod glance;
mod ids;
pub mod limits;
mod name;
mod payload;
#[cfg(feature = "planted")]
pub mod planted;
mod record;
mod routine;
mod routing;
mod run_event;
mod segment;
mod segment_parts;
mod segment_writer;
mod standalone;
mod text;
mod varint;

pub use activity::{
    ActivityCall, ActivityOptions, ActivityOutcome, FAIRNESS_WEIGHT_MAX, Failure, PRIORITY_MAX, RetryPolicy, Site,
};
pub use blocked::{Blocked, BlockedReason, DivergenceReport};
pub use bytes::Bytes;
pub use catalogue::{CatalogueRow, FoldError, PendingTimer, RunStatus};
pub use chain::{Digest, payload_digest};
pub use codec::DecodeError;
pub use conversation_event::{
    ConversationEvent, ConversationOutcome, ExitReason, LeftOut, LeftOutReason, Response, RouteDecision, Selection,
    TimeoutKind,
};
pub use entity::{
    Affinity, AuditEvent, AuditState, Cursor, DEAD_LETTERS_MAX, DeadCause, DeadLetter, DeadLetterEntry,
    DeadLettersEvent, DeadLettersState, Entity, EntityEvent, EntityName, EntityState, GONE_WORKERS_MAX, GoneWorker,
    IllegalEntityEvent, InstanceId, QUEUE_WEIGHTS_MAX, QueueEvent, QueuePause, QueueRate, QueueSettings,
    QueueSettingsError, QueueState, RATE_PERIOD_MAX_MS, RoutingEvent, RoutingReset, RoutingState, Settled, Settlement,
    WORKERS_MAX, WorkerKind, WorkerOffer, WorkerRecord, WorkersEvent, WorkersState,
};
pub use file::{HistoryFile, HistoryFileError};
pub use glance::Glance;
pub use ids::{ConversationKey, IdError, Ordinal, RunId, RunKey, Stream, Timestamp, TokenHash, WorkflowKey};
pub use name::Name;
pub use payload::{Payload, PayloadData, StoredPayload};
pub use record::{Events, FORMAT_VERSION, Record};
pub use routine::{
    Backfill, CatchUp, Change, EndedSlot, IllegalRoutineEvent, OpenSlot, Overlap, RetrySlot, RoutineEnd, RoutineEvent,
    RoutinePatch, RoutineSlot, RoutineSpec, RoutineState, RoutineStatus, RoutineTarget, Schedule, SkipReason, Slot,
    SlotOutcome, rfc3339,
};
pub use routing::{
    FallbackPolicy, Health, Liveness, NoneAvailable, ROUTE_LIST_MAX, RouteError, RouteForm, RoutePolicy, RouteReason,
    RouteRequest,
};
pub use run_event::{Role, RunEvent, RunStarted};
pub use segment::{Segment, SegmentBody};
pub use segment_parts::SegmentParts;
pub use segment_writer::SegmentWriter;
pub use standalone::{RESERVED_PREFIX, STANDALONE};

/// Whether a fault is planted here: `false`, unless a harness has turned the feature `planted` on and planted it. The
/// names are in `history/src/planted.rs`.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($fault:literal) => {
        $crate::planted::is($fault)
    };
}

/// Whether a fault is planted here: `false`, unless a harness has turned the feature `planted` on and planted it. The
/// names are in `history/src/planted.rs`.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($fault:literal) => {
        false
    };
}
