//! One value of the author's to one payload and back.

use antiphon_history::limits::{PAYLOAD_MAX_BYTES, bounded_text};
use antiphon_history::{Payload, PayloadData};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::fmt;
use std::io::{self, Write};

/// Which value of a definition a message is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Place {
    /// A value on its own: a signal, a heartbeat, a published status.
    #[serde(rename = "value")]
    Value,
    /// An argument.
    #[serde(rename = "argument")]
    Argument {
        /// Which one, from 1, without the context.
        #[serde(rename = "number")]
        number: u32,
    },
    /// What the body returned.
    #[serde(rename = "result")]
    Result,
    /// The error that the body returned.
    #[serde(rename = "error")]
    Error,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Value => f.write_str("the value"),
            Place::Argument { number } => write!(f, "argument {number}"),
            Place::Result => f.write_str("the result"),
            Place::Error => f.write_str("the error"),
        }
    }
}

/// A value that cannot be written down. Nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A0015. The value takes more bytes than a payload may have.
    #[error(
        "{place} of type {type_name} takes {bytes} bytes and a payload has at most {max}: \
         keep the data elsewhere and pass a reference [A0015]"
    )]
    #[serde(rename = "too_large")]
    TooLarge {
        /// Which value.
        #[serde(rename = "place")]
        place: Place,
        /// Its Rust type.
        #[serde(rename = "type")]
        type_name: String,
        /// What it would take, in bytes.
        #[serde(rename = "bytes")]
        bytes: u64,
        /// The limit, in bytes.
        #[serde(rename = "max")]
        max: u64,
    },
    /// A0016. JSON has no form for the value, or its own code refused.
    #[error(
        "{place} of type {type_name} cannot be written as JSON: {problem}; change the type or its serde code [A0016]"
    )]
    #[serde(rename = "unencodable")]
    Unencodable {
        /// Which value.
        #[serde(rename = "place")]
        place: Place,
        /// Its Rust type.
        #[serde(rename = "type")]
        type_name: String,
        /// What serde says.
        #[serde(rename = "problem")]
        problem: String,
    },
}

/// A recorded value that this code cannot read. The record is unharmed; code that can read it will.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A0016. There are more or fewer arguments than the code takes.
    #[error("{found} arguments are recorded and the code takes {expected}: the code has changed since [A0016]")]
    #[serde(rename = "count")]
    Count {
        /// How many the code takes.
        #[serde(rename = "expected")]
        expected: u64,
        /// How many are recorded.
        #[serde(rename = "found")]
        found: u64,
    },
    /// A0016. The bytes are not a value of the type.
    #[error(
        "{place} cannot be read as {type_name}: {problem}; the code has changed, or another program wrote it [A0016]"
    )]
    #[serde(rename = "undecodable")]
    Undecodable {
        /// Which value.
        #[serde(rename = "place")]
        place: Place,
        /// The Rust type that was to be read.
        #[serde(rename = "type")]
        type_name: String,
        /// What serde says.
        #[serde(rename = "problem")]
        problem: String,
    },
    /// A0016. The bytes are in an encoding that only a codec of the user's knows.
    #[error("{place} is encoded as {encoding:?} and {type_name} is read from \"json\" only [A0016]")]
    #[serde(rename = "encoding")]
    Encoding {
        /// Which value.
        #[serde(rename = "place")]
        place: Place,
        /// The Rust type that was to be read.
        #[serde(rename = "type")]
        type_name: String,
        /// The encoding that was found.
        #[serde(rename = "encoding")]
        encoding: String,
    },
    /// A0016. There is nothing to read.
    #[error("{place} of type {type_name} is not recorded: {problem} [A0016]")]
    #[serde(rename = "absent")]
    Absent {
        /// Which value.
        #[serde(rename = "place")]
        place: Place,
        /// The Rust type that was to be read.
        #[serde(rename = "type")]
        type_name: String,
        /// What is known instead.
        #[serde(rename = "problem")]
        problem: String,
    },
}

/// Writes one value as a JSON payload.
///
/// Errors: [`EncodeError::TooLarge`] over 2 MiB, [`EncodeError::Unencodable`] if JSON cannot hold it (a map with keys
/// other than text and numbers, for one).
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Payload, EncodeError> {
    encode_at(Place::Value, value)
}

/// Reads one value from a JSON payload whose bytes are at hand.
///
/// Errors: [`DecodeError::Undecodable`], [`DecodeError::Encoding`], [`DecodeError::Absent`].
pub fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, DecodeError> {
    decode_at(Place::Value, payload)
}

pub(crate) fn encode_at<T: Serialize + ?Sized>(place: Place, value: &T) -> Result<Payload, EncodeError> {
    let mut json = Bounded { kept: Vec::with_capacity(64), len: 0 };
    serde_json::to_writer(&mut json, value).map_err(|problem| EncodeError::Unencodable {
        place,
        type_name: type_name::<T>().to_owned(),
        problem: bounded_text(&problem.to_string()),
    })?;
    if json.len > PAYLOAD_MAX_BYTES {
        let (bytes, max) = (json.len as u64, PAYLOAD_MAX_BYTES as u64);
        return Err(EncodeError::TooLarge { place, type_name: type_name::<T>().to_owned(), bytes, max });
    }
    Ok(Payload::json(json.kept))
}

pub(crate) fn decode_at<T: DeserializeOwned>(place: Place, payload: &Payload) -> Result<T, DecodeError> {
    let type_name = || type_name::<T>().to_owned();
    if payload.encoding != Payload::JSON {
        return Err(DecodeError::Encoding { place, type_name: type_name(), encoding: payload.encoding.to_string() });
    }
    match &payload.data {
        PayloadData::Inline(bytes) => serde_json::from_slice(bytes).map_err(|problem| DecodeError::Undecodable {
            place,
            type_name: type_name(),
            problem: bounded_text(&problem.to_string()),
        }),
        // The engine joins stored bytes before it hands a payload to code, so this is a payload from somewhere else.
        PayloadData::Stored(stored) => Err(DecodeError::Absent {
            place,
            type_name: type_name(),
            problem: format!("its {} bytes are kept elsewhere, under {:?}", stored.len, stored.digest),
        }),
    }
}

/// Keeps what fits into a payload and counts the rest, so that a huge value costs its size in time only.
struct Bounded {
    kept: Vec<u8>,
    len: usize,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.len = self.len.saturating_add(piece.len());
        if self.len <= PAYLOAD_MAX_BYTES {
            self.kept.extend_from_slice(piece);
        } else {
            self.kept = Vec::new();
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_value_is_written_as_json_and_reads_back() {
        let payload = encode(&("ü", 7u8, [1.5f64])).unwrap();
        assert_eq!(payload, Payload::json("[\"ü\",7,[1.5]]".as_bytes()));
        assert_eq!(decode::<(String, u8, Vec<f64>)>(&payload).unwrap(), ("ü".to_owned(), 7, vec![1.5]));
    }

    #[test]
    fn a_payload_may_have_exactly_the_limit_and_no_byte_more() {
        // Two bytes are the quotes.
        let fits = encode(&"x".repeat(PAYLOAD_MAX_BYTES - 2)).unwrap();
        assert_eq!(fits.len(), PAYLOAD_MAX_BYTES as u64);
        let refused = encode(&"x".repeat(PAYLOAD_MAX_BYTES - 1)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the value of type alloc::string::String takes 2097153 bytes and a payload has at most 2097152: \
             keep the data elsewhere and pass a reference [A0015]"
        );
    }

    #[test]
    fn a_huge_value_is_measured_whole_without_being_kept() {
        let mut json = Bounded { kept: Vec::new(), len: 0 };
        for _ in 0..5 {
            json.write_all(&vec![b'x'; PAYLOAD_MAX_BYTES / 2]).unwrap();
        }
        assert_eq!((json.kept.capacity(), json.len), (0, PAYLOAD_MAX_BYTES / 2 * 5));
    }

    #[test]
    fn a_value_without_a_json_form_is_refused_with_its_type() {
        let refused = encode(&BTreeMap::from([((1, 2), 3)])).unwrap_err().to_string();
        assert!(refused.contains("cannot be written as JSON: key must be a string"), "{refused}");
        assert!(refused.ends_with("[A0016]"), "{refused}");
    }

    #[test]
    fn a_payload_of_another_type_is_refused_with_what_serde_says() {
        let refused = decode::<u64>(&Payload::json("\"x\"".as_bytes())).unwrap_err().to_string();
        assert!(refused.starts_with("the value cannot be read as u64: invalid type: string \"x\""), "{refused}");
        assert!(decode::<u64>(&Payload::json("1 2".as_bytes())).is_err());
    }

    #[test]
    fn other_encodings_and_bytes_kept_elsewhere_are_refused_by_name() {
        let binary = decode::<u64>(&Payload::binary(b"1".as_slice())).unwrap_err().to_string();
        assert_eq!(binary, "the value is encoded as \"binary\" and u64 is read from \"json\" only [A0016]");
        let (stored, _) = encode(&"x".repeat(20_000)).unwrap().split();
        let absent = decode::<String>(&stored).unwrap_err();
        assert!(matches!(absent, DecodeError::Absent { .. }), "{absent}");
    }
}
