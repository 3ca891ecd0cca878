//! THE FOLD: segments to what the archive keeps of them. Pure, and the only one: the archive's writer, recovery,
//! snapshots and `verify` all come through here, so they cannot disagree.

use crate::{Error, Watermark};
use antiphon_history::{Bytes, CatalogueRow, Digest, Events, PayloadData, Record, RunKey, Segment, SegmentBody};
use antiphon_history::{RunStatus, payload_digest};
use std::collections::BTreeMap;

/// What a batch of segments changes, in key order.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Every run that got records.
    pub(crate) runs: BTreeMap<RunKey, FoldedRun>,
    /// Large payloads, by digest.
    pub(crate) payloads: BTreeMap<Digest, Bytes>,
    /// Where the archive stands once the batch is in it.
    pub(crate) watermark: Watermark,
}

/// One run in a batch.
#[derive(Clone, Debug)]
pub(crate) struct FoldedRun {
    /// How it stood before, if it was there.
    pub(crate) before: Option<RunStatus>,
    /// How many records it had before; the number of the first new one is one more.
    pub(crate) records_before: u64,
    /// Its row after the batch.
    pub(crate) row: CatalogueRow,
    /// Its new records.
    pub(crate) packed: Packed,
}

/// A run's new records and, beside them, the names of the large payloads that they mention.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Packed {
    pub(crate) records: Vec<Bytes>,
    pub(crate) payloads: Vec<Digest>,
}

impl Batch {
    /// A batch that changes nothing.
    pub(crate) fn empty(watermark: Watermark) -> Batch {
        Batch { runs: BTreeMap::new(), payloads: BTreeMap::new(), watermark }
    }

    /// Folds segments onto the batch without closing it: the ledger stays as it was. For snapshots, which show the tail
    /// in one piece and never write it.
    pub(crate) fn extend(
        &mut self,
        segments: &[Segment],
        load: &mut dyn FnMut(RunKey) -> Result<Option<CatalogueRow>, Error>,
    ) -> Result<(), Error> {
        for segment in segments {
            self.watermark.tip().check_next(segment)?;
            let body = SegmentBody::read(&segment.body)
                .map_err(|error| Error::damaged_log(segment.id, format!("its body cannot be read: {error}")))?;
            for bytes in body.records {
                self.add(segment.id, bytes, load)?;
            }
            for (digest, bytes) in body.payloads {
                // A payload under a wrong name would be found missing only when a run is loaded; here it can still be
                // told from damage.
                if payload_digest(&bytes) != digest {
                    return Err(Error::damaged_log(segment.id, format!("payload {digest:?} has other bytes")));
                }
                self.payloads.insert(digest, bytes);
            }
            self.watermark.segment = segment.id;
            self.watermark.digest = segment.digest;
            self.watermark.at = segment.at;
        }
        Ok(())
    }

    fn add(
        &mut self,
        segment: u64,
        bytes: Bytes,
        load: &mut dyn FnMut(RunKey) -> Result<Option<CatalogueRow>, Error>,
    ) -> Result<(), Error> {
        let record = Record::read(&bytes)
            .map_err(|error| Error::damaged_log(segment, format!("a record cannot be read: {error}")))?;
        let unfoldable = |error| Error::damaged_log(segment, format!("a record does not fold: {error}"));
        let payloads = stored_payloads(&record);
        let run = match self.runs.get_mut(&record.run) {
            Some(run) => {
                run.row.apply(&record, &bytes).map_err(unfoldable)?;
                run
            }
            None => {
                let (before, records_before, row) = match load(record.run)? {
                    Some(mut row) => {
                        let before = (Some(row.status), row.records);
                        row.apply(&record, &bytes).map_err(unfoldable)?;
                        (before.0, before.1, row)
                    }
                    None => (None, 0, CatalogueRow::begin(&record, &bytes).map_err(unfoldable)?),
                };
                let run = FoldedRun { before, records_before, row, packed: Packed::default() };
                self.runs.entry(record.run).or_insert(run)
            }
        };
        run.packed.records.push(bytes);
        for digest in payloads {
            if !run.packed.payloads.contains(&digest) {
                run.packed.payloads.push(digest);
            }
        }
        Ok(())
    }
}

/// Folds consecutive segments that follow `from` into one batch and closes it with a ledger row.
///
/// `load` gives a run's row as the archive has it. Errors: as [`crate::Archive::fold`], and `load`'s own.
pub(crate) fn fold(
    from: Watermark,
    segments: &[Segment],
    load: &mut dyn FnMut(RunKey) -> Result<Option<CatalogueRow>, Error>,
) -> Result<Batch, Error> {
    let mut batch = Batch::empty(from);
    batch.extend(segments, load)?;
    let moved = batch.runs.iter().map(|(run, folded)| (run.0, folded.row.tip));
    batch.watermark.ledger = Digest::of_ledger(from.ledger, batch.watermark.segment, moved);
    batch.watermark.batches = from.batches + 1;
    Ok(batch)
}

/// The names of the payloads that a record keeps beside itself.
pub(crate) fn stored_payloads(record: &Record) -> Vec<Digest> {
    let payloads: Vec<_> = match &record.events {
        Events::Run(events) => events.iter().flat_map(|event| event.payloads()).collect(),
        Events::Conversation { events, .. } => events.iter().flat_map(|event| event.payloads()).collect(),
    };
    let stored = payloads.into_iter().filter_map(|payload| match &payload.data {
        PayloadData::Stored(stored) => Some(stored.digest),
        PayloadData::Inline(_) => None,
    });
    stored.collect()
}
