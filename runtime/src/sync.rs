//! Locks, wake-ups and looks without a lock, for everything that two threads of a partition hand to each other.
//!
//! They are the standard library's. In tests under the feature `shuttle` they are those of a scheduler that chooses who goes
//! on at every step, so that `schedules.rs` can try the orders that no machine ever shows.

use antiphon_history::planted;
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(not(all(test, feature = "shuttle")))]
mod kind {
    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, mpsc};
}

#[cfg(all(test, feature = "shuttle"))]
mod kind {
    pub(crate) use shuttle::sync::atomic::AtomicBool;
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, mpsc};
}

pub(crate) use kind::{AtomicBool, Mutex, MutexGuard, mpsc};

/// Invariant 9: even with every wake-up lost, whoever sleeps looks again within this.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// Wakes threads that sleep on a lock.
#[derive(Default)]
pub(crate) struct WakeUp(kind::Condvar);

impl WakeUp {
    /// Wakes one of those that sleep.
    pub(crate) fn one(&self) {
        if !planted!("lost-wake-up") {
            self.0.notify_one();
        }
    }

    /// Wakes all that sleep.
    pub(crate) fn all(&self) {
        if !planted!("lost-wake-up") {
            self.0.notify_all();
        }
    }

    /// Sleeps until it is woken and `asleep` no longer holds, at most `timeout`; without one for ever.
    ///
    /// In schedules there is no clock: a wait that has begun ends by being woken or never. So no lost wake-up can hide
    /// behind a timeout.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Option<Duration>,
        asleep: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        match timeout {
            Some(Duration::ZERO) => guard,
            Some(timeout) if !cfg!(all(test, feature = "shuttle")) => {
                self.0.wait_timeout_while(guard, timeout, asleep).unwrap_or_else(PoisonError::into_inner).0
            }
            Some(_) | None => self.0.wait_while(guard, asleep).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Looks until `seen` or until `most` is over; whoever else wants the processor gets it meanwhile.
#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) fn look_out(most: Duration, seen: impl Fn() -> bool) {
    use std::time::Instant;
    let until = Instant::now() + most;
    while !seen() && Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Looks once: a schedule knows no time, and each look more gives the sleep behind it less of a chance.
#[cfg(all(test, feature = "shuttle"))]
pub(crate) fn look_out(_most: Duration, seen: impl Fn() -> bool) {
    seen();
}
