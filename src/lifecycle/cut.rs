//! What was cut when time was up: which requests, by route, from what was counted before and after (pure but for reading).

use std::collections::BTreeMap;

use crate::admin::Live;
use crate::observe::{Metric, Window};

/// Requests that have ended so far, by route.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended(BTreeMap<String, u64>);

impl Ended {
    /// Those of this moment. A request that is cut ends, too.
    pub(super) fn read(live: &Live) -> Self {
        let report = live.metrics.read(Window::Lifetime, live.clock.now());
        let each = report.routes.iter();
        let each = each.map(|route| (route.identity.join(" "), route.sum(Metric::Requests)));
        Self(each.collect())
    }

    /// Which ended between `before` and now, the most first; `None` where none did.
    pub(super) fn since(&self, before: &Self) -> Option<String> {
        let mut cut: Vec<(&str, u64)> = Vec::new();
        for (route, count) in &self.0 {
            let more = count.saturating_sub(before.0.get(route).copied().unwrap_or_default());
            if more > 0 {
                cut.push((route, more));
            }
        }
        let total: u64 = cut.iter().map(|(_, count)| count).sum();
        if total == 0 {
            return None;
        }
        cut.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let each: Vec<String> = cut
            .iter()
            .map(|(route, count)| format!("{count} of route {route}"))
            .collect();
        let plural = if total == 1 { "" } else { "s" };
        Some(format!("cut {total} request{plural}: {}", each.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(each: &[(&str, u64)]) -> Ended {
        let each = each.iter();
        Ended(
            each.map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        )
    }

    #[test]
    fn what_ended_in_between_is_told_by_route() {
        let before = ended(&[("a", 7), ("b", 1)]);
        let after = ended(&[("a", 8), ("b", 1), ("c", 3)]);
        let told = after.since(&before).unwrap();
        assert_eq!(told, "cut 4 requests: 3 of route c, 1 of route a");
        assert_eq!(before.since(&before), None);
        let one = ended(&[("a", 1)]).since(&Ended::default()).unwrap();
        assert_eq!(one, "cut 1 request: 1 of route a");
    }
}
