//! How attempts come into the order of the line and leave it.

use super::fair::Flow;
use super::keys::Change;
use super::limits::Hold;
use super::line::{Group, Item, Line, Standing};
use super::queue::Queue;
use super::slots::Slot;
use antiphon_history::{Name, Timestamp};

impl Line {
    /// Puts an attempt that is in line into the order, where those who wait for work have not seen it.
    pub(super) fn enter(&mut self, item: Item) {
        self.news.entered(item);
        self.put(item);
    }

    /// Puts an attempt that is in line into the order.
    pub(super) fn put(&mut self, item: Item) {
        let Some(place) = self.places.get(&item) else { return };
        let queue = &mut self.queues[place.queue];
        let group = queue.lanes[place.lane].group;
        queue.fairness.enter(place.flow);
        let flow = &mut queue.fairness.flows[place.flow];
        let line = flow.line_mut(group);
        let first = line.first_key_value().map(|(stamp, _)| *stamp);
        line.insert(place.stamp, item);
        if first.is_none_or(|first| place.stamp < first) {
            let heads = &mut self.groups[group].heads;
            if let Some(first) = first {
                heads.remove(&flow.head(place.flow, first));
            }
            heads.insert(flow.head(place.flow, place.stamp));
            self.refresh(group);
        }
    }

    /// Takes an attempt that is in the order out of it; `served` counts it against its flow.
    pub(super) fn leave(&mut self, item: Item, served: bool) {
        let Some(place) = self.places.get(&item) else { return };
        let (queue_slot, lane, flow_slot, stamp) = (place.queue, place.lane, place.flow, place.stamp);
        let queue = &mut self.queues[queue_slot];
        let group = queue.lanes[lane].group;
        if served {
            // The tag of the flow moves: all its heads do.
            self.without_heads(queue_slot, flow_slot);
            let fairness = &mut self.queues[queue_slot].fairness;
            fairness.flows[flow_slot].line_mut(group).remove(&stamp);
            fairness.serve(flow_slot);
            self.with_heads(queue_slot, flow_slot);
        } else {
            let flow = &mut queue.fairness.flows[flow_slot];
            let line = flow.line_mut(group);
            let first = line.first_key_value().map(|(stamp, _)| *stamp);
            line.remove(&stamp);
            if first == Some(stamp) {
                let next = line.first_key_value().map(|(stamp, _)| *stamp);
                let heads = &mut self.groups[group].heads;
                heads.remove(&flow.head(flow_slot, stamp));
                heads.extend(next.map(|next| flow.head(flow_slot, next)));
            }
        }
        self.queues[queue_slot].fairness.leave(flow_slot);
        self.refresh(group);
    }

    fn without_heads(&mut self, queue: Slot<Queue>, slot: Slot<Flow>) {
        let flow = &self.queues[queue].fairness.flows[slot];
        for (group, line) in &flow.lines {
            if let Some((stamp, _)) = line.first_key_value() {
                self.groups[*group].heads.remove(&flow.head(slot, *stamp));
            }
        }
    }

    fn with_heads(&mut self, queue: Slot<Queue>, slot: Slot<Flow>) {
        let flow = &self.queues[queue].fairness.flows[slot];
        for (group, line) in &flow.lines {
            if let Some((stamp, _)) = line.first_key_value() {
                self.groups[*group].heads.insert(flow.head(slot, *stamp));
            }
        }
    }

    /// Takes an attempt out of line.
    pub(super) fn take_out(&mut self, item: Item, served: bool) {
        let Some(place) = self.places.get(&item) else { return };
        let (queue_slot, lane, flow, stamp) = (place.queue, place.lane, place.flow, place.stamp);
        let key = place.key.clone();
        if let Some(at) = place.look_at {
            self.looks.remove(&(at, item));
        }
        match place.standing {
            Standing::Ordered => self.leave(item, served),
            Standing::KeyBusy => {}
            Standing::Aside => {
                let group = self.queues[queue_slot].lanes[lane].group;
                let key = (place.waits_for.clone(), stamp);
                self.groups[group].aside.remove(&key);
                self.aside -= 1;
            }
        }
        self.places.remove(&item);
        let queue = &mut self.queues[queue_slot];
        queue.waiting -= 1;
        queue.lanes[lane].waiting -= 1;
        queue.fairness.gone(flow);
        if let Some(key) = key {
            if let Some(known) = queue.keys.get_mut(&key) {
                known.forget(stamp);
            }
            self.settle(queue_slot, &key);
        }
    }

    /// Brings the calls of a limit key in line with their limit.
    pub(super) fn settle(&mut self, queue: Slot<Queue>, key: &Name) {
        let max = self.queues[queue].per_key_max();
        while let Some(known) = self.queues[queue].keys.get_mut(key) {
            match known.settle(max) {
                Some(Change::Admit(item)) => {
                    if let Some(place) = self.places.get_mut(&item) {
                        place.standing = Standing::Ordered;
                    }
                    self.enter(item);
                }
                Some(Change::PutOff(item)) => {
                    self.put_off(item);
                }
                None => {
                    if known.is_empty() {
                        self.queues[queue].keys.remove(key);
                    }
                    return;
                }
            }
        }
    }

    fn put_off(&mut self, item: Item) {
        let Some(place) = self.places.get(&item) else { return };
        match place.standing {
            Standing::Ordered => self.leave(item, false),
            Standing::KeyBusy => {}
            Standing::Aside => {
                let group = self.queues[place.queue].lanes[place.lane].group;
                self.groups[group].aside.remove(&(place.waits_for.clone(), place.stamp));
                self.aside -= 1;
            }
        }
        if let Some(place) = self.places.get_mut(&item) {
            place.standing = Standing::KeyBusy;
        }
    }

    /// Looks again whether a queue is held back.
    pub(super) fn reconsider(&mut self, slot: Slot<Queue>, now: Timestamp) {
        let queue = &mut self.queues[slot];
        let hold = queue.hold(now, self.starting);
        if let Some(Hold::Rate { until }) = hold {
            self.rates.insert((until, slot));
        }
        if queue.blocked != hold.is_some() {
            queue.blocked = hold.is_some();
            self.news.all |= !queue.blocked;
            let groups: Vec<Slot<Group>> = queue.groups.values().copied().collect();
            groups.into_iter().for_each(|group| self.refresh(group));
        }
    }
}
