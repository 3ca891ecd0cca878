//! Who waits: the attempts that may be taken now.

use antiphon_history::{ActivityCall, Name, Ordinal, RunKey};
use std::collections::BTreeMap;

/// What the workers must have that could take an attempt. Attempts of one lane can be taken by the same workers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Lane {
    pub(super) queue: Name,
    pub(super) activity_type: Name,
    /// Sorted.
    pub(super) needs: Vec<String>,
}

impl Lane {
    pub(super) fn of(call: &ActivityCall) -> Lane {
        let mut needs = call.options.needs.clone();
        needs.sort();
        Lane { queue: call.queue.clone(), activity_type: call.activity_type.clone(), needs }
    }
}

/// The waiting attempts, each lane oldest first.
#[derive(Debug, Default)]
pub(super) struct Line {
    lanes: BTreeMap<Lane, BTreeMap<u64, (RunKey, Ordinal)>>,
    places: BTreeMap<(RunKey, Ordinal), (Lane, u64)>,
    next_stamp: u64,
}

impl Line {
    /// Puts an attempt in line, at the end.
    pub(super) fn add(&mut self, run: RunKey, ordinal: Ordinal, call: &ActivityCall) {
        self.remove(run, ordinal);
        let lane = Lane::of(call);
        self.next_stamp += 1;
        self.lanes.entry(lane.clone()).or_default().insert(self.next_stamp, (run, ordinal));
        self.places.insert((run, ordinal), (lane, self.next_stamp));
    }

    /// Takes an attempt out of line, if it is in one.
    pub(super) fn remove(&mut self, run: RunKey, ordinal: Ordinal) {
        if let Some((lane, stamp)) = self.places.remove(&(run, ordinal))
            && let Some(waiting) = self.lanes.get_mut(&lane)
        {
            waiting.remove(&stamp);
            if waiting.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }

    /// The lane that an attempt waits in.
    pub(super) fn lane(&self, run: RunKey, ordinal: Ordinal) -> Option<&Lane> {
        self.places.get(&(run, ordinal)).map(|(lane, _)| lane)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The oldest attempt with a stamp above `after` in the lanes that are `served`.
    pub(super) fn next(&self, after: u64, served: impl Fn(&Lane) -> bool) -> Option<(u64, RunKey, Ordinal)> {
        let mut first: Option<(u64, RunKey, Ordinal)> = None;
        for (lane, waiting) in &self.lanes {
            let Some((stamp, (run, ordinal))) = waiting.range(after + 1..).next() else { continue };
            if first.is_none_or(|(known, _, _)| *stamp < known) && served(lane) {
                first = Some((*stamp, *run, *ordinal));
            }
        }
        first
    }
}
