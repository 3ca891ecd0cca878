//! Which runs are in memory, and when they leave it and come back.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{Context, Input, Reply, RequestError, RunFuture};
use antiphon_history::{Payload, Timestamp};
use antiphon_replay_tests::world::*;

fn rests(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.timer(1_000, site()).await;
        done("\"timer\"")
    })
}

fn listening(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.signal("go").await;
        done("\"heard\"")
    })
}

fn carry(context: Context, input: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        context.activity(antiphon_history::ActivityCall { input, ..call("echo", "") }).await;
        done("\"carried\"")
    })
}

#[test]
fn an_idle_run_leaves_memory_and_comes_back_by_replay_when_something_arrives() {
    let mut world = World::new(&[("rests", rests)], vec![]);
    world.start("a", "rests", "0");
    world.now += 10;
    world.step(Input::Archived { through: world.segments });
    assert_eq!(world.partition.stats().live_runs, 1, "not idle for long enough");
    world.now += 990 - 10;
    world.partition = {
        let config = antiphon_engine::Config { evict_after_ms: 100, ..Default::default() };
        let origin = antiphon_engine::Origin {
            store_id: [1; 16],
            secret: [2; 32],
            last_segment: world.segments,
            last_run: 1,
            now: Timestamp(world.now),
        };
        let mut partition = antiphon_engine::Partition::new(config, programs(&[("rests", rests)]), origin);
        partition.load(&world.history(1), Timestamp(world.now)).unwrap();
        partition
    };
    let segments = world.segments;
    world.step(Input::Archived { through: segments });
    assert_eq!(world.partition.stats().live_runs, 0);
    assert_eq!(world.partition.next_deadline(), None);
    world.partition.load(&world.history(1), Timestamp(world.now)).unwrap();
    world.pass(100);
    assert!(world.text(1).ends_with("TimerFired #1\nrun 4 RunCompleted (\"timer\")"), "{}", world.text(1));
}

#[test]
fn a_run_that_waits_leaves_memory_when_it_has_been_idle_although_nothing_else_happens() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    world.start("a", "listening", "1");
    world.pass(10_000);
    assert_eq!(world.partition.stats().live_runs, 1, "the archive does not have it");
    world.step(Input::Archived { through: world.segments });
    assert_eq!(world.partition.stats().live_runs, 0);

    world.start("b", "listening", "1");
    world.step(Input::Archived { through: world.segments });
    world.pass(4_999);
    assert_eq!(world.partition.stats().live_runs, 1);
    world.pass(1);
    assert_eq!((world.partition.stats().live_runs, world.partition.stats().evicted), (0, 2));
}

#[test]
fn many_runs_leave_memory_a_few_at_a_time_so_that_nobody_waits_for_them() {
    let mut world = World::new(&[("listening", listening)], vec![]);
    for index in 0..100 {
        world.start(&format!("run-{index}"), "listening", "1");
        world.cancel(&format!("run-{index}"), "enough");
    }
    world.step(Input::Archived { through: world.segments });
    let left = world.partition.stats().live_runs;
    assert!((80..100).contains(&left), "{left} of 100 are still there");
    assert_eq!(world.partition.next_deadline(), Some(Timestamp(world.now)), "the others are next");
    world.pass(0);
    assert_eq!((world.partition.stats().live_runs, world.partition.next_deadline()), (0, None));
}

#[test]
fn starts_are_refused_while_the_runs_in_memory_hold_too_much_and_taken_again_when_some_have_ended() {
    let mut world = World::new(&[("carry", carry)], vec![worker("w", &["echo"], 1_000)]);
    let large = format!("{:?}", "x".repeat(1024 * 1024));
    let mut started = 0;
    let refused = loop {
        match world.start(&format!("run-{started}"), "carry", &large) {
            Reply::Started { .. } => started += 1,
            refused => break refused,
        }
    };
    assert!(matches!(refused, Reply::Refused(RequestError::Overloaded { .. })), "{refused:?}");
    assert!(
        (15..=45).contains(&started),
        "{started} MiB of input, and as much of arguments, against a bound of 40 MiB"
    );
    // The same request again finds its run, however full the memory is.
    assert!(matches!(world.start("run-0", "carry", &large), Reply::Started { existing: true, .. }));
    while !world.sent.is_empty() {
        world.complete("1");
    }
    world.step(Input::Archived { through: world.segments });
    assert_eq!(world.partition.stats().held_bytes, 0);
    assert!(matches!(world.start("late", "carry", &large), Reply::Started { existing: false, .. }));
}
