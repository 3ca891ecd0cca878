//! Waiting for several parts at once, written by hand: the engine must be right under any combinator that keeps the rules.

use crate::interpret::{Outcome, Part};
use antiphon_engine::Context;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as PollContext, Poll, Wake, Waker};

/// All parts, each to its end; outcomes in the order of the parts.
pub(crate) struct Together<'a> {
    context: &'a Context,
    parts: Vec<Slot<'a>>,
    on_demand: bool,
}

enum Slot<'a> {
    Running(Part<'a>, Arc<Bell>),
    Done(Outcome),
}

/// Notes that a part was woken, and passes it on to whoever polls all parts.
struct Bell {
    rung: AtomicBool,
    parent: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Relaxed);
        let parent = self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        parent.wake();
    }
}

impl<'a> Together<'a> {
    pub(crate) fn new(context: &'a Context, parts: Vec<Part<'a>>, on_demand: bool) -> Together<'a> {
        let bell = || Arc::new(Bell { rung: AtomicBool::new(true), parent: Mutex::new(Waker::noop().clone()) });
        Together { context, parts: parts.into_iter().map(|part| Slot::Running(part, bell())).collect(), on_demand }
    }
}

impl Future for Together<'_> {
    type Output = Vec<Outcome>;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<Vec<Outcome>> {
        let Together { context, parts, on_demand } = &mut *self;
        let (mut running, mut passed_over) = (false, false);
        for slot in parts.iter_mut() {
            let Slot::Running(part, bell) = slot else { continue };
            let polled = if *on_demand {
                *bell.parent.lock().unwrap_or_else(PoisonError::into_inner) = polling.waker().clone();
                if !bell.rung.swap(false, Ordering::Relaxed) {
                    (running, passed_over) = (true, true);
                    continue;
                }
                let waker = Waker::from(Arc::clone(bell));
                part.as_mut().poll(&mut PollContext::from_waker(&waker))
            } else {
                part.as_mut().poll(polling)
            };
            match polled {
                Poll::Ready(outcome) => *slot = Slot::Done(outcome),
                Poll::Pending => running = true,
            }
        }
        if passed_over {
            context.still_waits();
        }
        if running {
            return Poll::Pending;
        }
        let done = |slot| match slot {
            Slot::Done(outcome) => Some(outcome),
            Slot::Running(..) => None,
        };
        Poll::Ready(std::mem::take(parts).into_iter().filter_map(done).collect())
    }
}

/// The first part that ends, by place where several are ready; the others are dropped at once, in order.
pub(crate) struct Race<'a>(pub(crate) Vec<Part<'a>>);

impl Future for Race<'_> {
    type Output = (usize, Outcome);

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<(usize, Outcome)> {
        let ready = self.0.iter_mut().enumerate().find_map(|(place, part)| match part.as_mut().poll(polling) {
            Poll::Ready(outcome) => Some((place, outcome)),
            Poll::Pending => None,
        });
        match ready {
            Some(won) => {
                self.0.clear();
                Poll::Ready(won)
            }
            None => Poll::Pending,
        }
    }
}

/// The body's outcome, or `None` if a cancel came first; then the body is dropped.
pub(crate) async fn until_cancelled(context: &Context, mut body: Part<'_>) -> Option<Outcome> {
    let mut cancelled = pin!(context.cancelled());
    poll_fn(|polling| {
        if let Poll::Ready(outcome) = body.as_mut().poll(polling) {
            return Poll::Ready(Some(outcome));
        }
        cancelled.as_mut().poll(polling).map(|_| None)
    })
    .await
}
