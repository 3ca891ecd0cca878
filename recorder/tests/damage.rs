//! Whatever happens to the bytes: it is reported, or it is harmless. Never a panic, never another history.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use antiphon_recorder::conformance::{Picture, Sample, picture};
use antiphon_recorder::sqlite::{self, Options};
use antiphon_recorder::{Error, Reader, Tip};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A store with 30 segments, 20 of them archived in four batches.
fn store() -> (TempDir, Sample) {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(31);
    let segments = sample.segments(Tip::START, 30);
    let mut store = sqlite::open(folder.path(), &Options::default()).unwrap();
    segments.iter().for_each(|segment| store.log.append(segment).unwrap());
    for portion in segments[..20].chunks(5) {
        store.archive.fold(portion).unwrap();
    }
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    (folder, sample)
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Every history that the reader gives must be the right one or an error; a run may be missing only if `verify` told.
fn check_histories(reader: &mut dyn Reader, expected: &Picture, reported: bool, what: &str) {
    for (run, history) in &expected.histories {
        match reader.history(*run) {
            Ok(Some(found)) => assert_eq!(&found, history, "{what}: run {} has another history", run.0),
            Ok(None) => assert!(reported, "{what}: run {} is gone and nobody says so", run.0),
            Err(_) => {}
        }
    }
}

/// Looks at a damaged store in every way there is. True if the damage was reported.
fn examine(folder: &Path, expected: &Picture, what: &str) -> bool {
    let reported = match sqlite::verify(folder) {
        Ok(report) => !report.is_whole(),
        Err(_) => true,
    };
    if let Ok(mut snapshot) = sqlite::snapshot(folder) {
        check_histories(snapshot.as_mut(), expected, reported, what);
        let all: Result<Picture, Error> =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| picture(snapshot.as_mut()))).unwrap_or_else(
                |_| {
                    assert!(reported, "{what}: rows disagree with each other and nobody says so");
                    Ok(expected.clone())
                },
            );
        if !reported {
            assert_eq!(&all.expect("a whole store can be read"), expected, "{what}");
        }
    }
    match sqlite::open(folder, &Options::default()) {
        Ok(mut store) => check_histories(store.reader.as_mut(), expected, reported, what),
        Err(error) => assert!(reported, "{what}: {error}, although verify found nothing"),
    }
    reported
}

#[test]
fn flipped_bits_are_reported_or_harmless() {
    let (folder, sample) = store();
    let expected = Picture::of_histories(sample.histories());
    assert!(!examine(copy_of(folder.path()).path(), &expected, "untouched"));
    let mut seeds = Sample::new(32);
    for (name, flips) in [("log.db", 80), ("archive.db", 120), ("head", 15)] {
        let mut reported = 0;
        for _ in 0..flips {
            let damaged = copy_of(folder.path());
            let path = damaged.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            let (offset, bit) = (seeds.below(bytes.len() as u64) as usize, seeds.below(8));
            bytes[offset] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            let what = format!("bit {bit} of byte {offset} of {name}");
            reported += usize::from(examine(damaged.path(), &expected, &what));
        }
        // Most bytes of a file carry something; if most flips went unnoticed, nothing was looked at.
        assert!(reported * 2 > flips, "{name}: {reported} of {flips} flips were reported");
    }
}

#[test]
fn a_file_cut_short_is_reported_or_harmless() {
    let (folder, sample) = store();
    let expected = Picture::of_histories(sample.histories());
    let mut seeds = Sample::new(33);
    for name in ["log.db", "archive.db", "head"] {
        for _ in 0..10 {
            let damaged = copy_of(folder.path());
            let path = damaged.path().join(name);
            let bytes = fs::read(&path).unwrap();
            let length = seeds.below(bytes.len() as u64) as usize;
            fs::write(&path, &bytes[..length]).unwrap();
            examine(damaged.path(), &expected, &format!("{name} cut to {length} bytes"));
        }
    }
}

#[test]
fn a_write_ahead_log_that_lost_its_end_is_a_loss_and_not_a_shorter_truth() {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(34);
    let mut store = sqlite::open(folder.path(), &Options::default()).unwrap();
    for _ in 0..30 {
        store.log.append(&sample.segment(store.log.tip())).unwrap();
    }
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    // Taken while it is open, as a crash would leave it: everything since the creation is in the write-ahead log.
    let crashed = copy_of(folder.path());
    drop(store);
    let whole = fs::read(crashed.path().join("log.db-wal")).unwrap();
    // Behind what was written are zeros, which nobody misses.
    let written = whole.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(written > 30 * 4096);
    let mut seeds = Sample::new(35);
    let mut losses = 0;
    for attempt in 0..30 {
        let damaged = copy_of(crashed.path());
        let _ = fs::remove_file(damaged.path().join("log.db-shm"));
        let mut bytes = whole.clone();
        let offset = seeds.below(written as u64) as usize;
        if attempt % 2 == 0 {
            bytes[offset] ^= 1 << seeds.below(8);
        } else {
            bytes.truncate(offset);
        }
        fs::write(damaged.path().join("log.db-wal"), bytes).unwrap();
        match sqlite::open(damaged.path(), &Options::default()) {
            Ok(store) => assert_eq!(store.log.tip().id, 30, "byte {offset}: segments are gone and nobody says so"),
            Err(Error::Loss { lost, tip, anchored: 30 }) => {
                assert_eq!(lost + tip, 30);
                losses += 1;
            }
            Err(error) => assert!(error.code().is_some(), "byte {offset}: {error}"),
        }
    }
    assert!(losses > 20, "{losses} of 30");
}

/// Runs SQL on a copy of a closed store, as a stranger with a command line would, and returns what `verify` says.
fn problems_after(folder: &Path, sql: &str) -> Vec<String> {
    let damaged = copy_of(folder);
    rusqlite::Connection::open(damaged.path().join("archive.db")).unwrap().execute_batch(sql).unwrap();
    sqlite::verify(damaged.path()).unwrap().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn whatever_is_altered_in_the_archive_is_named() {
    let (folder, _) = store();
    for (sql, said) in [
        ("UPDATE block SET body = x'01' WHERE id = 2", "are missing"),
        ("UPDATE block SET body = x'8001' WHERE id = 2", "block 2 of the archive: it cannot be read"),
        (
            "UPDATE block SET body = CAST(body || x'00' AS BLOB) WHERE id = 1",
            "block 1 of the archive: it cannot be read",
        ),
        ("DELETE FROM block WHERE id = 1", "block 2 of the archive: the blocks before it are missing"),
        ("DELETE FROM block WHERE id = (SELECT max(id) FROM block)", "its records behind"),
        ("UPDATE block SET batch = 1", "batch 1 of the archive: its digest is not that of the runs that it moved"),
        ("UPDATE block SET through_segment = 9 WHERE batch = 2", "batch 2 of the archive: its digest is not"),
        ("UPDATE run SET block = block + 1 WHERE key = 1", "run 1: "),
        ("UPDATE run SET block = 0 WHERE key = 1", "run 1: "),
        ("UPDATE run SET status = 2 WHERE key = 1", "run 1: its catalogue row is not found by what it says"),
        ("UPDATE run SET key = 999 WHERE key = 1", "run 999: its catalogue row is another run's"),
        ("DELETE FROM run WHERE key = 1", "run 1: it has records but no row"),
        ("DELETE FROM name", "run 1: its catalogue row is not found by what it says"),
        (
            "UPDATE name SET entries = CAST(entries || zeroblob(799) || x'01' AS BLOB)",
            "its catalogue row is missing, though the run has a name",
        ),
        ("UPDATE name SET chunk = 1", "is missing, though the run has a name"),
        ("UPDATE tally SET runs = runs + 1", "are counted as"),
        ("UPDATE payload SET body = x'00'", "has other bytes than its name says"),
        ("DELETE FROM payload", "is missing"),
        ("UPDATE ledger SET digest = zeroblob(32) WHERE batch = 3", "batch 3 of the archive: its digest is not"),
        ("INSERT INTO ledger VALUES (77, 77, zeroblob(32))", "batch 77 of the archive: the ledger knows it"),
        ("UPDATE meta SET ledger = zeroblob(32)", "the ledger ends here, the watermark says otherwise"),
    ] {
        let problems = problems_after(folder.path(), sql);
        assert!(problems.iter().any(|problem| problem.contains(said)), "{sql}: {problems:#?}");
    }
}

#[test]
fn the_ledger_is_proved_from_its_beginning_though_its_first_rows_are_gone() {
    let (folder, _) = store();
    let gone = "DELETE FROM ledger WHERE batch <= 3";
    assert_eq!(problems_after(folder.path(), gone), Vec::<String>::new());
    let altered = format!("{gone}; UPDATE block SET through_segment = through_segment + 1 WHERE batch = 2");
    let problems = problems_after(folder.path(), &altered);
    assert_eq!(problems, ["batch 4 of the archive: its digest is not that of the runs that it moved"]);
}
