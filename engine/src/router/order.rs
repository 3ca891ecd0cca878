use super::filter::{Filtered, Tier};
use super::{Ask, Snapshot};
use antiphon_history::{Health, RoutePolicy};
use std::cmp::Ordering;

/// A candidate with all that its rank depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    /// What orders tiers, health, labels and places in lists, in one number: the smaller, the better.
    pub(super) rank: u64,
    /// Requests that it has, and places in all.
    load: (u32, u32),
    /// Its place in the snapshot: names are unique, so no two candidates rank equal.
    pub(super) at: u32,
}

// From the most to the least significant.
const LABELS_FIRST: u32 = 32;
const TIER: u32 = 24;
const DEGRADED: u32 = 23;
const LABELS: u32 = 15;
const PLACE: u32 = 1;

impl Ranked {
    pub(super) fn tier(&self) -> Tier {
        match self.rank >> TIER & 3 {
            0 => Tier::Preferred,
            1 => Tier::Fallback,
            _ => Tier::Remaining,
        }
    }

    /// Tier, health and labels alone: those who are equal in it take turns.
    pub(super) fn group(&self) -> u64 {
        self.rank >> LABELS
    }
}

/// The second stage: every candidate with its rank, in no order yet.
///
/// Tiers come first: preferred, fallback, remaining. Within a tier healthy workers come before degraded ones, then more
/// of the preferred labels before fewer. Then the place in the list decides, and where no list orders, or the policy is
/// `least_loaded`, the load; who tells no load comes last. At the end the name decides, so that the same workers always
/// have the same order.
pub(super) fn ranks(ask: &Ask<'_>, snapshot: &Snapshot<'_>, filtered: &Filtered) -> Vec<Ranked> {
    let policy = ask.request.policy();
    let (by_load, labels_first) = (ask.request.is_by_load(), policy == RoutePolicy::CapabilityFirst);
    let load_over_list = by_load && policy == RoutePolicy::LeastLoaded;
    let rank = |&at: &u32| {
        let (seen, mark) = (&snapshot.workers[at as usize], &filtered.marks[at as usize]);
        let lacking = u64::from(u8::MAX - filtered.fits[seen.offer].labels);
        let degraded = u64::from(mark.health.unwrap_or(seen.health) == Health::Degraded);
        let listed = mark.tier != Tier::Remaining && !load_over_list;
        let place = if listed { u64::from(mark.place) + 1 } else { 0 };
        let unknown = u64::from(!listed && seen.in_flight.is_none());
        let labels = if labels_first { lacking << LABELS_FIRST } else { lacking << LABELS };
        let rank = labels | (mark.tier as u64) << TIER | degraded << DEGRADED | place << PLACE | unknown;
        let load = if by_load && !listed { (seen.in_flight.unwrap_or(0), seen.capacity) } else { (0, 1) };
        Ranked { rank, load, at }
    };
    filtered.candidates.iter().map(rank).collect()
}

/// Who comes before whom. Loads are compared as shares, in whole numbers: a/b < c/d is a·d < c·b.
pub(super) fn compare(one: &Ranked, other: &Ranked) -> Ordering {
    let share = |one: &Ranked, other: &Ranked| u64::from(one.load.0) * u64::from(other.load.1);
    one.rank.cmp(&other.rank).then_with(|| share(one, other).cmp(&share(other, one))).then(one.at.cmp(&other.at))
}
