use super::*;
use antiphon_history::{ActivityOptions, Site};
use proptest::prelude::*;
use std::collections::BTreeSet;

const T0: Timestamp = Timestamp(1_000);

fn call(queue: &str, activity_type: &str, set: impl FnOnce(&mut ActivityOptions)) -> ActivityCall {
    let mut options = ActivityOptions::default();
    set(&mut options);
    ActivityCall {
        activity_type: activity_type.into(),
        queue: queue.into(),
        input: Vec::new(),
        options,
        site: Site::default(),
    }
}

fn spec(name: &str, queues: &[&str], activities: &[&str], labels: &[&str], capacity: u32) -> WorkerSpec {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<String>>();
    let name = name.to_owned();
    WorkerSpec { name, queues: set(queues), activities: set(activities), labels: set(labels), capacity }
}

fn item(run: u64) -> (RunKey, Ordinal) {
    (RunKey(run), Ordinal(1))
}

fn conversation(run: u64) -> ConversationKey {
    ConversationKey { run: RunKey(run), ordinal: Ordinal(1), attempt: 1 }
}

/// A dispatch with the calls that it was given, so that tests name runs only.
#[derive(Default)]
struct Desk {
    dispatch: Dispatch,
    calls: BTreeMap<u64, ActivityCall>,
    excluded: BTreeMap<u64, Vec<Name>>,
    now: Timestamp,
}

impl Desk {
    fn with(workers: Vec<WorkerSpec>) -> Desk {
        let mut desk = Desk { now: T0, ..Desk::default() };
        workers.into_iter().for_each(|spec| desk.dispatch.join(spec, false));
        desk
    }

    fn add(&mut self, run: u64, call: ActivityCall) {
        self.dispatch.add(RunKey(run), Ordinal(1), &call, self.now);
        self.calls.insert(run, call);
    }

    fn plain(&mut self, runs: std::ops::RangeInclusive<u64>, set: impl Fn(u64, &mut ActivityOptions)) {
        runs.for_each(|run| self.add(run, call("q", "a", |options| set(run, options))));
    }

    /// Gives out all that can be; returns who got what.
    fn round(&mut self) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        while let Some((run, ordinal)) = self.dispatch.next(self.now) {
            let call = &self.calls[&run.0];
            let excluded = self.excluded.get(&run.0).map_or(&[][..], |names| names);
            match self.dispatch.choose(call, excluded) {
                Some(choice) => {
                    self.dispatch.place(&choice.worker, conversation(run.0), 1, call, self.now);
                    out.push((run.0, choice.worker.to_string()));
                }
                None => self.dispatch.set_aside(run, ordinal, None),
            }
        }
        out
    }

    /// As [`Desk::round`], without the names.
    fn runs(&mut self) -> Vec<u64> {
        self.round().into_iter().map(|(run, _)| run).collect()
    }

    /// The leg of a run ends, and the activity with it.
    fn end(&mut self, run: u64) {
        assert!(self.dispatch.release(conversation(run), 1, self.now), "run {run} had a place");
        let call = self.calls.remove(&run).expect("it was given");
        self.dispatch.over(RunKey(run), Ordinal(1), &call);
    }

    /// Serves one after the other until nobody waits.
    fn order(&mut self) -> Vec<u64> {
        let mut order = Vec::new();
        loop {
            let served = self.runs();
            if served.is_empty() {
                return order;
            }
            served.iter().for_each(|run| self.end(*run));
            order.extend(served);
        }
    }

    fn why(&self, run: u64) -> Option<WaitReason> {
        self.dispatch.why_waiting(item(run), &self.calls[&run], self.now)
    }

    fn rules(&mut self, rules: Rules) {
        self.dispatch.set_rules(&"q".into(), rules, self.now);
    }
}

fn one(capacity: u32) -> Vec<WorkerSpec> {
    vec![spec("w1", &["q"], &["a"], &[], capacity)]
}

#[test]
fn without_options_the_oldest_goes_first() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=20, |_, _| {});
    assert_eq!(desk.order(), (1..=20).collect::<Vec<_>>());
}

#[test]
fn who_may_be_taken_since_earlier_goes_before_who_came_first() {
    let mut desk = Desk::with(one(1));
    desk.now = Timestamp(2_000);
    desk.add(1, call("q", "a", |_| {}));
    desk.now = Timestamp(1_500);
    desk.add(2, call("q", "a", |_| {}));
    assert_eq!(desk.order(), [2, 1]);
}

#[test]
fn the_more_urgent_goes_first_however_old_the_others_are() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=10, |run, options| options.priority = 5 - u8::try_from((run - 1) / 2).unwrap());
    assert_eq!(desk.order(), [9, 10, 7, 8, 5, 6, 3, 4, 1, 2]);
}

#[test]
fn a_key_with_many_does_not_hold_up_a_key_with_few() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=100, |_, options| options.fairness_key = "big".to_owned());
    desk.plain(101..=103, |_, options| options.fairness_key = "small".to_owned());
    assert_eq!(desk.order()[..6], [1, 101, 2, 102, 3, 103]);
}

#[test]
fn a_key_of_weight_three_gets_three_for_one() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=400, |run, options| {
        options.fairness_key = if run % 2 == 0 { "heavy" } else { "light" }.to_owned();
        options.fairness_weight = if run % 2 == 0 { 3 } else { 1 };
    });
    let order = desk.order();
    for count in [40, 100, 200] {
        let heavy = order[..count].iter().filter(|run| **run % 2 == 0).count();
        assert!(heavy.abs_diff(count * 3 / 4) <= 1, "{heavy} of the first {count}");
    }
}

#[test]
fn a_weight_of_the_queue_goes_before_that_of_the_call() {
    let mut desk = Desk::with(one(1));
    desk.rules(Rules { weights: BTreeMap::from([("vip".into(), 4)]), ..Rules::default() });
    desk.plain(1..=100, |run, options| {
        options.fairness_key = if run % 2 == 0 { "vip" } else { "other" }.to_owned();
        options.fairness_weight = if run % 2 == 0 { 1 } else { 2 };
    });
    let vip = desk.order()[..30].iter().filter(|run| **run % 2 == 0).count();
    assert!(vip.abs_diff(20) <= 1, "{vip} of 30, wanted two to one");
}

#[test]
fn a_key_that_was_idle_brings_no_credit_along() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=200, |_, options| options.fairness_key = "busy".to_owned());
    for _ in 0..100 {
        let served = desk.runs();
        served.iter().for_each(|run| desk.end(*run));
    }
    desk.plain(301..=350, |_, options| options.fairness_key = "new".to_owned());
    let next = &desk.order()[..20];
    let new = next.iter().filter(|run| **run > 300).count();
    assert!(new.abs_diff(10) <= 1, "{new} of 20: it shares from now on");
}

#[test]
fn a_key_whose_calls_were_withdrawn_owes_nothing_for_them() {
    let mut desk = Desk::with(one(1));
    desk.plain(1..=1_000, |_, options| options.fairness_key = "fickle".to_owned());
    desk.plain(2_001..=2_010, |_, options| options.fairness_key = "steady".to_owned());
    (1..=999).for_each(|run| desk.dispatch.remove(RunKey(run), Ordinal(1)));
    assert!(desk.order()[..2].contains(&1_000));
}

#[test]
fn fair_shares_hold_across_types_that_the_same_workers_take() {
    let mut desk = Desk::with(vec![spec("w1", &["q"], &["a", "b"], &[], 1)]);
    desk.plain(1..=50, |_, options| options.fairness_key = "x".to_owned());
    (101..=150).for_each(|run| desk.add(run, call("q", "b", |options| options.fairness_key = "x".to_owned())));
    (201..=205).for_each(|run| desk.add(run, call("q", "b", |options| options.fairness_key = "y".to_owned())));
    let order = desk.order();
    assert_eq!(order[..10].iter().filter(|run| **run > 200).count(), 5, "{order:?}");
}

#[test]
fn a_call_that_nobody_can_take_holds_up_nobody() {
    let mut desk = Desk::with(one(1));
    desk.add(1, call("q", "other", |options| options.priority = 1));
    desk.add(2, call("q", "a", |options| options.needs = vec!["gpu".to_owned()]));
    desk.plain(3..=4, |_, _| {});
    assert_eq!(desk.order(), [3, 4]);
    let queue: Name = "q".into();
    let needs = vec!["gpu".to_owned()];
    assert_eq!(desk.why(1), Some(WaitReason::NoSuchActivity { queue: queue.clone(), activity_type: "other".into() }));
    assert_eq!(desk.why(2), Some(WaitReason::MissingLabels { queue, missing: needs.clone(), needs }));
    desk.dispatch.join(spec("w2", &["q"], &["a", "other"], &["gpu"], 1), false);
    assert_eq!(desk.order(), [1, 2]);
}

#[test]
fn a_full_queue_gives_out_no_more_than_its_limit_and_goes_on_when_one_ends() {
    let mut desk = Desk::with(one(10));
    desk.rules(Rules { in_flight_max: Some(2), ..Rules::default() });
    desk.plain(1..=4, |_, _| {});
    assert_eq!(desk.runs(), [1, 2]);
    assert_eq!(desk.why(3), Some(WaitReason::QueueFull { queue: "q".into(), max: 2 }));
    desk.end(1);
    assert_eq!(desk.runs(), [3]);
    desk.rules(Rules::default());
    assert_eq!(desk.runs(), [4], "without the limit the rest goes");
}

#[test]
fn a_paused_queue_gives_out_nothing_and_others_go_on() {
    let mut desk = Desk::with(vec![spec("w1", &["q", "r"], &["a"], &[], 10)]);
    desk.rules(Rules { paused: true, ..Rules::default() });
    desk.plain(1..=2, |_, _| {});
    desk.add(3, call("r", "a", |_| {}));
    assert_eq!(desk.runs(), [3]);
    assert_eq!(desk.why(1), Some(WaitReason::QueuePaused { queue: "q".into() }));
    desk.rules(Rules::default());
    assert_eq!(desk.runs(), [1, 2]);
}

#[test]
fn a_rate_lets_them_go_one_by_one_and_says_when_the_next_goes() {
    let mut desk = Desk::with(one(10));
    desk.rules(Rules { rate: Some(Rate { count: 1, period_ms: 100, burst: 1 }), ..Rules::default() });
    desk.plain(1..=3, |_, _| {});
    assert_eq!(desk.runs(), [0; 0]);
    for run in 1..=3 {
        let due = desk.dispatch.next_due().expect("the queue says when it goes on");
        assert_eq!(desk.why(run), Some(WaitReason::RateLimited { queue: "q".into(), until: due }));
        desk.now = Timestamp(due.0 - 1);
        assert_eq!(desk.runs(), [0; 0]);
        desk.now = due;
        assert_eq!(desk.runs(), [run]);
    }
    assert_eq!(desk.now, T0.plus_ms(300));
}

#[test]
fn calls_of_one_limit_key_go_one_after_the_other_and_hold_up_nobody_else() {
    let mut desk = Desk::with(one(10));
    desk.rules(Rules { per_key_max: Some(1), ..Rules::default() });
    desk.plain(1..=3, |_, options| options.limit_key = "session".to_owned());
    desk.plain(4..=5, |_, _| {});
    assert_eq!(desk.runs(), [1, 4, 5]);
    assert_eq!(desk.why(2), Some(WaitReason::KeyBusy { key: "session".into(), max: 1 }));
    desk.end(1);
    assert_eq!(desk.runs(), [2]);
}

#[test]
fn a_call_between_two_attempts_keeps_its_place_before_the_others_of_its_key() {
    let mut desk = Desk::with(one(10));
    desk.rules(Rules { per_key_max: Some(1), ..Rules::default() });
    desk.plain(1..=2, |_, options| options.limit_key = "session".to_owned());
    assert_eq!(desk.runs(), [1]);
    desk.dispatch.release(conversation(1), 1, desk.now);
    assert_eq!(desk.runs(), [0; 0], "it will be tried again");
    let again = desk.calls[&1].clone();
    desk.now = T0.plus_ms(500);
    desk.add(1, again);
    assert_eq!(desk.runs(), [1]);
    desk.end(1);
    assert_eq!(desk.runs(), [2]);
}

#[test]
fn a_body_that_was_told_to_stop_keeps_its_limit_key_until_it_has() {
    let mut desk = Desk::with(one(10));
    desk.rules(Rules { per_key_max: Some(1), ..Rules::default() });
    desk.plain(1..=2, |_, options| options.limit_key = "session".to_owned());
    assert_eq!(desk.runs(), [1]);
    let call = desk.calls[&1].clone();
    desk.dispatch.over(RunKey(1), Ordinal(1), &call);
    assert_eq!(desk.runs(), [0; 0]);
    desk.dispatch.release(conversation(1), 1, desk.now);
    assert_eq!(desk.runs(), [2]);
}

#[test]
fn after_a_restart_a_limited_queue_waits_until_all_that_is_under_way_is_known() {
    let mut desk = Desk::with(one(10));
    desk.dispatch.set_starting(true, T0);
    desk.rules(Rules { per_key_max: Some(1), ..Rules::default() });
    desk.plain(2..=2, |_, options| options.limit_key = "session".to_owned());
    assert_eq!(desk.runs(), [0; 0]);
    assert_eq!(desk.why(2), Some(WaitReason::Starting { queue: "q".into() }));
    let call = desk.calls[&2].clone();
    desk.dispatch.hold_key(RunKey(1), Ordinal(1), &call);
    desk.dispatch.set_starting(false, T0);
    assert_eq!(desk.runs(), [0; 0], "another one has the key");
    desk.dispatch.over(RunKey(1), Ordinal(1), &call);
    assert_eq!(desk.runs(), [2]);
}

#[test]
fn an_excluded_worker_with_a_free_place_is_not_given_it_while_another_may_come_free() {
    let mut desk = Desk::with(vec![spec("w1", &["q"], &["a"], &[], 1), spec("w2", &["q"], &["a"], &[], 1)]);
    desk.plain(1..=2, |_, _| {});
    assert_eq!(desk.round(), [(1, "w1".to_owned()), (2, "w2".to_owned())]);
    desk.excluded.insert(3, vec!["w1".into()]);
    desk.plain(3..=4, |_, _| {});
    desk.end(1);
    assert_eq!(desk.round(), [(4, "w1".to_owned())], "the first in line stands aside, the second goes");
    assert_eq!(desk.why(3), Some(WaitReason::PassedOver { waits_for: None }));
    desk.end(2);
    assert_eq!(desk.round(), [(3, "w2".to_owned())]);
}

#[test]
fn a_worker_that_is_unwell_silent_or_drains_gets_nothing_and_the_reason_says_so() {
    let mut desk = Desk::with(one(2));
    desk.dispatch.set_liveness("w1", Liveness::Suspect);
    desk.plain(1..=3, |_, _| {});
    assert_eq!(desk.runs(), [0; 0]);
    assert_eq!(desk.why(1).map(|why| why.kind()), Some("suspect"));
    desk.dispatch.set_liveness("w1", Liveness::Live);
    desk.dispatch.set_health("w1", Health::Down);
    assert_eq!(desk.runs(), [0; 0]);
    assert_eq!(desk.why(1).map(|why| why.kind()), Some("unhealthy"));
    desk.dispatch.set_health("w1", Health::Degraded);
    assert_eq!(desk.runs(), [1, 2]);
    assert_eq!(desk.why(3).map(|why| why.kind()), Some("full"));
    desk.end(1);
    desk.dispatch.drain("w1");
    desk.dispatch.set_liveness("w1", Liveness::Live);
    assert_eq!(desk.runs(), [0; 0], "who drains goes on draining");
    assert_eq!(desk.why(3).map(|why| why.kind()), Some("draining"));
}

#[test]
fn a_worker_that_asks_for_its_work_gets_nothing_unasked_and_is_served_in_the_same_order() {
    let mut desk = Desk { now: T0, ..Desk::default() };
    desk.dispatch.join(spec("w1", &["q", "r"], &["a"], &[], 1), true);
    desk.rules(Rules { per_key_max: Some(1), ..Rules::default() });
    desk.plain(1..=2, |_, options| options.limit_key = "session".to_owned());
    desk.add(3, call("r", "a", |options| options.priority = 1));
    assert_eq!(desk.runs(), [0; 0]);
    assert_eq!(desk.why(1).map(|why| why.kind()), Some("not_asking"));
    assert_eq!(desk.dispatch.next_for("w1", &[], T0), Some(item(3)));
    let only_q = ["q".to_owned()];
    assert_eq!(desk.dispatch.next_for("w1", &only_q, T0), Some(item(1)));
    let first = desk.calls[&1].clone();
    desk.dispatch.place(&"w1".into(), conversation(1), 1, &first, T0);
    assert_eq!(desk.dispatch.next_for("w1", &[], T0), None, "it has no free place");
    assert!(!desk.dispatch.take_news(T0).is_empty() && desk.dispatch.take_news(T0).is_empty());
    desk.end(1);
    let news = desk.dispatch.take_news(T0);
    assert_eq!(
        (news.entered, news.freed.len()),
        (vec![item(2)], 1),
        "the next one of the key may go, and it has a place"
    );
    assert_eq!(desk.dispatch.next_for("w1", &only_q, T0), Some(item(2)));
}

mod depth;
mod model;
