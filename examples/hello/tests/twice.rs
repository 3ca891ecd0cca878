//! The program, run twice in the same folder.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn the_second_time_the_run_of_the_first_is_found_and_nobody_is_greeted_again() {
    let folder = tempfile::tempdir().unwrap();
    let printed = || {
        let output = Command::new(env!("CARGO_BIN_EXE_hello")).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed(), "(greeting world)\nHello, world! (new)\n");
    assert_eq!(printed(), "Hello, world! (remembered)\n");
}
