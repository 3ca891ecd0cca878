use crate::inbox::{Inbox, Message};
use antiphon_conversation::{Answer, Request, Token};
use antiphon_engine::WorkerSpec;
use antiphon_history::{ConversationKey, Payload};
use std::sync::Arc;

/// Something that carries out activities: a pool in this process, a scripted worker of a test, later a remote process.
///
/// Called from the engine's threads after the request is durable: must return at once and never block.
pub trait Worker: Send + Sync + 'static {
    /// What it offers. Asked once, when it joins.
    fn spec(&self) -> WorkerSpec;

    /// Takes a request. Must answer exactly once through `responder`, if only with [`Answer::Stopped`].
    fn send(&self, request: Request, responder: Responder);

    /// Takes several requests that became durable together, in order. The same as [`Worker::send`] for each.
    fn send_all(&self, requests: Vec<(Request, Responder)>) {
        requests.into_iter().for_each(|(request, responder)| self.send(request, responder));
    }

    /// The outcome of a leg no longer counts: stop it, and answer [`Answer::Stopped`] when its body has ended.
    fn cancel(&self, conversation: ConversationKey, leg: u32);

    /// The engine is gone, or has lost its memory: no leg counts any more. Stop them all.
    fn reset(&self);
}

/// The way back from a worker to the engine, for one leg.
#[derive(Clone)]
pub struct Responder {
    inbox: Arc<Inbox>,
    conversation: ConversationKey,
    leg: u32,
    token: Token,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Responder({} leg {})", self.conversation, self.leg)
    }
}

impl Responder {
    pub(crate) fn new(inbox: Arc<Inbox>, request: &Request) -> Responder {
        Responder { inbox, conversation: request.conversation, leg: request.leg, token: request.token }
    }

    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Ends the leg. Durable some time after this returns; a second answer is counted and changes nothing.
    pub fn answer(&self, answer: Answer) {
        let (conversation, leg, token) = (self.conversation, self.leg, self.token);
        self.inbox.post(Message::Answered { conversation, leg, token, answer });
    }

    /// Tells that the body is alive, and how far it is.
    pub fn heartbeat(&self, details: Option<Payload>) {
        let (conversation, leg, token) = (self.conversation, self.leg, self.token);
        self.inbox.post(Message::Heartbeat { conversation, leg, token, details });
    }
}
