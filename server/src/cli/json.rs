use super::time::rfc3339;
use antiphon_history::{Bytes, CatalogueRow, Payload, PayloadData, Timestamp};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use std::fmt::Write;

/// Deepest JSON payload that is put into the output as JSON. Readers give up somewhere (serde_json at 128); a payload is
/// a stranger's, and one that is too deep must not make the whole line unreadable.
const PAYLOAD_DEPTH_MAX: usize = 64;

/// A JSON value whose fields keep their order, and which can carry a user's JSON as it was written.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    Raw(Box<RawValue>),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(value) => serializer.serialize_u64(*value),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Raw(raw) => raw.serialize(serializer),
            Json::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Json::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Json {
        Json::Number(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Json {
        Json::Number(u64::from(value))
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Json {
        Json::Number(value as u64)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<Timestamp> for Json {
    fn from(at: Timestamp) -> Json {
        Json::Text(rfc3339(at))
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or(Json::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Json {
        Json::List(items.into_iter().map(Into::into).collect())
    }
}

/// A list of user values.
pub(super) fn payloads(list: &[Payload]) -> Json {
    Json::List(list.iter().map(payload).collect())
}

/// A user value: `value` where it is JSON, else `text`, else `hex`; only `digest` where the bytes are not at hand.
pub(super) fn payload(payload: &Payload) -> Json {
    let mut fields = vec![("encoding", (&*payload.encoding).into()), ("bytes", payload.len().into())];
    if !payload.metadata.is_empty() {
        let pair = |(name, value): (&String, &String)| Json::List(vec![name.as_str().into(), value.as_str().into()]);
        fields.push(("metadata", Json::List(payload.metadata.iter().map(pair).collect())));
    }
    fields.push(match &payload.data {
        PayloadData::Stored(stored) => ("digest", stored.digest.to_string().into()),
        PayloadData::Inline(bytes) => content(&payload.encoding, bytes),
    });
    Json::Object(fields)
}

fn content(encoding: &str, bytes: &Bytes) -> (&'static str, Json) {
    let Ok(text) = std::str::from_utf8(bytes) else { return ("hex", hex(bytes).into()) };
    if encoding == Payload::JSON && depth(text) <= PAYLOAD_DEPTH_MAX && serde_json::from_str::<&RawValue>(text).is_ok()
    {
        // Outside of strings JSON may have line breaks; our output is one line per object.
        let line = text.trim().replace(['\n', '\r'], " ");
        if let Ok(raw) = RawValue::from_string(line) {
            return ("value", Json::Raw(raw));
        }
    }
    ("text", text.into())
}

/// How deep brackets are nested, those in strings not counted.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The fields of a catalogue row.
pub(super) fn row(row: &CatalogueRow) -> Vec<(&'static str, Json)> {
    let timer = |timer: &antiphon_history::PendingTimer| {
        Json::Object(vec![("ordinal", timer.ordinal.0.into()), ("due", timer.due.into())])
    };
    vec![
        ("namespace", row.workflow.namespace.as_str().into()),
        ("workflow_id", row.workflow.id.as_str().into()),
        ("run_id", row.run_id.to_string().into()),
        ("workflow_type", row.workflow_type.as_str().into()),
        ("status", row.status.name().into()),
        ("started_at", row.started_at.into()),
        ("updated_at", row.updated_at.into()),
        ("run_events", row.run_events.into()),
        ("records", row.records.into()),
        ("tip", row.tip.to_string().into()),
        ("activities", row.activities.into()),
        ("open_conversations", row.open_conversations.into()),
        ("timers", Json::List(row.timers.iter().map(timer).collect())),
        ("blocked", (!row.blocked.is_empty()).then_some(row.blocked.as_str()).into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(payload_: &Payload) -> String {
        serde_json::to_string(&payload(payload_)).unwrap()
    }

    #[test]
    fn a_json_payload_is_shown_as_it_was_written_on_one_line() {
        let exact = "{\"b\": 12345678901234567890123,\n \"a\": 1.10}";
        assert_eq!(
            shown(&Payload::json(exact.as_bytes())),
            "{\"encoding\":\"json\",\"bytes\":42,\"value\":{\"b\": 12345678901234567890123,  \"a\": 1.10}}"
        );
    }

    #[test]
    fn what_is_not_json_is_text_or_hex() {
        assert_eq!(shown(&Payload::json(b"{oops".as_slice())), r#"{"encoding":"json","bytes":5,"text":"{oops"}"#);
        assert_eq!(shown(&Payload::binary(vec![0xff, 0])), r#"{"encoding":"binary","bytes":2,"hex":"ff00"}"#);
    }

    #[test]
    fn json_too_deep_for_readers_is_text() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
        assert!(shown(&Payload::json(nested(64))).contains("\"value\":[["));
        assert!(shown(&Payload::json(nested(65))).contains("\"text\":\"[["));
        assert_eq!(depth(r#"{"[[[\"[": 1}"#), 1, "brackets in strings do not count");
    }
}
