//! The decoders of what lies inside a store, by name: for tests that feed them bytes which nobody wrote.
//!
//! Each takes any bytes, and refuses them or reads them. None may panic.

use crate::block::{self, BlockWriter};
use crate::conformance::Sample;
use crate::pack::Packed;
use crate::squeeze::{squeeze, unsqueeze};
use crate::{Error, Tip, sqlite};
use antiphon_history::limits::SEGMENT_MAX_BYTES;
use antiphon_history::{CatalogueRow, HistoryFile, RunKey};

/// A block of histories: opened, and each of its entries read.
pub fn block(kept: &[u8]) {
    let Ok(opened) = block::open(kept) else { return };
    for entry in block::entries(&opened).map_while(Result::ok) {
        if let Ok(packed) = entry.packed() {
            assert_eq!(packed.records().count() as u64, packed.count(), "every record that was counted is there");
        }
    }
}

/// A part of a history in its first form.
pub fn part(bytes: &[u8]) {
    if let Ok(packed) = Packed::read_part(bytes) {
        assert_eq!(packed.records().count() as u64, packed.count(), "every record that was counted is there");
        assert_eq!(packed.to_part(), bytes, "a part has one form");
    }
}

/// Squeezed bytes.
pub fn squeezed(kept: &[u8]) {
    if let Ok(bytes) = unsqueeze(kept, SEGMENT_MAX_BYTES) {
        assert!(bytes.len() <= SEGMENT_MAX_BYTES, "the bound holds");
    }
}

/// The body of a catalogue row, under a checksum that fits: a stranger can make one too.
pub fn row(body: &[u8]) {
    sqlite::strangers::row(body);
}

/// The line of an anchor.
pub fn anchor(line: &[u8]) {
    sqlite::strangers::anchor(line);
}

/// A row's body with the version and the checksum that make it one.
pub fn sealed_row(body: &[u8]) -> Vec<u8> {
    sqlite::strangers::sealed_row(body)
}

/// Sound bytes for each of the functions above, from one sample: what hostile ones are made of.
pub fn samples() -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let mut sample = Sample::new(4711);
    let segments = sample.segments(Tip::START, 12);
    let mut samples = Vec::new();
    let histories = sample.histories();
    let mut writer = BlockWriter::new(1, |_, kept: &[u8]| {
        samples.push(("block", kept.to_vec()));
        Ok(())
    });
    for (run, history) in histories {
        writer.add(*run, 0, 1, &packed(history))?;
    }
    writer.finish()?;
    for (run, history) in histories.iter().take(2) {
        samples.push(("part", packed(history).to_part()));
        let row = history.row().expect("the sample writes whole runs");
        debug_assert_eq!(row.key, *run);
        samples.push(("row", sqlite::strangers::row_body(&row)));
    }
    let widest = widest_row(histories.values());
    samples.push(("row", sqlite::strangers::row_body(&widest)));
    // What is added to next would not fit.
    let full = CatalogueRow { run_events: u64::MAX, records: u64::MAX, open_conversations: u64::MAX, ..widest };
    samples.push(("row", sqlite::strangers::row_body(&full)));
    samples.extend(segments.iter().map(|segment| ("squeezed", squeeze(&segment.body).into_owned())).take(3));
    samples.push(("anchor", sqlite::strangers::anchor_line(&segments[segments.len() - 1])));
    Ok(samples)
}

/// The key of every row that [`row`] reads.
pub const ROW: RunKey = RunKey(1);

fn packed(history: &HistoryFile) -> Packed {
    let mut packed = Packed::default();
    history.records.iter().for_each(|record| packed.push(record));
    history.payloads.keys().for_each(|digest| packed.name(*digest));
    packed
}

fn widest_row<'a>(histories: impl Iterator<Item = &'a HistoryFile>) -> CatalogueRow {
    let rows = histories.filter_map(|history| history.row().ok());
    rows.max_by_key(|row| row.timers.len()).expect("a sample has runs")
}
