//! What workflow code can do, and that a restart at any segment changes nothing of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::{Context, IdReuse, Input, Reply, RequestError, RunFuture, RunOutcome, replay, replay_prefix};
use antiphon_history::{BlockedReason, Payload, Site};
use antiphon_replay_tests::world::*;
use std::future::poll_fn;
use std::task::Poll;

fn race(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        match first(context.signal("go"), context.timer(1_000, site())).await {
            Ok(_) => done("\"signal\""),
            Err(()) => done("\"timer\""),
        }
    })
}

fn saga(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(call("reserve", "1")).await;
        context.compensate(call("release", "1"));
        context.activity(call("charge", "1")).await;
        context.compensate(call("refund", "1"));
        antiphon_engine::Ending::Failed(failure("never packed"))
    })
}

fn mixed(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let drawn = context.random()[0];
        let value = context.side_effect(|| json("\"from outside\""), site()).await;
        let mut held = context.activity(call("hold", &drawn.to_string()));
        held.start();
        let echoed = context.activity(call("echo", "1")).await;
        context.timer(50, site()).await;
        let at = context.now().0;
        let held = held.await;
        done(&format!("[{at}, {value}, \"{echoed}\", \"{held}\"]"))
    })
}

#[test]
fn a_signal_beats_the_timer_and_the_loser_is_cancelled_on_record() {
    let mut world = World::new(&[("race", race)], vec![]);
    world.start("a", "race", "0");
    world.signal("a", "go", "1", None);
    let text = world.text(1);
    assert!(
        text.ends_with("SignalReceived go (1)\nrun 4 TimerCancelled #1\nrun 5 RunCompleted (\"signal\")"),
        "{text}"
    );
    world.pass(5_000);
    assert_eq!(world.text(1), text, "the cancelled timer never fires");
}

#[test]
fn the_timer_beats_the_signal_at_its_moment_and_not_before() {
    let mut world = World::new(&[("race", race)], vec![]);
    world.start("a", "race", "0");
    world.pass(999);
    assert!(world.ended("a").is_none());
    world.pass(1);
    assert!(world.text(1).ends_with("TimerFired #1\nrun 4 RunCompleted (\"timer\")"), "{}", world.text(1));
    assert!(matches!(world.signal("a", "go", "1", None), Reply::Refused(RequestError::AlreadyEnded { .. })));
}

#[test]
fn signals_are_kept_until_they_are_taken_and_a_repeated_request_changes_nothing() {
    fn two(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.timer(100, site()).await;
            let first = context.signal("go").await;
            let second = context.signal("go").await;
            done(&format!("[{}, {}]", first[0], second[0]))
        })
    }
    let mut world = World::new(&[("two", two)], vec![]);
    world.start("a", "two", "0");
    world.signal("a", "go", "1", Some("q1"));
    assert_eq!(world.signal("a", "go", "99", Some("q1")), Reply::Accepted);
    world.signal("a", "go", "2", Some("q2"));
    world.pass(100);
    assert!(world.text(1).ends_with("RunCompleted ([1, 2])"), "{}", world.text(1));
}

#[test]
fn a_start_with_the_same_id_and_input_is_the_same_run_and_another_input_is_a_conflict() {
    let mut world = World::new(&[("race", race), ("saga", saga)], vec![]);
    let Reply::Started { run_id, existing: false } = world.start("a", "race", "0") else { panic!() };
    assert_eq!(world.start("a", "race", "0"), Reply::Started { run_id, existing: true });
    let before = world.segments;
    assert!(matches!(world.start("a", "race", "1"), Reply::Refused(RequestError::Conflict { what: "input", .. })));
    assert!(matches!(
        world.start("a", "saga", "0"),
        Reply::Refused(RequestError::Conflict { what: "workflow type", .. })
    ));
    assert!(matches!(world.start("b", "rage", "0"), Reply::Refused(RequestError::UnknownWorkflow { .. })));
    assert_eq!(world.segments, before, "a refused start writes nothing");
}

#[test]
fn what_a_finished_id_may_do_is_a_policy() {
    let mut world = World::new(&[("race", race)], vec![]);
    let Reply::Started { run_id, .. } = world.start("a", "race", "0") else { panic!() };
    world.pass(1_000);
    assert_eq!(world.start("a", "race", "0"), Reply::Started { run_id, existing: true });
    assert_eq!(world.start_with("a", "race", "0", IdReuse::AfterFailure), Reply::Started { run_id, existing: true });
    let Reply::Started { run_id: second, existing: false } = world.start_with("a", "race", "1", IdReuse::Always) else {
        panic!()
    };
    assert_ne!(run_id, second);
    world.cancel("a", "no longer needed");
    assert!(matches!(
        world.start_with("a", "race", "2", IdReuse::AfterFailure),
        Reply::Started { existing: false, .. }
    ));
}

#[test]
fn a_failed_saga_runs_its_compensations_in_reverse_and_then_fails() {
    let mut world = World::new(&[("saga", saga)], vec![worker("w", &["reserve", "charge", "refund", "release"], 1)]);
    world.start("a", "saga", "0");
    let mut order = Vec::new();
    while let Some((_, request)) = world.sent.first().cloned() {
        order.push(request.call.activity_type.clone());
        world.complete("1");
    }
    assert_eq!(order, ["reserve", "charge", "refund", "release"]);
    assert!(world.text(1).ends_with("RunFailed never packed"), "{}", world.text(1));
}

#[test]
fn a_cancel_reaches_the_running_activity_then_the_compensations_run_then_the_run_is_cancelled() {
    let mut world = World::new(&[("saga", saga)], vec![worker("w", &["reserve", "charge", "refund", "release"], 1)]);
    world.start("a", "saga", "0");
    world.complete("1");
    let charge = world.sent.remove(0).1;
    world.cancel("a", "customer left");
    assert_eq!(world.cancelled.len(), 1);
    world.answer_to(&charge, Answer::Stopped);
    assert_eq!(world.sent[0].1.call.activity_type, "release");
    world.complete("1");
    let text = world.text(1);
    assert!(text.contains("CancelSent leg=1\n#3.1 5 Exited leg=1 cancelled\n#3.1 6 Closed cancelled"), "{text}");
    assert!(text.ends_with("RunCancelled \"customer left\""), "{text}");
    assert!(matches!(world.ended("a"), Some(Reply::Ended { outcome: RunOutcome::Cancelled { .. }, .. })));
}

#[test]
fn a_workflow_that_watches_for_the_cancel_decides_itself() {
    fn watching(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            match first(context.cancelled(), context.timer(10_000, site())).await {
                Ok(reason) => {
                    context.timer(10, site()).await;
                    done(&format!("\"tidied up: {reason}\""))
                }
                Err(()) => done("\"timer\""),
            }
        })
    }
    let mut world = World::new(&[("w", watching)], vec![]);
    world.start("a", "w", "0");
    world.cancel("a", "stop");
    world.pass(10);
    assert!(world.text(1).ends_with("RunCompleted (\"tidied up: stop\")"), "{}", world.text(1));
}

#[test]
fn arrivals_are_applied_one_at_a_time_so_the_log_decides_who_was_first() {
    fn racing(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let a = context.activity(call("echo", "1"));
            let b = context.activity(call("echo", "2"));
            match first(a, b).await {
                Ok(won) => done(&format!("\"a {won}\"")),
                Err(won) => done(&format!("\"b {won}\"")),
            }
        })
    }
    let mut world = World::new(&[("r", racing)], vec![worker("w", &["echo"], 2)]);
    world.start("a", "r", "0");
    let (a, b) = (world.sent[0].1.clone(), world.sent[1].1.clone());
    world.answer_to(&b, Answer::Completed { result: vec![json("2")] });
    world.answer_to(&a, Answer::Completed { result: vec![json("1")] });
    assert!(world.text(1).contains("RunCompleted (\"b completed (2)\")"), "{}", world.text(1));
    assert_eq!(replay(&programs(&[("r", racing)]), &world.history(1)).unwrap().stopped, None);
}

/// Runs `mixed` to its end, dropping and rebuilding the engine before step `restart_before`.
fn mixed_run(restart_before: Option<usize>) -> World {
    let mut world = World::new(&[("mixed", mixed)], vec![worker("w", &["echo", "hold"], 2)]);
    for step in 0..4 {
        if restart_before == Some(step) {
            world.restart(None);
        }
        match step {
            0 => drop(world.start("a", "mixed", "0")),
            1 => {
                let echo = world.sent.iter().position(|(_, request)| request.call.activity_type == "echo").unwrap();
                let request = world.sent.remove(echo).1;
                world.answer_to(&request, Answer::Completed { result: vec![json("1")] });
            }
            2 => world.pass(50),
            _ => world.complete("2"),
        }
    }
    world
}

#[test]
fn a_restart_between_any_two_segments_ends_in_the_same_result() {
    let undisturbed = mixed_run(None).text(1);
    let result = undisturbed.lines().last().unwrap().split_once("RunCompleted").unwrap().1.to_owned();
    for step in 0..4 {
        let disturbed = mixed_run(Some(step)).text(1);
        assert!(disturbed.ends_with(&result), "restart before step {step}:\n{disturbed}");
    }
}

#[test]
fn every_prefix_of_a_history_asks_next_what_the_record_says_next() {
    let history = mixed_run(None).history(1);
    let programs = programs(&[("mixed", mixed)]);
    let whole = replay(&programs, &history).unwrap();
    assert_eq!(whole.stopped, None);
    for events in 1..=whole.events {
        let replayed = replay_prefix(&programs, &history, events).unwrap();
        assert_eq!(replayed.stopped, None, "prefix of {events} events");
    }
}

#[test]
fn a_changed_call_blocks_the_run_with_a_report_and_the_old_code_lets_it_finish() {
    fn old(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "1")).await;
            context.activity(call("echo", "2")).await;
            done("0")
        })
    }
    fn new(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "5")).await;
            context.activity(call("echo", "2")).await;
            done("0")
        })
    }
    let mut world = World::new(&[("w", old)], vec![worker("w", &["echo"], 2)]);
    world.start("a", "w", "0");
    world.start("healthy", "w", "0");
    world.complete("1");
    world.restart(Some(&[("w", new)]));
    let text = world.text(1);
    let blocked = text.lines().rfind(|line| line.starts_with("run")).unwrap();
    assert!(
        blocked.contains("Blocked diverged at event 2: recorded ActivityScheduled #1 echo(1), attempted"),
        "{text}"
    );
    let BlockedReason::Divergence(report) =
        replay(&programs(&[("w", new)]), &world.history(1)).unwrap().stopped.unwrap()
    else {
        panic!()
    };
    assert_eq!(report.field, "argument 1: recorded 1, attempted 5");
    assert_eq!(report.recorded_site, site_of("echo"));
    assert_eq!(report.attempted_site, site_of("echo"));
    // Looking again at a blocked run adds nothing; an answer that arrives meanwhile is kept.
    world.restart(Some(&[("w", new)]));
    assert_eq!(world.text(1).lines().filter(|line| line.contains("Blocked")).count(), 1);
    let second = world.sent.iter().position(|(_, request)| request.conversation.run.0 == 1).unwrap();
    let request = world.sent.remove(second).1;
    world.answer_to(&request, Answer::Completed { result: vec![json("2")] });
    world.restart(Some(&[("w", old)]));
    let text = world.text(1);
    assert!(text.ends_with("Unblocked\nrun 8 RunCompleted (0)"), "{text}");
    for events in 1..=8 {
        assert_eq!(
            replay_prefix(&programs(&[("w", old)]), &world.history(1), events).unwrap().stopped,
            None,
            "{events}"
        );
    }
}

fn site_of(name: &str) -> Site {
    call(name, "1").site
}

#[test]
fn extra_and_missing_calls_are_divergences_that_say_which() {
    fn two(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let mut first = context.activity(call("echo", "1"));
            first.start();
            context.activity(call("echo", "2")).await;
            done("0")
        })
    }
    fn one(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "1")).await;
            done("0")
        })
    }
    for (old, new, word) in [(two as Begin, one as Begin, "missing"), (one, two, "new")] {
        let mut world = World::new(&[("w", old)], vec![worker("w", &["echo"], 2)]);
        world.start("a", "w", "0");
        let stopped = replay(&programs(&[("w", new)]), &world.history(1)).unwrap().stopped;
        let Some(BlockedReason::Divergence(report)) = stopped else { panic!("{stopped:?}") };
        assert!(report.field.contains(word), "{report:?}");
        assert!(report.repair.contains("patched"), "{report:?}");
    }
}

#[test]
fn a_guarded_change_keeps_old_runs_on_the_old_path_and_new_runs_on_the_new() {
    fn old(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "1")).await;
            context.activity(call("echo", "2")).await;
            done("\"old\"")
        })
    }
    fn new(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            if context.patched("cheaper", &site()) {
                context.activity(call("hold", "1")).await;
                return done("\"new\"");
            }
            context.activity(call("echo", "1")).await;
            context.activity(call("echo", "2")).await;
            done("\"old\"")
        })
    }
    let mut world = World::new(&[("w", old)], vec![worker("w", &["echo", "hold"], 2)]);
    world.start("a", "w", "0");
    world.restart(Some(&[("w", new)]));
    world.start("b", "w", "0");
    while !world.sent.is_empty() {
        world.complete("1");
    }
    assert!(world.text(1).ends_with("(\"old\")"), "{}", world.text(1));
    assert!(world.text(2).ends_with("(\"new\")"), "{}", world.text(2));
    world.restart(None);
    assert_eq!(replay(&programs(&[("w", new)]), &world.history(2)).unwrap().stopped, None);
}

#[test]
fn a_panic_blocks_one_run_and_mended_code_goes_on_from_the_same_arrival() {
    fn broken(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let outcome = context.activity(call("echo", "1")).await;
            panic!("cannot handle {outcome}")
        })
    }
    fn mended(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "1")).await;
            context.signal("go").await;
            done("0")
        })
    }
    let mut world = World::new(&[("w", broken), ("race", race)], vec![worker("w", &["echo"], 2)]);
    world.start("a", "w", "0");
    world.start("b", "race", "0");
    world.complete("1");
    assert!(
        world.text(1).ends_with("Blocked panicked, after the call at flow.rs:4: cannot handle completed (1)"),
        "{}",
        world.text(1)
    );
    world.signal("a", "go", "1", None);
    world.signal("b", "go", "1", None);
    assert!(matches!(world.ended("a"), Some(Reply::Blocked { .. })), "whoever waits is told");
    assert!(matches!(world.ended("b"), Some(Reply::Ended { .. })), "other runs go on");
    world.restart(None);
    assert!(world.text(1).ends_with("SignalReceived go (1)"), "still broken: nothing is added\n{}", world.text(1));
    world.restart(Some(&[("w", mended), ("race", race)]));
    assert!(world.text(1).ends_with("Unblocked\nrun 7 RunCompleted (0)"), "{}", world.text(1));
    assert_eq!(replay(&programs(&[("w", mended)]), &world.history(1)).unwrap().stopped, None);
}

#[test]
fn awaiting_something_foreign_is_reported_at_once_instead_of_hanging() {
    fn foreign(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            context.activity(call("echo", "1")).await;
            std::future::pending::<()>().await;
            done("0")
        })
    }
    let mut world = World::new(&[("w", foreign)], vec![worker("w", &["echo"], 1)]);
    world.start("a", "w", "0");
    world.complete("1");
    assert!(
        world.text(1).ends_with("Blocked awaits something that is not Antiphon's, after the call at flow.rs:4"),
        "{}",
        world.text(1)
    );
}

#[test]
fn a_workflow_that_wakes_itself_for_ever_is_blocked_and_others_go_on() {
    fn spinning(_: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }
    let mut world = World::new(&[("w", spinning)], vec![]);
    world.start("a", "w", "0");
    assert!(world.text(1).contains("Blocked woke itself 1000 times in one turn"), "{}", world.text(1));
}

#[test]
fn a_workflow_that_asks_for_too_much_at_once_is_blocked_and_others_go_on() {
    fn greedy(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let mut calls: Vec<_> = (0..200_000).map(|_| context.activity(call("echo", "1"))).collect();
            calls.iter_mut().for_each(|call| call.start());
            calls.remove(0).await;
            done("0")
        })
    }
    let mut world = World::new(&[("greedy", greedy), ("race", race)], vec![worker("w", &["echo"], 1)]);
    world.start("a", "greedy", "0");
    let text = world.text(1);
    assert!(text.ends_with("over the limit of 16777216: ask for less before each await"), "{text}");
    assert_eq!(text.lines().count(), 2, "nothing of the turn counts");
    world.start("b", "race", "0");
    world.signal("b", "go", "1", None);
    assert!(matches!(world.ended("b"), Some(Reply::Ended { .. })));
}

#[test]
fn engine_time_never_runs_backwards_and_a_leap_fires_each_timer_once() {
    let mut world = World::new(&[("race", race)], vec![]);
    world.start("a", "race", "0");
    world.now -= 3_600_000;
    world.step(Input::Tick);
    assert!(world.ended("a").is_none());
    world.now += 10 * 365 * 86_400_000;
    world.step(Input::Tick);
    world.step(Input::Tick);
    assert_eq!(world.text(1).matches("TimerFired").count(), 1);
}
