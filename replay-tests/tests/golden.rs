//! Every recorded history, on today's code.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{replay, replay_prefix};
use antiphon_history::{Digest, HistoryFile, Record, RunEvent, StoredPayload};
use antiphon_replay_tests::{programs, scenarios, world};
use std::path::{Path, PathBuf};

fn fixtures() -> Vec<(String, PathBuf, HistoryFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/histories/v1");
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "history"))
        .map(|path| {
            let history = HistoryFile::read(&std::fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), path, history)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn every_scenario_is_recorded_and_every_recording_has_its_scenario() {
    let recorded: Vec<String> = fixtures().into_iter().map(|(name, _, _)| name).collect();
    let scenarios: Vec<String> = scenarios::ALL.iter().map(|scenario| scenario.name.to_owned()).collect();
    assert_eq!(recorded, scenarios);
    assert!(recorded.len() >= 10);
}

#[test]
fn every_recording_reads_as_its_text_says() {
    for (name, path, history) in fixtures() {
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(world::text(&history) + "\n", expected, "{name}");
    }
}

#[test]
fn every_recording_encodes_to_the_same_bytes_again() {
    for (name, path, history) in fixtures() {
        for record in &history.records {
            assert_eq!(&Record::read(record).unwrap().to_bytes()[..], &record[..], "{name}");
        }
        assert_eq!(history.to_bytes(), std::fs::read(path).unwrap(), "{name}");
    }
}

#[test]
fn every_recording_replays_whole_and_at_every_prefix_each_on_a_fresh_thread() {
    for (name, _, history) in fixtures() {
        let whole =
            std::thread::scope(|scope| scope.spawn(|| replay(&programs::today(), &history).unwrap()).join().unwrap());
        assert_eq!(whole.stopped, None, "{name}");
        for events in 1..=whole.events {
            let replayed = std::thread::scope(|scope| {
                scope.spawn(|| replay_prefix(&programs::today(), &history, events).unwrap()).join().unwrap()
            });
            assert_eq!(replayed.stopped, None, "{name}, first {events} events");
            check_beyond(&name, &history, events, &replayed.beyond);
        }
    }
}

/// Where a prefix ends inside a turn, the code must ask next exactly what the record says next, byte for byte.
fn check_beyond(name: &str, history: &HistoryFile, events: usize, beyond: &[RunEvent]) {
    let recorded: Vec<RunEvent> = history
        .records
        .iter()
        .flat_map(|record| match Record::read(record).unwrap().events {
            antiphon_history::Events::Run(events) => events,
            antiphon_history::Events::Conversation { .. } | antiphon_history::Events::Entity(_) => Vec::new(),
        })
        .skip(events)
        .take(beyond.len())
        .collect();
    // Behind a block the record holds arrivals and the block itself; the code's own words come after Unblocked.
    if recorded.iter().any(|event| event.role() != antiphon_history::Role::Command) {
        return;
    }
    for (recorded, attempted) in recorded.iter().zip(beyond) {
        // Places in the source move as the programs around them are edited; everything else must be the same.
        assert_eq!(without_site(recorded), without_site(attempted), "{name}, after {events} events");
    }
}

fn without_site(event: &RunEvent) -> String {
    let mut event = event.clone();
    match &mut event {
        RunEvent::ActivityScheduled { call, .. } | RunEvent::CompensationPushed { call, .. } => {
            std::sync::Arc::make_mut(call).site = Default::default();
        }
        RunEvent::TimerStarted { site, .. } | RunEvent::SideEffectRecorded { site, .. } => *site = Default::default(),
        _ => {}
    }
    for payload in event.payloads_mut() {
        *payload = payload.clone().split().0;
    }
    format!("{event:?}")
}

#[test]
fn every_scenario_still_plays_as_it_was_recorded() {
    for (scenario, (name, _, recorded)) in scenarios::ALL.iter().zip(fixtures()) {
        let strip = |text: String| -> Vec<String> {
            // Call sites move with the source; `at <file>:<line>` is the only part that may differ.
            text.lines().map(|line| line.split(" at replay-tests/").next().unwrap_or(line).to_owned()).collect()
        };
        let played = (scenario.play)();
        assert_eq!(strip(world::text(&played)), strip(world::text(&recorded)), "{name}");
    }
}

#[test]
fn the_history_of_another_workflow_diverges_with_a_report() {
    let (_, _, history) = fixtures().into_iter().find(|(name, _, _)| name == "diverged-then-mended").unwrap();
    let stopped = replay(&programs::changed(), &history).unwrap().stopped.unwrap();
    let report = stopped.to_string();
    for part in [
        "recorded:  ActivityScheduled #1 pay.charge(7, 100)",
        "attempted: ActivityScheduled #1 pay.charge(7, 50)",
        "differs:   argument 2: recorded 100, attempted 50",
        "at replay-tests/src/programs.rs:",
        "repair:",
    ] {
        assert!(report.contains(part), "{part:?} is missing in\n{report}");
    }
}

#[test]
fn large_payloads_stand_beside_the_events_once() {
    let (_, _, history) = fixtures().into_iter().find(|(name, _, _)| name.starts_with("outside")).unwrap();
    assert_eq!(history.payloads.len(), 1, "argument and result have the same bytes");
    let (digest, bytes) = history.payloads.first_key_value().unwrap();
    assert_eq!(bytes.len(), 20_002);
    let stored = StoredPayload { digest: *digest, len: 20_002 };
    assert!(world::text(&history).contains(&format!("{:?}", stored.digest)));
    assert_ne!(stored.digest, Digest::START);
}
