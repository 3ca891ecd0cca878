//! A run's records in one piece, with the names of the large payloads that they mention.
//!
//! The records are covered by the run's chain; the names are repeated from inside the records so that a reader need not
//! decode these to collect them.

use crate::varint;
use antiphon_history::limits::SEGMENT_MAX_BYTES;
use antiphon_history::{DecodeError, Digest};

/// What the records of a short run take. Less than that would be taken in several steps.
const RECORDS_BYTES: usize = 480;

/// Records in one piece, and the payloads that they name, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Packed {
    /// Each record behind its length.
    framed: Vec<u8>,
    count: u64,
    payloads: Vec<Digest>,
}

impl Packed {
    /// Adds a record.
    pub(crate) fn push(&mut self, record: &[u8]) {
        if self.count == 0 {
            self.framed.reserve(record.len().max(RECORDS_BYTES));
        }
        varint::write(&mut self.framed, record.len() as u64);
        self.framed.extend_from_slice(record);
        self.count += 1;
    }

    /// Adds a payload's name, unless it is there.
    pub(crate) fn name(&mut self, payload: Digest) {
        if !self.payloads.contains(&payload) {
            self.payloads.push(payload);
        }
    }

    /// The records in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.framed[..];
        std::iter::from_fn(move || (!rest.is_empty()).then(|| take_framed(&mut rest).ok()).flatten())
    }

    /// The names of the payloads.
    pub(crate) fn payloads(&self) -> &[Digest] {
        &self.payloads
    }
}

#[cfg(feature = "sqlite")]
impl Packed {
    /// How many records there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// All records, each behind its length.
    pub(crate) fn framed(&self) -> &[u8] {
        &self.framed
    }

    /// The same in pieces of whole records, each of `max_bytes` or of one record. The names are all with the first.
    pub(crate) fn pieces(&self, max_bytes: usize) -> Vec<Packed> {
        let mut pieces = vec![Packed { payloads: self.payloads.clone(), ..Packed::default() }];
        for record in self.records() {
            match pieces.last_mut() {
                Some(last) if last.count == 0 || last.framed.len() + record.len() < max_bytes => last.push(record),
                _ => {
                    let mut next = Packed::default();
                    next.push(record);
                    pieces.push(next);
                }
            }
        }
        pieces
    }

    /// Puts together what a reader found: `count` records, and names that must fill `payloads`. Takes no memory that the
    /// bytes do not back.
    pub(crate) fn of_parts(count: u64, framed: &[u8], payloads: &[u8]) -> Result<Packed, DecodeError> {
        let mut rest = framed;
        for _ in 0..count {
            take_framed(&mut rest)?;
        }
        let names = payloads.chunks_exact(32);
        match rest.len() + names.remainder().len() {
            0 => {}
            bytes => return Err(DecodeError::Trailing { bytes }),
        }
        Ok(Packed { framed: framed.to_vec(), count, payloads: names.filter_map(Digest::from_slice).collect() })
    }

    /// Reads a part of a history in its first form, which must fill `bytes`: varint count, (varint length, record)…,
    /// varint count, (32-byte digest)….
    pub(crate) fn read_part(mut bytes: &[u8]) -> Result<Packed, DecodeError> {
        let rest = &mut bytes;
        let count = varint::read_len(rest, rest.len(), "list of records")?;
        let records = *rest;
        for _ in 0..count {
            take_framed(rest)?;
        }
        let framed = &records[..records.len() - rest.len()];
        let names = varint::read_len(rest, rest.len(), "list of payload names")?;
        let payloads = varint::take(rest, names * 32)?;
        match rest.len() {
            0 => Packed::of_parts(count as u64, framed, payloads),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

#[cfg(feature = "strangers")]
impl Packed {
    /// The first form, which [`Packed::read_part`] reads.
    pub(crate) fn to_part(&self) -> Vec<u8> {
        let mut part = Vec::new();
        varint::write(&mut part, self.count);
        part.extend_from_slice(&self.framed);
        varint::write(&mut part, self.payloads.len() as u64);
        self.payloads.iter().for_each(|digest| part.extend_from_slice(&digest.0));
        part
    }
}

fn take_framed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = varint::read_len(bytes, SEGMENT_MAX_BYTES, "record")?;
    varint::take(bytes, len)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_reads_back_whole_or_in_pieces_and_no_shorter_or_longer_form_does(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            payloads in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
            max_bytes in 1..700usize,
        ) {
            let mut packed = Packed::default();
            records.iter().for_each(|record| packed.push(record));
            payloads.iter().for_each(|digest| packed.name(Digest(*digest)));
            prop_assert_eq!(packed.records().collect::<Vec<_>>(), records);
            let mut part = Vec::new();
            varint::write(&mut part, packed.count);
            part.extend_from_slice(&packed.framed);
            varint::write(&mut part, packed.payloads.len() as u64);
            packed.payloads.iter().for_each(|digest| part.extend_from_slice(&digest.0));
            prop_assert_eq!(&Packed::read_part(&part).unwrap(), &packed);
            prop_assert!(Packed::read_part(&part[..part.len() - 1]).is_err());
            part.push(0);
            prop_assert!(Packed::read_part(&part).is_err());

            let pieces = packed.pieces(max_bytes);
            prop_assert!(pieces.iter().all(|piece| piece.count < 2 || piece.framed.len() < max_bytes + 2));
            let joined = pieces.iter().flat_map(Packed::records).collect::<Vec<_>>();
            prop_assert_eq!(joined, packed.records().collect::<Vec<_>>());
            prop_assert_eq!(&pieces[0].payloads, &packed.payloads);
        }

        #[test]
        fn noise_is_read_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packed) = Packed::read_part(&noise) {
                prop_assert!(packed.framed.len() < noise.len());
                prop_assert_eq!(packed.records().count() as u64, packed.count);
            }
        }
    }
}
