//! The program as it is started: its worker processes are itself.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

#[test]
fn crashes_cost_a_leg_each_and_the_film_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_crash")).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Vec<String> =
        (1..=4).map(|scene| format!("scene {scene}: done in leg {}", [1, 2, 2, 1][scene - 1])).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), told);
    // Its standard error is that of its workers, too.
    assert!(String::from_utf8_lossy(&output.stderr).contains("overflowed its stack"), "{output:?}");
}
