//! The hand-overs between the threads of a partition, in orders that a scheduler draws: at random, and by changing the
//! thread that goes first a few times (PCT). A thread that sleeps and is never woken is a deadlock, and is reported with
//! the schedule that led there; no timeout ends a wait here.
//!
//! `ANTIPHON_SCHEDULES=100000 cargo test --release -p antiphon-runtime --features shuttle schedules` draws more.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::Config;
use crate::backlog::{Gone, backlog};
use crate::inbox::{Inbox, Message, Rejected, Wanted};
use crate::keeper::Keeper;
use crate::release::Release;
use crate::sync::mpsc::sync_channel;
use crate::writer::{Progress, Work, Writer};
use antiphon_engine::Reply;
use antiphon_history::{Bytes, Digest, Segment, SegmentBody, Timestamp};
use antiphon_recorder::Store;
use antiphon_recorder::memory::MemoryStore;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::oneshot;

/// Longer than any wait may be.
const NEVER: Duration = Duration::from_secs(3600);

fn in_many_orders(test: fn()) {
    let count = std::env::var("ANTIPHON_SCHEDULES").map_or(400, |text| text.parse().unwrap());
    let mut config = shuttle::Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    shuttle::Runner::new(RandomScheduler::new(count), config.clone()).run(test);
    shuttle::Runner::new(PctScheduler::new(3, count), config).run(test);
}

fn word(number: u64) -> Message {
    Message::Archived { through: number }
}

fn number(message: &Message) -> Option<u64> {
    match message {
        Message::Archived { through } => Some(*through),
        _ => None,
    }
}

/// The words of one sender, who numbers them from `from`.
fn of(words: &[u64], from: u64) -> Vec<u64> {
    words.iter().copied().filter(|word| (from..from + 10).contains(word)).collect()
}

fn segment(id: u64, bytes: usize) -> Segment {
    Segment { id, at: Timestamp(1), digest: Digest::START, body: vec![0; bytes].into() }
}

#[test]
fn nothing_posted_is_lost_or_taken_twice_and_what_is_urgent_goes_first() {
    in_many_orders(|| {
        let inbox = Arc::new(Inbox::default());
        let posters = [0, 10].map(|from| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                inbox.post(word(from));
                inbox.post(Message::Durable);
                inbox.post(word(from + 1));
            })
        });
        let (mut words, mut urgent) = (Vec::new(), 0);
        while words.len() < 4 || urgent < 2 {
            let mut taken = Vec::new();
            inbox.take(&mut taken, Wanted::All, None);
            assert!(!taken.is_empty(), "nobody is woken for nothing");
            let first_word = taken.iter().position(|message| number(message).is_some()).unwrap_or(taken.len());
            assert!(taken[first_word..].iter().all(|message| number(message).is_some()), "urgent ones go first");
            urgent += first_word;
            words.extend(taken.iter().filter_map(number));
        }
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert!(inbox.is_empty());
        assert_eq!((urgent, words.len()), (2, 4));
        assert_eq!((of(&words, 0), of(&words, 10)), (vec![0, 1], vec![10, 11]), "each sender's stay in order");
    });
}

#[test]
fn who_waits_for_something_urgent_is_woken_by_that_alone_and_leaves_the_rest() {
    in_many_orders(|| {
        let inbox = Arc::new(Inbox::default());
        let posters = [false, true].map(|urgent| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.post(if urgent { Message::Durable } else { word(1) }))
        });
        let (mut urgent, mut all) = (Vec::new(), Vec::new());
        inbox.take(&mut urgent, Wanted::Urgent, None);
        assert!(matches!(urgent[..], [Message::Durable]));
        inbox.take(&mut all, Wanted::All, None);
        assert_eq!(all.iter().filter_map(number).collect::<Vec<_>>(), [1]);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
    });
}

#[test]
fn requests_keep_to_their_bounds_and_after_the_door_is_shut_nobody_waits() {
    in_many_orders(|| {
        let inbox = Arc::new(Inbox::default());
        // One is bounded by their number, the others by their bytes: a request counts 512.
        let callers = [(2, usize::MAX), (9, 1_024), (9, 1_024)].map(|(max, max_bytes)| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                let asked = [(); 2].map(|()| {
                    let (reply, answer) = oneshot::channel();
                    match inbox.request(Message::Inspect(reply), max, max_bytes) {
                        Ok(()) => Some(answer),
                        Err(Rejected::Full { waiting }) => {
                            assert!(waiting >= 2, "{waiting} waited");
                            None
                        }
                        Err(Rejected::Closed) => {
                            assert!(inbox.is_closed());
                            None
                        }
                    }
                });
                inbox.post(Message::Look);
                asked
            })
        });
        let stopper = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.post(Message::Stop))
        };
        let mut stopped = false;
        while !stopped {
            let mut taken = Vec::new();
            inbox.take(&mut taken, Wanted::All, None);
            let requests = taken.iter().filter(|message| matches!(message, Message::Inspect(_))).count();
            assert!(requests <= 2, "{requests} waited at once");
            stopped = taken.iter().any(|message| matches!(message, Message::Stop));
        }
        inbox.refuse();
        let left = inbox.close();
        assert!(left.iter().filter(|message| matches!(message, Message::Inspect(_))).count() <= 2);
        drop(left);
        for caller in callers {
            for mut answer in caller.join().unwrap().into_iter().flatten() {
                assert_eq!(answer.try_recv().err(), Some(oneshot::error::TryRecvError::Closed), "it is told");
            }
        }
        stopper.join().unwrap();
        let (reply, _answer) = oneshot::channel();
        assert!(matches!(inbox.request(Message::Inspect(reply), 9, usize::MAX), Err(Rejected::Closed)));
    });
}

/// What the keeper takes, waiting one way or the other, until nothing can come any more.
fn keep_all(batches: bool) {
    let (feed, intake) = backlog(2);
    let feeders = [0, 10].map(|from| {
        let feed = feed.clone();
        thread::spawn(move || (from..from + 3).for_each(|id| feed.push(segment(id, 1)).unwrap()))
    });
    drop(feed);
    let (mut ids, mut early) = (Vec::new(), 0);
    let mut open = true;
    while open {
        if batches {
            intake.wait_for_batch(NEVER);
        } else {
            intake.wait(NEVER);
        }
        let mut taken = Vec::new();
        open = intake.take(&mut taken);
        assert!(taken.len() <= 2, "no more wait than may");
        early += usize::from(taken.len() < 2);
        ids.extend(taken.iter().map(|segment| segment.id));
    }
    feeders.into_iter().for_each(|feeder| feeder.join().unwrap());
    assert_eq!((of(&ids, 0), of(&ids, 10), ids.len()), (vec![0, 1, 2], vec![10, 11, 12], 6));
    // Each of the three feeds wakes it when it goes: one of them is the last.
    assert!(!batches || early <= 3, "woken {early} times without a batch");
}

#[test]
fn every_segment_reaches_an_idle_keeper() {
    in_many_orders(|| keep_all(false));
}

#[test]
fn every_segment_reaches_a_keeper_that_waits_for_batches() {
    in_many_orders(|| keep_all(true));
}

#[test]
fn who_waits_for_room_is_let_go_when_the_keeper_is_gone() {
    in_many_orders(|| {
        let (feed, intake) = backlog(1);
        let feeders = [1, 11].map(|from| {
            let feed = feed.clone();
            thread::spawn(move || (from..from + 2).filter_map(|id| feed.push(segment(id, 1)).err()).count())
        });
        let mut taken = Vec::new();
        intake.wait(NEVER);
        intake.take(&mut taken);
        drop(intake);
        let refused: usize = feeders.into_iter().map(|feeder| feeder.join().unwrap()).sum();
        assert_eq!(taken.len(), 1);
        assert!((2..=3).contains(&refused), "one was taken, one may have been in its place: {refused}");
        assert!(matches!(feed.push(segment(9, 1)), Err(Gone)));
    });
}

fn body() -> Bytes {
    SegmentBody::default().to_bytes()
}

/// A batch, and how its caller learns of it.
fn batch() -> (Work, oneshot::Receiver<Reply>) {
    let (caller, answer) = oneshot::channel();
    let releases = vec![Release::Reply { caller, reply: Reply::Accepted }];
    (Work { segment: Some(body()), at: Timestamp(1), releases }, answer)
}

/// What a partition's thread does with six batches: small ones it commits itself, others go to the writer's thread, one at
/// a time.
fn decide_six(inbox: &Arc<Inbox>, writer: &Writer) {
    let (door, works) = sync_channel::<Work>(1);
    let writing = {
        let (writer, inbox) = (writer.clone(), Arc::clone(inbox));
        thread::spawn(move || writer.run(&works, &inbox))
    };
    for at in 0..6 {
        let (work, mut answer) = batch();
        if at % 3 == 0 {
            assert!(writer.write(work).is_ok());
        } else {
            assert!(door.send(work).is_ok());
            let mut taken = Vec::new();
            inbox.take(&mut taken, Wanted::Urgent, None);
            assert!(matches!(taken[..], [Message::Durable]));
        }
        assert_eq!(answer.try_recv(), Ok(Reply::Accepted), "answered before the word that the batch is durable");
    }
    drop(door);
    writing.join().unwrap();
}

#[test]
fn whichever_thread_commits_a_batch_all_become_durable_in_order() {
    in_many_orders(|| {
        let inbox = Arc::new(Inbox::default());
        let Store { log, guard, .. } = MemoryStore::new([1; 16]).open().unwrap();
        let (feed, intake) = backlog(1);
        let taking = thread::spawn(move || {
            let mut taken = Vec::new();
            loop {
                intake.wait(NEVER);
                if !intake.take(&mut taken) {
                    return taken;
                }
            }
        });
        let writer = Writer::new(log, feed, Arc::clone(&inbox), Arc::new(Progress::default()));
        decide_six(&inbox, &writer);
        drop(writer);
        let ids: Vec<u64> = taking.join().unwrap().iter().map(|segment| segment.id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
        drop(guard);
    });
}

/// A keeper at work beside a partition's thread and its writer; it folds after `fold_every_ms`.
fn keep_six(fold_every_ms: u64) {
    let memory = MemoryStore::new([1; 16]);
    let inbox = Arc::new(Inbox::default());
    let Store { log, archive, anchor, checkpoint, space, .. } = memory.open().unwrap();
    let (feed, intake) = backlog(2);
    let progress = Arc::new(Progress::default());
    let keeper = Keeper {
        archive,
        anchor,
        checkpoint,
        space,
        config: Config { archive_every_ms: fold_every_ms, anchor_every_ms: fold_every_ms, ..Config::default() },
        inbox: Arc::clone(&inbox),
        progress: Arc::clone(&progress),
        full: Arc::new(AtomicBool::new(false)),
    };
    let tip = log.tip();
    let keeping = thread::spawn(move || keeper.run(&intake, tip));
    let writer = Writer::new(log, feed, Arc::clone(&inbox), progress);
    decide_six(&inbox, &writer);
    drop(writer);
    keeping.join().unwrap();
    let mut taken = Vec::new();
    inbox.take(&mut taken, Wanted::All, Some(Duration::ZERO));
    assert_eq!(taken.iter().filter_map(number).next_back(), Some(6), "the partition is told how far the archive is");
    assert!(memory.open().unwrap().archive.watermark().segment == 6, "all of it is in the archive");
}

#[test]
fn a_keeper_that_folds_at_once_folds_everything_and_ends() {
    in_many_orders(|| keep_six(0));
}

#[test]
fn a_keeper_that_waits_for_its_time_is_woken_by_a_full_queue_and_at_the_end() {
    in_many_orders(|| {
        // Its time never comes in a schedule: what wakes it is the others alone.
        let (memory, inbox) = (MemoryStore::new([1; 16]), Arc::new(Inbox::default()));
        let Store { log, .. } = memory.open().unwrap();
        let (feed, intake) = backlog(3);
        let keeping = thread::spawn(move || {
            let mut pending = Vec::new();
            loop {
                intake.wait_for_batch(NEVER);
                if !intake.take(&mut pending) {
                    return pending.len();
                }
            }
        });
        let writer = Writer::new(log, feed, Arc::clone(&inbox), Arc::new(Progress::default()));
        decide_six(&inbox, &writer);
        drop(writer);
        assert_eq!(keeping.join().unwrap(), 6);
    });
}

/// Every schedule above again, in a process in which no thread is ever woken: each of them must find a deadlock.
#[cfg(feature = "planted")]
#[test]
fn schedules_notice_when_nobody_is_woken() {
    let own = std::env::current_exe().unwrap();
    for test in [
        "nothing_posted_is_lost_or_taken_twice_and_what_is_urgent_goes_first",
        "who_waits_for_something_urgent_is_woken_by_that_alone_and_leaves_the_rest",
        "requests_keep_to_their_bounds_and_after_the_door_is_shut_nobody_waits",
        "every_segment_reaches_an_idle_keeper",
        "every_segment_reaches_a_keeper_that_waits_for_batches",
        "who_waits_for_room_is_let_go_when_the_keeper_is_gone",
        "whichever_thread_commits_a_batch_all_become_durable_in_order",
        "a_keeper_that_folds_at_once_folds_everything_and_ends",
        "a_keeper_that_waits_for_its_time_is_woken_by_a_full_queue_and_at_the_end",
    ] {
        let output = std::process::Command::new(&own)
            .args(["--exact", &format!("schedules::{test}")])
            .env(antiphon_history::planted::VARIABLE, "lost-wake-up")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("deadlock"), "{test} did not notice:\n{told}");
    }
}
