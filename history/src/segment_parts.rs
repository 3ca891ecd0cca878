use crate::codec::DecodeError;
use crate::limits::{EVENT_MAX_BYTES, PAYLOAD_MAX_BYTES, SEGMENT_MAX_BYTES};
use crate::{Digest, FORMAT_VERSION, varint};

/// Reads a segment's body part by part, without copying any: first the records, then the payloads.
///
/// Everything that [`crate::SegmentBody::read`] refuses is refused here too, some of it only when its place is reached.
#[derive(Debug)]
pub struct SegmentParts<'a> {
    rest: &'a [u8],
    records: usize,
    /// How many payloads are left, once the records are read.
    payloads: Option<usize>,
}

impl<'a> SegmentParts<'a> {
    /// Begins to read a body that must fill `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<SegmentParts<'a>, DecodeError> {
        if bytes.len() > SEGMENT_MAX_BYTES {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "segment", bytes: found, max: SEGMENT_MAX_BYTES });
        }
        let mut rest = bytes;
        let version = varint::take(&mut rest, 1)?[0];
        if version == 0 || version > FORMAT_VERSION {
            return Err(DecodeError::Version { found: u64::from(version), known: FORMAT_VERSION });
        }
        let records = varint::read_len(&mut rest, bytes.len(), "list of records")?;
        Ok(SegmentParts { rest, records, payloads: None })
    }

    /// The next record's bytes; `None` behind the last.
    pub fn next_record(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        if self.records == 0 {
            return Ok(None);
        }
        self.records -= 1;
        let len = varint::read_len(&mut self.rest, SEGMENT_MAX_BYTES.max(EVENT_MAX_BYTES), "record")?;
        varint::take(&mut self.rest, len).map(Some)
    }

    /// The next payload with its name, which is not checked; `None` behind the last. Passes over records that were not
    /// read.
    pub fn next_payload(&mut self) -> Result<Option<(Digest, &'a [u8])>, DecodeError> {
        while self.next_record()?.is_some() {}
        let max = self.rest.len();
        let left = match self.payloads {
            Some(left) => left,
            None => varint::read_len(&mut self.rest, max, "list of payloads")?,
        };
        self.payloads = Some(left.saturating_sub(1));
        if left == 0 {
            return match self.rest.len() {
                0 => Ok(None),
                bytes => Err(DecodeError::Trailing { bytes }),
            };
        }
        let digest = Digest::from_slice(varint::take(&mut self.rest, 32)?).ok_or(DecodeError::Truncated)?;
        let len = varint::read_len(&mut self.rest, PAYLOAD_MAX_BYTES, "payload")?;
        Ok(Some((digest, varint::take(&mut self.rest, len)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SegmentBody;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<SegmentBody, DecodeError> {
        let mut parts = SegmentParts::new(bytes)?;
        let mut body = SegmentBody::default();
        while let Some(record) = parts.next_record()? {
            body.records.push(record.into());
        }
        while let Some((digest, bytes)) = parts.next_payload()? {
            body.payloads.push((digest, bytes.into()));
        }
        Ok(body)
    }

    proptest! {
        #[test]
        fn the_parts_are_those_of_the_body_and_the_same_bytes_are_refused(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..4),
            payloads in proptest::collection::vec((any::<[u8; 32]>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..3),
            at: proptest::sample::Index, byte: u8,
        ) {
            let records = records.into_iter().map(Into::into).collect();
            let payloads = payloads.into_iter().map(|(digest, bytes)| (Digest(digest), bytes.into())).collect();
            let bytes = SegmentBody { records, payloads }.to_bytes();
            prop_assert_eq!(read(&bytes), SegmentBody::read(&bytes));
            let mut changed = bytes.to_vec();
            changed[at.index(bytes.len())] = byte;
            for bytes in [&changed[..], &bytes[..bytes.len() - 1]] {
                prop_assert_eq!(read(bytes).ok(), SegmentBody::read(bytes).ok());
            }
        }
    }
}
