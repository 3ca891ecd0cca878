//! THE FOLD: segments to what the archive keeps of them. Pure, and the only one: the archive's writer, recovery,
//! snapshots and `verify` all come through here, so they cannot disagree.
//!
//! It looks at events only as far as a row depends on them. Framing, order, digests and payloads are checked; what lies
//! inside the other events is read, and found if it cannot be, where a run is loaded or verified.

use crate::pack::Packed;
use crate::{Error, Watermark};
use antiphon_history::{Bytes, CatalogueRow, Digest, Events, Glance, PayloadData, Record, RunKey, Segment};
use antiphon_history::{RunStatus, SegmentParts, payload_digest};
use std::collections::BTreeMap;

/// What a batch of segments changes.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Every run that got records.
    pub(crate) runs: Runs,
    /// Large payloads, by digest.
    pub(crate) payloads: BTreeMap<Digest, Bytes>,
    /// Where the archive stands once the batch is in it.
    pub(crate) watermark: Watermark,
    glance: Glance,
}

/// The runs of a batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// In the order in which the batch met them.
    met: Vec<FoldedRun>,
    places: BTreeMap<RunKey, usize>,
    /// Records of one run often stand together, so the last place is looked at first.
    last: usize,
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

impl Runs {
    /// A run, if the batch has it.
    pub(crate) fn get(&self, run: RunKey) -> Option<&FoldedRun> {
        self.places.get(&run).map(|place| &self.met[*place])
    }

    /// All runs in key order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &FoldedRun> {
        self.places.values().map(|place| &self.met[*place])
    }

    /// All runs in key order, each with its place among those that [`Runs::into_met`] gives.
    #[cfg(feature = "sqlite")]
    pub(crate) fn iter_placed(&self) -> impl Iterator<Item = (usize, &FoldedRun)> {
        self.places.values().map(|place| (*place, &self.met[*place]))
    }

    /// The runs themselves, in the order in which the batch met them.
    pub(crate) fn into_met(self) -> Vec<FoldedRun> {
        self.met
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.met.len()
    }

    /// Drops the records and leaves the rows.
    #[cfg(feature = "sqlite")]
    pub(crate) fn forget_records(&mut self) {
        self.met.iter_mut().for_each(|run| run.packed = Packed::default());
    }

    fn get_mut(&mut self, run: RunKey) -> Option<&mut FoldedRun> {
        if self.met.get(self.last).is_none_or(|met| met.row.key != run) {
            self.last = *self.places.get(&run)?;
        }
        self.met.get_mut(self.last)
    }

    fn push(&mut self, run: FoldedRun) -> &mut FoldedRun {
        self.last = self.met.len();
        self.places.insert(run.row.key, self.last);
        self.met.push(run);
        &mut self.met[self.last]
    }
}

impl Batch {
    /// A batch that changes nothing.
    pub(crate) fn empty(watermark: Watermark) -> Batch {
        Batch { runs: Runs::default(), payloads: BTreeMap::new(), watermark, glance: Glance::default() }
    }

    /// Folds segments onto the batch without closing it: the ledger stays as it was. For snapshots, which show the tail
    /// in one piece and never write it. After an error the batch is of no use.
    pub(crate) fn extend(
        &mut self,
        segments: &[Segment],
        load: &mut dyn FnMut(RunKey) -> Result<Option<CatalogueRow>, Error>,
    ) -> Result<(), Error> {
        for segment in segments {
            self.watermark.tip().check_next(segment)?;
            let unreadable = |error| Error::damaged_log(segment.id, format!("its body cannot be read: {error}"));
            let mut parts = SegmentParts::new(&segment.body).map_err(unreadable)?;
            while let Some(bytes) = parts.next_record().map_err(unreadable)? {
                self.add(segment.id, bytes, load)?;
            }
            while let Some((digest, bytes)) = parts.next_payload().map_err(unreadable)? {
                // A payload under a wrong name would be found missing only when a run is loaded; here it can still be
                // told from damage.
                if payload_digest(bytes) != digest {
                    return Err(Error::damaged_log(segment.id, format!("payload {digest:?} has other bytes")));
                }
                self.payloads.entry(digest).or_insert_with(|| bytes.into());
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
        bytes: &[u8],
        load: &mut dyn FnMut(RunKey) -> Result<Option<CatalogueRow>, Error>,
    ) -> Result<(), Error> {
        let unreadable = |error| Error::damaged_log(segment, format!("a record cannot be read: {error}"));
        let unfoldable = |error| Error::damaged_log(segment, format!("a record does not fold: {error}"));
        let glance = &mut self.glance;
        glance.read(bytes).map_err(unreadable)?;
        let run = match self.runs.get_mut(glance.run()) {
            Some(run) => {
                run.row.apply_at_a_glance(glance, bytes).map_err(unfoldable)?;
                run
            }
            None => {
                let (before, records_before, row) = match load(glance.run())? {
                    Some(mut row) => {
                        let before = (Some(row.status), row.records);
                        row.apply_at_a_glance(glance, bytes).map_err(unfoldable)?;
                        (before.0, before.1, row)
                    }
                    None => (None, 0, CatalogueRow::begin_at_a_glance(glance, bytes).map_err(unfoldable)?),
                };
                self.runs.push(FoldedRun { before, records_before, row, packed: Packed::default() })
            }
        };
        run.packed.push(bytes);
        if glance.may_name_payloads() {
            for digest in stored_payloads(&Record::read(bytes).map_err(unreadable)?) {
                run.packed.name(digest);
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
    let moved = batch.runs.iter().map(|folded| (folded.row.key.0, folded.row.tip));
    batch.watermark.ledger = Digest::of_ledger(from.ledger, batch.watermark.segment, moved);
    batch.watermark.batches = from.batches + 1;
    Ok(batch)
}

/// The names of the payloads that a record keeps beside itself.
pub(crate) fn stored_payloads(record: &Record) -> Vec<Digest> {
    let payloads: Vec<_> = match &record.events {
        Events::Run(events) => events.iter().flat_map(|event| event.payloads()).collect(),
        Events::Conversation { events, .. } => events.iter().flat_map(|event| event.payloads()).collect(),
        // Payloads of an entity stay in its events: they are read with its state, at every start.
        Events::Entity(_) => Vec::new(),
    };
    let stored = payloads.into_iter().filter_map(|payload| match &payload.data {
        PayloadData::Stored(stored) => Some(stored.digest),
        PayloadData::Inline(_) => None,
    });
    stored.collect()
}
