//! The engine alone: a thousand activities from the start of their runs to the end, with what each segment holds.

use crate::made::Made;
use divan::Bencher;
use divan::counter::ItemsCount;

const ACTIVITIES: usize = 1_000;

/// As W1 does: each run has one activity. A batch for all starts and one for all answers.
#[divan::bench]
fn one_activity_each(bencher: Bencher) {
    let mut made = Made::new();
    bencher.counter(ItemsCount::new(ACTIVITIES)).bench_local(|| {
        (0..ACTIVITIES).for_each(|_| made.start(1));
        made.finish();
        made.archive();
    });
}

/// As W2 does: a hundred runs of ten activities in a row.
#[divan::bench]
fn ten_in_a_row(bencher: Bencher) {
    let mut made = Made::new();
    bencher.counter(ItemsCount::new(ACTIVITIES)).bench_local(|| {
        (0..ACTIVITIES / 10).for_each(|_| made.start(10));
        made.finish();
        made.archive();
    });
}

/// As W4 does: one run, a batch for every activity.
#[divan::bench]
fn a_thousand_in_a_row(bencher: Bencher) {
    let mut made = Made::new();
    bencher.counter(ItemsCount::new(ACTIVITIES)).bench_local(|| {
        made.start(ACTIVITIES as u64);
        made.finish();
        made.archive();
    });
}
