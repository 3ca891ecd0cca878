use crate::{FAIRNESS_WEIGHT_MAX, IdError, Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most fairness keys of one queue with a weight of their own. Some 50 KiB in the queue's row.
pub const QUEUE_WEIGHTS_MAX: usize = 1_024;

/// The longest period of a rate: what is slower is a routine.
pub const RATE_PERIOD_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// The settings of one task queue, always as a whole. The default sets nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSettings {
    /// Most attempts of the queue under way at once, over all workers; at least 1. Default: as many as there are places.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub in_flight_max: Option<u32>,
    /// Most calls of one limit key under way at once, at least 1; with one they are done in order. Default: no limit.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub per_key_max: Option<u32>,
    /// How fast attempts are given out. Default: as fast as there are places.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none")]
    pub rate: Option<QueueRate>,
    /// Most waiting attempts with which the queue takes in an activity that is scheduled on its own, at least 1. What a
    /// workflow asks for always waits. Default: no limit.
    #[serde(rename = "w", skip_serializing_if = "Option::is_none")]
    pub waiting_max: Option<u32>,
    /// Weights of fairness keys, from 1 to [`FAIRNESS_WEIGHT_MAX`]; they go before those of the calls. At most
    /// [`QUEUE_WEIGHTS_MAX`]. Default: none.
    #[serde(rename = "g", skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<Name, u32>,
}

/// At most so many attempts per period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueRate {
    /// How many, at least 1.
    #[serde(rename = "n")]
    pub count: u32,
    /// In how many milliseconds, from 1 to [`RATE_PERIOD_MAX_MS`].
    #[serde(rename = "p")]
    pub period_ms: u64,
    /// How many of those that were not used may be given out at once, at least 1.
    #[serde(rename = "b")]
    pub burst: u32,
}

/// A0039. Settings of a task queue that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} of a task queue cannot be {value}: {problem} [A0039]")]
pub struct QueueSettingsError {
    /// Which setting.
    pub setting: &'static str,
    /// What it was given.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

impl QueueSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == QueueSettings::default()
    }

    /// Whether they can be.
    ///
    /// Errors: [`QueueSettingsError`], for the first setting that cannot.
    pub fn check(&self) -> Result<(), QueueSettingsError> {
        let refuse = |setting, value: &dyn fmt::Display, problem: &str| {
            Err(QueueSettingsError { setting, value: value.to_string(), problem: problem.to_owned() })
        };
        let limits = [
            ("in_flight_max", self.in_flight_max),
            ("per_key_max", self.per_key_max),
            ("waiting_max", self.waiting_max),
            ("rate.count", self.rate.map(|rate| rate.count)),
            ("rate.burst", self.rate.map(|rate| rate.burst)),
        ];
        if let Some((setting, _)) = limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            return refuse(setting, &0, "nothing would ever go; pause the queue if that is meant");
        }
        if let Some(rate) = self.rate
            && !(1..=RATE_PERIOD_MAX_MS).contains(&rate.period_ms)
        {
            return refuse("rate.period_ms", &rate.period_ms, "a period has from 1 ms to a day");
        }
        if self.weights.len() > QUEUE_WEIGHTS_MAX {
            return refuse("weights", &format!("{} keys", self.weights.len()), "there are at most 1,024");
        }
        for (key, weight) in &self.weights {
            if let Err(error) = IdError::check("fairness key", key) {
                return refuse("weights", &format!("{key:?}"), &error.to_string());
            }
            if !(1..=FAIRNESS_WEIGHT_MAX).contains(weight) {
                return refuse("weights", &format!("{weight} for {key:?}"), "weights go from 1 to 1,000");
            }
        }
        Ok(())
    }
}

impl fmt::Display for QueueSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            return f.write_str(" nothing");
        }
        let limits = [
            ("in_flight_max", self.in_flight_max),
            ("per_key_max", self.per_key_max),
            ("waiting_max", self.waiting_max),
        ];
        for (setting, limit) in limits {
            if let Some(limit) = limit {
                write!(f, " {setting}={limit}")?;
            }
        }
        if let Some(QueueRate { count, period_ms, burst }) = self.rate {
            write!(f, " rate={count}/{period_ms}ms burst={burst}")?;
        }
        for (key, weight) in &self.weights {
            write!(f, " weight of {key:?}={weight}")?;
        }
        Ok(())
    }
}

/// What operators did to one task queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueEvent {
    /// It has these settings from now on, in place of all earlier ones.
    #[serde(rename = "st")]
    Set {
        /// The settings.
        #[serde(rename = "s")]
        settings: Box<QueueSettings>,
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why; may be empty.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It gives nothing out from now on. What is under way goes on.
    #[serde(rename = "pa")]
    Paused {
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why; may be empty.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It gives out again.
    #[serde(rename = "re")]
    Resumed {
        /// Who.
        #[serde(rename = "b")]
        who: String,
        /// Why; may be empty.
        #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

impl QueueEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            QueueEvent::Set { .. } => "QueueSet",
            QueueEvent::Paused { .. } => "QueuePaused",
            QueueEvent::Resumed { .. } => "QueueResumed",
        }
    }
}

/// The rest of the line behind the name.
impl fmt::Display for QueueEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, why) = match self {
            QueueEvent::Set { settings, who, why } => {
                write!(f, "{settings}")?;
                (who, why)
            }
            QueueEvent::Paused { who, why } | QueueEvent::Resumed { who, why } => (who, why),
        };
        write!(f, " by {who}")?;
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

/// Since when and why a queue is paused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueuePause {
    /// Since when.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Who paused it.
    #[serde(rename = "b")]
    pub who: String,
    /// Why; may be empty.
    #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What operators said of one task queue. Bounded by the settings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueState {
    /// Its settings.
    #[serde(rename = "s", skip_serializing_if = "QueueSettings::is_default")]
    pub settings: QueueSettings,
    /// That it is paused.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub paused: Option<QueuePause>,
    /// How often it was set, paused or resumed.
    #[serde(rename = "n")]
    pub changes: u64,
}

impl QueueState {
    /// Folds the next event of the stream, recorded at `at`. After an error nothing has changed.
    pub(crate) fn apply(&mut self, event: &QueueEvent, at: Timestamp) -> Result<(), String> {
        match event {
            QueueEvent::Set { settings, .. } => {
                settings.check().map_err(|error| error.to_string())?;
                self.settings = QueueSettings::clone(settings);
            }
            QueueEvent::Paused { .. } if self.paused.is_some() => return Err("it is paused already".to_owned()),
            QueueEvent::Paused { who, why } => {
                self.paused = Some(QueuePause { at, who: who.clone(), why: why.clone() });
            }
            QueueEvent::Resumed { .. } if self.paused.is_none() => return Err("it is not paused".to_owned()),
            QueueEvent::Resumed { .. } => self.paused = None,
        }
        self.changes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(set: impl FnOnce(&mut QueueSettings)) -> String {
        let mut settings = QueueSettings::default();
        set(&mut settings);
        settings.check().unwrap_err().to_string()
    }

    #[test]
    fn limits_of_zero_are_refused_by_name() {
        assert!(refused(|settings| settings.in_flight_max = Some(0)).starts_with("in_flight_max of a task queue"));
        assert!(refused(|settings| settings.per_key_max = Some(0)).starts_with("per_key_max of a task queue"));
        assert!(refused(|settings| settings.waiting_max = Some(0)).starts_with("waiting_max of a task queue"));
        let rate = QueueRate { count: 1, period_ms: 1, burst: 1 };
        assert!(refused(|settings| settings.rate = Some(QueueRate { count: 0, ..rate })).starts_with("rate.count"));
        assert!(refused(|settings| settings.rate = Some(QueueRate { burst: 0, ..rate })).starts_with("rate.burst"));
        let never = QueueRate { period_ms: 0, ..rate };
        assert!(refused(|settings| settings.rate = Some(never)).starts_with("rate.period_ms"));
        assert!(refused(|settings| _ = settings.weights.insert("a".into(), 1_001)).contains("1001 for \"a\""));
        assert!(refused(|settings| settings.in_flight_max = Some(0)).ends_with("[A0039]"));
        let most = QueueSettings { in_flight_max: Some(1), rate: Some(rate), ..QueueSettings::default() };
        assert_eq!(most.check(), Ok(()));
    }

    #[test]
    fn more_weights_than_the_bound_are_refused() {
        let weights = |count: usize| (0..count).map(|number| (Name::from(number.to_string()), 1)).collect();
        let with = |count| QueueSettings { weights: weights(count), ..QueueSettings::default() };
        assert_eq!(with(QUEUE_WEIGHTS_MAX).check(), Ok(()));
        assert!(with(QUEUE_WEIGHTS_MAX + 1).check().is_err());
    }

    #[test]
    fn a_queue_is_paused_once_and_resumed_once() {
        let mut state = QueueState::default();
        let (who, why) = ("ada".to_owned(), "the printer is jammed".to_owned());
        let pause = QueueEvent::Paused { who: who.clone(), why: why.clone() };
        let resume = QueueEvent::Resumed { who: who.clone(), why: String::new() };
        assert!(state.apply(&resume, Timestamp(1)).is_err());
        state.apply(&pause, Timestamp(2)).unwrap();
        assert_eq!(state.paused, Some(QueuePause { at: Timestamp(2), who, why }));
        let before = state.clone();
        assert!(state.apply(&pause, Timestamp(3)).is_err());
        assert_eq!(state, before, "a refused event changes nothing");
        state.apply(&resume, Timestamp(4)).unwrap();
        assert_eq!((state.paused, state.changes), (None, 2));
    }
}
