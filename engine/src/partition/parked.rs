//! Requests for work that wait for some.

use super::claims::Claims;
use super::{Core, Due, Partition};
use crate::dispatch::Kind;
use crate::{Claim, ClaimRequest, ReplyTo, WorkersError, WorkersReply};
use antiphon_history::{Ordinal, RunKey, Timestamp};
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
    /// Gives out what can be given out: to workers with free places, then to those that wait for work.
    pub(super) fn give_out(&mut self) {
        self.dispatch();
        self.serve_parked();
        // A refusal may end an activity, and its workflow may ask for the next one.
        while self.core.dispatch.has_news() {
            self.dispatch();
            self.serve_parked();
        }
    }

    /// Gives work to those who wait for it, in the order in which they came.
    fn serve_parked(&mut self) {
        if self.core.claims.parked.is_empty() || self.core.dispatch.waiting() == 0 {
            return self.core.dispatch.forget_news();
        }
        let news = self.core.dispatch.take_news(self.core.now);
        if news.is_empty() {
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
            let all = news.all || news.freed.contains(parked.request.worker.as_str());
            let claimed =
                if all { self.try_claim(&parked.request) } else { self.claim_of(&parked.request, &news.entered) };
            match claimed {
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

    /// Takes some of these attempts for a worker that was refused all others, in the order of the line.
    fn claim_of(&mut self, request: &ClaimRequest, entered: &[(RunKey, Ordinal)]) -> Result<Vec<Claim>, WorkersError> {
        let worker = self.claimer(request)?;
        let (mut claims, mut left) = (Vec::new(), entered.to_vec());
        while claims.len() < request.max as usize
            && let Some(item) = self.core.dispatch.next_of(&worker, &request.queues, &left)
        {
            left.retain(|other| *other != item);
            let Some(run) = self.runs.get_mut(&item.0) else {
                self.core.dispatch.remove(item.0, item.1);
                continue;
            };
            claims.extend(self.core.claim(run, item.1, &worker, request.lease_ms));
        }
        Ok(claims)
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
