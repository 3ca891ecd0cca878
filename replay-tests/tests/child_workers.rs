//! Workers in processes of their own: what kills one of them costs a leg, and the record says what it was.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod child;

use antiphon::{Antiphon, ChildWorker, OpenError, millis, secs};
use antiphon_conversation::wire::{Down, Up, Welcome};
use antiphon_replay_tests::world::text;
use antiphon_runtime::child::{Link, SocketLink, WORKER_OF};
use child::*;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Every worker process of these tests comes here; in the test process itself there is nothing to do.
#[tokio::test]
async fn in_a_worker_process() {
    if Antiphon::is_worker_process() {
        match std::env::var(STRANGE) {
            Ok(role) => strange(&role),
            Err(_) => drop(engine("nowhere".as_ref(), worker()).start().unwrap_err()),
        }
    }
}

fn dump(app: &Antiphon, id: &str) -> String {
    text(&app.history(id).unwrap().unwrap())
}

/// The process that the first heartbeat on record tells of.
fn process_of(app: &Antiphon, id: &str) -> u32 {
    let told = dump(app, id).lines().find_map(|line| Some(line.split_once("Heartbeat leg=1 ")?.1.parse()));
    told.unwrap().unwrap()
}

/// Waits for a line of a run's record.
async fn recorded(app: &Antiphon, id: &str, part: &str) {
    while !app.history(id).unwrap().is_some_and(|history| text(&history).contains(part)) {
        tokio::time::sleep(millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d_t2_each_way_to_die_costs_a_leg_of_the_same_conversation_and_the_record_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(2)).start().unwrap();
    let ways = [
        ("abort", "the worker died: signal 6 (SIGABRT)"),
        ("overflow", "the worker died: signal 6 (SIGABRT)"),
        ("exit", "the worker died: exit code 3"),
        ("kill", "the worker died: signal 9 (SIGKILL)"),
        ("panic", "the activity panicked: on purpose"),
    ];
    for (how, said) in ways {
        assert_eq!(app.run(how, dying(how.to_owned())).await.unwrap(), (2, "shared".to_owned()), "{how}");
        let dump = dump(&app, how);
        assert!(dump.contains(&format!("Exited leg=1 {said}")), "{dump}");
        let workers: Vec<&str> =
            dump.lines().filter_map(|line| line.split_once("worker=")).map(|(_, to)| &to[..3]).collect();
        assert!(workers == ["w-1", "w-2"] || workers == ["w-2", "w-1"], "another process takes over: {dump}");
    }
    let ended = dump(&app, "abort");
    let names: Vec<&str> =
        ended.lines().filter(|line| line.starts_with("#1.1")).map(|line| line.split(' ').nth(2).unwrap()).collect();
    let legs = ["WorkerSelected", "Sent", "Exited", "WorkerSelected", "Sent", "Received", "Closed"];
    assert_eq!(names[0], "Scheduled");
    assert_eq!(names[1..], legs, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_run_twice_ends_as_lost_and_says_of_what_its_worker_died() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(2)).start().unwrap();
    assert_eq!(app.run("a", once("kill".to_owned())).await.unwrap(), "the worker died: signal 9 (SIGKILL)");
    assert!(!dump(&app, "a").contains("leg=2"), "{}", dump(&app, "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_frozen_is_killed_for_its_silence() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(2).ping(millis(50), secs(2))).start().unwrap();
    assert_eq!(app.run("a", dying("freeze".to_owned())).await.unwrap().0, 2);
    let dump = dump(&app, "a");
    assert!(dump.contains("Exited leg=1 the worker died: killed, because it answered no ping for 2000 ms"), "{dump}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_stop_when_it_is_told_to_takes_its_process_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().stop_within(millis(100))).start().unwrap();
    // There is one process with one place: without its end the second attempt would wait for ever.
    assert_eq!(app.run("a", blocking()).await.unwrap(), 2);
    let dump = dump(&app, "a");
    assert!(dump.contains("#1.1 5 Exited leg=1 start-to-close passed"), "{dump}");
    assert_eq!(dump.matches("WorkerSelected leg=1 worker=w-1").count(), 2, "{dump}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_survives_the_process_that_told_it_and_cancelled_bodies_give_their_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(1)).start().unwrap();
    let file = folder.path().join("told");
    let run = app.start("a", staying(file.clone())).await.unwrap();
    recorded(&app, "a", "Heartbeat").await;
    let told = process_of(&app, "a");
    let process = rustix::process::Pid::from_raw(i32::try_from(told).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    assert_eq!(run.result().await.unwrap(), Some((2, told)), "the one process was started again");
    assert!(dump(&app, "a").contains("the worker died: signal 9 (SIGKILL)"));
    assert!(!file.exists(), "nothing was dropped in a process that was killed");

    let run = app.start("b", staying(file.clone())).await.unwrap();
    recorded(&app, "b", "Heartbeat").await;
    run.signal("enough", &()).await.unwrap();
    assert_eq!(run.result().await.unwrap(), None);
    // The only place is free again when this comes back.
    assert_eq!(app.run("c", counting(1)).await.unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dropped");
    // Heartbeats that crossed the cancel on their way are stale, which is no anomaly.
    assert_eq!(app.status().await.unwrap().stats.anomalies, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_few_processes_and_printing_disturbs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(2).capacity(16)).start().unwrap();
    let done = app.run("a", counting(300)).await.unwrap();
    assert_eq!(done.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    let processes: std::collections::BTreeSet<u32> = done.iter().map(|(_, process)| *process).collect();
    assert_eq!(processes.len(), 2);
    assert!(!processes.contains(&std::process::id()));
    let status = app.status().await.unwrap();
    assert_eq!((status.stats.stale_answers, status.stats.in_flight), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fits_into_no_frame_fails_once_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker()).start().unwrap();
    let said = app.run("a", sending()).await.unwrap();
    assert!(said.contains("over the limit of 4194304 [A0054]"), "{said}");
    assert!(!dump(&app, "a").contains("#1.2"));
    assert_eq!(app.run("b", counting(1)).await.unwrap().len(), 1, "the process is none the worse");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_no_input_and_what_it_starts_has_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker()).start().unwrap();
    let (none, shown) = app.run("a", looking()).await.unwrap();
    assert!(none);
    assert!(shown.starts_with("/dev/null\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn e_t12_at_a_stop_bodies_end_at_their_next_await_and_the_next_start_takes_their_calls_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let app = engine(folder.path(), worker()).start().unwrap();
    app.start("a", staying(file.clone())).await.unwrap();
    recorded(&app, "a", "Heartbeat").await;
    app.stop();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "dropped");
    let app = engine(folder.path(), worker()).start().unwrap();
    assert!(app.get::<staying>("a").unwrap().result().await.unwrap().is_some());
    assert!(dump(&app, "a").contains("Exited leg=1 the engine restarted"), "{}", dump(&app, "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_does_not_keep_a_stop_from_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().drain_within(millis(200))).start().unwrap();
    app.start("a", forever()).await.unwrap();
    recorded(&app, "a", "Heartbeat").await;
    let process = process_of(&app, "a");
    app.stop();
    assert!(!Path::new(&format!("/proc/{process}")).exists(), "killed and buried");
}

#[test]
fn a_worker_whose_engine_is_gone_ends_at_once() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["in_a_worker_process", "--exact"]).env(WORKER_OF, "w").stdout(Stdio::null()).process_group(0);
    let mut process = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
    drop(command);
    let link = SocketLink::new(ours).unwrap();
    let welcome = Welcome { name: "w-7".to_owned(), instance: "1".to_owned(), capacity: 1, version: "1".to_owned() };
    link.send(&[Down::Welcome(welcome).to_frame().unwrap()]).unwrap();
    let Up::Register(register) = Up::of(&link.receive().unwrap().unwrap()).unwrap() else {
        panic!("first it registers")
    };
    assert_eq!((&*register.name, register.capacity), ("w-7", 1));
    drop(link);
    assert_eq!(process.wait().unwrap().signal(), Some(9), "with its whole group");
}

#[tokio::test]
async fn a_process_that_does_not_come_to_serve_keeps_the_engine_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |worker: ChildWorker| {
        let error = engine(folder.path(), worker).start().unwrap_err();
        assert!(matches!(error, OpenError::ChildWorker(_)), "{error}");
        error.to_string()
    };
    let none: [&str; 0] = [];
    let said = refused(worker().command("/nowhere/at/all", none));
    assert!(said.contains("did not start: it cannot be started") && said.ends_with("[A0053]"), "{said}");
    let said = refused(worker().command("sh", ["-c", "exit 7"]));
    assert!(said.contains("worker process w-1 did not start: exit code 7"), "{said}");
    let said = refused(worker().command("sh", ["-c", "echo whatever >&0; cat >/dev/null"]));
    assert!(said.contains("killed, because") && said.contains("[A0054]"), "{said}");
    let said = refused(worker().command("sleep", ["1000"]).register_within(millis(50)));
    assert!(said.contains("killed, because it did not register within 50 ms"), "{said}");
    let said = refused(worker().env(STRANGE, "another-name"));
    assert!(said.contains("it calls itself \"somebody\", not \"w-1\""), "{said}");
    let said = refused(worker().env(STRANGE, "no-code"));
    assert!(said.contains("it has no activity \"blocks\""), "{said}");
    assert!(!folder.path().join("log.db").exists(), "the store was not opened");
}

#[tokio::test]
async fn impossible_settings_are_refused_by_name() {
    for (worker, said) in [
        (worker().processes(0), "processes(0)"),
        (worker().capacity(0), "capacity(0)"),
        (worker().ping(Duration::ZERO, secs(1)), "ping(0ns)"),
        (worker().queue(""), "the task queue \"\""),
        (ChildWorker::new("idle"), "child_worker(idle)"),
        (worker().activity(dies), "two activities are named \"dies\""),
    ] {
        let error = engine("nowhere".as_ref(), worker).start().unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let error = engine("nowhere".as_ref(), worker()).child_worker(worker()).start().unwrap_err().to_string();
    assert!(error.starts_with("child_worker(w) is impossible: two child workers have this name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_answers_and_answers_for_other_legs_change_nothing_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().env(STRANGE, "forger")).start().unwrap();
    assert_eq!(app.run("a", counting(1)).await.unwrap(), [(7, 7)]);
    // Each of the two calls: one for a leg that there is not, one with a wrong token, the true one, and that once more.
    assert_eq!(app.run("b", counting(1)).await.unwrap(), [(7, 7)]);
    let mut stale = 0;
    while stale < 6 {
        stale = app.status().await.unwrap().stats.stale_answers;
    }
    assert_eq!((stale, app.status().await.unwrap().stats.anomalies), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_breaks_the_protocol_is_killed_and_another_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let app = engine(folder.path(), worker().processes(2).env(STRANGE, "babbler")).start().unwrap();
    assert_eq!(app.run("a", counting(1)).await.unwrap(), [(7, 7)]);
    let dump = dump(&app, "a");
    let said =
        "Exited leg=1 the worker died: killed, because the worker protocol is broken: no frame is of kind 77 [A0054]";
    assert!(dump.contains(said), "{dump}");
}
