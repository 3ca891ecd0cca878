//! What happens around an open store: other processes, volumes, files that go, pauses. Each ends in a clear word or in
//! going on, and never in a loss that nobody is told of.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod process;

use antiphon::{
    ActivityContext, Antiphon, CallError, Never, RequestError, WorkflowContext, activity, millis, workflow,
};
use antiphon_recorder::conformance::picture;
use antiphon_recorder::sqlite::{self, Options};
use antiphon_recorder::{Durability, Filter};
use process::{Process, role, say, wait};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The test that is started as another process.
const ENTRY: &str = "another_process_does_what_it_is_told";

const OPTIONS: Options =
    Options { durability: Durability::Full, accept_loss: false, min_free_bytes: u64::MAX, allow_network_volume: false };

#[activity]
async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

#[workflow]
async fn keep(ctx: WorkflowContext<'_>, text: String) -> antiphon::Result<String, CallError<Never>> {
    Ok(ctx.call(echo(text)).await?)
}

/// Says that it has begun, and goes on when it is told.
#[activity]
async fn paused(act: ActivityContext) -> Result<u32, Never> {
    say(&format!("began {}", act.attempt()));
    if act.attempt() == 1 {
        let told = tokio::task::spawn_blocking(wait);
        let _ = told.await;
    }
    Ok(act.attempt())
}

#[workflow]
async fn pausing(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    let call = ctx.call(paused()).attempts(5).backoff(millis(1), millis(1));
    Ok(call.heartbeat_timeout(millis(200)).start_to_close(millis(300)).await?)
}

fn app(folder: &Path) -> Antiphon {
    let builder = Antiphon::open(folder).workflow(keep).workflow(pausing).activity(echo).activity(paused);
    builder.min_free_bytes(0).start().unwrap()
}

#[test]
fn another_process_does_what_it_is_told() {
    let Some((role, folder)) = role() else { return };
    match role.as_str() {
        "opens" => match sqlite::open(&folder, &OPTIONS) {
            Ok(store) => drop(store),
            Err(error) => say(error.code().unwrap()),
        },
        "keeps it open" => {
            let _store = sqlite::open(&folder, &OPTIONS).unwrap();
            say("open");
            wait();
        }
        "holds a database" => {
            let stranger = rusqlite::Connection::open(&folder).unwrap();
            stranger.execute_batch("BEGIN IMMEDIATE").unwrap();
            say("held");
            wait();
            stranger.execute_batch("ROLLBACK").unwrap();
            say("released");
        }
        "is paused" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = app(&folder);
                let attempt = app.run("paused", pausing()).await.unwrap();
                say(&format!("ended {attempt}"));
                app.stop();
            });
        }
        other => panic!("no role {other:?}"),
    }
}

/// Starts that an engine may acknowledge before it notices something: it looks ten times a second while it is busy.
const MOST: usize = if cfg!(feature = "planted") { 3_000 } else { 30_000 };

/// Starts runs until one is refused. Returns the error, and how many were acknowledged.
async fn until_refused(app: &Antiphon, name: &str) -> (RequestError, usize) {
    for index in 0..MOST {
        if let Err(error) = app.start(&format!("{name}-{index}"), keep("x".to_owned())).await {
            return (error, index);
        }
    }
    panic!("{MOST} starts were acknowledged, and the engine never noticed");
}

/// Starts the same run until it is taken.
async fn insist(app: &Antiphon, id: &str) {
    for _ in 0..20_000_000 {
        match app.start(id, keep("x".to_owned())).await {
            Ok(run) => match run.result().await {
                Ok(text) => return assert_eq!(text, "x"),
                Err(antiphon::RunError::Request(error)) => assert!(error.retryable(), "{error}"),
                Err(error) => panic!("{error}"),
            },
            Err(error) => assert!(error.retryable(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
    panic!("the engine never came back");
}

#[test]
fn a_store_that_another_process_has_open_is_refused_and_is_ours_once_that_one_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Process::start(ENTRY, "keeps it open", folder.path());
    other.expect("open");
    let refused = sqlite::open(folder.path(), &OPTIONS).err().unwrap();
    assert_eq!((refused.code(), refused.retryable()), (Some("A0003"), true));
    assert!(refused.to_string().contains(&format!("process {}", other.id())), "{refused}");
    other.kill();
    drop(sqlite::open(folder.path(), &OPTIONS).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_locks_a_database_holds_the_engine_up_and_breaks_nothing() {
    for file in ["log.db", "archive.db"] {
        let folder = tempfile::tempdir().unwrap();
        let app = app(folder.path());
        insist(&app, "before").await;
        // For a while: the engine goes on by itself.
        let mut stranger = Process::start(ENTRY, "holds a database", &folder.path().join(file));
        stranger.expect("held");
        let (refused, acknowledged) = until_refused(&app, "during").await;
        assert!(refused.retryable(), "{file}: {refused}");
        stranger.go_on();
        stranger.expect("released");
        assert!(stranger.ended());
        insist(&app, "after").await;
        // For ever: every request is answered, and the engine can be stopped.
        let mut stranger = Process::start(ENTRY, "holds a database", &folder.path().join(file));
        stranger.expect("held");
        let (refused, more) = until_refused(&app, "ever").await;
        assert!(refused.retryable(), "{file}: {refused}");
        app.stop();
        stranger.kill();
        assert!(sqlite::verify(folder.path()).unwrap().is_whole(), "{file}");
        let all = Filter { limit: usize::MAX, ..Filter::default() };
        let rows = sqlite::snapshot(folder.path()).unwrap().list(&all).unwrap().len();
        assert!(rows >= 2 + acknowledged + more, "{file}: {rows} runs, {acknowledged} + {more} were acknowledged");
    }
}

/// What somebody does to the folder of an open store, and which names must not come back.
type Accident = (&'static str, fn(&Path), &'static [&'static str]);

const ACCIDENTS: [Accident; 6] = [
    ("the log removed", |folder| fs::remove_file(folder.join("log.db")).unwrap(), &["log.db"]),
    ("the archive removed", |folder| fs::remove_file(folder.join("archive.db")).unwrap(), &["archive.db"]),
    ("a write-ahead log removed", |folder| fs::remove_file(folder.join("log.db-wal")).unwrap(), &["log.db-wal"]),
    (
        "the archive replaced by its copy",
        |folder| {
            fs::copy(folder.join("archive.db"), folder.join("copy")).unwrap();
            fs::rename(folder.join("copy"), folder.join("archive.db")).unwrap();
        },
        &[],
    ),
    ("the lock removed", |folder| fs::remove_file(folder.join("lock")).unwrap(), &["lock"]),
    ("the folder moved", |folder| fs::rename(folder, folder.with_extension("moved")).unwrap(), &["log.db", "head"]),
];

/// Lets an accident happen to the store of a busy engine, which must stop and say why.
async fn meets(accident: &Accident) {
    let (what, happen, gone) = accident;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let app = app(&folder);
    insist(&app, "before").await;
    happen(&folder);
    let error = loop {
        let (error, _) = until_refused(&app, "after").await;
        if !error.retryable() {
            break error.to_string();
        }
    };
    assert!(error.contains("[A0033]") && error.contains("[A0030]"), "{what}: {error}");
    app.stop();
    for name in *gone {
        assert!(!folder.join(name).exists(), "{what}: {name} was put there again");
    }
}

#[cfg(not(feature = "planted"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_files_are_removed_or_replaced_stops_and_puts_nothing_in_their_place() {
    for accident in &ACCIDENTS {
        meets(accident).await;
    }
}

#[cfg(feature = "planted")]
#[test]
fn an_engine_that_does_not_watch_its_files_is_noticed() {
    antiphon_history::planted::plant(Some("files-not-watched"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let met = runtime.block_on(async { tokio::spawn(async { meets(&ACCIDENTS[0]).await }).await });
    antiphon_history::planted::plant(None);
    println!("files-not-watched: {}", met.expect_err("the fault is noticed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_engine_notices_too() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    insist(&app, "before").await;
    fs::remove_file(folder.path().join("log.db")).unwrap();
    let error = loop {
        match app.status().await {
            Err(error) if !error.retryable() => break error.to_string(),
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(error.contains("[A0030]"), "{error}");
    app.stop();
    assert!(!folder.path().join("log.db").exists());
}

#[test]
fn a_process_that_is_paused_beyond_its_deadlines_ends_every_activity_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Process::start(ENTRY, "is paused", folder.path());
    other.expect("began 1");
    other.signal("STOP");
    // Longer than every deadline of the activity. Nothing below depends on how long it was.
    assert!(Command::new("sleep").arg("0.7").status().unwrap().success());
    // The answer is there when it wakes, and so is the deadline: one of them counts.
    other.go_on();
    other.signal("CONT");
    let mut ended = None;
    while let Some(word) = other.word() {
        ended = word.strip_prefix("ended ").map(str::to_owned).or(ended);
    }
    let attempts: u32 = ended.expect("the run ended").parse().unwrap();
    assert!(sqlite::verify(folder.path()).unwrap().is_whole());
    let mut snapshot = sqlite::snapshot(folder.path()).unwrap();
    let row = snapshot.list(&Filter::default()).unwrap().remove(0);
    let history = snapshot.history(row.key).unwrap().unwrap();
    let text = antiphon_replay_tests::world::text(&history);
    assert_eq!(text.matches("ActivityResolved").count(), 1, "{text}");
    assert_eq!(text.matches("Received").count(), 1, "{text}");
    assert_eq!(text.matches(" Sent ").count(), attempts as usize, "{text}");
    assert_eq!(text.matches("Closed").count(), attempts as usize, "{text}");
}

/// A mounted tmpfs that is unmounted when the test ends, however it ends.
struct Volume(PathBuf);

impl Volume {
    fn mount(folder: &Path) -> Option<Volume> {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(folder).output().ok()?;
        done.status.success().then(|| Volume(folder.to_owned()))
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &how]).arg(&self.0).status().unwrap().success(), "{how}");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_volume_that_is_mounted_read_only_is_refused_by_name_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let Some(volume) = Volume::mount(folder.path()) else {
        println!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let store = volume.0.join("store");
    drop(sqlite::open(&store, &OPTIONS).unwrap());
    volume.remount("ro");
    for refused in [
        sqlite::open(&store, &OPTIONS).err().unwrap(),
        sqlite::open(&volume.0.join("new"), &OPTIONS).err().unwrap(),
        sqlite::snapshot(&store).err().unwrap(),
        sqlite::verify(&store).err().unwrap(),
    ] {
        assert_eq!(refused.code(), Some("A0002"), "{refused}");
        assert!(refused.to_string().contains(&*volume.0.to_string_lossy()), "{refused}");
    }
    volume.remount("rw");
    drop(sqlite::open(&store, &OPTIONS).unwrap());
    assert!(sqlite::verify(&store).unwrap().is_whole());
}

#[test]
fn a_process_of_another_user_is_refused() {
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = parent.path().join("store");
    drop(sqlite::open(&store, &OPTIONS).unwrap());
    let mut command = process::command(&[], ENTRY, "opens", &store);
    let Ok(mut other) = Process::of(command.uid(65_534)) else {
        println!("skipped: another user cannot run this program where it lies");
        return;
    };
    other.expect("A0002");
    assert!(other.ended());
}

#[test]
fn a_link_under_the_name_of_a_side_file_is_refused_by_readers_too() {
    for name in ["log.db-wal", "archive.db-wal", "log.db-shm", "log.db-journal", "head"] {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        drop(sqlite::open(folder.path(), &OPTIONS).unwrap());
        fs::write(elsewhere.path(), "years of work").unwrap();
        let _ = fs::remove_file(folder.path().join(name));
        symlink(elsewhere.path(), folder.path().join(name)).unwrap();
        let refused = [
            sqlite::open(folder.path(), &OPTIONS).err(),
            sqlite::snapshot(folder.path()).err(),
            sqlite::verify(folder.path()).err(),
        ];
        for refused in refused {
            assert_eq!(refused.and_then(|error| error.code()), Some("A0001"), "{name}");
        }
        assert_eq!(fs::read(elsewhere.path()).unwrap(), b"years of work");
    }
}

/// A copy of the store that the first version left behind.
fn first_version(into: &Path) -> PathBuf {
    let folder = into.join("store");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/stores/v1")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

#[test]
fn a_change_of_format_that_is_killed_at_any_write_is_finished_by_the_next_opening() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not here");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let expected = picture(sqlite::snapshot(&first_version(scratch.path())).unwrap().as_mut()).unwrap();
    for write in 1..1_000 {
        let scratch = tempfile::tempdir().unwrap();
        let folder = first_version(scratch.path());
        let inject = format!("inject=pwrite64:signal=SIGKILL:when={write}");
        let under = ["strace", "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", &inject];
        let survived = Process::of(&mut process::command(&under, ENTRY, "opens", &folder)).unwrap().ended();
        let mut store = sqlite::open(&folder, &OPTIONS).unwrap();
        assert_eq!(picture(store.reader.as_mut()).unwrap(), expected, "killed at write {write}");
        drop(store);
        assert!(sqlite::verify(&folder).unwrap().is_whole(), "killed at write {write}");
        if survived {
            if write == 1 {
                println!("skipped: strace may not stop processes here");
            } else {
                println!("{} writes", write - 1);
            }
            return;
        }
    }
    panic!("the opening never ends");
}
