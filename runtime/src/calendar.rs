//! Cron expressions and time zones, from libraries and from tables that are compiled in: the same everywhere, and no file of
//! the system's is read.

use antiphon_engine::{Calendar, CalendarError};
use antiphon_history::Timestamp;
use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

/// The calendar of the clocks on the world's walls.
///
/// An expression is matched against local time, as a clock without zone shows it; then each match is looked up in the zone.
/// A local time that the zone skips stands for the first moment after the gap, several of them for that moment once. A
/// local time that comes twice stands for the first of the two.
#[derive(Debug, Clone)]
pub struct WallCalendar {
    zones: TimeZoneDatabase,
}

/// The library looks four years ahead. A leap day can be eight years away, around a century that has none.
const LOOKS: usize = 3;

/// How far one look reaches, in milliseconds: a little less than the library's four years.
const LOOK_MS: i64 = (4 * 365 - 1) * 86_400_000;

impl Default for WallCalendar {
    fn default() -> WallCalendar {
        WallCalendar { zones: TimeZoneDatabase::bundled() }
    }
}

impl WallCalendar {
    fn zone(&self, name: &str) -> Result<TimeZone, CalendarError> {
        self.zones.get(name).map_err(|_| CalendarError::Zone)
    }
}

impl Calendar for WallCalendar {
    fn check(&self, expression: &str, zone: &str) -> Result<(), CalendarError> {
        self.zone(zone)?;
        parse(expression).map(drop)
    }

    fn next(&self, expression: &str, zone: &str, after: Timestamp) -> Option<Timestamp> {
        let (zone, cron) = (self.zone(zone).ok()?, parse(expression).ok()?);
        let after_at = jiff::Timestamp::from_millisecond(after.0).ok()?;
        // Local time only ever jumps forward past a moment or back to one that was: what stands on the clock before this
        // moment's local time lies before this moment.
        let mut local = zone.to_datetime(after_at);
        loop {
            local = next_on_the_clock(&cron, local)?;
            let at = Timestamp(first_moment(&zone, local)?.as_millisecond());
            // The second pass of a repeated hour: what it shows was due in the first.
            if at > after {
                return Some(at);
            }
        }
    }
}

fn parse(expression: &str) -> Result<Crontab, CalendarError> {
    // The library would take a zone behind the five fields; ours stands beside them.
    let fields = expression.split_whitespace().count();
    if fields != 5 {
        let problem = format!("it has {fields} fields; give minute, hour, day of the month, month, day of the week");
        return Err(CalendarError::Expression { problem });
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let wrong = |error: cronexpr::Error| CalendarError::Expression {
        problem: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    };
    cronexpr::parse_crontab_with(&cronexpr::normalize_crontab(expression), options).map_err(wrong)
}

/// The next match on a clock that is never put forward or back: one that shows UTC.
fn next_on_the_clock(cron: &Crontab, after: DateTime) -> Option<DateTime> {
    let mut from = after.to_zoned(TimeZone::UTC).ok()?.timestamp();
    for _ in 0..LOOKS {
        if let Ok(found) = cron.find_next(MakeTimestamp(from)) {
            return Some(found.datetime());
        }
        from = jiff::Timestamp::from_millisecond(from.as_millisecond().checked_add(LOOK_MS)?).ok()?;
    }
    None
}

/// The first moment at which the clocks of a zone show a time, or have passed it.
fn first_moment(zone: &TimeZone, local: DateTime) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            let earlier = after.to_timestamp(local).ok()?;
            let mut changes = zone.following(earlier);
            changes.find(|change| change.offset() == after).map(|change| change.timestamp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let calendar = WallCalendar::default();
        let mut at = Timestamp(from.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let mut next = || {
            at = calendar.next(expression, zone, at)?;
            Some(antiphon_history::rfc3339(at))
        };
        std::iter::from_fn(&mut next).take(count).collect()
    }

    #[test]
    fn a_time_that_the_zone_skips_fires_once_at_the_end_of_the_gap() {
        // 2026-03-29: Berlin goes from 02:00 to 03:00.
        let spring = slots("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3);
        assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let several = slots("0,20,40 2,3 29 3 *", "Europe/Berlin", "2026-03-28T23:00:00Z", 3);
        assert_eq!(several, ["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"]);
        // Lord Howe moves by half an hour: 2026-10-04, from 02:00 to 02:30.
        let half = slots("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2);
        assert_eq!(half, ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]);
        // Apia had no 30 December 2011.
        let day = slots("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
        assert_eq!(day, ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]);
    }

    #[test]
    fn a_time_that_comes_twice_fires_in_the_first_pass_alone() {
        // 2026-10-25: Berlin goes from 03:00 back to 02:00.
        let autumn = slots("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let from_the_second_pass = slots("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1);
        assert_eq!(from_the_second_pass, ["2026-10-26T01:30:00Z"]);
        let new_york = slots("30 1 1 11 *", "America/New_York", "2026-01-01T00:00:00Z", 1);
        assert_eq!(new_york, ["2026-11-01T05:30:00Z"]);
    }

    #[test]
    fn a_leap_day_is_found_across_a_century_without_one() {
        assert_eq!(slots("0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
        assert_eq!(slots("0 0 30 2 *", "UTC", "2097-01-01T00:00:00Z", 1), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let calendar = WallCalendar::default();
        assert_eq!(calendar.check("0 0 * * *", "Europe/Atlantis"), Err(CalendarError::Zone));
        assert_eq!(calendar.check("0 0 * * *", ""), Err(CalendarError::Zone));
        for wrong in
            ["", "* * * *", "* * * * * UTC", "60 * * * *", "* 24 * * *", "x * * * *", "* * 0 * *", "*/0 * * * *"]
        {
            let error = calendar.check(wrong, "UTC").unwrap_err();
            assert!(matches!(error, CalendarError::Expression { .. }), "{wrong:?}: {error:?}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert_eq!(calendar.check("*/15 8-18 * * MON-FRI", "America/New_York"), Ok(()));
    }
}
