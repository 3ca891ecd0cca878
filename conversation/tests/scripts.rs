//! Every script of `fixtures/conversations`: what happens, a line of dashes, what is known after each event.
//!
//! A script is read line by line: `at <ms> <event> …`. The trace below the dashes is what the fold says after each; an
//! event that cannot follow leaves a line that names both sides, and changes nothing. To see a changed behaviour as a
//! diff, run with `UPDATE_SCRIPTS=1`.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{Conversation, Deadlines, Token};
use antiphon_history::{
    ActivityOptions, ActivityOutcome, ConversationEvent, ConversationOutcome, ExitReason, Response, TimeoutKind,
    Timestamp,
};
use std::path::Path;

fn event(words: &[&str], at: Timestamp) -> ConversationEvent {
    let leg = || words[1].parse().unwrap();
    match words[0] {
        "scheduled" => ConversationEvent::Scheduled {
            activity_type: "charge".into(),
            queue: "default".into(),
            visible_at: words.get(1).map(|ms| at.plus_ms(ms.parse().unwrap())),
        },
        "selected" => ConversationEvent::WorkerSelected {
            leg: leg(),
            worker: words[2].into(),
            token: Token([words[1].len() as u8; 16]).hash(),
            why: None,
            lease_ms: words.get(3).map(|ms| ms.parse().unwrap()),
        },
        "sent" => ConversationEvent::Sent { leg: leg() },
        "cancel-sent" => ConversationEvent::CancelSent { leg: leg() },
        "completed" => ConversationEvent::Received {
            leg: leg(),
            response: Response::Completed { digest: antiphon_history::Digest::START, len: 1 },
        },
        "failed" => ConversationEvent::Received {
            leg: leg(),
            response: Response::Failed { message: "busy".into(), retryable: true },
        },
        "exited" => {
            let reason = match words[2] {
                "worker-exit" => ExitReason::WorkerExit,
                "panicked" => ExitReason::Panicked { message: "boom".into() },
                "timed-out" => ExitReason::TimedOut { kind: TimeoutKind::StartToClose },
                "cancelled" => ExitReason::Cancelled,
                "engine-restart" => ExitReason::EngineRestart,
                "lease-expired" => ExitReason::LeaseExpired,
                "released" => ExitReason::Released,
                "forced" => ExitReason::Forced,
                "redriven" => ExitReason::Redriven,
                other => panic!("no exit reason {other:?}"),
            };
            let visible_at = words.get(3).map(|ms| at.plus_ms(ms.parse().unwrap()));
            ConversationEvent::Exited { leg: leg(), reason, details: None, visible_at }
        }
        "no-worker" => ConversationEvent::NoWorker { reason: "nobody subscribes".into() },
        "held" => {
            let outcome = match words[1] {
                "completed" => ActivityOutcome::Completed { result: vec![] },
                "lost" => ActivityOutcome::Lost { losses: 1, reason: "the worker left".into() },
                "timed-out" => ActivityOutcome::TimedOut { kind: TimeoutKind::StartToClose, attempts: 1 },
                other => panic!("no outcome to hold {other:?}"),
            };
            ConversationEvent::Held { outcome: Box::new(outcome) }
        }
        "closed" => {
            let outcome = match words[1] {
                "completed" => ConversationOutcome::Completed,
                "failed" => ConversationOutcome::Failed,
                "timed-out" => ConversationOutcome::TimedOut,
                "cancelled" => ConversationOutcome::Cancelled,
                "lost" => ConversationOutcome::Lost,
                "no-worker" => ConversationOutcome::NoWorker,
                other => panic!("no outcome {other:?}"),
            };
            ConversationEvent::Closed { outcome }
        }
        other => panic!("no event {other:?}"),
    }
}

fn play(script: &str) -> String {
    let options = ActivityOptions {
        schedule_to_start_ms: Some(1_000),
        start_to_close_ms: Some(500),
        schedule_to_close_ms: Some(10_000),
        heartbeat_ms: Some(200),
        ..ActivityOptions::default()
    };
    let mut conversation = Conversation::default();
    let mut trace = String::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = Timestamp(words[1].parse().unwrap());
        let event = event(&words[2..], at);
        let before = conversation.clone();
        match conversation.apply(&event, at) {
            Ok(()) => {
                let next = Deadlines::of(&conversation, &options, Timestamp(0), at).next;
                let next = next.map_or("none".to_owned(), |(at, what)| format!("{what:?} at {}", at.0));
                trace.push_str(&format!(
                    "{:<14} activity {}, losses {}, excluded [{}], next {next}\n",
                    conversation.phase().to_string(),
                    conversation.state(),
                    conversation.losses(),
                    conversation.excluded().join(", "),
                ));
            }
            Err(error) => {
                assert_eq!(conversation, before, "a refused event changes nothing");
                trace.push_str(&format!("refused        {error}\n"));
            }
        }
    }
    trace
}

#[test]
fn every_script_gives_its_trace() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/conversations");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "script") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once("----\n").unwrap();
        let trace = play(script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, format!("{script}----\n{trace}")).unwrap();
        } else {
            assert_eq!(trace, expected, "{}", path.display());
        }
        played += 1;
    }
    assert!(played >= 5, "only {played} scripts were found");
}
