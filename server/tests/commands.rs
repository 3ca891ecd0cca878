//! The binary as a person meets it: a process, its output and its exit code.
#![allow(clippy::unwrap_used, reason = "tests")]

mod story;

use antiphon_history::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use story::*;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antiphon"));
    command.args(args).current_dir(folder).env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    command
}

/// Runs the binary in a folder; the store, if there is one, is `data` in it.
fn antiphon(folder: &Path, args: &[&str]) -> Ran {
    let output = command(folder, args).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn three_runs() -> tempfile::TempDir {
    store(&[order(1, "order-7"), blocked(2, "order-8"), stuck(3, "report-1")])
}

fn parse(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

#[test]
fn list_shows_runs_of_archive_and_log_newest_first() {
    let folder = three_runs();
    let ran = antiphon(folder.path(), &["list", "data"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let words: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][..4], ["WORKFLOW", "RUN", "TYPE", "STATUS"]);
    assert_eq!(words[1][..4], ["report-1", "abc00003", "report", "running"]);
    assert_eq!(words[2][..4], ["order-8", "abc00002", "order", "blocked"]);
    assert_eq!(words[3][..4], ["order-7", "abc00001", "order", "completed"]);
    assert_eq!(words[3][4..], ["2026-01-01", "00:00:00.000Z", "1d00h", "1"]);
    assert!(words[2].contains(&"diverged"));
}

#[test]
fn list_shows_what_its_filters_let_through() {
    let folder = three_runs();
    let ids = |args: &[&str]| -> Vec<String> {
        let ran = antiphon(folder.path(), &[&["list", "data", "--json"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out.lines().map(|line| parse(line)["workflow_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--status", "blocked"]), ["order-8"]);
    assert_eq!(ids(&["--type", "order"]), ["order-8", "order-7"]);
    assert_eq!(ids(&["--id", "rep"]), ["report-1"]);
    assert_eq!(ids(&["--since", "2026-01-01T00:00:05Z"]), ["report-1", "order-8"]);
    assert_eq!(ids(&["--since", "2026-01-01", "--until", "2026-01-01T00:00:05Z"]), ["order-7"]);
    assert_eq!(ids(&["--namespace", "other"]), [""; 0]);
}

#[test]
fn list_says_on_stderr_when_there_is_nothing_or_more() {
    let folder = three_runs();
    let ran = antiphon(folder.path(), &["list", "data", "--limit", "2"]);
    assert_eq!((ran.out.lines().count(), ran.code), (3, 0));
    assert!(ran.err.contains("there are more"), "{}", ran.err);
    let ran = antiphon(folder.path(), &["list", "data", "--status", "failed"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), ("", "no run matches\n", 0));
}

#[test]
fn a_run_is_found_by_workflow_id_run_id_or_part_of_it() {
    let folder = three_runs();
    let run_id = order(1, "order-7").row().unwrap().run_id.to_string();
    let by_workflow = antiphon(folder.path(), &["show", "data", "order-7"]);
    assert_eq!(by_workflow.code, 0, "{}", by_workflow.err);
    for name in [run_id.as_str(), "abc00001", "default/order-7", &run_id[..18], &run_id.to_uppercase()] {
        let ran = antiphon(folder.path(), &["show", "data", name]);
        assert_eq!((ran.code, &ran.out), (0, &by_workflow.out), "{name}: {}", ran.err);
    }
    let shared = antiphon(folder.path(), &["show", "data", &run_id[..8]]);
    assert_eq!(shared.code, 2);
    assert!(shared.err.contains("[A0040]\nhelp: docs/errors/A0040.md"), "{}", shared.err);
}

#[test]
fn show_prints_the_run_as_the_library_draws_it() {
    let folder = three_runs();
    let ran = antiphon(folder.path(), &["show", "data", "order-7"]);
    assert_eq!(ran.out, include_str!("golden/order.txt"));
    let brief = antiphon(folder.path(), &["show", "data", "order-7", "--brief"]);
    assert!(brief.out.contains("completed in 2.300s by w1, 2 attempts") && !brief.out.contains("leg 1"));
    let json = parse(&antiphon(folder.path(), &["show", "data", "order-8", "--json"]).out);
    assert_eq!(json["block"]["reason"]["recorded_site"], "src/order.rs:40");
    assert_eq!(json["activities"][0]["attempts"][0]["worker"], "local");
    assert_eq!(json["activities"][0]["duration_ms"], 10);
}

#[test]
fn dump_prints_every_event_once_as_text_and_as_json() {
    let folder = three_runs();
    let text = antiphon(folder.path(), &["dump", "data", "order-7"]);
    let json = antiphon(folder.path(), &["dump", "data", "order-7", "--json"]);
    assert_eq!((text.out.lines().count(), json.out.lines().count()), (20, 20));
    assert!(text.out.starts_with("2026-01-01 00:00:00.000Z    run    1  RunStarted order v3"), "{}", text.out);
    let events: Vec<_> = json.out.lines().map(parse).collect();
    assert_eq!(events[0]["fields"]["input"][0]["value"]["lines"][0], "tea");
    assert_eq!(events[3]["stream"], "#1.1");
    assert_eq!(events[3]["fields"]["why"]["left_out"][0]["reason"], "full");
    assert_eq!(events[19]["event"], "RunCompleted");
    let all = antiphon(folder.path(), &["dump", "data", "--all", "--json"]);
    let runs: std::collections::BTreeSet<_> = all.out.lines().map(|line| parse(line)["run"].to_string()).collect();
    assert_eq!((runs.len(), all.code), (3, 0));
    assert_eq!(antiphon(folder.path(), &["dump", "data"]).code, 2, "which run?");
}

#[test]
fn large_payloads_are_put_back_in_their_places() {
    let mut story = Story::begin(1, "large", "t", "1", 0);
    let value = format!("\"{}\"", "x".repeat(20_000));
    let (kept, beside) = json(&value).split();
    story.file.payloads.extend(beside);
    story.run(0, vec![RunEvent::RunCompleted { result: vec![kept] }]);
    let folder = store(&[story.file]);
    let dump = antiphon(folder.path(), &["dump", "data", "large", "--json"]);
    let last = parse(dump.out.lines().last().unwrap());
    assert_eq!(last["fields"]["result"][0]["value"].as_str().unwrap().len(), 20_000);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut story = Story::begin(1, "long", "t", "1", 0);
    // Far more text than a pipe holds, so that the process is still writing when the pipe closes.
    let signal = |n: u32| RunEvent::SignalReceived { name: format!("s{n}"), input: vec![], request_id: None };
    story.run(0, (0..20_000).map(signal).collect());
    let folder = store(&[story.file]);
    let mut child = command(folder.path(), &["dump", "data", "long"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn an_exported_file_is_inspected_like_the_run_and_never_overwritten_unasked() {
    let folder = three_runs();
    let file = folder.path().join("order.history");
    let export = antiphon(folder.path(), &["export", "data", "order-7", "order.history"]);
    assert_eq!(export.code, 0, "{}", export.err);
    assert_eq!(HistoryFile::read(&std::fs::read(&file).unwrap()).unwrap(), order(1, "order-7"));
    let inspect = antiphon(folder.path(), &["inspect", "order.history"]);
    assert_eq!(inspect.out, include_str!("golden/order.txt"));
    let events = antiphon(folder.path(), &["inspect", "order.history", "--events", "--json"]);
    assert_eq!(events.out, antiphon(folder.path(), &["dump", "data", "order-7", "--json"]).out);

    let before = std::fs::read(&file).unwrap();
    let again = antiphon(folder.path(), &["export", "data", "order-8", "order.history"]);
    assert_eq!((again.code, std::fs::read(&file).unwrap() == before), (2, true));
    assert!(again.err.contains("A0042"), "{}", again.err);
    let forced = antiphon(folder.path(), &["export", "data", "order-8", "order.history", "--force"]);
    assert_eq!((forced.code, std::fs::read(&file).unwrap() == before), (0, false));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside the file: {names:?}");
}

#[test]
fn files_that_are_no_sound_history_are_named_and_harm_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let mut altered = order(1, "order-7").to_bytes();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    write("text", b"once upon a time");
    write("altered", &altered);
    write("cut", &order(1, "order-7").to_bytes()[..100]);
    write("empty", b"");
    for (name, code, exit) in [
        ("text", "A0013", 1),
        ("altered", "A0014", 1),
        ("cut", "A0014", 1),
        ("empty", "A0013", 1),
        ("gone", "A0041", 3),
    ] {
        let ran = antiphon(folder.path(), &["inspect", name]);
        assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{name}: {}", ran.err);
        assert!(ran.err.contains(&format!("[{code}]\nhelp: docs/errors/{code}.md\n")), "{name}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 2);
    }
}

#[test]
fn noise_behind_a_sound_beginning_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let sound = order(1, "order-7").to_bytes();
    // A fixed seed (xorshift): the same files every time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..30 {
        let mut bytes = sound.clone();
        for _ in 0..=round % 4 {
            let place = (draw() as usize) % bytes.len();
            bytes[place] = draw() as u8;
        }
        std::fs::write(folder.path().join("noise"), &bytes).unwrap();
        let ran = antiphon(folder.path(), &["inspect", "noise"]);
        assert!(ran.code == 1 || (ran.code == 0 && bytes == sound), "round {round}: {}{}", ran.out, ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
}

#[test]
fn what_is_not_there_is_told_apart_by_exit_code() {
    let folder = three_runs();
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    std::fs::write(folder.path().join("photos/cat.jpg"), "cat").unwrap();
    for (args, exit, code) in [
        (["list", "nowhere"].as_slice(), 3, "A0001"),
        (&["list", "photos"], 3, "A0001"),
        (&["stats", "photos/cat.jpg"], 3, "A0001"),
        (&["verify", "photos"], 3, "A0001"),
        (&["show", "data", "order-99"], 4, "A0021"),
        (&["show", "data", "019b76da-a800-7000-8000-0000abc0ffff"], 4, "A0021"),
        (&["dump", "data", "order-7", "--namespace", "other"], 4, "A0021"),
        (&["export", "data", "order-7", "no/such/folder/file"], 3, "A0041"),
    ] {
        let ran = antiphon(folder.path(), args);
        assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(&format!("[{code}]\nhelp: docs/errors/{code}.md\n")), "{args:?}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
    }
    assert!(!folder.path().join("nowhere").exists(), "looking creates nothing");
}

#[test]
fn a_wrong_command_line_is_told_what_would_be_right() {
    let folder = three_runs();
    let typo = antiphon(folder.path(), &["lsit", "data"]);
    assert_eq!(typo.code, 2);
    assert!(typo.err.contains("'list'"), "{}", typo.err);
    let status = antiphon(folder.path(), &["list", "data", "--status", "stuck"]);
    assert_eq!(status.code, 2);
    assert!(status.err.contains("running, blocked, completed"), "{}", status.err);
    for args in [["list", "data", "--since", "yesterday"], ["list", "data", "--limit", "0"]] {
        assert_eq!(antiphon(folder.path(), &args).code, 2, "{args:?}");
    }
    assert_eq!(antiphon(folder.path(), &["check", "data"]).code, 2, "needs workflow code");
    assert_eq!(antiphon(folder.path(), &["--utc", "--local", "list", "data"]).code, 2);
}

#[test]
fn a_whole_store_is_verified_and_a_changed_one_is_not() {
    let folder = three_runs();
    let whole = antiphon(folder.path(), &["verify", "data"]);
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    assert!(whole.out.contains("up to 3") && whole.out.ends_with("whole\n"), "{}", whole.out);
    let report = parse(&antiphon(folder.path(), &["verify", "data", "--json"]).out);
    assert_eq!((&report["whole"], &report["tip"]["segment"]), (&true.into(), &3.into()));

    // The anchor of a store that has seen more: what a restored old copy looks like.
    let more = store(&[order(1, "order-7"), blocked(2, "order-8"), stuck(3, "report-1"), stuck(4, "report-2")]);
    for name in ["log.db", "log.db-wal", "archive.db", "archive.db-wal"] {
        let (from, to) = (more.path().join("data").join(name), folder.path().join("data").join(name));
        match from.exists() {
            true => std::fs::copy(&from, &to).map(|_| ()).unwrap(),
            false => drop(std::fs::remove_file(&to)),
        }
    }
    let mixed = antiphon(folder.path(), &["verify", "data"]);
    assert_eq!(mixed.code, 1, "{}{}", mixed.out, mixed.err);
    assert!(mixed.out.contains("problem  ") && mixed.out.contains("not whole"), "{}", mixed.out);
}

#[test]
fn damage_wherever_it_is_is_a_problem_or_a_refusal_and_never_a_panic() {
    for name in ["log.db", "archive.db", "head"] {
        let folder = three_runs();
        let path = folder.path().join("data").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        // Past the header of a database; in the middle of the anchor's line.
        let places = if name == "head" { 20..40 } else { 4_096..bytes.len() };
        bytes[places].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let ran = antiphon(folder.path(), &["verify", "data"]);
        assert_eq!(ran.code, 1, "{name}: {}{}", ran.out, ran.err);
        assert!(!ran.err.contains("panicked"), "{name}: {}", ran.err);
        for args in
            [&["list", "data"][..], &["show", "data", "order-7"], &["dump", "data", "--all"], &["stats", "data"]]
        {
            let ran = antiphon(folder.path(), args);
            assert!([0, 1, 3, 4].contains(&ran.code) && !ran.err.contains("panicked"), "{name} {args:?}: {}", ran.err);
        }
    }
}

#[test]
fn local_times_are_of_the_machines_zone_and_json_stays_utc() {
    let folder = three_runs();
    let run = |args: &[&str]| -> String {
        let output = command(folder.path(), args).env("TZ", "XYZ-2").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run(&["show", "data", "order-7", "--local"]);
    assert!(shown.contains("started  2026-01-01 02:00:00.000+02:00"), "{shown}");
    assert!(run(&["show", "data", "order-7"]).contains("started  2026-01-01 00:00:00.000Z"));
    assert!(run(&["list", "data", "--local", "--json"]).contains("\"started_at\":\"2026-01-01T00:00:00.000Z\""));
    let since = run(&["list", "data", "--local", "--json", "--since", "2026-01-01T02:00:05"]);
    assert_eq!(since.lines().count(), 2, "{since}");
}

#[test]
fn stats_count_runs_and_find_the_oldest_open_one() {
    let folder = three_runs();
    let stats = parse(&antiphon(folder.path(), &["stats", "data", "--json"]).out);
    assert_eq!((&stats["runs"]["running"], &stats["runs"]["failed"]), (&1.into(), &0.into()));
    assert_eq!(stats["oldest_open"]["workflow_id"], "order-8");
    assert!(stats["bytes"].as_u64().unwrap() > 0);
    let text = antiphon(folder.path(), &["stats", "data"]).out;
    assert!(text.contains("oldest open run: order-8 (abc00002), since 2026-01-01 00:00:05.000Z"), "{text}");
    // The oldest open run lies behind many closed ones.
    let mut files: Vec<_> = (1..8).map(|key| order(key, &format!("order-{key}"))).collect();
    files.extend([stuck(8, "report-8"), stuck(9, "report-9")]);
    let stats = parse(&antiphon(store(&files).path(), &["stats", "data", "--json"]).out);
    assert_eq!(stats["oldest_open"]["workflow_id"], "report-8");
    let empty = store(&[]);
    assert!(antiphon(empty.path(), &["stats", "data"]).out.contains("no open run"));
}

#[test]
fn reading_changes_no_byte_of_the_store() {
    let folder = three_runs();
    let bytes = || -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(folder.path().join("data")).unwrap().map(|entry| entry.unwrap().path());
        // The index of a write-ahead log (-shm) is shared memory and no data: readers make it and the log's empty file.
        let kept = entries.filter(|path| !path.to_string_lossy().ends_with("-shm"));
        kept.map(|path| (path.clone(), std::fs::read(path).unwrap())).filter(|(_, bytes)| !bytes.is_empty()).collect()
    };
    let before = bytes();
    for args in [&["list", "data"][..], &["show", "data", "order-7"], &["stats", "data"], &["verify", "data"]] {
        assert_eq!(antiphon(folder.path(), args).code, 0, "{args:?}");
    }
    assert!(bytes() == before);
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let folder = three_runs();
    assert!(!antiphon(folder.path(), &["list", "data"]).out.contains('\u{1b}'));
    assert!(antiphon(folder.path(), &["list", "data", "--color", "always"]).out.contains('\u{1b}'));
    assert!(antiphon(folder.path(), &["show", "data", "x", "--color", "always"]).err.contains('\u{1b}'));
}

#[test]
fn every_command_helps_with_examples_and_the_binary_with_its_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["list", "show", "dump", "export", "inspect", "verify", "stats"] {
        let ran = antiphon(folder.path(), &[name, "--help"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains("Examples:\n  antiphon "), "{name}: {}", ran.out);
    }
    let ran = antiphon(folder.path(), &["--help"]);
    assert!(ran.out.contains("Exit codes:") && ran.out.contains("4  there is no such run"), "{}", ran.out);
    assert_eq!(antiphon(folder.path(), &[]).code, 2);
}

#[test]
fn each_error_that_a_person_can_meet_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors");
    for code in ["A0013", "A0014", "A0021", "A0040", "A0041", "A0042"] {
        assert!(pages.join(format!("{code}.md")).exists(), "{code}");
    }
}
