//! The picture of a run, to the letter.
#![allow(clippy::unwrap_used, reason = "tests")]

mod story;

use antiphon_history::*;
use antiphon_server::cli::{Style, show};
use story::*;

fn shown(file: &HistoryFile) -> String {
    show::render(file, &Style::plain(NEW_YEAR.plus_ms(60_000))).unwrap()
}

fn assert_golden(actual: &str, name: &str, golden: &str) {
    assert!(actual == golden, "tests/golden/{name} is not what is shown now:\n{actual}");
}

#[test]
fn a_run_is_shown_with_who_did_what_when_and_why() {
    assert_golden(&shown(&order(1, "order-7")), "order.txt", include_str!("golden/order.txt"));
}

#[test]
fn a_blocked_run_shows_its_whole_report() {
    assert_golden(&shown(&blocked(2, "order-8")), "blocked.txt", include_str!("golden/blocked.txt"));
}

#[test]
fn an_activity_that_nobody_takes_says_why() {
    assert_golden(&shown(&stuck(3, "report-1")), "stuck.txt", include_str!("golden/stuck.txt"));
}

#[test]
fn words_of_a_stranger_cannot_move_the_cursor_or_fake_a_line() {
    let mut story = Story::begin(1, "a\u{1b}[31mb", "t\nrun  forged", "1", 0);
    let failure = Failure { message: "no\r\n\u{1b}]0;title\u{7}".into(), kind: String::new(), details: None };
    story.run(1, vec![RunEvent::RunFailed { failure }]);
    let text = shown(&story.file);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("run  forged")), "{text}");
}

#[test]
fn an_illegal_event_is_shown_as_an_anomaly_and_folds_nothing() {
    let mut story = Story::begin(1, "w", "t", "1", 0);
    story.run(0, vec![scheduled(1, "a", "1", "f.rs:1")]).talk(0, 1, 1, vec![waits("a"), answered(1)]);
    let text = shown(&story.file);
    assert!(text.contains("anomaly: Received cannot follow in a conversation that is queued"), "{text}");
    assert!(text.contains("scheduled: waits for a worker"), "{text}");
}

#[test]
fn a_conversation_without_its_activity_is_shown_all_the_same() {
    let mut story = Story::begin(1, "w", "t", "1", 0);
    story.talk(0, 4, 1, vec![waits("a")]);
    assert!(shown(&story.file).contains("conversations of #4, which the run has not scheduled"));
}

#[test]
fn moments_and_numbers_at_their_ends_are_shown() {
    let mut story = Story::begin(1, "w", "t", "1", 0);
    let end = Timestamp(i64::MAX);
    story.run(
        u64::MAX,
        vec![
            RunEvent::TimerStarted { ordinal: Ordinal(u32::MAX), due: end, site: Site::default() },
            RunEvent::TimerFired { ordinal: Ordinal(0) },
        ],
    );
    story.talk(0, u32::MAX, u32::MAX, vec![waits("a"), selected(1, "w", None)]);
    assert!(shown(&story.file).contains("due=9223372036854775807"));
}
