//! Limit keys: at most so many calls of one key are under way, in the order in which they were asked for.

use super::line::{Item, Stamp};
use std::collections::BTreeMap;

/// The calls of one limit key of one queue.
///
/// A call is under way from its first leg until it is over, waits between its attempts included: with a limit of one the
/// next call begins only when the one before is done for good.
#[derive(Debug, Default)]
pub(super) struct Key {
    under_way: BTreeMap<Item, Holder>,
    /// Those that may be taken next: with what is under way never more than the limit.
    admitted: BTreeMap<Stamp, Item>,
    /// Those that stand aside.
    waiting: BTreeMap<Stamp, Item>,
}

#[derive(Debug, Default)]
struct Holder {
    /// Legs that have a place at a worker; more than one where a body was told to stop and has not yet.
    legs: u32,
    over: bool,
}

/// What has to happen to a call after something changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// It may be taken now.
    Admit(Item),
    /// It must stand aside again: an older one came.
    PutOff(Item),
}

impl Key {
    /// Whether the call has its part of the limit already. One that is over and comes again, because somebody retried it,
    /// waits for its turn, though a body of it may still run.
    pub(super) fn holds(&self, item: Item) -> bool {
        self.under_way.get(&item).is_some_and(|holder| !holder.over)
    }

    /// A call waits; it stands aside until [`Key::settle`] admits it.
    pub(super) fn wait(&mut self, stamp: Stamp, item: Item) {
        self.waiting.insert(stamp, item);
    }

    /// A call no longer waits.
    pub(super) fn forget(&mut self, stamp: Stamp) {
        self.admitted.remove(&stamp);
        self.waiting.remove(&stamp);
    }

    /// A call is under way; `legs` of it were placed just now.
    pub(super) fn hold(&mut self, item: Item, legs: u32) {
        let holder = self.under_way.entry(item).or_default();
        holder.legs += legs;
        holder.over = false;
    }

    /// A leg of the call gave its place back.
    pub(super) fn release(&mut self, item: Item) {
        if let Some(holder) = self.under_way.get_mut(&item) {
            holder.legs = holder.legs.saturating_sub(1);
            if holder.over && holder.legs == 0 {
                self.under_way.remove(&item);
            }
        }
    }

    /// The call is over. As long as a body of it may run, it counts.
    pub(super) fn over(&mut self, item: Item) {
        if let Some(holder) = self.under_way.get_mut(&item) {
            holder.over = true;
            if holder.legs == 0 {
                self.under_way.remove(&item);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.admitted.is_empty() && self.waiting.is_empty()
    }

    /// How many calls are under way or may be taken next.
    pub(super) fn taken(&self) -> usize {
        self.under_way.len() + self.admitted.len()
    }

    /// The next change that brings the key in line with its limit; `None` when it is.
    pub(super) fn settle(&mut self, max: Option<u32>) -> Option<Change> {
        let max = max.map_or(usize::MAX, |max| max as usize);
        let oldest = self.waiting.first_key_value().map(|(stamp, _)| *stamp);
        let youngest = self.admitted.last_key_value().map(|(stamp, _)| *stamp);
        if let Some(youngest) = youngest
            && (self.taken() > max || (self.taken() == max && oldest.is_some_and(|oldest| oldest < youngest)))
        {
            let item = self.admitted.remove(&youngest)?;
            self.waiting.insert(youngest, item);
            return Some(Change::PutOff(item));
        }
        if self.taken() < max
            && let Some((stamp, item)) = self.waiting.pop_first()
        {
            self.admitted.insert(stamp, item);
            return Some(Change::Admit(item));
        }
        None
    }
}
