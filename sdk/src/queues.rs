//! What operators ask about task queues.

use crate::{Antiphon, RequestError};
use antiphon_engine::{Attempts, AttemptsAsk, By, QueueView, QueuesReply, QueuesRequest};
use antiphon_history::{Name, QueueSettings};

/// The task queues of a running engine, by [`Antiphon::queues`].
#[derive(Clone, Copy, Debug)]
pub struct Queues<'a> {
    app: &'a Antiphon,
}

impl Antiphon {
    /// The task queues: their settings, and what is in them.
    pub fn queues(&self) -> Queues<'_> {
        Queues { app: self }
    }
}

fn by(who: &str, why: &str) -> By {
    By { who: who.to_owned(), why: why.to_owned() }
}

impl Queues<'_> {
    async fn change(&self, request: QueuesRequest) -> Result<bool, RequestError> {
        match self.app.handle().queues(request).await? {
            QueuesReply::Done { changed } => Ok(changed),
            _ => Err(strange()),
        }
    }

    async fn views(&self, request: QueuesRequest) -> Result<Vec<QueueView>, RequestError> {
        match self.app.handle().queues(request).await? {
            QueuesReply::Queues(views) => Ok(views),
            _ => Err(strange()),
        }
    }

    /// Gives a queue these settings in place of all that it had. Durable on return; in the audit. False if it had them.
    ///
    /// Errors: settings that cannot be (A0039), an unusable name (A0012); nothing was written then.
    pub async fn set(&self, queue: &str, settings: QueueSettings, who: &str, why: &str) -> Result<bool, RequestError> {
        let (queue, settings) = (Name::from(queue), Box::new(settings));
        self.change(QueuesRequest::Set { queue, settings, by: by(who, why) }).await
    }

    /// Lets a queue give out nothing until it is resumed; what is under way goes on. Durable on return; in the audit. False
    /// if it was paused already.
    pub async fn pause(&self, queue: &str, who: &str, why: &str) -> Result<bool, RequestError> {
        self.change(QueuesRequest::Pause { queue: queue.into(), by: by(who, why) }).await
    }

    /// Lets a paused queue go on. Durable on return; in the audit. False if it was not paused.
    pub async fn resume(&self, queue: &str, who: &str, why: &str) -> Result<bool, RequestError> {
        self.change(QueuesRequest::Resume { queue: queue.into(), by: by(who, why) }).await
    }

    /// One queue: its settings, how much waits and why, how much is in flight. The engine looks at every open activity for
    /// it, which takes some milliseconds per 100,000.
    pub async fn describe(&self, queue: &str) -> Result<QueueView, RequestError> {
        let mut views = self.views(QueuesRequest::Describe { queue: queue.into() }).await?;
        views.pop().ok_or_else(strange)
    }

    /// All queues that have settings or open activities, by name. As dear as [`Queues::describe`].
    pub async fn list(&self) -> Result<Vec<QueueView>, RequestError> {
        self.views(QueuesRequest::List).await
    }

    /// Open attempts one by one, in the order of their keys: what waits, what is in flight, whose lease has ended; now or at
    /// a moment to come. As dear as [`Queues::describe`].
    pub async fn attempts(&self, ask: AttemptsAsk) -> Result<Attempts, RequestError> {
        match self.app.handle().queues(QueuesRequest::Attempts(Box::new(ask))).await? {
            QueuesReply::Attempts(attempts) => Ok(attempts),
            _ => Err(strange()),
        }
    }
}

/// Each request has its own kind of reply.
fn strange() -> RequestError {
    antiphon_runtime::Error::Unavailable.into()
}
