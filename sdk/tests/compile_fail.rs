//! What must not compile, and that the compiler says why in words an author understands.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

/// The messages are the compiler's too, and differ between its versions: they are compared with this one's.
const MESSAGES_OF: &str = "rustc 1.95";

#[test]
fn mistakes_of_authors_do_not_compile_and_say_why() {
    let output = std::process::Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    if !version.starts_with(MESSAGES_OF) {
        println!("skipped: the expected messages are of {MESSAGES_OF}, this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/compile-fail/*.rs");
}
