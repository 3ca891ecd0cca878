use super::link::{Link, LinkError};
use super::settings::ChildSettings;
use super::state::{Ended, Out, Stage, State};
use crate::Worker;
use crate::inbox::{Inbox, Message};
use crate::worker::Responder;
use antiphon_conversation::wire::{Down, Frame, Kind, LegKey, Register, Up, Welcome, WireError};
use antiphon_conversation::{Answer, Request};
use antiphon_engine::WorkerSpec;
use antiphon_history::limits::bounded_text;
use antiphon_history::{ConversationKey, Failure};
use std::collections::BTreeSet;
use std::mem::discriminant;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A worker behind a link, as the engine sees it: the same worker through all lives of its process.
///
/// It judges nothing that a process says of legs: answers go to the engine with the token that they carry, and the engine
/// knows which of them count (invariant 5).
pub(crate) struct Linked {
    pub(crate) settings: Arc<ChildSettings>,
    /// The engine's door; there is none before the engine runs.
    inbox: OnceLock<Arc<Inbox>>,
    state: Mutex<State>,
    to_write: Condvar,
    to_mind: Condvar,
}

impl std::fmt::Debug for Linked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linked({})", self.name())
    }
}

impl Linked {
    /// The `number`-th worker of a pool. Nothing is started.
    pub(crate) fn new(settings: Arc<ChildSettings>, number: u32) -> Linked {
        let ChildSettings { queues, activities, labels, capacity, .. } = (*settings).clone();
        let name = format!("{}-{number}", settings.name);
        let spec = WorkerSpec { name, queues, activities, labels, capacity };
        let (inbox, state) = (OnceLock::new(), Mutex::new(State::new(spec)));
        Linked { settings, inbox, state, to_write: Condvar::new(), to_mind: Condvar::new() }
    }

    pub(crate) fn name(&self) -> String {
        self.lock().spec.name.clone()
    }

    /// Makes the engine known. A process that has died since the engine was told of it is reported now.
    pub(crate) fn attach(&self, inbox: &Arc<Inbox>) {
        let state = self.lock();
        let _ = self.inbox.set(Arc::clone(inbox));
        if let Stage::Down { how } = &state.stage {
            self.report(&state.spec.name, how);
        }
    }

    /// A process was started.
    pub(crate) fn begin(&self) {
        self.lock().enter(Stage::Starting);
    }

    /// A process has ended, and its words are all heard: its legs are lost.
    pub(crate) fn down(&self, how: &str) {
        let mut state = self.lock();
        state.enter(Stage::Down { how: how.to_owned() });
        // Under the lock, here and where a worker joins: the engine hears of its lives in order. One that it has not heard
        // of, or knows to be dead, changes nothing.
        if !state.stopping {
            self.report(&state.spec.name, how);
        }
        drop(state);
        self.to_write.notify_all();
    }

    fn report(&self, name: &str, how: &str) {
        self.post(Message::WorkerDied { name: name.to_owned(), how: how.to_owned() });
    }

    fn post(&self, message: Message) {
        if let Some(inbox) = self.inbox.get() {
            inbox.post(message);
        }
    }

    /// Lets no process be started any more, and tells one that is there to leave.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        if state.stage == Stage::Up {
            state.drain(self.settings.drain_within_ms);
        }
        drop(state);
        self.to_write.notify_all();
        self.to_mind.notify_all();
    }

    /// Waits for `longest`, or until the words of the process have ended or no process is wanted; says how long that was
    /// and lets that time pass. Returns why the process must be killed, if it must.
    ///
    /// A wait that took much longer than asked for is counted as what was asked for: then we were frozen, not the process.
    pub(crate) fn mind(&self, longest: Duration) -> Minded {
        let begun = Instant::now();
        let state = self.lock();
        let (stopping, stage) = (state.stopping, discriminant(&state.stage));
        let same = |state: &State| state.stopping == stopping && discriminant(&state.stage) == stage;
        let asleep = |state: &mut State| state.ended.is_none() && same(state);
        let waited = self.to_mind.wait_timeout_while(state, longest, asleep);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(ended) = state.ended.clone() {
            return Minded::Ended(ended);
        }
        let passed = begun.elapsed().min(longest);
        let kill = state.pass(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX), &self.settings);
        let kill = kill.or((state.stopping && state.stage == Stage::Starting).then(|| "it is not wanted".to_owned()));
        let talks = !state.out.is_empty();
        drop(state);
        if talks {
            self.to_write.notify_all();
        }
        kill.map_or(Minded::Alive, Minded::Overdue)
    }

    /// Waits before the next start. False: there is to be none.
    pub(crate) fn rest(&self, ms: u64) -> bool {
        let waited = self.to_mind.wait_timeout_while(self.lock(), Duration::from_millis(ms), |state| !state.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    pub(crate) fn is_up(&self) -> bool {
        self.lock().stage == Stage::Up
    }

    /// The writer's thread of one life: ends with the life or with the link.
    pub(crate) fn write(&self, link: &dyn Link) {
        loop {
            let idle = |state: &mut State| state.out.is_empty() && !is_over(state);
            let waited = self.to_write.wait_while(self.lock(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.out.is_empty() {
                return;
            }
            let out = std::mem::take(&mut state.out);
            drop(state);
            let frames: Vec<Frame> = out.into_iter().filter_map(|out| self.frame(out)).collect();
            // The other side is gone: the reader learns of it too, and says so.
            if link.send(&frames).is_err() {
                return link.close();
            }
        }
    }

    fn frame(&self, out: Out) -> Option<Frame> {
        match out {
            Out::Frame(down) => down.to_frame().ok(),
            Out::Send(request, responder) => {
                let leg = LegKey { conversation: request.conversation, leg: request.leg };
                let framed = Down::Dispatch(request).to_frame();
                if let Err(error) = &framed {
                    self.lock().legs.remove(&leg);
                    responder.answer(unsendable(error));
                }
                framed.ok()
            }
        }
    }

    /// The reader's thread of one life: greets, and hears everything until the link ends.
    pub(crate) fn read(self: &Arc<Self>, link: &dyn Link, instance: &str) {
        let ended = match self.listen(link, instance) {
            Ok(()) | Err(LinkError::Io(_)) => Ended::Closed,
            Err(error @ LinkError::Wire(_)) => Ended::Broken(error.to_string()),
        };
        self.lock().end(ended);
        self.to_mind.notify_all();
        self.to_write.notify_all();
    }

    fn listen(self: &Arc<Self>, link: &dyn Link, instance: &str) -> Result<(), LinkError> {
        let (name, capacity) = (self.name(), self.settings.capacity);
        let (instance, version) = (instance.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let welcome = Welcome { name, instance, capacity, version };
        link.send(&[Down::Welcome(welcome.clone()).to_frame()?])?;
        let Some(first) = link.receive()? else { return Ok(()) };
        match Up::of(&first)? {
            Up::Register(register) => self.register(register, &welcome)?,
            _ => return Err(WireError::Unexpected { found: first.kind }.into()),
        }
        while let Some(frame) = link.receive()? {
            self.hear(Up::of(&frame)?)?;
        }
        Ok(())
    }

    /// Takes a registration as it is, if it is within what the pool is for; the worker joins the engine.
    fn register(self: &Arc<Self>, register: Register, welcome: &Welcome) -> Result<(), LinkError> {
        let refused = |problem: String| -> LinkError { WireError::Body { kind: Kind::Register, problem }.into() };
        let Register { name, instance, queues, activities, labels, capacity, .. } = register;
        if (&name, &instance) != (&welcome.name, &welcome.instance) {
            return Err(refused(format!("it calls itself {name:?}, not {:?}", welcome.name)));
        }
        let only = |what: &str, has: &BTreeSet<String>, may: &BTreeSet<String>| match has.difference(may).next() {
            Some(extra) => Err(refused(format!("its pool is not for {what} {extra:?}"))),
            None => Ok(()),
        };
        only("task queue", &queues, &self.settings.queues)?;
        only("label", &labels, &self.settings.labels)?;
        if let Some(missing) = self.settings.activities.difference(&activities).next() {
            return Err(refused(format!("it has no activity {missing:?}: it is another program, or another build")));
        }
        let capacity = capacity.clamp(1, self.settings.capacity.max(1));
        let mut state = self.lock();
        state.spec = WorkerSpec { name, queues, activities, labels, capacity };
        state.enter(Stage::Up);
        if state.stopping {
            state.drain(self.settings.drain_within_ms);
            self.to_write.notify_all();
        } else {
            let joined = Arc::clone(self);
            self.post(Message::WorkerJoined(joined));
        }
        drop(state);
        self.to_mind.notify_all();
        Ok(())
    }

    fn hear(&self, up: Up) -> Result<(), WireError> {
        let mut state = self.lock();
        state.heard();
        let message = match up {
            Up::Register(_) => {
                return Err(WireError::Unexpected { found: Kind::Register });
            }
            // Signs of life; whether a body has begun is for its answer to show.
            Up::Accepted(_) | Up::Pong { .. } => return Ok(()),
            Up::Leave { reason } => {
                state.leaves(bounded_text(&reason));
                return Ok(());
            }
            Up::Heartbeat { leg: LegKey { conversation, leg }, token, details } => {
                Message::Heartbeat { conversation, leg, token, details }
            }
            Up::Result { leg, token, answer } => {
                state.legs.remove(&leg);
                let LegKey { conversation, leg } = leg;
                Message::Answered { conversation, leg, token, answer }
            }
        };
        drop(state);
        self.post(message);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at a process says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Minded {
    Alive,
    /// It must be killed, and why.
    Overdue(String),
    /// It will say nothing more.
    Ended(Ended),
}

fn is_over(state: &State) -> bool {
    state.ended.is_some() || matches!(state.stage, Stage::Down { .. })
}

/// Another attempt would be as large.
fn unsendable(error: &WireError) -> Answer {
    let message = format!("the call does not fit into one message to its worker process: {error} [A0054]");
    Answer::Failed { failure: Failure { message, kind: "TooLarge".to_owned(), details: None }, retryable: false }
}

impl Worker for Linked {
    fn spec(&self) -> WorkerSpec {
        self.lock().spec.clone()
    }

    fn send(&self, request: Request, responder: Responder) {
        self.send_all(vec![(request, responder)]);
    }

    fn send_all(&self, requests: Vec<(Request, Responder)>) {
        let mut state = self.lock();
        for (request, responder) in requests {
            let _ = self.inbox.get_or_init(|| responder.inbox());
            if state.stage == Stage::Up {
                let leg = LegKey { conversation: request.conversation, leg: request.leg };
                state.legs.insert(leg, None);
                state.out.push(Out::Send(Box::new(request), responder));
            }
        }
        match &state.stage {
            Stage::Up => {
                drop(state);
                self.to_write.notify_all();
            }
            // An engine that has opened its store anew may not have heard of the death: it is told again, which ends
            // all legs that it believes to be here. One that has heard of it takes no notice.
            Stage::Down { how } => self.report(&state.spec.name, how),
            Stage::Starting | Stage::Draining => {}
        }
    }

    fn cancel(&self, conversation: ConversationKey, leg: u32) {
        self.lock().cancel(LegKey { conversation, leg });
        self.to_write.notify_all();
    }

    fn reset(&self) {
        let mut state = self.lock();
        let legs: Vec<LegKey> = state.legs.keys().copied().collect();
        legs.into_iter().for_each(|leg| state.cancel(leg));
        drop(state);
        self.to_write.notify_all();
    }
}

#[cfg(test)]
mod tests;
