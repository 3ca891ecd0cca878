//! What worker processes of these tests have: activities that die in every way, and workers that are not Antiphon's.
#![allow(missing_docs, dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, Builder, CallError, ChildWorker, Never, WorkflowContext, activity, millis, race, secs,
    workflow,
};
use antiphon_conversation::wire::{Down, LegKey, Register, Up};
use antiphon_conversation::{Answer, Token};
use antiphon_history::Payload;
use antiphon_runtime::child::{Link, SocketLink};
use rustix::process::{Signal, getpid, kill_process};
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a worker process does that is not Antiphon's own: see `strange`.
pub const STRANGE: &str = "ANTIPHON_TEST_STRANGE";

pub fn worker() -> ChildWorker {
    let this = std::env::current_exe().unwrap();
    // What they print, some of it no text, is nobody's to read: it goes nowhere instead of among the tests' own words.
    let quietly = r#"exec "$0" in_a_worker_process --exact --nocapture >/dev/null 2>&1"#;
    let worker = ChildWorker::new("w").command("sh", [OsStr::new("-c"), OsStr::new(quietly), this.as_os_str()]);
    let worker = worker
        .activity(dies)
        .activity(counts)
        .activity(stays)
        .activity(blocks)
        .activity(large)
        .activity(looks)
        .activity(hangs);
    // Nothing of a test is to wait longer than it must for a process to come back.
    worker.restart(millis(1), millis(50)).drain_within(secs(20))
}

struct Word(&'static str);

pub fn engine(folder: &Path, worker: ChildWorker) -> Builder {
    let builder = Antiphon::open(folder).child_worker(worker).state(Word("shared"));
    builder
        .workflow(dying)
        .workflow(once)
        .workflow(counting)
        .workflow(staying)
        .workflow(blocking)
        .workflow(sending)
        .workflow(forever)
        .workflow(looking)
}

/// In its first leg it dies as it is told; in a later one it says which leg that was, and what it knows.
#[activity]
pub async fn dies(act: ActivityContext, how: String) -> Result<(u32, String), Never> {
    if act.leg() == 1 {
        match &*how {
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "overflow" => drop(deep(1)),
            "panic" => panic!("on purpose"),
            "freeze" => kill_process(getpid(), Signal::STOP).unwrap(),
            _ => kill_process(getpid(), Signal::KILL).unwrap(),
        }
        // The signal reaches the whole process, but this thread may be a little ahead of it: it must not answer.
        std::future::pending::<()>().await;
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
pub async fn counts(_act: ActivityContext, number: u64) -> Result<(u64, u32), Never> {
    println!("\u{1}\u{43}\0\0\u{1}\0\0\0 {number}");
    eprintln!("{number}");
    Ok((number, std::process::id()))
}

/// Tells its process and how far it is until it is stopped; says so in a file when it is dropped.
#[activity]
pub async fn stays(act: ActivityContext, file: PathBuf) -> Result<(u32, u32), Never> {
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
pub async fn blocks(act: ActivityContext) -> Result<u32, Never> {
    while act.attempt() == 1 {
        std::thread::park_timeout(millis(5));
    }
    Ok(act.attempt())
}

/// Tells its process, and never ends.
#[activity]
pub async fn hangs(act: ActivityContext) -> Result<(), Never> {
    act.heartbeat(std::process::id()).await;
    loop {
        std::thread::park_timeout(secs(1));
    }
}

#[activity]
pub async fn large(_act: ActivityContext, a: String, b: String, c: String) -> Result<usize, Never> {
    Ok(a.len() + b.len() + c.len())
}

/// What a program sees that is started by a body.
#[activity]
pub async fn looks(_act: ActivityContext) -> Result<(bool, String), Never> {
    let mut input = String::new();
    let none = std::io::stdin().read_line(&mut input).unwrap() == 0;
    let shown = Command::new("sh").args(["-c", "readlink /proc/self/fd/0; ls /proc/self/fd | wc -l"]).output().unwrap();
    Ok((none, String::from_utf8(shown.stdout).unwrap()))
}

#[workflow]
pub async fn dying(ctx: WorkflowContext<'_>, how: String) -> antiphon::Result<(u32, String), CallError<Never>> {
    Ok(ctx.call(dies(how)).await?)
}

#[workflow]
pub async fn once(ctx: WorkflowContext<'_>, how: String) -> antiphon::Result<String, CallError<Never>> {
    match ctx.call(dies(how)).at_most_once().await {
        Err(CallError::Lost { reason, .. }) => Ok(reason),
        Err(other) => Err(other)?,
        Ok((leg, _)) => Ok(format!("done in leg {leg}")),
    }
}

#[workflow]
pub async fn counting(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<Vec<(u64, u32)>, CallError<Never>> {
    let mut all = Vec::new();
    for done in ctx.join_all((0..n).map(|number| ctx.call(counts(number)))).await {
        all.push(done?);
    }
    Ok(all)
}

#[workflow]
pub async fn staying(
    ctx: WorkflowContext<'_>,
    file: PathBuf,
) -> antiphon::Result<Option<(u32, u32)>, CallError<Never>> {
    Ok(race! { ctx;
        stayed = ctx.call(stays(file)) => Some(stayed?),
        _ = ctx.signal::<()>("enough") => None,
    })
}

#[workflow]
pub async fn blocking(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    Ok(ctx.call(blocks()).start_to_close(millis(300)).attempts(2).backoff(millis(1), millis(1)).await?)
}

#[workflow]
pub async fn forever(ctx: WorkflowContext<'_>) -> antiphon::Result<(), CallError<Never>> {
    Ok(ctx.call(hangs()).await?)
}

#[workflow]
pub async fn sending(ctx: WorkflowContext<'_>) -> antiphon::Result<String, CallError<Never>> {
    let text = || "x".repeat(2_000_000);
    match ctx.call(large(text(), text(), text())).attempts(3).await {
        Err(error) => Ok(error.to_string()),
        Ok(sum) => Ok(sum.to_string()),
    }
}

#[workflow]
pub async fn looking(ctx: WorkflowContext<'_>) -> antiphon::Result<(bool, String), CallError<Never>> {
    Ok(ctx.call(looks()).await?)
}

/// A worker process that is not Antiphon's.
pub fn strange(role: &str) -> ! {
    // Past the link: what that sends is always sound.
    let mut past = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let link = SocketLink::from_stdin().unwrap();
    let say = |up: Up| link.send(&[up.to_frame().unwrap()]).unwrap();
    let Down::Welcome(welcome) = Down::of(&link.receive().unwrap().unwrap()).unwrap() else { panic!("no welcome") };
    let all = ["dies", "counts", "stays", "blocks", "large", "looks", "hangs"];
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
        let request = match Down::of(&frame).unwrap() {
            Down::Dispatch(request) => request,
            Down::Drain { .. } => break,
            _ => continue,
        };
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
