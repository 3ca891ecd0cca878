//! Simulated callers and their ledger: what they asked, what they were told, and what must therefore be on record.

use crate::book::RunBook;
use crate::broken::{Broken, Checked};
use crate::interpret::WORKFLOW;
use crate::program::signal_name;
use crate::sometimes::Point;
use crate::world::World;
use antiphon_engine::{IdReuse, Input, Reply, ReplyTo, RequestError, RunOutcome, StartRequest, Target};
use antiphon_history::{ConversationKey, Payload, RunEvent, WorkflowKey};
use std::collections::BTreeMap;

/// What the callers remember.
#[derive(Default)]
pub(crate) struct Callers {
    waiting: BTreeMap<ReplyTo, Asked>,
    /// Callers that went away; an answer that was under way may still come.
    gone: BTreeMap<ReplyTo, Asked>,
    next: u64,
    starts: Vec<Start>,
    signals: Vec<Signal>,
    /// How often the body of a call that may run once has begun.
    begun: BTreeMap<ConversationKey, u32>,
    acknowledged_starts: Vec<(String, antiphon_history::RunId)>,
    acknowledged_signals: Vec<(String, String)>,
    acknowledged_cancels: Vec<String>,
}

#[derive(Clone)]
struct Start {
    number: usize,
    reuse: IdReuse,
    /// Its answer was lost.
    unknown: bool,
}

#[derive(Clone)]
struct Signal {
    workflow: String,
    name: u8,
    value: u64,
}

struct Asked {
    workflow: String,
    kind: AskedKind,
    /// A run of the id was on record when this was asked.
    known: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AskedKind {
    Start(usize),
    OtherStart,
    Signal(usize),
    Cancel,
    Wait,
}

impl Callers {
    /// A number for something that is asked.
    pub(crate) fn number(&mut self) -> ReplyTo {
        self.next += 1;
        ReplyTo(self.next)
    }

    /// `forgiven`: attempts that do not count, because somebody retried the call since.
    pub(crate) fn begins(&mut self, conversation: ConversationKey, forgiven: u32) -> u32 {
        // By activity: another attempt would run the body again, too.
        let times = self
            .begun
            .entry(ConversationKey { attempt: (forgiven + 1).min(conversation.attempt), ..conversation })
            .or_default();
        *times += 1;
        *times
    }

    /// The engine is gone: nobody knows what became of what was asked.
    pub(crate) fn lose_all(&mut self) {
        self.gone.clear();
        for (_, asked) in std::mem::take(&mut self.waiting) {
            if let AskedKind::Start(request) = asked.kind {
                self.starts[request].unknown = true;
            }
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How a start with this request id may use an id that is taken.
    fn reuse(&self, request_id: Option<&String>) -> IdReuse {
        let request =
            request_id.and_then(|id| id.strip_prefix("start-")).and_then(|number| number.parse::<usize>().ok());
        request.and_then(|request| self.starts.get(request)).map_or(IdReuse::Never, |start| start.reuse)
    }
}

/// One of the last few of `count`: who asks again does so soon.
fn recent(count: usize, a: u32) -> Option<usize> {
    (count > 0).then(|| count - 1 - a as usize % count.min(4))
}

fn workflow_id(number: usize) -> String {
    format!("run-{number}")
}

pub(crate) fn key(workflow: &str) -> WorkflowKey {
    WorkflowKey { namespace: WorkflowKey::DEFAULT_NAMESPACE.to_owned(), id: workflow.to_owned() }
}

pub(crate) fn target(workflow: &str) -> Target {
    Target { workflow: key(workflow), run: None }
}

impl World<'_> {
    fn asks(&mut self, workflow: &str, kind: AskedKind) -> ReplyTo {
        let to = self.callers.number();
        let known = self.book.newest(workflow).is_some();
        self.callers.waiting.insert(to, Asked { workflow: workflow.to_owned(), kind, known });
        to
    }

    /// A workflow id, most often one whose run is open.
    fn some_run(&self, a: u32) -> String {
        let open: Vec<&RunBook> = self.book.runs.values().filter(|run| !run.ended).collect();
        match open.get(a as usize / 4 % open.len().max(1)) {
            Some(run) if !a.is_multiple_of(4) => run.started.workflow_id.clone(),
            _ => workflow_id(a as usize % self.plan.programs.len()),
        }
    }

    /// Asks for a run; `waits`: and for its end.
    pub(crate) fn start(&mut self, a: u32, b: u32, waits: bool) -> Checked {
        let reuse = match b % 10 {
            0 | 1 => IdReuse::Always,
            2 => IdReuse::AfterFailure,
            _ => IdReuse::Never,
        };
        let count = self.plan.programs.len();
        // Most starts are of an id that is new, as long as there is one.
        let new = (0..count).find(|number| !self.callers.starts.iter().any(|start| start.number == *number));
        let number = new.filter(|_| !a.is_multiple_of(4)).unwrap_or(a as usize % count);
        self.callers.starts.push(Start { number, reuse, unknown: false });
        self.ask_start(self.callers.starts.len() - 1, waits)
    }

    /// Asks the same again, as a caller does that got no answer.
    pub(crate) fn start_again(&mut self, a: u32) -> Checked {
        let count = self.callers.starts.len();
        let request = recent(count, a).unwrap_or(0);
        // Where every ended run gives its id away, asking twice may rightly make two runs.
        let again = self.callers.starts.get_mut(request).filter(|start| start.reuse == IdReuse::Never);
        let Some(start) = again else { return Ok(()) };
        if std::mem::take(&mut start.unknown) {
            self.sometimes.met(Point::StartRepeatedAfterUnknown);
        }
        self.ask_start(request, false)
    }

    fn ask_start(&mut self, request: usize, waits: bool) -> Checked {
        let Start { number, reuse, .. } = self.callers.starts[request];
        let workflow = workflow_id(number);
        let input = vec![Payload::binary(self.plan.programs[number].to_bytes())];
        let start = StartRequest {
            workflow: key(&workflow),
            workflow_type: WORKFLOW.to_owned(),
            input,
            id_reuse: reuse,
            request_id: Some(format!("start-{request}")),
        };
        if self.bring_in(&start.workflow)? {
            self.sometimes.met(Point::EvictedThenStartedAgain);
        }
        if waits {
            let to = self.asks(&workflow, AskedKind::Wait);
            return self.step(Input::Run(start, to));
        }
        let to = self.asks(&workflow, AskedKind::Start(request));
        self.step(Input::Start(start, to))
    }

    /// Asks for an id with another input than its run has.
    pub(crate) fn start_other(&mut self, a: u32) -> Checked {
        let workflow = workflow_id(a as usize % self.plan.programs.len());
        if self.book.newest(&workflow).is_none() {
            return Ok(());
        }
        let start = StartRequest {
            workflow: key(&workflow),
            workflow_type: WORKFLOW.to_owned(),
            input: vec![Payload::binary(crate::program::Node::Fail(60_000).to_bytes())],
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        self.bring_in(&start.workflow)?;
        let to = self.asks(&workflow, AskedKind::OtherStart);
        self.step(Input::Start(start, to))
    }

    pub(crate) fn signal(&mut self, a: u32, b: u32) -> Checked {
        let workflow = self.some_run(a);
        self.callers.signals.push(Signal { workflow, name: (b % 3) as u8, value: u64::from(b) << 8 });
        self.send_signal(self.callers.signals.len() - 1)
    }

    /// A signal by name, for the time after all faults.
    pub(crate) fn signal_run(&mut self, workflow: &str, name: u8) -> Checked {
        self.callers.signals.push(Signal { workflow: workflow.to_owned(), name, value: 1 });
        self.send_signal(self.callers.signals.len() - 1)
    }

    pub(crate) fn signal_again(&mut self, a: u32) -> Checked {
        let Some(request) = recent(self.callers.signals.len(), a) else { return Ok(()) };
        self.sometimes.met(Point::SignalRepeated);
        self.send_signal(request)
    }

    fn send_signal(&mut self, request: usize) -> Checked {
        let Signal { workflow, name, value } = self.callers.signals[request].clone();
        if self.bring_in(&key(&workflow))? {
            self.sometimes.met(Point::EvictedThenSignalled);
        }
        let reply = self.asks(&workflow, AskedKind::Signal(request));
        self.step(Input::Signal {
            target: target(&workflow),
            name: signal_name(name).to_owned(),
            input: vec![crate::interpret::payload(value)],
            request_id: Some(format!("signal-{request}")),
            reply,
        })
    }

    pub(crate) fn cancel(&mut self, a: u32) -> Checked {
        let workflow = self.some_run(a);
        self.bring_in(&key(&workflow))?;
        let reply = self.asks(&workflow, AskedKind::Cancel);
        let in_doubt = self.partition.stats().in_flight > 0;
        let before = self.partition.batch_bytes();
        self.step(Input::Cancel { target: target(&workflow), reason: "enough".to_owned(), reply })?;
        if in_doubt && self.partition.batch_bytes() > before {
            self.sometimes.met(Point::CancelInDoubt);
        }
        Ok(())
    }

    pub(crate) fn wait(&mut self, a: u32) -> Checked {
        let workflow = self.some_run(a);
        self.bring_in(&key(&workflow))?;
        let reply = self.asks(&workflow, AskedKind::Wait);
        self.step(Input::Wait { target: target(&workflow), reply })
    }

    /// A caller that waits goes away.
    pub(crate) fn forget(&mut self, a: u32) -> Checked {
        let waits: Vec<ReplyTo> =
            self.callers.waiting.iter().filter(|(_, asked)| asked.kind == AskedKind::Wait).map(|(to, _)| *to).collect();
        let Some(to) = waits.get(a as usize % waits.len().max(1)) else { return Ok(()) };
        let gone = self.callers.waiting.remove(to).map(|asked| (*to, asked));
        self.callers.gone.extend(gone);
        self.step(Input::Forget(*to))
    }

    /// An answer has left the engine. What it says must be on record already (invariant 1).
    pub(crate) fn replied(&mut self, to: ReplyTo, reply: Reply) -> Checked {
        if let Some(asked) = self.pulling.waiting.remove(&to) {
            return self.worker_replied(asked, reply);
        }
        if self.operators.remove(&to) {
            return self.operator_replied(to, reply);
        }
        let asked = self.callers.waiting.remove(&to).or_else(|| self.callers.gone.remove(&to));
        let Some(asked) = asked else {
            return Err(Broken::new(4, "a caller was answered twice", format!("{to:?}: {reply:?}")));
        };
        let unfounded = |detail: String| Err(Broken::new(1, "an answer says what is not on record", detail));
        let run = self.book.newest(&asked.workflow);
        match (asked.kind, &reply) {
            (AskedKind::Start(request), Reply::Started { run_id, existing }) => {
                let keys = self.book.by_workflow.get(&asked.workflow).into_iter().flatten();
                let Some(run) = keys.map(|key| &self.book.runs[key]).find(|run| run.started.run_id == *run_id) else {
                    return unfounded(format!("{} was started as {run_id}", asked.workflow));
                };
                let ours = run.started.request_id == Some(format!("start-{request}"));
                if !existing && !ours {
                    return unfounded(format!("{run_id} is not the run of start-{request}"));
                }
                if *existing {
                    self.sometimes.met(Point::DuplicateStartFound);
                }
                self.callers.acknowledged_starts.push((asked.workflow, *run_id));
            }
            (AskedKind::OtherStart, Reply::Refused(RequestError::Conflict { .. })) => {
                self.sometimes.met(Point::ConflictRefused);
            }
            (AskedKind::Signal(request), Reply::Accepted) => {
                let id = format!("signal-{request}");
                if !self.has_signal(&asked.workflow, &id) {
                    return unfounded(format!("{id} to {} was accepted", asked.workflow));
                }
                self.callers.acknowledged_signals.push((asked.workflow, id));
            }
            (AskedKind::Cancel, Reply::Accepted) => {
                if !self.has_cancel(&asked.workflow) {
                    return unfounded(format!("the cancel of {} was accepted", asked.workflow));
                }
                self.callers.acknowledged_cancels.push(asked.workflow);
            }
            (AskedKind::Wait, Reply::Ended { run_id, outcome }) => {
                let keys = self.book.by_workflow.get(&asked.workflow).into_iter().flatten();
                let run = keys.map(|key| &self.book.runs[key]).find(|run| run.started.run_id == *run_id);
                let same = match (run.and_then(|run| run.ending()), outcome) {
                    (Some(RunEvent::RunCompleted { result }), RunOutcome::Completed { result: told }) => result == told,
                    (Some(RunEvent::RunFailed { failure }), RunOutcome::Failed { failure: told }) => failure == told,
                    (Some(RunEvent::RunCancelled { reason }), RunOutcome::Cancelled { reason: told }) => reason == told,
                    _ => false,
                };
                if !same {
                    return unfounded(format!("{run_id} ended as {outcome:?}"));
                }
            }
            (AskedKind::Wait, Reply::Blocked { .. }) => {
                let was =
                    run.is_some_and(|run| run.events.iter().any(|(_, event)| matches!(event, RunEvent::Blocked(_))));
                if !was {
                    return unfounded(format!("{} is blocked", asked.workflow));
                }
            }
            (kind, Reply::Refused(RequestError::NotFound { .. })) if !asked.known => {
                debug_assert!(!matches!(kind, AskedKind::Start(_)));
            }
            (AskedKind::Signal(_) | AskedKind::Cancel, Reply::Refused(RequestError::AlreadyEnded { run_id, .. })) => {
                let ended = self.book.runs.values().any(|run| run.started.run_id == *run_id && run.ended);
                if !ended {
                    return unfounded(format!("{run_id} has ended"));
                }
            }
            (kind, reply) => {
                let detail = format!("{kind:?} for {}: {reply:?}", asked.workflow);
                return Err(Broken::new(1, "an answer that does not fit its question", detail));
            }
        }
        Ok(())
    }

    fn has_signal(&self, workflow: &str, id: &str) -> bool {
        let keys = self.book.by_workflow.get(workflow).into_iter().flatten();
        keys.filter(|key| self.book.runs[key].signal_ids.contains(id)).count() >= 1
    }

    fn has_cancel(&self, workflow: &str) -> bool {
        let keys = self.book.by_workflow.get(workflow).into_iter().flatten();
        keys.into_iter().any(|key| self.book.runs[key].cancel_requested)
    }

    /// The ledger against the record: what was acknowledged is there, and no id has more runs than were asked for.
    pub(crate) fn check_ledger(&self) -> Checked {
        let lost = |detail: String| Err(Broken::new(1, "something acknowledged is not on record", detail));
        for (workflow, run_id) in &self.callers.acknowledged_starts {
            if !self.book.runs.values().any(|run| run.started.run_id == *run_id) {
                return lost(format!("the start of {workflow} as {run_id}"));
            }
        }
        for (workflow, id) in &self.callers.acknowledged_signals {
            if !self.has_signal(workflow, id) {
                return lost(format!("{id} to {workflow}"));
            }
        }
        if let Some(workflow) = self.callers.acknowledged_cancels.iter().find(|workflow| !self.has_cancel(workflow)) {
            return lost(format!("the cancel of {workflow}"));
        }
        for (workflow, keys) in &self.book.by_workflow {
            for pair in keys.windows(2) {
                let (before, after) = (&self.book.runs[&pair[0]], &self.book.runs[&pair[1]]);
                let (ended_at, began_at) = (before.events.last().map(|(at, _)| *at), after.events[0].0);
                let allowed = match self.callers.reuse(after.started.request_id.as_ref()) {
                    IdReuse::Never => false,
                    IdReuse::AfterFailure => !matches!(before.ending(), Some(RunEvent::RunCompleted { .. })),
                    IdReuse::Always => true,
                };
                if !allowed || !before.ended || ended_at.is_none_or(|ended_at| ended_at > began_at) {
                    return Err(
                        Broken::new(4, "an id got a second run that nobody allowed", workflow.clone()).in_run(pair[1])
                    );
                }
            }
        }
        Ok(())
    }
}
