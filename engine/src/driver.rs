use crate::desk::{Awaited, Desk};
use crate::divergence;
use crate::program::{Ending, Program, RunFuture};
use crate::waits::ActivityWait;
use crate::{Config, Context};
use antiphon_history::limits::bounded_text;
use antiphon_history::{BlockedReason, RunEvent, RunStarted, Site, Timestamp};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as PollContext, Poll, Wake, Waker};

/// Polls one workflow: one arrival at a time, until nothing moves before the next one. The log therefore decides who
/// finished first, and replay repeats it.
pub(crate) struct Driver {
    desk: Rc<RefCell<Desk>>,
    future: Option<RunFuture>,
    stage: Stage,
    woken: Arc<Woken>,
    waker: Waker,
    polls_max: u32,
}

/// What is being polled, and what will be written when it has ended.
enum Stage {
    /// The author's code.
    Workflow,
    /// The pushed compensations, after which the run ends with this event.
    Compensating(Box<RunEvent>),
    /// Nothing any more.
    Ended,
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    /// The workflow waits.
    Waiting,
    /// The run's last command was given.
    Ended,
    /// The code cannot go on from here. Its commands of this turn do not count.
    Halted(Box<BlockedReason>),
}

/// Says whether the workflow woke itself during a poll.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Driver {
    pub(crate) fn new(program: &dyn Program, started: &Arc<RunStarted>, config: &Config) -> Driver {
        let woken: Arc<Woken> = Arc::default();
        let waker = Waker::from(Arc::clone(&woken));
        let desk = Rc::new(RefCell::new(Desk::new(Arc::clone(started), waker.clone())));
        let future = program.begin(Context(Rc::clone(&desk)), started.input.clone());
        Driver { desk, future: Some(future), stage: Stage::Workflow, woken, waker, polls_max: config.polls_max }
    }

    /// Expects exactly these commands of the next turns. `frontier`: more may follow, and is new.
    pub(crate) fn expect(&mut self, script: VecDeque<(u64, RunEvent)>, next_seq: u64, frontier: bool) {
        self.desk.borrow_mut().expect(script, next_seq, frontier);
    }

    pub(crate) fn go_live(&mut self) {
        self.desk.borrow_mut().go_live();
    }

    pub(crate) fn take_commands(&mut self) -> Vec<RunEvent> {
        self.desk.borrow_mut().take_commands()
    }

    /// The report if the record expects more of the turn than was asked.
    pub(crate) fn missing(&self) -> Option<BlockedReason> {
        let desk = self.desk.borrow();
        let (seq, recorded) = desk.leftover()?;
        let ended = matches!(self.stage, Stage::Ended);
        Some(BlockedReason::Divergence(divergence::missing(*seq, recorded, &desk.last_site, ended)))
    }

    /// Applies one arrival and polls until nothing moves.
    pub(crate) fn apply(&mut self, arrival: RunEvent, at: Timestamp) -> TurnEnd {
        // The workflow is the author's code: a panic harms this run only. What it left behind is dropped, never polled.
        match catch_unwind(AssertUnwindSafe(|| {
            self.deliver(arrival, at);
            self.poll_until_still()
        })) {
            Ok(end) => end,
            Err(panic) => {
                let site = self.desk.borrow().last_site.clone();
                TurnEnd::Halted(Box::new(BlockedReason::Panic { message: panic_message(panic.as_ref()), site }))
            }
        }
    }

    fn deliver(&mut self, arrival: RunEvent, at: Timestamp) {
        let woken = {
            let mut desk = self.desk.borrow_mut();
            desk.now = at;
            match arrival {
                RunEvent::ActivityResolved { ordinal, outcome } => {
                    desk.outcomes.insert(ordinal, outcome);
                    desk.woken_by(Awaited::Call(ordinal))
                }
                RunEvent::TimerFired { ordinal } => {
                    desk.fired.insert(ordinal);
                    desk.woken_by(Awaited::Call(ordinal))
                }
                RunEvent::SignalReceived { name, input, .. } => {
                    let woken = desk.woken_by(Awaited::Signal(&name));
                    desk.signals.entry(name).or_default().push_back(input);
                    woken
                }
                RunEvent::CancelRequested { reason } => {
                    drop(desk);
                    self.cancel(&reason);
                    self.desk.borrow_mut().woken_by(Awaited::Cancel)
                }
                _ => Vec::new(),
            }
        };
        // With the desk free: a waker is a combinator's code.
        woken.into_iter().for_each(Waker::wake);
    }

    /// A cancel drops the workflow at its current await, as dropping a future does everywhere in Rust: calls in flight
    /// are cancelled, then compensations run. A workflow that watches for it is told instead.
    fn cancel(&mut self, reason: &str) {
        let watched = {
            let mut desk = self.desk.borrow_mut();
            desk.cancel.get_or_insert_with(|| reason.to_owned());
            desk.cancel_watchers > 0
        };
        if !watched && matches!(self.stage, Stage::Workflow) {
            self.future = None;
            self.compensate(RunEvent::RunCancelled { reason: reason.to_owned() });
        }
    }

    fn compensate(&mut self, ending: RunEvent) {
        let context = Context(Rc::clone(&self.desk));
        self.future = Some(Box::pin(Compensation { context, current: None }));
        self.stage = Stage::Compensating(Box::new(ending));
    }

    fn poll_until_still(&mut self) -> TurnEnd {
        let waker = self.waker.clone();
        let mut context = PollContext::from_waker(&waker);
        let mut polls = 0;
        loop {
            let Some(future) = &mut self.future else { return TurnEnd::Ended };
            self.desk.borrow_mut().waits = 0;
            self.woken.0.store(false, Ordering::Relaxed);
            let polled = future.as_mut().poll(&mut context);
            polls += 1;
            if let Some(reason) = self.desk.borrow_mut().halted.take() {
                return TurnEnd::Halted(reason);
            }
            if let Poll::Ready(ending) = polled {
                self.future = None;
                self.ended(ending);
                if let Some(reason) = self.desk.borrow_mut().halted.take() {
                    return TurnEnd::Halted(reason);
                }
                continue;
            }
            let woken = self.woken.0.load(Ordering::Relaxed);
            if woken && polls >= self.polls_max {
                return TurnEnd::Halted(Box::new(BlockedReason::Spinning { polls }));
            }
            if woken {
                continue;
            }
            let desk = self.desk.borrow();
            if desk.waits == 0 {
                return TurnEnd::Halted(Box::new(BlockedReason::ForeignAwait { after: desk.last_site.clone() }));
            }
            return TurnEnd::Waiting;
        }
    }

    /// The polled future has returned: the workflow's own, or that of its compensations.
    fn ended(&mut self, ending: Ending) {
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Workflow => match ending {
                Ending::Completed(result) => self.close(RunEvent::RunCompleted { result }),
                Ending::Failed(failure) => self.compensate(RunEvent::RunFailed { failure }),
            },
            Stage::Compensating(event) => self.close(*event),
            Stage::Ended => {}
        }
    }

    fn close(&mut self, event: RunEvent) {
        self.stage = Stage::Ended;
        self.desk.borrow_mut().command(event, &Site::default());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Letting go of a run is not an act of the workflow: its destructors must ask for nothing, and may panic.
        self.desk.borrow_mut().closing = true;
        let future = self.future.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}

/// Runs the pushed compensations, last first, each to its end. One that fails does not keep the others from running.
struct Compensation {
    context: Context,
    current: Option<ActivityWait>,
}

impl Future for Compensation {
    type Output = Ending;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<Ending> {
        loop {
            if let Some(wait) = &mut self.current {
                if Pin::new(wait).poll(polling).is_pending() {
                    return Poll::Pending;
                }
                self.current = None;
            }
            let next = self.context.0.borrow_mut().compensations.pop();
            match next {
                Some(call) => self.current = Some(ActivityWait::new(self.context.clone(), Some(call))),
                None => return Poll::Ready(Ending::Completed(Vec::new())),
            }
        }
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    bounded_text(&text)
}
