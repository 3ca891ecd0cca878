//! A year of virtual time in zones whose clocks change: each slot fires exactly once, in order, and no restart changes it.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{Context, RoutinesReply, RoutinesRequest, RunFuture};
use antiphon_history::{
    CatchUp, EntityEvent, Events, Overlap, Payload, Record, RoutineEvent, RoutineSpec, RoutineTarget, Schedule, Slot,
    Timestamp,
};
use antiphon_replay_tests::world::*;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

fn quick(_: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async { done("1") })
}

/// What a cron expression of minutes and hours asks for.
struct Times {
    minutes: Vec<i8>,
    hours: Vec<i8>,
}

impl Times {
    fn expression(&self) -> String {
        let list = |numbers: &[i8]| numbers.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
        format!("{} {} * * *", list(&self.minutes), list(&self.hours))
    }

    fn has(&self, local: DateTime) -> bool {
        self.minutes.contains(&local.minute()) && self.hours.contains(&local.hour())
    }
}

/// What a watchman notes who looks at the zone's clock every minute: a time is carried out when the clock shows it or has
/// jumped past it, unless the clock has shown or passed it before.
fn watched(times: &Times, zone: &TimeZone, from: i64, to: i64) -> Vec<i64> {
    let shown = |at: i64| zone.to_datetime(jiff::Timestamp::from_millisecond(at).unwrap());
    let one = jiff::Span::new().minutes(1);
    let (mut latest, mut slots) = (shown(from - MINUTE), Vec::new());
    for at in (from..=to).step_by(MINUTE as usize) {
        let now = shown(at);
        let mut passed = false;
        while latest < now {
            latest = latest.checked_add(one).unwrap();
            passed |= times.has(latest);
        }
        if passed {
            slots.push(at);
        }
    }
    slots
}

fn spec(expression: String, zone: &str) -> RoutineSpec {
    let target = RoutineTarget::Workflow { workflow_type: "quick".into(), id_prefix: String::new(), input: vec![] };
    RoutineSpec::new(Schedule::Cron { expression, zone: zone.into() }, target)
}

fn create(world: &mut World, id: &str, spec: RoutineSpec) {
    let request =
        RoutinesRequest::Create { id: Some(id.into()), spec: Box::new(spec), who: String::new(), why: String::new() };
    let reply = world.routines(request);
    assert!(matches!(reply, RoutinesReply::Routine { existing: false, .. }), "{reply:?}");
}

/// The moments of the slots that were started, and when, as the record has them.
fn started(world: &World) -> Vec<(i64, i64)> {
    let mut slots = Vec::new();
    for bytes in &world.records {
        let record = Record::read(bytes).unwrap();
        let Events::Entity(events) = &record.events else { continue };
        for event in events {
            if let EntityEvent::Routine(RoutineEvent::SlotStarted { slot: Slot::Planned(at), .. }) = event {
                slots.push((at.0, record.at.0));
            }
        }
    }
    slots
}

fn moment(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A world that carries routines out by itself, at this moment.
fn world(at: i64) -> World {
    let mut world = World::new(&[("quick", quick)], vec![]).with_routines();
    world.now = at;
    world
}

const YEARS: [(&str, &str); 6] = [
    ("Europe/Berlin", "2026"),
    ("America/New_York", "2026"),
    ("Australia/Lord_Howe", "2026"),
    ("Pacific/Apia", "2011"),
    ("Africa/Casablanca", "2026"),
    ("America/St_Johns", "2006"),
];

#[test]
fn every_slot_of_a_year_fires_once_and_in_order_in_zones_whose_clocks_change() {
    let zones = TimeZoneDatabase::bundled();
    for (zone, year) in YEARS {
        let (from, days) = (moment(&format!("{year}-01-01T00:00:00Z")), 365);
        let to = from + days * 24 * 60 * MINUTE;
        // Around the hours in which clocks are moved, and one by day.
        let times = Times { minutes: vec![1, 30], hours: vec![0, 2, 13] };
        let mut world = world(from);
        create(&mut world, "r", spec(times.expression(), zone));
        world.pass(to - from);
        let slots = started(&world);
        let expected = watched(&times, &zones.get(zone).unwrap(), from, to);
        assert_eq!(slots.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), expected, "{zone} {year}");
        assert!(slots.iter().all(|(slot, at)| slot == at), "each in its own moment");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Some weeks around a change of the clocks, with restarts and sleeps at random moments.
    #[test]
    fn restarts_and_sleeps_change_nothing_of_what_a_routine_carries_out(
        zone in 0usize..YEARS.len(),
        start_day in 60i64..300,
        minutes in prop::collection::btree_set(0i8..60, 1..3),
        hours in prop::collection::btree_set(0i8..24, 1..4),
        jitter_ms in prop_oneof![Just(0u64), 1u64..20 * 60_000],
        pauses in prop::collection::vec((1i64..3 * 24 * 60, any::<bool>()), 1..12),
    ) {
        let (zone, year) = YEARS[zone];
        let from = moment(&format!("{year}-01-01T00:00:00Z")) + start_day * 24 * 60 * MINUTE;
        let times = Times { minutes: minutes.into_iter().collect(), hours: hours.into_iter().collect() };
        let mut world = world(from);
        let all = RoutineSpec {
            catch_up: CatchUp::All, overlap: Overlap::BufferAll, jitter_ms, ..spec(times.expression(), zone)
        };
        create(&mut world, "r", all);
        for (length, sleeps) in pauses {
            if sleeps {
                // Nobody looks for so long; then the engine starts again and finds it all.
                world.now += length * MINUTE;
                world.restart(None);
            } else {
                world.pass(length * MINUTE);
            }
        }
        // Past every jitter.
        world.pass(30 * MINUTE);
        let to = world.now;
        let slots = started(&world);
        let expected: Vec<i64> = watched(&times, &TimeZoneDatabase::bundled().get(zone).unwrap(), from, to);
        let fired: Vec<i64> = slots.iter().map(|(slot, _)| *slot).collect();
        // What lies within the last jitter may still be to come.
        let settled = expected.iter().filter(|slot| **slot <= to - 20 * MINUTE).count();
        prop_assert!(fired.len() >= settled && expected.starts_with(&fired), "{:?}\n{:?}", fired, expected);
        prop_assert!(slots.iter().all(|(slot, at)| at >= slot));
        let ids: std::collections::BTreeSet<Timestamp> = fired.iter().map(|slot| Timestamp(*slot)).collect();
        prop_assert_eq!(ids.len(), fired.len(), "none twice");
    }
}
