//! `plimsoll status --balancing`: for each upstream who should get how much and who does, by what the policy goes, and the
//! hottest keys (pure).
//!
//! 120 columns are enough for the tables where ids are addresses.

use super::status::{latency, span};
use super::table::Table;
use crate::admin::status::{
    BalancingStatus, EndpointStatus, HotKeysStatus, Status, UpstreamStatus,
};
use crate::observe::Imbalance;

/// Letters of a key that are shown.
const KEY: usize = 40;

/// All upstreams.
pub(super) fn render(status: &Status) -> String {
    let minute = span(status.requests.minute.span_seconds);
    let mut text = format!(
        "Picks, shares, attempts per second (λ) and their mean time (W) over the last {minute}; in flight (L) over 10 s.\n\
         By Little's law L = λ × W while nothing changes.\n"
    );
    for upstream in &status.upstreams {
        text.push('\n');
        text.push_str(&heading(upstream));
        text.push_str(&endpoints(&upstream.endpoints));
        let balancing = &upstream.balancing;
        if !balancing.groups.is_empty() {
            text.push('\n');
            text.push_str(&groups(balancing));
        }
        if let Some(hot_keys) = &balancing.hot_keys {
            text.push('\n');
            text.push_str(&keys(hot_keys));
        }
    }
    text
}

/// Who, how picks came about, and how uneven it is.
fn heading(upstream: &UpstreamStatus) -> String {
    let balancing = &upstream.balancing;
    let panic = if balancing.panicking {
        ", PANIC: too few endpoints are healthy"
    } else {
        ""
    };
    let reasons = balancing.picks.iter();
    let reasons: Vec<String> = reasons
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let picks = if reasons.is_empty() {
        "none".to_owned()
    } else {
        reasons.join(", ")
    };
    format!(
        "{} ({}){panic}\n  picks: {picks}\n  imbalance of picks: {}; of what is in flight: {}\n",
        upstream.name,
        upstream.balance,
        imbalance(balancing.imbalance.picks),
        imbalance(balancing.imbalance.in_flight),
    )
}

fn imbalance(of: Option<Imbalance>) -> String {
    of.map_or_else(
        || "n/a".to_owned(),
        |of| {
            format!(
                "max/mean {:.2}, cv {:.2}, Jain {:.3}",
                of.max_over_mean, of.coefficient_of_variation, of.jain
            )
        },
    )
}

fn endpoints(endpoints: &[EndpointStatus]) -> String {
    let mut table = Table::new(
        2,
        &[
            "ENDPOINT", "OUT", "WEIGHT", "SHARE", "EXPECTED", "λ/S", "W", "λW", "L", "LATENCY",
            "FAILURES",
        ],
    );
    for endpoint in endpoints {
        let balancing = &endpoint.balancing;
        let minute = &endpoint.attempts.minute;
        let by_law = minute.mean_seconds.map(|mean| mean * minute.per_second);
        table.row(vec![
            endpoint.id.clone(),
            endpoint.out.clone().unwrap_or_default(),
            weight(balancing.weight, balancing.factor),
            share(balancing.share),
            share(Some(balancing.share_expected)),
            format!("{:.1}", minute.per_second),
            latency(minute.mean_seconds),
            number(by_law),
            number(balancing.in_flight_mean),
            latency(balancing.latency_seconds),
            number(Some(f64::from(balancing.failures_as_load))),
        ]);
    }
    table.render()
}

fn groups(balancing: &BalancingStatus) -> String {
    let mut table = Table::new(1, &["GROUP", "SHARE", "ENDPOINTS", "CANDIDATES"]);
    for group in &balancing.groups {
        table.row(vec![
            group.name.clone(),
            share(Some(group.share)),
            group.endpoints.to_string(),
            group.candidates.to_string(),
        ]);
    }
    table.render()
}

fn keys(hot_keys: &HotKeysStatus) -> String {
    if hot_keys.keys.is_empty() {
        return "no key was picked by in the last minutes\n".to_owned();
    }
    let mut table = Table::new(2, &["KEY", "OWNER", "SHARE", "PICKS", "±", "SPILLED"]);
    for key in &hot_keys.keys {
        let name = key.text.as_ref().unwrap_or(&key.hash);
        let owner = key.owner.clone().unwrap_or_default();
        let owner = match &key.stand_in {
            Some(stand_in) => format!("{owner} (out: {stand_in})"),
            None => owner,
        };
        table.row(vec![
            clipped(name),
            owner,
            share(Some(key.share)),
            key.count.to_string(),
            key.error.to_string(),
            key.spilled.to_string(),
        ]);
    }
    table.render()
}

/// The weight in force, beside that which was configured where it is less.
fn weight(whole: u32, factor: f32) -> String {
    if factor < 1.0 {
        format!("{:.2} of {whole}", f64::from(whole) * f64::from(factor))
    } else {
        whole.to_string()
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(
        || "n/a".to_owned(),
        |share| format!("{:.1} %", share * 100.0),
    )
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "n/a".to_owned(), |number| format!("{number:.2}"))
}

fn clipped(text: &str) -> String {
    if text.chars().count() <= KEY {
        return text.to_owned();
    }
    let begin: String = text.chars().take(KEY - 1).collect();
    format!("{begin}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_shows_how_much_of_it_is_in_force() {
        assert_eq!(weight(3, 1.0), "3");
        assert_eq!(weight(3, 0.5), "1.50 of 3");
    }

    #[test]
    fn a_long_key_is_clipped_by_letters() {
        assert_eq!(clipped("kürzer"), "kürzer");
        let clipped = clipped(&"ü".repeat(60));
        assert!(clipped.chars().count() == KEY && clipped.ends_with('…'));
    }
}
