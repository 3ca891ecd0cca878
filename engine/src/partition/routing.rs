use super::Core;
use crate::dispatch::Choice;
use crate::router::{Ask, GuardAsk, Routed, RoutingReply, RoutingRequest};
use crate::run::Run;
use crate::state::Activity;
use crate::{By, Reply, ReplyTo, RequestError};
use antiphon_conversation::{Conversation, Phase};
use antiphon_history::limits::bounded_text;
use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, AuditEvent, ConversationEvent, ConversationOutcome, EntityEvent,
    EntityName, EntityState, LeftOutReason, Name, Ordinal, RouteError, RouteReason, RouteRequest, RoutingEvent,
    RoutingState, Site, planted,
};
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A choice by a route request, with what moves when it is recorded.
pub(super) struct ByRoute {
    pub(super) routed: Routed,
    request: RouteRequest,
    class: Name,
}

impl ByRoute {
    pub(super) fn choice(&self) -> Choice {
        Choice { worker: self.routed.worker.clone(), why: Some(self.routed.why.clone()) }
    }
}

impl Core {
    /// Whether nobody asked for anything: the call has no route, and no queue has a default.
    pub(super) fn is_plain(&self, call: &ActivityCall) -> bool {
        call.options.route.is_none() && !self.entities.has_routings()
    }

    /// The request in force for a call: its own over the default of its queue. `None` if nobody asked for anything, which is
    /// the rule and costs nothing.
    pub(super) fn route_in_force<'a>(&'a self, call: &'a ActivityCall) -> Option<Cow<'a, RouteRequest>> {
        let default = self.routing(&call.queue).and_then(|state| state.route.as_deref());
        match (call.options.route.as_deref(), default) {
            (None, None) => None,
            (Some(own), None) => Some(Cow::Borrowed(own)),
            (None, Some(default)) => Some(Cow::Borrowed(default)),
            (Some(own), Some(default)) => Some(Cow::Owned(own.over(default))),
        }
    }

    /// Cursors and keys of a queue.
    pub(super) fn routing(&self, queue: &Name) -> Option<&RoutingState> {
        if !self.entities.has_routings() {
            return None;
        }
        match &self.entities.get(&EntityName::Routing(queue.clone()))?.state {
            EntityState::Routing(state) => Some(state),
            _ => None,
        }
    }

    /// Asks the router with everything that it needs to know of a call.
    fn asked<T>(
        &self,
        call: &ActivityCall,
        conversation: &Conversation,
        request: &RouteRequest,
        answer: impl FnOnce(&Ask<'_>, &Name) -> T,
    ) -> T {
        let class = request.class(&call.options.needs);
        let state = self.routing(&call.queue);
        let ask = Ask {
            queue: &call.queue,
            activity_type: &call.activity_type,
            needs: &call.options.needs,
            request,
            lost: conversation.excluded(),
            last: conversation.last_worker(),
            cursor: state.and_then(|state| state.cursor(&class)),
            bound: request.affinity.as_ref().and_then(|key| state?.bound(key, self.now)),
            even_if_full: false,
        };
        answer(&ask, &class)
    }

    /// Chooses a worker by the call's route request. Nothing moves before [`Core::chosen_by_route`].
    pub(super) fn choose_by_route(
        &self,
        run: &Run,
        ordinal: Ordinal,
        lost: &[Name],
    ) -> Option<Result<ByRoute, RouteError>> {
        let activity = run.state.activities.get(ordinal)?;
        let request = self.route_in_force(&activity.call)?;
        Some(self.choose_by(run, activity, &request, lost))
    }

    fn choose_by(
        &self,
        run: &Run,
        activity: &Activity,
        request: &RouteRequest,
        lost: &[Name],
    ) -> Result<ByRoute, RouteError> {
        request.check()?;
        let (routed, class) = self.asked(&activity.call, &activity.conversation, request, |ask, class| {
            let routed = self.dispatch.route(&Ask { lost, ..*ask }, &self.programs.routes)?;
            Ok::<_, RouteError>((routed, class.clone()))
        })?;
        self.guarded(run, &activity.call, request, routed, class)
    }

    /// The choice where a worker asks for the call itself. `None` if the call has no route; an inner `None` if the worker is
    /// not to have it.
    pub(super) fn claim_by_route(
        &self,
        run: &Run,
        ordinal: Ordinal,
        worker: &Name,
        lost: &[Name],
    ) -> Option<Option<Result<ByRoute, RouteError>>> {
        let activity = run.state.activities.get(ordinal)?;
        let request = self.route_in_force(&activity.call)?;
        if let Err(error) = request.check() {
            return Some(Some(Err(error)));
        }
        let claimed = self.asked(&activity.call, &activity.conversation, &request, |ask, class| {
            Some((self.dispatch.claim_routed(&Ask { lost, ..*ask }, worker)?, class.clone()))
        });
        Some(claimed.map(|(routed, class)| self.guarded(run, &activity.call, &request, routed, class)))
    }

    /// A choice, if the guard agrees to it.
    fn guarded(
        &self,
        run: &Run,
        call: &ActivityCall,
        request: &RouteRequest,
        mut routed: Routed,
        class: Name,
    ) -> Result<ByRoute, RouteError> {
        if let Some(guard) = &request.guard {
            self.guard(run, call, request, guard, &routed.worker)?;
            if let Some(decision) = &mut routed.why.route {
                decision.guard = Some(guard.clone());
            }
        }
        Ok(ByRoute { routed, request: request.clone(), class })
    }

    /// Lets the guard look at the choice. One that is not there, or panics, has not agreed.
    fn guard(
        &self,
        run: &Run,
        call: &ActivityCall,
        request: &RouteRequest,
        guard: &Name,
        worker: &Name,
    ) -> Result<(), RouteError> {
        let Some(agrees) = self.programs.routes.guard(guard) else {
            return Err(RouteError::UnknownGuard { guard: guard.clone() });
        };
        let workflow_id = run.state.workflow().to_string();
        let asked = GuardAsk {
            queue: &call.queue,
            activity_type: &call.activity_type,
            workflow_id: &workflow_id,
            request,
            worker,
        };
        let refusal = match catch_unwind(AssertUnwindSafe(|| agrees(&asked))) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(panic) => format!("it panicked: {}", crate::driver::panic_message(panic.as_ref())),
        };
        Err(RouteError::Denied { guard: guard.clone(), worker: worker.clone(), reason: bounded_text(&refusal) })
    }

    /// The choice is recorded: what it moves is recorded behind it, in the same segment.
    pub(super) fn chosen_by_route(&mut self, queue: &Name, by: ByRoute) {
        let ByRoute { routed, request, class } = by;
        let worker = routed.worker;
        let reason = routed.why.route.as_ref().map(|decision| decision.reason);
        let event = match request.affinity {
            Some(key) if routed.binds_key => RoutingEvent::KeyBound { class, key, worker },
            Some(key) if reason == Some(RouteReason::KeptKey) => {
                if !self.routing(queue).is_some_and(|state| state.use_is_due(&key, self.now)) {
                    return;
                }
                RoutingEvent::KeyUsed { key }
            }
            _ if planted!("cursor-not-recorded") => return,
            _ if routed.moves_cursor => RoutingEvent::CursorMoved { class, worker },
            _ => return,
        };
        if let RoutingEvent::KeyBound { key, worker, .. } = &event
            && let Some(loser) = self.routing(queue).and_then(|state| state.loser(key, worker)).cloned()
        {
            self.dispatch.stir_waiting_for(&loser);
        }
        let state = self.routing(queue);
        let moved = match &event {
            RoutingEvent::KeyBound { key, worker, .. } => {
                Some(key).filter(|key| state.and_then(|state| state.bound(key, self.now)) != Some(worker)).cloned()
            }
            _ => None,
        };
        let default = state.and_then(|state| state.route.as_ref()?.affinity.as_ref());
        let by_default = moved.is_some() && moved.as_ref() == default;
        self.tell(&EntityName::Routing(queue.clone()), &EntityEvent::Routing(event));
        if let Some(key) = moved {
            // Whoever has a key may have its calls also where they name others: one that waits may go there now.
            self.dispatch.stir_key(queue, &key, by_default);
        }
    }

    /// A call that waits for the worker of its affinity key may go elsewhere when the key is forgotten for its age.
    pub(super) fn look_when_key_is_forgotten(&mut self, run: &Run, ordinal: Ordinal) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let request = self.route_in_force(&activity.call);
        let key = request.as_ref().and_then(|request| request.affinity.as_ref());
        let state = self.routing(&activity.call.queue);
        let at = key.and_then(|key| state?.forgotten_at(key)).filter(|at| *at > self.now);
        if let Some(at) = at {
            self.dispatch.look_at(run.state.key, ordinal, at);
        }
    }

    /// Nobody was chosen. Returns the one worker that the attempt waits for, if it waits for one.
    pub(super) fn not_routed(&mut self, run: &mut Run, ordinal: Ordinal, error: &RouteError) -> Option<Name> {
        self.look_when_key_is_forgotten(run, ordinal);
        if run.state.activities.get(ordinal)?.conversation.phase() != Phase::Queued {
            // A leg whose lease has ended keeps its place until somebody takes it: its worker may still answer.
            if !error.is_denied() {
                return None;
            }
            self.take_over(run, ordinal);
        }
        let activity = run.state.activities.get(ordinal)?;
        let noted = activity.conversation.no_worker().is_some();
        let fail_fast = activity.call.options.fail_fast;
        if error.is_denied() {
            // Who is refused is not asked again: the guard's word is about this call, not about the moment.
            let on = format!("{} of {}", activity.call.activity_type, run.state.workflow());
            let why = bounded_text(&error.to_string());
            let refused =
                AuditEvent::Refused { who: run.state.workflow().to_string(), verb: "route".to_owned(), on, why };
            self.tell(&EntityName::Audit, &EntityEvent::Audit(refused));
            self.no_worker(run, ordinal, error.to_string(), true);
        } else if !error.may_pass() {
            self.no_worker(run, ordinal, error.to_string(), fail_fast);
        } else if !noted && let Some(reason) = self.nobody(&activity.call, &activity.conversation) {
            // Counts in the reason change with every worker that comes or goes; one word of it is enough. And whoever asks
            // for its work, or only has no free place, is somebody.
            self.no_worker(run, ordinal, reason, fail_fast);
        }
        match error {
            RouteError::NotEligible { worker, reason: LeftOutReason::Full } => Some(worker.clone()),
            RouteError::UnknownWorker { worker, .. } => Some(worker.clone()),
            _ => None,
        }
    }

    /// Records that nobody can take an attempt, once per reason; with `end` the activity ends with it.
    pub(super) fn no_worker(&mut self, run: &mut Run, ordinal: Ordinal, reason: String, end: bool) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        if activity.conversation.no_worker() != Some(&reason) {
            self.converse(run, ordinal, ConversationEvent::NoWorker { reason: reason.clone() });
        }
        if end {
            self.close(run, ordinal, ConversationOutcome::NoWorker, ActivityOutcome::NoWorker { reason });
        }
    }

    /// Why no connected worker could ever take a call; `None` if one could, when it has a free place.
    pub(super) fn nobody(&self, call: &ActivityCall, conversation: &Conversation) -> Option<String> {
        let Some(request) = self.route_in_force(call) else {
            return self.dispatch.nobody(call).map(|reason| reason.to_string());
        };
        let found = request.check().and_then(|()| {
            self.asked(call, conversation, &request, |ask, _| {
                self.dispatch.somebody(&Ask { even_if_full: true, ..*ask }).map(drop)
            })
        });
        found.err().map(|error| error.to_string())
    }

    /// Whether a worker that is not in `excluded` could take this call.
    pub(super) fn somebody_else(&self, call: &ActivityCall, conversation: &Conversation, excluded: &[Name]) -> bool {
        let Some(request) = self.route_in_force(call) else { return self.dispatch.somebody_else(call, excluded) };
        self.asked(call, conversation, &request, |ask, _| {
            let found = self.dispatch.somebody(&Ask { even_if_full: true, lost: excluded, ..*ask });
            found.is_ok_and(|names| names.iter().any(|name| !excluded.contains(name)))
        })
    }

    /// Answers an operator.
    pub(super) fn routing_request(&mut self, request: RoutingRequest, to: ReplyTo) {
        let reply = match self.routing_reply(request) {
            Ok(reply) => Reply::Routing(Box::new(reply)),
            Err(error) => Reply::Refused(error),
        };
        self.reply(to, reply);
    }

    pub(super) fn routing_reply(&mut self, request: RoutingRequest) -> Result<RoutingReply, RequestError> {
        request.check()?;
        let queue = request.queue().clone();
        let (event, verb, by) = match request {
            RoutingRequest::Describe { .. } => {
                return Ok(RoutingReply::State(self.routing(&queue).cloned().unwrap_or_default()));
            }
            RoutingRequest::Would { activity_type, needs, route, .. } => {
                let options = ActivityOptions { needs, route: Some(Box::new(route)), ..Default::default() };
                let call = ActivityCall { activity_type, queue, input: Vec::new(), options, site: Site::default() };
                let Some(route) = self.route_in_force(&call) else { return Ok(RoutingReply::Done) };
                route.check()?;
                let would = self.asked(&call, &Conversation::default(), &route, |ask, _| {
                    self.dispatch.route(ask, &self.programs.routes)
                });
                return Ok(RoutingReply::Would(would));
            }
            RoutingRequest::Set { affinities_max, affinity_ttl_ms, by, .. } => {
                let By { who, why } = by.clone();
                (RoutingEvent::Set { affinities_max, affinity_ttl_ms, who, why }, "routing.set", by)
            }
            RoutingRequest::Default { route, by, .. } => {
                let (By { who, why }, route) = (by.clone(), route.map(Box::new));
                (RoutingEvent::DefaultSet { route, who, why }, "routing.default", by)
            }
            RoutingRequest::Reset { what, by, .. } => {
                let By { who, why } = by.clone();
                (RoutingEvent::Reset { what, who, why }, "routing.reset", by)
            }
        };
        let state = self.routing(&queue).cloned().unwrap_or_default();
        state.allows(&event)?;
        let audit = AuditEvent::Done { who: by.who, verb: verb.to_owned(), on: format!("queue {queue}"), why: by.why };
        self.tell(&EntityName::Routing(queue), &EntityEvent::Routing(event));
        // Who was passed over may be chosen by other words.
        self.dispatch.stir_all();
        self.tell(&EntityName::Audit, &EntityEvent::Audit(audit));
        Ok(RoutingReply::Done)
    }
}
