//! ONE DISPATCH. The recorded life of one attempt of one activity, as a pure state machine.
//!
//! ```text
//!  events ──▶ phase (the table) ──▶ Conversation (fold) ──▶ deadlines, next leg, exclusions
//!  Request ──▶ worker ──▶ Reply     always with conversation, leg and token
//! ```
//!
//! [`Phase::next`] says which event may follow which; [`Conversation`] folds a stream into what is known; [`retry`] and
//! [`Deadlines`] compute what the options mean. Nothing here waits, sends or reads a clock.
//!
//! This crate must not know runs, stores, transports or workers' code.

mod conversation;
mod deadline;
mod message;
mod phase;
pub mod retry;
mod token;
pub mod wire;

pub use conversation::{ActivityState, Conversation, Leg};
pub use deadline::{Deadline, Deadlines};
pub use message::{Answer, Request, result_digest};
pub use phase::{IllegalEvent, Phase};
pub use token::{Token, TokenMint};
