//! Work that its worker asks for: claims under leases, and the worker's word for each.

use super::parked::Parked;
use super::{Core, Partition};
use crate::run::Run;
use crate::workers::told;
use crate::workers_error::possible;
use crate::{
    AnsweredLeg, Claim, ClaimRequest, Fence, LegRef, OverReason, Past, Reply, ReplyTo, WorkersError, WorkersReply,
    WorkersRequest,
};
use antiphon_conversation::{Answer, Request, result_digest};
use antiphon_history::limits::bounded_text;
use antiphon_history::{
    ActivityOutcome, ConversationEvent, ConversationKey, ConversationOutcome, ExitReason, Failure, Name, Ordinal,
    Payload, Response, RunKey,
};
use std::collections::{BTreeMap, VecDeque};

/// What the partition knows of claims besides the conversations: who waits, and what was answered lately.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(super) parked: BTreeMap<ReplyTo, Parked>,
    /// The newest answers under a lease, at most [`ANSWERED_MAX`]: a repeated answer is told from another one. What is no
    /// longer here the store knows.
    answered: BTreeMap<ConversationKey, AnsweredLeg>,
    order: VecDeque<ConversationKey>,
}

/// An answer is repeated within seconds, if its reply was lost; some 100 bytes each.
const ANSWERED_MAX: usize = 4_096;

/// Longest lease, in milliseconds: a worker that says nothing for a day is not coming back.
pub const LEASE_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// Longest wait for work in one request, in milliseconds: behind it the worker asks again, which is its sign of life.
pub const WAIT_MAX_MS: u64 = 10 * 60 * 1000;

impl Claims {
    fn remember(&mut self, conversation: ConversationKey, answered: AnsweredLeg) {
        if self.answered.insert(conversation, answered).is_none() {
            self.order.push_back(conversation);
        }
        if self.order.len() > ANSWERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }
}

impl Partition {
    /// A worker, or somebody who looks after workers, asks for something.
    pub(super) fn workers_request(&mut self, request: WorkersRequest, to: ReplyTo) {
        let answer = match request {
            WorkersRequest::Claim(request) => match self.try_claim(&request) {
                Ok(claims) if claims.is_empty() && request.wait_ms > 0 && !self.core.presence.is_quiet() => {
                    return self.core.park(request, to);
                }
                claimed => claimed.map(WorkersReply::Claimed),
            },
            WorkersRequest::Heartbeat { leg, details, lease_ms } => self.hold(&leg, details, lease_ms),
            WorkersRequest::Complete { leg, result } => self.answer_of(&leg, Answer::Completed { result }, None),
            WorkersRequest::Fail { leg, failure, retryable, retry_after_ms } => {
                let failure = Failure { message: bounded_text(&failure.message), ..failure };
                self.answer_of(&leg, Answer::Failed { failure, retryable }, retry_after_ms)
            }
            WorkersRequest::Release { leg } => self.give_back(&leg),
            WorkersRequest::Join { spec, kind, instance } => self.worker_joins(spec, kind, instance),
            WorkersRequest::Leave { worker, instance, reason } => {
                let known = self.core.asking_worker(&worker, instance);
                known.and_then(|()| self.worker_leaves(&worker, &reason))
            }
            WorkersRequest::Alive { worker, instance } => {
                self.core.asking_worker(&worker, instance).map(|()| WorkersReply::Done)
            }
            WorkersRequest::Drain { worker, who, why } => self.core.drain_worker(&worker, who, why),
            WorkersRequest::SetHealth { worker, health, who, why } => {
                self.core.set_worker_health(&worker, health, who, why)
            }
            WorkersRequest::List => Ok(self.list_workers()),
            WorkersRequest::Quiesce => return self.quiesce(to),
            WorkersRequest::ReleaseAll => Ok(self.release_all()),
        };
        self.core.tell_worker(to, answer);
    }

    /// Takes attempts for one worker, in the order of the line. Its asking is a sign of life.
    pub(super) fn try_claim(&mut self, request: &ClaimRequest) -> Result<Vec<Claim>, WorkersError> {
        possible("max", u64::from(request.max), u64::from(u32::MAX))?;
        possible("lease_ms", request.lease_ms, LEASE_MAX_MS)?;
        if request.wait_ms > WAIT_MAX_MS {
            possible("wait_ms", request.wait_ms, WAIT_MAX_MS)?;
        }
        let worker = self.claimer(request)?;
        if self.core.presence.is_quiet() {
            return Ok(Vec::new());
        }
        let mut claims = Vec::new();
        let mut passed_over = Vec::new();
        let aside = self.core.dispatch.look_at_all(&worker);
        while claims.len() < request.max as usize
            && let Some((key, ordinal)) = self.core.dispatch.next_for(&worker, &request.queues, self.core.now)
        {
            let Some(run) = self.runs.get_mut(&key) else {
                self.core.dispatch.remove(key, ordinal);
                continue;
            };
            match self.core.claim(run, ordinal, &worker, request.lease_ms) {
                Some(claim) => claims.push(claim),
                None => {
                    self.core.dispatch.set_aside(key, ordinal, None);
                    passed_over.push((key, ordinal));
                }
            }
        }
        self.core.dispatch.look_is_over(aside, &passed_over);
        Ok(claims)
    }

    /// The worker that asks, if it may.
    pub(super) fn claimer(&mut self, request: &ClaimRequest) -> Result<Name, WorkersError> {
        self.core.asking_worker(&request.worker, request.instance)?;
        let puller = self.core.dispatch.puller(&request.worker, &request.queues);
        puller.map_err(|problem| WorkersError::NoSuchWorker { worker: bounded_text(&request.worker), problem })
    }

    /// The worker still has the leg.
    fn hold(
        &mut self,
        leg: &LegRef,
        details: Option<Payload>,
        lease_ms: Option<u64>,
    ) -> Result<WorkersReply, WorkersError> {
        if let Some(ms) = lease_ms {
            possible("lease_ms", ms, LEASE_MAX_MS)?;
        }
        let now = self.core.now;
        let (run, ordinal) = self.leg(leg)?;
        self.core.heard(&leg.worker);
        let expired = |run: &Run| {
            let leg = run.state.activities.get(ordinal).and_then(|activity| activity.conversation.leg());
            leg.is_none_or(|leg| leg.is_expired(now))
        };
        if expired(&self.runs[&run]) {
            return Err(fenced(leg, Fence::Expired));
        }
        let (conversation, number, token) = (leg.conversation, leg.leg, leg.token);
        if let Some(ms) = lease_ms
            && let Some(activity) = self.runs.get_mut(&run).and_then(|run| run.state.activities.get_mut(ordinal))
        {
            activity.conversation.extend(ms, now);
        }
        self.heartbeat(conversation, number, token, details);
        let held = self.runs[&run].state.activities.get(ordinal).and_then(|activity| activity.conversation.leg());
        Ok(WorkersReply::Held { until: held.and_then(|leg| leg.lease_until()).unwrap_or(now) })
    }

    /// The body has ended. The result counts also after the lease's end, as long as nobody else has the leg.
    fn answer_of(
        &mut self,
        leg: &LegRef,
        answer: Answer,
        retry_after_ms: Option<u64>,
    ) -> Result<WorkersReply, WorkersError> {
        let answer = super::activities::within_limits(answer);
        let response = response_to(&answer);
        let (run, ordinal) = match self.leg(leg) {
            Ok(found) => found,
            Err(error) => return self.repeated(leg, &response).unwrap_or(Err(error)),
        };
        self.core.dispatch.release(leg.conversation, leg.leg, self.core.now);
        self.core.dispatch.remove(run, ordinal);
        let Some(run) = self.runs.get_mut(&run) else { return Err(over(leg, OverReason::Unknown)) };
        let answered = AnsweredLeg { leg: leg.leg, token: leg.token.hash(), response };
        self.core.claims.remember(leg.conversation, answered);
        match answer {
            Answer::Completed { result } => self.core.completed(run, ordinal, leg.leg, result),
            Answer::Failed { failure, retryable } => {
                self.core.failed(run, ordinal, leg.leg, (failure, retryable), retry_after_ms);
            }
            Answer::Panicked { .. } | Answer::Stopped => {}
        }
        Ok(WorkersReply::Ended { repeated: false })
    }

    /// Whether an attempt that is over was answered so by this very leg; an error if it was answered otherwise; `None` if
    /// nothing is known of an answer.
    fn repeated(&self, leg: &LegRef, response: &Response) -> Option<Result<WorkersReply, WorkersError>> {
        let past = || leg.past.as_ref().and_then(|past| past.answered.as_ref());
        let known = self.core.claims.answered.get(&leg.conversation).or_else(past)?;
        if known.leg != leg.leg {
            return None;
        }
        Some(if known.token != leg.token.hash() {
            Err(fenced(leg, Fence::Forged))
        } else if known.response == *response {
            Ok(WorkersReply::Ended { repeated: true })
        } else {
            let (recorded, told) = (told(&known.response), told(response));
            Err(WorkersError::Conflicting { conversation: leg.conversation, recorded, told })
        })
    }

    fn give_back(&mut self, leg: &LegRef) -> Result<WorkersReply, WorkersError> {
        let (run, ordinal) = self.leg(leg)?;
        self.core.dispatch.release(leg.conversation, leg.leg, self.core.now);
        if let Some(run) = self.runs.get_mut(&run) {
            self.core.released(run, ordinal);
        }
        Ok(WorkersReply::Done)
    }

    /// Whether an answer for this attempt can be judged by what is in memory; else the caller gives what the store says
    /// in [`LegRef::past`].
    pub fn knows_attempt(&self, conversation: ConversationKey) -> bool {
        let open = |run: &Run| {
            run.state.activities.get(conversation.ordinal).is_some_and(|open| open.attempt == conversation.attempt)
        };
        self.runs.get(&conversation.run).is_some_and(|run| open(run))
            || self.core.claims.answered.contains_key(&conversation)
    }

    /// The run and place of the leg that is meant, if it is the one under way, the worker's own, and of the revision that
    /// was asked for. Only then does a worker's word count (invariant 5).
    fn leg(&self, leg: &LegRef) -> Result<(RunKey, Ordinal), WorkersError> {
        let key = leg.conversation;
        let Some(run) = self.runs.get(&key.run) else { return Err(over(leg, in_store(leg))) };
        let Some(activity) = run.state.activities.get(key.ordinal) else {
            let ended = run.state.status.is_closed();
            return Err(over(leg, if ended { OverReason::RunEnded } else { in_store(leg) }));
        };
        let conversation = &activity.conversation;
        if key.attempt == 0 || key.attempt > activity.attempt {
            return Err(over(leg, OverReason::Unknown));
        }
        let current = conversation.leg().filter(|current| current.number == leg.leg && key.attempt == activity.attempt);
        let Some(current) = current else {
            let never = key.attempt == activity.attempt && leg.leg >= conversation.next_leg();
            return Err(if never { over(leg, OverReason::Unknown) } else { fenced(leg, Fence::Stale) });
        };
        if current.token != leg.token.hash() {
            let known = self.core.dispatch.legs_of(&leg.worker);
            let of_another = known.iter().any(|(other, number)| self.core.mint.token(*other, *number) == leg.token);
            return Err(fenced(leg, if of_another { Fence::Foreign } else { Fence::Forged }));
        }
        if current.worker != leg.worker {
            return Err(fenced(leg, Fence::Foreign));
        }
        match leg.revision {
            Some(expected) if expected != conversation.events() => {
                Err(fenced(leg, Fence::Revision { expected, found: conversation.events() }))
            }
            _ => Ok((key.run, key.ordinal)),
        }
    }
}

impl Core {
    /// Takes one waiting attempt for a worker that asked; on record before it leaves, like one that was pushed.
    pub(super) fn claim(&mut self, run: &mut Run, ordinal: Ordinal, worker: &Name, lease_ms: u64) -> Option<Claim> {
        let activity = run.state.activities.get(ordinal)?;
        let mut excluded = activity.conversation.excluded().to_vec();
        excluded.extend(activity.conversation.leg().map(|leg| leg.worker.clone()));
        let by_route = match self.claim_by_route(run, ordinal, worker, &excluded) {
            // A worker that lost an earlier leg gets another only if nobody else could.
            None if excluded.contains(worker) && self.dispatch.somebody_else(&activity.call, &excluded) => return None,
            None => None,
            Some(None) => {
                self.look_when_key_is_forgotten(run, ordinal);
                return None;
            }
            Some(Some(Ok(by_route))) => Some(by_route),
            Some(Some(Err(error))) => {
                self.not_routed(run, ordinal, &error);
                return None;
            }
        };
        let why = by_route.as_ref().and_then(|by_route| by_route.choice().why);
        let request: Request = self.send(run, ordinal, worker, why, Some(lease_ms))?;
        if let Some(by_route) = by_route {
            self.chosen_by_route(&request.call.queue, by_route);
        }
        let revision = run.state.activities.get(ordinal)?.conversation.events();
        let fencing = u64::from(request.conversation.attempt) << 32 | u64::from(request.leg);
        Some(Claim {
            worker: worker.clone(),
            request,
            lease_until: self.now.plus_ms(lease_ms),
            lease_ms,
            fencing,
            revision,
        })
    }

    /// Ends the leg under way without an answer and without a loss, at its worker's wish.
    pub(super) fn released(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (once, losses) = (activity.call.options.at_most_once, activity.conversation.losses());
        let details = activity.conversation.details().cloned();
        let reason = ExitReason::Released;
        let why = reason.to_string();
        let event = ConversationEvent::Exited { leg: leg.number, reason, details, visible_at: None };
        self.converse(run, ordinal, event);
        if once {
            // Nobody can say whether the body had begun.
            let outcome = ActivityOutcome::Lost { losses, reason: why };
            return self.close(run, ordinal, ConversationOutcome::Lost, outcome);
        }
        self.line_up(run, ordinal);
        self.reindex(run, ordinal);
        self.note_nobody(run, ordinal);
    }

    pub(super) fn tell_worker(&mut self, to: ReplyTo, answer: Result<WorkersReply, WorkersError>) {
        let reply = match answer {
            Ok(reply) => Reply::Workers(reply),
            Err(error) => {
                self.stats.fenced += u64::from(error.is_fence());
                Reply::Refused(error.into())
            }
        };
        self.reply(to, reply);
    }
}

fn response_to(answer: &Answer) -> Response {
    match answer {
        Answer::Completed { result } => {
            let (digest, len) = result_digest(result);
            Response::Completed { digest, len }
        }
        Answer::Failed { failure, retryable } => {
            Response::Failed { message: failure.message.clone(), retryable: *retryable }
        }
        Answer::Panicked { message } => Response::Failed { message: message.clone(), retryable: true },
        Answer::Stopped => Response::Failed { message: String::new(), retryable: true },
    }
}

fn in_store(leg: &LegRef) -> OverReason {
    match &leg.past {
        Some(Past { outcome: None, .. }) | None => OverReason::Unknown,
        Some(Past { run_ended: true, .. }) => OverReason::RunEnded,
        Some(_) => OverReason::Closed,
    }
}

fn fenced(leg: &LegRef, fence: Fence) -> WorkersError {
    WorkersError::Fenced { worker: leg.worker.clone(), conversation: leg.conversation, leg: leg.leg, fence }
}

fn over(leg: &LegRef, problem: OverReason) -> WorkersError {
    WorkersError::Over { conversation: leg.conversation, problem }
}
