use super::Calendar;
use antiphon_history::{RoutineSpec, Schedule, Timestamp};

/// The first slot of a routine that begins at `now`; none if the schedule has none.
pub(crate) fn first_slot(spec: &RoutineSpec, now: Timestamp, calendar: &dyn Calendar) -> Option<Timestamp> {
    let start = spec.start_at.unwrap_or(now);
    let before = Timestamp(start.0.saturating_sub(1));
    let first = match &spec.schedule {
        Schedule::Once { at } => Some(*at),
        Schedule::Interval { phase_ms: None, .. } => Some(start),
        Schedule::Interval { every_ms, phase_ms: Some(phase) } => grid_after(*every_ms, *phase, before),
        Schedule::Cron { expression, zone } => calendar.next(expression, zone, before),
    };
    first.filter(|first| is_within(spec, *first))
}

/// The first slot that is later than `after`, on the grid that `origin` lies on.
pub(crate) fn following(
    spec: &RoutineSpec,
    origin: Timestamp,
    after: Timestamp,
    calendar: &dyn Calendar,
) -> Option<Timestamp> {
    let next = match &spec.schedule {
        Schedule::Once { .. } => None,
        Schedule::Interval { every_ms, phase_ms } => {
            let phase = phase_ms.unwrap_or_else(|| origin.0.rem_euclid(signed(*every_ms)).unsigned_abs());
            grid_after(*every_ms, phase, after)
        }
        Schedule::Cron { expression, zone } => calendar.next(expression, zone, after),
    };
    next.filter(|next| *next > after && is_within(spec, *next))
}

fn is_within(spec: &RoutineSpec, slot: Timestamp) -> bool {
    spec.end_at.is_none_or(|end| slot <= end)
}

/// The first point after `after` of the grid `phase + n × every`; none beyond the end of time.
fn grid_after(every_ms: u64, phase_ms: u64, after: Timestamp) -> Option<Timestamp> {
    let every = signed(every_ms);
    let phase = i128::from(phase_ms) % i128::from(every);
    let past = (i128::from(after.0) - phase).div_euclid(i128::from(every));
    i64::try_from((past + 1) * i128::from(every) + phase).ok().map(Timestamp)
}

/// A distance as a divisor: at least 1, at most what a moment can hold.
fn signed(every_ms: u64) -> i64 {
    i64::try_from(every_ms).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoCalendar;
    use antiphon_history::RoutineTarget;
    use proptest::prelude::*;

    fn every(every_ms: u64, phase_ms: Option<u64>) -> RoutineSpec {
        let target = RoutineTarget::Workflow { workflow_type: "w".into(), id_prefix: String::new(), input: Vec::new() };
        RoutineSpec::new(Schedule::Interval { every_ms, phase_ms }, target)
    }

    proptest! {
        #[test]
        fn the_slot_that_follows_is_the_nearest_later_point_of_the_grid(
            every_ms in 1u64..1 << 40, phase: Option<u32>, origin in -1i64 << 50..1 << 50, after in -1i64 << 50..1 << 50,
        ) {
            let phase = phase.map(u64::from);
            let spec = every(every_ms, phase);
            let next = following(&spec, Timestamp(origin), Timestamp(after), &NoCalendar).unwrap();
            let anchor = phase.map_or(origin, |phase| phase as i64);
            prop_assert_eq!((next.0 - anchor).rem_euclid(every_ms as i64), 0);
            prop_assert!(next.0 > after && next.0 - after <= every_ms as i64);
        }
    }

    #[test]
    fn the_first_slot_is_the_start_or_the_first_point_of_a_given_grid_from_there_on() {
        let now = Timestamp(1_005);
        assert_eq!(first_slot(&every(60, None), now, &NoCalendar), Some(now));
        assert_eq!(first_slot(&every(100, Some(7)), now, &NoCalendar), Some(Timestamp(1_007)));
        assert_eq!(first_slot(&every(100, Some(5)), now, &NoCalendar), Some(now), "the start itself is a point");
        let late = RoutineSpec { end_at: Some(Timestamp(1_000)), ..every(60, None) };
        assert_eq!(first_slot(&late, now, &NoCalendar), None);
    }
}
