//! DECIDES. The core of Antiphon: pure, synchronous, deterministic.
//!
//! ```text
//!  Input ──▶ Partition::step ──▶ events ──┐
//!                 │                       ├──▶ take() ──▶ Batch { segment, effects }
//!                 └──────────▶ effects ───┘               effects are valid once the segment is durable
//!
//!  Run = RunState (fold of its records) + Driver (the workflow future, polled with our own waker)
//! ```
//!
//! What can wake the engine is one enum ([`Input`]), what it can do to the world another ([`Effect`]). Time, secrets and
//! stored histories are arguments. Replay is the same driver fed from the record ([`replay`]).
//!
//! This crate must not know a store, tokio, a clock, randomness or the environment.

mod attempts;
mod batch;
mod check;
mod config;
mod context;
mod desk;
mod dispatch;
mod divergence;
mod driver;
mod effect;
mod entities;
mod explain;
mod input;
mod ordinals;
mod partition;
mod program;
mod queues;
mod recorded;
mod repair;
mod replay;
pub mod router;
mod routine;
mod run;
mod standalone;
mod state;
mod waits;
mod workers;
mod workers_error;

pub use attempts::{ATTEMPTS_MAX, AttemptState, AttemptView, Attempts, AttemptsAsk};
pub use batch::Batch;
pub use check::Broken;
pub use config::{Config, SEMANTICS};
pub use context::Context;
pub use dispatch::{WaitReason, WorkerSpec, WorkerView};
pub use effect::{Effect, Reply, ReplyTo, RequestError, RunOutcome};
pub use explain::{Explanation, WAITS_MAX, Wait, Why};
pub use input::{IdReuse, Input, StartRequest, Target};
pub use partition::{LEASE_MAX_MS, LoadError, Need, Operation, OperationError, Origin, Partition, Stats, WAIT_MAX_MS};
pub use program::{Ending, Program, ProgramError, Programs, RunFuture};
pub use queues::{BACKING_OFF, LEASE_ENDED, QueueStats, QueueView, QueuesReply, QueuesRequest};
pub use repair::{
    By, FINDINGS_MAX, Finding, LETTERS_MAX, Letters, RepairError, RepairReply, RepairRequest, Report, Rule, RuleStats,
    Thresholds, Which,
};
pub use replay::{Replayed, replay, replay_prefix};
pub use routine::{
    Calendar, CalendarError, NoCalendar, Ran, RanSlot, RoutineAsk, RoutineError, RoutineFilter, RoutineGuard,
    RoutineGuards, RoutineView, RoutinesReply, RoutinesRequest,
};
pub use waits::{ActivityWait, CancelWait, SideEffectWait, SignalWait, TimerWait};
pub use workers::{AnsweredLeg, Claim, ClaimRequest, LegRef, Past, WorkerEntry, WorkersReply, WorkersRequest};
pub use workers_error::{Fence, OverReason, WorkerProblem, WorkersError};
