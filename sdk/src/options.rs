//! The rules of one activity call while its author is still choosing them.

use crate::Route;
use crate::error::{CallRefused, OptionError};
use antiphon_history::limits::bounded_text;
use antiphon_history::{ActivityOptions, FAIRNESS_WEIGHT_MAX, IdError, PRIORITY_MAX};
use std::fmt::Debug;
use std::time::Duration;

/// The queue of calls that name none; the same word as in records without a queue.
const DEFAULT_QUEUE: &str = "default";

/// Options and queue of a call. A setter that is given something impossible keeps the first such fault, which then
/// becomes the outcome of the call: a builder chain cannot return an error in its middle.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CallOptions {
    options: ActivityOptions,
    queue: String,
    fault: Option<CallRefused>,
}

impl Default for CallOptions {
    fn default() -> CallOptions {
        CallOptions { options: ActivityOptions::default(), queue: DEFAULT_QUEUE.to_owned(), fault: None }
    }
}

impl CallOptions {
    pub(crate) fn start_to_close(&mut self, limit: Duration) {
        self.options.start_to_close_ms = self.limit("start_to_close", limit);
    }

    pub(crate) fn schedule_to_start(&mut self, limit: Duration) {
        self.options.schedule_to_start_ms = self.limit("schedule_to_start", limit);
    }

    pub(crate) fn schedule_to_close(&mut self, limit: Duration) {
        self.options.schedule_to_close_ms = self.limit("schedule_to_close", limit);
    }

    pub(crate) fn heartbeat_timeout(&mut self, limit: Duration) {
        self.options.heartbeat_ms = self.limit("heartbeat_timeout", limit);
    }

    pub(crate) fn attempts(&mut self, count: u32) {
        if count == 0 {
            self.impossible("attempts", count, "without an attempt nothing would happen; give at least 1");
        }
        self.options.retry.max_attempts = count;
    }

    pub(crate) fn backoff(&mut self, initial: Duration, max: Duration) {
        if initial.is_zero() {
            let problem =
                "a failing activity would be tried again without a pause; let the first wait be at least 1 ms";
            self.impossible("backoff", (initial, max), problem);
        } else if max < initial {
            self.impossible("backoff", (initial, max), "the longest wait is shorter than the first");
        }
        self.options.retry.initial_ms = millis(initial);
        self.options.retry.max_ms = millis(max);
    }

    pub(crate) fn backoff_factor(&mut self, percent: u32) {
        // A wait that shrinks ends as no wait at all, and a failing activity would spin.
        if percent < 100 {
            self.impossible("backoff_factor", percent, "waits cannot shrink; give at least 100 percent");
        }
        self.options.retry.factor_percent = percent;
    }

    pub(crate) fn at_most_once(&mut self) {
        self.options.at_most_once = true;
    }

    pub(crate) fn max_losses(&mut self, count: u32) {
        self.options.max_losses = count;
    }

    pub(crate) fn fail_fast(&mut self) {
        self.options.fail_fast = true;
    }

    pub(crate) fn hold(&mut self) {
        self.options.hold = true;
    }

    pub(crate) fn needs(&mut self, label: impl Into<String>) {
        let label = label.into();
        self.name("label", &label);
        if !self.options.needs.contains(&label) {
            self.options.needs.push(label);
        }
    }

    pub(crate) fn route(&mut self, route: Route) {
        match route.into_request() {
            Ok(request) => self.options.route = Some(Box::new(request)),
            Err(wrong) => drop(self.fault.get_or_insert(wrong.into())),
        }
    }

    pub(crate) fn queue(&mut self, name: impl Into<String>) {
        let name = name.into();
        self.name("queue", &name);
        self.queue = name;
    }

    pub(crate) fn summary(&mut self, text: impl AsRef<str>) {
        self.options.summary = bounded_text(text.as_ref());
    }

    pub(crate) fn priority(&mut self, priority: u8) {
        if !(1..=PRIORITY_MAX).contains(&priority) {
            self.impossible("priority", priority, "priorities go from 1, which is first, to 5");
        }
        self.options.priority = priority;
    }

    pub(crate) fn fairness_key(&mut self, key: impl Into<String>) {
        let key = key.into();
        self.name("fairness key", &key);
        self.options.fairness_key = key;
    }

    pub(crate) fn fairness_weight(&mut self, weight: u32) {
        if !(1..=FAIRNESS_WEIGHT_MAX).contains(&weight) {
            self.impossible("fairness_weight", weight, "weights go from 1 to 1,000");
        }
        self.options.fairness_weight = weight;
    }

    pub(crate) fn limit_key(&mut self, key: impl Into<String>) {
        let key = key.into();
        self.name("limit key", &key);
        self.options.limit_key = key;
    }

    /// The queue and the options, if all of them are possible, alone and together.
    pub(crate) fn finish(mut self) -> Result<(String, ActivityOptions), CallRefused> {
        let attempts = self.options.retry.max_attempts;
        if self.options.at_most_once && attempts > 1 {
            self.impossible("attempts", attempts, "the call is also at_most_once, so its body never runs again");
        }
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok((self.queue, self.options)),
        }
    }

    fn limit(&mut self, option: &'static str, limit: Duration) -> Option<u64> {
        if limit.is_zero() {
            self.impossible(option, limit, "the time would be over before it begins; give at least 1 ms");
        }
        Some(millis(limit))
    }

    fn name(&mut self, what: &'static str, name: &str) {
        if let Err(wrong) = IdError::check(what, name) {
            self.fault.get_or_insert(wrong.into());
        }
    }

    fn impossible(&mut self, option: &str, value: impl Debug, problem: &str) {
        let (option, value, problem) = (option.to_owned(), format!("{value:?}"), problem.to_owned());
        self.fault.get_or_insert(OptionError { option, value, problem }.into());
    }
}

/// Whole milliseconds, a part of one counting as one: a limit must not become shorter than it was asked for.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The builder methods of everything that carries [`CallOptions`]: the call itself, and the pending call that a context
/// makes of it. Stands in an inherent `impl` whose type has `fn options_mut(&mut self) -> &mut CallOptions`.
macro_rules! call_builder {
    () => {
        /// Limits one attempt, from the moment it was sent to a worker. Rounded up to whole milliseconds, at least
        /// 1 ms. Default: no limit.
        pub fn start_to_close(mut self, limit: ::std::time::Duration) -> Self {
            self.options_mut().start_to_close(limit);
            self
        }

        /// Limits the wait for a worker, per attempt. Rounded up to whole milliseconds, at least 1 ms. Default: no
        /// limit, the call waits until a worker comes.
        pub fn schedule_to_start(mut self, limit: ::std::time::Duration) -> Self {
            self.options_mut().schedule_to_start(limit);
            self
        }

        /// Limits all attempts and waits together, from the moment the workflow asked. Rounded up to whole
        /// milliseconds, at least 1 ms. Default: no limit.
        pub fn schedule_to_close(mut self, limit: ::std::time::Duration) -> Self {
            self.options_mut().schedule_to_close(limit);
            self
        }

        /// Limits the silence of a running attempt between two heartbeats. Rounded up to whole milliseconds, at least
        /// 1 ms. Default: no limit, heartbeats are not expected.
        pub fn heartbeat_timeout(mut self, limit: ::std::time::Duration) -> Self {
            self.options_mut().heartbeat_timeout(limit);
            self
        }

        /// Allows this many attempts in all, at least 1: another one follows where the activity reported an error that
        /// is not fatal, or ran too long. Default: 1, because a retry may repeat an effect.
        pub fn attempts(mut self, count: u32) -> Self {
            self.options_mut().attempts(count);
            self
        }

        /// Waits `initial` before the second attempt, longer before each further one, never longer than `max`. Rounded
        /// up to whole milliseconds; `initial` is at least 1 ms and not over `max`. Default: 1 s and 60 s.
        pub fn backoff(mut self, initial: ::std::time::Duration, max: ::std::time::Duration) -> Self {
            self.options_mut().backoff(initial, max);
            self
        }

        /// Lets the wait between attempts grow to this many percent of the one before; 100 keeps it, less is
        /// impossible. Default: 200.
        pub fn backoff_factor(mut self, percent: u32) -> Self {
            self.options_mut().backoff_factor(percent);
            self
        }

        /// Never lets the body run twice. Where nobody knows whether it ran (the worker was lost), the call ends as
        /// lost. Impossible together with more than one attempt. Default: the body runs at least once.
        pub fn at_most_once(mut self) -> Self {
            self.options_mut().at_most_once();
            self
        }

        /// Lets this many workers be lost (worker gone, panic, engine restart) before the next loss ends the call as
        /// lost. Losses are not attempts. Default: 5.
        pub fn max_losses(mut self, count: u32) -> Self {
            self.options_mut().max_losses(count);
            self
        }

        /// Ends the call at once where no connected worker could ever take it. Default: it waits for one.
        pub fn fail_fast(mut self) -> Self {
            self.options_mut().fail_fast();
            self
        }

        /// Holds the call as a dead letter when its attempts or losses are used up, until somebody retries it (with fresh
        /// attempts, losses and time) or discards it (the workflow then gets the error). Until then it waits without any
        /// deadline. An error that is fatal by its own word is no matter of attempts and ends the call at once. Default:
        /// the workflow gets the error at once.
        pub fn hold(mut self) -> Self {
            self.options_mut().hold();
            self
        }

        /// Asks for a worker with this label, besides all labels asked for before. 1 to 255 bytes. Default: none.
        pub fn needs(mut self, label: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.options_mut().needs(label);
            self
        }

        /// Says how the worker is to be chosen. Default: as the queue says, and if it says nothing, the least loaded.
        pub fn route(mut self, route: $crate::Route) -> Self {
            self.options_mut().route(route);
            self
        }

        /// Names the task queue that the workers subscribe to. 1 to 255 bytes. Default: `default`.
        pub fn queue(mut self, name: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.options_mut().queue(name);
            self
        }

        /// Adds a text for people, shown in lists and dumps. Cut to 4 KiB; replay compares it, so it must not hold a
        /// clock or anything else that changes. Default: none.
        pub fn summary(mut self, text: impl ::std::convert::AsRef<str>) -> Self {
            self.options_mut().summary(text);
            self
        }

        /// Says how urgent the call is among what waits in its task queue, from 1, which goes first, to 5. Default: 3.
        pub fn priority(mut self, priority: u8) -> Self {
            self.options_mut().priority(priority);
            self
        }

        /// Says on whose behalf the call is made, say which customer's: among waiting calls of one priority each key gets
        /// its share of the workers, however many calls another key has. 1 to 255 bytes. Default: none, which counts as
        /// one key.
        pub fn fairness_key(mut self, key: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.options_mut().fairness_key(key);
            self
        }

        /// Gives the fairness key a share of this many against a key with 1, from 1 to 1,000. A weight in the settings of
        /// the queue goes before. Default: 1.
        pub fn fairness_weight(mut self, weight: u32) -> Self {
            self.options_mut().fairness_weight(weight);
            self
        }

        /// Lets at most as many calls of this key be under way at once as the settings of the queue allow per key; with
        /// one they are done in the order in which they were asked for, retries included. 1 to 255 bytes. Default: none.
        pub fn limit_key(mut self, key: impl ::std::convert::Into<::std::string::String>) -> Self {
            self.options_mut().limit_key(key);
            self
        }
    };
}
pub(crate) use call_builder;

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_history::RetryPolicy;

    fn refusal(set: impl FnOnce(&mut CallOptions)) -> String {
        let mut options = CallOptions::default();
        set(&mut options);
        options.finish().unwrap_err().to_string()
    }

    #[test]
    fn a_call_without_options_has_the_recorded_defaults() {
        let (queue, options) = CallOptions::default().finish().unwrap();
        assert_eq!((queue.as_str(), options), ("default", ActivityOptions::default()));
    }

    #[test]
    fn every_setter_reaches_its_recorded_field() {
        let mut options = CallOptions::default();
        options.start_to_close(Duration::from_secs(1));
        options.schedule_to_start(Duration::from_secs(2));
        options.schedule_to_close(Duration::from_secs(3));
        options.heartbeat_timeout(Duration::from_secs(4));
        options.attempts(5);
        options.backoff(Duration::from_millis(6), Duration::from_millis(7));
        options.backoff_factor(108);
        options.max_losses(9);
        options.fail_fast();
        options.hold();
        options.needs("pci");
        options.needs("eu");
        options.needs("pci");
        options.queue("pay");
        options.summary("card of order 7");
        options.priority(1);
        options.fairness_key("customer-7");
        options.fairness_weight(10);
        options.limit_key("order-7");
        let (queue, found) = options.finish().unwrap();
        let expected = ActivityOptions {
            start_to_close_ms: Some(1_000),
            schedule_to_start_ms: Some(2_000),
            schedule_to_close_ms: Some(3_000),
            heartbeat_ms: Some(4_000),
            retry: RetryPolicy { max_attempts: 5, initial_ms: 6, factor_percent: 108, max_ms: 7 },
            max_losses: 9,
            at_most_once: false,
            fail_fast: true,
            hold: true,
            needs: vec!["pci".to_owned(), "eu".to_owned()],
            route: None,
            summary: "card of order 7".to_owned(),
            priority: 1,
            fairness_key: "customer-7".to_owned(),
            fairness_weight: 10,
            limit_key: "order-7".to_owned(),
        };
        assert_eq!((queue.as_str(), found), ("pay", expected));
    }

    #[test]
    fn a_part_of_a_millisecond_is_rounded_up_and_a_huge_time_does_not_overflow() {
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(1_001)), 2);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }

    #[test]
    fn impossible_options_are_refused_with_option_and_value() {
        let refused = refusal(|options| options.start_to_close(Duration::ZERO));
        assert!(refused.starts_with("start_to_close(0ns) is impossible: "), "{refused}");
        assert!(refused.ends_with("[A0017]"), "{refused}");
        assert!(refusal(|options| options.schedule_to_start(Duration::ZERO)).starts_with("schedule_to_start(0ns)"));
        assert!(refusal(|options| options.schedule_to_close(Duration::ZERO)).starts_with("schedule_to_close(0ns)"));
        assert!(refusal(|options| options.heartbeat_timeout(Duration::ZERO)).starts_with("heartbeat_timeout(0ns)"));
        assert!(refusal(|options| options.attempts(0)).starts_with("attempts(0) is impossible"));
        assert!(refusal(|options| options.priority(0)).starts_with("priority(0) is impossible"));
        assert!(refusal(|options| options.priority(6)).starts_with("priority(6) is impossible"));
        assert!(refusal(|options| options.fairness_weight(0)).starts_with("fairness_weight(0) is impossible"));
        assert!(refusal(|options| options.fairness_weight(1_001)).starts_with("fairness_weight(1001) is impossible"));
        assert!(refusal(|options| options.backoff_factor(99)).starts_with("backoff_factor(99) is impossible"));
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!(refusal(|options| options.backoff(Duration::ZERO, one)).starts_with("backoff(0ns, 1s) is impossible"));
        assert!(refusal(|options| options.backoff(two, one)).contains("shorter than the first"));
    }

    #[test]
    fn at_most_once_with_several_attempts_is_refused_in_either_order() {
        let once_first = refusal(|options| {
            options.at_most_once();
            options.attempts(2);
        });
        let attempts_first = refusal(|options| {
            options.attempts(2);
            options.at_most_once();
        });
        assert!(once_first.starts_with("attempts(2) is impossible: the call is also at_most_once"), "{once_first}");
        assert_eq!(once_first, attempts_first);
    }

    #[test]
    fn unusable_names_are_refused_and_the_first_fault_is_told() {
        assert!(refusal(|options| options.queue("")).contains("the queue \"\" is not usable"));
        assert!(refusal(|options| options.fairness_key("")).contains("the fairness key \"\" is not usable"));
        assert!(refusal(|options| options.limit_key("")).contains("the limit key \"\" is not usable"));
        let first = refusal(|options| {
            options.needs("a\nb");
            options.attempts(0);
        });
        assert!(first.starts_with("the label \"a\\nb\" is not usable") && first.ends_with("[A0012]"), "{first}");
    }
}
