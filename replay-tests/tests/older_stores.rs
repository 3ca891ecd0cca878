//! Stores that earlier versions left behind open, verify and go on.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{Antiphon, RunStatus};
use antiphon_engine::replay;
use antiphon_recorder::Filter;
use antiphon_recorder::conformance::picture;
use antiphon_recorder::sqlite::{self, Options};
use antiphon_replay_tests::programs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A copy that may be written, with the modes that a store has: version control keeps neither.
fn copy_of(version: &str, into: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/stores").join(version);
    let folder = into.join(version);
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = folder.join(entry.file_name());
        std::fs::copy(entry.path(), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_store_of_version_1_verifies_replays_and_goes_on() {
    goes_on("v1").await;
}

#[tokio::test]
async fn a_store_of_version_2_verifies_replays_and_goes_on() {
    goes_on("v2").await;
}

async fn goes_on(version: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = copy_of(version, scratch.path());
    let report = sqlite::verify(&folder).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);

    let mut reader = sqlite::snapshot(&folder).unwrap();
    let rows = reader.list(&Filter::default()).unwrap();
    let found: Vec<(&str, RunStatus)> = rows.iter().map(|row| (row.workflow.id.as_str(), row.status)).collect();
    let expected = [
        ("waiting", RunStatus::Running),
        ("cancelled", RunStatus::Cancelled),
        ("failed", RunStatus::Failed),
        ("large", RunStatus::Completed),
        ("completed", RunStatus::Completed),
    ];
    assert_eq!(found, expected);
    for row in &rows {
        let history = reader.history(row.key).unwrap().unwrap();
        assert_eq!(replay(&programs::today(), &history).unwrap().stopped, None, "{}", row.workflow);
    }
    drop(reader);

    let app = programs::register(Antiphon::open(&folder)).start().unwrap();
    app.signal("waiting", "tell", &"years later".to_owned()).await.unwrap();
    assert_eq!(app.get::<programs::told>("waiting").unwrap().result().await.unwrap(), "years later");
    assert_eq!(app.get::<programs::one>("large").unwrap().result().await.unwrap().len(), 20_000);
    app.stop();
    assert!(sqlite::verify(&folder).unwrap().is_whole());
}

#[test]
fn bringing_a_store_to_the_newest_version_changes_nothing_that_a_reader_sees() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = copy_of("v1", scratch.path());
    let before = picture(sqlite::snapshot(&folder).unwrap().as_mut()).unwrap();
    for _ in 0..2 {
        let mut store = sqlite::open(&folder, &Options::default()).unwrap();
        assert_eq!(picture(store.reader.as_mut()).unwrap(), before);
        drop(store);
        assert_eq!(picture(sqlite::snapshot(&folder).unwrap().as_mut()).unwrap(), before);
        let report = sqlite::verify(&folder).unwrap();
        assert!(report.is_whole(), "{:?}", report.problems);
    }
}
