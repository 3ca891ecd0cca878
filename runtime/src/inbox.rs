use antiphon_conversation::{Answer, Token};
use antiphon_engine::{Reply, StartRequest, Stats, Target, WorkerView};
use antiphon_history::{ConversationKey, Payload};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
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
    WorkerJoined(std::sync::Arc<dyn crate::Worker>),
    WorkerLeft {
        name: String,
    },
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

/// About what sleeping and being woken costs.
const LINGER: Duration = Duration::from_micros(50);

/// The door of a partition's thread: many may put in, one takes all at once.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    ready: Condvar,
    /// Whether messages wait, for looking without the lock.
    some: AtomicBool,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    sleeping: bool,
    /// Requests of callers are refused; our own threads still get through.
    refusing: bool,
    closed: bool,
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

    /// Puts in a request of a caller, if fewer than `max` messages wait.
    pub(crate) fn request(&self, message: Message, max: usize) -> Result<(), Rejected> {
        let state = self.lock();
        if state.closed || state.refusing {
            return Err(Rejected::Closed);
        }
        let waiting = state.messages.len();
        if waiting >= max {
            return Err(Rejected::Full { waiting });
        }
        self.push(state, message);
        Ok(())
    }

    // Waking costs a system call, so it is made only if the thread sleeps: under load it never does.
    fn push(&self, mut state: MutexGuard<'_, State>, message: Message) {
        state.messages.push(message);
        self.some.store(true, Ordering::Release);
        if state.sleeping {
            state.sleeping = false;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Moves all messages into `into`; waits for one if there is none, at most `timeout` (without one: for ever).
    pub(crate) fn take(&self, into: &mut Vec<Message>, timeout: Option<Duration>) {
        if timeout != Some(Duration::ZERO) {
            self.linger();
        }
        let mut state = self.lock();
        if state.messages.is_empty() && timeout != Some(Duration::ZERO) {
            state.sleeping = true;
            let waits = |state: &mut State| state.sleeping;
            state = match timeout {
                None => self.ready.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    self.ready.wait_timeout_while(state, timeout, waits).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.sleeping = false;
        }
        into.append(&mut state.messages);
        self.some.store(false, Ordering::Release);
    }

    /// Looks out for a message for a moment before going to sleep: an activity often answers within it, and being woken
    /// costs more than that. Whoever else wants the processor gets it meanwhile.
    fn linger(&self) {
        let until = Instant::now() + LINGER;
        while !self.some.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    /// Whether messages wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
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
        self.some.store(false, Ordering::Release);
        std::mem::take(&mut state.messages)
    }

    // A thread that panicked while pushing left the list whole: a push either happened or did not.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
