//! Workers on paper that ask for their work: requests by hand, replies as values.

use crate::world::{World, worker};
use antiphon_engine::{
    Claim, ClaimRequest, Input, LegRef, Past, Reply, RequestError, WorkersError, WorkersReply, WorkersRequest,
};
use antiphon_history::{Failure, InstanceId, WorkerKind};

/// What a request about workers came to.
pub type Asked = Result<WorkersReply, WorkersError>;

impl World {
    /// Asks something about workers that is answered at once. What the store says of an attempt that is over is looked up, as
    /// the runtime does.
    pub fn ask_workers(&mut self, request: WorkersRequest) -> Asked {
        let to = self.ask_later(self.with_past(request));
        self.fetch(to).expect("the request is answered at once")
    }

    /// Asks something whose answer may wait; returns its number.
    pub fn ask_later(&mut self, request: WorkersRequest) -> u64 {
        let to = self.reply_to();
        self.step(Input::Workers(request, to));
        to.0
    }

    /// The answer to an earlier request, if there is one.
    pub fn fetch(&mut self, to: u64) -> Option<Asked> {
        self.replies.remove(&to).map(|reply| match reply {
            Reply::Workers(reply) => Ok(reply),
            Reply::Refused(RequestError::Workers(error)) => Err(error),
            other => panic!("{other:?} is no answer about workers"),
        })
    }

    fn with_past(&self, mut request: WorkersRequest) -> WorkersRequest {
        if let WorkersRequest::Complete { leg, .. } | WorkersRequest::Fail { leg, .. } = &mut request
            && !self.partition.knows_attempt(leg.conversation)
        {
            leg.past = self.runs().get(&leg.conversation.run).map(|history| Past::of(history, leg.conversation));
        }
        request
    }

    /// Lets a worker join that asks for its work on the default queue.
    pub fn puller(&mut self, name: &str, activities: &[&str], capacity: u32) -> InstanceId {
        let spec = worker(name, activities, capacity);
        match self.ask_workers(WorkersRequest::Join { spec, kind: WorkerKind::Pull, instance: None }) {
            Ok(WorkersReply::Joined { instance }) => instance,
            other => panic!("{other:?} is no joining"),
        }
    }

    /// Claims up to `max` attempts for a worker under a lease, without waiting.
    pub fn claim_as(&mut self, worker: &str, max: u32, lease_ms: u64) -> Result<Vec<Claim>, WorkersError> {
        match self.ask_workers(claiming(worker, max, lease_ms, 0))? {
            WorkersReply::Claimed(claims) => Ok(claims),
            other => panic!("{other:?} is no claim"),
        }
    }

    /// Claims the one attempt that there is.
    pub fn claim_one(&mut self, worker: &str, lease_ms: u64) -> Claim {
        let mut claims = self.claim_as(worker, 1, lease_ms).expect("the worker may claim");
        claims.pop().expect("an attempt waits")
    }

    /// Completes a claim with a JSON result.
    pub fn complete_claim(&mut self, leg: LegRef, result: &str) -> Asked {
        self.ask_workers(WorkersRequest::Complete { leg, result: vec![crate::world::json(result)] })
    }

    /// Fails a claim; another attempt is allowed.
    pub fn fail_claim(&mut self, leg: LegRef, message: &str, retry_after_ms: Option<u64>) -> Asked {
        let failure = Failure { message: message.to_owned(), kind: "Test".to_owned(), details: None };
        self.ask_workers(WorkersRequest::Fail { leg, failure, retryable: true, retry_after_ms })
    }

    /// A heartbeat for a claim.
    pub fn hold_claim(&mut self, leg: LegRef) -> Asked {
        self.ask_workers(WorkersRequest::Heartbeat { leg, details: None, lease_ms: None })
    }
}

/// A claim from all queues of the worker.
pub fn claiming(worker: &str, max: u32, lease_ms: u64, wait_ms: u64) -> WorkersRequest {
    WorkersRequest::Claim(ClaimRequest {
        worker: worker.to_owned(),
        instance: None,
        queues: Vec::new(),
        max,
        lease_ms,
        wait_ms,
    })
}
