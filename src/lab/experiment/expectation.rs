//! What must have been seen for the comparison to say what it claims (pure).

use super::contender::{Contender, Expected};
use super::outcome::{Outcome, Percentile};
use super::plan::Plan;

/// How many times the p99 of `p2c` that of `round_robin` must be where the slow endpoint cannot do an equal share. Ten
/// times or more where nothing else runs; three leave room for a machine that is busy.
const TIMES: f64 = 3.0;
/// How many times what it can do an equal share must be for that to be asked.
const OVERLOAD: f64 = 1.5;

/// One thing that was expected, and whether it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// What was expected, and what was seen.
    pub text: String,
    pub holds: bool,
}

/// Everything that is expected of these; what there are too few requests for is left out.
pub fn judge(plan: &Plan, contenders: &[Contender], outcomes: &[Outcome]) -> Vec<Expectation> {
    let both = || contenders.iter().zip(outcomes);
    let shares = both().filter_map(|(contender, outcome)| share(plan, contender, outcome));
    let named = |name: &str| both().find(|(contender, _)| contender.name == name);
    let tails = tails(plan, named("round_robin"), named("p2c"));
    let errors = both().map(|(contender, outcome)| errors(contender, outcome));
    shares
        .chain(tails)
        .chain(errors.filter(|one| !one.holds))
        .collect()
}

fn share(plan: &Plan, contender: &Contender, outcome: &Outcome) -> Option<Expectation> {
    let (equal, share) = (plan.equal_share(), outcome.slow_share()?);
    let (wanted, holds) = match contender.expected {
        Expected::Equal => {
            let tolerance = tolerance(equal, contender, outcome);
            let wanted = format!("{} ± {}", percent(equal), percent(tolerance));
            (wanted, (share - equal).abs() <= tolerance)
        }
        // Where all are equally fast there is nothing to look at.
        Expected::Less if plan.slow_factor >= 2.0 => {
            (format!("less than {}", percent(equal)), share < equal)
        }
        Expected::Less | Expected::ByKey => return None,
    };
    let (name, seen) = (&contender.name, percent(share));
    let text = format!("{name} sends the slow one {wanted} of the requests: {seen}");
    Some(Expectation { text, holds })
}

/// How far from an equal share it may be: half a point, ten requests that fell on one or the other side of the end of
/// the warm-up, and by chance five standard deviations, which one run in two million exceeds.
fn tolerance(equal: f64, contender: &Contender, outcome: &Outcome) -> f64 {
    let received = outcome.received() as f64;
    let chance = match &*contender.name {
        "random" => 5.0 * (equal * (1.0 - equal) / received).sqrt(),
        _ => 0.0,
    };
    0.005 + 10.0 / received + chance
}

fn tails(
    plan: &Plan,
    blind: Option<(&Contender, &Outcome)>,
    seeing: Option<(&Contender, &Outcome)>,
) -> Option<Expectation> {
    let ((blind, of_blind), (seeing, of_seeing)) = (blind?, seeing?);
    if plan.overload() < OVERLOAD {
        return None;
    }
    let (slow, fast) = (of_blind.percentile(0.99)?, of_seeing.percentile(0.99)?);
    let times = slow.at_least().as_secs_f64() / fast.at_least().as_secs_f64().max(1e-6);
    let holds = times >= TIMES && matches!(fast, Percentile::Within(_));
    let more = match (slow, fast) {
        // Clients gave up too early to tell.
        (Percentile::Beyond(_), Percentile::Within(_)) if !holds => return None,
        (Percentile::Beyond(_), Percentile::Within(_)) => "more than ",
        _ => "",
    };
    let (blind, seeing) = (&blind.name, &seeing.name);
    let text = format!(
        "the p99 of {blind} is at least {TIMES} times that of {seeing}: {more}{times:.1} times"
    );
    Some(Expectation { text, holds })
}

fn errors(contender: &Contender, outcome: &Outcome) -> Expectation {
    let (name, errors) = (&contender.name, outcome.errors());
    Expectation {
        text: format!("with {name} no answer is an error of the proxy: {errors}"),
        holds: errors == 0,
    }
}

/// `20.0 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::outcome::tests::outcome;
    use super::*;

    fn plan() -> Plan {
        Plan {
            rate: 2000.0,
            endpoints: 5,
            slow_factor: 10.0,
            length: Duration::from_secs(10),
            rounds: None,
            timeout: Duration::from_secs(1),
            seed: 1,
        }
    }

    fn judged(plan: &Plan, seen: &[(&str, Outcome)]) -> Vec<(String, bool)> {
        let contenders: Vec<Contender> = seen
            .iter()
            .flat_map(|(name, _)| Contender::named(name))
            .collect();
        let outcomes: Vec<Outcome> = seen.iter().map(|(_, outcome)| outcome.clone()).collect();
        let judged = judge(plan, &contenders, &outcomes).into_iter();
        judged.map(|one| (one.text, one.holds)).collect()
    }

    fn received(slow: u64) -> [u64; 5] {
        let other = (10_000 - slow) / 4;
        [other, other, other, other, slow]
    }

    #[test]
    fn the_expected_picture_holds() {
        let many = |millis| vec![millis; 2000];
        let seen = [
            ("round_robin", outcome(&many(10), 500, &received(2000))),
            ("p2c", outcome(&many(12), 0, &received(240))),
            (
                "consistent_hash:ring",
                outcome(&many(12), 0, &received(4000)),
            ),
        ];
        let expected = [
            "round_robin sends the slow one 20.0 % ± 0.6 % of the requests: 20.0 %",
            "p2c sends the slow one less than 20.0 % of the requests: 2.4 %",
            "the p99 of round_robin is at least 3 times that of p2c: more than 83.3 times",
        ];
        let expected = expected.map(|text| (text.to_owned(), true));
        assert_eq!(judged(&plan(), &seen), expected);
    }

    #[test]
    fn each_expectation_can_fail() {
        let many = |millis| vec![millis; 2000];
        let seen = [
            ("round_robin", outcome(&many(20), 0, &received(2072))),
            ("random", outcome(&many(10), 0, &received(1700))),
            ("p2c", outcome(&many(10), 0, &received(2000))),
            ("peak_ewma", outcome(&many(10), 0, &received(2400))),
        ];
        let judged = judged(&plan(), &seen);
        assert_eq!(judged.len(), 5);
        assert!(judged.iter().all(|(_, holds)| !holds), "{judged:?}");
    }

    #[test]
    fn clients_that_give_up_early_cannot_tell_how_long_the_tail_is() {
        let seen = |p2c: Outcome| {
            let in_turn = outcome(&[10; 1500], 500, &[]);
            judged(&plan(), &[("round_robin", in_turn), ("p2c", p2c)])
        };
        assert_eq!(seen(outcome(&[500; 2000], 0, &[])), []);
        let worse = seen(outcome(&[500; 1500], 500, &[]));
        assert_eq!((worse.len(), worse[0].1), (1, false));
    }

    #[test]
    fn nothing_is_expected_of_an_endpoint_that_is_not_slow() {
        let same = Plan {
            slow_factor: 1.0,
            ..plan()
        };
        let many = vec![10; 2000];
        let seen = [
            ("p2c", outcome(&many, 0, &received(2000))),
            ("round_robin", outcome(&many, 0, &received(2000))),
        ];
        let judged = judged(&same, &seen);
        assert_eq!(judged.len(), 1, "{judged:?}");
        assert!(judged[0].1);
    }
}
