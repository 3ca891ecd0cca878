//! Long runs against their code. A rate that falls with the length is a cost that grows.

use crate::made;
use antiphon_engine::replay;
use antiphon_history::HistoryFile;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

const ACTIVITIES: [u64; 2] = [1_000, 10_000];

/// Decodes, folds and replays; counted are the events of the run's own stream.
#[divan::bench(args = ACTIVITIES, sample_count = 20)]
fn replay_history(bencher: Bencher, activities: u64) {
    let (programs, history) = (made::programs(), made::history(activities));
    let replayed = replay(&programs, &history).expect("the history is sound");
    assert_eq!(replayed.stopped, None);
    bencher
        .counter(ItemsCount::new(replayed.events))
        .bench_local(|| replay(&programs, &history).expect("the history is sound").events);
}

/// Framing, digests and the catalogue row.
#[divan::bench(args = ACTIVITIES, sample_count = 20)]
fn read_the_file(bencher: Bencher, activities: u64) {
    let bytes = made::history(activities).to_bytes();
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| HistoryFile::read(&bytes).expect("the file is sound").records.len());
}
