use antiphon_history::{RoutineState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How the routines of a partition are found. Derived from their states, which are all in memory.
#[derive(Debug, Default)]
pub(crate) struct Routines {
    count: usize,
    /// The routine of an idempotency key.
    requests: BTreeMap<String, String>,
    /// Those for which there is something to do at some moment, by the moment, then by id.
    due: BTreeSet<(Timestamp, String)>,
    entries: BTreeMap<String, Timestamp>,
    /// The engine took no new runs: it does not try again by itself before this moment.
    pub(crate) held_until: Timestamp,
}

impl Routines {
    /// Most routines of one store: all are in memory while the engine runs, some 1.6 KiB each with a small input.
    pub(crate) const MAX: usize = 100_000;

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The id of the routine that an idempotency key belongs to.
    pub(crate) fn of_request(&self, key: &str) -> Option<&str> {
        self.requests.get(key).map(String::as_str)
    }

    /// Counts a routine that is new here.
    pub(crate) fn add(&mut self, state: &RoutineState) {
        self.count += 1;
        if let Some(key) = &state.spec.idempotency_key {
            self.requests.insert(key.clone(), state.id.clone());
        }
        self.note(state);
    }

    /// Brings the index in line with a routine's state.
    pub(crate) fn note(&mut self, state: &RoutineState) {
        let (entry, wanted) = (self.entries.get(&state.id).copied(), state.due_at());
        if entry == wanted {
            return;
        }
        if let Some(at) = entry {
            self.due.remove(&(at, state.id.clone()));
            self.entries.remove(&state.id);
        }
        if let Some(at) = wanted {
            self.due.insert((at, state.id.clone()));
            self.entries.insert(state.id.clone(), at);
        }
    }

    /// When the first is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The ids of those that are due by then, the longest due first, then by id.
    pub(crate) fn due_by(&self, at: Timestamp, limit: usize) -> Vec<String> {
        self.due.iter().take_while(|(due, _)| *due <= at).take(limit).map(|(_, id)| id.clone()).collect()
    }

    /// Whether a routine stands in the index exactly where its state says.
    pub(crate) fn agrees(&self, state: &RoutineState) -> bool {
        let entry = self.entries.get(&state.id).copied();
        entry == state.due_at() && entry.is_none_or(|at| self.due.contains(&(at, state.id.clone())))
    }
}
