//! The harness of Antiphon's own tests: recorded histories, scripts, house rules.
//!
//! | module | what it is |
//! |---|---|
//! | [`world`] | a partition on paper: inputs and time by hand, every segment kept |
//! | [`pulling`] | workers on paper that ask for their work |
//! | [`programs`] | workflows, kept as long as their recorded histories |
//! | `routines` | routines in a world |
//! | [`scenarios`] | the recordings: how each history in `fixtures/histories` came about |
//! | [`strangers`] | bytes that nobody of ours wrote, and everything that reads them |

pub mod programs;
pub mod pulling;
mod routines;
pub mod scenarios;
pub mod strangers;
pub mod world;
