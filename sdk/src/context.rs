use crate::call::activity_call;
use crate::options::{CallOptions, call_builder};
use crate::outcome::result_of;
use crate::value::{DecodeError, EncodeError, decode, encode};
use crate::{ActivityDefinition, Call, CallError, CallRefused};
use antiphon_engine::{ActivityWait, Context};
use antiphon_history::{Payload, RunId, Site, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as PollContext, Poll};
use std::time::Duration;

/// What workflow code has of the world. Everything durable goes through it.
///
/// It is borrowed and not `Send`: a workflow cannot hand it to another task or thread, so `tokio::spawn` in workflow
/// code does not compile. Between two awaits the workflow must do the same on every replay: no clock, no random source,
/// no I/O, no hash-map order; use [`now`](Self::now), [`random`](Self::random), activities and
/// [`side_effect`](Self::side_effect).
#[derive(Clone, Copy)]
pub struct WorkflowContext<'run> {
    pub(crate) context: &'run Context,
}

impl fmt::Debug for WorkflowContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkflowContext({})", self.context.workflow())
    }
}

impl<'run> WorkflowContext<'run> {
    pub(crate) fn new(context: &'run Context) -> WorkflowContext<'run> {
        WorkflowContext { context }
    }

    /// Calls an activity: `ctx.call(charge(order, cents)).attempts(5).await`.
    ///
    /// The call takes its place among the run's calls now and is scheduled when it is first polled, or by
    /// [`start`](PendingCall::start). Dropping it before its outcome cancels the activity, and the record says so.
    #[track_caller]
    pub fn call<D: ActivityDefinition>(&self, call: Call<D>) -> PendingCall<'run, D> {
        let (input, options) = call.split();
        PendingCall {
            context: self.context,
            wait: self.context.activity_place(),
            input: Some(input),
            options,
            site: here(),
            refused: None,
            definition: PhantomData,
        }
    }

    /// Pushes an activity that runs if the workflow later fails or is cancelled. Last pushed runs first; each runs to
    /// its end, whatever becomes of the others.
    ///
    /// A call whose options or arguments are impossible panics, which blocks the run until the code is mended.
    #[track_caller]
    pub fn undo<D: ActivityDefinition>(&self, call: Call<D>) {
        let site = here();
        match call.into_parts() {
            Ok(mut call) => {
                call.site = site;
                self.context.compensate(call);
            }
            Err(error) => panic!("ctx.undo at {site}: {error}"),
        }
    }

    /// Waits durably for at least `duration`, in whole milliseconds. The process may be gone meanwhile.
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Sleep<'run> {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Sleep { wait: self.context.timer(ms, here()), lifetime: PhantomData }
    }

    /// Waits for the next signal named `name`. Signals that came before were kept, in order.
    ///
    /// A signal that cannot be read as `T` blocks the run with a report; code that can read it lets it go on.
    #[track_caller]
    pub fn signal<T: DeserializeOwned>(&self, name: &str) -> Signal<'run, T> {
        let wait = self.context.signal(name);
        Signal { context: self.context, wait, name: name.to_owned(), site: here(), value: PhantomData }
    }

    /// Waits for a request to cancel the run, and returns its reason.
    ///
    /// Without such a wait, a cancel drops the workflow at its current await and runs what [`undo`](Self::undo) pushed.
    /// While one is alive (in a [`race!`](crate::race)), the workflow is told instead and decides itself.
    pub fn cancelled(&self) -> Cancelled<'run> {
        Cancelled { wait: self.context.cancelled(), lifetime: PhantomData }
    }

    /// Takes a value from outside once and writes it down: `ctx.side_effect(|| std::env::var("HOME").ok()).await`.
    ///
    /// Replay returns what was written and never calls `take`. For anything that can fail or take time use an activity.
    #[track_caller]
    pub fn side_effect<T, F>(&self, take: F) -> SideEffect<'run, T>
    where
        T: Serialize + DeserializeOwned + 'run,
        F: FnOnce() -> T + 'run,
    {
        let site = here();
        // A value that cannot be encoded is the author's mistake: the panic blocks the run until it is mended.
        let encoded = move || encode(&take()).unwrap_or_else(|error| panic!("ctx.side_effect: {error}"));
        let wait: PayloadFuture<'run> =
            Box::pin(self.context.side_effect(Box::new(encoded) as Box<dyn FnOnce() -> _ + 'run>, site.clone()));
        SideEffect { context: self.context, wait, site, value: PhantomData }
    }

    /// The recorded time of the event that the workflow is acting on. Stands still between awaits.
    pub fn now(&self) -> Timestamp {
        self.context.now()
    }

    /// The next number of the run's own random stream; the same on every replay. Not for secrets.
    pub fn random(&self) -> u64 {
        let mut eight = [0u8; 8];
        eight.copy_from_slice(&self.context.random()[..8]);
        u64::from_le_bytes(eight)
    }

    /// A UUID v4 from the run's random stream, as text; the same on every replay. Not for secrets.
    pub fn uuid(&self) -> String {
        let mut bytes = self.context.random();
        bytes[6] = 0x40 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        RunId(bytes).to_string()
    }

    /// Whether this run takes the new side of the change `name`: runs that passed this place before the change answer
    /// no for ever, new runs yes.
    #[track_caller]
    pub fn patched(&self, name: &str) -> bool {
        self.context.patched(name, &here())
    }

    /// The user's id of this run.
    pub fn workflow_id(&self) -> String {
        self.context.workflow().id
    }

    /// The engine's id of this run.
    pub fn run_id(&self) -> RunId {
        self.context.run_id()
    }
}

/// The author's line that is calling us.
#[track_caller]
pub(crate) fn here() -> Site {
    thread_local! {
        /// The text of each place that called on this thread: a program has few, and each is asked for at every call.
        static SITES: RefCell<HashMap<usize, Site>> = RefCell::default();
    }
    let place = Location::caller();
    let text = || Site(format!("{}:{}", place.file(), place.line()).into());
    // A place is one static of the program, so its address names it.
    let address = std::ptr::from_ref(place).addr();
    SITES.with_borrow_mut(|sites| sites.entry(address).or_insert_with(text).clone())
}

/// An activity call on its way: a builder, and the future of its outcome.
#[must_use = "an activity call does nothing until it is awaited or started"]
pub struct PendingCall<'run, D: ActivityDefinition> {
    context: &'run Context,
    wait: ActivityWait,
    /// The arguments, until the call is asked.
    input: Option<std::result::Result<Vec<Payload>, EncodeError>>,
    options: CallOptions,
    site: Site,
    refused: Option<CallRefused>,
    definition: PhantomData<fn() -> D>,
}

impl<D: ActivityDefinition> fmt::Debug for PendingCall<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingCall({} {})", D::NAME, self.wait.ordinal())
    }
}

impl<D: ActivityDefinition> PendingCall<'_, D> {
    call_builder!();

    /// Schedules the activity now; await it later.
    pub fn start(mut self) -> Self {
        self.ask();
        self
    }

    fn ask(&mut self) {
        let Some(input) = self.input.take() else { return };
        match activity_call::<D>(input, std::mem::take(&mut self.options)) {
            Ok(mut call) => {
                call.site = self.site.clone();
                self.wait.fill(call);
                self.wait.start();
            }
            Err(error) => self.refused = Some(error),
        }
    }

    fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }
}

impl<D: ActivityDefinition> Unpin for PendingCall<'_, D> {}

impl<D: ActivityDefinition> Future for PendingCall<'_, D> {
    type Output = std::result::Result<D::Output, CallError<D::Error>>;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.ask();
        if let Some(refused) = this.refused.take() {
            return Poll::Ready(Err(CallError::Refused(refused)));
        }
        let Poll::Ready(outcome) = Pin::new(&mut this.wait).poll(polling) else { return Poll::Pending };
        match result_of::<D>(&outcome) {
            // Deploying code that can read the value mends this; an error would only make the workflow diverge. A failure
            // without a value (a result over the limit, an argument that the body could not read) is no such case: it is
            // the outcome, and the workflow is told.
            Err(CallError::Refused(CallRefused::Undecodable(problem)))
                if !matches!(problem, DecodeError::Absent { .. }) =>
            {
                this.context.block_undecodable(problem.to_string(), this.site.clone());
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }
}

/// A durable timer; see [`WorkflowContext::sleep`].
#[must_use = "a timer does not run until it is awaited"]
#[derive(Debug)]
pub struct Sleep<'run> {
    wait: antiphon_engine::TimerWait,
    lifetime: PhantomData<&'run ()>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<()> {
        Pin::new(&mut self.wait).poll(polling)
    }
}

/// The next signal of a name; see [`WorkflowContext::signal`].
#[must_use = "a signal is not taken until this is awaited"]
#[derive(Debug)]
pub struct Signal<'run, T> {
    context: &'run Context,
    wait: antiphon_engine::SignalWait,
    name: String,
    site: Site,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Future for Signal<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<T> {
        let Poll::Ready(input) = Pin::new(&mut self.wait).poll(polling) else { return Poll::Pending };
        let decoded = match input.as_slice() {
            [payload] => decode(payload).map_err(|error| error.to_string()),
            others => Err(format!("it has {} values, one was expected", others.len())),
        };
        match decoded {
            Ok(value) => Poll::Ready(value),
            Err(problem) => {
                let message = format!("signal {:?}: {problem}", self.name);
                self.context.block_undecodable(message, self.site.clone());
                Poll::Pending
            }
        }
    }
}

/// The request to cancel; see [`WorkflowContext::cancelled`].
#[must_use = "a cancel is not noticed until this is awaited"]
#[derive(Debug)]
pub struct Cancelled<'run> {
    wait: antiphon_engine::CancelWait,
    lifetime: PhantomData<&'run ()>,
}

impl Future for Cancelled<'_> {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<String> {
        Pin::new(&mut self.wait).poll(polling)
    }
}

type PayloadFuture<'run> = Pin<Box<dyn Future<Output = antiphon_history::Payload> + 'run>>;

/// A value taken from outside; see [`WorkflowContext::side_effect`].
#[must_use = "a side effect is not taken until this is awaited"]
pub struct SideEffect<'run, T> {
    context: &'run Context,
    wait: PayloadFuture<'run>,
    site: Site,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for SideEffect<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideEffect(at {})", self.site)
    }
}

impl<T: DeserializeOwned> Future for SideEffect<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, polling: &mut PollContext<'_>) -> Poll<T> {
        let Poll::Ready(payload) = self.wait.as_mut().poll(polling) else { return Poll::Pending };
        match decode(&payload) {
            Ok(value) => Poll::Ready(value),
            Err(problem) => {
                self.context.block_undecodable(format!("side effect: {problem}"), self.site.clone());
                Poll::Pending
            }
        }
    }
}
