use super::{Fresh, Picture, Sample, picture};
use crate::{Error, Filter, Store, Tip};
use antiphon_history::{RunId, RunKey, RunStatus, Timestamp, WorkflowKey};
use std::collections::BTreeSet;

/// A store with `segments` of a sample, all but four archived. The tail touches some runs and leaves others alone, so
/// that a snapshot has to merge.
fn filled(store: &mut Store, seed: u64, segments: usize) -> Result<Sample, Error> {
    let mut sample = Sample::new(seed);
    let segments = sample.segments(Tip::START, segments);
    segments.iter().try_for_each(|segment| store.log.append(segment))?;
    store.archive.fold(&segments[..segments.len() - 4])?;
    Ok(sample)
}

/// Each part of a filter restricts, and they restrict together. Checked on a snapshot, so on archive and tail.
pub fn lists_show_what_their_filters_let_through_newest_first(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let sample = filled(&mut subject.open()?, 9, 120)?;
    let all = Picture::of_histories(sample.histories()).rows;
    let middle = all[all.len() / 2].started_at;
    let text = |text: &str| Some(text.to_owned());
    let mut filters = vec![
        Filter { workflow_type: text("order"), ..Filter::default() },
        Filter { id_prefix: text("w-1"), ..Filter::default() },
        Filter { namespace: text("other"), ..Filter::default() },
        Filter { started_after: Some(middle), ..Filter::default() },
        Filter { started_before: Some(middle), ..Filter::default() },
        Filter { before_key: Some(RunKey(7)), ..Filter::default() },
        Filter { status: Some(RunStatus::Running), workflow_type: text("mail"), ..Filter::default() },
        Filter { limit: 3, ..Filter::default() },
        Filter { limit: 0, ..Filter::default() },
    ];
    filters.extend(RunStatus::ALL.map(|status| Filter { status: Some(status), ..Filter::default() }));
    let mut snapshot = subject.snapshot()?;
    let mut store = subject.open()?;
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|row| filter.matches(row)).take(filter.limit).cloned().collect();
        assert_eq!(snapshot.list(&filter)?, expected, "snapshot, {filter:?}");
        assert_eq!(store.reader.list(&filter)?, expected, "archive, {filter:?}");
    }
    Ok(())
}

/// Paging by the last key of the page before misses nothing and repeats nothing.
pub fn pages_join_to_the_whole_list(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let sample = filled(&mut subject.open()?, 10, 90)?;
    let all = Picture::of_histories(sample.histories()).rows;
    let mut snapshot = subject.snapshot()?;
    for limit in [1, 4] {
        let (mut rows, mut before_key) = (Vec::new(), None);
        loop {
            let page = snapshot.list(&Filter { limit, before_key, ..Filter::default() })?;
            let Some(last) = page.last() else { break };
            before_key = Some(last.key);
            rows.extend(page);
        }
        assert_eq!(rows, all, "in pages of {limit}");
    }
    Ok(())
}

/// Timers come in order, up to a moment that counts, or after one that does not.
pub fn due_runs_come_earliest_first(fresh: Fresh<'_>) -> Result<(), Error> {
    // Several samples: a timer that the archive has and the tail has ended is what a merge gets wrong, and not each
    // sample has one among the earliest.
    (110..118).try_for_each(|seed| check_due(fresh, seed))
}

fn check_due(fresh: Fresh<'_>, seed: u64) -> Result<(), Error> {
    let mut subject = fresh();
    let sample = filled(&mut subject.open()?, seed, 120)?;
    let all = Picture::of_histories(sample.histories()).due;
    assert!(!all.is_empty(), "the sample has timers");
    let mut snapshot = subject.snapshot()?;
    let mut store = subject.open()?;
    for reader in [snapshot.as_mut(), store.reader.as_mut()] {
        for (index, (due, _)) in all.iter().enumerate() {
            let through = all.iter().filter(|(other, _)| other <= due).count();
            assert_eq!(reader.due_before(*due, usize::MAX)?, all[..through], "up to timer {index}");
            assert_eq!(reader.due_after(*due, usize::MAX)?, all[through..], "after timer {index}");
            assert_eq!(reader.next_due(*due)?, all.get(through).map(|(next, _)| *next));
        }
        for limit in 0..=all.len() {
            assert_eq!(reader.due_before(Timestamp(i64::MAX), limit)?, all[..limit]);
            assert_eq!(reader.due_after(Timestamp(i64::MIN), limit)?, all[..limit]);
        }
        assert_eq!(reader.next_due(Timestamp(i64::MIN))?, Some(all[0].0));
    }
    Ok(())
}

/// A snapshot has everything that was durable when it was taken, and stays as it is while the store goes on.
pub fn a_snapshot_sees_the_tail_and_does_not_move(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let mut store = subject.open()?;
    let mut sample = filled(&mut store, 12, 40)?;
    let expected = Picture::of_histories(sample.histories());
    let mut snapshot = subject.snapshot()?;
    assert_ne!(picture(store.reader.as_mut())?, expected, "the archive alone does not have the tail");
    assert_eq!(picture(snapshot.as_mut())?, expected);

    let tail = store.log.read_after(store.archive.watermark().segment, usize::MAX)?;
    store.archive.fold(&tail)?;
    for _ in 0..20 {
        let segment = sample.segment(store.log.tip());
        store.log.append(&segment)?;
        store.archive.fold(&[segment])?;
        store.log.prune(store.archive.watermark().segment);
        store.checkpoint.run_if_needed()?;
    }
    assert_eq!(picture(snapshot.as_mut())?, expected, "the snapshot moved");
    assert_eq!(picture(subject.snapshot()?.as_mut())?, Picture::of_histories(sample.histories()));
    Ok(())
}

/// A workflow id may have had many runs; the one that counts is the last.
pub fn the_newest_run_of_a_workflow_id_is_found(fresh: Fresh<'_>) -> Result<(), Error> {
    let mut subject = fresh();
    let sample = filled(&mut subject.open()?, 13, 120)?;
    let all = Picture::of_histories(sample.histories()).rows;
    let workflows: BTreeSet<_> = all.iter().map(|row| row.workflow.clone()).collect();
    assert!(workflows.len() < all.len(), "the sample has ids with several runs");
    let mut snapshot = subject.snapshot()?;
    let mut store = subject.open()?;
    for reader in [snapshot.as_mut(), store.reader.as_mut()] {
        for workflow in &workflows {
            let newest = all.iter().find(|row| row.workflow == *workflow);
            assert_eq!(reader.find(workflow)?.as_ref(), newest, "{workflow}");
        }
        let nobody = WorkflowKey { namespace: "default".to_owned(), id: "nobody".to_owned() };
        assert_eq!(reader.find(&nobody)?, None);
        assert_eq!(reader.row(RunKey(9_999))?, None);
        assert_eq!(reader.row_by_id(RunId([0xee; 16]))?, None);
        let types: Vec<String> = reader.count_open_by_type()?.into_keys().collect();
        assert_eq!(reader.open_workflow_types()?, types);
    }
    Ok(())
}
