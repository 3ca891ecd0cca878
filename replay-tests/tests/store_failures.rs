//! The whole engine, threads and all, on a store that fails on request.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{Answer, Request};
use antiphon_engine::{Context, IdReuse, RunFuture, RunOutcome, StartRequest, Target, WorkerSpec};
use antiphon_history::{
    ConversationEvent, ConversationKey, Events, HistoryFile, Payload, Record, RunEvent, RunStatus, Timestamp,
    WorkflowKey,
};
use antiphon_recorder::Filter;
use antiphon_recorder::memory::{FailKind, MemoryStore};
use antiphon_replay_tests::programs::{ACTIVITIES, today};
use antiphon_replay_tests::world::{call, json, programs, worker};
use antiphon_runtime::{Clock, Config, Error, ManualClock, MemorySource, Responder, Runtime, SystemClock, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A worker that looks into the store before it does anything: what it was sent must be on record already.
struct Suspicious {
    store: MemoryStore,
    served: Mutex<Vec<(ConversationKey, u32)>>,
    unrecorded: AtomicUsize,
}

impl Worker for Suspicious {
    fn spec(&self) -> WorkerSpec {
        worker("suspicious", &ACTIVITIES, 64)
    }

    fn send(&self, request: Request, responder: Responder) {
        let history = self.store.snapshot().unwrap().history(request.conversation.run).unwrap();
        let recorded = history.is_some_and(|history| sends(&history).contains(&(request.conversation, request.leg)));
        if !recorded {
            self.unrecorded.fetch_add(1, Ordering::SeqCst);
        }
        self.served.lock().unwrap().push((request.conversation, request.leg));
        responder.answer(Answer::Completed { result: request.call.input.clone() });
    }

    fn cancel(&self, _: ConversationKey, _: u32) {}

    fn reset(&self) {}
}

fn sends(history: &HistoryFile) -> Vec<(ConversationKey, u32)> {
    let mut found = Vec::new();
    for bytes in &history.records {
        let record = Record::read(bytes).unwrap();
        if let Events::Conversation { ordinal, attempt, events } = record.events {
            let conversation = ConversationKey { run: record.run, ordinal, attempt };
            found.extend(events.iter().filter_map(|event| match event {
                ConversationEvent::Sent { leg } => Some((conversation, *leg)),
                _ => None,
            }));
        }
    }
    found
}

fn resolutions(history: &HistoryFile) -> Vec<u32> {
    let mut found = Vec::new();
    for bytes in &history.records {
        if let Events::Run(events) = Record::read(bytes).unwrap().events {
            found.extend(events.iter().filter_map(|event| match event {
                RunEvent::ActivityResolved { ordinal, .. } => Some(ordinal.0),
                _ => None,
            }));
        }
    }
    found
}

struct Bed {
    store: MemoryStore,
    worker: Arc<Suspicious>,
    runtime: Runtime,
}

fn bed() -> Bed {
    let store = MemoryStore::new([9; 16]);
    let worker =
        Arc::new(Suspicious { store: store.clone(), served: Mutex::default(), unrecorded: AtomicUsize::new(0) });
    // The waits are real here, so they are as short as they can be.
    let config = Config { reopen_first_ms: 1, archive_every_ms: 1, anchor_every_ms: 1, ..Config::default() };
    let runtime = Runtime::start(
        Arc::new(MemorySource(store.clone())),
        today(),
        vec![Arc::clone(&worker) as Arc<dyn Worker>],
        Arc::new(SystemClock::new()),
        config,
        false,
    )
    .unwrap();
    Bed { store, worker, runtime }
}

fn request(id: &str) -> StartRequest {
    StartRequest {
        workflow: WorkflowKey::new(id).unwrap(),
        workflow_type: "fan".into(),
        input: vec![json("3")],
        id_reuse: IdReuse::Never,
        request_id: None,
    }
}

fn target(id: &str) -> Target {
    Target { workflow: WorkflowKey::new(id).unwrap(), run: None }
}

impl Bed {
    /// Starts and waits, repeating what may be repeated, as the errors say.
    async fn insist(&self, id: &str) -> (RunOutcome, usize) {
        let mut refused = 0;
        loop {
            let started = self.runtime.handle().start(request(id)).await;
            let ended = match started {
                Ok(_) => self.runtime.handle().wait(target(id)).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok((_, outcome)) => return (outcome, refused),
                Err(error) => {
                    assert!(error.retryable(), "{error}");
                    refused += 1;
                    assert!(refused < 20_000_000, "the engine never came back: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_failed_commit_loses_nothing_acknowledged_and_records_nothing_twice() {
    for kind in [FailKind::Full, FailKind::UnknownApplied, FailKind::UnknownNotApplied] {
        let bed = bed();
        for index in 0..12 {
            // The fault meets another commit of the run each time: start, answers, end.
            let id = format!("run-{index}");
            if index % 2 == 1 {
                bed.store.fail_next_append(kind);
            }
            let (outcome, refused) = bed.insist(&id).await;
            assert!(matches!(outcome, RunOutcome::Completed { .. }), "{kind:?}: {outcome:?}");
            assert!(index % 2 == 0 || refused > 0, "{kind:?}: the fault was met");
        }
        let rows = bed.store.snapshot().unwrap().list(&Filter { limit: 1_000, ..Filter::default() }).unwrap();
        assert_eq!(rows.len(), 12, "{kind:?}: one run per id");
        assert!(rows.iter().all(|row| row.status == RunStatus::Completed));
        for row in rows {
            let history = bed.store.snapshot().unwrap().history(row.key).unwrap().unwrap();
            let mut resolved = resolutions(&history);
            resolved.sort_unstable();
            assert_eq!(resolved, [1, 2, 3, 4], "{kind:?}: every activity resolved once");
        }
        assert_eq!(bed.worker.unrecorded.load(Ordering::SeqCst), 0, "{kind:?}: nothing left before it was on record");
        let mut served = bed.worker.served.lock().unwrap().clone();
        let legs = served.len();
        served.sort();
        served.dedup();
        assert_eq!(served.len(), legs, "{kind:?}: no leg was sent twice");
    }
}

#[tokio::test]
async fn a_nearly_full_volume_refuses_new_runs_and_goes_on_by_itself() {
    let bed = bed();
    bed.insist("before").await;
    bed.runtime
        .handle()
        .start(StartRequest { workflow_type: "parcel".into(), input: vec![], ..request("parcel") })
        .await
        .unwrap();
    bed.store.set_space(1_000, 1_000_000);
    let mut looks = 0;
    let full = loop {
        match bed.runtime.handle().start(request(&format!("try-{looks}"))).await {
            Err(error) => break error,
            Ok(_) => looks += 1,
        }
        assert!(looks < 20_000_000, "the engine never noticed");
        tokio::task::yield_now().await;
    };
    assert!(matches!(full, Error::DiskFull) && full.retryable(), "{full}");
    // What ends runs still goes through.
    bed.runtime.handle().cancel(target("parcel"), "make room".into()).await.unwrap();
    bed.store.set_space(u64::MAX, 1_000_000);
    assert!(matches!(bed.insist("after").await.0, RunOutcome::Completed { .. }));
}

#[tokio::test]
async fn a_store_taken_over_by_another_engine_ends_this_one() {
    let bed = bed();
    bed.insist("before").await;
    bed.store.seize();
    let mut tries = 0;
    loop {
        match bed.runtime.handle().start(request(&format!("late-{tries}"))).await {
            Err(error @ Error::Broken { .. }) => {
                assert!(!error.retryable() && error.to_string().contains("[A0030]"), "{error}");
                break;
            }
            Err(Error::Stopped) => panic!("the cause is not told"),
            Ok(_) => panic!("a fenced engine acknowledged a start"),
            Err(_) => tries += 1,
        }
        assert!(tries < 100_000, "the engine never stopped");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_stop_and_the_archive_has_it_all() {
    let bed = bed();
    for index in 0..50 {
        bed.runtime.handle().start(request(&format!("run-{index}"))).await.unwrap();
    }
    let Bed { store, runtime, .. } = bed;
    runtime.stop();
    let opened = store.open().unwrap();
    assert_eq!(opened.archive.watermark().segment, opened.log.tip().id);
    let rows = store.snapshot().unwrap().list(&Filter { limit: 1_000, ..Filter::default() }).unwrap();
    assert_eq!(rows.len(), 50);
}

#[tokio::test]
async fn a_clock_that_was_set_back_between_two_starts_holds_no_timer_up() {
    let store = MemoryStore::new([8; 16]);
    let open = |clock: &Arc<ManualClock>| {
        let (source, clock) = (Arc::new(MemorySource(store.clone())), Arc::clone(clock) as Arc<dyn Clock>);
        Runtime::start(source, today(), Vec::new(), clock, Config::default(), false).unwrap()
    };
    let status = || store.snapshot().unwrap().find(&WorkflowKey::new("parcel").unwrap()).unwrap().unwrap().status;
    let before = open(&Arc::new(ManualClock::new(Timestamp(1_000_000_000))));
    let parcel = StartRequest { workflow_type: "parcel".into(), input: vec![], ..request("parcel") };
    before.handle().start(parcel).await.unwrap();
    before.stop();

    let clock = Arc::new(ManualClock::new(Timestamp(5)));
    let after = open(&clock);
    clock.advance_ms(47 * 3_600_000);
    after.handle().look();
    after.handle().status().await.unwrap();
    assert_eq!(status(), RunStatus::Running);
    clock.advance_ms(3_600_000);
    after.handle().look();
    let ended = after.handle().wait(target("parcel")).await.unwrap();
    assert!(matches!(ended.1, RunOutcome::Completed { .. }));
    assert_eq!(clock.now(), Timestamp(5 + 48 * 3_600_000), "nothing had to skip ahead for it");
}

/// Answers before the writer goes on, so that an answer is always there before the word that its batch is durable.
struct Eager {
    left: AtomicUsize,
}

/// Far more than a stop may take in; a stop that takes in everything ends here.
const EAGER_ANSWERS: usize = 20_000;

impl Worker for Eager {
    fn spec(&self) -> WorkerSpec {
        worker("eager", &ACTIVITIES, 64)
    }

    fn send(&self, request: Request, responder: Responder) {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            responder.answer(Answer::Completed { result: request.call.input.clone() });
        }
    }

    fn cancel(&self, _: ConversationKey, _: u32) {}

    fn reset(&self) {}
}

#[tokio::test]
async fn a_stop_ends_although_every_answer_brings_new_work() {
    fn restless(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            loop {
                context.activity(call("echo", "1")).await;
            }
        })
    }
    let eager = Arc::new(Eager { left: AtomicUsize::new(EAGER_ANSWERS) });
    let runtime = Runtime::start(
        Arc::new(MemorySource(MemoryStore::new([7; 16]))),
        programs(&[("restless", restless)]),
        vec![Arc::clone(&eager) as Arc<dyn Worker>],
        Arc::new(SystemClock::new()),
        Config::default(),
        false,
    )
    .unwrap();
    runtime.handle().start(StartRequest { workflow_type: "restless".into(), ..request("a") }).await.unwrap();
    runtime.stop();
    assert!(eager.left.load(Ordering::SeqCst) > 1, "the stop took in all {EAGER_ANSWERS} answers");
}
