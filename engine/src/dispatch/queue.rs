//! One task queue: its lanes, its flows, its limit keys and its rules.

use super::class::Class;
use super::fair::Fairness;
use super::keys::Key;
use super::limits::{Bucket, Hold, Rules};
use super::line::Group;
use super::slots::{Slot, Slots};
use antiphon_history::{ActivityCall, Name, Timestamp, planted};
use std::collections::BTreeMap;

/// What the workers must have that could take an attempt, besides its queue.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) activity_type: Name,
    /// As the call names them.
    pub(super) needs: Vec<String>,
    /// Lanes that the same classes can take share a group.
    pub(super) group: Slot<Group>,
    /// Attempts in line with these needs.
    pub(super) waiting: usize,
}

/// One task queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Name,
    pub(super) lanes: Slots<Lane>,
    by_type: BTreeMap<Name, Vec<Slot<Lane>>>,
    /// Groups by the classes that can take their attempts.
    pub(super) groups: BTreeMap<Vec<Slot<Class>>, Slot<Group>>,
    pub(super) fairness: Fairness,
    pub(super) keys: BTreeMap<Name, Key>,
    rules: Option<Box<(Rules, Option<Bucket>)>>,
    /// Legs that have a place at a worker.
    pub(super) in_flight: u32,
    /// Attempts in line, those that stand aside included.
    pub(super) waiting: usize,
    /// Nothing is given out, for what [`Queue::hold`] says.
    pub(super) blocked: bool,
}

/// Lanes without attempts are kept up to this number: most come back at once, but needs may name what lives for a day.
const LANES_MAX: usize = 1_024;

impl Queue {
    pub(super) fn new(name: Name) -> Queue {
        Queue {
            name,
            lanes: Slots::default(),
            by_type: BTreeMap::new(),
            groups: BTreeMap::new(),
            fairness: Fairness::default(),
            keys: BTreeMap::new(),
            rules: None,
            in_flight: 0,
            waiting: 0,
            blocked: false,
        }
    }

    /// The lane of a call, if it is known.
    pub(super) fn lane(&self, call: &ActivityCall) -> Option<Slot<Lane>> {
        let alike = self.by_type.get(&call.activity_type)?;
        alike.iter().copied().find(|lane| self.lanes[*lane].needs == call.options.needs)
    }

    pub(super) fn add_lane(&mut self, call: &ActivityCall, group: Slot<Group>) -> Slot<Lane> {
        if self.lanes.len() >= LANES_MAX {
            let empty: Vec<_> = self.lanes.iter().filter(|(_, lane)| lane.waiting == 0).map(|(slot, _)| slot).collect();
            for lane in empty {
                self.lanes.remove(lane);
            }
            self.by_type.retain(|_, alike| {
                alike.retain(|lane| self.lanes.has(*lane));
                !alike.is_empty()
            });
        }
        let (activity_type, needs) = (call.activity_type.clone(), call.options.needs.clone());
        let lane = self.lanes.insert(Lane { activity_type: activity_type.clone(), needs, group, waiting: 0 });
        self.by_type.entry(activity_type).or_default().push(lane);
        lane
    }

    /// The name of a limit key, shared with the key if it is known.
    pub(super) fn key_name(&self, key: &str) -> Name {
        self.keys.get_key_value(key).map_or_else(|| Name::from(key), |(name, _)| name.clone())
    }

    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref().map(|known| &known.0)
    }

    /// Gives the queue other rules. A rate that stays as it was keeps what it has counted.
    pub(super) fn set_rules(&mut self, rules: Rules, now: Timestamp) {
        let known = self.rules.take().and_then(|known| known.1);
        let bucket = rules.rate.map(|rate| match known {
            Some(known) if known.is_of(rate) => known,
            _ => Bucket::empty(rate, now),
        });
        self.fairness.set_weights(rules.weights.clone());
        self.rules = (rules != Rules::default()).then(|| Box::new((rules, bucket)));
    }

    pub(super) fn per_key_max(&self) -> Option<u32> {
        self.rules()?.per_key_max
    }

    /// Counts a leg that is given out.
    pub(super) fn count_leg(&mut self, now: Timestamp) {
        self.in_flight += 1;
        if let Some(bucket) = self.rules.as_mut().and_then(|known| known.1.as_mut()) {
            bucket.take(now);
        }
    }

    /// Why nothing of it is given out now. `starting`: what was under way before is not yet known.
    pub(super) fn hold(&self, now: Timestamp, starting: bool) -> Option<Hold> {
        let (rules, bucket) = &**self.rules.as_ref()?;
        if rules.paused {
            return Some(Hold::Paused);
        }
        if starting {
            return Some(Hold::Starting);
        }
        if let Some(max) = rules.in_flight_max
            && self.in_flight >= max + u32::from(planted!("in-flight-one-too-many"))
        {
            return Some(Hold::Full { max });
        }
        let until = bucket.as_ref()?.opens_at();
        (until > now).then_some(Hold::Rate { until })
    }

    /// Whether it can be forgotten: there is nothing in it, under way, or said of it.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.in_flight == 0 && self.rules.is_none() && self.keys.is_empty()
    }
}
