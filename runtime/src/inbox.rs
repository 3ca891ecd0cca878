use crate::sync::{AtomicBool, Mutex, MutexGuard, WakeUp, look_out};
use antiphon_conversation::{Answer, Token};
use antiphon_engine::router::RoutingRequest;
use antiphon_engine::{
    By, QueuesRequest, RepairRequest, Reply, RoutinesRequest, StartRequest, Stats, Target, WorkerView, WorkersRequest,
};
use antiphon_history::{ConversationKey, Payload};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Everything that can wake a partition's thread.
pub(crate) enum Message {
    Start(StartRequest, oneshot::Sender<Reply>),
    Run(StartRequest, oneshot::Sender<Reply>),
    Signal {
        target: Target,
        name: String,
        input: Vec<Payload>,
        request_id: Option<String>,
        reply: oneshot::Sender<Reply>,
    },
    Cancel {
        target: Target,
        reason: String,
        reply: oneshot::Sender<Reply>,
    },
    Terminate {
        target: Target,
        by: By,
        reply: oneshot::Sender<Reply>,
    },
    Wait {
        target: Target,
        reply: oneshot::Sender<Reply>,
    },
    Answered {
        conversation: ConversationKey,
        leg: u32,
        token: Token,
        answer: Answer,
    },
    Heartbeat {
        conversation: ConversationKey,
        leg: u32,
        token: Token,
        details: Option<Payload>,
    },
    Repair(Box<RepairRequest>, oneshot::Sender<Reply>),
    Routines(Box<RoutinesRequest>, oneshot::Sender<Reply>),
    Queues(Box<QueuesRequest>, oneshot::Sender<Reply>),
    Routing(Box<RoutingRequest>, oneshot::Sender<Reply>),
    WorkerJoined(std::sync::Arc<dyn crate::Worker>),
    WorkerLeft {
        name: String,
    },
    WorkerDied {
        name: String,
        how: String,
    },
    /// A worker that asks for its work, or somebody who looks after workers, wants something.
    Workers(Box<WorkersRequest>, oneshot::Sender<Reply>),
    /// The batch that was handed to the writer is durable and its effects are released.
    Durable,
    /// The archive has taken over all segments up to this one.
    Archived {
        through: u64,
    },
    /// The store failed: everything in memory is to be dropped.
    Failed(antiphon_recorder::Error),
    /// Somebody wants to know how things stand.
    Inspect(oneshot::Sender<(Stats, Vec<WorkerView>, u64)>),
    /// The clock was moved, or a caller is gone: look again.
    Look,
    Stop,
}

impl Message {
    /// Words of our own threads that have no order among the requests and must not wait behind them.
    fn is_urgent(&self) -> bool {
        matches!(self, Message::Durable | Message::Failed(_) | Message::Stop)
    }

    /// What a request of a caller holds in memory while it waits, in bytes.
    fn bytes(&self) -> usize {
        let payloads = |input: &[Payload]| input.iter().map(|payload| payload.len() as usize).sum::<usize>();
        REQUEST_BYTES
            + match self {
                Message::Start(request, _) | Message::Run(request, _) => payloads(&request.input),
                Message::Signal { input, .. } => payloads(input),
                Message::Workers(request, _) => match &**request {
                    WorkersRequest::Complete { result, .. } => payloads(result),
                    _ => 0,
                },
                _ => 0,
            }
    }
}

/// What a request takes besides its payloads: an estimate for the bound.
const REQUEST_BYTES: usize = 512;

/// About what sleeping and being woken costs.
const LINGER: Duration = Duration::from_micros(50);

/// The door of a partition's thread: many may put in, one takes all at once.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    ready: WakeUp,
    /// Whether messages wait, and whether urgent ones do: for looking without the lock.
    some: AtomicBool,
    urgent: AtomicBool,
}

#[derive(Default)]
struct State {
    urgent: Vec<Message>,
    messages: Vec<Message>,
    /// Of the requests among `messages`.
    bytes: usize,
    /// What the thread sleeps for, if it sleeps.
    sleep: Option<Wanted>,
    /// Requests of callers are refused; our own threads still get through.
    refusing: bool,
    closed: bool,
}

/// Which messages are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// Only those that go before all others.
    Urgent,
}

/// A message that was not taken.
pub(crate) enum Rejected {
    Closed,
    Full { waiting: usize },
}

impl Inbox {
    /// Puts in a message that must not be lost: from workers and from our own threads. They are bounded by the workers'
    /// capacity. Dropped if the engine has stopped.
    pub(crate) fn post(&self, message: Message) {
        let state = self.lock();
        if !state.closed {
            self.push(state, message);
        }
    }

    /// Puts in a request of a caller, if fewer than `max` messages wait, and requests of fewer than `max_bytes`.
    pub(crate) fn request(&self, message: Message, max: usize, max_bytes: usize) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.closed || state.refusing {
            return Err(Rejected::Closed);
        }
        let waiting = state.messages.len();
        if waiting >= max || state.bytes >= max_bytes {
            return Err(Rejected::Full { waiting });
        }
        state.bytes += message.bytes();
        self.push(state, message);
        Ok(())
    }

    // Waking costs a system call, so it is made only if the thread sleeps: under load it never does.
    fn push(&self, mut state: MutexGuard<'_, State>, message: Message) {
        let urgent = message.is_urgent();
        if urgent {
            state.urgent.push(message);
            self.urgent.store(true, Ordering::Release);
        } else {
            state.messages.push(message);
            self.some.store(true, Ordering::Release);
        }
        if state.sleep.is_some_and(|wanted| urgent || wanted == Wanted::All) {
            state.sleep = None;
            drop(state);
            self.ready.one();
        }
    }

    /// Moves all wanted messages into `into`, urgent ones first; waits for one if there is none, at most `timeout` (without
    /// one: for ever).
    pub(crate) fn take(&self, into: &mut Vec<Message>, wanted: Wanted, timeout: Option<Duration>) {
        if timeout != Some(Duration::ZERO) {
            self.linger(wanted);
        }
        let mut state = self.lock();
        let none = state.urgent.is_empty() && (wanted == Wanted::Urgent || state.messages.is_empty());
        if none && timeout != Some(Duration::ZERO) {
            state.sleep = Some(wanted);
            state = self.ready.wait(state, timeout, |state| state.sleep.is_some());
            state.sleep = None;
        }
        into.append(&mut state.urgent);
        self.urgent.store(false, Ordering::Release);
        if wanted == Wanted::All {
            into.append(&mut state.messages);
            state.bytes = 0;
            self.some.store(false, Ordering::Release);
        }
    }

    /// Looks out for a message for a moment before going to sleep: an activity often answers within it, and being woken
    /// costs more than that. Whoever else wants the processor gets it meanwhile.
    fn linger(&self, wanted: Wanted) {
        look_out(LINGER, || self.has_urgent() || (wanted == Wanted::All && self.some.load(Ordering::Acquire)));
    }

    /// Whether an urgent message waits.
    pub(crate) fn has_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire)
    }

    /// Whether no message waits.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_urgent() && !self.some.load(Ordering::Acquire)
    }

    /// Refuses requests of callers from now on.
    pub(crate) fn refuse(&self) {
        self.lock().refusing = true;
    }

    /// Whether requests of callers are refused.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.closed || state.refusing
    }

    /// Takes no more messages; returns what was left.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.messages)
    }

    // A thread that panicked while pushing left the list whole: a push either happened or did not.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
