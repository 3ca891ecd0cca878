//! Requests for work that wait for some.

use super::claims::Claims;
use super::{Core, Due, Partition};
use crate::dispatch::Kind;
use crate::{ClaimRequest, ReplyTo, WorkersError, WorkersReply};
use antiphon_history::Timestamp;
use std::collections::BTreeSet;

/// A claim that waits for work.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) request: ClaimRequest,
    pub(super) until: Timestamp,
    /// The worker's. It asks anew when it is there anew.
    kind: Option<Kind>,
}

impl Claims {
    /// Whether the worker waits for work.
    pub(super) fn waits(&self, worker: &str) -> bool {
        self.parked.values().any(|parked| parked.request.worker == worker)
    }
}

impl Partition {
    /// Gives work to those who wait for it, in the order in which they came.
    pub(super) fn serve_parked(&mut self) {
        let look = std::mem::take(&mut self.core.claims.look) | self.core.dispatch.take_news(self.core.now);
        if !look || self.core.claims.parked.is_empty() || self.core.dispatch.waiting() == 0 {
            return;
        }
        let waiting: Vec<(ReplyTo, Option<Kind>)> =
            self.core.claims.parked.iter().map(|(to, parked)| (*to, parked.kind)).collect();
        // Of many workers of one kind the first that finds nothing has looked for all of them.
        let mut nothing: BTreeSet<Option<Kind>> = BTreeSet::new();
        for (to, kind) in waiting {
            if nothing.contains(&kind) {
                continue;
            }
            let Some(parked) = self.core.claims.parked.remove(&to) else { continue };
            match self.try_claim(&parked.request) {
                Ok(claims) if claims.is_empty() => {
                    self.core.claims.parked.insert(to, parked);
                    if kind.is_some_and(|kind| !self.core.dispatch.has_work_for(kind, self.core.now)) {
                        nothing.insert(kind);
                    }
                }
                claimed => {
                    self.core.deadlines.remove(&(parked.until, Due::Claim(to)));
                    self.core.tell_worker(to, claimed.map(WorkersReply::Claimed));
                }
            }
        }
    }

    /// A claim has waited long enough.
    pub(super) fn claim_due(&mut self, to: ReplyTo) {
        if self.core.claims.parked.remove(&to).is_some() {
            self.core.tell_worker(to, Ok(WorkersReply::Claimed(Vec::new())));
        }
    }
}

impl Core {
    /// Lets a claim wait for work.
    pub(super) fn park(&mut self, request: ClaimRequest, to: ReplyTo) {
        let waiting = self.claims.parked.len();
        if waiting >= self.config.parked_claims_max {
            return self.tell_worker(to, Err(WorkersError::TooManyWait { waiting }));
        }
        let until = self.now.plus_ms(request.wait_ms);
        // Its silence until then is ours.
        self.heard_until(&request.worker, until);
        self.deadlines.insert((until, Due::Claim(to)));
        let kind = self.dispatch.kind(&request.worker);
        self.claims.parked.insert(to, Parked { request, until, kind });
    }

    /// Somebody no longer waits for work.
    pub(super) fn forget_claim(&mut self, to: ReplyTo) {
        if let Some(parked) = self.claims.parked.remove(&to) {
            self.deadlines.remove(&(parked.until, Due::Claim(to)));
        }
    }

    /// A worker is to get nothing new: what it waits for does not come.
    pub(super) fn unpark(&mut self, worker: &str) {
        let of_worker = self.claims.parked.iter().filter(|(_, parked)| parked.request.worker == worker);
        let waiting: Vec<ReplyTo> = of_worker.map(|(to, _)| *to).collect();
        for to in waiting {
            self.forget_claim(to);
            self.tell_worker(to, Ok(WorkersReply::Claimed(Vec::new())));
        }
    }

    /// Who waits for work.
    pub(super) fn parked_claims(&self) -> Vec<ReplyTo> {
        self.claims.parked.keys().copied().collect()
    }
}
