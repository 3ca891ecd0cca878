//! Faults that are planted on purpose, so that the harnesses can show that they would notice.
//!
//! `planted!("name")` stands where a mistake could have been made. It is `false`, and costs nothing, unless this crate's
//! feature `planted` is on, which nothing but the harnesses turns on. Then one fault at a time can be planted: by
//! [`plant`], or for another process by the environment variable [`VARIABLE`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The environment variable that plants a fault in a process from its start.
pub const VARIABLE: &str = "ANTIPHON_PLANTED";

/// A mistake that could have been made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What it is called where it stands.
    pub name: &'static str,
    /// What goes wrong, in one sentence.
    pub does: &'static str,
    /// Which promise is broken, by the number of the invariant in `engine/src/check.rs`.
    pub invariant: u8,
    /// Which harness must notice.
    pub caught_by: &'static str,
}

/// All of them, by name.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "acknowledge-before-durable",
        does: "callers are answered and requests leave before the commit",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "lost-wake-up",
        does: "no thread of a partition is ever woken by another",
        invariant: 9,
        caught_by: "schedules",
    },
    Fault {
        name: "anchor-ignored",
        does: "a store whose log lost its end is opened as if nothing had happened",
        invariant: 1,
        caught_by: "rot",
    },
    Fault {
        name: "segment-chain-not-checked",
        does: "a segment is taken for the next one whatever its digest says",
        invariant: 2,
        caught_by: "rot",
    },
    Fault {
        name: "history-chain-not-checked",
        does: "records are handed out although they do not end in the tip of their run's row",
        invariant: 2,
        caught_by: "rot",
    },
    Fault {
        name: "payload-digest-not-checked",
        does: "a large payload is handed out with a history although its bytes are not what its name says",
        invariant: 2,
        caught_by: "rot",
    },
    Fault {
        name: "row-checksum-not-checked",
        does: "a catalogue row is handed out although its checksum is wrong",
        invariant: 6,
        caught_by: "rot",
    },
    Fault {
        name: "files-not-watched",
        does: "an engine goes on to acknowledge although its files were removed",
        invariant: 1,
        caught_by: "rot",
    },
    Fault {
        name: "length-not-bounded",
        does: "memory is taken for the length that squeezed bytes claim",
        invariant: 7,
        caught_by: "rot",
    },
    Fault {
        name: "depth-not-bounded",
        does: "the decoder of events follows any nesting down its stack",
        invariant: 7,
        caught_by: "rot",
    },
    Fault {
        name: "trailing-bytes-accepted",
        does: "bytes behind the end of an event are passed over",
        invariant: 2,
        caught_by: "rot",
    },
    Fault {
        name: "log-not-synced",
        does: "the log asks for NORMAL where FULL was promised",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "archive-not-synced",
        does: "the archive is not synced, though the log lets go of what the archive has",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "anchor-not-written",
        does: "the anchor stays where the opening put it",
        invariant: 6,
        caught_by: "breaking",
    },
    Fault {
        name: "anchor-ahead-of-log",
        does: "the anchor names a segment that is not there yet",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "log-pruned-before-archived",
        does: "the log lets go of segments that the archive has not taken over",
        invariant: 2,
        caught_by: "breaking",
    },
    Fault {
        name: "watermark-before-batch",
        does: "the watermark moves in a commit of its own, before its batch",
        invariant: 6,
        caught_by: "breaking",
    },
    Fault {
        name: "folder-not-synced",
        does: "created and renamed names are not synced",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "unknown-taken-as-applied",
        does: "a commit of unknown result counts as done",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "released-though-failed",
        does: "answers and requests leave although the append failed",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "payload-left-out",
        does: "large payloads are not written with their batch",
        invariant: 6,
        caught_by: "breaking",
    },
    Fault {
        name: "tail-not-folded",
        does: "an opening leaves the log's tail out of the archive",
        invariant: 6,
        caught_by: "breaking",
    },
    Fault {
        name: "open-runs-forgotten",
        does: "an opening loads no run that needs care",
        invariant: 9,
        caught_by: "breaking",
    },
    Fault {
        name: "lock-not-minded",
        does: "a second engine opens a store that is open",
        invariant: 5,
        caught_by: "breaking",
    },
    Fault {
        name: "half-creation-refused",
        does: "a store whose first creation was interrupted is taken for a damaged one",
        invariant: 1,
        caught_by: "breaking",
    },
    Fault {
        name: "upgraded-in-two-steps",
        does: "a store calls itself of the newest format before it is",
        invariant: 2,
        caught_by: "breaking",
    },
    Fault {
        name: "released-before-durable",
        does: "the shell of the simulation lets effects go before the segment is durable",
        invariant: 1,
        caught_by: "simulation",
    },
    Fault {
        name: "token-compared-by-half",
        does: "only the first half of a token is looked at",
        invariant: 5,
        caught_by: "simulation",
    },
    Fault {
        name: "late-answer-accepted",
        does: "an answer for an earlier leg, with an old token, ends the leg under way",
        invariant: 5,
        caught_by: "simulation",
    },
    Fault {
        name: "outcome-without-attempt",
        does: "an answer counts for whichever attempt is under way",
        invariant: 5,
        caught_by: "simulation",
    },
    Fault {
        name: "timer-rounded-down",
        does: "a timer that is due within the next second fires now",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "combinator-not-woken",
        does: "a combinator is not told that a call in an even place has ended",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "held-arrivals-reversed",
        does: "what came while a run was blocked is taken in the other way round",
        invariant: 3,
        caught_by: "simulation",
    },
    Fault {
        name: "block-forgets-its-arrival",
        does: "a block does not say that the arrival before it was not taken in",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "cancel-forgotten-on-load",
        does: "a run that is loaded does not know that it was asked to cancel",
        invariant: 6,
        caught_by: "simulation",
    },
    Fault {
        name: "deadline-not-indexed",
        does: "deadlines of activities are computed and noted nowhere",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "engine-restart-costs-nothing",
        does: "a leg that an engine's end cut off does not count as a loss",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "one-attempt-too-many",
        does: "one attempt more than the policy allows",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "one-loss-too-few",
        does: "one lost leg less than the call allows",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "at-most-once-sent-again",
        does: "a lost leg of a call that must not run twice is sent again",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "resolved-before-closed",
        does: "the outcome is given to the workflow and the conversation is left open",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "retry-without-wait",
        does: "the next attempt does not back off",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "signal-id-forgotten",
        does: "request ids of signals are not remembered",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "evicted-before-archived",
        does: "a waiting run leaves memory although the archive has not all of it",
        invariant: 2,
        caught_by: "simulation",
    },
    Fault {
        name: "timer-lost-on-load",
        does: "timers of a loaded run are in no index",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "cold-timer-forgotten",
        does: "nobody is told when the timer of an evicted run is due",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "excluded-worker-chosen",
        does: "a worker that lost a leg is chosen again although another is there",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "second-run-for-one-id",
        does: "a start of an id that is taken makes another run",
        invariant: 1,
        caught_by: "simulation",
    },
    Fault {
        name: "in-flight-one-too-many",
        does: "a queue lets one leg more be under way than its limit",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "pause-ignored-for-claims",
        does: "workers that ask get calls of a queue that is paused, full or ahead of its rate",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "rate-full-at-restart",
        does: "an engine begins with all that the rates of its queues allow at once",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "limit-key-dropped-on-retry",
        does: "a call gives its limit key back between two attempts",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault { name: "urgency-reversed", does: "the less urgent goes first", invariant: 4, caught_by: "simulation" },
    Fault {
        name: "drained-worker-chosen",
        does: "a worker that drains gets new calls",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "leg-forgotten-at-a-death",
        does: "the first leg of a worker that dies or leaves stays under way",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "repair-without-fence",
        does: "a repair does not look whether what was found still holds",
        invariant: 5,
        caught_by: "simulation",
    },
    Fault {
        name: "held-call-not-listed",
        does: "a call whose budgets are used up is not among the dead letters",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "discarded-call-runs-again",
        does: "a held call that is given up is tried again",
        invariant: 4,
        caught_by: "simulation",
    },
    Fault {
        name: "lease-ends-early",
        does: "a lease ends one millisecond before its end",
        invariant: 9,
        caught_by: "simulation",
    },
    Fault {
        name: "cursor-not-recorded",
        does: "whose turn it was is not written down with a choice in turn",
        invariant: 4,
        caught_by: "simulation",
    },
];

const NONE: usize = usize::MAX;
static PLANTED: OnceLock<AtomicUsize> = OnceLock::new();

#[allow(clippy::disallowed_methods, reason = "a process under test is told its fault from outside")]
fn planted() -> &'static AtomicUsize {
    PLANTED.get_or_init(|| {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        AtomicUsize::new(if name.is_empty() { NONE } else { place(&name) })
    })
}

fn place(name: &str) -> usize {
    let place = FAULTS.iter().position(|fault| fault.name == name);
    place.unwrap_or_else(|| panic!("there is no fault {name:?} to plant"))
}

/// Plants one fault in this process instead of the one before; `None`: none. Panics if there is no such fault.
pub fn plant(name: Option<&str>) {
    planted().store(name.map_or(NONE, place), Ordering::Relaxed);
}

/// Whether a fault is planted. Use it by [`crate::planted!`].
pub fn is(name: &str) -> bool {
    let planted = planted().load(Ordering::Relaxed);
    planted != NONE && FAULTS[planted].name == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_is_planted_at_a_time() {
        assert!(!is(FAULTS[0].name));
        plant(Some(FAULTS[0].name));
        assert!(crate::planted!("acknowledge-before-durable"));
        assert!(!is("another"));
        plant(None);
        assert!(!is(FAULTS[0].name));
    }

    #[test]
    fn every_fault_has_a_name_of_its_own_and_says_what_it_breaks() {
        for (place, fault) in FAULTS.iter().enumerate() {
            assert!(FAULTS[..place].iter().all(|other| other.name != fault.name), "{}", fault.name);
            assert!((1..=10).contains(&fault.invariant), "{}", fault.name);
        }
    }
}
