//! Events to bytes and back, by the records of a run of 100 activities.

use crate::made;
use antiphon_history::{Record, SegmentBody};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn records() -> Vec<Record> {
    let read = |bytes: &antiphon_history::Bytes| Record::read(bytes).expect("the engine writes readable records");
    made::history(100).records.iter().map(read).collect()
}

fn events(records: &[Record]) -> ItemsCount {
    ItemsCount::new(records.iter().map(Record::len).sum::<usize>())
}

#[divan::bench]
fn encode_events(bencher: Bencher) {
    let records = records();
    let mut out = Vec::new();
    bencher.counter(events(&records)).bench_local(|| {
        out.clear();
        records.iter().for_each(|record| record.write(&mut out));
        black_box(out.len())
    });
}

#[divan::bench]
fn decode_events(bencher: Bencher) {
    let records = records();
    let bytes: Vec<Vec<u8>> = records.iter().map(Record::to_bytes).collect();
    bencher.counter(events(&records)).bench_local(|| bytes.iter().filter(|bytes| Record::read(bytes).is_ok()).count());
}

/// The framing alone: the records inside stay bytes.
#[divan::bench]
fn read_segment_bodies(bencher: Bencher) {
    let segments = made::segments(1_000, 1);
    let bytes = segments.iter().map(|segment| segment.body.len()).sum::<usize>();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| segments.iter().filter(|segment| SegmentBody::read(&segment.body).is_ok()).count());
}
