//! Short names for lengths of time, as workflow code writes them: `ctx.sleep(hours(48))`.

use std::time::Duration;

/// `count` milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// `count` seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// `count` minutes of 60 seconds. The longest possible time instead of an overflow.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// `count` hours of 60 minutes. The longest possible time instead of an overflow.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60 * 60))
}

/// `count` days of 24 hours: no calendar, no time zone. The longest possible time instead of an overflow.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_multiples_of_each_other_and_never_overflow() {
        assert_eq!((secs(1), minutes(1), hours(1), days(1)), (millis(1000), secs(60), minutes(60), hours(24)));
        assert_eq!(days(u64::MAX), secs(u64::MAX));
    }
}
