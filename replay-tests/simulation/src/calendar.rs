//! The simulation's own calendar: zones whose clocks change, and daily times in them. The engine asks it; the oracle holds
//! what came of it against a watchman, who looks at the zone's clock minute by minute.

use antiphon_engine::{Calendar, CalendarError};
use antiphon_history::Timestamp;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// A zone: what its clock is ahead of ours in winter and in summer, in minutes, and in which days of a year of 365 summer
/// begins and ends, each at one in the morning by our clock.
#[derive(Clone, Copy)]
struct Zone {
    name: &'static str,
    winter: i64,
    summer: i64,
    days: (i64, i64),
}

const ZONES: [Zone; 4] = [
    Zone { name: "Sim/North", winter: 60, summer: 120, days: (87, 297) },
    Zone { name: "Sim/South", winter: 660, summer: 630, days: (96, 277) },
    Zone { name: "Sim/Midnight", winter: -60, summer: 0, days: (100, 200) },
    Zone { name: "Sim/Flat", winter: 345, summer: 345, days: (1, 2) },
];

/// The name of a zone by its number.
pub(crate) fn zone_name(number: u32) -> String {
    ZONES[number as usize % ZONES.len()].name.to_owned()
}

impl Zone {
    fn of(name: &str) -> Option<Zone> {
        ZONES.into_iter().find(|zone| zone.name == name)
    }

    fn offset(&self, at: i64) -> i64 {
        let in_year = (at - 60 * MINUTE).rem_euclid(365 * DAY) / DAY;
        let summer = self.days.0 <= in_year && in_year < self.days.1;
        MINUTE * if summer { self.summer } else { self.winter }
    }

    /// What the zone's clock shows.
    fn shows(&self, at: i64) -> i64 {
        at + self.offset(at)
    }

    /// When its clock first shows a local time or has jumped past it.
    fn when(&self, local: i64) -> i64 {
        let (one, other) = (local - MINUTE * self.winter, local - MINUTE * self.summer);
        let (early, late) = (one.min(other), one.max(other));
        if self.shows(early) == local {
            return early;
        }
        if self.shows(late) == local {
            return late;
        }
        // It is skipped: the first moment after the gap. Clocks change at full hours of ours.
        let hour = 60 * MINUTE;
        let mut hours = (early.div_euclid(hour)..=late.div_euclid(hour)).map(|number| number * hour);
        hours.find(|at| self.offset(*at) != self.offset(*at - 1)).unwrap_or(late)
    }
}

/// The minutes of a day that an expression of minutes and hours asks for.
fn times(expression: &str) -> Option<Vec<i64>> {
    let mut words = expression.split(' ');
    let list =
        |word: Option<&str>| word?.split(',').map(|number| number.parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let (minutes, hours) = (list(words.next())?, list(words.next())?);
    Some(hours.iter().flat_map(|hour| minutes.iter().map(move |minute| hour * 60 + minute)).collect())
}

/// The calendar.
pub(crate) struct OwnCalendar;

impl Calendar for OwnCalendar {
    fn check(&self, expression: &str, zone: &str) -> Result<(), CalendarError> {
        Zone::of(zone).ok_or(CalendarError::Zone)?;
        let problem = || CalendarError::Expression { problem: "two lists of numbers are needed".to_owned() };
        times(expression).map(|_| ()).ok_or_else(problem)
    }

    fn next(&self, expression: &str, zone: &str, after: Timestamp) -> Option<Timestamp> {
        let (zone, times) = (Zone::of(zone)?, times(expression)?);
        let today = zone.shows(after.0).div_euclid(DAY);
        let days = today - 1..=today + 2;
        let moments = days.flat_map(|day| times.iter().map(move |minutes| day * DAY + minutes * MINUTE));
        moments.map(|local| Timestamp(zone.when(local))).filter(|at| *at > after).min()
    }
}

/// What the watchman sees: the first minute after `after` in which the zone's clock shows one of the times, or has jumped
/// past it, and has not shown or passed it before.
pub(crate) fn watched(expression: &str, zone: &str, after: Timestamp) -> Option<Timestamp> {
    let (zone, times) = (Zone::of(zone)?, times(expression)?);
    // Far enough back that every time that the clock could show again was shown.
    let from = after.0.div_euclid(MINUTE) - 4 * 60;
    let mut latest = zone.shows((from - 1) * MINUTE).div_euclid(MINUTE);
    for minute in from..from + 4 * 60 + 3 * 24 * 60 {
        let shown = zone.shows(minute * MINUTE).div_euclid(MINUTE);
        let mut passed = false;
        while latest < shown {
            latest += 1;
            passed |= times.contains(&latest.rem_euclid(24 * 60));
        }
        if passed && minute * MINUTE > after.0 {
            return Some(Timestamp(minute * MINUTE));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_says_what_the_watchman_sees_all_the_year() {
        for zone in ZONES {
            for expression in ["30 2", "1,30 0,1,2,13", "0 3", "59 23"] {
                let mut at = Timestamp(0);
                while at.0 < 400 * DAY {
                    let next = OwnCalendar.next(expression, zone.name, at);
                    assert_eq!(next, watched(expression, zone.name, at), "{} {expression} after {}", zone.name, at.0);
                    at = next.unwrap();
                }
            }
        }
    }
}
