//! Why a run stands where it stands, asked of an engine and of a snapshot.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    Context, Explanation, Input, Partition, RepairError, RepairReply, RepairRequest, RequestError, RunFuture,
};
use antiphon_history::{Ordinal, Payload, RunKey, Timestamp};
use antiphon_replay_tests::world::*;

fn one(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

fn picky(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| options.needs = vec!["gpu".to_owned()]);
        done(&format!("\"{}\"", context.activity(call).await))
    })
}

fn patient(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let call = with("echo", "1", |options| {
            options.hold = true;
            options.retry.max_attempts = 2;
            options.start_to_close_ms = Some(5_000);
        });
        match first(context.activity(call), context.timer(60_000, site())).await {
            Ok(outcome) => done(&format!("\"{outcome}\"")),
            Err(()) => done("\"late\""),
        }
    })
}

fn listening(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.signal("go").await;
        done("1")
    })
}

fn changed(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("other", "1")).await)) })
}

const LIST: &[(&str, Begin)] = &[("one", one), ("picky", picky), ("patient", patient), ("listening", listening)];

fn ask(world: &mut World, ordinal: Option<u32>) -> Result<Explanation, RequestError> {
    match world.repair(RepairRequest::Explain { target: target("a"), ordinal: ordinal.map(Ordinal) })? {
        RepairReply::Explanation(explanation) => Ok(*explanation),
        other => panic!("the question was answered with {other:?}"),
    }
}

/// What it waits for, a line each.
fn waits(world: &mut World) -> Vec<String> {
    let explanation = ask(world, None).unwrap();
    assert_eq!(explanation, on_a_snapshot(world), "a snapshot gives the same answer");
    explanation.waits.iter().map(|wait| wait.text(&|at| at.0.to_string())).collect()
}

/// The same question, to a partition that only looks at what is durable.
fn on_a_snapshot(world: &World) -> Explanation {
    let mut picture = Partition::picture(&world.entities(), Timestamp(world.now));
    world.runs().values().for_each(|history| _ = picture.show(history).unwrap());
    picture.explain(RunKey(1), None).unwrap()
}

#[test]
fn a_call_that_nobody_could_take_says_what_is_missing() {
    let mut world = World::new(LIST, vec![]);
    world.start("a", "picky", "0");
    let nobody =
        ["activity #1.1 echo on default waits for a worker since 1000: no worker subscribes to task queue \"default\""];
    assert_eq!(waits(&mut world), nobody);
    world.step(Input::WorkerJoined(worker("w1", &["other"], 1)));
    assert!(waits(&mut world)[0].ends_with("no worker of task queue \"default\" has the activity \"echo\""));
    world.step(Input::WorkerJoined(worker("w2", &["echo"], 1)));
    assert!(waits(&mut world)[0].ends_with("no worker of task queue \"default\" has all of the labels gpu"));
}

#[test]
fn a_call_that_is_under_way_says_with_whom_and_until_when_and_a_full_worker_is_said_to_be_full() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("b", "one", "0");
    world.start("a", "patient", "0");
    let told = waits_of(&mut world);
    assert!(
        told[0].contains("waits for a worker since 1000: no worker that could take it has a free place"),
        "{told:?}"
    );
    assert_eq!(told[1], "timer #2 waits until 61000");
    world.pass(500);
    world.complete("1");
    assert_eq!(
        waits_of(&mut world)[0],
        "activity #1.1 echo on default runs on w1 since 1500 as leg 1; start-to-close passes at 6500"
    );
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    assert_eq!(waits_of(&mut world)[0], "activity #1.2 echo on default waits until 2500");
    world.pass(1_000);
    world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    assert_eq!(
        waits_of(&mut world)[0],
        "activity #1.2 echo on default is held as dead letter 1 until somebody retries or discards it: \
         failed after 2: busy"
    );
}

/// As [`waits`], where the run is not the first.
fn waits_of(world: &mut World) -> Vec<String> {
    let explanation = ask(world, None).unwrap();
    explanation.waits.iter().map(|wait| wait.text(&|at| at.0.to_string())).collect()
}

#[test]
fn a_run_that_waits_for_a_signal_or_for_other_code_says_so() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "listening", "0");
    assert_eq!(waits(&mut world), ["waits for a signal or a cancel; nothing else is under way"]);

    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    world.restart(Some(&[("one", changed)]));
    let told = waits_of(&mut world);
    assert!(told[0].starts_with("waits for code that can follow its record: the code asks something else"), "{told:?}");
    assert!(told[1].contains("runs on w1"), "its activity goes on all the same: {told:?}");
}

#[test]
fn one_activity_can_be_asked_for_an_ended_run_waits_for_nothing_and_an_unknown_one_is_refused() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "patient", "0");
    let timer = ask(&mut world, Some(2)).unwrap();
    assert_eq!(timer.waits.len(), 1);
    world.complete("1");
    let ended = ask(&mut world, None).unwrap();
    assert_eq!((ended.status.name(), ended.waits.len()), ("completed", 0));
    let unknown = world.repair(RepairRequest::Explain { target: target("b"), ordinal: None });
    assert!(!matches!(unknown, Ok(_) | Err(RequestError::Repair(RepairError::NotHeld { .. }))), "{unknown:?}");
}

#[test]
fn an_explanation_reads_as_text_and_as_json() {
    let mut world = World::new(LIST, vec![worker("w1", &["echo"], 1)]);
    world.start("a", "one", "0");
    let explanation = ask(&mut world, None).unwrap();
    let text = explanation.to_string();
    assert!(text.starts_with("one a (") && text.contains(") is running\n  activity #1.1 echo on default runs on w1"));
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&explanation).unwrap()).unwrap();
    let wait = &json["waits"][0];
    assert_eq!(
        (&json["status"], &wait["for"], &wait["why"]["state"]),
        (&"running".into(), &"activity".into(), &"running".into())
    );
    assert_eq!((&wait["why"]["worker"], &wait["why"]["since"]), (&"w1".into(), &1_000.into()));
}
