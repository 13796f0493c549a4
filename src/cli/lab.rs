//! `plimsoll lab`: experiments that show how policies behave, each with what must be seen.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use super::{lab_isolation, lab_metastable, lab_report, print, say, serve};
use crate::config::units::parse_duration;
use crate::lab::experiment;
use crate::lab::experiment::contender::Contender;
use crate::lab::experiment::expectation::{Expectation, judge};
use crate::lab::experiment::plan::Plan;

/// Show how policies behave: backends, proxy and load in one process.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Debug, clap::Subcommand)]
enum Experiment {
    SlowEndpoint(SlowEndpoint),
    Metastable(lab_metastable::Args),
    Isolation(lab_isolation::Args),
}

/// One endpoint is slow: what clients see of it under each policy, side by side.
///
/// The load is an open loop with Poisson arrivals, and each request is timed from when it was due, whatever the answers
/// do. A usual endpoint works on each request for 10 ms in the mean (lognormal, sigma 0.5), the slow one slow-factor (f)
/// times longer. Each works on a number of requests at once, its slots, and queues the rest. With n endpoints and r
/// requests a second there are 2·r·10 ms / (n - 1 + 1/f) slots, so that all together can do twice the load, while the
/// slow one's equal share is about f/2 times what it can do: its queue grows until clients give up.
///
/// Every policy has its turn in each round, in alternating order, with everything started anew; the first quarter of a
/// round is not counted. Hashing policies hash X-User, which has 1000 values by Zipf's law.
///
/// Exit code 1 when what must be seen was not.
#[derive(Debug, clap::Args)]
struct SlowEndpoint {
    /// Seconds of load for each policy, over all rounds.
    #[arg(long, default_value_t = 10.0, value_parser = |text: &str| within(text, 0.1..=3600.0))]
    seconds: f64,
    /// Rounds that they are spread over; by default as many as make each about two seconds long.
    #[arg(long, value_parser = |text: &str| within(text, 1..=1000_u32))]
    rounds: Option<u32>,
    /// Requests per second.
    #[arg(long, default_value_t = 2000.0, value_parser = |text: &str| within(text, 1.0..=100_000.0))]
    rate: f64,
    /// Endpoints, the slow one included.
    #[arg(long, default_value_t = 5, value_parser = |text: &str| within(text, 2..=100_usize))]
    endpoints: usize,
    /// How many times longer the slow one works on a request.
    #[arg(long, default_value_t = 10.0, value_parser = |text: &str| within(text, 1.0..=1000.0))]
    slow_factor: f64,
    /// How long a client waits. A request without an answer is failed, and slower than all that have one.
    #[arg(long, default_value = "1s", value_parser = timeout)]
    timeout: Duration,
    /// The policies, by their names in YAML; a hash also as `consistent_hash:ring` or, with its bound on load,
    /// `consistent_hash:ring:1.25`.
    #[arg(long, value_name = "NAMES", default_value = "all", value_delimiter = ',', value_parser = contenders)]
    policies: Vec<Contenders>,
    /// Of arrivals, users and service times. Chance within the proxy is not seeded.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The same for programs.
    #[arg(long)]
    json: bool,
    /// Say what was expected and not seen, and end with 0 all the same.
    #[arg(long)]
    no_assert: bool,
}

/// What one name stands for.
type Contenders = std::sync::Arc<[Contender]>;

/// Runs the experiment and prints what was seen.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.experiment {
        Experiment::SlowEndpoint(args) => slow_endpoint(args),
        Experiment::Metastable(args) => lab_metastable::main(args),
        Experiment::Isolation(args) => lab_isolation::main(args),
    }
}

fn slow_endpoint(args: &SlowEndpoint) -> anyhow::Result<ExitCode> {
    serve::raise_descriptors();
    let plan = Plan {
        rate: args.rate,
        endpoints: args.endpoints,
        slow_factor: args.slow_factor,
        length: Duration::from_secs_f64(args.seconds),
        rounds: args.rounds,
        timeout: args.timeout,
        seed: args.seed,
    };
    let contenders = chosen(&args.policies);
    if !args.json {
        print(&lab_report::set_up(&plan))?;
    }
    let (rounds, count) = (plan.rounds(), contenders.len());
    let each = plan.round() * u32::try_from(count).unwrap_or(u32::MAX);
    let outcomes = experiment::run(&plan, &contenders, |round| {
        let (number, seconds) = (round + 1, each.as_secs_f64());
        say(&format!(
            "round {number} of {rounds}: {count} policies, about {seconds:.0} s"
        ));
    })?;
    let expectations = judge(&plan, &contenders, &outcomes);
    let seen = lab_report::Seen {
        plan: &plan,
        contenders: &contenders,
        outcomes: &outcomes,
        expectations: &expectations,
    };
    if args.json {
        print(&seen.json()?)?;
    } else {
        print(&seen.text())?;
    }
    let mut code = ExitCode::SUCCESS;
    for failed in expectations.iter().filter(|one| !one.holds) {
        say(&format!("plimsoll: not as expected: {}", failed.text));
        if !args.no_assert {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Says what was expected, and ends as that says: 1 when something was not seen.
pub(super) fn verdict(
    expectations: &[Expectation],
    json: bool,
    no_assert: bool,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for Expectation { text, holds } in expectations {
        if *holds && !json {
            print(&format!("as expected: {text}\n"))?;
        } else if !*holds {
            say(&format!("plimsoll: not as expected: {text}"));
            if !no_assert {
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Each once, in the order of the names.
fn chosen(named: &[Contenders]) -> Vec<Contender> {
    let mut chosen: Vec<Contender> = Vec::new();
    for one in named.iter().flat_map(|named| named.iter()) {
        if chosen.iter().all(|other| other.name != one.name) {
            chosen.push(one.clone());
        }
    }
    chosen
}

fn contenders(name: &str) -> Result<Contenders, String> {
    let named = Contender::named(name);
    if named.is_empty() {
        let known = Contender::all().into_iter().map(|one| one.name);
        let known: Vec<String> = known.collect();
        return Err(format!("known: all, {}", known.join(", ")));
    }
    Ok(named.into())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_millis(10)..=Duration::from_secs(60);
    let fits = allowed.contains(&timeout).then_some(timeout);
    fits.ok_or_else(|| "10ms to 60s".to_owned())
}

pub(super) fn within<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SlowEndpoint,
    }

    fn parse(line: &[&str]) -> Result<SlowEndpoint, String> {
        let line = Line::try_parse_from([&["slow-endpoint"], line].concat());
        line.map(|line| line.args)
            .map_err(|error| error.to_string())
    }

    fn names(policies: &str) -> Vec<String> {
        let args = parse(&["--policies", policies]).unwrap();
        let chosen = chosen(&args.policies).into_iter();
        chosen.map(|one| one.name).collect()
    }

    #[test]
    fn policies_are_taken_once_each_in_the_order_of_the_names() {
        assert_eq!(chosen(&parse(&[]).unwrap().policies).len(), 12);
        assert_eq!(names("p2c,random,p2c"), ["p2c", "random"]);
        let hashes = names("consistent_hash:ring,consistent_hash");
        assert_eq!((hashes.len(), &*hashes[0]), (6, "consistent_hash:ring"));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_what_can() {
        for (line, part) in [
            (["--policies", "p2c,p3c"], "known: all, round_robin"),
            (["--rate", "0"], "a number from 1 to 100000"),
            (["--rate", "NaN"], "a number from 1 to 100000"),
            (["--endpoints", "1"], "a number from 2 to 100"),
            (["--slow-factor", "0.5"], "a number from 1 to 1000"),
            (["--timeout", "1ms"], "10ms to 60s"),
            (["--seconds", "0"], "a number from 0.1 to 3600"),
        ] {
            let refused = parse(&line).map(|_| ()).unwrap_err();
            assert!(refused.contains(part), "{line:?}: {refused}");
        }
    }
}
