use super::{Fresh, Picture, Sample, picture};
use crate::{Error, ErrorKind, Tip};
use antiphon_history::{Events, Record, RunEvent, RunKey, Segment, SegmentBody, Timestamp};

/// The archive takes segments in order, each once.
pub fn a_fold_that_does_not_follow_is_refused_and_changes_nothing(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut store = fresh().open()?;
    let mut sample = Sample::new(5);
    let segments = sample.segments(Tip::START, 6);
    segments.iter().try_for_each(|segment| store.log.append(segment))?;
    let watermark = store.archive.fold(&segments[..2])?;
    let before = picture(store.reader.as_mut())?;
    let hole = [segments[2].clone(), segments[4].clone()];
    for (what, wrong) in [("again", &segments[1..3]), ("a gap", &segments[3..]), ("a hole", &hole[..])] {
        let refused = store.archive.fold(wrong);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Conflict), "{what}");
        assert_eq!(store.archive.watermark(), watermark, "{what}");
        assert_eq!(picture(store.reader.as_mut())?, before, "{what}");
    }
    store.archive.fold(&segments[2..])?;
    assert_eq!(picture(store.reader.as_mut())?, Picture::of_histories(sample.histories()));
    Ok(())
}

/// How the tail is cut makes no difference, so a restart in the middle of anything makes none either.
pub fn any_portions_fold_to_the_same_archive(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut sample = Sample::new(6);
    let segments = sample.segments(Tip::START, 60);
    let expected = Picture::of_histories(sample.histories());
    for portion in [1, 7, 60] {
        let mut store = fresh().open()?;
        segments.iter().try_for_each(|segment| store.log.append(segment))?;
        for folded in segments.chunks(portion) {
            let watermark = store.archive.fold(folded)?;
            assert_eq!(Some(watermark.tip()), folded.last().map(Tip::of));
            assert_eq!(store.archive.watermark(), watermark);
        }
        assert_eq!(store.archive.watermark().batches, 60_u64.div_ceil(portion as u64));
        assert_eq!(picture(store.reader.as_mut())?, expected, "in portions of {portion}");
    }
    Ok(())
}

/// Recovery is the fold and nothing else.
pub fn opening_folds_what_only_the_log_has(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let mut sample = Sample::new(7);
    for folded in [0, 3, 10] {
        let mut store = subject.open()?;
        let segments = sample.segments(store.log.tip(), 10);
        segments.iter().try_for_each(|segment| store.log.append(segment))?;
        store.archive.fold(&segments[..folded])?;
    }
    let mut store = subject.open()?;
    assert_eq!(store.archive.watermark().tip(), store.log.tip());
    assert_eq!(picture(store.reader.as_mut())?, Picture::of_histories(sample.histories()));
    Ok(())
}

/// A segment whose chain is right and whose contents are not must not become part of the archive.
pub fn a_record_that_cannot_follow_is_reported_as_damage(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut store = fresh().open()?;
    let mut body = SegmentBody::default();
    let events = Events::Run(vec![RunEvent::Unblocked]);
    body.push(&Record { run: RunKey(1), first_seq: 1, at: Timestamp(1), events });
    let segment = Segment::seal(Tip::START.digest, 1, Timestamp(1), body.to_bytes());
    store.log.append(&segment)?;
    let refused = store.archive.fold(&[segment]).map_err(|error| (error.kind(), error.code()));
    assert_eq!(refused, Err((ErrorKind::Corrupt, Some("A0006"))));
    assert_eq!(picture(store.reader.as_mut())?, Picture::default());
    Ok(())
}

/// Nothing of a run is lost on its way from segments to parts and back.
pub fn histories_have_every_record_and_every_payload(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut store = fresh().open()?;
    let mut sample = Sample::new(8);
    let segments = sample.segments(Tip::START, 80);
    for portion in segments.chunks(9) {
        portion.iter().try_for_each(|segment| store.log.append(segment))?;
        store.archive.fold(portion)?;
    }
    let large = sample.histories().values().filter(|history| !history.payloads.is_empty()).count();
    assert!(large > 5, "the sample has runs with large payloads");
    for (run, expected) in sample.histories() {
        assert_eq!(store.reader.history(*run)?.as_ref(), Some(expected), "run {}", run.0);
        for (digest, bytes) in &expected.payloads {
            assert_eq!(store.reader.payload(*digest)?.as_ref(), Some(bytes));
        }
    }
    assert_eq!(store.reader.history(RunKey(9_999))?, None);
    Ok(())
}
