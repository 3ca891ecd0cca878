//! Values that keep their number while they live. Numbers of those that are gone are given again.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of a value in its [`Slots`]. Means something there only, and only while the value is there.
pub(super) struct Slot<T>(u32, PhantomData<fn() -> T>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        *self
    }
}

impl<T> Copy for Slot<T> {}

#[cfg(test)]
thread_local! {
    /// How many values were looked at on this thread: what a test counts instead of time.
    pub(super) static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn looked() {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + 1);
}

impl<T> Slot<T> {
    /// The number, smaller than [`Slots::bound`].
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Slot<T>) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Slot<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Slot<T>) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Values by number.
#[derive(Debug)]
pub(super) struct Slots<T> {
    all: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { all: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> Slot<T> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            u32::try_from(self.all.len() - 1).expect("four billion lines do not fit in memory")
        });
        self.all[number as usize] = Some(value);
        Slot(number, PhantomData)
    }

    pub(super) fn remove(&mut self, slot: Slot<T>) -> Option<T> {
        let value = self.all.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot.0);
        Some(value)
    }

    pub(super) fn has(&self, slot: Slot<T>) -> bool {
        self.all.get(slot.0 as usize).is_some_and(Option::is_some)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Above every number that was given.
    pub(super) fn bound(&self) -> usize {
        self.all.len()
    }

    /// By number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot<T>, &T)> {
        let all = self.all.iter().zip(0..).inspect(|_| looked());
        all.filter_map(|(value, number)| Some((Slot(number, PhantomData), value.as_ref()?)))
    }

    /// By number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot<T>, &mut T)> {
        self.all.iter_mut().zip(0..).filter_map(|(value, number)| Some((Slot(number, PhantomData), value.as_mut()?)))
    }
}

impl<T> Index<Slot<T>> for Slots<T> {
    type Output = T;
    fn index(&self, slot: Slot<T>) -> &T {
        looked();
        self.all[slot.0 as usize].as_ref().expect("numbers are dropped with their values")
    }
}

impl<T> IndexMut<Slot<T>> for Slots<T> {
    fn index_mut(&mut self, slot: Slot<T>) -> &mut T {
        looked();
        self.all[slot.0 as usize].as_mut().expect("numbers are dropped with their values")
    }
}
