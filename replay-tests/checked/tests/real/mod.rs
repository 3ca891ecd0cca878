//! Real partitions in the place of the model's engines.

use antiphon_checked::engine::Batch;
use antiphon_checked::inputs::{Effect, Place, Says, key, token};
use antiphon_checked::record::{End, Written};
use antiphon_checked::rules::{ENGINES, Rules, WORKERS};
use antiphon_checked::state::{Action, LEAP_MS, State, Word};
use antiphon_conversation::Answer;
use antiphon_engine::{
    Config, Context, Effect as Out, Ending, IdReuse, Input, Origin, Partition, Program, Programs, ReplyTo, RunFuture,
    StartRequest, Target, WorkerSpec,
};
use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, Bytes, ConversationEvent, Digest, Events, Failure, HistoryFile,
    Ordinal, Payload, Record, Response, RunEvent, SegmentBody, Site, Timestamp, WorkflowKey,
};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The store and the engines, as they are.
pub(crate) struct Real {
    records: Vec<Bytes>,
    programs: Programs,
    openings: u8,
    engines: [Option<Opened>; ENGINES],
}

struct Opened {
    partition: Partition,
    /// Records of the batches that wait for their commit.
    pending: VecDeque<Vec<Bytes>>,
}

/// What a step decided.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Decided {
    talks: Vec<(Timestamp, u32, ConversationEvent)>,
    run: Vec<(Timestamp, Written)>,
    effects: Vec<(String, Effect, Option<[u8; 16]>)>,
}

struct OneCall(ActivityOptions);

impl Program for OneCall {
    fn name(&self) -> &str {
        "one"
    }
    fn version(&self) -> u32 {
        1
    }
    fn site(&self) -> String {
        "real.rs:1".to_owned()
    }
    fn check_input(&self, _: &[Payload]) -> Result<(), String> {
        Ok(())
    }
    fn begin(&self, context: Context, _: Vec<Payload>) -> RunFuture {
        let call = ActivityCall {
            activity_type: "work".into(),
            queue: "default".into(),
            input: Vec::new(),
            options: self.0.clone(),
            site: Site::default(),
        };
        Box::pin(async move {
            context.activity(call).await;
            Ending::Completed(Vec::new())
        })
    }
}

fn id() -> WorkflowKey {
    WorkflowKey::new("only").unwrap()
}

fn worker(rules: &Rules, worker: usize) -> WorkerSpec {
    WorkerSpec {
        name: rules.names[worker].to_string(),
        queues: BTreeSet::from(["default".to_owned()]),
        activities: BTreeSet::from(["work".to_owned()]),
        labels: BTreeSet::new(),
        capacity: 1,
    }
}

fn name(worker: usize) -> String {
    ["a", "b"][worker].to_owned()
}

impl Real {
    /// A store in which a workflow has asked for the activity, and nobody has taken it.
    pub(crate) fn start(rules: &Rules) -> Real {
        let mut programs = Programs::default();
        programs.add(Arc::new(OneCall(rules.options.clone()))).unwrap();
        let mut real = Real { records: Vec::new(), programs, openings: 0, engines: [None, None] };
        let mut first = real.partition(0, 0, Timestamp(1_000));
        first.step(Input::WorkerJoined(worker(rules, 0)), Timestamp(1_000));
        let request = StartRequest {
            workflow: id(),
            workflow_type: "one".into(),
            input: Vec::new(),
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        first.step(Input::Start(request, ReplyTo(1)), Timestamp(1_000));
        // The worker was there so that nothing is written of its lack; what it was sent is taken out again.
        for bytes in of_runs(&first.take().segment.unwrap()) {
            let mut record = Record::read(&bytes).unwrap();
            if let Events::Conversation { events, .. } = &mut record.events {
                events.truncate(1);
            }
            real.records.push(record.to_bytes().into());
        }
        real
    }

    fn partition(&self, opening: u8, last_run: u64, now: Timestamp) -> Partition {
        let origin =
            Origin { store_id: [1; 16], secret: [opening; 32], last_segment: u64::from(opening), last_run, now };
        Partition::new(Config::default(), self.programs.clone(), origin)
    }

    /// The real engine does the same as the model's is about to do in `state`. Returns what it decided.
    pub(crate) fn act(&mut self, state: &State, rules: &Rules, action: &Action) -> Decided {
        match *action {
            Action::Open(at, ahead, connected) => return self.open(state, rules, at, ahead, connected),
            Action::Crash(at) => self.engines[at] = None,
            Action::Commit(at) => self.commit(state, at),
            Action::CommitAndCrash(at) => {
                self.commit(state, at);
                self.engines[at] = None;
            }
            Action::Pass(at, leap) => {
                return self.step(state, at, if leap { LEAP_MS } else { 1 }, Input::Tick);
            }
            Action::Cancel(at) => {
                let target = Target { workflow: id(), run: None };
                let input = Input::Cancel { target, reason: String::new(), reply: ReplyTo(2) };
                return self.step(state, at, 0, input);
            }
            Action::Leave(at, worker) => return self.step(state, at, 0, Input::WorkerLeft { name: name(worker) }),
            Action::Join(at, new) => return self.step(state, at, 0, Input::WorkerJoined(worker(rules, new))),
            Action::Arrive(at, word, _) => return self.step(state, at, 0, input_of(word)),
            Action::Reach(..) | Action::Lose(_) | Action::Answer(..) | Action::Beat(_) | Action::Vanish(_) => {}
        }
        Decided::default()
    }

    fn open(&mut self, state: &State, rules: &Rules, at: usize, ahead: bool, connected: bool) -> Decided {
        self.openings += 1;
        let now = state.at.plus_ms(if ahead { LEAP_MS } else { 0 });
        let mut partition = self.partition(self.openings, 1, now);
        for new in (0..WORKERS).filter(|_| connected) {
            partition.step(Input::WorkerJoined(worker(rules, new)), now);
        }
        partition.load(&HistoryFile { records: self.records.clone(), ..HistoryFile::default() }, now).unwrap();
        let mut opened = Opened { partition, pending: VecDeque::new() };
        let decided = opened.take();
        self.engines[at] = Some(opened);
        decided
    }

    fn step(&mut self, state: &State, at: usize, later_ms: u64, input: Input) -> Decided {
        let now = state.engines[at].as_ref().unwrap().now.plus_ms(later_ms);
        let opened = self.engines[at].as_mut().unwrap();
        opened.partition.step(input, now);
        opened.take()
    }

    fn commit(&mut self, state: &State, at: usize) {
        let fenced = state.engines[at].as_ref().is_some_and(|engine| engine.tip != state.tip);
        if fenced {
            self.engines[at] = None;
        } else if let Some(opened) = &mut self.engines[at] {
            self.records.extend(opened.pending.pop_front().unwrap());
        }
    }
}

impl Opened {
    fn take(&mut self) -> Decided {
        self.partition.check().unwrap();
        let batch = self.partition.take();
        let mut decided = Decided::default();
        if let Some(body) = batch.segment {
            let records = of_runs(&body);
            for bytes in &records {
                decided.read(Record::read(bytes).unwrap());
            }
            if !records.is_empty() {
                self.pending.push_back(records);
            }
        }
        decided.effects = batch.effects.into_iter().filter_map(effect).collect();
        decided
    }
}

/// The records of runs in a segment. Who joined and left the model does not write down.
fn of_runs(body: &[u8]) -> Vec<Bytes> {
    let records = SegmentBody::read(body).unwrap().records;
    records.into_iter().filter(|record| !Record::run_of(record).unwrap().is_entity()).collect()
}

fn effect(out: Out) -> Option<(String, Effect, Option<[u8; 16]>)> {
    let place = |attempt, leg| Place { attempt, leg };
    let number = |worker: &str| usize::from(worker != "a");
    match out {
        Out::Dispatch { worker, request } => {
            let place = place(request.conversation.attempt, request.leg);
            Some((worker.to_string(), Effect::Dispatch(number(&worker), place), Some(request.token.0)))
        }
        Out::CancelLeg { worker, conversation, leg } => {
            let place = place(conversation.attempt, leg);
            Some((worker.to_string(), Effect::Cancel(number(&worker), place), None))
        }
        Out::Reply { .. } => None,
    }
}

impl Decided {
    fn read(&mut self, record: Record) {
        let at = record.at;
        match record.events {
            Events::Conversation { attempt, events, .. } => {
                self.talks.extend(events.into_iter().map(|event| (at, attempt, plain(event))));
            }
            // The model knows nothing of entities.
            Events::Entity(_) => {}
            Events::Run(events) => self.run.extend(events.iter().filter_map(written).map(|written| (at, written))),
        }
    }

    /// What the model's engine decided in a batch.
    pub(crate) fn of_model(opening: u8, batch: &Batch) -> Decided {
        let mut decided = Decided::default();
        for line in &batch.lines {
            match &line.what {
                Written::Talk { attempt, event } => decided.talks.push((line.at, *attempt, plain(event.clone()))),
                other => decided.run.push((line.at, other.clone())),
            }
        }
        let effects = batch.effects.iter().map(|effect| match *effect {
            Effect::Dispatch(worker, place) => (name(worker), *effect, Some(token(opening, place).0)),
            Effect::Cancel(worker, _) => (name(worker), *effect, None),
        });
        decided.effects = effects.collect();
        decided
    }
}

/// Without what the model leaves out: the reasons of a choice, and the value of a result.
fn plain(mut event: ConversationEvent) -> ConversationEvent {
    match &mut event {
        ConversationEvent::WorkerSelected { why, .. } => *why = None,
        ConversationEvent::Received { response: Response::Completed { digest, .. }, .. } => *digest = Digest::START,
        _ => {}
    }
    event
}

fn written(event: &RunEvent) -> Option<Written> {
    match event {
        RunEvent::ActivityCancelled { .. } => Some(Written::Withdrawn),
        RunEvent::ActivityResolved { ordinal: Ordinal(1), outcome } => Some(Written::Resolved(match outcome {
            ActivityOutcome::Completed { .. } => End::Completed,
            ActivityOutcome::Failed { .. } => End::Failed,
            ActivityOutcome::TimedOut { kind, .. } => End::TimedOut(*kind),
            ActivityOutcome::Cancelled => End::Cancelled,
            ActivityOutcome::NoWorker { .. } => End::NoWorker,
            ActivityOutcome::Lost { .. } => End::Lost,
        })),
        _ => None,
    }
}

fn input_of(word: Word) -> Input {
    let (Word::Answer(leg, _) | Word::Alive(leg) | Word::Request(_, leg) | Word::Stop(_, leg)) = word;
    let (conversation, token) = (key(leg.place.attempt), token(leg.opening, leg.place));
    let Word::Answer(_, says) = word else {
        return Input::Heartbeat { conversation, leg: leg.place.leg, token, details: None };
    };
    let answer = match says {
        Says::Completed => Answer::Completed { result: Vec::new() },
        Says::Failed => Answer::Failed {
            failure: Failure { message: String::new(), kind: String::new(), details: None },
            retryable: true,
        },
        Says::Panicked => Answer::Panicked { message: String::new() },
        Says::Stopped => Answer::Stopped,
    };
    Input::Answered { conversation, leg: leg.place.leg, token, answer }
}
