//! The program as it is started, on its first day and once more.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn day(folder: &Path) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn customers_take_turns_a_jam_holds_one_print_and_a_second_day_prints_nothing_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = day(folder.path());
    let held = "held: print of ann: failed after 2: 2 of ann is stuck in the machine";
    assert_eq!(first[..2], ["8 wait: queue_paused", held]);
    let (done, last) = (["ann: 5 pictures", "bob: 2 pictures", "cid: 1 pictures"], "cleaned 2 times");
    assert_eq!(first[2..5], done);
    let printed: Vec<&str> = first[5].strip_prefix("printed: ").unwrap().split(", ").collect();
    assert_eq!(printed[..3], ["ann 1", "bob 1", "cid 1"], "ann has many more, and nobody waits for them");
    assert_eq!((printed.len(), printed.contains(&"ann 2"), &*first[6]), (8, true, last));

    let second = day(folder.path());
    assert_eq!(second[..3], done);
    assert_eq!(second[3..], ["printed: ", last]);
}
