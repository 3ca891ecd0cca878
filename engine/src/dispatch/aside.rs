//! Those who are passed over: where they stand meanwhile, and what has them looked at again.
//!
//! A call that no worker with a free place may take stands aside and costs nothing until something changes that can matter
//! to it:
//!
//! | change | who is looked at again |
//! |---|---|
//! | a worker has a free place: it joined, is well again, or a leg of it ended | those that wait for it, and some of the others that it could take; more, as long as it has one |
//! | a worker drains, is silent or unwell | all that it could take: another may have them now |
//! | a worker is gone, or an operator changed how calls are routed | all |
//! | an affinity key became a worker's | those that ask for it |
//! | an affinity key was forgotten to make room | those that wait for the worker that had it |
//! | an affinity key is to be forgotten for its age | whoever asked for it, at that moment |
//!
//! A worker that asks for its work and waits for some was refused all that is in line: it looks at what comes in, and at the
//! rest when [`News`] say so.

use super::Dispatch;
use super::class::Class;
use super::line::{Group, Item, Line, Stamp, Standing, first};
use super::queue::{Lane, Queue};
use super::slots::Slot;
use antiphon_history::{Name, Ordinal, RunKey, Timestamp, planted};
use std::collections::BTreeSet;
use std::ops::Bound;

/// What has happened since those who wait for work last looked.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Something that may matter to any call and to any of them.
    pub(crate) all: bool,
    /// Workers that ask for their work and have a place more than before.
    pub(crate) freed: BTreeSet<Name>,
    /// Attempts that came into the order, or may be given out otherwise than before.
    pub(crate) entered: Vec<Item>,
}

/// Most attempts that are noted one by one: to look at each of more is dearer than to look at the line.
const ENTERED_MAX: usize = 64;

impl News {
    pub(super) fn entered(&mut self, item: Item) {
        if !self.all {
            self.entered.push(item);
            self.all = self.entered.len() > ENTERED_MAX;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.freed.is_empty() && self.entered.is_empty()
    }

    fn forget(&mut self) {
        self.all = false;
        self.freed.clear();
        self.entered.clear();
    }
}

/// How many of those that stand aside are looked at again at a time: most often the first fits, and its place was the only
/// one.
const BACK_AT_ONCE: usize = 16;

/// How those that stand aside in a group are told apart: by the worker that each waits for, if it is one, and by age.
pub(super) type AsideKey = (Option<Name>, Stamp);

/// One that stood aside, with the worker that it waited for.
pub(crate) type Borrowed = (Item, Stamp, Option<Name>);

/// The same for attempts that the same workers could take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ByWhom(Slot<Queue>, Slot<Lane>);

impl Dispatch {
    /// No worker with a free place may take it: it does not hold up others until something changes at the workers; if it
    /// waits for one of them, at that one.
    pub(crate) fn set_aside(&mut self, run: RunKey, ordinal: Ordinal, waits_for: Option<&Name>) {
        self.line.set_aside((run, ordinal), waits_for);
    }

    /// Looks again at one that waits at a moment, if nothing has it looked at before.
    pub(crate) fn look_at(&mut self, run: RunKey, ordinal: Ordinal, at: Timestamp) {
        self.line.look_at((run, ordinal), at);
    }

    /// Looks again at all that stand aside: something changed that may matter to any of them.
    pub(crate) fn stir_all(&mut self) {
        self.line.news.all = true;
        self.line.bring_all_back();
    }

    /// Looks again at those that wait for this worker alone: it has lost what bound them to it.
    pub(crate) fn stir_waiting_for(&mut self, worker: &Name) {
        self.line.news.all = true;
        for group in self.line.groups.iter().map(|(group, _)| group).collect::<Vec<_>>() {
            let known = &self.line.groups[group].aside;
            let own: Vec<_> = known.range(own(worker)).map(|(key, _)| key.clone()).collect();
            own.iter().for_each(|key| self.line.bring_back(group, key));
        }
    }

    /// Looks again at those of a queue that ask for this affinity key: it has become a worker's. `by_default`: those that
    /// name none ask for it too.
    pub(crate) fn stir_key(&mut self, queue: &str, key: &Name, by_default: bool) {
        self.line.news.all = true;
        let Some(queue) = self.line.find(queue).filter(|_| self.line.aside > 0) else { return };
        let places = &self.line.places;
        let asks = |item: &Item| match places.get(item).and_then(|place| place.affinity.as_ref()) {
            Some(own) => own == key,
            None => by_default,
        };
        let groups = self.line.groups.iter().filter(|(_, group)| group.queue == queue);
        let aside = groups.flat_map(|(slot, group)| group.aside.iter().map(move |(key, item)| (slot, key, item)));
        let back: Vec<_> = aside.filter(|(.., item)| asks(item)).map(|(slot, key, _)| (slot, key.clone())).collect();
        back.iter().for_each(|(group, key)| self.line.bring_back(*group, key));
    }

    /// Takes those that stand aside for a worker into the order while it looks at all there is; for
    /// [`Dispatch::look_is_over`].
    pub(crate) fn look_at_all(&mut self, worker: &str) -> Vec<Borrowed> {
        self.workers.get(worker).map_or_else(Vec::new, |worker| self.line.borrow(worker.class))
    }

    /// What a worker that looked was refused is there for the next one, as it was before.
    pub(crate) fn look_is_over(&mut self, borrowed: Vec<Borrowed>, passed_over: &[Item]) {
        for item in passed_over {
            if let Some((group, key)) = self.line.aside_at(*item) {
                self.line.put_back(group, &key);
            }
        }
        for (item, stamp, waits_for) in borrowed {
            if self.line.places.get(&item).is_some_and(|place| place.stamp == stamp) {
                self.line.set_aside(item, waits_for.as_ref());
            }
        }
    }

    /// Whom of these attempts this worker should serve next from these of its queues (empty: all), if it has a free place.
    pub(crate) fn next_of(&self, worker: &str, queues: &[String], attempts: &[Item]) -> Option<Item> {
        let worker = self.workers.get(worker).filter(|worker| worker.free() > 0 && worker.takes_calls())?;
        self.line.next_of(worker.class, queues, attempts)
    }

    /// Whether a worker to which calls are sent has a place for one.
    pub(crate) fn has_free_place(&self) -> bool {
        self.workers.values().any(|worker| worker.open)
    }

    /// Which workers could take an attempt, if it is in line and neither its queue nor its limit key holds it back.
    pub(crate) fn may_go(&self, run: RunKey, ordinal: Ordinal) -> Option<ByWhom> {
        let place = self.line.places.get(&(run, ordinal)).filter(|place| place.standing != Standing::KeyBusy)?;
        (!self.line.queues[place.queue].blocked).then_some(ByWhom(place.queue, place.lane))
    }

    /// What is new for those who wait for work.
    pub(crate) fn take_news(&mut self, now: Timestamp) -> News {
        self.line.pass_time(now);
        std::mem::take(&mut self.line.news)
    }

    /// Nobody waits for work, or there is none: whoever asks next looks at all there is.
    pub(crate) fn forget_news(&mut self) {
        self.line.news.forget();
    }

    /// Whether there is something new for those who wait for work.
    pub(crate) fn has_news(&self) -> bool {
        !self.line.news.is_empty()
    }
}

/// The keys of those in [`Group::aside`] that wait for a worker.
fn own(worker: &Name) -> std::ops::RangeInclusive<AsideKey> {
    let (first, last) = ((Timestamp(i64::MIN), 0), (Timestamp(i64::MAX), u64::MAX));
    (Some(worker.clone()), first)..=(Some(worker.clone()), last)
}

impl Line {
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

    fn look_at(&mut self, item: Item, at: Timestamp) {
        let Some(place) = self.places.get_mut(&item) else { return };
        if let Some(before) = place.look_at.replace(at) {
            self.looks.remove(&(before, item));
        }
        self.looks.insert((at, item));
    }

    /// Lets everything happen in the line that is due: rates open, and some are looked at again.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.open_rates(now);
        while let Some(&(at, item)) = self.looks.first()
            && at <= now
        {
            self.looks.pop_first();
            if let Some(place) = self.places.get_mut(&item) {
                place.look_at = None;
            }
            match self.aside_at(item) {
                Some((group, key)) => self.bring_back(group, &key),
                None => self.news.entered(item),
            }
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
        let own = known.aside.range(own(worker));
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

    /// Where one stands aside, if it does.
    fn aside_at(&self, item: Item) -> Option<(Slot<Group>, AsideKey)> {
        let place = self.places.get(&item).filter(|place| place.standing == Standing::Aside)?;
        let group = self.queues[place.queue].lanes[place.lane].group;
        Some((group, (place.waits_for.clone(), place.stamp)))
    }

    fn bring_back(&mut self, group: Slot<Group>, key: &AsideKey) {
        if let Some(item) = self.put_back(group, key) {
            self.news.entered(item);
        }
    }

    /// Takes one that stands aside into the order again. Those who wait for work have seen it.
    fn put_back(&mut self, group: Slot<Group>, key: &AsideKey) -> Option<Item> {
        let item = self.groups[group].aside.remove(key)?;
        self.aside -= 1;
        if let Some(place) = self.places.get_mut(&item) {
            place.standing = Standing::Ordered;
        }
        self.put(item);
        Some(item)
    }

    fn borrow(&mut self, class: Slot<Class>) -> Vec<Borrowed> {
        if self.aside == 0 {
            return Vec::new();
        }
        let mut borrowed = Vec::new();
        for (group, _) in self.aside_of(class) {
            let all: Vec<_> = self.groups[group].aside.keys().cloned().collect();
            for key in all {
                let item = self.put_back(group, &key);
                borrowed.extend(item.map(|item| (item, key.1, key.0)));
            }
        }
        borrowed
    }

    fn next_of(&self, class: Slot<Class>, queues: &[String], attempts: &[Item]) -> Option<Item> {
        let mut found: Vec<_> = attempts
            .iter()
            .filter_map(|item| {
                let place = self.places.get(item).filter(|place| place.standing != Standing::KeyBusy)?;
                let queue = &self.queues[place.queue];
                let head = queue.fairness.flows[place.flow].head(place.flow, place.stamp);
                let may = queue.gives_to(queues) && self.classes_of(place).contains(&class);
                may.then_some((place.queue, head, *item))
            })
            .collect();
        found.sort_unstable();
        first(found.into_iter())
    }
}

impl Queue {
    /// Whether it gives out anything now to somebody who asks for these queues (empty: all).
    pub(super) fn gives_to(&self, queues: &[String]) -> bool {
        (!self.blocked || planted!("pause-ignored-for-claims"))
            && (queues.is_empty() || queues.iter().any(|name| **name == *self.name))
    }
}
