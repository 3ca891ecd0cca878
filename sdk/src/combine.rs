//! Waiting for several things at once, always in a fixed order: all of them, the first, or each as it is done.
//!
//! Arrivals are applied one at a time, so what is ready first is decided by the log and repeated by replay.

use crate::WorkflowContext;
use crate::on_demand::OnDemand;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as PollContext, Poll};

impl<'run> WorkflowContext<'run> {
    /// Waits for all futures of a tuple of two to eight: `let (a, b) = ctx.join((first, second)).await;`
    pub async fn join<J: Join>(&self, futures: J) -> J::Output {
        futures.join().await
    }

    /// Waits for all futures; results in the order of the futures.
    pub fn join_all<F: Future>(&self, futures: impl IntoIterator<Item = F>) -> JoinAll<'run, F> {
        let mut set = OnDemand::new(self.context);
        futures.into_iter().for_each(|future| _ = set.push(future));
        JoinAll { results: std::iter::repeat_with(|| None).take(set.len()).collect(), set }
    }

    /// Hands out results in the order in which they were recorded: `while let Some((index, result)) = set.next().await`.
    ///
    /// More futures may be pushed at any time; this is how a bounded number is kept under way.
    pub fn each_as_done<F: Future>(&self, futures: impl IntoIterator<Item = F>) -> EachAsDone<'run, F> {
        let mut each = EachAsDone { set: OnDemand::new(self.context) };
        futures.into_iter().for_each(|future| _ = each.push(future));
        each
    }
}

enum Slot<F: Future> {
    Waiting(Pin<Box<F>>),
    Done(F::Output),
    Taken,
}

impl<F: Future> Slot<F> {
    /// Polls if need be; true once the result is there.
    fn poll(&mut self, polling: &mut PollContext<'_>) -> bool {
        if let Slot::Waiting(future) = self {
            match future.as_mut().poll(polling) {
                Poll::Ready(value) => *self = Slot::Done(value),
                Poll::Pending => return false,
            }
        }
        true
    }

    fn take(&mut self) -> Option<F::Output> {
        match std::mem::replace(self, Slot::Taken) {
            Slot::Done(value) => Some(value),
            _ => None,
        }
    }
}

/// See [`WorkflowContext::join_all`].
#[must_use = "futures do nothing unless awaited"]
pub struct JoinAll<'run, F: Future> {
    set: OnDemand<'run, F>,
    results: Vec<Option<F::Output>>,
}

impl<F: Future> fmt::Debug for JoinAll<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinAll({})", self.results.len())
    }
}

impl<F: Future> Unpin for JoinAll<'_, F> {}

impl<F: Future> Future for JoinAll<'_, F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<Self::Output> {
        while let Some((index, value)) = self.set.poll(polling) {
            self.results[index] = Some(value);
        }
        if self.set.len() > 0 {
            return Poll::Pending;
        }
        Poll::Ready(self.results.iter_mut().filter_map(Option::take).collect())
    }
}

/// See [`WorkflowContext::each_as_done`].
pub struct EachAsDone<'run, F: Future> {
    set: OnDemand<'run, F>,
}

impl<F: Future> fmt::Debug for EachAsDone<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EachAsDone({} waiting)", self.set.len())
    }
}

impl<F: Future> EachAsDone<'_, F> {
    /// Adds a future; returns the index that its result will carry: how many were pushed before.
    pub fn push(&mut self, future: F) -> usize {
        self.set.push(future)
    }

    /// How many are still waited for.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.set.len() == 0
    }

    /// The next result with the index of its future; `None` when all have been handed out.
    pub async fn next(&mut self) -> Option<(usize, F::Output)> {
        std::future::poll_fn(|polling| match self.set.poll(polling) {
            Some(done) => Poll::Ready(Some(done)),
            None if self.set.len() == 0 => Poll::Ready(None),
            None => Poll::Pending,
        })
        .await
    }
}

/// A tuple of futures that can be joined. Implemented for tuples of two to eight.
pub trait Join {
    /// The tuple of their outputs.
    type Output;
    /// Waits for all of them, polling in their order.
    fn join(self) -> impl Future<Output = Self::Output>;
}

macro_rules! join_tuple {
    ($($future:ident $value:ident),+) => {
        impl<$($future: Future),+> Join for ($($future,)+) {
            type Output = ($($future::Output,)+);

            async fn join(self) -> Self::Output {
                #[allow(non_snake_case)]
                let ($($future,)+) = self;
                $(#[allow(non_snake_case)] let mut $future = Slot::Waiting(Box::pin($future));)+
                std::future::poll_fn(|polling| {
                    let mut all = true;
                    $(all &= $future.poll(polling);)+
                    if !all {
                        return Poll::Pending;
                    }
                    match ($($future.take(),)+) {
                        ($(Some($value),)+) => Poll::Ready(($($value,)+)),
                        _ => Poll::Pending,
                    }
                })
                .await
            }
        }
    };
}

join_tuple!(A a, B b);
join_tuple!(A a, B b, C c);
join_tuple!(A a, B b, C c, D d);
join_tuple!(A a, B b, C c, D d, E e);
join_tuple!(A a, B b, C c, D d, E e, F f);
join_tuple!(A a, B b, C c, D d, E e, F f, G g);
join_tuple!(A a, B b, C c, D d, E e, F f, G g, H h);

/// Which of two was first.
#[derive(Debug)]
pub enum First<A, B> {
    /// The one that was polled first, which also wins if both are ready.
    This(A),
    /// The other.
    Other(B),
}

/// Waits for the first of two, polling in order. The loser is dropped, which cancels what it stands for.
pub async fn first<A, B>(this: impl Future<Output = A>, other: impl Future<Output = B>) -> First<A, B> {
    let mut this = std::pin::pin!(this);
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|polling| {
        if let Poll::Ready(value) = this.as_mut().poll(polling) {
            return Poll::Ready(First::This(value));
        }
        other.as_mut().poll(polling).map(First::Other)
    })
    .await
}

/// Waits for the first of several futures; the others are dropped, which cancels what they stand for, on record.
///
/// ```ignore
/// let packed = antiphon::race! { ctx;
///     p = ctx.signal::<Packed>("packed") => Some(p),
///     _ = ctx.sleep(hours(48))           => None,
/// };
/// ```
///
/// The record decides who was first, and replay repeats it. If two are ready at once, the upper one wins.
#[macro_export]
macro_rules! race {
    ($ctx:expr; $($pattern:pat = $future:expr => $result:expr),+ $(,)?) => {{
        let _: &$crate::WorkflowContext<'_> = &$ctx;
        let winner = $crate::__race_future!($($future),+).await;
        $crate::__race_match!(winner; $($pattern => $result),+)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __race_future {
    ($only:expr) => { ::core::future::IntoFuture::into_future($only) };
    ($this:expr, $($others:expr),+) => {
        $crate::__private::first(::core::future::IntoFuture::into_future($this), $crate::__race_future!($($others),+))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __race_match {
    ($winner:expr; $pattern:pat => $result:expr) => {
        match $winner { $pattern => $result }
    };
    ($winner:expr; $pattern:pat => $result:expr, $($patterns:pat => $results:expr),+) => {
        match $winner {
            $crate::__private::First::This($pattern) => $result,
            $crate::__private::First::Other(other) => $crate::__race_match!(other; $($patterns => $results),+),
        }
    };
}
