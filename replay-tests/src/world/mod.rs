//! A partition on paper: inputs by hand, every segment kept, time by hand. Histories come out as text and as files.
//!
//! There is no store, thread, clock or worker: a test says what arrives, and reads what leaves. After every step the
//! engine's invariants are checked.

mod made;

pub use made::*;

use antiphon::WallCalendar;
use antiphon_conversation::{Answer, Request};
use antiphon_engine::{
    Batch, Config, Effect, IdReuse, Input, Origin, Partition, Programs, QueuesReply, QueuesRequest, RepairReply,
    RepairRequest, Reply, ReplyTo, RequestError, StartRequest, Target, WorkerSpec,
};
use antiphon_history::{
    Bytes, CatalogueRow, Digest, EntityName, Events, HistoryFile, Payload, Record, RunKey, SegmentBody, Timestamp,
    WorkflowKey,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A partition with everything that it wrote and let out.
pub struct World {
    /// The engine.
    pub partition: Partition,
    /// The time, in milliseconds.
    pub now: i64,
    /// Every record that was made durable, in order.
    pub records: Vec<Bytes>,
    /// Every large payload that was made durable.
    pub payloads: BTreeMap<Digest, Bytes>,
    /// How many segments were made durable since the workers joined: each is one sync.
    pub segments: u64,
    /// Requests that left, oldest first, with the worker's name.
    pub sent: Vec<(String, Request)>,
    /// Legs that were told to stop: worker and leg.
    pub cancelled: Vec<(String, u32)>,
    /// Replies that nobody has fetched.
    pub replies: BTreeMap<u64, Reply>,
    /// From then on a run that was let go of is due.
    left_due: Option<Timestamp>,
    /// What was on record before the test began: who is there.
    before: Vec<Bytes>,
    next_reply: u64,
    programs: Programs,
    workers: Vec<WorkerSpec>,
    pub(crate) config: Config,
    /// The archive was told of: runs may have left memory.
    pub(crate) archived: bool,
}

impl World {
    /// A partition with these bare workflows and connected workers.
    pub fn new(list: &[(&'static str, Begin)], workers: Vec<WorkerSpec>) -> World {
        World::with_programs(programs(list), workers)
    }

    /// A partition with these workflows and connected workers.
    pub fn with_programs(programs: Programs, workers: Vec<WorkerSpec>) -> World {
        let mut world = World {
            partition: partition(&programs, Config::default(), 0, 0),
            now: 1_000,
            records: Vec::new(),
            payloads: BTreeMap::new(),
            segments: 0,
            sent: Vec::new(),
            cancelled: Vec::new(),
            replies: BTreeMap::new(),
            left_due: None,
            before: Vec::new(),
            next_reply: 0,
            programs,
            workers: workers.clone(),
            config: Config::default(),
            archived: false,
        };
        for spec in workers {
            world.step(Input::WorkerJoined(spec));
        }
        // Who is there is on record before a test begins, by an engine before this one: tests see what comes of what they do.
        world.before = std::mem::take(&mut world.records);
        world.segments = 0;
        world.restart(None);
        assert!(world.records.is_empty(), "a start with the same workers writes nothing");
        world
    }

    /// One input at the current time; its segment is durable and its effects are out when this returns.
    pub fn step(&mut self, input: Input) {
        self.bring_in_needed(&input);
        self.partition.step(input, Timestamp(self.now));
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        self.partition.check().expect("the invariants hold after every step");
        let Batch { segment, effects, .. } = self.partition.take();
        if let Some(body) = segment {
            self.segments += 1;
            let body = SegmentBody::read(&body).expect("the engine writes readable segments");
            self.records.extend(body.records);
            self.payloads.extend(body.payloads);
        }
        self.left_due = self.left_due.into_iter().chain(self.partition.take_left_due()).min();
        for effect in effects {
            match effect {
                Effect::Dispatch { worker, request } => self.sent.push((worker.to_string(), *request)),
                Effect::CancelLeg { worker, leg, .. } => self.cancelled.push((worker.to_string(), leg)),
                Effect::Reply { to, reply } => {
                    self.replies.insert(to.0, reply);
                }
            }
        }
    }

    pub(crate) fn reply_to(&mut self) -> ReplyTo {
        self.next_reply += 1;
        ReplyTo(self.next_reply)
    }

    /// Starts a workflow.
    pub fn start(&mut self, id: &str, workflow: &str, input: &str) -> Reply {
        self.start_with(id, workflow, input, IdReuse::Never)
    }

    /// Starts a workflow under a policy for finished ids.
    pub fn start_with(&mut self, id: &str, workflow: &str, input: &str, id_reuse: IdReuse) -> Reply {
        self.start_as(id, workflow, vec![json(input)], id_reuse)
    }

    /// Starts a workflow with any input.
    pub fn start_payloads(&mut self, id: &str, workflow: &str, input: Vec<Payload>) -> Reply {
        self.start_as(id, workflow, input, IdReuse::Never)
    }

    fn start_as(&mut self, id: &str, workflow: &str, input: Vec<Payload>, id_reuse: IdReuse) -> Reply {
        let request = StartRequest {
            workflow: WorkflowKey::new(id).expect("tests use usable ids"),
            workflow_type: workflow.to_owned(),
            input,
            id_reuse,
            request_id: None,
        };
        let to = self.reply_to();
        self.step(Input::Start(request, to));
        self.replies.remove(&to.0).expect("a start is always answered")
    }

    /// Sends a signal.
    pub fn signal(&mut self, id: &str, name: &str, input: &str, request_id: Option<&str>) -> Reply {
        let to = self.reply_to();
        let request_id = request_id.map(str::to_owned);
        let (name, input) = (name.to_owned(), vec![json(input)]);
        self.step(Input::Signal { target: target(id), name, input, request_id, reply: to });
        self.replies.remove(&to.0).expect("a signal is always answered")
    }

    /// Asks for a run to be cancelled.
    pub fn cancel(&mut self, id: &str, reason: &str) -> Reply {
        let to = self.reply_to();
        self.step(Input::Cancel { target: target(id), reason: reason.to_owned(), reply: to });
        self.replies.remove(&to.0).expect("a cancel is always answered")
    }

    /// One input that is answered at once.
    pub fn ask(&mut self, input: impl FnOnce(ReplyTo) -> Input) -> Reply {
        let to = self.reply_to();
        self.step(input(to));
        self.replies.remove(&to.0).expect("it is answered at once")
    }

    /// What an operator asks about queues, and is told.
    pub fn queues(&mut self, request: QueuesRequest) -> Result<QueuesReply, RequestError> {
        match self.ask(|to| Input::Queues(Box::new(request), to)) {
            Reply::Queues(reply) => Ok(*reply),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// What an operator asks for, and is told.
    pub fn repair(&mut self, mut request: RepairRequest) -> Result<RepairReply, RequestError> {
        if let Some(letter) = request.letter().and_then(|number| self.partition.letter(number)) {
            let (run, ordinal) = (letter.run, letter.ordinal);
            request.give_call(&self.history(run.0), ordinal);
        }
        let to = self.reply_to();
        self.step(Input::Repair(Box::new(request), to));
        match self.replies.remove(&to.0).expect("an operator is always answered") {
            Reply::Repair(reply) => Ok(*reply),
            Reply::Refused(error) => Err(error),
            other => panic!("an operator was told {other:?}"),
        }
    }

    /// The reply to a wait, if the run has ended.
    pub fn ended(&mut self, id: &str) -> Option<Reply> {
        let to = self.reply_to();
        self.step(Input::Wait { target: target(id), reply: to });
        self.replies.remove(&to.0)
    }

    /// Answers the oldest request that left.
    pub fn answer(&mut self, answer: Answer) {
        let (_, request) = self.sent.remove(0);
        self.answer_to(&request, answer);
    }

    /// Answers one request.
    pub fn answer_to(&mut self, request: &Request, answer: Answer) {
        let (conversation, leg, token) = (request.conversation, request.leg, request.token);
        self.step(Input::Answered { conversation, leg, token, answer });
    }

    /// Completes the oldest request that left.
    pub fn complete(&mut self, result: &str) {
        self.answer(Answer::Completed { result: vec![json(result)] });
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(next) = self.partition.next_deadline().into_iter().chain(self.left_due).min()
            && next.0 <= end
        {
            self.now = self.now.max(next.0);
            self.bring_back_due();
            self.step(Input::Tick);
        }
        self.now = end;
        self.step(Input::Tick);
    }

    /// Brings back runs that were let go of and are due, as the runtime does.
    fn bring_back_due(&mut self) {
        let now = Timestamp(self.now);
        if self.left_due.is_none_or(|due| due > now) {
            return;
        }
        let cold = self.runs().into_iter().filter(|(run, _)| !self.partition.has_run(*run));
        let due = cold.filter_map(|(_, history)| Some((history.row().ok()?.due()?, history)));
        let (due, later): (Vec<_>, Vec<_>) = due.partition(|(due, _)| *due <= now);
        self.left_due = later.iter().map(|(due, _)| *due).min();
        due.iter().for_each(|(_, history)| self.load(history));
    }

    /// Drops the engine and builds it again from the record, with the same or other code.
    pub fn restart(&mut self, list: Option<&[(&'static str, Begin)]>) {
        self.restart_with(list.map(programs));
    }

    /// As [`World::restart`], with workflows of any kind.
    pub fn restart_with(&mut self, programs: Option<Programs>) {
        if let Some(programs) = programs {
            self.programs = programs;
        }
        self.sent.clear();
        let runs = self.runs();
        let last = runs.keys().last().map_or(0, |run| run.0);
        self.partition = partition(&self.programs, self.config, self.segments, last);
        // As an opening does: engine time goes on from the latest recorded moment.
        self.partition.step(Input::Tick, Timestamp(self.now));
        self.standing().iter().for_each(|row| self.partition.load_entity(row));
        self.partition.set_loading(true);
        for spec in self.workers.clone() {
            self.step(Input::WorkerJoined(spec));
        }
        self.partition.settle_workers();
        self.flush();
        for history in runs.values() {
            self.load(history);
        }
        self.partition.set_loading(false);
        self.flush();
    }

    /// From the next restart on no worker joins by itself.
    pub fn forget_workers(&mut self) {
        self.workers.clear();
    }

    /// Brings a run into memory, as the runtime does before something arrives for it.
    pub fn load(&mut self, history: &HistoryFile) {
        self.partition.load(history, Timestamp(self.now)).expect("what the engine wrote loads again");
        self.flush();
    }

    /// The histories of all runs.
    pub fn runs(&self) -> BTreeMap<RunKey, HistoryFile> {
        self.histories().into_iter().filter(|(key, _)| !key.is_entity()).collect()
    }

    /// The rows of the entities of which something was written since the test began, folded from the record.
    pub fn entities(&self) -> Vec<CatalogueRow> {
        let told = |key| self.records.iter().any(|record| Record::run_of(record) == Ok(key));
        self.standing().into_iter().filter(|row| told(row.key)).collect()
    }

    /// The rows of all entities.
    fn standing(&self) -> Vec<CatalogueRow> {
        let entities = self.histories().into_iter().filter(|(key, _)| key.is_entity());
        entities.map(|(_, history)| history.row().expect("the engine writes whole entities")).collect()
    }

    /// Every event of an entity, one per line; nothing if it does not exist.
    pub fn entity_text(&self, name: &EntityName) -> String {
        let row =
            self.standing().into_iter().find(|row| row.entity.as_ref().is_some_and(|entity| entity.name == *name));
        row.map_or(String::new(), |row| text(&self.histories()[&row.key]))
    }

    /// The histories of all runs and entities.
    fn histories(&self) -> BTreeMap<RunKey, HistoryFile> {
        let mut runs: BTreeMap<RunKey, HistoryFile> = BTreeMap::new();
        for bytes in self.before.iter().chain(&self.records) {
            let run = Record::run_of(bytes).expect("the engine writes readable records");
            let history = runs.entry(run).or_default();
            history.records.push(bytes.clone());
            history.payloads.clone_from(&self.payloads);
        }
        runs
    }

    /// The history of one run.
    pub fn history(&self, run: u64) -> HistoryFile {
        self.runs().remove(&RunKey(run)).expect("the run was recorded")
    }

    /// Every event of a run, one per line: `run 3 …` for the run stream, `#1.2 4 …` for a conversation.
    pub fn text(&self, run: u64) -> String {
        text(&self.history(run))
    }
}

/// Every event of a history, one per line.
pub fn text(history: &HistoryFile) -> String {
    let mut lines = Vec::new();
    for bytes in &history.records {
        let record = Record::read(bytes).expect("the engine writes readable records");
        let stream = record.stream();
        let mut seq = record.first_seq;
        let mut line = |event: &dyn std::fmt::Display| {
            lines.push(format!("{stream} {seq} {event}"));
            seq += 1;
        };
        match &record.events {
            Events::Run(events) => events.iter().for_each(|event| line(event)),
            Events::Conversation { events, .. } => events.iter().for_each(|event| line(event)),
            Events::Entity(events) => events.iter().for_each(|event| line(event)),
        }
    }
    lines.join("\n")
}

/// The names of a run's events, in the order of their appending.
pub fn names(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split(' ').nth(2).expect("every line names its event").to_owned()).collect()
}

/// The newest run of a workflow id.
pub fn target(id: &str) -> Target {
    Target { workflow: WorkflowKey::new(id).expect("tests use usable ids"), run: None }
}

fn partition(programs: &Programs, config: Config, last_segment: u64, last_run: u64) -> Partition {
    let origin = Origin { store_id: [1; 16], secret: [2; 32], last_segment, last_run, now: Timestamp(1_000) };
    Partition::new(config, programs.clone(), origin).with_calendar(Arc::new(WallCalendar::default()))
}
