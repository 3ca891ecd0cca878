use super::{RouteError, RouteRequest};
use crate::Name;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The fields that people may write, in the order in which they are shown.
pub(super) const FIELDS: &[&str] = &[
    "policy",
    "worker",
    "custom",
    "preferred",
    "fallback",
    "excluded",
    "fallback_policy",
    "require",
    "prefer",
    "affinity_key",
    "health",
    "last_worker",
    "by_load",
    "guard",
];

/// A route request as people write it, in JSON: long names, and one name where a list has one entry.
///
/// Reading takes any JSON object and keeps the first thing that is wrong; [`RouteForm::request`] gives it back by name.
/// The wrong word comes to light there, and not in the reader's own words, so that JSON, flags and forms tell it alike.
/// A worker named `auto` means no worker in particular.
///
/// ```json
/// {"policy": "sticky", "affinity_key": "customer-7", "preferred": ["w2", "w3"], "excluded": "w1"}
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteForm(Result<RouteRequest, RouteError>);

impl RouteForm {
    /// The request, if every word of it is known and nothing contradicts.
    ///
    /// Errors: the first that is wrong, by name.
    pub fn request(self) -> Result<RouteRequest, RouteError> {
        let request = self.0?;
        request.check()?;
        Ok(request)
    }
}

impl From<RouteRequest> for RouteForm {
    fn from(request: RouteRequest) -> RouteForm {
        RouteForm(Ok(request))
    }
}

/// A value of any kind that a field may have.
enum Value {
    Text(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
    Bool(bool),
    Nothing,
    /// A number, or a list or object of anything but texts: no field takes it.
    Other,
}

impl RouteRequest {
    fn set(&mut self, field: &str, value: Value) -> Result<(), RouteError> {
        let Some(&field) = FIELDS.iter().find(|known| **known == field) else {
            return Err(RouteError::UnknownField { field: field.chars().take(64).collect() });
        };
        if matches!(value, Value::Nothing) {
            return Ok(());
        }
        match field {
            "policy" => self.policy = Some(text(field, value)?.parse()?),
            "worker" => {
                let worker = text(field, value)?;
                self.worker = (!worker.trim().eq_ignore_ascii_case("auto")).then(|| worker.into());
            }
            "custom" => self.custom = Some(text(field, value)?.into()),
            "preferred" => self.preferred = names(field, value)?,
            "fallback" => self.fallback = names(field, value)?,
            "excluded" => self.excluded = names(field, value)?,
            "fallback_policy" => self.fallback_policy = Some(text(field, value)?.parse()?),
            "require" => self.require = list(field, value)?,
            "prefer" => self.prefer = list(field, value)?,
            "affinity_key" => self.affinity = Some(text(field, value)?.into()),
            "health" => {
                let Value::Map(map) = value else { return Err(wrong(field, "it is an object from worker to health")) };
                let health = |(worker, word): (String, String)| Ok((worker.into(), word.parse()?));
                self.health = map.into_iter().map(health).collect::<Result<_, RouteError>>()?;
            }
            "last_worker" => self.last = Some(text(field, value)?.into()),
            "by_load" => match value {
                Value::Bool(by_load) => self.by_load = Some(by_load),
                _ => return Err(wrong(field, "it is true or false")),
            },
            _ => self.guard = Some(text(field, value)?.into()),
        }
        Ok(())
    }
}

fn wrong(field: &'static str, problem: &str) -> RouteError {
    RouteError::Field { field, problem: problem.to_owned() }
}

fn text(field: &'static str, value: Value) -> Result<String, RouteError> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong(field, "it is a text")),
    }
}

/// One or many, each once, in the order of their first appearance.
fn list(field: &'static str, value: Value) -> Result<Vec<String>, RouteError> {
    let entries = match value {
        Value::Text(text) => vec![text],
        Value::List(list) => list,
        _ => return Err(wrong(field, "it is a text or a list of texts")),
    };
    let mut once: Vec<String> = Vec::new();
    for entry in entries {
        if !once.contains(&entry) {
            once.push(entry);
        }
    }
    Ok(once)
}

fn names(field: &'static str, value: Value) -> Result<Vec<Name>, RouteError> {
    Ok(list(field, value)?.into_iter().map(Name::from).collect())
}

impl<'de> Deserialize<'de> for RouteForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RouteForm, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = RouteForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a route request")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RouteForm, A::Error> {
                let mut form = Ok(RouteRequest::default());
                while let Some(field) = map.next_key::<String>()? {
                    let value: Value = map.next_value()?;
                    if let Ok(request) = &mut form
                        && let Err(problem) = request.set(&field, value)
                    {
                        form = Err(problem);
                    }
                }
                Ok(RouteForm(form))
            }
        }
        deserializer.deserialize_map(Form)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Nothing)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut entries = Vec::new();
                let mut odd = false;
                while let Some(entry) = seq.next_element::<Value>()? {
                    match entry {
                        Value::Text(text) => entries.push(text),
                        _ => odd = true,
                    }
                }
                Ok(if odd { Value::Other } else { Value::List(entries) })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = BTreeMap::new();
                let mut odd = false;
                while let Some(key) = map.next_key::<String>()? {
                    match map.next_value::<Value>()? {
                        Value::Text(text) => drop(entries.insert(key, text)),
                        _ => odd = true,
                    }
                }
                Ok(if odd { Value::Other } else { Value::Map(entries) })
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Serialize for RouteForm {
    /// Writes the fields that are set; a form with a fault is written as an empty object.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Ok(request) = &self.0 {
            entries(request, &mut map)?;
        }
        map.end()
    }
}

fn entries<M: SerializeMap>(request: &RouteRequest, map: &mut M) -> Result<(), M::Error> {
    if let Some(policy) = request.policy {
        map.serialize_entry("policy", policy.word())?;
    }
    let single = [
        ("worker", &request.worker),
        ("custom", &request.custom),
        ("affinity_key", &request.affinity),
        ("last_worker", &request.last),
        ("guard", &request.guard),
    ];
    for (field, name) in single {
        if let Some(name) = name {
            map.serialize_entry(field, name)?;
        }
    }
    for (field, names) in
        [("preferred", &request.preferred), ("fallback", &request.fallback), ("excluded", &request.excluded)]
    {
        if !names.is_empty() {
            map.serialize_entry(field, names)?;
        }
    }
    for (field, labels) in [("require", &request.require), ("prefer", &request.prefer)] {
        if !labels.is_empty() {
            map.serialize_entry(field, labels)?;
        }
    }
    if let Some(policy) = request.fallback_policy {
        map.serialize_entry("fallback_policy", policy.word())?;
    }
    if !request.health.is_empty() {
        let words: BTreeMap<&str, &str> =
            request.health.iter().map(|(worker, health)| (worker.as_str(), health.word())).collect();
        map.serialize_entry("health", &words)?;
    }
    if let Some(by_load) = request.by_load {
        map.serialize_entry("by_load", &by_load)?;
    }
    Ok(())
}
