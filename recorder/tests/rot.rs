//! Bit rot: copies of a store, each with one accident. What is handed out is what was written, or an error says why not.
//!
//! 60 copies in the gate. More, of a larger store:
//! `ANTIPHON_ROT_COPIES=1000 ANTIPHON_ROT_SEGMENTS=900 cargo test --release -p antiphon-recorder --test rot -- --nocapture`;
//! `ANTIPHON_ROT_SEED` chooses the accidents.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "tests; not every build uses all of it")]

#[path = "rot/damage.rs"]
mod damage;
#[path = "rot/look.rs"]
mod look;

use antiphon_recorder::conformance::{Picture, Sample};
use antiphon_recorder::{Tip, sqlite};
use damage::Damage;
use look::{Found, OPTIONS, look};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// How the last engine left a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// In the middle of its work: the newest is only in the write-ahead logs, and what the archive has is gone from the log.
    Crashed,
    /// Closed, with everything in the files; the log has much of what is archived too.
    Closed,
}

/// A store with runs of all kinds. Of its last segments nothing is in the archive.
fn store(segments: usize, end: End) -> (TempDir, Picture) {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(2026);
    let segments = sample.segments(Tip::START, segments);
    let (before, after) = segments.split_at(segments.len() / 2);
    let left = tempfile::tempdir().unwrap();
    for (part, is_last) in [(before, false), (after, true)] {
        let mut store = sqlite::open(folder.path(), &OPTIONS).unwrap();
        let archived = part.len() - if is_last { part.len() / 8 } else { 0 };
        for (index, segment) in part.iter().enumerate() {
            store.log.append(segment).unwrap();
            if index % 12 == 11 && index < archived {
                let watermark = store.archive.watermark().segment;
                let tail = store.log.read_after(watermark, usize::MAX).unwrap();
                store.archive.fold(&tail).unwrap();
                store.log.prune(if end == End::Crashed { watermark.saturating_sub(20) } else { watermark / 2 });
            }
        }
        store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
        if is_last && end == End::Crashed {
            copy(folder.path(), left.path());
        }
    }
    if end == End::Closed {
        copy(folder.path(), left.path());
    }
    fs::write(left.path().join("ballast"), vec![7; 64 * 1024]).unwrap();
    (left, Picture::of_histories(sample.histories()))
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Makes two copies, does the same damage to both, and looks. `None` if the damage changed nothing.
fn one(whole: &Path, expected: &Picture, damage: &Damage) -> Option<Result<Found, String>> {
    let (read, opened) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut changed = false;
    for folder in [&read, &opened] {
        copy(whole, folder.path());
        changed = damage.apply(folder.path());
    }
    changed.then(|| look(read.path(), opened.path(), expected))
}

// With a fault planted the two would disturb each other: it holds for a whole process.
#[cfg(not(feature = "planted"))]
#[test]
fn a_damaged_store_hands_out_what_was_written_or_an_error() {
    use std::{collections::BTreeMap, sync::Mutex};
    let (copies, seed) = (number("ANTIPHON_ROT_COPIES", 60), number("ANTIPHON_ROT_SEED", 1));
    let segments = number("ANTIPHON_ROT_SEGMENTS", 240) as usize;
    let stores = [End::Crashed, End::Closed].map(|end| store(segments, end));
    for (whole, expected) in &stores {
        let (read, opened) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(whole.path(), read.path());
        copy(whole.path(), opened.path());
        assert_eq!(look(read.path(), opened.path(), expected), Ok(Found::Harmless), "undamaged");
    }
    let (next, table, wrong) = (Mutex::new(0), Mutex::new(BTreeMap::<_, [usize; 4]>::new()), Mutex::new(Vec::new()));
    let work = || loop {
        let copy = {
            let mut next = next.lock().unwrap();
            *next += 1;
            *next
        };
        if copy > copies {
            break;
        }
        let (whole, expected) = &stores[copy as usize % stores.len()];
        let damage = Damage::draw(&mut Sample::new(seed * 1_000_000 + copy), whole.path());
        let Some(found) = one(whole.path(), expected, &damage) else { continue };
        let found = match found {
            Ok(found) => found,
            Err(said) => {
                wrong.lock().unwrap().push(format!("copy {copy} of seed {seed}: {damage}: {said}"));
                continue;
            }
        };
        table.lock().unwrap().entry((damage.file, damage.how.word())).or_default()[found as usize] += 1;
    };
    std::thread::scope(|scope| (0..2).for_each(|_| _ = scope.spawn(work)));

    let table = table.into_inner().unwrap();
    println!("{} runs, {copies} copies, seed {seed}", stores[0].1.rows.len());
    println!("{:<16} {:<16} {:>9} {:>10} {:>8} {:>8}", "file", "damage", "harmless", "by verify", "reading", "opening");
    let mut total = [0; 4];
    for ((file, how), counts) in &table {
        println!("{file:<16} {how:<16} {:>9} {:>10} {:>8} {:>8}", counts[0], counts[1], counts[2], counts[3]);
        (0..4).for_each(|index| total[index] += counts[index]);
    }
    println!("{:<33} {:>9} {:>10} {:>8} {:>8}", "all", total[0], total[1], total[2], total[3]);
    let noticed: usize = total[1..].iter().sum();
    assert!(noticed * 3 > total[0], "most accidents matter, or nothing was looked at: {total:?}");
    check_memory();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// The most memory that this process ever had, SQLite's included, against a bound far above what a store of some
/// megabytes needs and far below what a length that is believed would take.
fn check_memory() {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        println!("skipped: this system does not tell how much memory a process had");
        return;
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    println!("at most {} MiB of memory", kib / 1024);
    assert!(kib < 768 * 1024, "{kib} KiB");
}

/// Each fault is planted and must be noticed by the same look at the same kind of damage.
#[cfg(feature = "planted")]
#[test]
fn planted_faults_are_noticed() {
    use antiphon_history::planted::plant;
    let (crashed, closed) = (store(120, End::Crashed), store(120, End::Closed));
    for (fault, (whole, expected), file) in [
        ("anchor-ignored", &crashed, "log.db-wal"),
        ("segment-chain-not-checked", &closed, "log.db"),
        ("history-chain-not-checked", &closed, "archive.db"),
        ("payload-digest-not-checked", &closed, "archive.db"),
        ("row-checksum-not-checked", &closed, "archive.db"),
    ] {
        plant(Some(fault));
        let caught = (1..=1_000).find_map(|copy| {
            let damage = Damage::draw_in(&mut Sample::new(copy), whole.path(), file);
            let wrong = one(whole.path(), expected, &damage)?.err()?;
            Some(format!("copy {copy}: {damage}: {wrong}"))
        });
        plant(None);
        println!("{fault}: {}", caught.unwrap_or_else(|| panic!("{fault} was not noticed")));
    }
}
