//! The protocol between engine and workers, checked over every way that it can go.
//!
//! ```text
//!  workers a, b ◀── words, lost, repeated, in any order ──▶ engines 0, 1 ── batches ──▶ one log
//!      bodies                                               each with its own clock     fenced by its tip
//! ```
//!
//! A state holds the log's fold, two engines that may both live, the bodies that run and the words on their way. An
//! [`state::Action`] is anything that can happen next: a commit, a crash before or behind it, a take-over, a clock that
//! goes on or leaps, a worker that leaves, a word that arrives, stays or is lost. [`model::Protocol`] gives them to
//! stateright, which goes through all of them; [`witness::Witness`] judges the record as an onlooker, and [`heal::closes`]
//! asks in every state whether the activity still comes to an end.
//!
//! The fold of a conversation, its deadlines, waits and tokens are the real ones. What the engine does with them is written
//! again in [`engine`], and `tests/lockstep.rs` holds it against the real partition.

pub mod engine;
mod hashing;
pub mod heal;
pub mod inputs;
pub mod model;
pub mod record;
pub mod rules;
pub mod search;
pub mod state;
pub mod witness;
