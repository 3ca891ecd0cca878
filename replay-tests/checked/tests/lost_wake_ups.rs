//! Invariant 9: with every notification switched off, everything still finishes.
//!
//! The whole engine, threads and all, in which no thread of the partition ever wakes another: each finds its work by
//! looking again. It takes the seconds of those looks, and nothing is judged by them.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{Answer, Request};
use antiphon_engine::{Context, IdReuse, RunFuture, RunOutcome, StartRequest, Target, WorkerSpec};
use antiphon_history::{ConversationKey, Payload, Site, WorkflowKey, planted};
use antiphon_recorder::memory::MemoryStore;
use antiphon_replay_tests::world::{call, done, json, programs, worker};
use antiphon_runtime::{Config, MemorySource, Responder, Runtime, SystemClock, Worker};
use std::sync::Arc;

/// Answers from threads of its own, after the engine has gone to sleep or before.
struct Elsewhere;

impl Worker for Elsewhere {
    fn spec(&self) -> WorkerSpec {
        worker("elsewhere", &["echo"], 8)
    }

    fn send(&self, request: Request, responder: Responder) {
        std::thread::spawn(move || responder.answer(Answer::Completed { result: request.call.input.clone() }));
    }

    fn cancel(&self, _: ConversationKey, _: u32) {}

    fn reset(&self) {}
}

/// An activity, a timer, a message from outside, and another activity.
fn everything(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("echo", "1")).await;
        context.timer(1, Site::default()).await;
        context.signal("go").await;
        context.activity(call("echo", "2")).await;
        done("\"all\"")
    })
}

fn request(id: &str) -> StartRequest {
    StartRequest {
        workflow: WorkflowKey::new(id).unwrap(),
        workflow_type: "everything".into(),
        input: vec![json("0")],
        id_reuse: IdReuse::Never,
        request_id: None,
    }
}

#[tokio::test]
async fn everything_still_finishes_when_no_thread_is_ever_woken() {
    planted::plant(Some("lost-wake-up"));
    let store = MemoryStore::new([9; 16]);
    // One segment may wait for the archive: commits, too, have to wait for somebody whom nobody wakes.
    let config = Config { backlog_segments: 1, ..Config::default() };
    let runtime = Runtime::start(
        Arc::new(MemorySource(store)),
        programs(&[("everything", everything)]),
        vec![Arc::new(Elsewhere)],
        Arc::new(SystemClock::new()),
        config,
        false,
    )
    .unwrap();
    let handle = runtime.handle().clone();
    for id in ["a", "b", "c"] {
        handle.start(request(id)).await.unwrap();
        let target = Target { workflow: WorkflowKey::new(id).unwrap(), run: None };
        handle.signal(target, "go".into(), Vec::new(), None).await.unwrap();
    }
    for id in ["a", "b", "c"] {
        let target = Target { workflow: WorkflowKey::new(id).unwrap(), run: None };
        let (_, outcome) = handle.wait(target).await.unwrap();
        assert_eq!(outcome, RunOutcome::Completed { result: vec![json("\"all\"")] });
    }
    runtime.stop();
    planted::plant(None);
}
