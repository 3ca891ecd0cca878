//! A store that lost something, as a person meets it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod story;

use std::process::Command;
use story::{blocked, order, store};

#[test]
fn a_store_that_lost_something_is_shown_as_far_as_it_goes_and_never_without_a_warning() {
    let folder = store(&[order(1, "order-7"), blocked(2, "order-8")]);
    std::fs::write(folder.path().join("data/head"), "antiphon-anchor of nothing\n").unwrap();
    let antiphon = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_antiphon")).args(args).current_dir(folder.path()).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, err)
    };
    for args in [&["list", "data"][..], &["show", "data", "order-7"], &["export", "data", "order-7", "kept"]] {
        let (code, out, err) = antiphon(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(err.starts_with("warning: ") && err.contains("[A0007]"), "{args:?}: {err}");
        assert!(out.contains("order-7") || out.contains("wrote"), "{args:?}: {out}");
    }
    assert_eq!(antiphon(&["verify", "data"]).0, Some(1));
}
