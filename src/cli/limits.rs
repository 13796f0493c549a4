//! The table of limits on clients in `plimsoll status` (pure).

use super::table::Table;
use crate::admin::status::LimitStatus;

/// Lines for those limits that there are, and one behind them; nothing where there are none.
pub(super) fn render(limits: &[LimitStatus]) -> String {
    if limits.is_empty() {
        return String::new();
    }
    let heading = [
        "LIMIT",
        "ALLOWS",
        "PASSED",
        "LIMITED",
        "KEYS",
        "OF",
        "EVICTED",
        "SHARED",
        "IN USE",
        "HELD BACK",
    ];
    let mut table = Table::new(2, &heading);
    for limit in limits {
        let (name, limited) = if limit.dry_run {
            // Nobody is refused; the number is that of those who would be.
            (format!("{} (dry run)", limit.name), limit.would_limit)
        } else {
            (limit.name.clone(), limit.limited)
        };
        let of_kind = |kind: &str, text: String| match limit.kind == kind {
            true => text,
            false => "-".to_owned(),
        };
        let judged = |count: u64| match limit.kind.as_str() {
            "bandwidth" => "-".to_owned(),
            _ => count.to_string(),
        };
        table.row(vec![
            name,
            limit.allows.clone(),
            judged(limit.passed),
            judged(limited),
            limit.keys.to_string(),
            limit.keys_max.to_string(),
            limit.evicted.to_string(),
            limit.overflowed.to_string(),
            of_kind("concurrency", limit.in_use.to_string()),
            of_kind("bandwidth", format!("{:.1} s", limit.delayed_seconds)),
        ]);
    }
    format!("{}\n", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_line() {
        let limit = |name: &str, kind: &str, allows: &str| LimitStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            allows: allows.to_owned(),
            dry_run: name == "trial",
            holds: Vec::new(),
            passed: 10,
            limited: 2,
            would_limit: 3,
            keys: 4,
            keys_max: 100,
            evicted: 0,
            overflowed: 1,
            in_use: 5,
            delayed_seconds: 1.25,
        };
        let text = render(&[
            limit("per_client", "rate", "100/s, 200 at once"),
            limit("trial", "concurrency", "10 at once"),
            limit("thin", "bandwidth", "1MiB/s down"),
        ]);
        let expected = "\
LIMIT            ALLOWS              PASSED  LIMITED  KEYS   OF  EVICTED  SHARED  IN USE  HELD BACK
per_client       100/s, 200 at once      10        2     4  100        0       1       -          -
trial (dry run)  10 at once              10        3     4  100        0       1       5          -
thin             1MiB/s down              -        -     4  100        0       1       -      1.2 s

";
        assert_eq!(text, expected);
        assert_eq!(render(&[]), "");
    }
}
