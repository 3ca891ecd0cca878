//! The command line `antiphon`: asks a store what happened, who did it and why it is stuck.
//!
//! ```text
//!  store folder ──snapshot──▶ Reader ──▶ CatalogueRow ──────────────▶ list, stats, check
//!                                  └───▶ HistoryFile ──▶ Timeline ──▶ show, dump, export
//!  history file ───────────────────────────▲                 inspect, replay
//! ```
//!
//! Reading needs no running engine and may go on beside one: readers see whatever is durable. Acting is one step of the
//! engine on a store that no engine has open (`antiphon_runtime::operate`). What people see is folded by the code that
//! decides (invariant 10): rows by `antiphon-history`, conversations by `antiphon-conversation`, replays and explanations by
//! `antiphon-engine`.
//!
//! The same commands can live in a user's own binary, where [`cli::run_with`] adds `replay` and `check`:
//!
//! ```no_run
//! # fn builder() -> antiphon_engine::Programs { antiphon_engine::Programs::default() }
//! fn main() -> std::process::ExitCode {
//!     // With the crate `antiphon`: Antiphon::open("data").workflow(order).programs()
//!     let programs = builder();
//!     antiphon_server::cli::run_with(programs, std::env::args_os())
//! }
//! ```
//!
//! This crate must not write to a store but through the engine, and must not fold events by rules of its own.

pub mod cli;
