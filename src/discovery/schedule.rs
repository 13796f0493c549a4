//! When a source is asked again (pure).

use std::time::Duration;

use crate::config::Discovery;

/// After a failure nobody waits longer than this, so that a recovery is soon seen.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// The pause after an answer that is valid for `ttl`; where none was said, as of a file of hosts, it is asked for again soon.
pub fn after_answer(ttl: Option<Duration>, rules: &Discovery) -> Duration {
    let ttl = ttl.unwrap_or(Duration::ZERO);
    ttl.min(rules.refresh_max).max(rules.refresh_min)
}

/// The pause after so many failures in a row, of which this is at least the first.
pub fn after_failure(streak: u32, rules: &Discovery) -> Duration {
    let doubled = 1_u32.checked_shl(streak.saturating_sub(1).min(16));
    let pause = rules.refresh_min * doubled.unwrap_or(u32::MAX);
    let longest = LONGEST_AFTER_FAILURE.min(rules.refresh_max);
    pause.min(longest).max(rules.refresh_min)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_answer_is_asked_for_again_when_it_expires_within_floor_and_ceiling() {
        let rules = Discovery::default();
        let pauses = [Some(0), Some(4), Some(60), Some(86_400), None]
            .map(|ttl| after_answer(ttl.map(seconds), &rules).as_secs());
        assert_eq!(pauses, [5, 5, 60, 300, 5]);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses_up_to_half_a_minute() {
        let rules = Discovery::default();
        let pauses = [1, 2, 3, 4, 5, 1000].map(|streak| after_failure(streak, &rules).as_secs());
        assert_eq!(pauses, [5, 10, 20, 30, 30, 30]);
    }

    proptest! {
        #[test]
        fn no_pause_is_shorter_than_the_floor_or_longer_than_the_ceiling(
            min in 100_u64..100_000, more in 0_u64..100_000, ttl in 0_u64..1_000_000, streak in 1_u32..,
        ) {
            let rules = Discovery {
                refresh_min: Duration::from_millis(min),
                refresh_max: Duration::from_millis(min + more),
                ..Discovery::default()
            };
            for pause in [after_answer(Some(Duration::from_millis(ttl)), &rules), after_failure(streak, &rules)] {
                prop_assert!(pause >= rules.refresh_min && pause <= rules.refresh_max);
            }
        }
    }
}
