use antiphon_history::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};
use std::str::FromStr;

/// In which zone times are shown and read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// This machine's.
    Local,
}

impl Zone {
    /// This machine's clock. Used for ages and relative limits only; recorded times come from the engine's clock.
    pub fn now() -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }

    fn time_zone(self) -> TimeZone {
        match self {
            Zone::Utc => TimeZone::UTC,
            Zone::Local => TimeZone::system(),
        }
    }

    fn format(self, at: Timestamp, format: &str) -> String {
        // A forged file may hold a moment that no calendar has.
        let Ok(time) = jiff::Timestamp::from_millisecond(at.0) else { return format!("{} ms", at.0) };
        time.to_zoned(self.time_zone()).strftime(format).to_string()
    }

    /// `2026-01-01 00:00:00.000Z`, or with the offset of the zone.
    pub(super) fn date_time(self, at: Timestamp) -> String {
        match self {
            Zone::Utc => self.format(at, "%Y-%m-%d %H:%M:%S%.3fZ"),
            Zone::Local => self.format(at, "%Y-%m-%d %H:%M:%S%.3f%:z"),
        }
    }

    /// `00:00:00.000` if `at` is on the same day as `day`, else with the date before it.
    pub(super) fn time_of_day(self, at: Timestamp, day: Timestamp) -> String {
        let date = "%Y-%m-%d";
        let format =
            if self.format(at, date) == self.format(day, date) { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" };
        self.format(at, format)
    }
}

/// RFC 3339 in UTC with milliseconds: the one form of every time in JSON.
pub(super) fn rfc3339(at: Timestamp) -> String {
    Zone::Utc.format(at, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// A length of time for people: two units at most.
pub(super) fn duration(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{:03}s", ms % 1_000),
        60_000..3_600_000 => format!("{minutes}m{:02}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A moment as a person gives it on the command line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum When {
    /// With an offset: `2026-11-21T10:00:00Z`.
    Exact(Timestamp),
    /// In the zone of the view: `2026-11-21` or `2026-11-21T10:00`.
    Civil(DateTime),
    /// Before now: `2h`, `3d`.
    Ago(u64),
}

impl When {
    /// The moment that is meant; `None` if the zone's calendar has none.
    pub(super) fn resolve(self, zone: Zone, now: Timestamp) -> Option<Timestamp> {
        match self {
            When::Exact(at) => Some(at),
            When::Ago(ms) => Some(Timestamp(now.0.saturating_sub(i64::try_from(ms).ok()?))),
            When::Civil(civil) => {
                let zoned = civil.to_zoned(zone.time_zone()).ok()?;
                Some(Timestamp(zoned.timestamp().as_millisecond()))
            }
        }
    }
}

impl FromStr for When {
    type Err = String;
    fn from_str(text: &str) -> Result<When, String> {
        if let Ok(exact) = text.parse::<jiff::Timestamp>() {
            return Ok(When::Exact(Timestamp(exact.as_millisecond())));
        }
        if let Ok(civil) = text.parse::<DateTime>() {
            return Ok(When::Civil(civil));
        }
        text.parse::<Span>()
            .and_then(|span| span.abs().to_duration(SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|length| u64::try_from(length.as_millis()).ok())
            .map(When::Ago)
            .ok_or_else(|| {
                "give a time (2026-11-21T10:00:00Z, 2026-11-21T10:00, 2026-11-21) or an age (2h, 3d)".to_owned()
            })
    }
}

/// A moment on the calendar as a person gives it, or `now`. Unlike [`When`] it is no age: what is planned lies ahead.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Moment {
    /// This very moment.
    Now,
    /// Exactly, or in the zone of the view.
    At(When),
}

impl Moment {
    /// The moment that is meant; `None` if the zone's calendar has none.
    pub(super) fn resolve(self, zone: Zone, now: Timestamp) -> Option<Timestamp> {
        match self {
            Moment::Now => Some(now),
            Moment::At(when) => when.resolve(zone, now),
        }
    }
}

impl FromStr for Moment {
    type Err = String;
    fn from_str(text: &str) -> Result<Moment, String> {
        match text.parse() {
            _ if text == "now" => Ok(Moment::Now),
            Ok(when @ (When::Exact(_) | When::Civil(_))) => Ok(Moment::At(when)),
            Ok(When::Ago(_)) | Err(_) => {
                Err("give a time (2026-11-21T10:00:00Z, 2026-11-21T10:00, 2026-11-21) or `now`".to_owned())
            }
        }
    }
}

/// A length of time in milliseconds, as a person gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Length(pub(super) u64);

impl FromStr for Length {
    type Err = String;
    fn from_str(text: &str) -> Result<Length, String> {
        let problem = || "give a length of time, such as 250ms, 90s, 5m, 1h30m or 2d".to_owned();
        let span = text.parse::<Span>().map_err(|_| problem())?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| problem())?;
        u64::try_from(length.as_millis()).map(Length).map_err(|_| problem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-01-01T00:00:00Z
    const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000);

    #[test]
    fn a_moment_is_given_exactly_or_by_the_calendar_or_as_an_age() {
        let at = |text: &str| text.parse::<When>().unwrap().resolve(Zone::Utc, NEW_YEAR).unwrap();
        assert_eq!(at("2026-01-01T01:00:00+01:00"), NEW_YEAR);
        assert_eq!(at("2026-01-01"), NEW_YEAR);
        assert_eq!(at("2025-12-31T23:59"), Timestamp(NEW_YEAR.0 - 60_000));
        assert_eq!(at("2h"), Timestamp(NEW_YEAR.0 - 7_200_000));
        assert_eq!(at("1d2h"), Timestamp(NEW_YEAR.0 - 26 * 3_600_000));
        for wrong in ["", "yesterday", "2026-13-01", "5"] {
            assert!(wrong.parse::<When>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_moment_that_a_record_can_hold_is_shown() {
        assert_eq!(Zone::Utc.date_time(NEW_YEAR), "2026-01-01 00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(NEW_YEAR.0 + 7)), "2026-01-01T00:00:00.007Z");
        assert_eq!(Zone::Utc.time_of_day(Timestamp(NEW_YEAR.0 + 7), NEW_YEAR), "00:00:00.007");
        assert_eq!(Zone::Utc.time_of_day(Timestamp(NEW_YEAR.0 - 1), NEW_YEAR), "2025-12-31 23:59:59.999");
        assert_eq!(Zone::Utc.date_time(Timestamp(i64::MAX)), "9223372036854775807 ms");
    }

    #[test]
    fn what_is_planned_is_a_moment_and_no_age() {
        let at = |text: &str| text.parse::<Moment>().unwrap().resolve(Zone::Utc, NEW_YEAR).unwrap();
        assert_eq!((at("now"), at("2026-01-01")), (NEW_YEAR, NEW_YEAR));
        assert!("2h".parse::<Moment>().is_err());
        let length = |text: &str| text.parse::<Length>().map(|length| length.0);
        assert_eq!((length("250ms"), length("1h30m"), length("2d")), (Ok(250), Ok(5_400_000), Ok(172_800_000)));
        for wrong in ["", "5", "-5m", "soon"] {
            assert!(length(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lengths_of_time_have_two_units_at_most() {
        let shown: Vec<_> = [0, 999, 1_300, 61_000, 3_720_000, 90_000_000].map(duration).into();
        assert_eq!(shown, ["0ms", "999ms", "1.300s", "1m01s", "1h02m", "1d01h"]);
    }
}
