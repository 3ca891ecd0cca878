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

use super::aside::{AsideKey, News};
use super::class::{Class, Classes};
use super::fair::Flow;
use super::limits::Rules;
use super::queue::{Lane, Queue};
use super::slots::{Slot, Slots};
use antiphon_history::{ActivityCall, Name, Ordinal, RunKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

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
    pub(super) aside: BTreeMap<AsideKey, Item>,
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
    /// The affinity key that its call names.
    pub(super) affinity: Option<Name>,
    /// When it is to be looked at again without a word from anybody.
    pub(super) look_at: Option<Timestamp>,
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
    /// Attempts that are to be looked at again at a moment.
    pub(super) looks: BTreeSet<(Timestamp, Item)>,
    /// What those who wait for work have not looked at yet.
    pub(super) news: News,
}

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
        let standing = Standing::Ordered;
        let affinity = call.options.route.as_ref().and_then(|route| route.affinity.clone());
        let (waits_for, look_at) = (None, None);
        let mut place = Place { queue: queue_slot, lane, flow, stamp, key, standing, waits_for, affinity, look_at };
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

    /// When a queue that waits for its rate goes on, or an attempt is to be looked at again.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let (rate, look) = (self.rates.first().map(|(at, _)| *at), self.looks.first().map(|(at, _)| *at));
        rate.into_iter().chain(look).min()
    }

    /// Whom to serve next. Between queues the more urgent goes first, then the older; within one see [`Head`].
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Item> {
        self.pass_time(now);
        if self.ready.len() <= 1 {
            let (_, group) = self.ready.first()?;
            return self.first_of(*group).map(|(_, item)| item);
        }
        self.best(self.ready.iter().copied())
    }

    /// Whom this class of workers should serve next from these queues (empty: all), whether or not one of them has a free
    /// place.
    pub(super) fn next_for(&mut self, class: Slot<Class>, queues: &[String], now: Timestamp) -> Option<Item> {
        self.pass_time(now);
        let groups = self.classes.all[class].groups.iter().map(|group| (self.groups[*group].queue, *group));
        let mut groups: Vec<_> = groups.filter(|(queue, _)| self.queues[*queue].gives_to(queues)).collect();
        groups.sort_unstable();
        self.best(groups.into_iter())
    }

    /// The first of these groups, which come queue by queue.
    fn best(&self, groups: impl Iterator<Item = (Slot<Queue>, Slot<Group>)>) -> Option<Item> {
        first(groups.filter_map(|(queue, group)| self.first_of(group).map(|(head, item)| (queue, head, item))))
    }

    fn first_of(&self, group: Slot<Group>) -> Option<(Head, Item)> {
        let known = &self.groups[group];
        let head = *known.heads.first()?;
        let line = self.queues[known.queue].fairness.flows[head.flow].line(group)?;
        line.first_key_value().map(|(_, item)| (head, *item))
    }

    /// Whether a class that is connected can take the call, if its lane is known.
    pub(super) fn is_served(&self, call: &ActivityCall) -> bool {
        let lane =
            self.find(&call.queue).and_then(|queue| Some(&self.queues[queue].lanes[self.queues[queue].lane(call)?]));
        lane.is_some_and(|lane| self.has_members(&self.groups[lane.group].classes))
    }

    /// Whether a worker of these classes is connected.
    pub(super) fn has_members(&self, classes: &[Slot<Class>]) -> bool {
        classes.iter().any(|class| self.classes.all[*class].members > 0)
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

/// The first of attempts that come queue by queue: tags are comparable within a queue only, so first the best of each queue,
/// then the best of those.
pub(super) fn first(attempts: impl Iterator<Item = (Slot<Queue>, Head, Item)>) -> Option<Item> {
    let mut best: Option<(Head, Item)> = None;
    let mut of_queue: Option<(Slot<Queue>, Head, Item)> = None;
    let rank = |head: &Head| (head.level, head.stamp);
    let mut settle = |found: Option<(Slot<Queue>, Head, Item)>| {
        if let Some((_, head, item)) = found
            && best.as_ref().is_none_or(|(known, _)| rank(&head) < rank(known))
        {
            best = Some((head, item));
        }
    };
    for (queue, head, item) in attempts {
        match &of_queue {
            Some((known, first, _)) if *known == queue && *first <= head => {}
            Some((known, ..)) if *known == queue => of_queue = Some((queue, head, item)),
            _ => settle(of_queue.replace((queue, head, item))),
        }
    }
    settle(of_queue);
    best.map(|(_, item)| item)
}
