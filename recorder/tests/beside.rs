//! Readers beside a running engine: they see a whole store at every moment, and hold nobody up.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use antiphon_history::{Segment, SegmentBody, Timestamp};
use antiphon_recorder::conformance::{Sample, picture};
use antiphon_recorder::sqlite::{self, Options};
use antiphon_recorder::{Durability, Filter, Store, Tip};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn snapshots_and_verify_find_a_whole_store_at_every_moment() {
    let folder = tempfile::tempdir().unwrap();
    // Process durability only makes the test faster: the order of writes is the same.
    let options = Options { durability: Durability::Process, ..Options::default() };
    let Store { mut log, mut archive, mut anchor, mut checkpoint, .. } = sqlite::open(folder.path(), &options).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sample = Sample::new(51);
            let mut folded = Tip::START.id;
            for round in 0..600 {
                log.append(&sample.segment(log.tip())).unwrap();
                if round % 3 == 0 {
                    let tail = log.read_after(folded, 5).unwrap();
                    folded = archive.fold(&tail).unwrap().segment;
                    log.prune(folded);
                    anchor.write(log.tip(), archive.watermark()).unwrap();
                    checkpoint.run_if_needed().unwrap();
                }
            }
            over.store(true, Ordering::Release);
        });
        let mut seen = 0;
        while !over.load(Ordering::Acquire) {
            let mut snapshot = sqlite::snapshot(folder.path()).unwrap();
            let picture = picture(snapshot.as_mut()).unwrap();
            for row in &picture.rows {
                let folded = picture.histories[&row.key].row().unwrap();
                assert_eq!(&folded, row, "a row is the fold of the history beside it");
            }
            assert!(picture.last_run_key >= seen, "a later snapshot sees no less");
            seen = picture.last_run_key;
            let report = sqlite::verify(folder.path()).unwrap();
            assert!(report.is_whole(), "{:#?}", report.problems);
        }
        assert!(seen > 0);
    });
}

#[test]
fn the_write_ahead_log_is_moved_into_its_file_and_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Process, ..Options::default() };
    let mut store = sqlite::open(folder.path(), &options).unwrap();
    let mut sample = Sample::new(52);
    let mut longest = 0;
    for _ in 0..3_000 {
        let segment = sample.segment(store.log.tip());
        store.log.append(&segment).unwrap();
        store.log.prune(segment.id);
        store.archive.fold(&[segment]).unwrap();
        store.checkpoint.run_if_needed().unwrap();
        longest = longest.max(folder.path().join("archive.db-wal").metadata().unwrap().len());
    }
    // 8 MiB are worth a checkpoint; one batch may go beyond, and nothing more.
    assert!(longest > 4 * 1024 * 1024, "{longest} bytes: nothing was there to be moved");
    assert!(longest < 10 * 1024 * 1024, "{longest} bytes");
    assert!(store.log.read_after(0, usize::MAX).unwrap().len() < 10, "pruning keeps up");
    let first = store.reader.list(&Filter { limit: 1, ..Filter::default() }).unwrap();
    assert_eq!(first.len(), 1);
}

#[test]
fn a_write_ahead_log_starts_over_though_its_writer_never_rests() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Process, ..Options::default() };
    let Store { mut log, mut checkpoint, .. } = sqlite::open(folder.path(), &options).unwrap();
    let mut noise = vec![0; 16 * 1024];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut body = SegmentBody::default();
    body.payloads.push((antiphon_history::payload_digest(&noise), noise.into()));
    let body = body.to_bytes();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..12_000 {
                let tip = log.tip();
                log.append(&Segment::seal(tip.digest, tip.id + 1, Timestamp(1), body.clone())).unwrap();
            }
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            checkpoint.run_if_needed().unwrap();
        }
    });
    // Nearly 200 MiB went through it. Beside a thread that is given its time it stays below 40. Where the machine gives it
    // none, the writer looks after its cap of 64 MiB itself, every 8 MiB, and may find the thread in the middle of a look
    // several times over.
    let longest = folder.path().join("log.db-wal").metadata().unwrap().len();
    assert!(longest < 128 * 1024 * 1024, "{longest} bytes");
}
