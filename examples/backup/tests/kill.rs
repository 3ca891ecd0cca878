//! `kill -9` at random moments, again and again: nothing is lost, nothing finished is done twice.
//!
//! `ANTIPHON_KILLS=200 cargo test -p antiphon-example-backup --test kill` is the long form; `ANTIPHON_SEED` chooses the
//! moments.

#![allow(clippy::unwrap_used, reason = "tests")]

mod child;

use antiphon::{Filter, RunStatus};
use antiphon_history::{ConversationEvent, Events, HistoryFile, Ordinal, Record, RunEvent};
use antiphon_recorder::sqlite;
use backup_job::{Manifest, ObjectId, Target, compare};
use child::Child;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILES: u64 = 300;
/// Of these contents, so that some files share one.
const CONTENTS: u64 = 250;

struct Folders {
    source: PathBuf,
    target: PathBuf,
    ledger: PathBuf,
}

#[test]
fn a_backup_that_is_killed_again_and_again_ends_complete_and_does_nothing_twice() {
    let (kills, seed) = (number("ANTIPHON_KILLS", 12), number("ANTIPHON_SEED", 7719));
    println!(
        "repeat with: ANTIPHON_KILLS={kills} ANTIPHON_SEED={seed} cargo test -p antiphon-example-backup --test kill"
    );
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let folders = Folders { source: at("source"), target: at("target"), ledger: at("ledger") };
    fill(&folders.source);

    let (mut random, mut killed, mut told) = (Random(seed), 0, 1);
    while killed < kills {
        let mut child = start(&folders);
        // From before the record is open to well inside the storing of files. The moment is what this test is given to
        // choose; nothing below depends on how long it was.
        match child.ended_within(Duration::from_millis(5 + random.below(300))) {
            // It was done before. The next start begins another snapshot, and there are kills left for it.
            Some(ended) => {
                assert!(ended.status.success(), "{ended:?}");
                told += 1;
            }
            None => {
                child.kill();
                killed += 1;
            }
        }
    }
    let ended = start(&folders).ended();
    assert!(ended.status.success(), "{ended:?}");

    check_record(&folders, told);
    check_target(&folders, &at("back"));
}

fn start(folders: &Folders) -> Child {
    let args = [OsStr::new("run"), folders.source.as_os_str(), folders.target.as_os_str()];
    // 300 files, 4 at a time, 20 ms each: a backup takes some seconds, and most kills hit it while it stores.
    Child::start(args, &[("BACKUP_LEDGER", folders.ledger.as_os_str()), ("BACKUP_PAUSE_MS", OsStr::new("20"))])
}

/// What the ledger says against what the record says.
fn check_record(folders: &Folders, told: usize) {
    let state = Target::open(&folders.target).unwrap().state();
    let report = sqlite::verify(&state).unwrap();
    assert!(report.is_whole(), "{:?}", report.problems);

    let mut reader = sqlite::snapshot(&state).unwrap();
    let rows = reader.list(&Filter { limit: 10_000, ..Filter::default() }).unwrap();
    // A start after a kill goes on with the run of before; only after an end that was told there is a new one. A kill may
    // meet a process that has told and is on its way out, which then does not count as one that ended.
    assert!(rows.len() >= told, "{} runs on record, {told} processes told of an end", rows.len());
    let snapshots = Target::open(&folders.target).unwrap().snapshots().unwrap();
    assert_eq!(snapshots.len(), rows.len(), "one snapshot for each run");
    let (mut sent, mut lost) = (BTreeSet::new(), 0);
    for row in &rows {
        assert_eq!(row.status, RunStatus::Completed, "{}", row.workflow);
        let history = reader.history(row.key).unwrap().unwrap();
        let run = Told::of(&history);
        assert_eq!(run.stored.len() as u64, FILES, "{}: every file is one activity", row.workflow);
        assert_eq!(run.stored.values().collect::<BTreeSet<_>>().len() as u64, FILES, "{}: of one path", row.workflow);
        for ordinal in run.stored.keys() {
            assert_eq!(run.resolved.get(ordinal), Some(&1), "{} {ordinal}: resolved once", row.workflow);
            assert_eq!(run.received.get(ordinal), Some(&1), "{} {ordinal}: answered once", row.workflow);
        }
        lost += run.exited;
        let of_files = run.sent.into_iter().filter(|(ordinal, ..)| run.stored.contains_key(ordinal));
        sent.extend(of_files.map(|(ordinal, attempt, leg)| format!("{}.{}.{attempt} {leg}", row.key.0, ordinal.0)));
    }

    let ledger = fs::read_to_string(&folders.ledger).unwrap();
    let mut begun = BTreeSet::new();
    for line in ledger.lines() {
        let leg = line.rsplit_once(' ').map(|(leg, _)| leg.to_owned()).unwrap();
        assert!(sent.contains(&leg), "{line}: a body began whose sending is not on record");
        assert!(begun.insert(leg), "{line}: a leg began twice");
    }
    assert!(begun.len() <= sent.len());
    println!("{} runs, {} legs sent, {} begun, {lost} lost to kills", rows.len(), sent.len(), begun.len());
}

/// What the target holds against the source.
fn check_target(folders: &Folders, back: &Path) {
    let target = Target::open(&folders.target).unwrap();
    assert_eq!(target.count_objects().unwrap().count, CONTENTS, "each content is kept once");
    assert_eq!(fs::read_dir(folders.target.join("tmp")).unwrap().count(), 0, "nothing half written is left");
    // A kill between taking a number and noting its run leaves the number taken, as an empty folder.
    let left = walkdir::WalkDir::new(folders.target.join("work"))
        .into_iter()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_file()));
    assert_eq!(left.count(), 0, "nothing of the way is left");
    for content in 0..CONTENTS {
        target.fetch(ObjectId::of(text(content).as_bytes()), &mut std::io::sink()).unwrap();
    }
    for number in target.snapshots().unwrap() {
        let manifest = Manifest::read(&target, number).unwrap();
        assert_eq!(compare(&manifest, &folders.source, &[]).unwrap(), [], "snapshot {number}");
    }
    let args = [OsStr::new("restore"), OsStr::new("--verify"), folders.target.as_os_str(), back.as_os_str()];
    let restored = Child::start(args, &[]).ended();
    assert!(restored.status.success(), "{restored:?}");
    for number in 0..FILES {
        assert_eq!(fs::read_to_string(back.join(path(number))).unwrap(), text(number % CONTENTS));
    }
}

/// One run, as its record tells it.
#[derive(Default)]
struct Told {
    /// The path of each `backup.store`.
    stored: BTreeMap<Ordinal, String>,
    resolved: BTreeMap<Ordinal, u32>,
    received: BTreeMap<Ordinal, u32>,
    sent: Vec<(Ordinal, u32, u32)>,
    exited: u32,
}

impl Told {
    fn of(history: &HistoryFile) -> Told {
        let mut told = Told::default();
        for bytes in &history.records {
            match Record::read(bytes).unwrap().events {
                Events::Run(events) => events.into_iter().for_each(|event| told.run(event)),
                Events::Entity(_) => {}
                Events::Conversation { ordinal, attempt, events } => {
                    events.into_iter().for_each(|event| told.conversation(ordinal, attempt, &event));
                }
            }
        }
        told
    }

    fn run(&mut self, event: RunEvent) {
        match event {
            RunEvent::ActivityScheduled { ordinal, call } if call.activity_type == "backup.store" => {
                let path: String = antiphon::decode(&call.input[1]).unwrap();
                self.stored.insert(ordinal, path);
            }
            RunEvent::ActivityResolved { ordinal, .. } => *self.resolved.entry(ordinal).or_default() += 1,
            _ => {}
        }
    }

    fn conversation(&mut self, ordinal: Ordinal, attempt: u32, event: &ConversationEvent) {
        match event {
            ConversationEvent::Sent { leg } => self.sent.push((ordinal, attempt, *leg)),
            ConversationEvent::Received { .. } => *self.received.entry(ordinal).or_default() += 1,
            ConversationEvent::Exited { .. } => self.exited += 1,
            _ => {}
        }
    }
}

fn fill(source: &Path) {
    for number in 0..FILES {
        let file = source.join(path(number));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text(number % CONTENTS)).unwrap();
    }
}

fn path(number: u64) -> String {
    format!("{}/{number}", number % 10)
}

fn text(content: u64) -> String {
    format!("content {content}\n").repeat(content as usize % 40 + 1)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: a number is needed")))
}

/// xorshift64* (Vigna 2016): good enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}
