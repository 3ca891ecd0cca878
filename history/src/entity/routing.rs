use crate::{Name, RouteError, RouteRequest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most cursors of one queue. There is one per policy and class of requests, so more means that requests are made up as
/// they go; the one that moved longest ago is forgotten.
const CURSORS_MAX: usize = 256;

/// Most affinity keys of one queue that may be asked for.
const AFFINITIES_LIMIT: u32 = 65_536;

/// Affinity keys of one queue that are remembered where nothing else was set. Some 250 KiB in the queue's row.
const AFFINITIES_DEFAULT: u32 = 4_096;

/// What happened to the routing state of one task queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoutingEvent {
    /// A worker had its turn. In the segment of the decision.
    #[serde(rename = "cm")]
    CursorMoved {
        /// Whose cursor: policy and class of requests.
        #[serde(rename = "c")]
        class: Name,
        /// The worker.
        #[serde(rename = "w")]
        worker: Name,
    },
    /// An affinity key is a worker's from now on, and the cursor of the class stands there. In the segment of the decision.
    #[serde(rename = "kb")]
    KeyBound {
        /// Whose cursor.
        #[serde(rename = "c")]
        class: Name,
        /// The key.
        #[serde(rename = "k")]
        key: Name,
        /// The worker.
        #[serde(rename = "w")]
        worker: Name,
    },
    /// A key was used again. A sample: written so seldom that it costs nothing, so often that keys in use stay.
    #[serde(rename = "ku")]
    KeyUsed {
        /// The key.
        #[serde(rename = "k")]
        key: Name,
    },
    /// An operator set how many keys are remembered, and for how long.
    #[serde(rename = "st")]
    Set {
        /// Most keys; those used longest ago go.
        #[serde(rename = "m")]
        affinities_max: u32,
        /// A key is forgotten this long after its last use, in milliseconds. Absent: never for its age.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        affinity_ttl_ms: Option<u64>,
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// An operator set the route of calls that say nothing themselves, field by field.
    #[serde(rename = "df")]
    DefaultSet {
        /// The route. Absent: none from now on.
        #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
        route: Option<Box<RouteRequest>>,
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// An operator had things forgotten.
    #[serde(rename = "rs")]
    Reset {
        /// What.
        #[serde(rename = "o")]
        what: RoutingReset,
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

/// What a reset forgets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoutingReset {
    /// Every cursor and every key.
    #[serde(rename = "al")]
    All,
    /// Every cursor.
    #[serde(rename = "cu")]
    Cursors,
    /// Every key.
    #[serde(rename = "ks")]
    Keys,
    /// One key.
    #[serde(rename = "k")]
    Key(
        /// The key.
        Name,
    ),
}

impl fmt::Display for RoutingReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoutingReset::All => f.write_str("all"),
            RoutingReset::Cursors => f.write_str("cursors"),
            RoutingReset::Keys => f.write_str("keys"),
            RoutingReset::Key(key) => write!(f, "key={key}"),
        }
    }
}

impl RoutingEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            RoutingEvent::CursorMoved { .. } => "CursorMoved",
            RoutingEvent::KeyBound { .. } => "KeyBound",
            RoutingEvent::KeyUsed { .. } => "KeyUsed",
            RoutingEvent::Set { .. } => "RoutingSet",
            RoutingEvent::DefaultSet { .. } => "DefaultRouteSet",
            RoutingEvent::Reset { .. } => "RoutingReset",
        }
    }
}

impl fmt::Display for RoutingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |f: &mut fmt::Formatter<'_>, who: &str, why: &str| {
            write!(f, " by {who}")?;
            if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
        };
        match self {
            RoutingEvent::CursorMoved { class, worker } => write!(f, " class={class} worker={worker}"),
            RoutingEvent::KeyBound { class, key, worker } => write!(f, " class={class} key={key} worker={worker}"),
            RoutingEvent::KeyUsed { key } => write!(f, " key={key}"),
            RoutingEvent::Set { affinities_max, affinity_ttl_ms, who, why } => {
                write!(f, " affinities_max={affinities_max}")?;
                if let Some(ms) = affinity_ttl_ms {
                    write!(f, " affinity_ttl_ms={ms}")?;
                }
                by(f, who, why)
            }
            RoutingEvent::DefaultSet { route, who, why } => {
                match route {
                    Some(route) => write!(f, " route=({route})")?,
                    None => f.write_str(" none")?,
                }
                by(f, who, why)
            }
            RoutingEvent::Reset { what, who, why } => {
                write!(f, " {what}")?;
                by(f, who, why)
            }
        }
    }
}

/// Where a cursor stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// The worker that had the last turn.
    #[serde(rename = "w")]
    pub worker: Name,
    /// Which of the queue's moves this was: what moved longest ago has the smallest.
    #[serde(rename = "m")]
    pub moved: u64,
}

/// Whose a key is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Affinity {
    /// The worker.
    #[serde(rename = "w")]
    pub worker: Name,
    /// When it was last written down that the key was used.
    #[serde(rename = "a")]
    pub used_at: Timestamp,
    /// Which of the queue's moves this was.
    #[serde(rename = "m")]
    pub moved: u64,
}

/// Cursors and affinity keys of one task queue: the fold of its events. At most 256 cursors and `affinities_max` keys.
#[derive(Clone, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutingState {
    /// Where each cursor stands.
    #[serde(rename = "c", skip_serializing_if = "BTreeMap::is_empty")]
    pub cursors: BTreeMap<Name, Cursor>,
    /// Whose each key is.
    #[serde(rename = "k", skip_serializing_if = "BTreeMap::is_empty")]
    pub affinities: BTreeMap<Name, Affinity>,
    /// Most keys. Default: 4,096.
    #[serde(rename = "m", skip_serializing_if = "is_default_max")]
    pub affinities_max: u32,
    /// How long a key is remembered after its last use, in milliseconds. Default: until others need its place.
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    pub affinity_ttl_ms: Option<u64>,
    /// The route of calls that say nothing themselves. Default: none, they go to the least loaded.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub route: Option<Box<RouteRequest>>,
    /// Moves so far.
    #[serde(rename = "n")]
    pub moves: u64,
    /// The keys by their last move: who goes first when there are too many. Follows from `affinities`.
    #[serde(skip)]
    by_move: BTreeMap<u64, Name>,
}

impl PartialEq for RoutingState {
    /// By what is written: the index follows from it, and is not there before the first event behind a row.
    fn eq(&self, other: &RoutingState) -> bool {
        let settings = |it: &RoutingState| (it.affinities_max, it.affinity_ttl_ms, it.moves);
        settings(self) == settings(other)
            && self.route == other.route
            && self.cursors == other.cursors
            && self.affinities == other.affinities
    }
}

impl Default for RoutingState {
    fn default() -> RoutingState {
        RoutingState {
            cursors: BTreeMap::new(),
            affinities: BTreeMap::new(),
            affinities_max: AFFINITIES_DEFAULT,
            affinity_ttl_ms: None,
            route: None,
            moves: 0,
            by_move: BTreeMap::new(),
        }
    }
}

fn is_default_max(max: &u32) -> bool {
    *max == AFFINITIES_DEFAULT
}

/// Without an age at which keys are forgotten, a use is written at most this often, in milliseconds: ten minutes are
/// nothing to a key that lives until 4,096 others were used.
const USED_EVERY_MS: u64 = 600_000;

impl RoutingState {
    /// The worker that a cursor stands on.
    pub fn cursor(&self, class: &str) -> Option<&Name> {
        self.cursors.get(class).map(|cursor| &cursor.worker)
    }

    /// The worker that has a key at a moment. A key that is older than it may be is nobody's.
    pub fn bound(&self, key: &str, now: Timestamp) -> Option<&Name> {
        let affinity = self.affinities.get(key)?;
        let alive = self.affinity_ttl_ms.is_none_or(|ms| now < affinity.used_at.plus_ms(ms));
        alive.then_some(&affinity.worker)
    }

    /// When a key is forgotten for its age; `None` if nobody has it or its age does not count.
    pub fn forgotten_at(&self, key: &str) -> Option<Timestamp> {
        Some(self.affinities.get(key)?.used_at.plus_ms(self.affinity_ttl_ms?))
    }

    /// The worker that loses a key when `key` becomes `worker`'s: another one that had it, or the one whose key makes room.
    pub fn loser(&self, key: &str, worker: &Name) -> Option<&Name> {
        let goes = match self.affinities.get(key) {
            Some(known) => Some(known).filter(|known| known.worker != *worker),
            None if self.affinities.len() < self.affinities_max as usize => None,
            None => match self.by_move.first_key_value().filter(|_| self.by_move.len() == self.affinities.len()) {
                Some((_, oldest)) => self.affinities.get(oldest),
                None => self.affinities.values().min_by_key(|known| known.moved),
            },
        };
        goes.map(|known| &known.worker)
    }

    /// Whether the use of a key is to be written down, so that it is not forgotten while it is in use.
    pub fn use_is_due(&self, key: &str, now: Timestamp) -> bool {
        let every_ms = self.affinity_ttl_ms.map_or(USED_EVERY_MS, |ms| (ms / 4).clamp(1, USED_EVERY_MS));
        self.affinities.get(key).is_some_and(|affinity| affinity.used_at.plus_ms(every_ms) <= now)
    }

    /// Whether an operator's event can follow.
    ///
    /// Errors: [`RouteError::Field`], naming what it cannot be.
    pub fn allows(&self, event: &RoutingEvent) -> Result<(), RouteError> {
        let refuse = |field, problem| Err(RouteError::Field { field, problem });
        match event {
            RoutingEvent::Set { affinities_max: max, .. } if *max == 0 || *max > AFFINITIES_LIMIT => {
                refuse("affinities_max", format!("it is 1 to {AFFINITIES_LIMIT}, not {max}"))
            }
            RoutingEvent::Set { affinity_ttl_ms: Some(0), .. } => {
                refuse("affinity_ttl_ms", "it is at least 1: with 0 no key would ever be kept".to_owned())
            }
            RoutingEvent::KeyUsed { key } | RoutingEvent::Reset { what: RoutingReset::Key(key), .. }
                if !self.affinities.contains_key(key) =>
            {
                refuse("affinity_key", format!("nobody has the key {key:?}"))
            }
            RoutingEvent::DefaultSet { route: Some(route), .. } => route.check(),
            _ => Ok(()),
        }
    }

    pub(super) fn apply(&mut self, event: &RoutingEvent, at: Timestamp) -> Result<(), String> {
        self.allows(event).map_err(|error| error.to_string())?;
        if self.by_move.len() != self.affinities.len() {
            self.by_move = self.affinities.iter().map(|(key, affinity)| (affinity.moved, key.clone())).collect();
        }
        match event {
            RoutingEvent::CursorMoved { class, worker } => self.move_cursor(class, worker),
            RoutingEvent::KeyBound { class, key, worker } => {
                self.move_cursor(class, worker);
                self.touch(key, worker.clone(), at);
                self.shrink();
            }
            RoutingEvent::KeyUsed { key } => {
                let Some(known) = self.affinities.get(key) else { return Ok(()) };
                let worker = known.worker.clone();
                self.moves += 1;
                self.touch(key, worker, at);
            }
            RoutingEvent::Set { affinities_max, affinity_ttl_ms, .. } => {
                (self.affinities_max, self.affinity_ttl_ms) = (*affinities_max, *affinity_ttl_ms);
                self.shrink();
            }
            RoutingEvent::DefaultSet { route, .. } => self.route.clone_from(route),
            RoutingEvent::Reset { what, .. } => self.reset(what),
        }
        Ok(())
    }

    fn move_cursor(&mut self, class: &Name, worker: &Name) {
        self.moves += 1;
        self.cursors.insert(class.clone(), Cursor { worker: worker.clone(), moved: self.moves });
        if self.cursors.len() > CURSORS_MAX {
            let oldest = self.cursors.iter().min_by_key(|(_, cursor)| cursor.moved).map(|(class, _)| class.clone());
            oldest.map(|class| self.cursors.remove(&class));
        }
    }

    fn touch(&mut self, key: &Name, worker: Name, at: Timestamp) {
        let affinity = Affinity { worker, used_at: at, moved: self.moves };
        if let Some(before) = self.affinities.insert(key.clone(), affinity) {
            self.by_move.remove(&before.moved);
        }
        self.by_move.insert(self.moves, key.clone());
    }

    fn shrink(&mut self) {
        while self.affinities.len() > self.affinities_max as usize {
            let Some((_, key)) = self.by_move.pop_first() else { return };
            self.affinities.remove(&key);
        }
    }

    fn reset(&mut self, what: &RoutingReset) {
        if let RoutingReset::Key(key) = what
            && let Some(gone) = self.affinities.remove(key)
        {
            self.by_move.remove(&gone.moved);
        }
        if matches!(what, RoutingReset::All | RoutingReset::Cursors) {
            self.cursors.clear();
        }
        if matches!(what, RoutingReset::All | RoutingReset::Keys) {
            self.affinities.clear();
            self.by_move.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(state: &mut RoutingState, key: &str, worker: &str, at: i64) {
        let event = RoutingEvent::KeyBound { class: "sticky".into(), key: key.into(), worker: worker.into() };
        state.apply(&event, Timestamp(at)).unwrap();
    }

    fn set(affinities_max: u32, affinity_ttl_ms: Option<u64>) -> RoutingEvent {
        RoutingEvent::Set { affinities_max, affinity_ttl_ms, who: "ada".into(), why: String::new() }
    }

    fn keys(state: &RoutingState) -> Vec<&str> {
        state.affinities.keys().map(Name::as_str).collect()
    }

    #[test]
    fn keys_beyond_the_bound_go_in_the_order_of_their_last_use() {
        let mut state = RoutingState::default();
        state.apply(&set(3, None), Timestamp(0)).unwrap();
        ["a", "b", "c"].iter().for_each(|key| bind(&mut state, key, "w1", 1));
        state.apply(&RoutingEvent::KeyUsed { key: "a".into() }, Timestamp(2)).unwrap();
        // As it comes out of a row, without what is not written.
        let mut state = RoutingState { by_move: BTreeMap::new(), ..state };
        bind(&mut state, "d", "w2", 3);
        assert_eq!(keys(&state), ["a", "c", "d"]);
        bind(&mut state, "c", "w2", 4);
        bind(&mut state, "e", "w2", 5);
        assert_eq!(keys(&state), ["c", "d", "e"]);
        state.apply(&set(1, None), Timestamp(6)).unwrap();
        assert_eq!((keys(&state), state.by_move.len()), (vec!["e"], 1));
        assert_eq!(state.cursor("sticky").unwrap(), "w2");
    }

    #[test]
    fn a_key_lives_as_long_as_it_is_used_and_a_use_is_seldom_written() {
        let mut state = RoutingState::default();
        state.apply(&set(10, Some(1_000)), Timestamp(0)).unwrap();
        bind(&mut state, "a", "w1", 0);
        assert!(!state.use_is_due("a", Timestamp(249)) && state.use_is_due("a", Timestamp(250)));
        assert_eq!(state.bound("a", Timestamp(999)).map(Name::as_str), Some("w1"));
        assert_eq!(state.bound("a", Timestamp(1_000)), None, "at the very instant");
        state.apply(&RoutingEvent::KeyUsed { key: "a".into() }, Timestamp(500)).unwrap();
        assert!(state.bound("a", Timestamp(1_499)).is_some());
    }

    #[test]
    fn cursors_are_bounded_too() {
        let mut state = RoutingState::default();
        for class in 0..=CURSORS_MAX {
            let event =
                RoutingEvent::CursorMoved { class: format!("round_robin#{class:08x}").into(), worker: "w".into() };
            state.apply(&event, Timestamp(1)).unwrap();
        }
        assert_eq!((state.cursors.len(), state.cursor("round_robin#00000000")), (CURSORS_MAX, None));
    }

    #[test]
    fn impossible_settings_and_unknown_keys_change_nothing() {
        let mut state = RoutingState::default();
        bind(&mut state, "a", "w1", 0);
        let before = state.clone();
        let reset = |what| RoutingEvent::Reset { what, who: "ada".into(), why: String::new() };
        let unknown = RoutingReset::Key("b".into());
        for event in [
            set(0, None),
            set(65_537, None),
            set(1, Some(0)),
            reset(unknown),
            RoutingEvent::KeyUsed { key: "b".into() },
        ] {
            assert!(state.apply(&event, Timestamp(1)).is_err(), "{event:?}");
            assert_eq!(state, before);
        }
        state.apply(&reset(RoutingReset::Cursors), Timestamp(1)).unwrap();
        assert_eq!((state.cursors.len(), keys(&state)), (0, vec!["a"]));
        state.apply(&reset(RoutingReset::Key("a".into())), Timestamp(1)).unwrap();
        assert!(state.affinities.is_empty() && state.by_move.is_empty());
    }
}
