//! What `plimsoll lab` prints: the set-up, the table, and what to see in it; for people and for programs (pure).

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::status::latency;
use super::table::Table;
use crate::lab::experiment::contender::{Contender, Expected};
use crate::lab::experiment::expectation::{Expectation, percent};
use crate::lab::experiment::outcome::{Outcome, Percentile};
use crate::lab::experiment::plan::{Plan, SIGMA, WORKERS};

/// How late requests may be sent before it is said. Half of the usual service time: more would show in the p50.
const LATE: Duration = Duration::from_millis(5);

/// The columns of percentiles.
const QUANTILES: [(&str, f64); 4] = [("P50", 0.5), ("P95", 0.95), ("P99", 0.99), ("P99.9", 0.999)];

/// What is compared, before it begins.
pub(super) fn set_up(plan: &Plan) -> String {
    let Plan {
        rate,
        endpoints,
        slow_factor,
        seed,
        ..
    } = *plan;
    let time = |time: Duration| latency(Some(time.as_secs_f64()));
    let (usual, slow, all) = (
        plan.capacity(false),
        plan.capacity(true),
        plan.capacity_of_all(),
    );
    let others = endpoints - 1;
    format!(
        "\
{endpoints} endpoints, one of them {slow_factor} times slower; {rate} requests/s, open loop, Poisson arrivals, seed {seed}.

Each endpoint works on {slots} requests at once and queues the rest, for {mean} each in the mean (lognormal, sigma {SIGMA}),
the slow one for {slow_mean}:
  the slow one can do {slots} / {slow_mean} = {slow:.0} requests/s; an equal share is {rate} / {endpoints} = {equal:.0}, {overload:.1} times that
  all together can do {others} × {usual:.0} + {slow:.0} = {all:.0} requests/s; the load is {load}, of which the slow one has {fair}
Clients give up after {timeout}: such a request is failed, and slower than all that were answered.
For each policy {rounds} × {round} in rounds of alternating order, backends, proxy ({WORKERS} workers) and clients started
anew each time; the first {warm_up} of a round are not counted. Hashes are of X-User: 1000 users by Zipf's law.

",
        slots = plan.slots(),
        mean = time(plan.mean(false)),
        slow_mean = time(plan.mean(true)),
        equal = rate * plan.equal_share(),
        overload = plan.overload(),
        load = percent(rate / all),
        fair = percent(slow / all),
        timeout = time(plan.timeout),
        rounds = plan.rounds(),
        round = time(plan.round()),
        warm_up = time(plan.warm_up()),
    )
}

/// What to look for.
const SEE: &str = "\
To see: the share of the slow one, and what its queue does to the tail. A policy that looks at no endpoint sends the
slow one as much as the others, and clients give up. One that counts what is in flight sends it what it can do, so that
p99 is a time of the slow one's; one that also measures latency sends it next to nothing, so that p99 is a time of the
others' (it remembers for 10 s or more: longer rounds, by `--rounds`, show whether it tries the slow one again). A hash
keeps keys where they are, slow or not, unless a bound on load lets them spill.
";

/// What was seen.
pub(super) struct Seen<'a> {
    pub(super) plan: &'a Plan,
    pub(super) contenders: &'a [Contender],
    pub(super) outcomes: &'a [Outcome],
    pub(super) expectations: &'a [Expectation],
}

impl Seen<'_> {
    fn each(&self) -> impl Iterator<Item = (&Contender, &Outcome)> {
        self.contenders.iter().zip(self.outcomes)
    }

    /// The table and what to see in it.
    pub(super) fn text(&self) -> String {
        let mut heading = vec!["POLICY", "REQUESTS", "FAILED"];
        heading.extend(QUANTILES.map(|(name, _)| name));
        heading.extend(["TO THE SLOW ONE", "EXPECTED"]);
        let mut table = Table::new(1, &heading);
        for (contender, outcome) in self.each() {
            let (requests, failed) = (outcome.requests(), outcome.failed());
            let mut row = vec![
                contender.name.clone(),
                requests.to_string(),
                failed.to_string(),
            ];
            let quantile = |(_, quantile)| shown(outcome.percentile(quantile));
            row.extend(QUANTILES.map(quantile));
            row.push(
                outcome
                    .slow_share()
                    .map_or_else(|| "n/a".to_owned(), percent),
            );
            let equal = percent(self.plan.equal_share());
            row.push(match contender.expected {
                Expected::Equal => equal,
                Expected::Less => format!("< {equal}"),
                Expected::ByKey => "by key".to_owned(),
            });
            table.row(row);
        }
        let mut text = table.render() + "\n" + SEE + "\n";
        for Expectation { text: line, holds } in self.expectations {
            let word = if *holds {
                "as expected"
            } else {
                "NOT AS EXPECTED"
            };
            text.push_str(&format!("{word}: {line}\n"));
        }
        text + &self.pace()
    }

    /// Whether the clients kept pace, since they share the machine with all else.
    fn pace(&self) -> String {
        let late = |one: &&(&Contender, &Outcome)| one.1.lag() > LATE || !one.1.kept_pace;
        let each: Vec<_> = self.each().collect();
        let late: Vec<&str> = each.iter().filter(late).map(|one| &*one.0.name).collect();
        let most = each.iter().map(|one| one.1.lag()).max();
        let most = latency(most.map(|most| most.as_secs_f64()));
        if late.is_empty() {
            return format!(
                "The clients kept pace: 99 % of the requests were sent within {most} of when they were due.\n"
            );
        }
        format!(
            "THE CLIENTS LAGGED with {} (1 % of the requests were sent more than {most} late): what they saw is in part \
             their own doing. Something else ran on this machine, or the load is too much for it.\n",
            late.join(", ")
        )
    }

    /// The same for programs.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let plan = self.plan;
        let policies: Vec<Json> = self
            .each()
            .map(|(one, outcome)| policy(plan, one, outcome))
            .collect();
        let expectations: Vec<Json> = self
            .expectations
            .iter()
            .map(|one| json!({ "text": one.text, "holds": one.holds }))
            .collect();
        let value = json!({
            "set_up": {
                "requests_per_second": plan.rate,
                "endpoints": plan.endpoints,
                "slow_factor": plan.slow_factor,
                "slots": plan.slots(),
                "service_seconds": plan.mean(false).as_secs_f64(),
                "slow_service_seconds": plan.mean(true).as_secs_f64(),
                "capacity_per_second": plan.capacity_of_all(),
                "slow_capacity_per_second": plan.capacity(true),
                "timeout_seconds": plan.timeout.as_secs_f64(),
                "rounds": plan.rounds(),
                "round_seconds": plan.round().as_secs_f64(),
                "warm_up_seconds": plan.warm_up().as_secs_f64(),
                "workers": WORKERS,
                "seed": plan.seed,
            },
            "policies": policies,
            "expectations": expectations,
        });
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }
}

fn policy(plan: &Plan, contender: &Contender, outcome: &Outcome) -> Json {
    let equal = plan.equal_share();
    let (least, most) = match contender.expected {
        Expected::Equal => (Some(equal), Some(equal)),
        Expected::Less => (Some(0.0), Some(equal)),
        Expected::ByKey => (None, None),
    };
    let mut value = json!({
        "policy": contender.name,
        "requests": outcome.requests(),
        "failed": outcome.failed(),
    });
    for (name, quantile) in QUANTILES {
        let percentile = outcome.percentile(quantile);
        value[name.to_lowercase()] = percentile.map_or(Json::Null, |percentile| {
            json!({
                "seconds": percentile.at_least().as_secs_f64(),
                "or_longer": matches!(percentile, Percentile::Beyond(_)),
            })
        });
    }
    value["slow_share"] = json!(outcome.slow_share());
    value["expected_slow_share"] = json!({ "least": least, "most": most });
    value["lag_p99_seconds"] = json!(outcome.lag().as_secs_f64());
    value["kept_pace"] = json!(outcome.kept_pace);
    value
}

/// `12.3 ms`, or `> 1.00 s` where clients had given up before.
fn shown(percentile: Option<Percentile>) -> String {
    let time = latency(percentile.map(|percentile| percentile.at_least().as_secs_f64()));
    match percentile {
        Some(Percentile::Beyond(_)) => format!("> {time}"),
        _ => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::experiment::expectation::judge;
    use crate::lab::experiment::outcome::tests::outcome;

    fn seen(show: impl Fn(&Seen<'_>)) {
        let plan = Plan {
            rate: 2000.0,
            endpoints: 5,
            slow_factor: 10.0,
            length: Duration::from_secs(10),
            rounds: None,
            timeout: Duration::from_secs(1),
            seed: 1,
        };
        let names = ["round_robin", "peak_ewma", "consistent_hash:ring"];
        let contenders: Vec<Contender> = names.into_iter().flat_map(Contender::named).collect();
        let outcomes = [
            outcome(&[8; 1900], 100, &[400; 5]),
            outcome(&[8; 2000], 0, &[400; 5]),
            outcome(&[8; 10], 0, &[]),
        ];
        let expectations = judge(&plan, &contenders, &outcomes);
        show(&Seen {
            plan: &plan,
            contenders: &contenders,
            outcomes: &outcomes,
            expectations: &expectations,
        });
    }

    #[test]
    fn the_table_shows_what_was_seen_beside_what_was_expected() {
        let table = "\
POLICY                REQUESTS  FAILED     P50     P95       P99  P99.9  TO THE SLOW ONE  EXPECTED
round_robin               2000     100  8.0 ms  8.0 ms  > 1.00 s    n/a           20.0 %    20.0 %
peak_ewma                 2000       0  8.0 ms  8.0 ms    8.0 ms    n/a           20.0 %  < 20.0 %
consistent_hash:ring        10       0     n/a     n/a       n/a    n/a              n/a    by key
";
        seen(|seen| {
            let text = seen.text();
            assert_eq!(&text[..table.len()], table);
            for part in [
                "\nas expected: round_robin sends",
                "\nNOT AS EXPECTED: peak_ewma sends the slow one less than 20.0 %",
                "\nThe clients kept pace",
            ] {
                assert!(text.contains(part), "no {part:?} in\n{text}");
            }
        });
    }

    #[test]
    fn programs_are_told_the_same() {
        seen(|seen| {
            let json: Json = serde_json::from_str(&seen.json().unwrap()).unwrap();
            let [turn, ewma, ring] = [0, 1, 2].map(|index| &json["policies"][index]);
            assert_eq!(json["set_up"]["slots"], 10);
            assert_eq!(turn["p99"], json!({ "seconds": 1.0, "or_longer": true }));
            assert_eq!(ewma["p99"]["or_longer"], false);
            assert_eq!(
                (&ewma["p99.9"], &ring["slow_share"]),
                (&Json::Null, &Json::Null)
            );
            assert_eq!(turn["expected_slow_share"]["least"], 0.2);
            assert_eq!(ring["expected_slow_share"]["most"], Json::Null);
            let holds = [0, 1].map(|index| &json["expectations"][index]["holds"]);
            assert_eq!(holds, [true, false]);
        });
    }

    #[test]
    fn clients_that_lag_are_named() {
        seen(|seen| {
            let mut late = seen.outcomes.to_vec();
            late[1].kept_pace = false;
            let seen = Seen {
                outcomes: &late,
                ..*seen
            };
            let text = seen.text();
            assert!(
                text.contains("\nTHE CLIENTS LAGGED with peak_ewma ("),
                "{text}"
            );
        });
    }
}
