use super::{Core, Partition};
use crate::repair::{By, FINDINGS_MAX, Finding, RepairError, RepairReply, Report, Rule, RuleStats, Thresholds};
use crate::run::Run;
use crate::state::{Activity, RunState};
use crate::{Effect, RequestError};
use antiphon_conversation::{Phase, retry};
use antiphon_history::{
    ActivityOutcome, ConversationEvent, ConversationKey, ConversationOutcome, ExitReason, Failure, Ordinal, Response,
    RunEvent, TimeoutKind, Timestamp, planted,
};

impl Partition {
    /// Looks at everything open, without changing it.
    fn look(&self, thresholds: Thresholds) -> (Vec<Finding>, [RuleStats; Rule::ALL.len()], u64) {
        let mut findings = Vec::new();
        let (mut stats, mut more) = (self.core.repairs, 0);
        stats.iter_mut().for_each(|rule| (rule.found, rule.waiting) = (0, 0));
        for run in self.runs.values() {
            for (ordinal, activity) in run.state.activities.iter() {
                let Some(finding) = self.core.wrong(&run.state, ordinal, activity, thresholds) else { continue };
                let rule = &mut stats[finding.rule as usize];
                rule.found += 1;
                rule.waiting += u64::from(finding.only_reported.is_some());
                if findings.len() < FINDINGS_MAX { findings.push(finding) } else { more += 1 }
            }
        }
        (findings, stats, more)
    }

    /// What is stuck, as [`RepairRequest::Scan`](crate::RepairRequest::Scan) would say, for a partition that only looks.
    pub fn find_stuck(&self, thresholds: Thresholds) -> Report {
        let (findings, stats, more) = self.look(thresholds);
        Report { findings, more, repaired: 0, rules: Rule::ALL.into_iter().zip(stats).collect() }
    }

    pub(super) fn scan(&mut self, thresholds: Thresholds) -> RepairReply {
        let (findings, stats, more) = self.look(thresholds);
        self.core.repairs = stats;
        RepairReply::Report(self.report(findings, more, 0))
    }

    /// When the engine looks for what is stuck without being asked. With nothing under way nothing can be.
    pub(super) fn next_reconcile(&self) -> Option<Timestamp> {
        self.core.config.reconcile_every_ms?;
        (self.core.dispatch.in_flight() > 0).then_some(self.core.reconcile_at)
    }

    pub(super) fn reconcile_if_due(&mut self) {
        let Some(every_ms) = self.core.config.reconcile_every_ms else { return };
        // What is about to be ended is no business of repairs, and could not be told anything.
        if !self.core.without_code.is_empty() {
            return;
        }
        if self.next_reconcile().is_some_and(|at| at <= self.core.now) {
            self.core.reconcile_at = self.core.now.plus_ms(every_ms.max(1));
            self.reconcile(self.core.config.thresholds, false, &By::the_engine("found by a look at its time"));
        }
    }

    pub(super) fn reconcile(&mut self, thresholds: Thresholds, dry_run: bool, by: &By) -> RepairReply {
        let (findings, stats, more) = self.look(thresholds);
        self.core.repairs = stats;
        let mut repaired = 0;
        for finding in findings.iter().filter(|finding| !dry_run && finding.only_reported.is_none()) {
            // One repair may end a run, and with it what was found behind it; that is no refusal worth a word.
            repaired += u64::from(self.repair(finding, thresholds, by).is_ok());
        }
        RepairReply::Report(self.report(findings, more, repaired))
    }

    fn report(&self, findings: Vec<Finding>, more: u64, repaired: u64) -> Report {
        let rules = Rule::ALL.into_iter().zip(self.core.repairs).collect();
        Report { findings, more, repaired, rules }
    }

    /// Repairs one finding, if it would be found again exactly so.
    pub(super) fn repair(&mut self, finding: &Finding, thresholds: Thresholds, by: &By) -> Result<(), RequestError> {
        let ConversationKey { run, ordinal, .. } = finding.conversation;
        let now = match self.runs.get(&run).map(|run| (&run.state, run.state.activities.get(ordinal))) {
            None => Err("its run is not under way".to_owned()),
            Some((_, None)) => Err("the activity is over".to_owned()),
            Some((state, Some(activity))) => match self.core.wrong(state, ordinal, activity, thresholds) {
                _ if planted!("repair-without-fence") && activity.conversation.leg().is_some() => Ok(()),
                Some(found) if found.only_reported.is_some() => Err(found.to_string()),
                // Time may go on; anything else that differs is news.
                Some(found) if (Finding { for_ms: finding.for_ms, ..found.clone() }) == *finding => Ok(()),
                Some(found) => Err(found.to_string()),
                None => Err(format!("it is {}", activity.conversation.phase())),
            },
        };
        let rule = &mut self.core.repairs[finding.rule as usize];
        if let Err(now) = now {
            rule.refused += 1;
            return Err(RepairError::NoLonger { finding: finding.clone(), now }.into());
        }
        rule.repaired += 1;
        if let Some(run) = self.runs.get_mut(&run) {
            self.core.mend(run, finding, by);
        }
        Ok(())
    }
}

impl Core {
    /// What is wrong with an open activity, if anything is.
    pub(super) fn wrong(
        &self,
        state: &RunState,
        ordinal: Ordinal,
        activity: &Activity,
        limits: Thresholds,
    ) -> Option<Finding> {
        let conversation = &activity.conversation;
        let (phase, leg) = (conversation.phase(), conversation.leg());
        let (rule, since, only_reported) = match (phase, leg) {
            // Of an ended run only an open conversation is left over.
            (Phase::New | Phase::Closed, _) if state.status.is_closed() => return None,
            _ if state.status.is_closed() => (Rule::RunEnded, activity.scheduled_at, None),
            (Phase::New, _) => (Rule::NeverOpened, activity.scheduled_at, None),
            (Phase::Answered | Phase::Closed, _) => (Rule::NeverApplied, activity.scheduled_at, None),
            // The lease has ended, and the leg is in line for another worker.
            (Phase::InDoubt, Some(leg)) if leg.is_expired(self.now) => {
                let since = leg.lease_until().unwrap_or(leg.heard_at);
                let late = since.plus_ms(limits.waiting_ms) <= self.now;
                late.then(|| {
                    (Rule::WaitsLong, since, Some("its lease has ended, and no other worker took it".to_owned()))
                })?
            }
            (Phase::Selected | Phase::InDoubt, Some(leg)) => {
                let gone = !self.dispatch.has_worker(&leg.worker);
                // Until its lease ends a leg is its worker's, whose silence proves nothing; only its own word does.
                let left = || self.registry().is_some_and(|registry| registry.has_left(&leg.worker));
                let (rule, after_ms) = match (gone, leg.lease_ms.is_some()) {
                    (true, false) => (Rule::WorkerGone, limits.gone_ms),
                    (true, true) if left() => (Rule::WorkerGone, limits.gone_ms),
                    (false, false) => (Rule::LegSilent, limits.silent_ms),
                    (_, true) => return None,
                };
                // What must not run twice may still be running: its silence proves nothing.
                let once = !gone && activity.call.options.at_most_once;
                let only_reported = once.then(|| "it must not run twice, and may still be running".to_owned());
                (leg.heard_at.plus_ms(after_ms) <= self.now).then_some((rule, leg.heard_at, only_reported))?
            }
            (Phase::Queued, _) => {
                let since = conversation.visible_at();
                let late = since.plus_ms(limits.waiting_ms) <= self.now;
                let why = || self.why_waiting(state.key, ordinal, &activity.call).1;
                late.then(|| (Rule::WaitsLong, since, Some(why())))?
            }
            // Held waits for a person, who finds it among the dead letters.
            (Phase::Held | Phase::Selected | Phase::InDoubt, _) => return None,
        };
        Some(Finding {
            rule,
            conversation: ConversationKey { run: state.key, ordinal, attempt: activity.attempt },
            leg: conversation.next_leg() - 1,
            events: conversation.events(),
            for_ms: self.now.since_ms(since),
            only_reported,
        })
    }

    /// Mends what was found, by the events that everybody else would use, and notes it in the audit.
    pub(super) fn mend(&mut self, run: &mut Run, finding: &Finding, by: &By) {
        let ConversationKey { ordinal, attempt, .. } = finding.conversation;
        let on = format!("{} {ordinal}.{attempt} leg {}", run.state.workflow(), finding.leg);
        self.audit(finding.rule.verb(), on, by);
        match finding.rule {
            Rule::RunEnded => {
                self.close_answered(run, ordinal);
                self.withdraw(run, ordinal);
            }
            Rule::NeverOpened => {
                self.open(run, ordinal, None);
                self.note_nobody(run, ordinal);
            }
            Rule::NeverApplied => self.apply_late(run, ordinal),
            Rule::WorkerGone => self.end_leg(run, ordinal, ExitReason::Forced),
            Rule::LegSilent => self.end_leg(run, ordinal, ExitReason::Redriven),
            // Nothing of a conversation: the one is reported, the other mended by `return_slot`.
            Rule::WaitsLong | Rule::SlotStranded => {}
        }
    }

    /// Ends the leg under way on behalf of a repair: its worker is told to stop if it is there, and has its place back.
    fn end_leg(&mut self, run: &mut Run, ordinal: Ordinal, reason: ExitReason) {
        let Some(conversation) = run.state.conversation_key(ordinal) else { return };
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let Some(leg) = activity.conversation.leg() else { return };
        let (number, worker) = (leg.number, leg.worker.clone());
        if activity.conversation.phase() == Phase::InDoubt && self.dispatch.has_worker(&worker) {
            self.converse(run, ordinal, ConversationEvent::CancelSent { leg: number });
            self.effects.push(Effect::CancelLeg { worker, conversation, leg: number });
        }
        // A leg whose lease has ended may be in line already.
        self.dispatch.remove(conversation.run, ordinal);
        // At once, not when the worker says so: what made the leg silent may have swallowed that word as well, and the
        // place would be lost with it.
        self.dispatch.release(conversation, number, self.now);
        self.lost(run, ordinal, reason);
    }

    /// The last attempt of an activity is over and the workflow was not told. Tells it what is on record; a result is
    /// not, and then the body runs again, if it may.
    fn apply_late(&mut self, run: &mut Run, ordinal: Ordinal) {
        self.close_answered(run, ordinal);
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let (conversation, options) = (&activity.conversation, &activity.call.options);
        let attempt = activity.attempt - activity.attempts_forgiven;
        let attempts = activity.attempt;
        let (again, outcome) = match (conversation.outcome(), conversation.response()) {
            (Some(ConversationOutcome::Failed), Some(Response::Failed { message, retryable })) => {
                let failure = Failure { message: message.clone(), kind: String::new(), details: None };
                (*retryable, ActivityOutcome::Failed { failure, attempts })
            }
            (Some(ConversationOutcome::TimedOut), _) => match conversation.last_exit() {
                Some(ExitReason::TimedOut { kind }) => {
                    (retry::is_worth_it(*kind), ActivityOutcome::TimedOut { kind: *kind, attempts })
                }
                _ => (false, ActivityOutcome::TimedOut { kind: TimeoutKind::ScheduleToStart, attempts }),
            },
            (Some(ConversationOutcome::Cancelled), _) => (false, ActivityOutcome::Cancelled),
            (Some(ConversationOutcome::NoWorker), _) => {
                let reason = conversation.no_worker().unwrap_or_default().to_owned();
                (false, ActivityOutcome::NoWorker { reason })
            }
            (closed, _) => {
                let completed = closed == Some(ConversationOutcome::Completed);
                let reason = match conversation.last_exit() {
                    _ if completed => "it completed, and its result is not on record".to_owned(),
                    Some(exit) => exit.to_string(),
                    None => "its end is not on record".to_owned(),
                };
                (completed, ActivityOutcome::Lost { losses: conversation.losses(), reason })
            }
        };
        let completed = conversation.outcome() == Some(ConversationOutcome::Completed);
        let allowed = completed || retry::delay_after(&options.retry, attempt).is_some();
        if again && allowed && !options.at_most_once {
            self.open(run, ordinal, None);
            self.note_nobody(run, ordinal);
        } else {
            self.arrive(run, RunEvent::ActivityResolved { ordinal, outcome });
        }
    }

    /// Closes a conversation that has its answer and no end.
    pub(super) fn close_answered(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        let outcome = match (activity.conversation.phase(), activity.conversation.response()) {
            (Phase::Answered, Some(Response::Completed { .. })) => ConversationOutcome::Completed,
            (Phase::Answered, Some(Response::Failed { .. })) => ConversationOutcome::Failed,
            _ => return,
        };
        self.converse(run, ordinal, ConversationEvent::Closed { outcome });
    }
}
