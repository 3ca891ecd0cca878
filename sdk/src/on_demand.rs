use antiphon_engine::Context;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as PollContext, Poll, Wake, Waker};

/// Futures of one workflow that are polled only when they were woken, lowest index first: the cost of an arrival does not
/// grow with their number. As everywhere, a future that waits must keep its waker; every wait of a context does.
pub(crate) struct OnDemand<'run, F> {
    context: &'run Context,
    /// From the oldest that has not given its result on.
    slots: VecDeque<Option<Slot<F>>>,
    /// The index of the first of `slots`.
    first: usize,
    /// Woken and not polled since, highest first.
    due: Vec<usize>,
    woken: Arc<Woken>,
    waiting: usize,
    /// How many of the waiting were waiting for something of the run's when they were last polled.
    on_the_run: usize,
}

struct Slot<F> {
    future: Pin<Box<F>>,
    waker: Waker,
    on_the_run: bool,
}

/// Who was woken, and whom to wake then.
#[derive(Default)]
struct Woken(Mutex<State>);

#[derive(Default)]
struct State {
    indices: Vec<usize>,
    parent: Option<Waker>,
}

struct Bell {
    woken: Arc<Woken>,
    index: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let parent = {
            let mut state = self.woken.lock();
            state.indices.push(self.index);
            state.parent.clone()
        };
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl Woken {
    // Nothing that can panic happens under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'run, F: Future> OnDemand<'run, F> {
    pub(crate) fn new(context: &'run Context) -> OnDemand<'run, F> {
        OnDemand {
            context,
            slots: VecDeque::new(),
            first: 0,
            due: Vec::new(),
            woken: Arc::default(),
            waiting: 0,
            on_the_run: 0,
        }
    }

    /// Adds a future; returns its index: how many were added before.
    pub(crate) fn push(&mut self, future: F) -> usize {
        let index = self.first + self.slots.len();
        let waker = Waker::from(Arc::new(Bell { woken: Arc::clone(&self.woken), index }));
        self.slots.push_back(Some(Slot { future: Box::pin(future), waker, on_the_run: false }));
        self.waiting += 1;
        self.woken.lock().indices.push(index);
        index
    }

    /// How many have not given their result.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// The next result of those that were woken, with its index; `None` if none of them has one.
    pub(crate) fn poll(&mut self, polling: &mut PollContext<'_>) -> Option<(usize, F::Output)> {
        self.collect_woken(polling.waker());
        while let Some(index) = self.due.pop() {
            // Woken again after its end.
            let Some(place) = index.checked_sub(self.first) else { continue };
            let Some(slot) = &mut self.slots[place] else { continue };
            self.on_the_run -= usize::from(std::mem::take(&mut slot.on_the_run));
            let before = self.context.waits();
            match slot.future.as_mut().poll(&mut PollContext::from_waker(&slot.waker)) {
                Poll::Ready(value) => {
                    self.slots[place] = None;
                    self.waiting -= 1;
                    while self.slots.front().is_some_and(Option::is_none) {
                        self.slots.pop_front();
                        self.first += 1;
                    }
                    return Some((index, value));
                }
                Poll::Pending => {
                    slot.on_the_run = self.context.waits() > before;
                    self.on_the_run += usize::from(slot.on_the_run);
                }
            }
        }
        if self.on_the_run > 0 {
            self.context.still_waits();
        }
        None
    }

    fn collect_woken(&mut self, parent: &Waker) {
        let mut state = self.woken.lock();
        if state.parent.as_ref().is_none_or(|known| !known.will_wake(parent)) {
            state.parent = Some(parent.clone());
        }
        if !state.indices.is_empty() {
            self.due.append(&mut state.indices);
            self.due.sort_unstable_by(|a, b| b.cmp(a));
            self.due.dedup();
        }
    }
}
