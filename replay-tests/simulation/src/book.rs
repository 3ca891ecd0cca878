//! The book: everything durable, read event by event, and held against the promises.

use crate::activity::ActivityBook;
use crate::broken::{Broken, Checked};
use crate::entities::Entities;
use crate::letters::LetterBook;
use crate::lines::Lines;
use crate::talk::{Connected, Phase, Talk};
use crate::told::{LegKey, Told};
use antiphon_history::{
    Bytes, ConversationEvent, ConversationKey, Digest, Events, ExitReason, HistoryFile, Payload, PayloadData, Record,
    Response, Role, RunEvent, RunKey, RunStarted, SegmentBody, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All runs, as the durable record tells of them.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) runs: BTreeMap<RunKey, RunBook>,
    pub(crate) by_workflow: BTreeMap<String, Vec<RunKey>>,
    payloads: BTreeMap<Digest, Bytes>,
    /// What else has a stream.
    pub(crate) entities: Entities,
    pub(crate) lines: Lines,
    pub(crate) letters: LetterBook,
    /// The legs that ended with each death of a worker, by its cause.
    pub(crate) deaths: BTreeMap<String, BTreeSet<LegKey>>,
    /// The legs that a repair ended, with the number of its first event.
    pub(crate) mended: BTreeMap<LegKey, u64>,
}

/// One run.
pub(crate) struct RunBook {
    pub(crate) started: Arc<RunStarted>,
    pub(crate) events: Vec<(Timestamp, RunEvent)>,
    pub(crate) history: HistoryFile,
    last_at: Timestamp,
    pub(crate) ended: bool,
    pub(crate) blocked: bool,
    pub(crate) activities: BTreeMap<u32, ActivityBook>,
    pub(crate) timers: BTreeMap<u32, Timestamp>,
    /// Calls and timers whose end the workflow had not taken in when it was recorded. It may still let go of them.
    not_seen: BTreeSet<u32>,
    pub(crate) signal_ids: BTreeSet<String>,
    pub(crate) cancel_requested: bool,
}

impl Book {
    /// Takes in a segment that has become durable.
    pub(crate) fn take_in(&mut self, body: &Bytes, told: &Told, connected: Connected<'_>) -> Checked {
        let unreadable = |error: String| Broken::new(2, "a segment cannot be read", error);
        let body = SegmentBody::read(body).map_err(|error| unreadable(error.to_string()))?;
        self.payloads.extend(body.payloads.iter().cloned());
        for bytes in body.records {
            let record = Record::read(&bytes).map_err(|error| unreadable(error.to_string()))?;
            let key = record.run;
            self.record(record, bytes, told, connected).map_err(|broken| broken.in_run(key))?;
        }
        self.lines.segment_ends()?;
        self.entities.check_slots(&self.runs)
    }

    fn record(&mut self, record: Record, bytes: Bytes, told: &Told, connected: Connected<'_>) -> Checked {
        let Record { run: key, first_seq, at, events } = record;
        if key.is_entity() {
            let Events::Entity(events) = events else {
                return Err(Broken::new(4, "an entity has events of another kind", format!("{key:?}")));
            };
            self.entities.record(key, &events, bytes, at)?;
            let Some(name) = self.entities.name(key) else { return Ok(()) };
            for event in &events {
                self.lines.entity(name, event);
                self.letters.entity(event)?;
            }
            return Ok(());
        }
        if let Events::Run(events) = &events
            && let Some(RunEvent::RunStarted(started)) = events.first()
            && !self.runs.contains_key(&key)
        {
            self.by_workflow.entry(started.workflow_id.clone()).or_default().push(key);
            self.runs.insert(key, RunBook::new(Arc::clone(started)));
        }
        let Some(run) = self.runs.get_mut(&key) else {
            return Err(Broken::new(4, "a run does not begin with RunStarted", format!("{key:?}")));
        };
        run.history.records.push(bytes);
        if at < run.last_at {
            return Err(Broken::new(2, "a record is older than the one before it", format!("at {}", at.0)));
        }
        run.last_at = at;
        match events {
            Events::Run(events) => {
                for (mut event, seq) in events.into_iter().zip(first_seq..) {
                    join(&mut run.history, &self.payloads, event.payloads_mut());
                    run.run_event(&event, seq, at, (key, told))?;
                    if let RunEvent::ActivityResolved { ordinal, .. } | RunEvent::ActivityCancelled { ordinal } = &event
                        && let Some(activity) = run.activities.get(&ordinal.0)
                    {
                        self.lines.over((key, ordinal.0), &activity.call.queue);
                    }
                    run.events.push((at, event));
                }
            }
            Events::Entity(_) => {}
            Events::Conversation { ordinal, attempt, events } => {
                for (mut event, seq) in events.into_iter().zip(first_seq..) {
                    join(&mut run.history, &self.payloads, event.payloads_mut());
                    let conversation = ConversationKey { run: key, ordinal, attempt };
                    let was_held = run.is_held(ordinal.0);
                    run.conversation_event(conversation, &event, seq, at, told, connected)?;
                    let Some(activity) = run.activities.get(&ordinal.0) else { continue };
                    let spoiled = activity.talk.as_ref().is_some_and(Talk::is_spoiled);
                    self.lines.conversation(conversation, &event, at, &activity.call, spoiled, told)?;
                    match &event {
                        ConversationEvent::Exited { leg, reason: ExitReason::WorkerDied { how }, .. } => {
                            self.deaths.entry(how.clone()).or_default().insert((conversation, *leg));
                        }
                        ConversationEvent::Exited {
                            leg, reason: ExitReason::Forced | ExitReason::Redriven, ..
                        } => {
                            self.mended.entry((conversation, *leg)).or_insert(seq);
                        }
                        ConversationEvent::CancelSent { leg } => _ = self.mended.insert((conversation, *leg), seq),
                        _ => {}
                    }
                    self.letters.conversation(conversation, &event, was_held)?;
                }
            }
        }
        Ok(())
    }

    /// Whether a leg was sent, by the record: the conversation of the latest attempt, with its number.
    pub(crate) fn sent(&self, conversation: ConversationKey, leg: u32) -> Option<(u32, &Talk)> {
        let activity = self.runs.get(&conversation.run)?.activities.get(&conversation.ordinal.0)?;
        let talk = activity.talk.as_ref().filter(|_| activity.attempt >= conversation.attempt)?;
        let there = activity.attempt > conversation.attempt
            || talk.leg > leg
            || talk.leg == leg && talk.phase != Phase::Selected;
        there.then_some((activity.attempt, talk))
    }

    /// What is on record as the answer of a leg under a lease.
    pub(crate) fn response(&self, (conversation, leg): LegKey) -> Option<&Response> {
        let activity = self.runs.get(&conversation.run)?.activities.get(&conversation.ordinal.0)?;
        activity.responses.get(&(conversation.attempt, leg))
    }

    /// Whether a leg was sent and has not ended, by the record.
    pub(crate) fn is_under_way(&self, (conversation, leg): LegKey) -> bool {
        let run = self.runs.get(&conversation.run);
        let activity = run.and_then(|run| run.activities.get(&conversation.ordinal.0));
        activity.filter(|activity| activity.attempt == conversation.attempt).is_some_and(|activity| {
            activity.talk.as_ref().is_some_and(|talk| talk.leg == leg && talk.phase == Phase::Sent)
        })
    }

    /// Attempts of an activity before somebody retried it.
    pub(crate) fn forgiven(&self, conversation: ConversationKey) -> u32 {
        let run = self.runs.get(&conversation.run);
        run.and_then(|run| run.activities.get(&conversation.ordinal.0)).map_or(0, |activity| activity.forgiven)
    }

    pub(crate) fn newest(&self, workflow: &str) -> Option<&RunBook> {
        self.runs.get(self.by_workflow.get(workflow)?.last()?)
    }

    pub(crate) fn histories(&self) -> BTreeMap<RunKey, HistoryFile> {
        let runs = self.runs.iter().map(|(key, run)| (*key, run.history.clone()));
        runs.chain(self.entities.histories()).collect()
    }
}

/// Puts payloads that are kept beside their events back, and notes that the run names them.
fn join(history: &mut HistoryFile, payloads: &BTreeMap<Digest, Bytes>, of_event: &mut [Payload]) {
    for payload in of_event {
        if let PayloadData::Stored(stored) = &payload.data
            && let Some(bytes) = payloads.get(&stored.digest)
        {
            history.payloads.insert(stored.digest, bytes.clone());
            payload.data = PayloadData::Inline(bytes.clone());
        }
    }
}

/// What an arrival ends.
fn ended(arrival: &RunEvent) -> Option<u32> {
    match arrival {
        RunEvent::ActivityResolved { ordinal, .. } | RunEvent::TimerFired { ordinal } => Some(ordinal.0),
        _ => None,
    }
}

impl RunBook {
    fn new(started: Arc<RunStarted>) -> RunBook {
        RunBook {
            started,
            events: Vec::new(),
            history: HistoryFile::default(),
            last_at: Timestamp(i64::MIN),
            ended: false,
            blocked: false,
            activities: BTreeMap::new(),
            timers: BTreeMap::new(),
            not_seen: BTreeSet::new(),
            signal_ids: BTreeSet::new(),
            cancel_requested: false,
        }
    }

    pub(crate) fn ending(&self) -> Option<&RunEvent> {
        self.events.last().map(|(_, event)| event).filter(|_| self.ended)
    }

    fn is_held(&self, ordinal: u32) -> bool {
        let talk = self.activities.get(&ordinal).and_then(|activity| activity.talk.as_ref());
        talk.is_some_and(|talk| talk.phase == Phase::Held)
    }

    fn run_event(&mut self, event: &RunEvent, seq: u64, at: Timestamp, (key, told): (RunKey, &Told)) -> Checked {
        let wrong = |what: &'static str| Err(Broken::new(4, what, format!("event {seq}: {event}")));
        let unless = |fits: bool, what: &'static str| if fits { Ok(()) } else { wrong(what) };
        if seq != self.events.len() as u64 + 1 {
            return Err(Broken::new(2, "an event has a wrong number", format!("event {seq}: {event}")));
        }
        if self.ended {
            return wrong("an event follows the end of its run");
        }
        match event {
            RunEvent::RunStarted(_) if seq > 1 => return wrong("a run started twice"),
            RunEvent::ActivityScheduled { ordinal, call } => {
                let activity = ActivityBook {
                    call: Arc::clone(call),
                    scheduled_at: at,
                    attempt: 0,
                    talk: None,
                    sent: 0,
                    forgiven: 0,
                    responses: BTreeMap::new(),
                    resolved: false,
                    withdrawn: false,
                };
                if self.activities.insert(ordinal.0, activity).is_some() {
                    return wrong("an activity was scheduled twice");
                }
            }
            RunEvent::ActivityCancelled { ordinal } => match self.activities.get_mut(&ordinal.0) {
                Some(activity) if !activity.resolved && !activity.withdrawn => activity.withdrawn = true,
                _ if self.not_seen.remove(&ordinal.0) => {}
                _ => return wrong("an activity was withdrawn that was not open"),
            },
            RunEvent::ActivityResolved { ordinal, outcome } => match self.activities.get_mut(&ordinal.0) {
                Some(activity) if !activity.resolved && !activity.withdrawn => {
                    activity.resolved = true;
                    activity.check_outcome(outcome, at, (key, *ordinal, told))?;
                }
                _ => return wrong("an activity was resolved that was not open"),
            },
            RunEvent::TimerStarted { ordinal, due, .. } => {
                unless(self.timers.insert(ordinal.0, *due).is_none(), "a timer was started twice")?
            }
            RunEvent::TimerCancelled { ordinal } => {
                let ran = self.timers.remove(&ordinal.0).is_some() || self.not_seen.remove(&ordinal.0);
                unless(ran, "a timer was cancelled that did not run")?;
            }
            RunEvent::TimerFired { ordinal } => match self.timers.remove(&ordinal.0) {
                Some(due) if due <= at => {}
                Some(due) => {
                    let detail = format!("{event} at {}, due at {}", at.0, due.0);
                    return Err(Broken::new(4, "a timer fired early", detail));
                }
                None => return wrong("a timer fired that did not run"),
            },
            RunEvent::SignalReceived { request_id, .. } => {
                let new = request_id.clone().is_none_or(|id| self.signal_ids.insert(id));
                unless(new, "a signal was recorded twice")?;
            }
            RunEvent::CancelRequested { .. } => {
                let first = !std::mem::replace(&mut self.cancel_requested, true);
                unless(first, "a cancel was recorded twice")?;
            }
            RunEvent::Blocked(block) => {
                self.blocked = true;
                let arrivals =
                    self.events.iter().rev().map(|(_, event)| event).filter(|event| event.role() == Role::Arrival);
                self.not_seen.extend(arrivals.take(block.held as usize).filter_map(ended));
            }
            RunEvent::Unblocked if !self.blocked => return wrong("a run was unblocked that was not blocked"),
            RunEvent::Unblocked => self.blocked = false,
            _ => {}
        }
        if self.blocked {
            self.not_seen.extend(ended(event));
        }
        self.ended |= event.is_terminal();
        Ok(())
    }

    fn conversation_event(
        &mut self,
        conversation: ConversationKey,
        event: &ConversationEvent,
        seq: u64,
        at: Timestamp,
        told: &Told,
        connected: Connected<'_>,
    ) -> Checked {
        let Some(activity) = self.activities.get_mut(&conversation.ordinal.0) else {
            return Err(Broken::new(4, "a conversation has no activity", format!("{conversation} {}", event.name())));
        };
        if conversation.attempt != activity.attempt {
            activity.next_attempt(conversation, event, at, told)?;
            if activity.talk.as_ref().is_some_and(|talk| talk.held_for.is_some()) {
                (activity.forgiven, activity.scheduled_at, activity.sent) = (activity.attempt, at, 0);
            }
            activity.talk = Some(Talk::begin(event, seq, at)?);
            activity.attempt = conversation.attempt;
            return Ok(());
        }
        let Some(talk) = &mut activity.talk else { return Ok(()) };
        talk.follow(event, seq, at, &activity.call, connected, |leg| told.held_until((conversation, leg)))
            .map_err(|broken| Broken { detail: format!("{conversation}: {}", broken.detail), ..broken })?;
        match event {
            ConversationEvent::Sent { .. } => {
                activity.sent += 1;
                if activity.call.options.at_most_once && activity.sent > 1 {
                    return Err(Broken::new(4, "at most once was sent twice", conversation.to_string()));
                }
            }
            ConversationEvent::Received { leg, response } => {
                let given = told.answers((conversation, *leg));
                let fits = given.iter().any(|given| given.fits(response));
                if talk.lease_ms.is_some() {
                    activity.responses.insert((conversation.attempt, *leg), response.clone());
                }
                if !fits {
                    let detail = format!("{conversation} leg {leg}: {response:?} is recorded, given was {given:?}");
                    return Err(Broken::new(5, "an answer was recorded that its worker did not give", detail));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
