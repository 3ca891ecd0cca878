//! The futures that workflow code awaits. The engine polls the workflow after each arrival, so a waker is needed only
//! where a combinator stands between them and polls its futures on demand.

use crate::Context;
use crate::desk::Awaited;
use antiphon_history::{ActivityCall, ActivityOutcome, Ordinal, Payload, RunEvent, Site};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as PollContext, Poll};

/// Waits for the outcome of one activity. Dropping it before the outcome cancels the activity, and the record says so.
#[derive(Debug)]
#[must_use = "an activity call does nothing until it is awaited or started"]
pub struct ActivityWait {
    context: Context,
    ordinal: Ordinal,
    call: Option<Arc<ActivityCall>>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Built,
    Asked,
    Done,
}

impl ActivityWait {
    pub(crate) fn new(context: Context, call: Option<Arc<ActivityCall>>) -> ActivityWait {
        let ordinal = context.0.borrow_mut().ordinal();
        ActivityWait { context, ordinal, call, state: State::Built }
    }

    /// Says what to do, for a wait whose place was reserved before that was known. Later calls change nothing.
    pub fn fill(&mut self, call: ActivityCall) {
        if self.state == State::Built && self.call.is_none() {
            self.call = Some(Arc::new(call));
        }
    }

    /// The call's place among the run's calls.
    pub fn ordinal(&self) -> Ordinal {
        self.ordinal
    }

    /// Schedules the activity without waiting for it. Nothing happens while nobody has said what to do.
    pub fn start(&mut self) {
        if self.state != State::Built {
            return;
        }
        if let Some(call) = self.call.take() {
            self.state = State::Asked;
            let site = call.site.clone();
            let event = RunEvent::ActivityScheduled { ordinal: self.ordinal, call };
            self.context.0.borrow_mut().command(event, &site);
        }
    }
}

impl Future for ActivityWait {
    type Output = ActivityOutcome;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<ActivityOutcome> {
        self.start();
        let this = &mut *self;
        let mut desk = this.context.0.borrow_mut();
        match desk.outcomes.remove(this.ordinal) {
            Some(outcome) if !desk.is_shut() => {
                this.state = State::Done;
                Poll::Ready(outcome)
            }
            _ => {
                desk.waits_for(Awaited::Call(this.ordinal), polling.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for ActivityWait {
    fn drop(&mut self) {
        if self.state != State::Asked {
            return;
        }
        let mut desk = self.context.0.borrow_mut();
        // An outcome that has arrived but was not taken leaves nothing to cancel.
        if desk.outcomes.remove(self.ordinal).is_none() {
            desk.command(RunEvent::ActivityCancelled { ordinal: self.ordinal }, &Site::default());
        }
    }
}

/// Waits for a moment. Dropping it before cancels the timer.
#[derive(Debug)]
#[must_use = "a timer does not run until it is awaited or started"]
pub struct TimerWait {
    context: Context,
    ordinal: Ordinal,
    ms: u64,
    site: Site,
    state: State,
}

impl TimerWait {
    pub(crate) fn new(context: Context, ms: u64, site: Site) -> TimerWait {
        let ordinal = context.0.borrow_mut().ordinal();
        TimerWait { context, ordinal, ms, site, state: State::Built }
    }

    /// Starts the timer without waiting for it.
    pub fn start(&mut self) {
        if self.state != State::Built {
            return;
        }
        self.state = State::Asked;
        let mut desk = self.context.0.borrow_mut();
        let due = desk.now.plus_ms(self.ms);
        let event = RunEvent::TimerStarted { ordinal: self.ordinal, due, site: self.site.clone() };
        desk.command(event, &self.site);
    }
}

impl Future for TimerWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<()> {
        self.start();
        let this = &mut *self;
        let mut desk = this.context.0.borrow_mut();
        if !desk.is_shut() && desk.fired.remove(&this.ordinal) {
            this.state = State::Done;
            return Poll::Ready(());
        }
        desk.waits_for(Awaited::Call(this.ordinal), polling.waker());
        Poll::Pending
    }
}

impl Drop for TimerWait {
    fn drop(&mut self) {
        if self.state != State::Asked {
            return;
        }
        let mut desk = self.context.0.borrow_mut();
        if !desk.fired.remove(&self.ordinal) {
            desk.command(RunEvent::TimerCancelled { ordinal: self.ordinal }, &Site::default());
        }
    }
}

/// Waits for the next signal of a name. A signal is taken when this is polled, so a wait that loses a race takes none.
#[derive(Debug)]
#[must_use = "a signal is not taken until this is awaited"]
pub struct SignalWait {
    context: Context,
    name: String,
}

impl SignalWait {
    pub(crate) fn new(context: Context, name: String) -> SignalWait {
        SignalWait { context, name }
    }
}

impl Future for SignalWait {
    type Output = Vec<Payload>;

    fn poll(self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<Vec<Payload>> {
        let mut desk = self.context.0.borrow_mut();
        if !desk.is_shut()
            && let Some(input) = desk.signals.get_mut(&self.name).and_then(|queue| queue.pop_front())
        {
            return Poll::Ready(input);
        }
        desk.waits_for(Awaited::Signal(&self.name), polling.waker());
        Poll::Pending
    }
}

/// Waits for a request to cancel the run, and returns its reason.
#[derive(Debug)]
#[must_use = "a cancel is not noticed until this is awaited"]
pub struct CancelWait {
    context: Context,
    watching: bool,
}

impl CancelWait {
    pub(crate) fn new(context: Context) -> CancelWait {
        CancelWait { context, watching: false }
    }
}

impl Future for CancelWait {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<String> {
        let this = &mut *self;
        let mut desk = this.context.0.borrow_mut();
        if !desk.is_shut()
            && let Some(reason) = desk.cancel.clone()
        {
            return Poll::Ready(reason);
        }
        if !this.watching {
            this.watching = true;
            desk.cancel_watchers += 1;
        }
        desk.waits_for(Awaited::Cancel, polling.waker());
        Poll::Pending
    }
}

impl Drop for CancelWait {
    fn drop(&mut self) {
        if self.watching {
            self.context.0.borrow_mut().cancel_watchers -= 1;
        }
    }
}

/// Takes a value from outside once; see [`Context::side_effect`].
#[must_use = "a side effect is not taken until this is awaited"]
pub struct SideEffectWait<F> {
    context: Context,
    ordinal: Ordinal,
    take: Option<F>,
    site: Site,
}

impl<F> std::fmt::Debug for SideEffectWait<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SideEffectWait({})", self.ordinal)
    }
}

impl<F: FnOnce() -> Payload> SideEffectWait<F> {
    pub(crate) fn new(context: Context, take: F, site: Site) -> SideEffectWait<F> {
        let ordinal = context.0.borrow_mut().ordinal();
        SideEffectWait { context, ordinal, take: Some(take), site }
    }
}

impl<F: FnOnce() -> Payload + Unpin> Future for SideEffectWait<F> {
    type Output = Payload;

    fn poll(mut self: Pin<&mut Self>, _: &mut PollContext<'_>) -> Poll<Payload> {
        let this = &mut *self;
        if let Some(value) = this.context.0.borrow_mut().recorded_side_effect(this.ordinal) {
            return Poll::Ready(value);
        }
        if this.context.0.borrow().is_live()
            && let Some(take) = this.take.take()
        {
            // Called with the desk free: the closure may ask the context for the time.
            let value = take();
            let event =
                RunEvent::SideEffectRecorded { ordinal: this.ordinal, value: value.clone(), site: this.site.clone() };
            this.context.0.borrow_mut().command(event, &this.site);
            return Poll::Ready(value);
        }
        if this.context.0.borrow_mut().waits_at_frontier() {
            return Poll::Pending;
        }
        // Replay stands before something else: ask, so that the report names both, and never run the closure.
        let nothing = Payload::binary(Vec::new());
        let event = RunEvent::SideEffectRecorded { ordinal: this.ordinal, value: nothing, site: this.site.clone() };
        let mut desk = this.context.0.borrow_mut();
        desk.command(event, &this.site);
        desk.waits += 1;
        Poll::Pending
    }
}
