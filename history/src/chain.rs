use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A blake3 digest: of a payload, of a chain of records or of a chain of segments.
///
/// Chains: every digest covers the digest before it, so one digest proves everything up to it and its order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What stands before the first link of every chain.
    pub const START: Digest = Digest([0; 32]);

    /// The digest of the next record of a run: over the one before it and the record's bytes.
    pub fn of_record(previous: Digest, record: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        hasher.update(record);
        Digest(*hasher.finalize().as_bytes())
    }

    /// The digest of a segment: over the one before it, its id, its time and its body.
    pub fn of_segment(previous: Digest, id: u64, at: Timestamp, body: &[u8]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        hasher.update(&id.to_le_bytes());
        hasher.update(&at.0.to_le_bytes());
        hasher.update(body);
        Digest(*hasher.finalize().as_bytes())
    }

    /// The digest of one archive batch (a ledger row): over the row before it and the runs that the batch moved with
    /// their new tips, which must come in key order.
    pub fn of_ledger(previous: Digest, through_segment: u64, moved: impl IntoIterator<Item = (u64, Digest)>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        hasher.update(&through_segment.to_le_bytes());
        for (run, tip) in moved {
            hasher.update(&run.to_le_bytes());
            hasher.update(&tip.0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Reads a digest back from stored bytes; `None` if there are not exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Digest> {
        <[u8; 32]>::try_from(bytes).ok().map(Digest)
    }
}

/// The digest by which a payload's bytes are named.
pub fn payload_digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let mut digest = [0u8; 32];
            if text.len() != 64 || !text.is_ascii() {
                return Err(D::Error::invalid_length(text.len(), &"64 hexadecimal digits"));
            }
            for (index, byte) in digest.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(D::Error::custom)?;
            }
            return Ok(Digest(digest));
        }
        let bytes = crate::Bytes::deserialize(deserializer)?;
        Digest::from_slice(&bytes).ok_or_else(|| D::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}
