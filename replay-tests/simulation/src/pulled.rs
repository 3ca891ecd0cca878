//! What workers that ask are told, held against the record (invariants 1, 4 and 5).

use crate::broken::{Broken, Checked};
use crate::pullers::{Asked, Taken, WrongClaim, result_of};
use crate::sometimes::Point;
use crate::told::{Given, LegKey, is_of};
use crate::vain::is_able;
use crate::world::World;
use antiphon_engine::{Claim, Fence, Input, Reply, RequestError, WorkersError, WorkersReply};
use antiphon_history::{Response, Timestamp};

impl World<'_> {
    /// An answer to a worker has left the engine.
    pub(crate) fn worker_replied(&mut self, asked: Asked, reply: Reply) -> Checked {
        let answer = match reply {
            Reply::Workers(reply) => Ok(reply),
            Reply::Refused(RequestError::Workers(error)) => Err(error),
            other => return Err(unfit(&asked, &other)),
        };
        match (&asked, answer) {
            (Asked::Join { which, instance }, Ok(WorkersReply::Joined { instance: given })) => {
                if instance.is_some_and(|ours| ours != given) {
                    return Err(unfit(&asked, &given));
                }
                self.pulling.workers[*which].instance = Some(given);
                Ok(())
            }
            (Asked::Claim { which, life, max }, Ok(WorkersReply::Claimed(claims))) => {
                if claims.len() > *max as usize {
                    return Err(Broken::new(7, "a worker got more than it asked for", format!("{}", claims.len())));
                }
                let lives = self.pulling.workers[*which].life == *life;
                claims.into_iter().try_for_each(|claim| self.claimed(*which, claim, lives))
            }
            (Asked::Says { leg, given }, Ok(WorkersReply::Ended { repeated })) => {
                if repeated {
                    self.sometimes.met(Point::AnswerRepeated);
                }
                self.must_be_recorded(*leg, *given)
            }
            (Asked::Says { leg, given }, Err(WorkersError::Conflicting { .. })) => {
                self.sometimes.met(Point::AnswerConflicting);
                match self.book.response(*leg) {
                    Some(recorded) if !is_same(recorded, *given) => Ok(()),
                    recorded => Err(refused("a repeated answer was called another one", *leg, &recorded)),
                }
            }
            (Asked::Says { leg, .. } | Asked::Release { leg }, Err(error)) if error_is_fence(&error) => {
                self.sometimes.met(Point::ClaimFenced);
                self.must_be_over(*leg, &error)
            }
            (Asked::Release { leg }, Ok(WorkersReply::Done)) => {
                self.sometimes.met(Point::ClaimReleased);
                self.must_be_over(*leg, &"released")
            }
            (Asked::Hold { leg, .. }, Ok(WorkersReply::Held { until })) => {
                self.sometimes.met(Point::LeaseProlonged);
                let mut taken = self.pulling.taken.iter_mut();
                if let Some(taken) = taken.find(|taken| key(&taken.claim) == *leg) {
                    taken.until = until;
                    let lease_ms = taken.claim.lease_ms;
                    self.told.may_hold(*leg, until, lease_ms);
                }
                Ok(())
            }
            (Asked::Hold { leg, at }, Err(WorkersError::Fenced { fence: Fence::Expired, .. })) => {
                match self.told.held_until(*leg) {
                    Some(until) if *at < until => {
                        Err(refused("a lease ended before the moment that its worker was told", *leg, &(at.0, until.0)))
                    }
                    _ => Ok(()),
                }
            }
            (Asked::Hold { leg, .. }, Err(error)) if error_is_fence(&error) => self.must_be_over(*leg, &error),
            (Asked::Wrong(wrong, leg), Err(error)) if error_is_fence(&error) => {
                self.sometimes.met(match wrong {
                    WrongClaim::Forged => Point::ClaimForged,
                    WrongClaim::Foreign | WrongClaim::OtherWorker => Point::ClaimForeign,
                    WrongClaim::Revision => Point::ClaimRevision,
                });
                let _ = leg;
                Ok(())
            }
            (Asked::Join { .. } | Asked::Claim { .. } | Asked::Other, Err(error)) if !error_is_fence(&error) => Ok(()),
            (Asked::Other, Ok(WorkersReply::Done)) => Ok(()),
            (_, answer) => Err(unfit(&asked, &answer)),
        }
    }

    /// A worker has got a leg. It is on record, and nobody else has it.
    fn claimed(&mut self, which: usize, claim: Claim, lives: bool) -> Checked {
        let leg = key(&claim);
        let (conversation, spec) = (leg.0, &self.pulling.workers[which].spec);
        let place = || format!("{:?} {conversation} leg {}", conversation.run, leg.1);
        let Some((attempt, talk)) = self.book.sent(conversation, leg.1) else {
            return Err(Broken::new(1, "a claim left before it was recorded", place()).in_run(conversation.run));
        };
        let call = &claim.request.call;
        if !is_able(spec, call) || *claim.worker != *spec.name {
            return Err(Broken::new(4, "a worker got what it cannot take", place()));
        }
        let newest = (attempt, talk.leg) == (conversation.attempt, leg.1);
        if newest && (talk.token != claim.request.token.hash() || talk.lease_ms != Some(claim.lease_ms)) {
            return Err(Broken::new(5, "a claim is another than was recorded", place()));
        }
        let forgiven = self.book.forgiven(conversation);
        if claim.request.call.options.at_most_once && self.callers.begins(conversation, forgiven) > 1 {
            return Err(Broken::new(4, "a body that may run at most once began again", place()));
        }
        let from = Timestamp(claim.lease_until.0 - claim.lease_ms as i64);
        let mut others = self.pulling.taken.iter().filter(|taken| taken.claim.request.conversation == conversation);
        let valid = |taken: &Taken| self.told.held_until(key(&taken.claim)).is_some_and(|until| until > from);
        if let Some(other) = others.find(|other| !talk.forced && valid(other)) {
            let detail = format!("{} and leg {} until {}", place(), other.claim.request.leg, other.until.0);
            return Err(Broken::new(4, "two legs of one conversation are under valid leases", detail));
        }
        self.told.may_hold(leg, claim.lease_until, claim.lease_ms);
        self.sometimes.met(Point::ClaimTaken);
        let taken = Taken { until: claim.lease_until, said: None, claim };
        if lives {
            self.pulling.taken.push(taken);
        } else {
            self.pull_remember(taken);
        }
        Ok(())
    }

    /// The engine said that an answer counts.
    fn must_be_recorded(&mut self, leg: LegKey, given: Given) -> Checked {
        let recorded = self.book.response(leg);
        if recorded.is_some_and(|recorded| is_same(recorded, given)) {
            return Ok(());
        }
        let detail = format!("{} leg {}: {given:?}, recorded is {recorded:?}", leg.0, leg.1);
        Err(Broken::new(1, "an answer was taken that is not on record", detail).in_run(leg.0.run))
    }

    /// The engine said that a leg is over.
    fn must_be_over(&self, leg: LegKey, told: &dyn std::fmt::Debug) -> Checked {
        if self.book.is_under_way(leg) {
            return Err(refused("a worker that has its leg was turned away", leg, told));
        }
        Ok(())
    }

    /// Claims wait for work no longer than they said.
    pub(crate) fn wait_for_claims(&mut self) -> Checked {
        // Engine time may be far ahead of a clock that was set back.
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            let Some(next) = self.next_moment().filter(|_| !self.pulling.waiting.is_empty()) else { break };
            self.go_to(next);
            self.bring_back_due()?;
            self.step(Input::Tick)?;
            self.flush()?;
        }
        match self.pulling.waiting.values().next() {
            Some(asked) => Err(Broken::new(9, "a worker was never answered", format!("{asked:?}"))),
            None => Ok(()),
        }
    }

    /// The engine begins anew; workers elsewhere are still there, and so is what they have.
    pub(crate) fn pull_restarted(&mut self) {
        self.pulling.waiting.clear();
        self.told.restarted(self.latest);
        let under_way = self.pulling.taken.iter().filter(|taken| self.book.is_under_way(key(&taken.claim))).count();
        (0..under_way).for_each(|_| self.sometimes.met(Point::LeaseOutlivedEngine));
    }
}

pub(crate) fn key(claim: &Claim) -> LegKey {
    (claim.request.conversation, claim.request.leg)
}

fn error_is_fence(error: &WorkersError) -> bool {
    matches!(error, WorkersError::Fenced { .. } | WorkersError::Conflicting { .. } | WorkersError::Over { .. })
}

fn is_same(recorded: &Response, given: Given) -> bool {
    match given {
        Given::Completed(code) => is_of(recorded, &result_of(code)),
        Given::Failed { .. } => given.fits(recorded),
        Given::Nothing => false,
    }
}

fn refused(what: &'static str, (conversation, leg): LegKey, told: &dyn std::fmt::Debug) -> Broken {
    Broken::new(5, what, format!("{conversation} leg {leg}: {told:?}")).in_run(conversation.run)
}

fn unfit(asked: &Asked, reply: &dyn std::fmt::Debug) -> Broken {
    Broken::new(1, "an answer that does not fit its question", format!("{asked:?}: {reply:?}"))
}
