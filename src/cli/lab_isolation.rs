//! `plimsoll lab isolation`: one slow upstream beside another.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::lab::{verdict, within};
use super::status::latency;
use super::table::Table;
use super::{print, say, serve};
use crate::config::units::parse_duration;
use crate::lab::experiment::expectation::Expectation;
use crate::lab::isolation::outcome::{Both, Round, Side, judge, median};
use crate::lab::isolation::{Plan, run};

/// One upstream becomes slow: do clients of another notice?
///
/// Two upstreams behind one proxy, each with a bulkhead of 64 attempts and an open-loop load of its own with Poisson
/// arrivals. In one half of each round both take the usual time, in the other the first is slow; every other round has
/// the halves the other way around, with everything started anew. What counts is the median of the rounds.
///
/// Exit code 1 when the p99 of the second is more than 1.5 times its usual one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Requests per second to each upstream.
    #[arg(long, default_value_t = 400.0, value_parser = |text: &str| within(text, 1.0..=10_000.0))]
    rate: f64,
    /// How long both usually take.
    #[arg(long, default_value = "20ms", value_parser = span)]
    usual: Duration,
    /// How long the first takes when it is slow.
    #[arg(long, default_value = "5s", value_parser = span)]
    slow: Duration,
    /// Seconds of one half of a round, the first quarter of which is not counted.
    #[arg(long, default_value_t = 3.0, value_parser = |text: &str| within(text, 0.1..=600.0))]
    seconds: f64,
    /// How many rounds.
    #[arg(long, default_value_t = 7, value_parser = |text: &str| within(text, 1..=1000_u32))]
    rounds: u32,
    /// The same for programs.
    #[arg(long)]
    json: bool,
    /// Say what was expected and not seen, and end with 0 all the same.
    #[arg(long)]
    no_assert: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::ZERO..=Duration::from_secs(60);
    let fits = allowed.contains(&span).then_some(span);
    fits.ok_or_else(|| "0s to 60s".to_owned())
}

/// Runs the experiment and prints what was seen.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    serve::raise_descriptors();
    let plan = Plan {
        rate: args.rate,
        usual: args.usual,
        slow: args.slow,
        length: Duration::from_secs_f64(args.seconds),
        rounds: args.rounds,
    };
    let rounds = run(&plan, |round| {
        let (number, all, length) = (round + 1, plan.rounds, 2.0 * args.seconds);
        say(&format!("round {number} of {all}: about {length:.0} s"));
    })?;
    let expectations = judge(&plan, &rounds);
    if args.json {
        print(&to_json(&plan, &rounds, &expectations)?)?;
    } else {
        print(&text(&plan, &rounds))?;
    }
    verdict(&expectations, args.json, args.no_assert)
}

/// How one side of the rounds is found.
type Of = fn(&Round) -> Side;
const SIDES: [(&str, &str, Of); 4] = [
    ("usual", "first", |one| one.usual.first),
    ("usual", "second", |one| one.usual.second),
    ("slow", "first", |one| one.slow.first),
    ("slow", "second", |one| one.slow.second),
];

fn text(plan: &Plan, rounds: &[Round]) -> String {
    let shown = |span: Duration| latency(Some(span.as_secs_f64()));
    let mut table = Table::new(
        2,
        &[
            "THE FIRST IS",
            "UPSTREAM",
            "P50",
            "P99",
            "ANSWERED",
            "REFUSED",
        ],
    );
    for (state, upstream, of) in SIDES {
        let time = |part: fn(&Side) -> Duration| {
            let middle = median(rounds, |one| part(&of(one)));
            middle.map_or_else(String::new, shown)
        };
        let share = |part: fn(&Side) -> f64| {
            let middle = median(rounds, |one| part(&of(one))).unwrap_or_default();
            format!("{:.1} %", middle * 100.0)
        };
        table.row(vec![
            state.to_owned(),
            upstream.to_owned(),
            time(|side| side.p50),
            time(|side| side.p99),
            share(|side| side.good),
            share(|side| side.refused),
        ]);
    }
    let late = |both: &Both| !both.first.kept_pace || !both.second.kept_pace;
    let late = rounds.iter().any(|one| late(&one.usual) || late(&one.slow));
    let pace = if late {
        "In some rounds the clients lagged: what they saw is in part their own doing.\n"
    } else {
        ""
    };
    format!(
        "Two upstreams that take {}, the first {} when it is slow; {} requests/s to each, open loop, Poisson arrivals.\n\
         Medians of {} rounds of twice {} each. ANSWERED and REFUSED are parts of all requests; percentiles are of those\n\
         with an answer, a refusal included.\n\n{}\n{pace}",
        shown(plan.usual),
        shown(plan.slow),
        plan.rate,
        plan.rounds,
        shown(plan.length),
        table.render()
    )
}

fn to_json(plan: &Plan, rounds: &[Round], expectations: &[Expectation]) -> anyhow::Result<String> {
    let side = |side: &Side| {
        json!({
            "p50_seconds": side.p50.as_secs_f64(),
            "p99_seconds": side.p99.as_secs_f64(),
            "answered": side.good,
            "refused": side.refused,
            "kept_pace": side.kept_pace,
        })
    };
    let both = |both: &Both| json!({ "first": side(&both.first), "second": side(&both.second) });
    let rounds: Vec<Json> = rounds
        .iter()
        .map(|round| json!({ "usual": both(&round.usual), "slow": both(&round.slow) }))
        .collect();
    let expectations: Vec<Json> = expectations
        .iter()
        .map(|one| json!({ "text": one.text, "holds": one.holds }))
        .collect();
    let value = json!({
        "set_up": {
            "requests_per_second": plan.rate,
            "usual_seconds": plan.usual.as_secs_f64(),
            "slow_seconds": plan.slow.as_secs_f64(),
            "half_seconds": plan.length.as_secs_f64(),
        },
        "rounds": rounds,
        "expectations": expectations,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
