//! The table of `plimsoll status` that shows what retries and hedges add to the load of upstreams.

use std::collections::BTreeMap;

use super::table::Table;
use crate::admin::status::UpstreamStatus;

/// Upstreams of which attempts failed, or were hedged; empty where there are none.
pub(super) fn table(all: &[UpstreamStatus], lifetime: bool) -> String {
    let mut table = Table::new(
        1,
        &[
            "RETRIES OF",
            "ATTEMPTS/REQ",
            "BUDGET",
            "MADE",
            "NO BUDGET",
            "NO TIME",
            "NOT REPLAYABLE",
            "ATTEMPTS USED",
            "HEDGES WON",
            "LOST",
        ],
    );
    let mut is_empty = true;
    for upstream in all {
        let retries = &upstream.retries;
        let counts = if lifetime {
            &retries.lifetime
        } else {
            &retries.minute
        };
        let hedges = upstream.hedges.as_ref().map(|hedges| {
            if lifetime {
                &hedges.lifetime
            } else {
                &hedges.minute
            }
        });
        if counts.is_empty() && hedges.is_none_or(BTreeMap::is_empty) {
            continue;
        }
        is_empty = false;
        let budget = retries.budget_tokens.zip(retries.budget_cap);
        let count = |word| counts.get(word).copied().unwrap_or_default().to_string();
        let hedged = |word| {
            hedges.map_or_else(
                || "off".to_owned(),
                |hedges| hedges.get(word).copied().unwrap_or_default().to_string(),
            )
        };
        table.row(vec![
            upstream.name.clone(),
            retries
                .attempts_per_request
                .map_or_else(|| "n/a".to_owned(), |ratio| format!("{ratio:.2}")),
            budget.map_or_else(
                || "off".to_owned(),
                |(tokens, cap)| format!("{tokens:.1} of {cap}"),
            ),
            count("made"),
            count("no_budget"),
            count("no_time"),
            count("not_replayable"),
            count("attempts_used"),
            hedged("won"),
            hedged("lost"),
        ]);
    }
    if is_empty {
        String::new()
    } else {
        format!("\n{}", table.render())
    }
}
