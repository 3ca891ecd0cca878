//! How lanes are sorted into groups by the classes of workers that can take their attempts.

use super::class::Class;
use super::line::{Group, Item, Line, Stamp, Standing};
use super::queue::{Lane, Queue};
use super::slots::Slot;
use super::workers::WorkerSpec;
use antiphon_history::{ActivityCall, Name, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Queues without anything are kept up to this number.
const QUEUES_MAX: usize = 1_024;

impl Line {
    /// Counts a worker in, which has no place yet.
    pub(super) fn join(&mut self, spec: &WorkerSpec) -> Slot<Class> {
        let (class, touched) = self.classes.join(spec);
        for queue in touched {
            if let Some(queue) = self.find(&queue) {
                self.regroup(queue);
            }
        }
        class
    }

    /// The queue of a name.
    pub(super) fn queue(&mut self, name: &Name) -> Slot<Queue> {
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        if self.queues.len() >= QUEUES_MAX {
            let empty: Vec<_> =
                self.queues.iter().filter(|(_, queue)| queue.is_empty()).map(|(slot, _)| slot).collect();
            for slot in empty {
                self.drop_groups(slot);
                self.rates.retain(|(_, queue)| *queue != slot);
                if let Some(queue) = self.queues.remove(slot) {
                    self.by_name.remove(&queue.name);
                }
            }
        }
        let slot = self.queues.insert(Queue::new(name.clone()));
        self.by_name.insert(name.clone(), slot);
        slot
    }

    /// The lane of a call.
    pub(super) fn lane(&mut self, queue: Slot<Queue>, call: &ActivityCall) -> Slot<Lane> {
        if let Some(known) = self.queues[queue].lane(call) {
            return known;
        }
        let group = self.group(queue, &call.activity_type, &call.options.needs);
        self.queues[queue].add_lane(call, group)
    }

    /// The group of those that can take what is asked.
    fn group(&mut self, queue: Slot<Queue>, activity_type: &Name, needs: &[String]) -> Slot<Group> {
        let classes = self.classes.serving(&self.queues[queue].name, activity_type, needs);
        if let Some(&known) = self.queues[queue].groups.get(&classes) {
            return known;
        }
        let open = classes.iter().filter(|class| self.classes.all[**class].open > 0).count();
        let group = self.groups.insert(Group {
            queue,
            classes: classes.clone(),
            open: u32::try_from(open).unwrap_or(u32::MAX),
            heads: BTreeSet::new(),
            aside: BTreeMap::new(),
            looked_at: Stamp::default(),
            ready: false,
        });
        for class in &classes {
            self.classes.all[*class].groups.push(group);
        }
        self.queues[queue].groups.insert(classes, group);
        group
    }

    fn drop_groups(&mut self, queue: Slot<Queue>) {
        for (classes, group) in std::mem::take(&mut self.queues[queue].groups) {
            for class in classes.into_iter().filter(|class| self.classes.all.has(*class)).collect::<Vec<_>>() {
                self.classes.all[class].groups.retain(|known| *known != group);
            }
            self.ready.remove(&(queue, group));
            self.groups.remove(group);
        }
    }

    /// Sorts all lanes of a queue anew: there are other classes than before. Everybody keeps his turn; who stood aside is
    /// looked at again.
    fn regroup(&mut self, queue: Slot<Queue>) {
        let aside: Vec<Item> = {
            let groups = self.queues[queue].groups.values();
            groups.flat_map(|group| self.groups[*group].aside.values().copied()).collect()
        };
        self.aside -= aside.len();
        self.drop_groups(queue);
        let lanes: Vec<Slot<Lane>> = self.queues[queue].lanes.iter().map(|(slot, _)| slot).collect();
        for lane in lanes {
            let known = &self.queues[queue].lanes[lane];
            let (activity_type, needs) = (known.activity_type.clone(), known.needs.clone());
            let group = self.group(queue, &activity_type, &needs);
            self.queues[queue].lanes[lane].group = group;
        }
        let known = &mut self.queues[queue];
        for (slot, flow) in known.fairness.flows.iter_mut() {
            for (_, line) in std::mem::take(&mut flow.lines) {
                for (stamp, item) in line {
                    let Some(place) = self.places.get(&item) else { continue };
                    flow.line_mut(known.lanes[place.lane].group).insert(stamp, item);
                }
            }
            for (group, line) in &flow.lines {
                let first = line.first_key_value().map(|(stamp, _)| flow.head(slot, *stamp));
                self.groups[*group].heads.extend(first);
            }
        }
        let groups: Vec<Slot<Group>> = known.groups.values().copied().collect();
        groups.into_iter().for_each(|group| self.refresh(group));
        for item in aside {
            if let Some(place) = self.places.get_mut(&item) {
                place.standing = Standing::Ordered;
            }
            self.enter(item);
        }
    }

    /// Brings `ready` in line with a group.
    pub(super) fn refresh(&mut self, slot: Slot<Group>) {
        let group = &mut self.groups[slot];
        let ready = group.open > 0 && !group.heads.is_empty() && !self.queues[group.queue].blocked;
        if ready != group.ready {
            group.ready = ready;
            if ready {
                self.ready.insert((group.queue, slot));
            } else {
                self.ready.remove(&(group.queue, slot));
            }
        }
    }

    /// Lets the queues go on whose rate opens by now.
    pub(super) fn open_rates(&mut self, now: Timestamp) {
        while let Some(&(at, queue)) = self.rates.first()
            && at <= now
        {
            self.rates.pop_first();
            self.reconsider(queue, now);
        }
    }
}
