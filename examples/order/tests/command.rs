//! The command line on a folder: an order outlives the process that took it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn order(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order"));
    command.current_dir(folder);
    command
}

fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = order(folder).args(args).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn an_order_whose_process_was_killed_is_shipped_by_the_next_and_charged_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut place = order(folder.path()).args(["place", "7"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(place.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The mail is sent after the charge is on record.
    assert!(lines.by_ref().any(|line| line.contains("mail 7")));
    place.kill().unwrap();
    place.wait().unwrap();

    let (code, printed) = run(folder.path(), &["packed", "7"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("shipped: parcel-7") && !printed.contains("charge"), "{printed}");
    let (code, printed) = run(folder.path(), &["show"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("order-7") && printed.contains("completed"), "{printed}");
}

#[test]
fn an_order_that_cannot_be_shipped_ends_with_exit_code_1_and_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (code, printed) = run(folder.path(), &["place", "8", "--card", "declined"]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("not shipped") && printed.contains("declined the card"), "{printed}");
    // The same id for another order is a mistake, and the engine's error says which.
    let (code, printed) = run(folder.path(), &["place", "8", "--cents", "1"]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("[A0"), "{printed}");
    assert_eq!(run(folder.path(), &["packed", "never placed"]).0, Some(1));
    assert_eq!(run(folder.path(), &["nonsense"]).0, Some(2));
}
