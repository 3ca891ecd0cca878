//! Events to bytes and back. One event is a varint length and a MessagePack map with short names; see
//! `docs/history-format.md`.

use crate::limits::{DEPTH_MAX, EVENT_MAX_BYTES};
use crate::{planted, varint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes that are not what they should be. Says where it broke, and never takes memory for what it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// Something is left after the last value.
    #[error("{bytes} bytes are left over after the last value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// An integer is longer than it needs to be, or does not fit.
    #[error("an integer is not in its shortest form or does not fit")]
    Varint,
    /// A length passes its bound.
    #[error("a {what} of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// What has the length.
        what: &'static str,
        /// The length.
        bytes: u64,
        /// The bound.
        max: usize,
    },
    /// A record of a format that this version does not know.
    #[error("format version {found} is newer than this program, which reads up to {known}: update it")]
    Version {
        /// The version found.
        found: u64,
        /// The newest that can be read.
        known: u8,
    },
    /// The MessagePack itself, or a name in it that no event has.
    #[error("an event cannot be read: {0}")]
    Event(String),
    /// Values are not in the one order in which they are written.
    #[error("the {0} are not in the order in which they are written")]
    Order(&'static str),
    /// A header names something impossible.
    #[error("a record header is not possible: {0}")]
    Header(&'static str),
}

/// Appends one event: its length, then its bytes.
pub(crate) fn write_event<T: Serialize>(out: &mut Vec<u8>, event: &T) {
    let room = varint::leave_room(out);
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    event.serialize(&mut serializer).expect("our own event types always encode into memory");
    varint::fill(out, room, 0);
}

/// One value as MessagePack, without its length.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
    value.serialize(&mut serializer).expect("our own types always encode into memory");
    out
}

/// Reads one event and moves `bytes` past it.
pub(crate) fn read_event<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    let len = varint::read_len(bytes, EVENT_MAX_BYTES, "event")?;
    let body = varint::take(bytes, len)?;
    decode(body)
}

/// Reads one MessagePack value that must fill `body`.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    // Text and bytes are read where they stand. This reader does not tell where it stopped, so what it does not take as a
    // whole is read again by one that does: for what is damaged time is no matter.
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    if !planted!("depth-not-bounded") {
        deserializer.set_max_depth(DEPTH_MAX);
    }
    match T::deserialize(&mut deserializer) {
        Ok(value) if is_at_end(&mut deserializer) => Ok(value),
        _ => decode_slowly(body),
    }
}

/// Whether nothing is left: there is no further marker.
fn is_at_end<'de>(deserializer: impl serde::Deserializer<'de, Error = rmp_serde::decode::Error>) -> bool {
    matches!(<()>::deserialize(deserializer), Err(rmp_serde::decode::Error::InvalidMarkerRead(_)))
}

fn decode_slowly<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let mut rest = body;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    if !planted!("depth-not-bounded") {
        deserializer.set_max_depth(DEPTH_MAX);
    }
    let value = T::deserialize(&mut deserializer).map_err(|error| DecodeError::Event(error.to_string()))?;
    match rest.len() {
        0 => Ok(value),
        _ if planted!("trailing-bytes-accepted") => Ok(value),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_is_left_over_is_noticed() {
        let whole = rmp_serde::to_vec(&("text", 7u8)).unwrap();
        assert_eq!(decode::<(String, u8)>(&whole), Ok(("text".to_owned(), 7)));
        for byte in 0..=u8::MAX {
            let longer = [&whole[..], &[byte]].concat();
            assert_eq!(decode::<(String, u8)>(&longer), Err(DecodeError::Trailing { bytes: 1 }), "{byte:#x}");
        }
    }
}
