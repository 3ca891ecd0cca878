//! Routines: what is decided about them, without a partition.
//!
//! | file | decides |
//! |---|---|
//! | `calendar.rs` | what reads cron expressions and zones, from outside |
//! | `grid.rs` | which moments a schedule has |
//! | `guard.rs` | who may say no to one that is to be created or changed |
//! | `decide.rs` | what happens to a routine's next slot: started, buffered, skipped |
//! | `check.rs` | which specifications are refused, and why |
//! | `index.rs` | how routines are found by id, by key and by when they are due |
//! | `request.rs` | what callers may ask, and what they are told |
//! | `error.rs` | why a request changed nothing |

mod calendar;
mod check;
mod decide;
mod error;
mod grid;
mod guard;
mod index;
mod request;

pub use calendar::{Calendar, CalendarError, NoCalendar};
pub(crate) use check::check_spec;
pub(crate) use decide::{Other, Step, decide, followed};
pub use error::RoutineError;
pub(crate) use grid::{first_slot, following};
pub use guard::{RoutineAsk, RoutineGuard, RoutineGuards};
pub(crate) use index::Routines;
pub use request::{Ran, RanSlot, RoutineFilter, RoutineView, RoutinesReply, RoutinesRequest};
