use crate::Worker;
use crate::inbox::Inbox;
use crate::worker::Responder;
use antiphon_conversation::Request;
use antiphon_engine::Reply;
use antiphon_history::ConversationKey;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An effect with everything needed to carry it out: the engine's names resolved to callers and workers.
pub(crate) enum Release {
    Send { worker: Arc<dyn Worker>, request: Box<Request> },
    Cancel { worker: Arc<dyn Worker>, conversation: ConversationKey, leg: u32 },
    Reply { caller: oneshot::Sender<Reply>, reply: Reply },
}

impl Release {
    /// Carries the effect out. Only after its segment is durable (invariant 1).
    pub(crate) fn carry_out(self, inbox: &Arc<Inbox>) {
        match self {
            Release::Send { worker, request } => {
                let responder = Responder::new(Arc::clone(inbox), &request);
                worker.send(*request, responder);
            }
            Release::Cancel { worker, conversation, leg } => worker.cancel(conversation, leg),
            // A caller that has gone away loses nothing: what it asked for is on record.
            Release::Reply { caller, reply } => drop(caller.send(reply)),
        }
    }
}
