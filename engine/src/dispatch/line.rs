//! Who waits, and who is next.
//!
//! ```text
//!  queue ─┬─ lane (type, needs) ──▶ group: the classes of workers that can take it
//!         └─ flow (priority, fairness key) ──▶ its attempts by group, oldest first
//!                                               the first of each is a head of the group
//! ```
//!
//! A group whose workers have no free place, or whose queue is held back, is not `ready` and costs nothing to pass over. To
//! find who is next is to compare the first heads of the groups that are ready; how many wait behind them does not count.

use super::class::{Class, Classes};
use super::fair::Flow;
use super::limits::Rules;
use super::queue::{Lane, Queue};
use super::slots::{Slot, Slots};
use antiphon_history::{ActivityCall, Name, Ordinal, RunKey, Timestamp, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The attempt of an activity that waits. An activity has one at a time.
pub(super) type Item = (RunKey, Ordinal);

/// Since when an attempt may be taken, and a number that tells those of one moment apart.
pub(super) type Stamp = (Timestamp, u64);

/// The first attempt of a flow in a group. Their order is the order of the line: the more urgent, then who has had less,
/// then the older.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Head {
    pub(super) level: u8,
    pub(super) tag: u64,
    pub(super) stamp: Stamp,
    pub(super) flow: Slot<Flow>,
}

/// Waiting attempts of one queue that the same classes of workers can take.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) queue: Slot<Queue>,
    pub(super) classes: Vec<Slot<Class>>,
    /// How many of the classes have a worker with a free place.
    pub(super) open: u32,
    pub(super) heads: BTreeSet<Head>,
    /// Those that no worker with a free place may take, with the worker that each waits for if it is one.
    pub(super) aside: BTreeMap<(Option<Name>, Stamp), Item>,
    /// How far those that stand aside for no worker in particular were looked at again: all get their turn.
    pub(super) looked_at: Stamp,
    pub(super) ready: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// In the order, to be taken when its turn comes.
    Ordered,
    /// Behind others of its limit key.
    KeyBusy,
    /// Passed over: no worker with a free place may take it.
    Aside,
}

/// What is known of a waiting attempt.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) queue: Slot<Queue>,
    pub(super) lane: Slot<Lane>,
    pub(super) flow: Slot<Flow>,
    pub(super) stamp: Stamp,
    pub(super) key: Option<Name>,
    pub(super) standing: Standing,
    /// The worker that it stands aside for, if it is one.
    pub(super) waits_for: Option<Name>,
}

/// All waiting attempts, and the classes of workers that they wait for.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) classes: Classes,
    pub(super) queues: Slots<Queue>,
    pub(super) by_name: BTreeMap<Name, Slot<Queue>>,
    pub(super) groups: Slots<Group>,
    pub(super) places: BTreeMap<Item, Place>,
    /// Groups with somebody to take and somebody to take him, by queue.
    pub(super) ready: BTreeSet<(Slot<Queue>, Slot<Group>)>,
    /// Queues whose rate opens later.
    pub(super) rates: BTreeSet<(Timestamp, Slot<Queue>)>,
    next_stamp: u64,
    /// How many stand aside because of the choice of a worker.
    pub(super) aside: usize,
    /// What was under way before a restart is not known yet.
    pub(super) starting: bool,
    /// Something came into the order, or a queue goes on: who waits for work may look.
    pub(super) news: bool,
}

/// How many of those that stand aside are looked at again at a time: most often the first fits, and its place was the only
/// one.
const BACK_AT_ONCE: usize = 16;

impl Line {
    /// Puts an attempt in line that may be taken since then.
    pub(super) fn add(&mut self, item: Item, call: &ActivityCall, since: Timestamp) {
        self.remove(item);
        let queue_slot = self.queue(&call.queue);
        let lane = self.lane(queue_slot, call);
        let queue = &mut self.queues[queue_slot];
        let flow = queue.fairness.flow(&call.options);
        self.next_stamp += 1;
        let stamp = (since, self.next_stamp);
        let key = (!call.options.limit_key.is_empty()).then(|| queue.key_name(&call.options.limit_key));
        queue.waiting += 1;
        queue.lanes[lane].waiting += 1;
        queue.fairness.flows[flow].waiting += 1;
        let mut place =
            Place { queue: queue_slot, lane, flow, stamp, key, standing: Standing::Ordered, waits_for: None };
        let waits = place.key.clone().filter(|key| !queue.keys.get(key).is_some_and(|key| key.holds(item)));
        if waits.is_some() {
            place.standing = Standing::KeyBusy;
        }
        self.places.insert(item, place);
        match waits {
            None => self.enter(item),
            Some(key) => {
                self.queues[queue_slot].keys.entry(key.clone()).or_default().wait(stamp, item);
                self.settle(queue_slot, &key);
            }
        }
    }

    /// Takes an attempt out of line, if it is in one.
    pub(super) fn remove(&mut self, item: Item) {
        self.take_out(item, false);
    }

    /// The attempt gets a place at a worker: takes it out of line and counts the leg. It need not be in line: a leg that
    /// outlived an engine is placed again.
    pub(super) fn place(&mut self, item: Item, call: &ActivityCall, now: Timestamp) -> Slot<Queue> {
        let queue_slot = match self.places.get(&item) {
            Some(place) => place.queue,
            None => self.queue(&call.queue),
        };
        if !call.options.limit_key.is_empty() {
            // First held, then out of line: in between the key must not look free.
            self.hold_key(queue_slot, item, &call.options.limit_key, 1);
        }
        self.take_out(item, true);
        self.queues[queue_slot].count_leg(now);
        self.reconsider(queue_slot, now);
        queue_slot
    }

    /// A leg gave its place back.
    pub(super) fn release(&mut self, item: Item, queue: Slot<Queue>, key: Option<&Name>, now: Timestamp) {
        self.queues[queue].in_flight -= 1;
        if let Some(key) = key {
            if let Some(known) = self.queues[queue].keys.get_mut(key) {
                known.release(item);
            }
            self.settle(queue, key);
        }
        self.reconsider(queue, now);
    }

    /// The activity is over: it is out of line, and its limit key is free for the next as soon as no body of it may run.
    pub(super) fn over(&mut self, item: Item, call: &ActivityCall) {
        self.remove(item);
        if !call.options.limit_key.is_empty()
            && let Some(&queue) = self.by_name.get(&call.queue)
        {
            let name = Name::from(call.options.limit_key.as_str());
            if let Some(key) = self.queues[queue].keys.get_mut(&name) {
                key.over(item);
            }
            self.settle(queue, &name);
        }
    }

    /// The activity was under way before, and is: its limit key is taken, though it waits.
    pub(super) fn hold(&mut self, item: Item, call: &ActivityCall) {
        let queue = self.queue(&call.queue);
        self.hold_key(queue, item, &call.options.limit_key, 0);
    }

    fn hold_key(&mut self, queue: Slot<Queue>, item: Item, key: &str, legs: u32) {
        let name = self.queues[queue].key_name(key);
        let known = self.queues[queue].keys.entry(name.clone()).or_default();
        known.hold(item, legs);
        if let Some(place) = self.places.get(&item) {
            known.forget(place.stamp);
        }
        self.settle(queue, &name);
    }

    /// Gives a queue other rules.
    pub(super) fn set_rules(&mut self, name: &Name, rules: Rules, now: Timestamp) {
        let queue = self.queue(name);
        self.queues[queue].set_rules(rules, now);
        let keys: Vec<Name> = self.queues[queue].keys.keys().cloned().collect();
        keys.iter().for_each(|key| self.settle(queue, key));
        self.reconsider(queue, now);
    }

    pub(super) fn find(&self, name: &str) -> Option<Slot<Queue>> {
        self.by_name.get(name).copied()
    }

    /// The classes that can take an attempt that is in line.
    pub(super) fn classes_of(&self, place: &Place) -> &[Slot<Class>] {
        &self.groups[self.queues[place.queue].lanes[place.lane].group].classes
    }

    pub(super) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// When a queue that waits for its rate goes on.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.rates.first().map(|(at, _)| *at)
    }

    /// Whom to serve next. Between queues the more urgent goes first, then the older; within one see [`Head`].
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Item> {
        self.open_rates(now);
        if self.ready.len() <= 1 {
            let (_, group) = self.ready.first()?;
            return self.first_of(*group).map(|(_, item)| item);
        }
        self.best(self.ready.iter().copied())
    }

    /// Whom this class of workers should serve next from these queues (empty: all), whether or not one of them has a free
    /// place.
    pub(super) fn next_for(&mut self, class: Slot<Class>, queues: &[String], now: Timestamp) -> Option<Item> {
        self.open_rates(now);
        let groups = self.classes.all[class].groups.iter().map(|group| (self.groups[*group].queue, *group));
        let wanted = |queue: &Queue| {
            (!queue.blocked || planted!("pause-ignored-for-claims"))
                && (queues.is_empty() || queues.iter().any(|name| **name == *queue.name))
        };
        let mut groups: Vec<_> = groups.filter(|(queue, _)| wanted(&self.queues[*queue])).collect();
        groups.sort_unstable();
        self.best(groups.into_iter())
    }

    /// The first of these groups, which come queue by queue.
    fn best(&self, groups: impl Iterator<Item = (Slot<Queue>, Slot<Group>)>) -> Option<Item> {
        let mut best: Option<(Head, Item)> = None;
        let mut of_queue: Option<(Slot<Queue>, Head, Item)> = None;
        // Tags are comparable within a queue only: first the best of each queue, then the best of those.
        let rank = |head: &Head| (head.level, head.stamp);
        let mut settle = |found: Option<(Slot<Queue>, Head, Item)>| {
            if let Some((_, head, item)) = found
                && best.as_ref().is_none_or(|(known, _)| rank(&head) < rank(known))
            {
                best = Some((head, item));
            }
        };
        for (queue, group) in groups {
            let Some((head, item)) = self.first_of(group) else { continue };
            match &of_queue {
                Some((known, first, _)) if *known == queue && *first <= head => {}
                Some((known, ..)) if *known == queue => of_queue = Some((queue, head, item)),
                _ => settle(of_queue.replace((queue, head, item))),
            }
        }
        settle(of_queue);
        best.map(|(_, item)| item)
    }

    fn first_of(&self, group: Slot<Group>) -> Option<(Head, Item)> {
        let known = &self.groups[group];
        let head = *known.heads.first()?;
        let line = self.queues[known.queue].fairness.flows[head.flow].line(group)?;
        line.first_key_value().map(|(_, item)| (head, *item))
    }

    /// Nobody with a free place may take it: it stands aside, and does not hold up others, until something changes at the
    /// workers that could take it; if it waits for one of them, at that one.
    pub(super) fn set_aside(&mut self, item: Item, waits_for: Option<&Name>) {
        let Some(place) = self.places.get(&item) else { return };
        if place.standing != Standing::Ordered {
            return;
        }
        let (group, stamp) = (self.queues[place.queue].lanes[place.lane].group, place.stamp);
        self.leave(item, false);
        self.groups[group].aside.insert((waits_for.cloned(), stamp), item);
        self.aside += 1;
        if let Some(place) = self.places.get_mut(&item) {
            place.standing = Standing::Aside;
            place.waits_for = waits_for.cloned();
        }
    }

    /// The groups of a class in which some stand aside, with how many.
    pub(super) fn aside_of(&self, class: Slot<Class>) -> Vec<(Slot<Group>, usize)> {
        let groups = self.classes.all[class].groups.iter().map(|group| (*group, self.groups[*group].aside.len()));
        groups.filter(|(_, aside)| *aside > 0).collect()
    }

    /// Looks again at some of those that stand aside in a group and may go to this worker: at those that wait for it, the
    /// oldest first, then at others in turn. Returns how many.
    pub(super) fn bring_some_back(&mut self, group: Slot<Group>, worker: &Name) -> usize {
        let known = &mut self.groups[group];
        let (first, last) = ((Timestamp(i64::MIN), 0), (Timestamp(i64::MAX), u64::MAX));
        let own = known.aside.range((Some(worker.clone()), first)..=(Some(worker.clone()), last));
        let behind = known.aside.range((Bound::Excluded((None, known.looked_at)), Bound::Included((None, last))));
        let before = known.aside.range((None, first)..=(None, known.looked_at));
        let back = own.chain(behind).chain(before).take(BACK_AT_ONCE).map(|(key, _)| key.clone()).collect::<Vec<_>>();
        if let Some((None, stamp)) = back.last() {
            known.looked_at = *stamp;
        }
        let count = back.len();
        back.into_iter().for_each(|key| self.bring_back(group, &key));
        count
    }

    /// Looks again at all that stand aside.
    pub(super) fn bring_all_back(&mut self) {
        if self.aside > 0 {
            let all =
                self.groups.iter().flat_map(|(slot, group)| group.aside.keys().map(move |key| (slot, key.clone())));
            for (group, key) in all.collect::<Vec<_>>() {
                self.bring_back(group, &key);
            }
        }
    }

    /// Looks again at all that stand aside in the groups of a class.
    pub(super) fn bring_back_for(&mut self, class: Slot<Class>) {
        if self.aside > 0 {
            for (group, _) in self.aside_of(class) {
                let all: Vec<_> = self.groups[group].aside.keys().cloned().collect();
                all.iter().for_each(|key| self.bring_back(group, key));
            }
        }
    }

    /// Looks again at one that stands aside.
    pub(super) fn bring_item_back(&mut self, item: Item) {
        if let Some(place) = self.places.get(&item)
            && place.standing == Standing::Aside
        {
            let group = self.queues[place.queue].lanes[place.lane].group;
            let key = (place.waits_for.clone(), place.stamp);
            self.bring_back(group, &key);
        }
    }

    fn bring_back(&mut self, group: Slot<Group>, key: &(Option<Name>, Stamp)) {
        let Some(item) = self.groups[group].aside.remove(key) else { return };
        self.aside -= 1;
        if let Some(place) = self.places.get_mut(&item) {
            place.standing = Standing::Ordered;
        }
        self.enter(item);
    }

    /// Whether a class that is connected can take the call, if its lane is known.
    pub(super) fn is_served(&self, call: &ActivityCall) -> bool {
        let lane =
            self.find(&call.queue).and_then(|queue| Some(&self.queues[queue].lanes[self.queues[queue].lane(call)?]));
        let members = |class: &Slot<Class>| self.classes.all[*class].members;
        lane.is_some_and(|lane| self.groups[lane.group].classes.iter().any(|class| members(class) > 0))
    }

    /// Whether what was under way before is not known yet: then queues with rules give out nothing.
    pub(super) fn set_starting(&mut self, starting: bool, now: Timestamp) {
        self.starting = starting;
        let queues: Vec<Slot<Queue>> = self.queues.iter().map(|(slot, _)| slot).collect();
        queues.into_iter().for_each(|queue| self.reconsider(queue, now));
    }

    /// A class got its first worker with a free place.
    pub(super) fn open(&mut self, class: Slot<Class>) {
        self.classes.all[class].open += 1;
        if self.classes.all[class].open == 1 {
            self.each_group(class, |group| group.open += 1);
        }
    }

    /// A worker of the class has no free place any more.
    pub(super) fn shut(&mut self, class: Slot<Class>) {
        self.classes.all[class].open -= 1;
        if self.classes.all[class].open == 0 {
            self.each_group(class, |group| group.open -= 1);
        }
    }

    fn each_group(&mut self, class: Slot<Class>, change: impl Fn(&mut Group)) {
        for index in 0..self.classes.all[class].groups.len() {
            let group = self.classes.all[class].groups[index];
            change(&mut self.groups[group]);
            self.refresh(group);
        }
    }
}
