//! The command line as a user meets it: messages, exit codes, interruption.
#![allow(clippy::unwrap_used, reason = "tests")]

mod child;

use child::{Child, Ended};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn with_files(files: u32) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.at("source")).unwrap();
        for number in 0..files {
            fs::write(place.at("source").join(number.to_string()), number.to_string()).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a verb on folders of this place, further arguments as they are.
    fn backup(&self, verb: &str, folders: &[&str], further: &[&str]) -> Ended {
        self.start(verb, folders, further, &[]).ended()
    }

    fn start(&self, verb: &str, folders: &[&str], further: &[&str], variables: &[(&str, &OsStr)]) -> Child {
        let folders = folders.iter().map(|name| self.at(name).into_os_string());
        let args = [OsStr::new(verb).to_owned()].into_iter().chain(folders);
        Child::start(args.chain(further.iter().map(|text| OsStr::new(text).to_owned())), variables)
    }
}

#[test]
fn a_backup_tells_what_it_did_and_where_its_record_is() {
    let place = Place::with_files(3);
    let first = place.backup("run", &["source", "target"], &["--name", "mine"]);
    assert!(first.status.success(), "{first:?}");
    for text in ["snapshot 1 of ", "3 files (3 B)", "3 new contents", "antiphon show ", ".antiphon mine-1"] {
        assert!(first.printed.contains(text), "{text:?} in {}", first.printed);
    }
    let second = place.backup("run", &["source", "target"], &["--name", "mine"]);
    assert!(second.printed.contains("snapshot 2 of ") && second.printed.contains("0 new contents"), "{second:?}");

    let status = place.backup("status", &["target"], &[]);
    assert!(status.printed.contains("3 contents") && status.printed.contains("snapshot 2"), "{status:?}");
    let restored = place.backup("restore", &["target", "back"], &["--snapshot", "1", "--verify"]);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    assert!(place.backup("verify", &["target", "source"], &[]).status.success());
    fs::write(place.at("source").join("0"), "other").unwrap();
    let differs = place.backup("verify", &["target", "source"], &[]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(differs.printed.starts_with("0: "), "{differs:?}");
}

#[test]
fn what_cannot_be_done_is_said_in_one_line_with_exit_code_1_and_wrong_usage_has_2() {
    let place = Place::with_files(1);
    fs::write(place.at("file"), "x").unwrap();
    for (folders, reason) in [
        (["nothing", "target"], "cannot be found"),
        (["file", "target"], "is not a folder"),
        (["source", "file"], "the target is not usable"),
        (["source", "source"], "is not a backup, and not empty"),
    ] {
        let refused = place.backup("run", &folders, &[]);
        assert_eq!(refused.status.code(), Some(1), "{folders:?}");
        assert!(refused.printed.starts_with("backup: ") && refused.printed.contains(reason), "{refused:?}");
        assert_eq!(refused.printed.lines().count(), 1, "{refused:?}");
    }
    assert_eq!(place.backup("restore", &["nothing", "back"], &[]).status.code(), Some(1));
    assert_eq!(place.backup("run", &["source"], &[]).status.code(), Some(2));
    assert_eq!(place.backup("run", &["source", "target"], &["--parallel", "0"]).status.code(), Some(2));
}

#[test]
fn a_backup_with_something_it_cannot_take_is_done_and_says_so_with_exit_code_3() {
    let place = Place::with_files(1);
    let _socket = std::os::unix::net::UnixListener::bind(place.at("source").join("socket")).unwrap();
    let ended = place.backup("run", &["source", "target"], &[]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.printed.contains("socket: it is a socket"), "{ended:?}");
    let verified = place.backup("verify", &["target", "source"], &[]);
    assert_eq!(verified.status.code(), Some(3), "{verified:?}");
}

#[test]
fn a_target_and_a_record_inside_the_source_are_left_out_of_the_backup() {
    let place = Place::with_files(2);
    for snapshot in 1..=2 {
        let state = place.at("source/record");
        let ended = place.backup("run", &["source", "source/backup"], &["--state", state.to_str().unwrap()]);
        assert!(ended.printed.contains("2 files (2 B), 0 folders"), "snapshot {snapshot}: {ended:?}");
    }
    assert!(place.backup("verify", &["source/backup", "source"], &[]).status.success());
}

#[test]
fn an_interrupted_backup_says_how_to_go_on_and_the_same_command_does() {
    let place = Place::with_files(20);
    let ledger = place.at("ledger");
    // The files wait far longer than this test runs, so it is the interruption that ends the process.
    let slow = [("BACKUP_LEDGER", ledger.as_os_str()), ("BACKUP_PAUSE_MS", OsStr::new("600000"))];
    let mut child = place.start("run", &["source", "target"], &["--parallel", "3"], &slow);
    let begun = || fs::read_to_string(&ledger).is_ok_and(|text| text.lines().count() == 3);
    while !begun() {
        let early = child.ended_within(Duration::from_millis(10));
        assert!(early.is_none(), "{early:?}");
    }
    let process = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let interrupted = child.ended();
    assert_eq!(interrupted.status.code(), Some(130), "{interrupted:?}");
    assert!(interrupted.printed.contains("the same command goes on"), "{interrupted:?}");
    let status = place.backup("status", &["target"], &[]);
    assert!(status.printed.contains("unfinished  source-"), "{status:?}");

    let ended = place.backup("run", &["source", "target"], &[]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.printed.contains("going on with snapshot 1") && ended.printed.contains("20 files"), "{ended:?}");
}
