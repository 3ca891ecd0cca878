//! What happened outside: every beginning and every end of a body, noted by a process that is never killed.

use crate::words::{LegName, Moment};
use std::collections::BTreeMap;

/// What is known of one leg's body.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// How often it began, with the nonce of each.
    pub nonces: Vec<u64>,
    /// The digests of its inputs.
    pub inputs: Vec<String>,
    /// How it was about to return: the digest of a result, or `None` for an error.
    pub left: Vec<Option<String>>,
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    legs: BTreeMap<LegName, Noted>,
    last: u64,
}

impl Ledger {
    /// Notes a moment; returns the leg's nonce.
    pub fn note(&mut self, leg: LegName, moment: Moment) -> u64 {
        let noted = self.legs.entry(leg).or_default();
        match moment {
            Moment::Entered { input } => {
                self.last += 1;
                noted.nonces.push(self.last);
                noted.inputs.push(input);
                self.last
            }
            Moment::Left { nonce, result } => {
                noted.left.push(result);
                nonce
            }
        }
    }

    /// All legs whose bodies began.
    pub fn legs(&self) -> impl Iterator<Item = (&LegName, &Noted)> {
        self.legs.iter()
    }

    /// One leg.
    pub fn get(&self, leg: &LegName) -> Option<&Noted> {
        self.legs.get(leg)
    }

    /// How many bodies began.
    pub fn begun(&self) -> u64 {
        self.last
    }
}
