use super::link::{Link, LinkError};
use super::outbox::Outbox;
use crate::inbox::{Inbox, Message, Wanted};
use crate::worker::{Responder, Worker};
use crate::{ActivityBody, LocalPool};
use antiphon_conversation::wire::{Down, LegKey, Register, Up, WireError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// What a worker process has for an engine.
#[derive(Clone)]
pub struct Offer {
    /// The task queues that it subscribes to.
    pub queues: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// Its code.
    pub bodies: Vec<Arc<dyn ActivityBody>>,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Offer({} activities on {:?})", self.bodies.len(), self.queues)
    }
}

/// Why a worker serves no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// The engine told it to leave, and it has said that it does.
    Drained,
    /// The engine is gone: nobody wants what the bodies do any more.
    Abandoned,
}

/// Serves the engine at the other end of a link until it is told to leave or the engine is gone. Blocks; bodies run on
/// `tokio`, of which another thread must be at work.
///
/// Errors: the engine does not keep to the protocol, or another version of it. Bodies were told to stop.
pub fn serve(link: &dyn Link, offer: Offer, tokio: Handle) -> Result<Served, LinkError> {
    let Some(first) = link.receive()? else { return Ok(Served::Abandoned) };
    let Down::Welcome(welcome) = Down::of(&first)? else {
        return Err(WireError::Unexpected { found: first.kind }.into());
    };
    let Offer { queues, labels, bodies } = offer;
    let register = Up::Register(Register {
        name: welcome.name.clone(),
        instance: welcome.instance,
        queues: queues.clone(),
        activities: bodies.iter().map(|body| body.name().to_owned()).collect(),
        labels: labels.clone(),
        capacity: welcome.capacity,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    let pool = LocalPool::new(welcome.name, queues, labels, welcome.capacity, bodies, tokio);
    let (inbox, outbox) = (Arc::new(Inbox::default()), Outbox::default());
    outbox.say(register);
    std::thread::scope(|scope| {
        scope.spawn(|| outbox.write(link));
        scope.spawn(|| collect(&inbox, &outbox));
        let served = listen(link, &pool, &inbox, &outbox);
        pool.reset();
        outbox.close();
        inbox.post(Message::Stop);
        served
    })
}

/// Ends a worker process that has served. What its bodies have started ends with it, if the engine is gone; else the
/// engine sees to that.
pub fn finish(served: Served) -> ! {
    use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
    // Only in a group of its own, as a pool starts it: others may be anybody.
    if served == Served::Abandoned && getpgrp() == getpid() {
        let _ = kill_process_group(getpid(), Signal::KILL);
    }
    std::process::exit(0)
}

/// Takes what bodies say, at once, so that no body and no queue grows while the engine is slow to listen.
fn collect(inbox: &Inbox, outbox: &Outbox) {
    let mut messages = Vec::new();
    loop {
        inbox.take(&mut messages, Wanted::All, None);
        for message in messages.drain(..) {
            match message {
                Message::Stop => return,
                said => outbox.take(said),
            }
        }
    }
}

fn listen(link: &dyn Link, pool: &LocalPool, inbox: &Arc<Inbox>, outbox: &Outbox) -> Result<Served, LinkError> {
    while let Some(frame) = link.receive()? {
        match Down::of(&frame)? {
            Down::Welcome(_) => return Err(WireError::Unexpected { found: frame.kind }.into()),
            Down::Dispatch(request) => {
                // Said before the body begins: a leg that was never accepted has done nothing.
                outbox.accept(LegKey { conversation: request.conversation, leg: request.leg });
                let responder = Responder::new(Arc::clone(inbox), &request);
                pool.send(*request, responder);
            }
            Down::CancelLeg(LegKey { conversation, leg }) => pool.cancel(conversation, leg),
            // Answered here and not by the bodies' runtime: one that computes for an hour is busy, not gone.
            Down::Ping { number } => outbox.say(Up::Pong { number }),
            Down::Drain { within_ms } => {
                // Bodies end at their next await and what they hold is dropped; one that does not is left behind.
                pool.reset();
                let within = Duration::from_millis(within_ms);
                outbox.wait_until_still(within / 2);
                outbox.say(Up::Leave { reason: "it was told to".to_owned() });
                outbox.wait_until_still(within / 4);
                return Ok(Served::Drained);
            }
        }
    }
    Ok(Served::Abandoned)
}
