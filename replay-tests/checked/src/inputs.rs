//! What an engine takes in and lets out, and the tokens of its legs.

use antiphon_conversation::{Token, TokenMint};
use antiphon_history::{ConversationKey, Ordinal, RunKey};

/// One leg, as words name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The attempt, from 1.
    pub attempt: u32,
    /// The leg, from 1.
    pub leg: u32,
}

/// What a body says at its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Says {
    /// A result.
    Completed,
    /// An error that may be tried again.
    Failed,
    /// A panic.
    Panicked,
    /// It was stopped.
    Stopped,
}

/// What can wake an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Time.
    Tick,
    /// The workflow is cancelled.
    Cancel,
    /// A worker has come.
    Joined(usize),
    /// A worker has gone.
    Left(usize),
    /// A body's end.
    Answered(Place, Token, Says),
    /// A body's sign of life.
    Heartbeat(Place, Token),
}

/// What leaves once it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// A request for a worker.
    Dispatch(usize, Place),
    /// The word to stop a leg.
    Cancel(usize, Place),
}

/// The conversation of an attempt of the one activity.
pub fn key(attempt: u32) -> ConversationKey {
    ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt }
}

/// The token that an opening gives to a leg.
pub fn token(opening: u8, place: Place) -> Token {
    TokenMint::new([opening; 32]).token(key(place.attempt), place.leg)
}
