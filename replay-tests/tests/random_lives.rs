//! Random lives: answers, panics, losses, silence, signals, cancels, restarts and leaps of time in any order.
//!
//! After every step the engine's invariants are checked (by [`World`]); at the end everything is healed and must come to
//! an end, and every history must replay on fresh code. A failing case is shrunk and printed by proptest.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{Answer, Phase, Request};
use antiphon_engine::{By, IdReuse, Input, ReplyTo, StartRequest, replay};
use antiphon_history::{ConversationEvent, Events, HistoryFile, Ordinal, Payload, Record, RunEvent, WorkflowKey};
use antiphon_replay_tests::programs::{ACTIVITIES, today};
use antiphon_replay_tests::world::{World, failure, json, target, text, worker};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Act {
    Start(u8),
    Answer { which: u8, how: u8 },
    Repeat { which: u8 },
    Heartbeat { which: u8 },
    Join(u8),
    Leave(u8),
    Signal(u8),
    Cancel(u8),
    Terminate(u8),
    Pass(u32),
    Leap(i32),
    Archive,
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..10u8).prop_map(Act::Start),
        12 => (any::<u8>(), 0..10u8).prop_map(|(which, how)| Act::Answer { which, how }),
        1 => any::<u8>().prop_map(|which| Act::Repeat { which }),
        2 => any::<u8>().prop_map(|which| Act::Heartbeat { which }),
        1 => (0..3u8).prop_map(Act::Join),
        1 => (0..3u8).prop_map(Act::Leave),
        2 => (0..10u8).prop_map(Act::Signal),
        1 => (0..10u8).prop_map(Act::Cancel),
        1 => (0..10u8).prop_map(Act::Terminate),
        3 => (0..5_000u32).prop_map(Act::Pass),
        1 => (-4_000_000..4_000_000i32).prop_map(Act::Leap),
        1 => Just(Act::Archive),
        1 => Just(Act::Restart),
    ]
}

struct Life {
    world: World,
    /// Requests that left once, for answers that come late or twice.
    old: Vec<Request>,
}

impl Life {
    fn new() -> Life {
        let workers = (0..2).map(|n| worker(&format!("w{n}"), &ACTIVITIES, 2)).collect();
        Life { world: World::with_programs(today(), workers), old: Vec::new() }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Start(n) => {
                let (workflow_type, input): (_, &[&str]) = match n % 5 {
                    0 => ("guarded", &["7"]),
                    1 => ("order", &["7", "100"]),
                    2 => ("fan", &["3"]),
                    3 => ("parcel", &[]),
                    _ => ("outside", &["10"]),
                };
                let request = StartRequest {
                    workflow: WorkflowKey::new(format!("run-{n}")).unwrap(),
                    workflow_type: workflow_type.into(),
                    input: input.iter().map(|text| json(text)).collect(),
                    id_reuse: IdReuse::Never,
                    request_id: None,
                };
                self.bring_in(&format!("run-{n}"));
                self.world.step(Input::Start(request, ReplyTo(0)));
            }
            Act::Answer { which, how } => {
                if !self.world.sent.is_empty() {
                    let at = usize::from(*which) % self.world.sent.len();
                    let request = self.world.sent.remove(at).1;
                    self.world.answer_to(&request, answer(&request, *how));
                    self.old.push(request);
                }
            }
            Act::Repeat { which } => {
                if !self.old.is_empty() {
                    let request = self.old[usize::from(*which) % self.old.len()].clone();
                    self.world.answer_to(&request, answer(&request, 0));
                }
            }
            Act::Heartbeat { which } => {
                if !self.world.sent.is_empty() {
                    let request = self.world.sent[usize::from(*which) % self.world.sent.len()].1.clone();
                    let (conversation, leg, token) = (request.conversation, request.leg, request.token);
                    self.world.step(Input::Heartbeat { conversation, leg, token, details: Some(json("1")) });
                }
            }
            Act::Join(n) => self.world.step(Input::WorkerJoined(worker(&format!("w{n}"), &ACTIVITIES, 2))),
            Act::Leave(n) => {
                let name = format!("w{n}");
                self.world.sent.retain(|(worker, _)| *worker != name);
                self.world.step(Input::WorkerLeft { name });
            }
            Act::Signal(n) => {
                let id = format!("run-{n}");
                self.bring_in(&id);
                self.world.signal(&id, "packed", "\"Ada\"", None);
            }
            Act::Cancel(n) => {
                let id = format!("run-{n}");
                self.bring_in(&id);
                self.world.cancel(&id, "enough");
            }
            // Not brought in by replay: it is ended as its record says.
            Act::Terminate(n) => {
                let target = target(&format!("run-{n}"));
                self.world.ask(|reply| Input::Terminate { target, by: By::default(), reply });
            }
            Act::Pass(ms) => self.world.pass(i64::from(*ms)),
            Act::Leap(ms) => {
                self.world.now += i64::from(*ms);
                self.world.step(Input::Tick);
            }
            Act::Archive => {
                let through = self.world.segments;
                self.world.step(Input::Archived { through });
            }
            Act::Restart => self.world.restart_with(None),
        }
    }

    /// What the runtime does before a request: a run that is not in memory is loaded.
    fn bring_in(&mut self, id: &str) {
        let workflow = WorkflowKey::new(id).unwrap();
        if !self.world.partition.knows(&workflow) {
            for history in self.world.runs().values() {
                if history.row().unwrap().workflow == workflow {
                    self.world.load(history);
                }
            }
        }
    }

    /// Workers are there, nobody fails, time passes: everything must come to an end.
    fn heal(&mut self) {
        for n in 0..2 {
            self.world.step(Input::WorkerJoined(worker(&format!("healer{n}"), &ACTIVITIES, 64)));
        }
        for history in self.world.runs().values() {
            self.world.load(history);
        }
        for _ in 0..400 {
            while let Some((_, request)) = self.world.sent.first().cloned() {
                self.world.sent.remove(0);
                self.world.answer_to(&request, answer(&request, 0));
            }
            if self.world.runs().values().all(|history| history.row().unwrap().status.is_closed()) {
                return;
            }
            self.world.pass(3_600_000);
        }
        let open: Vec<String> =
            self.world.runs().values().filter(|history| !history.row().unwrap().status.is_closed()).map(text).collect();
        panic!("still open after everything was healed:\n{}", open.join("\n\n"));
    }
}

fn answer(request: &Request, how: u8) -> Answer {
    let result = match request.call.activity_type.as_str() {
        "pay.charge" => json("7100"),
        "pay.refund" => json("null"),
        _ => request.call.input[0].clone(),
    };
    match how {
        // Only a charge can fail with an error of its own.
        7 if request.call.activity_type == "pay.charge" => {
            let details = Some(Payload::json(b"\"Busy\"".to_vec()));
            Answer::Failed { failure: antiphon_history::Failure { details, ..failure("busy") }, retryable: true }
        }
        8 if request.call.activity_type == "pay.charge" => {
            let details = Some(Payload::json(b"\"Stolen\"".to_vec()));
            Answer::Failed { failure: antiphon_history::Failure { details, ..failure("stolen") }, retryable: false }
        }
        9 => Answer::Panicked { message: "boom".into() },
        _ => Answer::Completed { result: vec![result] },
    }
}

/// What must hold of every history, however it came about.
fn check(history: &HistoryFile) {
    let (mut resolved, mut terminal) = (BTreeMap::<Ordinal, u32>::new(), 0);
    let mut conversations = BTreeMap::<(Ordinal, u32), (Phase, u32)>::new();
    for bytes in &history.records {
        match Record::read(bytes).unwrap().events {
            Events::Run(events) => {
                for event in events {
                    assert!(terminal == 0, "nothing follows the end");
                    if let RunEvent::ActivityResolved { ordinal, .. } = &event {
                        *resolved.entry(*ordinal).or_default() += 1;
                    }
                    terminal += u32::from(event.is_terminal());
                }
            }
            Events::Entity(_) => {}
            Events::Conversation { ordinal, attempt, events } => {
                let (phase, leg) = conversations.entry((ordinal, attempt)).or_default();
                for event in events {
                    *phase = phase.next(*leg, &event).unwrap();
                    if let ConversationEvent::WorkerSelected { leg: selected, .. } = event {
                        *leg = selected;
                    }
                }
            }
        }
    }
    assert!(resolved.values().all(|times| *times == 1), "each activity is resolved at most once");
    assert_eq!(terminal, 1);
    assert!(conversations.values().all(|(phase, _)| *phase == Phase::Closed), "every conversation is closed");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("ANTIPHON_LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_life_keeps_the_invariants_comes_to_an_end_and_replays(acts in proptest::collection::vec(any_act(), 0..80)) {
        let mut life = Life::new();
        for act in &acts {
            life.act(act);
        }
        life.heal();
        prop_assert_eq!(life.world.partition.stats().anomalies, 0);
        for history in life.world.runs().values() {
            check(history);
            let replayed = replay(&today(), history).unwrap();
            prop_assert_eq!(replayed.stopped, None, "{}", text(history));
        }
    }
}
