use crate::codec::DecodeError;
use crate::limits::{EVENT_MAX_BYTES, PAYLOAD_MAX_BYTES, SEGMENT_MAX_BYTES};
use crate::record::FORMAT_VERSION;
use crate::{Bytes, Digest, Record, Timestamp, planted, varint};

/// Everything that one commit makes durable: one row of the log, one link of its chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its number in the log, from 1 without gaps.
    pub id: u64,
    /// When the engine closed it.
    pub at: Timestamp,
    /// The digest of everything up to and including this segment.
    pub digest: Digest,
    /// The encoded [`SegmentBody`].
    pub body: Bytes,
}

impl Segment {
    /// Seals a body as the segment that follows `previous`.
    pub fn seal(previous: Digest, id: u64, at: Timestamp, body: Bytes) -> Segment {
        let digest = Digest::of_segment(previous, id, at, &body);
        Segment { id, at, digest, body }
    }

    /// Whether the segment is what was sealed after `previous`.
    pub fn follows(&self, previous: Digest) -> bool {
        self.digest == Digest::of_segment(previous, self.id, self.at, &self.body)
            || planted!("segment-chain-not-checked")
    }
}

/// The contents of a segment: records of any runs in the order of their appending, and large payloads by digest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentBody {
    /// The encoded records. Kept as bytes, because digests are over bytes and most readers want few of them.
    pub records: Vec<Bytes>,
    /// Payloads that are too large to stand in an event, named by the records above.
    pub payloads: Vec<(Digest, Bytes)>,
}

impl SegmentBody {
    /// Whether there is nothing to make durable.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.payloads.is_empty()
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record) {
        self.records.push(record.to_bytes().into());
    }

    /// The body's bytes: version, records (each with its length), payloads (each with digest and length).
    pub fn to_bytes(&self) -> Bytes {
        let size = self.records.iter().map(|record| record.len() + 4).sum::<usize>()
            + self.payloads.iter().map(|(_, bytes)| bytes.len() + 40).sum::<usize>();
        let mut out = Vec::with_capacity(size + 16);
        let mut records = Vec::with_capacity(size);
        for record in &self.records {
            varint::write(&mut records, record.len() as u64);
            records.extend_from_slice(record);
        }
        write_body(&mut out, self.records.len() as u64, &records, &self.payloads);
        out.into()
    }

    /// Reads a body that must fill `bytes`. Records stay encoded; read each with [`Record::read`].
    ///
    /// Errors: [`DecodeError`]. Payload digests are not checked here: the segment's own digest covers them.
    pub fn read(mut bytes: &[u8]) -> Result<SegmentBody, DecodeError> {
        if bytes.len() > SEGMENT_MAX_BYTES {
            let found = bytes.len() as u64;
            return Err(DecodeError::TooLarge { what: "segment", bytes: found, max: SEGMENT_MAX_BYTES });
        }
        let rest = &mut bytes;
        let version = varint::take(rest, 1)?[0];
        if version == 0 || version > FORMAT_VERSION {
            return Err(DecodeError::Version { found: u64::from(version), known: FORMAT_VERSION });
        }
        let mut body = SegmentBody::default();
        for _ in 0..varint::read_len(rest, rest.len(), "list of records")? {
            // A record may hold many events; the segment's own bound is the only one that fits.
            let len = varint::read_len(rest, SEGMENT_MAX_BYTES.max(EVENT_MAX_BYTES), "record")?;
            body.records.push(varint::take(rest, len)?.into());
        }
        for _ in 0..varint::read_len(rest, rest.len(), "list of payloads")? {
            let digest = Digest::from_slice(varint::take(rest, 32)?).ok_or(DecodeError::Truncated)?;
            let len = varint::read_len(rest, PAYLOAD_MAX_BYTES, "payload")?;
            body.payloads.push((digest, varint::take(rest, len)?.into()));
        }
        match rest.len() {
            0 => Ok(body),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

/// Appends a body: version, `count` records that already have their lengths, payloads with digest and length.
pub(crate) fn write_body(out: &mut Vec<u8>, count: u64, records: &[u8], payloads: &[(Digest, Bytes)]) {
    out.push(FORMAT_VERSION);
    varint::write(out, count);
    out.extend_from_slice(records);
    varint::write(out, payloads.len() as u64);
    for (digest, bytes) in payloads {
        out.extend_from_slice(&digest.0);
        varint::write(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Events, RunEvent, RunKey};
    use proptest::prelude::*;

    fn body() -> SegmentBody {
        let mut body = SegmentBody::default();
        body.push(&Record {
            run: RunKey(1),
            first_seq: 2,
            at: Timestamp(5),
            events: Events::Run(vec![RunEvent::Unblocked]),
        });
        body.payloads.push((crate::payload_digest(b"large"), b"large".as_slice().into()));
        body
    }

    #[test]
    fn a_body_reads_back_and_any_changed_byte_breaks_the_chain() {
        let bytes = body().to_bytes();
        assert_eq!(SegmentBody::read(&bytes).unwrap(), body());
        let segment = Segment::seal(Digest::START, 1, Timestamp(5), bytes);
        assert!(segment.follows(Digest::START));
        for index in 0..segment.body.len() {
            let mut changed = segment.body.to_vec();
            changed[index] ^= 1;
            assert!(!Segment { body: changed.into(), ..segment.clone() }.follows(Digest::START));
        }
        assert!(!Segment { id: 2, ..segment.clone() }.follows(Digest::START));
        assert!(!segment.follows(segment.digest));
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused_but_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(body) = SegmentBody::read(&noise) {
                for record in &body.records {
                    let _ = Record::read(record);
                }
            }
        }
    }
}
