//! What the memory model's faults do, and that opening again always finds out what happened.
#![allow(clippy::unwrap_used)]

use antiphon_recorder::conformance::{Picture, Sample, picture};
use antiphon_recorder::memory::{FailKind, MemoryStore};
use antiphon_recorder::{Error, ErrorKind, Tip};

#[test]
fn an_append_of_unknown_result_is_found_or_not_found_on_reopening() {
    for (how, applied) in [(FailKind::UnknownApplied, true), (FailKind::UnknownNotApplied, false)] {
        let memory = MemoryStore::default();
        let mut sample = Sample::new(41);
        let mut store = memory.open().unwrap();
        let first = sample.segment(Tip::START);
        store.log.append(&first).unwrap();
        let second = sample.segment(store.log.tip());
        memory.fail_next_append(how);
        assert_eq!(store.log.append(&second).unwrap_err().kind(), ErrorKind::Unknown);
        // Until it is opened again nothing may be appended: not even the next number is known.
        assert_eq!(store.log.append(&second).unwrap_err().kind(), ErrorKind::Unknown);
        drop(store);
        let mut store = memory.open().unwrap();
        assert_eq!(store.log.tip(), Tip::of(if applied { &second } else { &first }));
        if !applied {
            store.log.append(&second).unwrap();
        }
        drop(store);
        let mut store = memory.open().unwrap();
        assert_eq!(picture(store.reader.as_mut()).unwrap(), Picture::of_histories(sample.histories()));
    }
}

#[test]
fn a_full_volume_writes_nothing_and_the_same_append_succeeds_later() {
    let memory = MemoryStore::default();
    let mut store = memory.open().unwrap();
    let segment = Sample::new(42).segment(Tip::START);
    memory.fail_next_append(FailKind::Full);
    let error = store.log.append(&segment).unwrap_err();
    assert_eq!((error.kind(), error.code(), error.retryable()), (ErrorKind::Full, Some("A0005"), true));
    assert_eq!(store.log.tip(), Tip::START);
    store.log.append(&segment).unwrap();
}

#[test]
fn a_fold_of_unknown_result_leaves_an_archive_that_goes_on() {
    for how in [FailKind::UnknownApplied, FailKind::UnknownNotApplied, FailKind::Full] {
        let memory = MemoryStore::default();
        let mut sample = Sample::new(43);
        let mut store = memory.open().unwrap();
        let segments = sample.segments(Tip::START, 8);
        segments.iter().for_each(|segment| store.log.append(segment).unwrap());
        memory.fail_next_fold(how);
        store.archive.fold(&segments).unwrap_err();
        drop(store);
        let mut store = memory.open().unwrap();
        assert_eq!(picture(store.reader.as_mut()).unwrap(), Picture::of_histories(sample.histories()), "{how:?}");
    }
}

#[test]
fn a_lost_tail_is_refused_with_its_length_until_it_is_accepted() {
    let memory = MemoryStore::default();
    let mut store = memory.open().unwrap();
    let segments = Sample::new(44).segments(Tip::START, 9);
    segments.iter().for_each(|segment| store.log.append(segment).unwrap());
    store.anchor.write(store.log.tip(), store.archive.watermark()).unwrap();
    drop(store);
    memory.lose(4);
    for _ in 0..2 {
        assert!(matches!(memory.open(), Err(Error::Loss { lost: 4, tip: 5, anchored: 9 })));
    }
    drop(memory.open_accepting_loss().unwrap());
    assert_eq!(memory.open().unwrap().log.tip(), Tip::of(&segments[4]));
}

#[test]
fn whoever_lost_the_store_is_fenced_and_writes_nothing() {
    let memory = MemoryStore::default();
    let mut left_behind = memory.open().unwrap();
    memory.seize();
    let mut store = memory.open().unwrap();
    let segment = Sample::new(45).segment(Tip::START);
    assert_eq!(left_behind.log.append(&segment).unwrap_err().kind(), ErrorKind::Fenced);
    let watermark = left_behind.archive.watermark();
    assert_eq!(left_behind.anchor.write(Tip::START, watermark).unwrap_err().kind(), ErrorKind::Fenced);
    store.log.append(&segment).unwrap();
    assert_eq!(left_behind.archive.fold(&[segment]).unwrap_err().kind(), ErrorKind::Fenced);
    // Its end must not end the claim of the one that followed.
    drop(left_behind);
    assert!(matches!(memory.open(), Err(Error::OpenElsewhere { .. })));
}

#[test]
fn an_archive_taken_back_is_folded_to_the_same_again() {
    let memory = MemoryStore::default();
    let mut sample = Sample::new(46);
    let mut store = memory.open().unwrap();
    let segments = sample.segments(Tip::START, 20);
    segments.iter().for_each(|segment| store.log.append(segment).unwrap());
    store.archive.fold(&segments[..7]).unwrap();
    let earlier = memory.copy();
    store.archive.fold(&segments[7..]).unwrap();
    drop(store);
    memory.restore_archive_of(&earlier);
    let mut store = memory.open().unwrap();
    assert_eq!(picture(store.reader.as_mut()).unwrap(), Picture::of_histories(sample.histories()));
}

#[test]
fn the_volume_says_what_the_test_set() {
    let memory = MemoryStore::default();
    let store = memory.open().unwrap();
    assert!(!store.space.is_low().unwrap());
    memory.set_space(10, 11);
    assert_eq!((store.space.free_bytes().unwrap(), store.space.is_low().unwrap()), (10, true));
}
