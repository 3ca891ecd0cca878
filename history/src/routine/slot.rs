use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One firing of a routine. Ordered by kind, then by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Slot {
    /// A moment of the schedule.
    #[serde(rename = "p")]
    Planned(Timestamp),
    /// A moment of the schedule that somebody asked to be carried out afterwards.
    #[serde(rename = "b")]
    Backfill {
        /// Which request of the routine, from 1.
        #[serde(rename = "n")]
        number: u32,
        /// The moment.
        #[serde(rename = "t")]
        at: Timestamp,
    },
    /// Outside the schedule, because somebody asked.
    #[serde(rename = "m")]
    Manual {
        /// Which one of the routine, from 1.
        #[serde(rename = "n")]
        number: u32,
        /// When it was asked for.
        #[serde(rename = "t")]
        at: Timestamp,
    },
}

impl Slot {
    /// The moment that the slot stands for: on the schedule's grid, or when it was asked for.
    pub fn at(self) -> Timestamp {
        match self {
            Slot::Planned(at) | Slot::Backfill { at, .. } | Slot::Manual { at, .. } => at,
        }
    }

    /// Whether it is outside the schedule: it moves no cursor and is not tried again.
    pub fn is_manual(self) -> bool {
        matches!(self, Slot::Manual { .. })
    }

    /// The workflow id of the run that carries the slot out: `<prefix>/<slot>`, from the second attempt on
    /// `<prefix>/<slot>/<attempt>`. Two attempts or slots of one prefix never share an id.
    pub fn workflow_id(self, prefix: &str, attempt: u32) -> String {
        match attempt {
            0 | 1 => format!("{prefix}/{self}"),
            later => format!("{prefix}/{self}/{later}"),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Planned(at) => f.write_str(&rfc3339(*at)),
            Slot::Backfill { number, at } => write!(f, "backfill-{number}/{}", rfc3339(*at)),
            Slot::Manual { number, .. } => write!(f, "manual-{number}"),
        }
    }
}

/// Which slot of which routine a run carries out; stands in the run's first event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoutineSlot {
    /// The routine's id.
    #[serde(rename = "id")]
    pub routine: String,
    /// The slot.
    #[serde(rename = "s")]
    pub slot: Slot,
    /// The attempt, from 1.
    #[serde(rename = "a")]
    pub attempt: u32,
}

const DAY_MS: i64 = 86_400_000;

/// A moment as RFC 3339 in UTC; milliseconds stand there only if there are some.
pub fn rfc3339(at: Timestamp) -> String {
    let (days, ms) = (at.0.div_euclid(DAY_MS), at.0.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let fraction = if ms % 1_000 == 0 { String::new() } else { format!(".{:03}", ms % 1_000) };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day counted from 1970-01-01: the proleptic Gregorian calendar, by eras of 400 years that begin
/// in March, so that the leap day is the last of its year (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_over_leap_days_and_before_the_epoch() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339(Timestamp(ms)), text);
        }
    }

    #[test]
    fn no_two_slots_or_attempts_share_a_workflow_id() {
        let at = Timestamp(60_000);
        let slots = [
            Slot::Planned(at),
            Slot::Planned(Timestamp(60_001)),
            Slot::Backfill { number: 1, at },
            Slot::Backfill { number: 2, at },
            Slot::Manual { number: 1, at },
            Slot::Manual { number: 2, at },
        ];
        let ids: std::collections::BTreeSet<String> =
            slots.iter().flat_map(|slot| [1, 2, 12].map(|attempt| slot.workflow_id("nightly", attempt))).collect();
        assert_eq!(ids.len(), 18);
        assert!(ids.contains("nightly/1970-01-01T00:01:00Z/2"), "{ids:?}");
    }
}
