//! What follows an attempt that failed: another, after how long, or none.

use antiphon_history::{RetryPolicy, TimeoutKind, planted};

/// The wait after attempt number `attempt` failed, or `None` if it was the last that the policy allows.
///
/// Milliseconds, at most `policy.max_ms`. Integer arithmetic only, so every machine computes the same.
pub fn delay_after(policy: &RetryPolicy, attempt: u32) -> Option<u64> {
    let most = policy.max_attempts + u32::from(planted!("one-attempt-too-many"));
    (attempt < most).then(|| backoff_ms(policy, attempt))
}

/// Whether another attempt may help after a timeout. Only a leg that ran too long is worth one: no wait would bring a
/// worker or more time.
pub fn is_worth_it(kind: TimeoutKind) -> bool {
    matches!(kind, TimeoutKind::StartToClose | TimeoutKind::Heartbeat)
}

/// The wait after the `count`-th failure or loss (from 1) under `policy`, without regard to its number of attempts.
pub fn backoff_ms(policy: &RetryPolicy, count: u32) -> u64 {
    let mut wait = u128::from(policy.initial_ms);
    let max = u128::from(policy.max_ms);
    // A growing wait reaches any cap of 64 bits within 64 doublings; the rest of the rounds would change nothing.
    for _ in 1..count.min(6_400) {
        if wait >= max || wait == 0 || policy.factor_percent == 100 {
            break;
        }
        wait = wait * u128::from(policy.factor_percent) / 100;
    }
    u64::try_from(wait.min(max)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_cap_and_end_with_the_attempts() {
        let policy = RetryPolicy { max_attempts: 6, initial_ms: 100, factor_percent: 200, max_ms: 500 };
        let waits: Vec<_> = (1..=6).map(|attempt| delay_after(&policy, attempt)).collect();
        assert_eq!(waits, [Some(100), Some(200), Some(400), Some(500), Some(500), None]);
    }

    proptest! {
        #[test]
        fn no_policy_overflows_or_passes_its_cap(initial_ms: u64, factor_percent: u32, max_ms: u64, count: u32) {
            let policy = RetryPolicy { max_attempts: u32::MAX, initial_ms, factor_percent, max_ms };
            prop_assert!(backoff_ms(&policy, count) <= max_ms);
        }
    }
}
