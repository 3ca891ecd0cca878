//! What workers said of their legs, and what they were told: the record is held against it.

use antiphon_conversation::result_digest;
use antiphon_history::{ConversationKey, Payload, Response, Timestamp};
use std::collections::BTreeMap;

/// What a worker said of a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Given {
    Completed(u64),
    Failed { code: u64, retryable: bool, retry_after_ms: Option<u64> },
    Nothing,
}

impl Given {
    /// Whether a recorded response may come from this answer.
    pub(crate) fn fits(&self, response: &Response) -> bool {
        match (self, response) {
            (Given::Completed(_), Response::Completed { .. }) => true,
            (Given::Failed { retryable, .. }, Response::Failed { retryable: recorded, .. }) => retryable == recorded,
            _ => false,
        }
    }
}

/// Which leg.
pub(crate) type LegKey = (ConversationKey, u32);

/// What was said and told of every leg.
#[derive(Default)]
pub(crate) struct Told {
    answers: BTreeMap<LegKey, Vec<Given>>,
    held: BTreeMap<LegKey, Hold>,
}

/// Until when a worker may rely on a leg.
#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Timestamp,
    /// The length of the lease on record.
    lease_ms: u64,
}

impl Told {
    /// A worker of the engine's process ends a leg. It has one word: only the first counts.
    pub(crate) fn says_first(&mut self, leg: LegKey, given: Given) {
        self.answers.entry(leg).or_insert_with(|| vec![given]);
    }

    /// A worker elsewhere ends a leg. If it hears nothing it may say something else the next time.
    pub(crate) fn says(&mut self, leg: LegKey, given: Given) {
        self.answers.entry(leg).or_default().push(given);
    }

    /// Everything that was said of a leg by who had its token.
    pub(crate) fn answers(&self, leg: LegKey) -> &[Given] {
        self.answers.get(&leg).map_or(&[], Vec::as_slice)
    }

    /// A worker was told that it has a leg until then; it may itself have asked for a shorter time than before.
    pub(crate) fn may_hold(&mut self, leg: LegKey, until: Timestamp, lease_ms: u64) {
        self.held.insert(leg, Hold { until, lease_ms });
    }

    /// Its worker asks for a time that ends then: it may rely on no longer one from now on, whatever it was told.
    pub(crate) fn asks_for(&mut self, leg: LegKey, until: Timestamp) {
        if let Some(hold) = self.held.get_mut(&leg) {
            hold.until = hold.until.min(until);
        }
    }

    /// Until when its worker may rely on a leg.
    pub(crate) fn held_until(&self, leg: LegKey) -> Option<Timestamp> {
        self.held.get(&leg).map(|hold| hold.until)
    }

    /// The engine begins anew: leases count from now, over their length on record. Another length is forgotten.
    pub(crate) fn restarted(&mut self, now: Timestamp) {
        self.held.values_mut().for_each(|hold| hold.until = hold.until.min(now.plus_ms(hold.lease_ms)));
    }
}

/// Whether a recorded response is the digest of this result.
pub(crate) fn is_of(response: &Response, result: &[Payload]) -> bool {
    let (ours, bytes) = result_digest(result);
    matches!(response, Response::Completed { digest, len } if (*digest, *len) == (ours, bytes))
}
