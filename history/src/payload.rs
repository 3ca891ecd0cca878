use crate::limits::{PAYLOAD_INLINE_MAX_BYTES, PAYLOAD_MAX_BYTES};
use crate::{Bytes, Digest, payload_digest};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A value of the user's: an encoding name and bytes. The engine carries it and never looks inside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payload {
    /// How the bytes are to be read: `json`, `msgpack`, `binary`, or a name that the user's codec knows.
    #[serde(rename = "e", default = "json", skip_serializing_if = "is_json")]
    pub encoding: Cow<'static, str>,
    /// The bytes, or where they are kept.
    #[serde(rename = "d")]
    pub data: PayloadData,
    /// Further metadata for the user's codec, ordered by name. Absent costs no byte.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Where the bytes of a payload are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PayloadData {
    /// Here, inside the event.
    #[serde(rename = "b")]
    Inline(Bytes),
    /// Beside the events, by digest: in the segment until the archive has taken it over, then in the archive.
    #[serde(rename = "s")]
    Stored(StoredPayload),
}

/// The name of a payload that is kept beside the events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct StoredPayload {
    /// The digest of its bytes.
    #[serde(rename = "h")]
    pub digest: Digest,
    /// How many bytes it has.
    #[serde(rename = "n")]
    pub len: u64,
}

impl Payload {
    /// The encoding that serde values have unless the user chose another.
    pub const JSON: &str = "json";

    /// A payload of the encoding `json`, kept inside the event. No check of the bytes is made.
    pub fn json(bytes: impl Into<Bytes>) -> Payload {
        Payload {
            encoding: Cow::Borrowed(Payload::JSON),
            data: PayloadData::Inline(bytes.into()),
            metadata: BTreeMap::new(),
        }
    }

    /// A payload of the encoding `binary`, kept inside the event.
    pub fn binary(bytes: impl Into<Bytes>) -> Payload {
        Payload { encoding: Cow::Borrowed("binary"), ..Payload::json(bytes) }
    }

    /// Length of the bytes, wherever they are.
    pub fn len(&self) -> u64 {
        match &self.data {
            PayloadData::Inline(bytes) => bytes.len() as u64,
            PayloadData::Stored(stored) => stored.len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of the bytes, wherever they are.
    pub fn digest(&self) -> Digest {
        match &self.data {
            PayloadData::Inline(bytes) => payload_digest(bytes),
            PayloadData::Stored(stored) => stored.digest,
        }
    }

    /// The bytes, if they are inside the event.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.data {
            PayloadData::Inline(bytes) => Some(bytes),
            PayloadData::Stored(_) => None,
        }
    }

    /// Whether both stand for the same value: same encoding, metadata and bytes, wherever the bytes are kept.
    pub fn same_value(&self, other: &Payload) -> bool {
        self.encoding == other.encoding
            && self.metadata == other.metadata
            && self.len() == other.len()
            && match (&self.data, &other.data) {
                (PayloadData::Inline(a), PayloadData::Inline(b)) => a == b,
                _ => self.digest() == other.digest(),
            }
    }

    /// Whether the payload may be written at all.
    pub fn is_within_limit(&self) -> bool {
        self.len() <= PAYLOAD_MAX_BYTES as u64
    }

    /// Splits off the bytes of a payload that is too large to stand inside an event.
    ///
    /// Returns what the event holds and, where the payload was large, the bytes to keep beside it.
    pub fn split(self) -> (Payload, Option<(Digest, Bytes)>) {
        match &self.data {
            PayloadData::Inline(bytes) if bytes.len() > PAYLOAD_INLINE_MAX_BYTES => {
                let stored = StoredPayload { digest: payload_digest(bytes), len: bytes.len() as u64 };
                let kept = (stored.digest, bytes.clone());
                (Payload { data: PayloadData::Stored(stored), ..self }, Some(kept))
            }
            _ => (self, None),
        }
    }

    /// Puts the bytes of a stored payload back; `find` gives them by digest. `None` if `find` has none.
    pub fn joined(&self, find: &dyn Fn(&Digest) -> Option<Bytes>) -> Option<Payload> {
        match &self.data {
            PayloadData::Inline(_) => Some(self.clone()),
            PayloadData::Stored(stored) => {
                Some(Payload { data: PayloadData::Inline(find(&stored.digest)?), ..self.clone() })
            }
        }
    }
}

fn json() -> Cow<'static, str> {
    Cow::Borrowed(Payload::JSON)
}

fn is_json(encoding: &str) -> bool {
    encoding == Payload::JSON
}
