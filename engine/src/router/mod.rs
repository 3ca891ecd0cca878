//! Which worker gets a call: filter, order, pick. Pure, and never replayed: the record holds what it decided.
//!
//! ```text
//!  Snapshot ──filter──▶ candidates ──order──▶ best first ──pick──▶ Routed { worker, why, what moves }
//!             │ who may have it      │ tier, health, labels,        │ policy, cursor, affinity,
//!             ▼                      ▼ list or load, name           ▼ last worker, registered route
//!          left out, each with its reason                     RouteError, if nobody is left
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what is asked and what is seen |
//! | `filter.rs` | who may have the call, and why the others may not |
//! | `order.rs` | who comes before whom |
//! | `pick.rs` | the eight policies |
//! | `request.rs` | what operators ask |
//!
//! One call works on one snapshot and moves nothing by itself: a cursor or a key moves with the event that says so.

mod filter;
mod order;
mod pick;
mod request;
#[cfg(test)]
mod tests;

use antiphon_history::{Health, Liveness, Name, RouteRequest, Selection};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

pub use filter::{Filtered, filter};
pub use pick::{claim, order, route};
pub use request::{RoutingReply, RoutingRequest};

/// What several workers offer alike. A snapshot holds each offer once, so that names are compared once per offer and not
/// once per worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer<'a> {
    /// The task queues.
    pub queues: &'a BTreeSet<String>,
    /// The activities.
    pub activities: &'a BTreeSet<String>,
    /// The labels.
    pub labels: &'a BTreeSet<String>,
}

/// One worker as the router sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its durable name.
    pub name: &'a Name,
    /// Which offer it makes, as the index in the snapshot.
    pub offer: usize,
    /// Requests that it takes at once.
    pub capacity: u32,
    /// Requests that it has; `None` if nobody knows.
    pub in_flight: Option<u32>,
    /// How well it is.
    pub health: Health,
    /// Whether it is there.
    pub liveness: Liveness,
    /// A digest of its name and all that it offers; see [`digest`].
    pub digest: u64,
}

impl Seen<'_> {
    fn free(&self) -> u32 {
        self.capacity.saturating_sub(self.in_flight.unwrap_or(0))
    }
}

/// All workers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot<'a> {
    /// What the workers offer.
    pub offers: Vec<Offer<'a>>,
    /// The workers, in the order of their names, each name once.
    pub workers: Vec<Seen<'a>>,
}

impl<'a> Snapshot<'a> {
    /// The place of a worker.
    fn find(&self, name: &str) -> Option<usize> {
        self.workers.binary_search_by(|seen| seen.name.as_str().cmp(name)).ok()
    }

    /// A digest of everything in the snapshot but the order of its offers. A sum over the workers, so that none of them has
    /// to wait for the one before it; who it is stands in each one's own digest.
    pub fn digest(&self) -> u64 {
        self.workers.iter().fold(0x9e37_79b9_7f4a_7c15, |sum, seen| {
            let load = seen.in_flight.map_or(u64::MAX >> 16, u64::from);
            let state = load << 16 | (seen.health as u64) << 8 | seen.liveness as u64;
            sum.wrapping_add(mix(seen.digest, state))
        })
    }
}

/// Stirs a word into a digest: multiply and fold, enough to tell snapshots apart, not against forgers.
fn mix(sum: u64, word: u64) -> u64 {
    let product = u128::from(sum ^ word) * 0xd6e8_feb8_6659_fd93_u128;
    (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(32)
}

/// The digest of a worker's name, offer and capacity, for [`Seen::digest`]. Computed once, when it joins.
pub fn digest(name: &str, offer: Offer<'_>, capacity: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(name);
    for set in [offer.queues, offer.activities, offer.labels] {
        text(&set.len().to_string());
        set.iter().for_each(|entry| text(entry));
    }
    hasher.update(&capacity.to_le_bytes());
    let mut first = [0u8; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// What is asked of the router: one call, the request in force, and what earlier choices left behind.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The task queue.
    pub queue: &'a str,
    /// The activity.
    pub activity_type: &'a str,
    /// Labels that the call needs.
    pub needs: &'a [String],
    /// The request, all layers laid over each other and checked.
    pub request: &'a RouteRequest,
    /// Workers that lost an earlier leg: left out as long as another may have the call, even if that one is full.
    pub lost: &'a [Name],
    /// The worker of the attempt before, for `failover`; the request's own word goes before it.
    pub last: Option<&'a Name>,
    /// The worker that the cursor stands on, for `round_robin` and `sticky`.
    pub cursor: Option<&'a Name>,
    /// The worker that has the key, for `sticky`.
    pub bound: Option<&'a Name>,
    /// Count full workers as candidates: to learn whether somebody could ever have the call.
    pub even_if_full: bool,
}

impl Ask<'_> {
    fn labels(&self) -> impl Iterator<Item = &String> {
        self.needs.iter().chain(&self.request.require)
    }

    fn last(&self) -> Option<&str> {
        self.request.last.as_ref().or(self.last).map(Name::as_str)
    }
}

/// A choice, and what moves with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// The worker.
    pub worker: Name,
    /// What is recorded of the choice.
    pub why: Selection,
    /// The cursor stands on the chosen worker from now on.
    pub moves_cursor: bool,
    /// The key is the chosen worker's from now on.
    pub binds_key: bool,
}

/// One candidate, as a registered route sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The worker's durable name.
    pub worker: Name,
    /// Requests that it takes at once.
    pub capacity: u32,
    /// Requests that it has; `None` if nobody knows.
    pub in_flight: Option<u32>,
    /// How well it is.
    pub health: Health,
}

/// What a registered route is asked: the call and the workers that may have it, best first.
#[derive(Debug)]
pub struct CustomAsk<'a> {
    /// The task queue.
    pub queue: &'a str,
    /// The activity.
    pub activity_type: &'a str,
    /// The affinity key, if the call has one.
    pub affinity_key: Option<&'a str>,
    /// At least one.
    pub candidates: &'a [Candidate],
}

/// A route that a program registers under a name: it names one of the candidates, or none, which means to wait.
///
/// It is asked once per choice and never in replay; what it says is recorded. It should be quick: the partition waits.
pub type CustomRoute = Arc<dyn Fn(&CustomAsk<'_>) -> Option<Name> + Send + Sync>;

/// What a guard is asked: may this worker have this call?
#[derive(Debug)]
pub struct GuardAsk<'a> {
    /// The task queue.
    pub queue: &'a str,
    /// The activity.
    pub activity_type: &'a str,
    /// The workflow id of the run that calls.
    pub workflow_id: &'a str,
    /// The request in force.
    pub request: &'a RouteRequest,
    /// The worker that was chosen.
    pub worker: &'a str,
}

/// A guard that a program registers under a name: `Err` with a reason refuses the choice, and the call with it.
pub type Guard = Arc<dyn Fn(&GuardAsk<'_>) -> Result<(), String> + Send + Sync>;

/// The routes and guards that this program has, by name.
#[derive(Clone, Default)]
pub struct Routes {
    customs: std::collections::BTreeMap<Name, CustomRoute>,
    guards: std::collections::BTreeMap<Name, Guard>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("customs", &self.customs.keys()).field("guards", &self.guards.keys()).finish()
    }
}

impl Routes {
    /// Registers a route. False, and nothing changes, if the name is taken.
    pub fn add_custom(&mut self, name: impl Into<Name>, route: CustomRoute) -> bool {
        let entry = self.customs.entry(name.into());
        let vacant = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
        entry.or_insert(route);
        vacant
    }

    /// Registers a guard. False, and nothing changes, if the name is taken.
    pub fn add_guard(&mut self, name: impl Into<Name>, guard: Guard) -> bool {
        let entry = self.guards.entry(name.into());
        let vacant = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
        entry.or_insert(guard);
        vacant
    }

    /// The route of a name.
    pub fn custom(&self, name: &str) -> Option<&CustomRoute> {
        self.customs.get(name)
    }

    /// The guard of a name.
    pub fn guard(&self, name: &str) -> Option<&Guard> {
        self.guards.get(name)
    }
}
