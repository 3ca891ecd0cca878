//! What holds a whole task queue back: a pause, a limit on what is in flight, a rate.

use antiphon_history::{Timestamp, planted};
use std::collections::BTreeMap;

use antiphon_history::Name;

/// The rules of one task queue. The default is no rule at all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rules {
    /// Nothing is given out.
    pub(crate) paused: bool,
    /// Most legs under way at once.
    pub(crate) in_flight_max: Option<u32>,
    /// Most calls of one limit key under way at once.
    pub(crate) per_key_max: Option<u32>,
    /// How fast legs may be given out.
    pub(crate) rate: Option<Rate>,
    /// Weights of fairness keys, before those of the calls.
    pub(crate) weights: BTreeMap<Name, u32>,
    /// Most attempts that may wait for a standalone call to be taken in.
    pub(crate) waiting_max: Option<u32>,
}

/// At most `count` in each `period_ms`, at most `burst` of them at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    /// At least 1.
    pub(crate) count: u32,
    /// At least 1.
    pub(crate) period_ms: u64,
    /// At least 1.
    pub(crate) burst: u32,
}

/// Why a queue gives out nothing at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// It is paused.
    Paused,
    /// The engine has just started and does not know yet what is under way.
    Starting,
    /// As much is in flight as may be.
    Full { max: u32 },
    /// Its rate allows the next one then.
    Rate { until: Timestamp },
}

/// A token bucket as the time at which it would be empty again: nothing has to be counted while time passes.
///
/// Times are in microseconds, so that rates over 1,000 a second come out right on a clock of milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    interval_us: u64,
    /// When all that was taken is paid for.
    paid_us: u64,
}

fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0).saturating_mul(1_000)
}

impl Bucket {
    /// An empty bucket: the first token comes after one interval. Whoever restarts an engine again and again gets no more
    /// than the rate.
    pub(super) fn empty(rate: Rate, now: Timestamp) -> Bucket {
        let period_us = rate.period_ms.saturating_mul(1_000);
        let interval_us = period_us.div_ceil(u64::from(rate.count.max(1))).max(1);
        let burst_us = interval_us.saturating_mul(u64::from(rate.burst.max(1)));
        // It may be the end of its millisecond already: else each restart would give away the part that is rounded down.
        let from_us = micros(now).saturating_add(999);
        let burst_us = if planted!("rate-full-at-restart") { 0 } else { burst_us };
        Bucket { rate, interval_us, paid_us: from_us.saturating_add(burst_us) }
    }

    pub(super) fn is_of(&self, rate: Rate) -> bool {
        self.rate == rate
    }

    /// When the next token is there. It counts from the beginning of its millisecond.
    pub(super) fn opens_at(&self) -> Timestamp {
        let room_us = self.interval_us.saturating_mul(u64::from(self.rate.burst.max(1) - 1));
        Timestamp(i64::try_from(self.paid_us.saturating_sub(room_us) / 1_000).unwrap_or(i64::MAX))
    }

    /// Takes one token.
    pub(super) fn take(&mut self, now: Timestamp) {
        self.paid_us = self.paid_us.max(micros(now)).saturating_add(self.interval_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens are given in each of these milliseconds, if all are taken that there are.
    fn given(bucket: &mut Bucket, from: i64, ms: i64) -> Vec<u32> {
        let mut in_ms = |at| {
            let mut count = 0;
            while bucket.opens_at() <= Timestamp(at) {
                bucket.take(Timestamp(at));
                count += 1;
            }
            count
        };
        (from..from + ms).map(&mut in_ms).collect()
    }

    #[test]
    fn a_bucket_starts_empty_and_gives_one_token_per_interval() {
        let mut bucket = Bucket::empty(Rate { count: 1, period_ms: 3, burst: 1 }, Timestamp(100));
        assert_eq!(given(&mut bucket, 100, 10), [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]);
    }

    #[test]
    fn a_rate_above_one_in_a_millisecond_is_given_in_full() {
        let mut bucket = Bucket::empty(Rate { count: 2_500, period_ms: 1_000, burst: 1 }, Timestamp(0));
        let sum: u32 = given(&mut bucket, 0, 1_000).iter().sum();
        assert_eq!(sum, 2_497, "the first millisecond and the first interval of 400 µs are paid before");
    }

    #[test]
    fn whoever_begins_anew_after_each_token_gets_no_more_than_the_rate() {
        let rate = Rate { count: 2, period_ms: 5, burst: 2 };
        let mut at = 100;
        for _ in 0..10 {
            at = Bucket::empty(rate, Timestamp(at)).opens_at().0;
        }
        assert!(at >= 100 + 10 * 5 / 2, "ten tokens by {at}");
    }

    #[test]
    fn what_was_not_taken_is_saved_up_to_the_burst_and_no_further() {
        let mut bucket = Bucket::empty(Rate { count: 1, period_ms: 10, burst: 4 }, Timestamp(0));
        assert_eq!(given(&mut bucket, 10, 1), [1]);
        assert_eq!(given(&mut bucket, 1_000, 1), [4]);
        assert_eq!(given(&mut bucket, 1_001, 9), [0; 9]);
        assert_eq!(given(&mut bucket, 1_010, 1), [1]);
    }

    #[test]
    fn in_no_period_more_is_given_than_the_count_and_the_burst() {
        for (count, period_ms, burst) in [(3, 7, 2), (10, 4, 1), (1, 1, 5)] {
            let mut bucket = Bucket::empty(Rate { count, period_ms, burst }, Timestamp(50));
            let all = given(&mut bucket, 50, 300);
            let window = usize::try_from(period_ms).unwrap();
            let most = all.windows(window).map(|part| part.iter().sum::<u32>()).max().unwrap();
            assert!(most <= count + burst, "{most} in one period of {count}/{period_ms} with burst {burst}");
            let sum: u32 = all.iter().sum();
            assert!(u64::from(sum) >= 300 / period_ms * u64::from(count) - u64::from(count), "{sum} in all");
        }
    }
}
