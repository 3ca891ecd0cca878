//! ACTS. The only place where deciding and keeping meet: threads, clock, local workers, handles.
//!
//! ```text
//!  handles, workers ──▶ Inbox ──▶ partition thread ──Batch──▶ writer thread ──segment──▶ keeper thread
//!      ▲                            (engine steps)            (one commit,               (archive, anchor,
//!      └──────── replies, requests ◀── released only ──────────  durable)                 checkpoints, pruning)
//! ```
//!
//! The partition thread takes all waiting messages, steps the engine for each and hands one batch to the writer; while
//! that batch syncs, the next one forms. The writer releases a batch's effects when its segment is durable, never
//! before (invariant 1). If a commit fails, everything in memory is dropped and built again from the store.
//!
//! This crate must not know SQL, HTTP or how a decision is made.

mod backlog;
#[cfg(feature = "cron")]
mod calendar;
pub mod child;
mod clock;
mod config;
mod error;
mod handle;
mod inbox;
mod keeper;
mod local;
mod operate;
mod pull;
mod release;
mod runtime;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;
mod session;
mod shell;
mod store;
mod sync;
mod tell;
mod worker;
mod writer;

#[cfg(feature = "cron")]
pub use calendar::WallCalendar;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::Config;
pub use error::{Error, StartError};
pub use handle::{Handle, Status};
pub use local::{ActivityBody, BodyFuture, LocalPool, Task};
pub use operate::{OperateError, Operated, operate};
pub use pull::{Puller, RunningPuller};
pub use runtime::Runtime;
pub use store::{MemorySource, SqliteFolder, StoreSource};
pub use worker::{Responder, Worker};
