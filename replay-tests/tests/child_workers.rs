//! Workers in processes of their own: what kills one of them costs a leg, and the record says what it was.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, Builder, CallError, ChildWorker, Never, OpenError, WorkflowContext, activity, millis,
    race, secs, workflow,
};
use antiphon_conversation::wire::{Down, LegKey, Register, Up, Welcome};
use antiphon_conversation::{Answer, Token};
use antiphon_history::Payload;
use antiphon_replay_tests::world::text;
use antiphon_runtime::child::{Link, SocketLink, WORKER_OF};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a worker process does that is not Antiphon's own: see `strange`.
const STRANGE: &str = "ANTIPHON_TEST_STRANGE";

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

fn worker() -> ChildWorker {
    let this = std::env::current_exe().unwrap();
    let worker = ChildWorker::new("w").command(this, ["in_a_worker_process", "--exact", "--nocapture"]);
    let worker =
        worker.activity(dies).activity(counts).activity(stays).activity(blocks).activity(large).activity(looks);
    // Nothing of a test is to wait longer than it must for a process to come back.
    worker.restart(millis(1), millis(50)).drain_within(secs(20))
}

struct Word(&'static str);

fn engine(folder: &Path, worker: ChildWorker) -> Builder {
    let builder = Antiphon::open(folder).child_worker(worker).state(Word("shared"));
    builder
        .workflow(dying)
        .workflow(once)
        .workflow(counting)
        .workflow(staying)
        .workflow(blocking)
        .workflow(sending)
        .workflow(looking)
}

/// In its first leg it dies as it is told; in a later one it says which leg that was, and what it knows.
#[activity]
async fn dies(act: ActivityContext, how: String) -> Result<(u32, String), Never> {
    if act.leg() == 1 {
        match &*how {
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "overflow" => drop(deep(1)),
            "panic" => panic!("on purpose"),
            "freeze" => {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP).unwrap()
            }
            _ => rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap(),
        }
    }
    Ok((act.leg(), act.state::<Word>().0.to_owned()))
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deep(number: u64) -> u64 {
    std::hint::black_box([number; 64]);
    deep(number + 1) + number
}

/// Prints what could be taken for frames, and returns its process.
#[activity]
async fn counts(_act: ActivityContext, number: u64) -> Result<(u64, u32), Never> {
    println!("\u{1}\u{43}\0\0\u{1}\0\0\0 {number}");
    eprintln!("{number}");
    Ok((number, std::process::id()))
}

/// Tells its process and how far it is until it is stopped; says so in a file when it is dropped.
#[activity]
async fn stays(act: ActivityContext, file: PathBuf) -> Result<(u32, u32), Never> {
    struct Told(PathBuf);
    impl Drop for Told {
        fn drop(&mut self) {
            std::fs::write(&self.0, "dropped").unwrap();
        }
    }
    if let Some(process) = act.progress::<u32>() {
        return Ok((act.leg(), process));
    }
    let _told = Told(file);
    loop {
        act.heartbeat(std::process::id()).await;
        tokio::time::sleep(millis(1)).await;
    }
}

/// Never comes to an await in its first attempt.
#[activity]
async fn blocks(act: ActivityContext) -> Result<u32, Never> {
    while act.attempt() == 1 {
        std::thread::park_timeout(millis(5));
    }
    Ok(act.attempt())
}

#[activity]
async fn large(_act: ActivityContext, a: String, b: String, c: String) -> Result<usize, Never> {
    Ok(a.len() + b.len() + c.len())
}

/// What a program sees that is started by a body.
#[activity]
async fn looks(_act: ActivityContext) -> Result<(bool, String), Never> {
    let mut input = String::new();
    let none = std::io::stdin().read_line(&mut input).unwrap() == 0;
    let shown = Command::new("sh").args(["-c", "readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"]).output().unwrap();
    Ok((none, String::from_utf8(shown.stdout).unwrap()))
}

#[workflow]
async fn dying(ctx: WorkflowContext<'_>, how: String) -> antiphon::Result<(u32, String), CallError<Never>> {
    Ok(ctx.call(dies(how)).await?)
}

#[workflow]
async fn once(ctx: WorkflowContext<'_>, how: String) -> antiphon::Result<String, CallError<Never>> {
    match ctx.call(dies(how)).at_most_once().await {
        Err(CallError::Lost { reason, .. }) => Ok(reason),
        Err(other) => Err(other)?,
        Ok((leg, _)) => Ok(format!("done in leg {leg}")),
    }
}

#[workflow]
async fn counting(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<Vec<(u64, u32)>, CallError<Never>> {
    let mut all = Vec::new();
    for done in ctx.join_all((0..n).map(|number| ctx.call(counts(number)))).await {
        all.push(done?);
    }
    Ok(all)
}

#[workflow]
async fn staying(ctx: WorkflowContext<'_>, file: PathBuf) -> antiphon::Result<Option<(u32, u32)>, CallError<Never>> {
    Ok(race! { ctx;
        stayed = ctx.call(stays(file)) => Some(stayed?),
        _ = ctx.signal::<()>("enough") => None,
    })
}

#[workflow]
async fn blocking(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(blocks()).start_to_close(millis(300)).attempts(2).backoff(millis(1), millis(1)).await?)
}

#[workflow]
async fn sending(ctx: WorkflowContext<'_>) -> antiphon::Result<String, CallError<Never>> {
    let text = || "x".repeat(2_000_000);
    match ctx.call(large(text(), text(), text())).attempts(3).await {
        Err(error) => Ok(error.to_string()),
        Ok(sum) => Ok(sum.to_string()),
    }
}

#[workflow]
async fn looking(ctx: WorkflowContext<'_>) -> antiphon::Result<(bool, String), CallError<Never>> {
    Ok(ctx.call(looks()).await?)
}

fn dump(app: &Antiphon, id: &str) -> String {
    text(&app.history(id).unwrap().unwrap())
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
    let told: u32 = dump(&app, "a")
        .lines()
        .find_map(|line| line.split_once("Heartbeat leg=1 "))
        .map(|(_, process)| process.parse().unwrap())
        .unwrap();
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
    assert_eq!(app.status().await.unwrap().stats.stale_answers, 0);
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
async fn at_a_stop_bodies_end_at_their_next_await_and_processes_leave() {
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

/// A worker process that is not Antiphon's.
fn strange(role: &str) -> ! {
    // Past the link: what that sends is always sound.
    let mut past = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let link = SocketLink::from_stdin().unwrap();
    let say = |up: Up| link.send(&[up.to_frame().unwrap()]).unwrap();
    let Down::Welcome(welcome) = Down::of(&link.receive().unwrap().unwrap()).unwrap() else { panic!("no welcome") };
    let all = ["dies", "counts", "stays", "blocks", "large", "looks"];
    let activities = all.iter().filter(|name| role != "no-code" || **name != "blocks").map(|name| (*name).to_owned());
    say(Up::Register(Register {
        name: if role == "another-name" { "somebody".to_owned() } else { welcome.name },
        instance: welcome.instance,
        queues: ["default".to_owned()].into(),
        activities: activities.collect(),
        labels: Default::default(),
        capacity: 1,
        version: "1".to_owned(),
    }));
    while let Ok(Some(frame)) = link.receive() {
        let Down::Dispatch(request) = Down::of(&frame).unwrap() else { continue };
        let leg = LegKey { conversation: request.conversation, leg: request.leg };
        let answer = Answer::Completed { result: vec![Payload::json(b"[7,7]".as_slice())] };
        let result = |leg: LegKey, token: Token| Up::Result { leg, token, answer: answer.clone() };
        if role == "babbler" && request.leg == 1 {
            past.write_all(&[1, 77, 0, 0, 0, 0, 0, 0]).unwrap();
            continue;
        }
        if role == "forger" {
            say(result(LegKey { leg: leg.leg + 1, ..leg }, request.token));
            say(result(leg, Token([7; 16])));
            say(result(leg, request.token));
        }
        say(result(leg, request.token));
    }
    std::process::exit(0)
}
