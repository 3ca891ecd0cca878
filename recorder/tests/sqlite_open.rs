//! What opening a folder accepts, refuses and repairs.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use antiphon_history::{Segment, Timestamp};
use antiphon_recorder::conformance::{Picture, Sample, picture};
use antiphon_recorder::sqlite::{self, Options, Problem};
use antiphon_recorder::{Error, ErrorKind, Store, Tip};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

fn open(folder: &Path) -> Result<Store, Error> {
    sqlite::open(folder, &Options::default())
}

fn accept_loss(folder: &Path) -> Result<Store, Error> {
    sqlite::open(folder, &Options { accept_loss: true, ..Options::default() })
}

/// The code of what must be refused.
fn refusal(opened: Result<Store, Error>) -> String {
    opened.err().and_then(|error| error.code()).unwrap_or("it was opened").to_owned()
}

/// A closed store with `count` segments, of which `archived` were archived while it was open.
fn filled(count: usize, archived: usize) -> (TempDir, Sample, Vec<Segment>) {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(21);
    let segments = sample.segments(Tip::START, count);
    let mut store = open(folder.path()).unwrap();
    segments.iter().for_each(|segment| store.log.append(segment).unwrap());
    store.archive.fold(&segments[..archived]).unwrap();
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    (folder, sample, segments)
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())).collect()
}

/// Runs SQL on a closed store, as a stranger with a command line would.
fn tamper(folder: &Path, file: &str, sql: &str) {
    rusqlite::Connection::open(folder.join(file)).unwrap().execute_batch(sql).unwrap();
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_new_store_is_ours_alone_and_its_files_are_too() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("above/data");
    let store = open(&folder).unwrap();
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    let names: Vec<String> = contents(&folder).into_keys().collect();
    for expected in ["archive.db", "archive.db-wal", "ballast", "head", "lock", "log.db", "log.db-wal"] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    for name in &names {
        assert_eq!(folder.join(name).metadata().unwrap().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(folder.join("ballast").metadata().unwrap().len(), 1024 * 1024);
    drop(store);
    let names: Vec<String> = contents(&folder).into_keys().collect();
    assert_eq!(names, ["archive.db", "ballast", "head", "lock", "log.db"], "closing leaves no side files");
}

#[test]
fn folders_that_are_not_stores_are_refused_and_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let [foreign, file, link, inner] = ["foreign", "file", "link", "inner"].map(|name| parent.path().join(name));
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    assert_eq!(refusal(open(&foreign)), "A0001");
    assert_eq!(contents(&foreign).len(), 1);
    fs::write(&file, "").unwrap();
    assert_eq!(refusal(open(&file)), "A0001");
    symlink(&foreign, &link).unwrap();
    assert_eq!(refusal(open(&link)), "A0001");
    // A link under one of our names would take our writes elsewhere.
    fs::create_dir(&inner).unwrap();
    symlink(foreign.join("thesis.txt"), inner.join("log.db")).unwrap();
    assert_eq!(refusal(open(&inner)), "A0001");
    assert_eq!(fs::read(foreign.join("thesis.txt")).unwrap(), b"years of work");
    assert_eq!(sqlite::snapshot(&foreign).err().unwrap().code(), Some("A0001"));
    assert_eq!(sqlite::verify(&parent.path().join("nothing")).err().unwrap().code(), Some("A0001"));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    tamper(folder.path(), "log.db", "CREATE TABLE recipes (name TEXT)");
    let before = contents(folder.path())["log.db"].clone();
    assert_eq!(refusal(open(folder.path())), "A0001");
    assert_eq!(contents(folder.path())["log.db"], before);
}

#[test]
fn a_folder_of_another_user_is_refused() {
    // Only root can give a folder away, and only then is there a folder that we could write but must not.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (folder, ..) = filled(3, 3);
    std::os::unix::fs::chown(folder.path(), Some(12_345), None).unwrap();
    assert_eq!(refusal(open(folder.path())), "A0002");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    // Root ignores file modes, so the test needs a place where even root makes no folders.
    if Path::new("/sys/kernel").exists() {
        assert_eq!(refusal(open(Path::new("/sys/kernel/antiphon"))), "A0002");
    }
    if !rustix::process::geteuid().is_root() {
        let (folder, ..) = filled(3, 3);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(folder.path().join("lock"), fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(refusal(open(folder.path())), "A0002");
    }
}

#[test]
fn a_newer_format_is_refused_and_no_byte_changes() {
    for file in ["log.db", "archive.db"] {
        let (folder, ..) = filled(5, 2);
        tamper(folder.path(), file, "PRAGMA user_version = 4");
        let before = contents(folder.path());
        assert_eq!(refusal(open(folder.path())), "A0004");
        assert_eq!(refusal(accept_loss(folder.path())), "A0004");
        assert_eq!(sqlite::snapshot(folder.path()).err().unwrap().code(), Some("A0004"));
        assert_eq!(sqlite::verify(folder.path()).err().unwrap().code(), Some("A0004"));
        let mut after = contents(folder.path());
        // SQLite makes empty side files even to look.
        after.retain(|name, bytes| before.contains_key(name) || !bytes.is_empty() && !name.ends_with("-shm"));
        assert_eq!(after, before, "{file}");
    }
}

#[test]
fn settings_that_lie_in_a_file_must_be_ours() {
    for setting in ["PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = FULL; VACUUM"] {
        for file in ["log.db", "archive.db"] {
            let (folder, ..) = filled(5, 2);
            tamper(folder.path(), file, setting);
            let error = open(folder.path()).err().unwrap();
            assert!(matches!(&error, Error::Setting { .. }), "{setting} in {file}: {error}");
            assert_eq!(error.code(), Some("A0011"));
        }
    }
}

#[test]
fn a_refused_second_engine_learns_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let text = open(folder.path()).err().unwrap().to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    drop(store);
    // What a killed process leaves in the lock file keeps nobody out.
    fs::write(folder.path().join("lock"), "1\n").unwrap();
    open(folder.path()).unwrap();
}

#[test]
fn a_log_behind_its_anchor_is_a_loss_that_must_be_accepted() {
    let (folder, _, segments) = filled(10, 4);
    // The archive took over four; the last three of the log vanish, as after a disk that lied.
    tamper(folder.path(), "log.db", "DELETE FROM segment WHERE id > 7");
    let before = contents(folder.path());
    for _ in 0..2 {
        let refused = open(folder.path()).err().unwrap();
        assert!(matches!(refused, Error::Loss { lost: 3, tip: 7, anchored: 10 }), "{refused}");
        assert_eq!((refused.code(), refused.kind()), (Some("A0007"), ErrorKind::Corrupt));
    }
    let report = sqlite::verify(folder.path()).unwrap();
    assert_eq!(report.problems, [Problem::Lost { lost: 3, tip: 7, anchored: 10 }]);
    assert_eq!(contents(folder.path())["archive.db"], before["archive.db"], "refusing changed nothing");
    assert_eq!(contents(folder.path())["head"], before["head"], "refusing changed nothing");

    let mut store = accept_loss(folder.path()).unwrap();
    assert_eq!(store.log.tip(), Tip::of(&segments[6]));
    let other = Segment::seal(segments[6].digest, 8, Timestamp(9), antiphon_history::SegmentBody::default().to_bytes());
    store.log.append(&other).unwrap();
    drop(store);
    // Accepted once, remembered: the next opening needs no consent, and the fork is the truth now.
    assert_eq!(open(folder.path()).unwrap().log.tip(), Tip::of(&other));
    assert!(sqlite::verify(folder.path()).unwrap().is_whole());
}

#[test]
fn a_log_that_was_replaced_by_another_past_is_found_by_the_anchor() {
    let (folder, _, segments) = filled(6, 2);
    let body = antiphon_history::SegmentBody::default().to_bytes();
    let mut tip = Tip::of(&segments[2]);
    tamper(folder.path(), "log.db", "DELETE FROM segment WHERE id > 3");
    let forged = rusqlite::Connection::open(folder.path().join("log.db")).unwrap();
    for id in 4..=9 {
        let segment = Segment::seal(tip.digest, id, Timestamp(7), body.clone());
        let values = (segment.id as i64, segment.at.0, &segment.digest.0[..], &segment.body[..]);
        forged.execute("INSERT INTO segment VALUES (?1, ?2, ?3, ?4)", values).unwrap();
        tip = Tip::of(&segment);
    }
    drop(forged);
    let refused = open(folder.path()).err().unwrap();
    assert!(matches!(&refused, Error::AnchorUnusable { .. }), "{refused}");
    assert_eq!(sqlite::verify(folder.path()).unwrap().problems.len(), 1);
    assert_eq!(accept_loss(folder.path()).unwrap().log.tip(), tip);
}

#[test]
fn an_altered_segment_is_named_and_nothing_of_the_tail_is_taken_over() {
    let (folder, ..) = filled(10, 4);
    tamper(folder.path(), "log.db", "UPDATE segment SET at_ms = at_ms + 1 WHERE id = 8");
    let before = contents(folder.path())["archive.db"].clone();
    let refused = open(folder.path()).err().unwrap();
    assert!(matches!(&refused, Error::LogDamaged { segment: Some(8), .. }), "{refused}");
    assert_eq!(refusal(accept_loss(folder.path())), "A0006");
    assert_eq!(sqlite::snapshot(folder.path()).err().unwrap().code(), Some("A0006"));
    assert_eq!(contents(folder.path())["archive.db"], before);
    assert_eq!(sqlite::verify(folder.path()).unwrap().problems, [Problem::SegmentChain { segment: 8 }]);
}

#[test]
fn an_anchor_of_an_archive_that_was_taken_back_is_replaced_before_batches_are_counted_anew() {
    let (folder, ..) = filled(5, 5);
    let mut store = open(folder.path()).unwrap();
    // Its chain is right, but it does not fold: the opening below gets no further than that.
    let tip = store.log.tip();
    let mut body = antiphon_history::SegmentBody::default();
    body.records.push(vec![0xff].into());
    store.log.append(&Segment::seal(tip.digest, tip.id + 1, tip.at, body.to_bytes())).unwrap();
    drop(store);
    fs::remove_file(folder.path().join("archive.db")).unwrap();
    assert_eq!(refusal(open(folder.path())), "A0006");
    let head = fs::read_to_string(folder.path().join("head")).unwrap();
    let words: Vec<&str> = head.split(' ').collect();
    assert_eq!((words[3], words[5]), ("6", "0"), "segment and batch of {head}");
}

#[test]
fn without_its_anchor_a_store_opens_only_by_consent() {
    for damage in [None, Some("not an anchor\n"), Some("")] {
        let (folder, sample, _) = filled(6, 2);
        match damage {
            None => fs::remove_file(folder.path().join("head")).unwrap(),
            Some(text) => fs::write(folder.path().join("head"), text).unwrap(),
        }
        assert_eq!(refusal(open(folder.path())), "A0007");
        assert!(matches!(sqlite::verify(folder.path()).unwrap().problems[..], [Problem::Anchor { .. }]));
        let mut store = accept_loss(folder.path()).unwrap();
        assert_eq!(picture(store.reader.as_mut()).unwrap(), Picture::of_histories(sample.histories()));
        drop(store);
        open(folder.path()).unwrap();
    }
}

#[test]
fn an_archive_taken_back_to_an_earlier_copy_is_folded_to_the_same_again() {
    let (folder, mut sample, _) = filled(12, 5);
    let kept = tempfile::tempdir().unwrap();
    copy(folder.path(), kept.path(), &["archive.db"]);
    let mut store = open(folder.path()).unwrap();
    for _ in 0..10 {
        let segment = sample.segment(store.log.tip());
        store.log.append(&segment).unwrap();
        store.archive.fold(&[segment]).unwrap();
    }
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    let batches = store.archive.watermark().batches;
    drop(store);
    let expected = Picture::of_histories(sample.histories());

    copy(kept.path(), folder.path(), &["archive.db"]);
    let mut store = open(folder.path()).unwrap();
    assert!(store.archive.watermark().batches < batches, "the batches are counted anew");
    assert_eq!(picture(store.reader.as_mut()).unwrap(), expected);
    drop(store);
    assert!(sqlite::verify(folder.path()).unwrap().is_whole());

    fs::remove_file(folder.path().join("archive.db")).unwrap();
    assert_eq!(picture(open(folder.path()).unwrap().reader.as_mut()).unwrap(), expected);
    assert!(sqlite::verify(folder.path()).unwrap().is_whole());
}

#[test]
fn an_archive_taken_back_too_far_is_a_hole_and_not_a_rebuild() {
    let (folder, mut sample, _) = filled(12, 12);
    let kept = tempfile::tempdir().unwrap();
    copy(folder.path(), kept.path(), &["archive.db"]);
    let mut store = open(folder.path()).unwrap();
    for _ in 0..10 {
        let segment = sample.segment(store.log.tip());
        store.log.append(&segment).unwrap();
        store.archive.fold(&[segment]).unwrap();
        store.log.prune(22);
    }
    drop(store);
    copy(kept.path(), folder.path(), &["archive.db"]);
    let refused = open(folder.path()).err().unwrap();
    assert!(matches!(&refused, Error::LogDamaged { segment: Some(13), .. }), "{refused}");
    // No consent mends what exists nowhere.
    assert_eq!(refusal(accept_loss(folder.path())), "A0006");
    let problems = sqlite::verify(folder.path()).unwrap().problems;
    assert!(
        problems.iter().any(|problem| matches!(problem, Problem::SegmentsMissing { first: 13, .. })),
        "{problems:?}"
    );
}

#[test]
fn a_missing_log_costs_what_the_archive_does_not_have() {
    let (folder, ..) = filled(9, 4);
    fs::remove_file(folder.path().join("log.db")).unwrap();
    let refused = open(folder.path()).err().unwrap();
    assert!(matches!(refused, Error::Loss { lost: 5, tip: 4, anchored: 9 }), "{refused}");
    // With everything archived nothing is lost.
    let (folder, sample, segments) = filled(9, 9);
    fs::remove_file(folder.path().join("log.db")).unwrap();
    let mut store = open(folder.path()).unwrap();
    assert_eq!(store.log.tip(), Tip::of(&segments[8]));
    assert_eq!(picture(store.reader.as_mut()).unwrap(), Picture::of_histories(sample.histories()));
}

#[test]
fn files_of_two_stores_are_not_taken_for_one() {
    let (one, ..) = filled(3, 1);
    let (two, ..) = filled(3, 1);
    copy(two.path(), one.path(), &["archive.db"]);
    assert_eq!(refusal(open(one.path())), "A0001");
    let (one, ..) = filled(3, 1);
    copy(two.path(), one.path(), &["head"]);
    assert_eq!(refusal(open(one.path())), "A0007");
}

#[test]
fn a_creation_that_was_interrupted_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["log.db", "archive.db", "lock", "head.new"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(sqlite::snapshot(folder.path()).err().unwrap().code(), Some("A0001"));
    open(folder.path()).unwrap();
    // Cut after the tables of the log, before anything else.
    let (folder, ..) = filled(0, 0);
    for name in ["archive.db", "head"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    open(folder.path()).unwrap();
    assert!(sqlite::verify(folder.path()).unwrap().is_whole());
}

#[test]
fn a_creation_that_was_interrupted_before_the_first_commit_is_finished() {
    let (whole, ..) = filled(0, 0);
    for name in ["log.db", "archive.db"] {
        let folder = tempfile::tempdir().unwrap();
        // The first page is written, and the journal that would take it back has not been removed: its header says
        // that the file had no pages before.
        fs::write(folder.path().join(name), &fs::read(whole.path().join(name)).unwrap()[..4096]).unwrap();
        let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        for field in [0u32, 7, 0, 512, 4096] {
            journal.extend(field.to_be_bytes());
        }
        journal.resize(512, 0);
        fs::write(folder.path().join(format!("{name}-journal")), journal).unwrap();
        open(folder.path()).unwrap();
        assert!(sqlite::verify(folder.path()).unwrap().is_whole());
    }
}

#[test]
fn a_write_ahead_log_has_its_length_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let length = || folder.path().join("log.db-wal").metadata().unwrap().len();
    let mut sample = Sample::new(22);
    let mut store = open(folder.path()).unwrap();
    let before = length();
    assert!(before >= 16 * 1024 * 1024, "{before}");
    for _ in 0..50 {
        store.log.append(&sample.segment(store.log.tip())).unwrap();
    }
    assert_eq!(length(), before, "it was written over");
    // As a crash leaves it.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path(), &["log.db", "log.db-wal", "archive.db", "archive.db-wal", "head"]);
    assert_eq!(open(crashed.path()).unwrap().log.tip(), store.log.tip());
}

#[test]
fn a_volume_without_room_is_not_filled_with_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { min_free_bytes: u64::MAX, ..Options::default() };
    let _store = sqlite::open(folder.path(), &options).unwrap();
    assert!(folder.path().join("log.db-wal").metadata().unwrap().len() < 1024 * 1024);
}

#[test]
fn the_ballast_is_given_up_and_taken_back_only_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let ballast = folder.path().join("ballast");
    let mut store = open(folder.path()).unwrap();
    assert!(store.space.free_bytes().unwrap() > 0 && !store.space.is_low().unwrap());
    store.space.release_ballast().unwrap();
    store.space.release_ballast().unwrap();
    assert!(!ballast.exists());
    store.space.restore_ballast().unwrap();
    assert!(ballast.exists());
    drop(store);
    let mut store = sqlite::open(folder.path(), &Options { min_free_bytes: u64::MAX, ..Options::default() }).unwrap();
    assert!(store.space.is_low().unwrap());
    store.space.release_ballast().unwrap();
    store.space.restore_ballast().unwrap();
    assert!(!ballast.exists());
}
