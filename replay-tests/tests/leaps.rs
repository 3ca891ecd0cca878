//! A clock that leaps while timers wait and activities are under way.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{Answer, Request};
use antiphon_engine::{IdReuse, RunOutcome, StartRequest, Target, WorkerSpec};
use antiphon_history::{ConversationKey, Events, Record, RunEvent, Timestamp, WorkflowKey};
use antiphon_recorder::memory::MemoryStore;
use antiphon_replay_tests::programs::{ACTIVITIES, today};
use antiphon_replay_tests::world::{json, text, worker};
use antiphon_runtime::{Clock, Config, MemorySource, Responder, Runtime, Worker};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

const HOUR: i64 = 3_600_000;
const YEARS: i64 = 10 * 365 * 24 * HOUR;
const START: i64 = 1_800_000_000_000;

/// A wall clock that somebody sets.
struct Wall(AtomicI64);

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn runs(&self) -> bool {
        false
    }
}

/// Takes requests, and answers when the test says so.
#[derive(Default)]
struct Slow(Mutex<Vec<(Request, Responder)>>);

impl Worker for Slow {
    fn spec(&self) -> WorkerSpec {
        worker("slow", &ACTIVITIES, 8)
    }

    fn send(&self, request: Request, responder: Responder) {
        self.0.lock().unwrap().push((request, responder));
    }

    fn cancel(&self, _: ConversationKey, _: u32) {}

    fn reset(&self) {}
}

impl Slow {
    /// Answers everything that came so far, whether it still counts or not.
    fn answer_all(&self) {
        for (_, responder) in std::mem::take(&mut *self.0.lock().unwrap()) {
            responder.answer(Answer::Completed { result: vec![json("7100")] });
        }
    }
}

fn request(id: &str, workflow_type: &str, input: &[&str]) -> StartRequest {
    StartRequest {
        workflow: WorkflowKey::new(id).unwrap(),
        workflow_type: workflow_type.into(),
        input: input.iter().map(|text| json(text)).collect(),
        id_reuse: IdReuse::Never,
        request_id: None,
    }
}

fn target(id: &str) -> Target {
    Target { workflow: WorkflowKey::new(id).unwrap(), run: None }
}

/// Two days wait for a timer, and an activity is under way whose silence may last a second, when the clock leaps.
async fn leap(by: i64) {
    let (store, clock, slow) =
        (MemoryStore::new([3; 16]), Arc::new(Wall(AtomicI64::new(START))), Arc::new(Slow::default()));
    let runtime = Runtime::start(
        Arc::new(MemorySource(store.clone())),
        today(),
        vec![Arc::clone(&slow) as Arc<dyn Worker>],
        Arc::clone(&clock) as Arc<dyn Clock>,
        Config::default(),
        false,
    )
    .unwrap();
    let handle = runtime.handle();
    handle.start(request("parcel", "parcel", &[])).await.unwrap();
    handle.start(request("guarded", "guarded", &["7"])).await.unwrap();
    // Until every leg that is under way has come to the worker: time stands still meanwhile.
    let look = async |ms: i64| {
        clock.0.fetch_add(ms, Ordering::SeqCst);
        handle.look();
        while handle.status().await.unwrap().stats.in_flight as usize > slow.0.lock().unwrap().len() {
            tokio::task::yield_now().await;
        }
    };
    look(by).await;
    slow.answer_all();
    // Answers, and time for whatever the leap ended to be tried again.
    for _ in 0..20 {
        look(300).await;
        slow.answer_all();
    }
    let (_, outcome) = handle.wait(target("guarded")).await.unwrap();
    // Ahead, every deadline of the activity is over; back, or without a leap, none of them is.
    match outcome {
        RunOutcome::Completed { .. } => assert!(by <= 0, "{by}: {outcome:?}"),
        _ => assert!(by > 0, "{by}: {outcome:?}"),
    }
    // Back to where the clock was, and past the two days.
    look(-by.min(0)).await;
    look(48 * HOUR).await;
    look(1).await;
    let (_, outcome) = handle.wait(target("parcel")).await.unwrap();
    assert!(matches!(outcome, RunOutcome::Completed { .. }), "{by}: {outcome:?}");
    runtime.stop();

    let mut snapshot = store.snapshot().unwrap();
    for (run, id) in [(1, "parcel"), (2, "guarded")] {
        let history = snapshot.history(antiphon_history::RunKey(run)).unwrap().unwrap();
        let told = text(&history);
        let (mut last, mut due) = (Timestamp(0), None);
        for bytes in &history.records {
            let record = Record::read(bytes).unwrap();
            assert!(record.at >= last, "{by}, {id}: recorded time goes back\n{told}");
            last = record.at;
            let Events::Run(events) = record.events else { continue };
            for event in events {
                match event {
                    RunEvent::TimerStarted { due: at, .. } => due = Some(at),
                    RunEvent::TimerFired { .. } => assert!(due.is_some_and(|due| last >= due), "{by}: early\n{told}"),
                    _ => {}
                }
            }
        }
        assert_eq!(told.matches("TimerFired").count(), usize::from(id == "parcel"), "{by}\n{told}");
        assert_eq!(told.matches("ActivityResolved").count(), usize::from(id == "guarded"), "{by}\n{told}");
        assert!(told.matches("Received").count() <= 1, "{by}\n{told}");
    }
}

#[tokio::test]
async fn a_leap_of_the_clock_fires_no_timer_early_or_twice_and_ends_every_activity_once() {
    for by in [0, HOUR, -HOUR, YEARS, -YEARS] {
        leap(by).await;
    }
}
