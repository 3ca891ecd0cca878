//! One run's new records of one batch as one value, with the names of the large payloads that they mention.
//!
//! varint count, (varint length, record)…, varint count, (32-byte digest)…. The records are covered by the run's
//! chain; the names are repeated from inside the records so that a reader need not decode these to collect them.

use antiphon_history::limits::SEGMENT_MAX_BYTES;
use antiphon_history::{DecodeError, Digest};

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
        write_varint(&mut self.framed, record.len() as u64);
        self.framed.extend_from_slice(record);
        self.count += 1;
    }

    /// Adds a payload's name, unless it is there.
    pub(crate) fn name(&mut self, payload: Digest) {
        if !self.payloads.contains(&payload) {
            self.payloads.push(payload);
        }
    }

    /// How many records there are.
    #[cfg(feature = "sqlite")]
    pub(crate) fn count(&self) -> u64 {
        self.count
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
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.framed.len() + self.payloads.len() * 32 + 8);
        write_varint(&mut out, self.count);
        out.extend_from_slice(&self.framed);
        write_varint(&mut out, self.payloads.len() as u64);
        self.payloads.iter().for_each(|digest| out.extend_from_slice(&digest.0));
        out
    }

    /// Reads what must fill `bytes`. Takes no memory that the bytes do not back.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Packed, DecodeError> {
        let rest = &mut bytes;
        let count = read_len(rest, rest.len(), "list of records")?;
        let records = *rest;
        for _ in 0..count {
            take_framed(rest)?;
        }
        let framed = records[..records.len() - rest.len()].to_vec();
        let mut packed = Packed { framed, count: count as u64, payloads: Vec::new() };
        for _ in 0..read_len(rest, rest.len(), "list of payload names")? {
            packed.payloads.push(Digest::from_slice(take(rest, 32)?).ok_or(DecodeError::Truncated)?);
        }
        match rest.len() {
            0 => Ok(packed),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}
/// LEB128, as in records.
fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_len(bytes: &mut &[u8], max: usize, what: &'static str) -> Result<usize, DecodeError> {
    let mut value = 0u64;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)?[0];
        // Lengths stay far below 2^56, so a ninth byte is never ours.
        if shift == 56 || (shift > 0 && byte == 0) {
            return Err(DecodeError::Varint);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    match usize::try_from(value) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(DecodeError::TooLarge { what, bytes: value, max }),
    }
}

fn take_framed<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = read_len(bytes, SEGMENT_MAX_BYTES, "record")?;
    take(bytes, len)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    *bytes = tail;
    Ok(head)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_reads_back_and_no_shorter_or_longer_form_does(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            payloads in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
        ) {
            let mut packed = Packed::default();
            records.iter().for_each(|record| packed.push(record));
            payloads.iter().for_each(|digest| packed.name(Digest(*digest)));
            prop_assert_eq!(packed.records().collect::<Vec<_>>(), records);
            let mut bytes = packed.to_bytes();
            prop_assert_eq!(Packed::read(&bytes).unwrap(), packed);
            prop_assert!(Packed::read(&bytes[..bytes.len() - 1]).is_err());
            bytes.push(0);
            prop_assert!(Packed::read(&bytes).is_err());
        }

        #[test]
        fn noise_is_read_or_refused_and_what_is_read_is_canonical(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packed) = Packed::read(&noise) {
                prop_assert_eq!(packed.to_bytes(), noise);
            }
        }
    }
}
