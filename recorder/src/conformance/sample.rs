use crate::Tip;
use antiphon_history::{
    ActivityCall, ActivityOptions, ActivityOutcome, AuditEvent, Blocked, BlockedReason, Bytes, ConversationEvent,
    ConversationOutcome, Digest, EntityEvent, EntityName, Events, HistoryFile, Ordinal, Payload, Record, RunEvent,
    RunId, RunKey, RunStarted, Segment, SegmentBody, Site, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes segments of legal records of many runs, the same for the same seed, and keeps what was written per run.
pub struct Sample {
    random: u64,
    now: i64,
    next_run: u64,
    open: Vec<OpenRun>,
    histories: BTreeMap<RunKey, HistoryFile>,
    /// Events of the one entity.
    audited: u64,
}

/// A run that may still get events.
struct OpenRun {
    key: RunKey,
    events: u64,
    ordinal: u32,
    activities: Vec<Ordinal>,
    timers: Vec<Ordinal>,
    blocked: bool,
}

/// Names that a filter can tell apart.
const TYPES: [&str; 3] = ["order", "mail", "order-audit"];

impl Sample {
    /// Begins with nothing.
    pub fn new(seed: u64) -> Sample {
        let (open, histories) = (Vec::new(), BTreeMap::new());
        Sample { random: seed, now: 1_700_000_000_000, next_run: 1, open, histories, audited: 0 }
    }

    /// The next segment after `tip`: one to six records.
    pub fn segment(&mut self, tip: Tip) -> Segment {
        let mut body = SegmentBody::default();
        self.now += self.below(50) as i64;
        for _ in 0..=self.below(6) {
            self.record(&mut body);
        }
        if tip.id % 5 == 3 {
            self.audit(&mut body);
        }
        Segment::seal(tip.digest, tip.id + 1, Timestamp(self.now), body.to_bytes())
    }

    /// The next `count` segments after `tip`.
    pub fn segments(&mut self, mut tip: Tip, count: usize) -> Vec<Segment> {
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            let segment = self.segment(tip);
            tip = Tip::of(&segment);
            segments.push(segment);
        }
        segments
    }

    /// What each run's and entity's history must be when every segment so far is there.
    pub fn histories(&self) -> &BTreeMap<RunKey, HistoryFile> {
        &self.histories
    }

    /// A number below `bound`. Splitmix64 (Steele, Lea, Flood 2014): small, and good enough to choose by.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn record(&mut self, body: &mut SegmentBody) {
        let choice = self.below(10);
        if self.open.is_empty() || choice == 0 {
            return self.start(body);
        }
        let index = self.below(self.open.len() as u64) as usize;
        match choice {
            1 if !self.open[index].activities.is_empty() => self.close_conversation(index, body),
            2 => self.end(index, body),
            3 => self.block(index, body),
            4 => self.signal(index, body),
            5 | 6 => self.timer(index, body),
            _ => self.activity(index, body),
        }
    }

    fn start(&mut self, body: &mut SegmentBody) {
        let key = RunKey(self.next_run);
        self.next_run += 1;
        // Every fourth run takes the workflow id of an earlier one, so that an id has several runs.
        let id = if key.0.is_multiple_of(4) { key.0 / 2 } else { key.0 };
        let workflow_type = TYPES[self.below(TYPES.len() as u64) as usize].to_owned();
        let started = RunStarted {
            namespace: if self.below(5) == 0 { "other".to_owned() } else { "default".to_owned() },
            workflow_id: format!("w-{id}"),
            run_id: RunId::from_parts(Timestamp(self.now), [key.0 as u8; 16]),
            workflow_type,
            version: 1,
            input: vec![self.payload(body, key)],
            semantics: 1,
            driver: "native".to_owned(),
            request_id: None,
            routine: None,
        };
        self.histories.entry(key).or_default();
        let run = OpenRun { key, events: 0, ordinal: 0, activities: Vec::new(), timers: Vec::new(), blocked: false };
        self.open.push(run);
        self.push_run(self.open.len() - 1, vec![RunEvent::RunStarted(Arc::new(started))], body);
    }

    fn activity(&mut self, index: usize, body: &mut SegmentBody) {
        let ordinal = self.next_ordinal(index);
        let run = self.open[index].key;
        let call = ActivityCall {
            activity_type: "charge".into(),
            queue: "default".into(),
            input: vec![self.payload(body, run)],
            options: ActivityOptions::default(),
            site: Site::default(),
        };
        self.push_run(index, vec![RunEvent::ActivityScheduled { ordinal, call: Arc::new(call) }], body);
        let scheduled =
            ConversationEvent::Scheduled { activity_type: "charge".into(), queue: "default".into(), visible_at: None };
        self.push_conversation(run, ordinal, 1, scheduled, body);
        self.open[index].activities.push(ordinal);
    }

    fn close_conversation(&mut self, index: usize, body: &mut SegmentBody) {
        let Some(ordinal) = self.open[index].activities.pop() else { return };
        let run = self.open[index].key;
        let closed = ConversationEvent::Closed { outcome: ConversationOutcome::Completed };
        self.push_conversation(run, ordinal, 2, closed, body);
        let outcome = ActivityOutcome::Completed { result: vec![self.payload(body, run)] };
        self.push_run(index, vec![RunEvent::ActivityResolved { ordinal, outcome }], body);
    }

    fn timer(&mut self, index: usize, body: &mut SegmentBody) {
        let event = match self.open[index].timers.pop() {
            Some(ordinal) if self.below(2) == 0 => RunEvent::TimerFired { ordinal },
            waiting => {
                let ordinal = self.next_ordinal(index);
                self.open[index].timers.extend(waiting);
                self.open[index].timers.push(ordinal);
                let due = Timestamp(self.now + self.below(10_000) as i64);
                RunEvent::TimerStarted { ordinal, due, site: Site::default() }
            }
        };
        self.push_run(index, vec![event], body);
    }

    fn signal(&mut self, index: usize, body: &mut SegmentBody) {
        let input = vec![self.payload(body, self.open[index].key)];
        let signal = RunEvent::SignalReceived { name: "go".to_owned(), input, request_id: None };
        self.push_run(index, vec![signal.clone(), signal], body);
    }

    fn block(&mut self, index: usize, body: &mut SegmentBody) {
        let blocked = &mut self.open[index].blocked;
        *blocked = !*blocked;
        let event = if *blocked {
            RunEvent::Blocked(Box::new(Blocked { reason: BlockedReason::Spinning { polls: 9 }, held: 0 }))
        } else {
            RunEvent::Unblocked
        };
        self.push_run(index, vec![event], body);
    }

    fn end(&mut self, index: usize, body: &mut SegmentBody) {
        let event = match self.below(3) {
            0 => RunEvent::RunCancelled { reason: "enough".to_owned() },
            _ => RunEvent::RunCompleted { result: vec![self.payload(body, self.open[index].key)] },
        };
        self.push_run(index, vec![event], body);
        self.open.swap_remove(index);
    }

    fn audit(&mut self, body: &mut SegmentBody) {
        let (who, verb, why) = ("ada".to_owned(), "queue.pause".to_owned(), String::new());
        let mut events = vec![EntityEvent::Audit(AuditEvent::Done { who, verb, on: self.now.to_string(), why })];
        if self.audited == 0 {
            events.insert(0, EntityEvent::Opened { name: EntityName::Audit });
        }
        let first_seq = self.audited + 1;
        self.audited += events.len() as u64;
        let (run, at) = (RunKey::of_entity(0), Timestamp(self.now));
        self.push(Record { run, first_seq, at, events: Events::Entity(events) }, body);
    }

    /// Mostly small; now and then one that is kept beside the events, from few enough to come again.
    fn payload(&mut self, body: &mut SegmentBody, run: RunKey) -> Payload {
        let small = self.below(8) != 0;
        let letter = b'a' + self.below(20) as u8;
        let bytes = if small { vec![b'"', letter, b'"'] } else { noise(letter) };
        let (payload, kept) = Payload::binary(bytes).split();
        if let Some((digest, bytes)) = kept {
            self.history(run).payloads.insert(digest, bytes.clone());
            // Once per segment is enough, whoever names it.
            if !body.payloads.iter().any(|(known, _): &(Digest, Bytes)| *known == digest) {
                body.payloads.push((digest, bytes));
            }
        }
        payload
    }

    fn push_run(&mut self, index: usize, events: Vec<RunEvent>, body: &mut SegmentBody) {
        let run = &mut self.open[index];
        let (key, first_seq) = (run.key, run.events + 1);
        run.events += events.len() as u64;
        self.push(Record { run: key, first_seq, at: Timestamp(self.now), events: Events::Run(events) }, body);
    }

    fn push_conversation(
        &mut self,
        run: RunKey,
        ordinal: Ordinal,
        first_seq: u64,
        event: ConversationEvent,
        body: &mut SegmentBody,
    ) {
        let events = Events::Conversation { ordinal, attempt: 1, events: vec![event] };
        self.push(Record { run, first_seq, at: Timestamp(self.now), events }, body);
    }

    fn push(&mut self, record: Record, body: &mut SegmentBody) {
        body.push(&record);
        let bytes: Bytes = record.to_bytes().into();
        self.history(record.run).records.push(bytes);
    }

    fn history(&mut self, run: RunKey) -> &mut HistoryFile {
        self.histories.entry(run).or_default()
    }

    fn next_ordinal(&mut self, index: usize) -> Ordinal {
        self.open[index].ordinal += 1;
        Ordinal(self.open[index].ordinal)
    }
}

/// What squeezing cannot make smaller.
fn noise(letter: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20_000];
    blake3::Hasher::new().update(&[letter]).finalize_xof().fill(&mut bytes);
    bytes
}
