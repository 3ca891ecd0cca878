//! The fair order within one task queue: flows, their shares, and the time by which shares are measured.
//!
//! This is start-time fair queueing (Goyal, Vin, Cheng 1996) in integers. Each flow (one fairness key at one priority) has
//! a tag: the virtual time at which its next attempt is due. Taking one moves the tag on by `SERVICE / weight`; the smallest
//! tag goes first. A flow that was idle begins at the present of its level, so it brings no credit along.

use super::line::{Group, Head, Item, Stamp};
use super::slots::{Slot, Slots};
use antiphon_history::{ActivityOptions, FAIRNESS_WEIGHT_MAX, Name, PRIORITY_MAX, planted};
use std::collections::{BTreeMap, BTreeSet};

/// What one attempt costs a flow of weight 1, in virtual time. Large, so that the division by a weight rounds by less than
/// a thousandth; small, so that 2^42 attempts fit.
const SERVICE: u64 = 1 << 22;

/// The waiting attempts of one fairness key at one priority.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) level: u8,
    pub(super) key: Option<Name>,
    weight: u32,
    pub(super) tag: u64,
    /// Those that may be taken, by the group of workers that can take them, oldest first.
    pub(super) lines: Vec<(Slot<Group>, BTreeMap<Stamp, Item>)>,
    /// How many are in `lines`.
    ordered: usize,
    /// How many there are, those that stand aside included.
    pub(super) waiting: usize,
}

impl Flow {
    pub(super) fn head(&self, slot: Slot<Flow>, stamp: Stamp) -> Head {
        let level = if planted!("urgency-reversed") { PRIORITY_MAX - self.level } else { self.level };
        Head { level, tag: self.tag, stamp, flow: slot }
    }

    pub(super) fn line(&self, group: Slot<Group>) -> Option<&BTreeMap<Stamp, Item>> {
        self.lines.iter().find(|(known, _)| *known == group).map(|(_, line)| line)
    }

    pub(super) fn line_mut(&mut self, group: Slot<Group>) -> &mut BTreeMap<Stamp, Item> {
        let at = self.lines.iter().position(|(known, _)| *known == group).unwrap_or_else(|| {
            self.lines.push((group, BTreeMap::new()));
            self.lines.len() - 1
        });
        &mut self.lines[at].1
    }
}

/// The priorities of one queue: 1 to [`PRIORITY_MAX`].
const LEVELS: usize = PRIORITY_MAX as usize;

/// One priority.
#[derive(Debug, Default)]
struct Level {
    /// The largest tag that was served.
    present: u64,
    /// Attempts that may be taken.
    ordered: usize,
    /// The flow of those without a key. It is never dropped: it is everybody's who asked for nothing.
    plain: Option<Slot<Flow>>,
    keyed: BTreeMap<Name, Slot<Flow>>,
    /// Flows without attempts that took more than their share: kept until the present has come to their tag.
    idle: BTreeSet<(u64, Slot<Flow>)>,
}

/// All flows of one queue.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    pub(super) flows: Slots<Flow>,
    levels: [Level; LEVELS],
    /// Weights that the queue's settings give.
    weights: BTreeMap<Name, u32>,
}

fn at(level: u8) -> usize {
    usize::from(level.clamp(1, PRIORITY_MAX)) - 1
}

impl Fairness {
    /// The flow that an attempt belongs to.
    pub(super) fn flow(&mut self, options: &ActivityOptions) -> Slot<Flow> {
        let level = options.priority.clamp(1, PRIORITY_MAX);
        let known = &mut self.levels[at(level)];
        let slot = if options.fairness_key.is_empty() {
            *known.plain.get_or_insert_with(|| self.flows.insert(Flow::new(level, None)))
        } else if let Some(&flow) = known.keyed.get(options.fairness_key.as_str()) {
            flow
        } else {
            let key = Name::from(options.fairness_key.as_str());
            let flow = self.flows.insert(Flow::new(level, Some(key.clone())));
            known.keyed.insert(key, flow);
            flow
        };
        let flow = &mut self.flows[slot];
        if let Some(key) = &flow.key {
            let set = self.weights.get(key).copied();
            flow.weight = set.unwrap_or(options.fairness_weight).clamp(1, FAIRNESS_WEIGHT_MAX);
        }
        slot
    }

    /// One more attempt of the flow may be taken. Called before it is put into the flow's line.
    pub(super) fn enter(&mut self, slot: Slot<Flow>) {
        let flow = &mut self.flows[slot];
        let level = &mut self.levels[at(flow.level)];
        if flow.ordered == 0 {
            level.idle.remove(&(flow.tag, slot));
            flow.tag = flow.tag.max(level.present);
        }
        flow.ordered += 1;
        level.ordered += 1;
    }

    /// One attempt of the flow is taken: moves its tag on. The heads of its lines must be out of their groups.
    pub(super) fn serve(&mut self, slot: Slot<Flow>) {
        let flow = &mut self.flows[slot];
        let level = &mut self.levels[at(flow.level)];
        // A flow that could not be served for a while (no worker for its type) takes one attempt at once, and then stands
        // with the others: without this bound it would hold them up until it had caught up.
        let start = flow.tag.max(level.present.saturating_sub(SERVICE));
        level.present = level.present.max(start);
        flow.tag = start.saturating_add(SERVICE / u64::from(flow.weight));
        self.drop_paid(at(self.flows[slot].level));
    }

    /// One attempt of the flow is no longer in its lines.
    pub(super) fn leave(&mut self, slot: Slot<Flow>) {
        let flow = &mut self.flows[slot];
        let index = at(flow.level);
        let level = &mut self.levels[index];
        flow.ordered -= 1;
        level.ordered -= 1;
        if flow.ordered == 0 && flow.tag > level.present && flow.key.is_some() {
            level.idle.insert((flow.tag, slot));
        }
        if level.ordered == 0 {
            // Nobody waits, so nobody is owed anything.
            let owed = level
                .idle
                .last()
                .map(|(tag, _)| *tag)
                .into_iter()
                .chain(level.plain.map(|plain| self.flows[plain].tag));
            level.present = owed.fold(level.present, u64::max);
            self.drop_paid(index);
        }
    }

    /// One attempt of the flow is gone for good.
    pub(super) fn gone(&mut self, slot: Slot<Flow>) {
        self.flows[slot].waiting -= 1;
        self.drop_if_over(slot);
    }

    /// Weights that go before those of the calls. They count from the next attempt of each key on.
    pub(super) fn set_weights(&mut self, weights: BTreeMap<Name, u32>) {
        for (_, flow) in self.flows.iter_mut() {
            if let Some(weight) = flow.key.as_ref().and_then(|key| weights.get(key)) {
                flow.weight = (*weight).clamp(1, FAIRNESS_WEIGHT_MAX);
            }
        }
        self.weights = weights;
    }

    fn drop_paid(&mut self, index: usize) {
        while let Some(&(tag, slot)) = self.levels[index].idle.first()
            && tag <= self.levels[index].present
        {
            self.levels[index].idle.pop_first();
            self.drop_if_over(slot);
        }
    }

    fn drop_if_over(&mut self, slot: Slot<Flow>) {
        let flow = &self.flows[slot];
        let level = &mut self.levels[at(flow.level)];
        if flow.waiting > 0 || level.idle.contains(&(flow.tag, slot)) {
            return;
        }
        if let Some(key) = &flow.key {
            level.keyed.remove(key);
            self.flows.remove(slot);
        }
    }
}

impl Flow {
    fn new(level: u8, key: Option<Name>) -> Flow {
        Flow { level, key, weight: 1, tag: 0, lines: Vec::new(), ordered: 0, waiting: 0 }
    }
}

#[cfg(test)]
impl Fairness {
    /// Whether nothing is left of flows that are over.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |level: &Level| level.keyed.is_empty() && level.idle.is_empty() && level.ordered == 0;
        self.levels.iter().all(settled) && self.flows.iter().all(|(_, flow)| flow.key.is_none() && flow.waiting == 0)
    }
}
