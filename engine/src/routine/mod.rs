//! Routines: what is decided about them, without a partition.

mod calendar;

pub use calendar::{Calendar, CalendarError, NoCalendar};
