//! Histories written by hand: every time and every word is known, so their pictures can be compared to the letter.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests; not every test file uses all of it")]

use antiphon_history::*;
use std::sync::Arc;

/// 2026-01-01T00:00:00Z.
pub const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000);

/// A run that is being written.
pub struct Story {
    key: RunKey,
    seq: u64,
    talks: std::collections::BTreeMap<(u32, u32), u64>,
    pub file: HistoryFile,
}

impl Story {
    /// Begins a run at `ms` after new year.
    pub fn begin(key: u64, id: &str, workflow_type: &str, input: &str, ms: u64) -> Story {
        let mut unique = [0; 16];
        unique[12..].copy_from_slice(&(0xabc0_0000 + key as u32).to_be_bytes());
        let started = RunEvent::RunStarted(Arc::new(RunStarted {
            namespace: "default".into(),
            workflow_id: id.into(),
            run_id: RunId::from_parts(NEW_YEAR.plus_ms(ms), unique),
            workflow_type: workflow_type.into(),
            version: 3,
            input: vec![json(input)],
            semantics: 1,
            driver: "native".into(),
            request_id: None,
            routine: None,
        }));
        let mut story = Story { key: RunKey(key), seq: 0, talks: Default::default(), file: HistoryFile::default() };
        story.run(ms, vec![started]);
        story
    }

    /// The run stream goes on.
    pub fn run(&mut self, ms: u64, events: Vec<RunEvent>) -> &mut Story {
        let first_seq = self.seq + 1;
        self.seq += events.len() as u64;
        self.push(ms, first_seq, Events::Run(events))
    }

    /// A conversation goes on.
    pub fn talk(&mut self, ms: u64, ordinal: u32, attempt: u32, events: Vec<ConversationEvent>) -> &mut Story {
        let said = self.talks.entry((ordinal, attempt)).or_default();
        let first_seq = *said + 1;
        *said += events.len() as u64;
        self.push(ms, first_seq, Events::Conversation { ordinal: Ordinal(ordinal), attempt, events })
    }

    fn push(&mut self, ms: u64, first_seq: u64, events: Events) -> &mut Story {
        let record = Record { run: self.key, first_seq, at: NEW_YEAR.plus_ms(ms), events };
        self.file.records.push(record.to_bytes().into());
        self
    }
}

pub fn json(text: &str) -> Payload {
    Payload::json(text.as_bytes())
}

pub fn scheduled(ordinal: u32, activity_type: &str, input: &str, site: &str) -> RunEvent {
    let call = ActivityCall {
        activity_type: activity_type.into(),
        queue: "default".into(),
        input: vec![json(input)],
        options: ActivityOptions::default(),
        site: Site(site.into()),
    };
    RunEvent::ActivityScheduled { ordinal: Ordinal(ordinal), call: Arc::new(call) }
}

pub fn resolved(ordinal: u32, result: &str) -> RunEvent {
    let outcome = ActivityOutcome::Completed { result: vec![json(result)] };
    RunEvent::ActivityResolved { ordinal: Ordinal(ordinal), outcome }
}

pub fn waits(activity_type: &str) -> ConversationEvent {
    ConversationEvent::Scheduled { activity_type: activity_type.into(), queue: "default".into(), visible_at: None }
}

pub fn selected(leg: u32, worker: &str, why: Option<Selection>) -> ConversationEvent {
    ConversationEvent::WorkerSelected {
        leg,
        worker: worker.into(),
        token: TokenHash([leg as u8; 16]),
        why,
        lease_ms: None,
    }
}

pub fn answered(leg: u32) -> ConversationEvent {
    let response = Response::Completed { digest: Digest([1; 32]), len: 4 };
    ConversationEvent::Received { leg, response }
}

pub fn refused(leg: u32, message: &str) -> ConversationEvent {
    ConversationEvent::Received { leg, response: Response::Failed { message: message.into(), retryable: true } }
}

pub fn closed(outcome: ConversationOutcome) -> ConversationEvent {
    ConversationEvent::Closed { outcome }
}

/// An order: one activity that fails, is tried again, loses a worker and succeeds; then a timer overnight; then the end.
pub fn order(key: u64, id: &str) -> HistoryFile {
    use ConversationEvent as C;
    let why = |left_out| Selection { policy: "least_loaded".into(), candidates: 3, free: 12, left_out, route: None };
    let full = LeftOut { worker: "w3".into(), reason: LeftOutReason::Full };
    let lost = LeftOut { worker: "w2".into(), reason: LeftOutReason::LostEarlierLeg };
    let day = 86_400_000;
    let mut story = Story::begin(key, id, "order", r#"{"id":7,"lines":["tea"]}"#, 0);
    story
        .run(0, vec![scheduled(1, "pay.charge", "1250", "src/order.rs:41")])
        .talk(0, 1, 1, vec![waits("pay.charge"), selected(1, "w1", Some(why(vec![full]))), C::Sent { leg: 1 }])
        .talk(80, 1, 1, vec![refused(1, "declined"), closed(ConversationOutcome::Failed)])
        .talk(
            80,
            1,
            2,
            vec![C::Scheduled {
                activity_type: "pay.charge".into(),
                queue: "default".into(),
                visible_at: Some(NEW_YEAR.plus_ms(1_080)),
            }],
        )
        .talk(1_080, 1, 2, vec![selected(1, "w2", None), C::Sent { leg: 1 }])
        .talk(1_500, 1, 2, vec![C::Heartbeat { leg: 1, details: json("\"authorising\"") }])
        .talk(
            2_000,
            1,
            2,
            vec![C::Exited {
                leg: 1,
                reason: ExitReason::WorkerExit,
                details: Some(json("\"authorising\"")),
                visible_at: None,
            }],
        )
        .talk(2_000, 1, 2, vec![selected(2, "w1", Some(why(vec![lost]))), C::Sent { leg: 2 }])
        .talk(2_300, 1, 2, vec![answered(2), closed(ConversationOutcome::Completed)])
        .run(
            2_300,
            vec![
                resolved(1, "\"r-9\""),
                RunEvent::TimerStarted {
                    ordinal: Ordinal(2),
                    due: NEW_YEAR.plus_ms(2_300 + day),
                    site: Site("src/order.rs:52".into()),
                },
            ],
        )
        .run(2_300 + day, vec![RunEvent::TimerFired { ordinal: Ordinal(2) }])
        .run(2_300 + day, vec![RunEvent::RunCompleted { result: vec![json("\"shipped\"")] }]);
    std::mem::take(&mut story.file)
}

/// A run that met other code: it waits blocked, with a signal held.
pub fn blocked(key: u64, id: &str) -> HistoryFile {
    let report = DivergenceReport {
        seq: 2,
        recorded: "ActivityScheduled #1 reserve(1)".into(),
        recorded_site: Site("src/order.rs:40".into()),
        attempted: "ActivityScheduled #1 hold(1)".into(),
        attempted_site: Site("src/order.rs:39".into()),
        field: "activity type: recorded \"reserve\", attempted \"hold\"".into(),
        repair: "guard the change with ctx.patched(\"name\")".into(),
    };
    let mut story = Story::begin(key, id, "order", "1", 5_000);
    story
        .run(5_000, vec![scheduled(1, "reserve", "1", "src/order.rs:40")])
        .talk(5_000, 1, 1, vec![waits("reserve"), selected(1, "local", None), ConversationEvent::Sent { leg: 1 }])
        .talk(5_010, 1, 1, vec![answered(1), closed(ConversationOutcome::Completed)])
        .run(
            5_010,
            vec![
                resolved(1, "null"),
                RunEvent::Blocked(Box::new(Blocked { reason: BlockedReason::Divergence(report), held: 1 })),
            ],
        );
    std::mem::take(&mut story.file)
}

/// A run whose activity nobody takes.
pub fn stuck(key: u64, id: &str) -> HistoryFile {
    let mut story = Story::begin(key, id, "report", "\"2026\"", 9_000);
    story.run(9_000, vec![scheduled(1, "print", "1", "src/report.rs:8")]).talk(
        9_000,
        1,
        1,
        vec![
            waits("print"),
            ConversationEvent::NoWorker { reason: "2 workers subscribe, none has the label \"gpu\"".into() },
        ],
    );
    std::mem::take(&mut story.file)
}

/// A store in a temporary folder that holds these runs, in this order: the first half in its archive, the rest in its
/// log only, so that readers have to look at both.
pub fn store(files: &[HistoryFile]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        antiphon_recorder::sqlite::open(&folder.path().join("data"), &antiphon_recorder::sqlite::Options::default())
            .unwrap();
    let mut at = Timestamp(0);
    for (index, file) in files.iter().enumerate() {
        let body = SegmentBody {
            records: file.records.clone(),
            payloads: file.payloads.iter().map(|(digest, bytes)| (*digest, bytes.clone())).collect(),
        };
        at = at.max(Record::read(file.records.last().unwrap()).unwrap().at);
        let tip = store.log.tip();
        let segment = Segment::seal(tip.digest, tip.id + 1, at, body.to_bytes());
        store.log.append(&segment).unwrap();
        if index < files.len() / 2 {
            store.archive.fold(&[segment]).unwrap();
        }
    }
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    folder
}

/// Everything that is recorded of an entity, the `number`th of its store: its events, at so many ms after new year.
pub fn entity(number: u64, name: EntityName, events: Vec<(u64, EntityEvent)>) -> HistoryFile {
    let mut file = HistoryFile::default();
    let opened = events.first().map_or(0, |(ms, _)| *ms);
    let events = std::iter::once((opened, EntityEvent::Opened { name })).chain(events);
    for ((ms, event), first_seq) in events.zip(1..) {
        let at = NEW_YEAR.plus_ms(ms);
        let record = Record { run: RunKey::of_entity(number), first_seq, at, events: Events::Entity(vec![event]) };
        file.records.push(record.to_bytes().into());
    }
    file
}

/// Two dead letters: one that is held, and one of which the workflow was told.
pub fn dead_letters(number: u64) -> HistoryFile {
    let letter = |workflow_id: &str, held| DeadLetter {
        run: RunKey(1),
        run_id: RunId::from_parts(NEW_YEAR, [7; 16]),
        namespace: "default".into(),
        workflow_id: workflow_id.into(),
        ordinal: Ordinal(3),
        attempt: 2,
        activity_type: "pay.charge".into(),
        queue: "pay".into(),
        cause: DeadCause::Attempts,
        reason: "failed: the bank is closed".into(),
        held,
    };
    let noted = |ms, id, held| (ms, EntityEvent::DeadLetters(DeadLettersEvent::Noted(Box::new(letter(id, held)))));
    entity(number, EntityName::DeadLetters, vec![noted(10, "order-7", true), noted(20, "order-8", false)])
}

/// Two workers that are elsewhere, one of the engine's own, and one that is gone.
pub fn workers(number: u64) -> HistoryFile {
    let joined = |ms, worker: &str, kind, queue: &str| {
        let offer = WorkerOffer {
            kind,
            instance: None,
            queues: [queue.to_owned()].into(),
            activities: ["print".to_owned()].into(),
            labels: ["colour".to_owned()].into(),
            capacity: 2,
        };
        (ms, EntityEvent::Workers(WorkersEvent::Joined { worker: worker.into(), offer: Box::new(offer) }))
    };
    let lost = WorkersEvent::Lost { worker: "press-9".into(), reason: "silent for 60000 ms".into() };
    let events = vec![
        joined(1, "press-1", WorkerKind::Pull, "default"),
        joined(2, "press-2", WorkerKind::Remote, "mail"),
        joined(3, "press-9", WorkerKind::Pull, "mail"),
        joined(4, "local", WorkerKind::Pool, "default"),
        (5, EntityEvent::Workers(lost)),
    ];
    entity(number, EntityName::Workers, events)
}
