use crate::Worker;
use crate::inbox::{Inbox, Message};
use crate::tell::Told;
use crate::worker::Responder;
use antiphon_conversation::Request;
use antiphon_engine::{Claim, Reply, WorkersReply, WorkersRequest};
use antiphon_history::ConversationKey;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An effect with everything needed to carry it out: the engine's names resolved to callers and workers.
pub(crate) enum Release {
    Send {
        worker: Arc<dyn Worker>,
        request: Box<Request>,
    },
    Cancel {
        worker: Arc<dyn Worker>,
        conversation: ConversationKey,
        leg: u32,
    },
    Reply {
        caller: oneshot::Sender<Reply>,
        reply: Reply,
    },
    /// Somebody listens to what becomes durable.
    Tell(Box<Told>),
}

/// Requests for one worker.
type Together = (Arc<dyn Worker>, Vec<(Request, Responder)>);

/// Carries effects out, in order. Only after their segment is durable (invariant 1).
///
/// Requests for the same worker leave together: waking a pool once for a batch is what makes batches cheap.
pub(crate) fn all(releases: Vec<Release>, inbox: &Arc<Inbox>) {
    let mut together: Option<Together> = None;
    for release in releases {
        match release {
            Release::Send { worker, request } => {
                let responder = Responder::new(Arc::clone(inbox), &request);
                match &mut together {
                    Some((to, requests)) if Arc::ptr_eq(to, &worker) => requests.push((*request, responder)),
                    _ => {
                        send(together.take());
                        together = Some((worker, vec![(*request, responder)]));
                    }
                }
            }
            Release::Tell(told) => told.tell(),
            Release::Cancel { worker, conversation, leg } => {
                // It may be for a leg that leaves in this very batch.
                send(together.take());
                worker.cancel(conversation, leg);
            }
            Release::Reply { caller, reply } => {
                // A caller that has gone away loses nothing: what it asked for is on record. Work for a worker that no longer
                // listens goes back into the line, rather than wait for the lease to end.
                if let Err(Reply::Workers(WorkersReply::Claimed(claims))) = caller.send(reply) {
                    claims.iter().for_each(|claim| give_back(claim, inbox));
                }
            }
        }
    }
    send(together);
}

fn give_back(claim: &Claim, inbox: &Inbox) {
    let (reply, _) = oneshot::channel();
    inbox.post(Message::Workers(Box::new(WorkersRequest::Release { leg: claim.leg() }), reply));
}

fn send(together: Option<Together>) {
    if let Some((worker, requests)) = together {
        worker.send_all(requests);
    }
}
