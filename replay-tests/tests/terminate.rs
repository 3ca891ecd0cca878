//! Runs that are ended by somebody's word, without asking their code.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{
    By, Context, IdReuse, Input, RepairReply, RepairRequest, Reply, RequestError, RunFuture, RunOutcome, replay,
    replay_prefix,
};
use antiphon_history::{Payload, RetryPolicy, RunId, RunStatus};
use antiphon_replay_tests::world::*;
use std::sync::atomic::{AtomicU32, Ordering};

fn saga(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("reserve", "1")).await;
        context.compensate(call("release", "1"));
        let charged = context.activity(call("charge", "1"));
        let _ = first(charged, context.timer(60_000, site())).await;
        done("\"charged\"")
    })
}

fn listening(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let _ = first(context.signal("go"), context.timer(10_000, site())).await;
        done("\"heard\"")
    })
}

/// Does not heed a cancel.
fn deaf(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let _ = first(context.cancelled(), context.signal("go")).await;
        context.signal("go").await;
        done("\"heard\"")
    })
}

fn panics(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { panic!("no such customer") })
}

fn ask(world: &mut World, id: &str) -> Reply {
    let by = By { who: "ada".into(), why: "stuck since May".into() };
    world.ask(|reply| Input::Terminate { target: target(id), by, reply })
}

fn terminate(world: &mut World, id: &str) {
    assert_eq!(ask(world, id), Reply::Accepted);
    let why = "stuck since May".to_owned();
    let told = world.ended(id);
    assert!(
        matches!(&told, Some(Reply::Ended { outcome: RunOutcome::Terminated { reason }, .. }) if *reason == why),
        "{told:?}"
    );
}

const END: &str = "RunTerminated by \"ada\": \"stuck since May\"";

#[test]
fn a_run_under_way_ends_at_once_its_leg_is_told_to_stop_and_nothing_is_undone() {
    let mut world = World::new(&[("saga", saga)], vec![worker("w", &["reserve", "charge", "release"], 1)]);
    world.start("a", "saga", "0");
    world.complete("1");
    let charge = world.sent.remove(0).1;
    let waiter = world.ended("a");
    assert_eq!(waiter, None);
    world.now += 5;
    let segments = world.segments;
    terminate(&mut world, "a");
    assert_eq!(world.segments, segments + 1, "all of it in one segment");
    let text = world.text(1);
    assert!(
        text.ends_with(&format!(
            "{END}\n#3.1 4 CancelSent leg=1\n#3.1 5 Exited leg=1 cancelled\n#3.1 6 Closed cancelled"
        )),
        "{text}"
    );
    assert_eq!(world.cancelled, [("w".to_owned(), 1)]);
    assert_eq!(world.replies.len(), 1, "whoever waited before was told as well: {:?}", world.replies);

    let late = world.partition.stats().stale_answers;
    world.answer_to(&charge, Answer::Completed { result: vec![json("1")] });
    assert_eq!(world.partition.stats().stale_answers, late + 1);
    world.start("b", "saga", "0");
    assert_eq!(world.sent.len(), 1, "the worker's place is free again");
    world.pass(100_000);
    assert_eq!(world.text(1), text, "no timer, no compensation");
}

#[test]
fn a_blocked_run_ends_with_its_held_arrivals_and_needs_no_code() {
    let mut world = World::new(&[("panics", panics)], vec![]);
    world.start("a", "panics", "0");
    world.signal("a", "go", "1", None);
    assert!(matches!(world.ended("a"), Some(Reply::Blocked { .. })));
    world.restart(Some(&[]));
    terminate(&mut world, "a");
    assert!(world.text(1).ends_with(&format!("SignalReceived go (1)\nrun 4 {END}")), "{}", world.text(1));
    let row = world.history(1).row().unwrap();
    assert_eq!((row.status, row.blocked.as_str(), row.needs_loading()), (RunStatus::Terminated, "", false));
}

#[test]
fn a_run_that_left_memory_ends_as_its_record_says_and_no_code_runs() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    fn counted(context: Context, input: Vec<Payload>) -> RunFuture {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        listening(context, input)
    }
    let mut world = World::new(&[("counted", counted)], vec![]);
    world.start("a", "counted", "0");
    world.step(Input::Archived { through: world.segments });
    world.pass(9_000);
    assert_eq!(world.partition.stats().live_runs, 0, "it waits and was let go of");
    terminate(&mut world, "a");
    assert_eq!(BEGUN.load(Ordering::Relaxed), 1, "it was begun by its start and never replayed");
    let text = world.text(1);
    assert!(text.ends_with(&format!("run 3 {END}")), "{text}");
    world.pass(100_000);
    assert_eq!(world.text(1), text, "its timer does not fire");
}

#[test]
fn whoever_means_another_run_leaves_one_that_left_memory_where_it_is() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    world.start("a", "listening", "0");
    world.step(Input::Archived { through: world.segments });
    world.pass(9_000);
    let text = world.text(1);
    let mut other = target("a");
    other.run = Some(RunId([9; 16]));
    let refused = world.ask(|reply| Input::Terminate { target: other, by: By::default(), reply });
    assert!(matches!(refused, Reply::Refused(RequestError::OtherRun { .. })), "{refused:?}");
    assert_eq!((world.text(1), world.partition.stats().live_runs), (text, 0));
    world.pass(1_000);
    assert!(world.text(1).ends_with("RunCompleted (\"heard\")"), "{}", world.text(1));
}

#[test]
fn a_run_that_does_not_heed_a_cancel_heeds_this() {
    let mut world = World::new(&[("deaf", deaf)], vec![]);
    world.start("a", "deaf", "0");
    world.cancel("a", "enough");
    assert_eq!(world.ended("a"), None);
    terminate(&mut world, "a");
    assert_eq!(world.partition.next_deadline(), None);
}

#[test]
fn an_ended_run_is_not_terminated_again_and_nothing_is_written() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    world.start("a", "listening", "0");
    terminate(&mut world, "a");
    let (text, segments) = (world.text(1), world.segments);
    let late = world.signal("a", "go", "1", None);
    assert!(matches!(late, Reply::Refused(RequestError::AlreadyEnded { .. })), "{late:?}");
    for restart in [false, true] {
        if restart {
            world.restart(None);
        }
        let again = ask(&mut world, "a");
        assert!(matches!(again, Reply::Refused(RequestError::AlreadyEnded { .. })), "{again:?}");
    }
    assert!(matches!(ask(&mut world, "b"), Reply::Refused(RequestError::NotFound { .. })));
    assert_eq!((world.text(1), world.segments), (text, segments));
}

#[test]
fn its_id_goes_to_a_new_run_like_that_of_a_failed_one() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    world.start("a", "listening", "0");
    terminate(&mut world, "a");
    assert!(matches!(world.start("a", "listening", "0"), Reply::Started { existing: true, .. }));
    let again = world.start_with("a", "listening", "0", IdReuse::AfterFailure);
    assert!(matches!(again, Reply::Started { existing: false, .. }), "{again:?}");
}

#[test]
fn what_waits_in_line_backs_off_or_is_held_is_closed_too() {
    fn three(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let mut retried = context.activity(with("retried", "1", |options| {
                options.retry = RetryPolicy { max_attempts: 5, initial_ms: 60_000, ..RetryPolicy::default() };
            }));
            retried.start();
            let mut held = context.activity(with("held", "1", |options| {
                options.hold = true;
                options.retry.max_attempts = 1;
            }));
            held.start();
            context.activity(call("nobody", "1")).await;
            done("1")
        })
    }
    let mut world = World::new(&[("three", three)], vec![worker("w", &["retried", "held"], 2)]);
    world.start("a", "three", "0");
    for _ in 0..2 {
        world.answer(Answer::Failed { failure: failure("busy"), retryable: true });
    }
    let letters = |world: &mut World, settled_too| match world.repair(RepairRequest::DeadLetters {
        after: 0,
        limit: 9,
        settled_too,
    }) {
        Ok(RepairReply::Letters(letters)) => letters.letters.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((letters(&mut world, false), world.partition.stats().waiting), (1, 1));
    terminate(&mut world, "a");
    assert_eq!((letters(&mut world, false), letters(&mut world, true)), (0, 1), "nobody has to take care of it");
    assert_eq!((world.partition.stats().waiting, world.partition.next_deadline()), (0, None));
    let text = world.text(1);
    assert_eq!(text.matches("Closed cancelled").count(), 3, "{text}");
    world.step(Input::WorkerJoined(worker("late", &["nobody"], 9)));
    assert_eq!((world.sent.len(), world.text(1)), (0, text));
}

#[test]
fn a_body_that_must_not_run_twice_is_closed_without_its_outcome_and_never_sent_again() {
    fn once(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(with("charge", "1", |options| options.at_most_once = true)).await;
            done("1")
        })
    }
    let mut world = World::new(&[("once", once)], vec![worker("w", &["charge"], 1)]);
    world.start("a", "once", "0");
    terminate(&mut world, "a");
    let text = world.text(1);
    world.restart(None);
    world.pass(100_000);
    assert_eq!((world.sent.len(), world.text(1)), (0, text));
}

#[test]
fn a_run_ended_before_its_engine_took_it_up_again_is_not_taken_up() {
    let mut world = World::new(&[("saga", saga)], vec![worker("w", &["reserve"], 1)]);
    world.start("a", "saga", "0");
    let history = world.history(1);
    world.partition = antiphon_engine::Partition::new(
        antiphon_engine::Config::default(),
        programs(&[]),
        antiphon_engine::Origin {
            store_id: [1; 16],
            secret: [2; 32],
            last_segment: world.segments,
            last_run: 1,
            now: antiphon_history::Timestamp(world.now),
        },
    );
    world.partition.bring_in_to_end(&history).unwrap();
    terminate(&mut world, "a");
    let text = world.text(1);
    assert!(text.ends_with("CancelSent leg=1\n#1.1 5 Exited leg=1 cancelled\n#1.1 6 Closed cancelled"), "{text}");
    let key = world.partition.load(&history, antiphon_history::Timestamp(world.now)).unwrap();
    world.pass(1_000);
    assert_eq!(
        (key.0, world.text(1), world.sent.len()),
        (1, text, 1),
        "the sending before the restart is the only one"
    );
}

#[test]
fn a_restart_at_any_moment_finds_the_same_and_the_record_replays_whole_and_cut() {
    let list: &[(&str, Begin)] = &[("saga", saga)];
    let mut world = World::new(list, vec![worker("w", &["reserve", "charge"], 1)]);
    world.start("a", "saga", "0");
    world.complete("1");
    terminate(&mut world, "a");
    let text = world.text(1);
    world.restart(None);
    terminate_is_known(&mut world);
    assert_eq!(world.text(1), text);
    world.partition.check_recorded(antiphon_history::RunKey(1), &world.history(1)).unwrap();
    let whole = replay(&programs(list), &world.history(1)).unwrap();
    assert_eq!((whole.stopped, whole.status), (None, RunStatus::Terminated));
    for events in 1..=whole.events {
        assert_eq!(replay_prefix(&programs(list), &world.history(1), events).unwrap().stopped, None, "{events}");
    }
}

fn terminate_is_known(world: &mut World) {
    let told = world.ended("a");
    assert!(matches!(told, Some(Reply::Ended { outcome: RunOutcome::Terminated { .. }, .. })), "{told:?}");
}

#[test]
fn who_and_why_are_cut_to_what_a_record_keeps() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    world.start("a", "listening", "0");
    let by = By { who: "ä".repeat(200), why: "ö".repeat(5_000) };
    world.ask(|reply| Input::Terminate { target: target("a"), by, reply });
    let Some(Reply::Ended { outcome: RunOutcome::Terminated { reason }, .. }) = world.ended("a") else {
        panic!("it was terminated")
    };
    assert!(reason.len() <= 4_096 + '…'.len_utf8() && reason.ends_with('…'), "{} bytes", reason.len());
    assert!(world.text(1).contains(&format!("by \"{}\": \"ö", "ä".repeat(127))));
}
