use crate::{Health, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Most workers that may be there at once. Above it none may join.
pub const WORKERS_MAX: usize = 4_096;

/// Workers that are gone and still known, for people who look for them; the oldest go first.
pub const GONE_WORKERS_MAX: usize = 256;

/// How a worker gets its work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum WorkerKind {
    /// It runs in the engine's own process and is there as long as that is.
    #[default]
    #[serde(rename = "po")]
    Pool,
    /// It runs in a process that the engine's own started.
    #[serde(rename = "ch")]
    Child,
    /// It asks for its work, from wherever it is.
    #[serde(rename = "pu")]
    Pull,
    /// It is elsewhere, and work is sent to it.
    #[serde(rename = "re")]
    Remote,
}

impl WorkerKind {
    /// Whether it ends with the engine: what it had is lost then.
    pub fn ends_with_engine(self) -> bool {
        matches!(self, WorkerKind::Pool | WorkerKind::Child)
    }

    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            WorkerKind::Pool => "pool",
            WorkerKind::Child => "child",
            WorkerKind::Pull => "pull",
            WorkerKind::Remote => "remote",
        }
    }
}

impl fmt::Display for WorkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One life of a worker: fresh whenever it begins anew, so that two programs under one name are told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(#[serde(with = "crate::ids::sixteen")] pub [u8; 16]);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a worker announced when it joined.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerOffer {
    /// How it gets its work.
    #[serde(rename = "k")]
    pub kind: WorkerKind,
    /// Which life of it. Absent where the engine's own says it.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The task queues that it subscribes to.
    #[serde(rename = "q")]
    pub queues: BTreeSet<String>,
    /// The activities that it has code for.
    #[serde(rename = "a")]
    pub activities: BTreeSet<String>,
    /// The labels that it has.
    #[serde(rename = "l", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Requests that it takes at once.
    #[serde(rename = "c")]
    pub capacity: u32,
}

/// What happened to a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WorkersEvent {
    /// It is there from now on. One of its name that was there is gone.
    #[serde(rename = "jo")]
    Joined {
        /// Its durable name.
        #[serde(rename = "n")]
        worker: String,
        /// What it offers.
        #[serde(rename = "o")]
        offer: Box<WorkerOffer>,
    },
    /// It gets nothing new, and finishes what it has.
    #[serde(rename = "dr")]
    Draining {
        /// Which.
        #[serde(rename = "n")]
        worker: String,
        /// Who said so.
        #[serde(rename = "b")]
        who: String,
        /// Why.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Somebody said how well it is.
    #[serde(rename = "he")]
    HealthSet {
        /// Which.
        #[serde(rename = "n")]
        worker: String,
        /// How well it is.
        #[serde(rename = "h")]
        health: Health,
        /// Who said so.
        #[serde(rename = "b")]
        who: String,
        /// Why.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It left of its own will.
    #[serde(rename = "lv")]
    Left {
        /// Which.
        #[serde(rename = "n")]
        worker: String,
        /// Why, in its own words.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It is taken for gone.
    #[serde(rename = "lo")]
    Lost {
        /// Which.
        #[serde(rename = "n")]
        worker: String,
        /// From what that is known.
        #[serde(rename = "w")]
        reason: String,
    },
}

impl WorkersEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            WorkersEvent::Joined { .. } => "Joined",
            WorkersEvent::Draining { .. } => "Draining",
            WorkersEvent::HealthSet { .. } => "HealthSet",
            WorkersEvent::Left { .. } => "Left",
            WorkersEvent::Lost { .. } => "Lost",
        }
    }
}

impl fmt::Display for WorkersEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because =
            |f: &mut fmt::Formatter<'_>, why: &str| if why.is_empty() { Ok(()) } else { write!(f, ": {why}") };
        match self {
            WorkersEvent::Joined { worker, offer } => {
                let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
                let (queues, activities) = (list(&offer.queues), list(&offer.activities));
                write!(f, " {worker} {} queues={queues} activities={activities}", offer.kind)?;
                if !offer.labels.is_empty() {
                    write!(f, " labels={}", list(&offer.labels))?;
                }
                write!(f, " capacity={}", offer.capacity)
            }
            WorkersEvent::Draining { worker, who, why } => {
                write!(f, " {worker} by {who}")?;
                because(f, why)
            }
            WorkersEvent::HealthSet { worker, health, who, why } => {
                write!(f, " {worker} {health} by {who}")?;
                because(f, why)
            }
            WorkersEvent::Left { worker, reason } | WorkersEvent::Lost { worker, reason } => {
                write!(f, " {worker}")?;
                because(f, reason)
            }
        }
    }
}

/// What is on record of a worker that is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// What it offers.
    #[serde(rename = "o")]
    pub offer: WorkerOffer,
    /// When it joined.
    #[serde(rename = "a")]
    pub joined_at: Timestamp,
    /// Whether it gets nothing new.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub draining: bool,
    /// How well it is, as somebody said.
    #[serde(rename = "h", default, skip_serializing_if = "is_healthy")]
    pub health: Health,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_healthy(health: &Health) -> bool {
    *health == Health::Healthy
}

/// A worker that is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GoneWorker {
    /// Its name.
    #[serde(rename = "n")]
    pub worker: String,
    /// How it got its work.
    #[serde(rename = "k")]
    pub kind: WorkerKind,
    /// When it was last known to go.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Why.
    #[serde(rename = "w")]
    pub reason: String,
    /// It said itself that it leaves, so what it had is nobody's any more. Of one that was lost nobody knows.
    #[serde(rename = "l", default, skip_serializing_if = "is_false")]
    pub left: bool,
}

/// The workers of a store: those that are there, and those that were lately.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorkersState {
    /// Who is there, by name; at most [`WORKERS_MAX`].
    #[serde(rename = "p")]
    pub present: BTreeMap<String, WorkerRecord>,
    /// Who is gone, the latest last; at most [`GONE_WORKERS_MAX`], each name once.
    #[serde(rename = "g")]
    pub gone: VecDeque<GoneWorker>,
}

impl WorkersState {
    pub(super) fn apply(&mut self, event: &WorkersEvent, at: Timestamp) -> Result<(), String> {
        match event {
            WorkersEvent::Joined { worker, offer } => {
                if !self.present.contains_key(worker) && self.present.len() >= WORKERS_MAX {
                    return Err(format!("{WORKERS_MAX} workers are there, the most that may be"));
                }
                self.gone.retain(|gone| gone.worker != *worker);
                let record =
                    WorkerRecord { offer: (**offer).clone(), joined_at: at, draining: false, health: Health::Healthy };
                self.present.insert(worker.clone(), record);
            }
            WorkersEvent::Draining { worker, .. } => self.of(worker)?.draining = true,
            WorkersEvent::HealthSet { worker, health, .. } => self.of(worker)?.health = *health,
            WorkersEvent::Left { worker, reason } | WorkersEvent::Lost { worker, reason } => {
                let record = self.present.remove(worker).ok_or_else(|| missing(worker))?;
                let kind = record.offer.kind;
                let left = matches!(event, WorkersEvent::Left { .. });
                self.gone.push_back(GoneWorker { worker: worker.clone(), kind, at, reason: reason.clone(), left });
                if self.gone.len() > GONE_WORKERS_MAX {
                    self.gone.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Whether a worker that is gone said itself that it leaves. False for one that has been forgotten.
    pub fn has_left(&self, worker: &str) -> bool {
        self.gone.iter().rev().any(|gone| gone.left && gone.worker == worker)
    }

    fn of(&mut self, worker: &str) -> Result<&mut WorkerRecord, String> {
        self.present.get_mut(worker).ok_or_else(|| missing(worker))
    }
}

fn missing(worker: &str) -> String {
    format!("no worker {worker:?} is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(worker: &str, capacity: u32) -> WorkersEvent {
        let offer = WorkerOffer {
            kind: WorkerKind::Pull,
            instance: Some(InstanceId([7; 16])),
            queues: BTreeSet::from(["mail".to_owned()]),
            activities: BTreeSet::from(["send".to_owned()]),
            labels: BTreeSet::new(),
            capacity,
        };
        WorkersEvent::Joined { worker: worker.to_owned(), offer: Box::new(offer) }
    }

    fn lost(worker: &str) -> WorkersEvent {
        WorkersEvent::Lost { worker: worker.to_owned(), reason: "silent".to_owned() }
    }

    #[test]
    fn a_worker_is_there_from_its_joining_to_its_end_and_joins_afresh() {
        let mut state = WorkersState::default();
        state.apply(&joined("w", 2), Timestamp(1)).unwrap();
        let (who, why) = ("ada".to_owned(), String::new());
        state.apply(&WorkersEvent::Draining { worker: "w".to_owned(), who, why }, Timestamp(2)).unwrap();
        assert!(state.present["w"].draining);
        state.apply(&joined("w", 3), Timestamp(3)).unwrap();
        assert_eq!((state.present["w"].draining, state.present["w"].offer.capacity), (false, 3));
        state.apply(&lost("w"), Timestamp(4)).unwrap();
        assert_eq!((state.present.len(), state.gone.len()), (0, 1));
        let before = state.clone();
        assert!(state.apply(&lost("w"), Timestamp(5)).is_err());
        assert_eq!(state, before);
        state.apply(&joined("w", 1), Timestamp(6)).unwrap();
        assert_eq!((state.present.len(), state.gone.len()), (1, 0));
    }

    #[test]
    fn both_lists_have_a_bound() {
        let mut state = WorkersState::default();
        for number in 0..WORKERS_MAX {
            state.apply(&joined(&format!("w{number}"), 1), Timestamp(1)).unwrap();
        }
        assert!(state.apply(&joined("one more", 1), Timestamp(1)).is_err());
        assert!(state.apply(&joined("w7", 2), Timestamp(1)).is_ok());
        for number in 0..=GONE_WORKERS_MAX {
            state.apply(&lost(&format!("w{number}")), Timestamp(2)).unwrap();
        }
        assert_eq!(state.gone.len(), GONE_WORKERS_MAX);
        assert_eq!(state.gone[0].worker, "w1");
    }
}
