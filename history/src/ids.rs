use crate::limits::NAME_MAX_BYTES;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A moment in milliseconds since the Unix epoch, on the engine's clock. Never earlier than any recorded moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The later moment that lies `ms` milliseconds ahead; the end of time instead of an overflow.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this moment; zero if it lies before.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// The integer by which a run is known inside its partition. Unique for ever in one store, meaningless outside it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunKey(pub u64);

/// The place of a call among all calls of its run: 1, 2, … in the order in which the workflow built them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Names one conversation: one attempt of one activity of one run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConversationKey {
    /// The run that asked.
    #[serde(rename = "r")]
    pub run: RunKey,
    /// The activity within the run.
    #[serde(rename = "o")]
    pub ordinal: Ordinal,
    /// The attempt, from 1.
    #[serde(rename = "a")]
    pub attempt: u32,
}

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ordinal, self.attempt)
    }
}

/// Which of a run's streams a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stream {
    /// The run stream: the only thing that replay reads.
    Run,
    /// The conversation of one attempt of one activity: forensic truth, never read by replay.
    Conversation {
        /// The activity within the run.
        ordinal: Ordinal,
        /// The attempt, from 1.
        attempt: u32,
    },
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stream::Run => f.write_str("run"),
            Stream::Conversation { ordinal, attempt } => write!(f, "{ordinal}.{attempt}"),
        }
    }
}

/// The engine-made name of one run: a UUID v7 (RFC 9562), unique across stores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(#[serde(with = "sixteen")] pub [u8; 16]);

impl RunId {
    /// Builds the id from the start of the run and 16 bytes that nobody else will have (only 74 bits are used).
    pub fn from_parts(at: Timestamp, unique: [u8; 16]) -> RunId {
        let mut id = unique;
        // RFC 9562 5.7: 48 bits of milliseconds, version 7, variant 0b10.
        id[..6].copy_from_slice(&at.0.max(0).to_be_bytes()[2..]);
        id[6] = 0x70 | (id[6] & 0x0f);
        id[8] = 0x80 | (id[8] & 0x3f);
        RunId(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<RunId, IdError> {
        let wrong = || IdError::NotARunId { text: text.chars().take(64).collect() };
        let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
        let mut id = [0u8; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(RunId(id))
    }
}

/// What a user calls a workflow execution: a namespace and an id of the user's choice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WorkflowKey {
    /// The namespace; `default` where none was chosen.
    #[serde(rename = "ns")]
    pub namespace: String,
    /// The id, unique among the open runs of its namespace.
    #[serde(rename = "id")]
    pub id: String,
}

impl WorkflowKey {
    /// The namespace that is used where none was chosen.
    pub const DEFAULT_NAMESPACE: &str = "default";

    /// Names `id` in the namespace `default`.
    ///
    /// Errors: [`IdError::Name`] if the id is empty, longer than 255 bytes or holds a control character.
    pub fn new(id: impl Into<String>) -> Result<WorkflowKey, IdError> {
        let id = id.into();
        check_name("workflow id", &id)?;
        Ok(WorkflowKey { namespace: Self::DEFAULT_NAMESPACE.to_owned(), id })
    }

    /// 64 bits that stand for the key in filters and indexes. Two keys may share them; equal keys always do.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.namespace.len() as u64).to_le_bytes());
        hasher.update(self.namespace.as_bytes());
        hasher.update(self.id.as_bytes());
        let mut first = [0u8; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

impl fmt::Display for WorkflowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace != Self::DEFAULT_NAMESPACE {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.id)
    }
}

/// The recorded half of a lease token: its blake3 hash, cut to 128 bits. The token itself is never written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(#[serde(with = "sixteen")] pub [u8; 16]);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &[u8; 16]) -> TokenHash {
        let mut hash = [0u8; 16];
        hash.copy_from_slice(&blake3::hash(token).as_bytes()[..16]);
        TokenHash(hash)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}…", self.0[0], self.0[1])
    }
}

pub(crate) mod sixteen {
    use crate::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        <[u8; 16]>::try_from(&bytes[..]).map_err(|_| D::Error::invalid_length(bytes.len(), &"16 bytes"))
    }
}

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A0012. Nothing was written.
    #[error(
        "the {what} {name:?} is not usable: {problem}; use 1 to {NAME_MAX_BYTES} bytes without control characters [A0012]"
    )]
    Name {
        /// What the name is for.
        what: &'static str,
        /// The name, cut to 64 characters.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The text is no run id.
    #[error("{text:?} is not a run id: a run id is a UUID such as 01936f3e-7d2c-7abc-8def-0123456789ab")]
    NotARunId {
        /// The text, cut to 64 characters.
        text: String,
    },
}

/// Checks that `name` can stand in a record: 1 to 255 bytes, no control characters.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), IdError> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_MAX_BYTES {
        "it is too long"
    } else if name.chars().any(char::is_control) {
        "it holds a control character"
    } else {
        return Ok(());
    };
    Err(IdError::Name { what, name: name.chars().take(64).collect(), problem })
}

impl IdError {
    /// Checks a name of any kind by the rule that every recorded name obeys.
    pub fn check(what: &'static str, name: &str) -> Result<(), IdError> {
        check_name(what, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_a_version_7_uuid_and_reads_back() {
        let id = RunId::from_parts(Timestamp(1_732_186_557_123), [0xff; 16]);
        let text = id.to_string();
        assert_eq!(text, "01934e5d-4ac3-7fff-bfff-ffffffffffff");
        assert_eq!(text.parse::<RunId>().unwrap(), id);
        assert!("not-a-uuid".parse::<RunId>().is_err());
    }

    #[test]
    fn names_with_nothing_or_too_much_or_controls_are_refused() {
        assert!(WorkflowKey::new("order-7 ü").is_ok());
        for bad in [String::new(), "x".repeat(256), "a\nb".to_owned()] {
            assert!(WorkflowKey::new(bad).is_err());
        }
    }

    #[test]
    fn keys_that_join_to_the_same_text_have_different_fingerprints() {
        let a = WorkflowKey { namespace: "ab".into(), id: "c".into() };
        let b = WorkflowKey { namespace: "a".into(), id: "bc".into() };
        assert_ne!(a.fingerprint(), b.fingerprint());
    }
}
