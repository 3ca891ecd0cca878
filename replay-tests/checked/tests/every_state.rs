//! The search in small: seconds of what the command does in minutes; and each property seen to fail once.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_checked::model::*;
use antiphon_checked::rules::{Bounds, Kind, Mistake, Rules};
use antiphon_checked::search::search;
use std::time::Duration;

/// So long that no machine reaches it: the searches end by themselves.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[test]
fn every_state_within_narrow_bounds_keeps_its_promises_and_every_end_is_reached() {
    for kind in Kind::ALL {
        let found = search(Rules::new(kind, Bounds::narrow(kind)), 2, FOR_EVER, None);
        assert!(found.failures.is_empty(), "{kind:?}: {:#?}", found.failures);
        assert!(found.exhausted && found.states > 1_000, "{kind:?}: {found:?}");
        println!("{kind:?}: {} states, depth {}", found.states, found.depth);
    }
}

/// The mistake, where it is made, and which promise it breaks.
const MISTAKES: [(Mistake, Kind, &str); 16] = [
    (Mistake::NoFence, Kind::Timed, ONE_OUTCOME),
    (Mistake::NoFence, Kind::Timed, ONE_RESOLUTION),
    (Mistake::ClosedTwice, Kind::Timed, NO_ANOMALY),
    (Mistake::LegLeftOpen, Kind::Timed, ONE_LEG),
    (Mistake::SameLegAgain, Kind::Timed, NEVER_REVIVED),
    (Mistake::SendEarly, Kind::Timed, RECORDED_FIRST),
    (Mistake::TwiceAnyway, Kind::AtMostOnce, SENT_ONCE),
    (Mistake::AnyToken, Kind::Timed, NOTHING_HEEDED),
    (Mistake::AnyHeartbeat, Kind::Timed, NOTHING_HEEDED),
    (Mistake::AnswerAfterEnd, Kind::Timed, NOTHING_HEEDED),
    (Mistake::ClockBehind, Kind::Timed, TIME_GOES_ON),
    (Mistake::WaitUnwritten, Kind::Timed, SAME_AS_RECORD),
    (Mistake::EndlessLosses, Kind::Timed, WITHIN_BUDGET),
    (Mistake::EndlessRetries, Kind::Timed, WITHIN_BUDGET),
    (Mistake::NotTakenUp, Kind::FailFast, CLOSES),
    (Mistake::ClosedTwice, Kind::AtMostOnce, ONE_OUTCOME),
];

#[test]
fn every_mistake_is_found_by_the_promise_that_it_breaks() {
    for mistake in Mistake::ALL {
        assert!(MISTAKES.iter().any(|(tried, ..)| *tried == mistake), "{mistake:?} is tried");
    }
    for (mistake, kind, property) in MISTAKES {
        // Each is found long before the states within these bounds are through.
        let bounds = Bounds { openings: 2, leaves: 1, ..Bounds::narrow(kind) };
        let found = search(Rules::new(kind, bounds).with(mistake), 2, FOR_EVER, Some(property));
        let broken: Vec<&str> = found.failures.iter().map(|failure| failure.property).collect();
        assert_eq!(broken, [property], "{mistake:?} in {kind:?}, {} states", found.states);
        println!(
            "{mistake:?} breaks {property:?} after {} steps, {} states",
            found.failures[0].way.len(),
            found.states
        );
    }
}
