//! What follows a commit: digests, catalogue rows, archive batches.

use crate::made;
use antiphon_history::{Bytes, CatalogueRow, Digest, Record, Segment};
use antiphon_recorder::memory::MemoryStore;
use antiphon_recorder::sqlite;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

const RUNS: u64 = 1_000;

/// The catalogue row of a run of 100 activities, record by record, its chain of digests included.
#[divan::bench]
fn catalogue_row(bencher: Bencher) {
    let read = |bytes: &Bytes| (Record::read(bytes).expect("the engine writes readable records"), bytes.clone());
    let records: Vec<(Record, Bytes)> = made::history(100).records.iter().map(read).collect();
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        let (first, rest) = records.split_first().expect("a run has records");
        let mut row = CatalogueRow::begin(&first.0, &first.1).expect("a run begins with its start");
        rest.iter().for_each(|(record, bytes)| row.apply(record, bytes).expect("the records follow each other"));
        row
    });
}

/// The digests of segments.
#[divan::bench]
fn seal_segments(bencher: Bencher) {
    let segments = made::segments(RUNS, 10);
    let bytes = segments.iter().map(|segment| segment.body.len()).sum::<usize>();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        segments
            .iter()
            .fold(Digest::START, |tip, segment| Segment::seal(tip, segment.id, segment.at, segment.body.clone()).digest)
    });
}

/// A thousand runs of ten activities into an empty archive in memory, in one batch.
#[divan::bench]
fn archive_in_memory(bencher: Bencher) {
    let segments = made::segments(RUNS, 10);
    bencher
        .counter(ItemsCount::new(RUNS * 10))
        .with_inputs(|| MemoryStore::new([1; 16]).open().expect("nobody else has it"))
        .bench_local_values(|mut store| store.archive.fold(&segments).expect("they follow the watermark"));
}

/// The same into SQLite: packed, written and made durable in one transaction.
#[divan::bench(sample_count = 20)]
fn archive_on_sqlite(bencher: Bencher) {
    let segments = made::segments(RUNS, 10);
    bencher
        .counter(ItemsCount::new(RUNS * 10))
        .with_inputs(|| {
            let folder = tempfile::tempdir().expect("there is room for a folder");
            let store = sqlite::open(folder.path(), &sqlite::Options::default()).expect("the folder is empty");
            (store, folder)
        })
        .bench_local_values(|(mut store, folder)| {
            store.archive.fold(&segments).expect("they follow the watermark");
            // Given back, so that removing them is not measured.
            (store, folder)
        });
}
