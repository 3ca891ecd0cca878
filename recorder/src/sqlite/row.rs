//! A catalogue row as one value: version, checksum, MessagePack.
//!
//! SQLite keeps no checksums of what lies in its files. A row decides whether a run is loaded at all, so a flipped bit
//! in one must be an error and not another run's life.

use super::db::int;
use crate::Error;
use antiphon_history::limits::DEPTH_MAX;
use antiphon_history::{CatalogueRow, RunKey, planted};
use serde::Deserialize;

/// The only form there is. Rows can be folded again from their histories, so a later form may simply replace it.
const VERSION: u8 = 1;
/// 128 bits: against accidents, not against people, who could rewrite it.
const CHECKSUM_BYTES: usize = 16;

pub(super) fn encode(row: &CatalogueRow) -> Vec<u8> {
    // The state of an entity leaves out what has its default, so its fields must be told by their names, not by their places.
    let body = if row.entity.is_some() { rmp_serde::to_vec_named(row) } else { rmp_serde::to_vec(row) };
    seal(&body.expect("our own row always encodes into memory"))
}

/// Puts version and checksum before a row's body.
pub(super) fn seal(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + CHECKSUM_BYTES + body.len());
    out.push(VERSION);
    out.extend_from_slice(&checksum(body));
    out.extend_from_slice(body);
    out
}

/// Reads the row of `run`. Errors: [`Error::ArchiveDamaged`].
pub(super) fn decode(run: RunKey, bytes: &[u8]) -> Result<CatalogueRow, Error> {
    let damaged = |problem: &str| Error::damaged_run(run, format!("its catalogue row {problem}"));
    let (&version, rest) = bytes.split_first().ok_or_else(|| damaged("is empty"))?;
    if version != VERSION {
        return Err(damaged("has an unknown form"));
    }
    let (sum, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or_else(|| damaged("is cut"))?;
    if sum != checksum(body) && !planted!("row-checksum-not-checked") {
        return Err(damaged("does not have its checksum"));
    }
    let row = read(body).map_err(|problem| damaged(&problem))?;
    if row.key == run { Ok(row) } else { Err(damaged("is another run's")) }
}

/// Reads a row that must fill `body`. The checksum is no proof that we wrote it, so nothing here trusts the bytes.
fn read(body: &[u8]) -> Result<CatalogueRow, String> {
    let mut rest = body;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(DEPTH_MAX);
    let row = CatalogueRow::deserialize(&mut reader).map_err(|error| format!("cannot be read: {error}"))?;
    if !rest.is_empty() {
        return Err(format!("has {} bytes too many", rest.len()));
    }
    // The fold adds to these. None was ever near the border, and beyond it the sums would not fit.
    let counts = [row.run_events, row.records, row.activities, row.open_conversations];
    match counts.into_iter().find(|count| int(*count).is_err()) {
        Some(count) => Err(format!("counts {count} of something")),
        None => Ok(row),
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tip;
    use crate::conformance::Sample;
    use antiphon_history::{
        DeadCause, DeadLetter, DeadLettersEvent, EntityEvent, EntityName, Events, Ordinal, Record, RunId, Timestamp,
    };

    #[test]
    fn the_row_of_an_entity_that_leaves_out_defaults_reads_back() {
        let letter = DeadLetter {
            run: RunKey(7),
            run_id: RunId([7; 16]),
            namespace: "default".into(),
            workflow_id: "order-7".into(),
            ordinal: Ordinal(3),
            attempt: 2,
            activity_type: "charge".into(),
            queue: "default".into(),
            cause: DeadCause::Attempts,
            reason: "failed after 2: busy".into(),
            held: false,
        };
        let opened = EntityEvent::Opened { name: EntityName::DeadLetters };
        let noted = EntityEvent::DeadLetters(DeadLettersEvent::Noted(Box::new(letter)));
        let events = Events::Entity(vec![opened, noted]);
        let record = Record { run: RunKey::of_entity(0), first_seq: 1, at: Timestamp(5), events };
        let row = CatalogueRow::begin(&record, &record.to_bytes()).unwrap();
        assert_eq!(decode(row.key, &encode(&row)).unwrap(), row);
    }

    #[test]
    fn a_row_reads_back_and_every_changed_or_missing_byte_is_found() {
        let mut sample = Sample::new(71);
        sample.segments(Tip::START, 20);
        for (run, history) in sample.histories() {
            let row = history.row().unwrap();
            let bytes = encode(&row);
            assert_eq!(decode(*run, &bytes).unwrap(), row);
            for index in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[index] ^= 1;
                assert_eq!(decode(*run, &changed).unwrap_err().code(), Some("A0008"), "bit 0 of byte {index}");
                assert!(decode(*run, &bytes[..index]).is_err(), "cut to {index} bytes");
            }
            assert!(decode(RunKey(run.0 + 1), &bytes).is_err(), "under another run's key");
        }
    }
}
