//! Durable workflows in plain Rust.
//!
//! ```no_run
//! use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, workflow};
//!
//! #[activity]
//! async fn greet(_act: ActivityContext, name: String) -> Result<String, Never> {
//!     Ok(format!("Hello, {name}!"))
//! }
//!
//! #[workflow]
//! async fn hello(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<String, CallError<Never>> {
//!     Ok(ctx.call(greet(name)).await?)
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let app = Antiphon::open("data").workflow(hello).activity(greet).start()?;
//!     println!("{}", app.run("hello-1", hello("world".to_owned())).await?);
//!     Ok(())
//! }
//! ```
//!
//! Kill the process at any moment and start it again: the workflow goes on where it was. Every dispatch of an activity
//! is a recorded conversation, durable before anything leaves the process; replay reads the record and nothing else.
//!
//! | to | use |
//! |---|---|
//! | write activities and workflows | [`activity`], [`workflow`], [`ActivityContext`], [`WorkflowContext`], [`race!`] |
//! | run them | [`Antiphon::open`], [`Builder`], [`RunHandle`] |
//! | start them by a schedule | [`Antiphon::routines`], [`Routine`], [`Builder::run_routines`] |
//! | look after what is stuck | [`Antiphon::repair`], [`Repair`] |
//! | run one activity on its own, or elsewhere | [`Antiphon::schedule`], [`Antiphon::pull_worker`], [`Antiphon::workers`] |
//! | test them | [`Antiphon::test`], [`Builder::replay`], [`ActivityContext::unit_test`] |

// The macros name this crate by its public name, also inside it.
extern crate self as antiphon;

mod activity_context;
mod app;
mod args;
mod call;
mod child_worker;
mod combine;
mod context;
mod definition;
mod duration;
mod error;
mod handle;
mod on_demand;
mod options;
mod outcome;
mod pool;
mod program;
mod pull;
mod queues;
mod repair;
mod route;
mod routine;
mod routines;
mod routing;
mod standalone;
mod testing;
mod value;
mod workers;
mod workflow_call;

pub use activity_context::ActivityContext;
pub use antiphon_engine::router::{Candidate, CustomAsk, GuardAsk, Routed};
pub use antiphon_engine::{
    ATTEMPTS_MAX, AttemptState, AttemptView, Attempts, AttemptsAsk, BACKING_OFF, Explanation, Finding, IdReuse,
    LEASE_ENDED, Letters, ProgramError, Programs, QueueStats, QueueView, Ran, RanSlot, RepairError, Replayed, Report,
    RequestError as RefusedRequest, RoutineAsk, RoutineError, RoutineFilter, RoutineView, Rule, RuleStats, Stats,
    Thresholds, Wait, Why, WorkerEntry, WorkerSpec, WorkerView, WorkersError,
};
pub use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, Affinity, Backfill, BlockedReason, CatalogueRow, CatchUp, Change,
    ConversationKey, Cursor, DeadCause, DeadLetter, DeadLetterEntry, Digest, EndedSlot, FallbackPolicy, GoneWorker,
    Health, HistoryFile, HistoryFileError, IdError, InstanceId, LeftOut, LeftOutReason, Liveness, Name, OpenSlot,
    Ordinal, Overlap, Payload, QueueRate, QueueSettings, QueueSettingsError, QueueState, RetryPolicy, RetrySlot,
    RouteDecision, RouteError, RoutePolicy, RouteRequest, RoutineEnd, RoutinePatch, RoutineSlot, RoutineSpec,
    RoutineState, RoutineStatus, RoutineTarget, RoutingReset, RoutingState, RunEvent, RunId, RunKey, RunStatus,
    Schedule, Selection, Settled, Settlement, Site, SkipReason, Slot, SlotOutcome, TimeoutKind, Timestamp, WorkerKind,
    WorkflowKey,
};
pub use antiphon_macros::{activity, workflow};
pub use antiphon_recorder::{Durability, Filter};
#[cfg(feature = "cron")]
pub use antiphon_runtime::WallCalendar;
pub use antiphon_runtime::child::ChildError;
pub use antiphon_runtime::{Config, StartError, Status};
pub use app::{Builder, OpenError};
pub use args::Args;
pub use call::Call;
pub use child_worker::ChildWorker;
pub use combine::{EachAsDone, Join, JoinAll};
pub use context::{Cancelled, PendingCall, SideEffect, Signal, Sleep, WorkflowContext};
pub use definition::{ActivityDefinition, ActivityHandle, WorkflowDefinition, WorkflowHandle};
pub use duration::{days, hours, millis, minutes, secs};
pub use error::{CallError, CallRefused, EngineError, Error, Never, OptionError, OrApp, Result};
pub use handle::{Antiphon, RequestError, RunError, RunHandle};
pub use pool::Pool;
pub use pull::{PullWorker, PullWorkerHandle};
pub use queues::Queues;
pub use repair::Repair;
pub use route::Route;
pub use routine::{Routine, RoutineCall, timestamp};
pub use routines::{Routines, RoutinesError};
pub use routing::Routing;
pub use standalone::{ActivityError, ActivityRun};
pub use testing::ReplayError;
pub use value::{DecodeError, EncodeError, Place, decode, encode};
pub use workers::{Workers, WorkersList};
pub use workflow_call::{WorkflowCall, WorkflowParts};

/// For the macros only; nothing here is promised.
#[doc(hidden)]
pub mod __private {
    pub use crate::combine::{First, first};
    pub use crate::definition::{Fallible, WorkflowFallible};
}
