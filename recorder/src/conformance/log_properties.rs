use super::{Fresh, Picture, Sample, picture};
use crate::{Error, ErrorKind, Tip};
use antiphon_history::{Digest, Segment, SegmentBody, Timestamp};

/// Nothing was written, so there is nothing to read, and no error in that.
pub fn an_empty_store_has_nothing_and_says_so(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let mut store = subject.open()?;
    assert_eq!(store.log.tip(), Tip::START);
    assert_eq!(store.archive.watermark().tip(), Tip::START);
    assert!(store.log.read_after(0, 10)?.is_empty());
    assert_eq!(picture(store.reader.as_mut())?, Picture::default());
    assert_eq!(picture(subject.snapshot()?.as_mut())?, Picture::default());
    store.archive.fold(&[])?;
    assert_eq!(store.archive.watermark().batches, 0, "a fold of nothing is no batch");
    Ok(())
}

/// What goes in comes out, in order, from any place on and in any number.
pub fn an_appended_segment_is_the_tip_and_reads_back(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut store = fresh().open()?;
    let segments = Sample::new(1).segments(Tip::START, 12);
    for segment in &segments {
        store.log.append(segment)?;
        assert_eq!(store.log.tip(), Tip::of(segment));
    }
    assert_eq!(store.log.read_after(0, usize::MAX)?, segments);
    assert_eq!(store.log.read_after(0, 5)?, segments[..5]);
    assert_eq!(store.log.read_after(7, 3)?, segments[7..10]);
    assert!(store.log.read_after(12, 3)?.is_empty());
    Ok(())
}

/// The chain cannot be broken by appending to it.
pub fn a_gap_or_a_fork_is_refused_and_writes_nothing(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut store = fresh().open()?;
    let segments = Sample::new(2).segments(Tip::START, 4);
    store.log.append(&segments[0])?;
    store.log.append(&segments[1])?;
    let body = SegmentBody::default().to_bytes();
    let wrong = [
        ("the same again", segments[1].clone()),
        ("a gap", segments[3].clone()),
        ("a fork", Segment::seal(Digest([9; 32]), 3, Timestamp(1), body)),
        ("an altered digest", Segment { digest: Digest([9; 32]), ..segments[2].clone() }),
    ];
    for (what, segment) in wrong {
        let refused = store.log.append(&segment);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Conflict), "{what}");
    }
    // Refusing is no failure: the right one goes on.
    store.log.append(&segments[2])?;
    assert_eq!(store.log.read_after(0, usize::MAX)?, segments[..3]);
    assert_eq!(store.log.syncs(), 3);
    Ok(())
}

/// One commit per append, and none of them is lost when the process is.
pub fn every_append_counts_one_sync_and_survives_reopening(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let mut sample = Sample::new(3);
    for round in 0..4 {
        let mut store = subject.open()?;
        assert_eq!(store.log.tip().id, round * 5);
        for count in 1..=5 {
            store.log.append(&sample.segment(store.log.tip()))?;
            assert_eq!(store.log.syncs(), count);
        }
    }
    let mut store = subject.open()?;
    assert_eq!(store.log.tip().id, 20);
    assert_eq!(picture(store.reader.as_mut())?, Picture::of_histories(sample.histories()));
    Ok(())
}

/// A store has one engine, and losing it frees the store whatever is done about it.
pub fn a_second_opening_is_refused_until_the_first_is_gone(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let store = subject.open()?;
    for _ in 0..2 {
        let refused = subject.open().map(|_| ()).map_err(|error| error.code());
        assert_eq!(refused, Err(Some("A0003")));
    }
    // The guard alone is not all of the claim: a writer that lives could still write.
    let crate::Store { id: _, log, archive, reader, anchor, space, checkpoint, guard } = store;
    drop((archive, reader, anchor, space, checkpoint, guard));
    assert!(subject.open().is_err(), "the log's writer still lives");
    drop(log);
    subject.open().map(|_| ())
}

/// Pruning never touches what exists nowhere else, and a log that was emptied still knows its next number.
pub fn only_what_the_archive_has_is_pruned_and_numbers_go_on(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let mut sample = Sample::new(4);
    let mut store = subject.open()?;
    let segments = sample.segments(Tip::START, 40);
    segments.iter().try_for_each(|segment| store.log.append(segment))?;
    store.archive.fold(&segments[..30])?;
    store.log.prune(35);
    for _ in 0..20 {
        store.log.append(&sample.segment(store.log.tip()))?;
    }
    let kept: Vec<u64> = store.log.read_after(0, usize::MAX)?.iter().map(|segment| segment.id).collect();
    assert_eq!(kept, (31..=60).collect::<Vec<_>>(), "all that the archive has is gone, the rest is there");
    assert_eq!(store.log.syncs(), 60, "pruning took no commit of its own");
    drop(store);

    let mut store = subject.open()?;
    assert_eq!(store.archive.watermark().segment, 60);
    store.log.prune(60);
    let next = sample.segment(store.log.tip());
    store.log.append(&next)?;
    drop(store);
    let mut store = subject.open()?;
    assert_eq!(store.log.tip(), Tip::of(&next));
    assert_eq!(picture(store.reader.as_mut())?, Picture::of_histories(sample.histories()));
    Ok(())
}
