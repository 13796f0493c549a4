//! `plimsoll lab metastable`: an overload that outlives its cause, and what ends it.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::lab::{verdict, within};
use super::{print, say, serve};
use crate::lab::experiment::expectation::Expectation;
use crate::lab::metastable::arm::Arm;
use crate::lab::metastable::outcome::Outcome;
use crate::lab::metastable::{ATTEMPT, PATIENCE, Plan, run};

/// A backend stalls for some seconds: when does its upstream come back?
///
/// The backend works on one request after the other and can do a little more than the load. While it stalls, requests
/// wait for longer than an attempt may take (1 s), are given up and tried again; the backend works on all of them all the
/// same. The load is an open loop. Three configurations have their turn: naive (one retry, no budget, no bound on who
/// waits), cure (a queue that is shorter than what is answered in a second) and default (nothing is written).
///
/// Exit code 1 when naive comes back by itself, or the cure does not within 10 s.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Requests per second that the backend can do.
    #[arg(long, default_value_t = 200.0, value_parser = |text: &str| within(text, 10.0..=2000.0))]
    capacity: f64,
    /// The load, as a part of it.
    #[arg(long, default_value_t = 0.93, value_parser = |text: &str| within(text, 0.01..=2.0))]
    load: f64,
    /// Seconds before the stall.
    #[arg(long, default_value_t = 5, value_parser = |text: &str| within(text, 1..=600_u64))]
    before: u64,
    /// Seconds that it lasts.
    #[arg(long, default_value_t = 5, value_parser = |text: &str| within(text, 1..=600_u64))]
    stall: u64,
    /// Seconds that are looked on afterwards.
    #[arg(long, default_value_t = 25, value_parser = |text: &str| within(text, 1..=3600_u64))]
    after: u64,
    /// Which have their turn.
    #[arg(long, value_name = "NAMES", default_value = "naive,cure,default", value_delimiter = ',', value_parser = ["naive", "cure", "default"])]
    arms: Vec<String>,
    /// The same for programs.
    #[arg(long)]
    json: bool,
    /// Say what was expected and not seen, and end with 0 all the same.
    #[arg(long)]
    no_assert: bool,
}

/// Runs the experiment and prints what was seen.
pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    serve::raise_descriptors();
    let plan = Plan {
        capacity: args.capacity,
        rate: args.capacity * args.load,
        before: args.before,
        stall: args.stall,
        after: args.after,
    };
    if !args.json {
        print(&set_up(&plan))?;
    }
    let (mut seen, mut expectations) = (Vec::new(), Vec::new());
    for arm in Arm::all(&plan) {
        if args.arms.iter().all(|name| name != arm.name) {
            continue;
        }
        say(&format!("{}: about {} s", arm.name, plan.seconds()));
        let outcome = run(&plan, &arm)?;
        if !args.json {
            print(&chart(&plan, &arm, &outcome))?;
        }
        expectations.extend(outcome.judge(&plan, &arm));
        seen.push((arm, outcome));
    }
    if args.json {
        print(&to_json(&plan, &seen, &expectations)?)?;
    }
    verdict(&expectations, args.json, args.no_assert)
}

fn set_up(plan: &Plan) -> String {
    format!(
        "A backend that can do {} requests/s, one after the other; {:.0} requests/s, open loop, evenly spaced.\n\
         After {} s it stands still for {} s. An attempt may take {:?}, and clients wait for {:?}.\n\n",
        plan.capacity, plan.rate, plan.before, plan.stall, ATTEMPT, PATIENCE
    )
}

/// Cells of a bar that is whole.
const WIDTH: usize = 40;

/// One line for each second.
fn chart(plan: &Plan, arm: &Arm, outcome: &Outcome) -> String {
    let mut text = format!("{}: {}\n", arm.name, arm.meaning);
    for line in arm.keys.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str("  second  answered  attempts\n");
    for (second, part) in (0..).zip(outcome.goodput()) {
        let cells = ((part * WIDTH as f64).round() as usize).min(WIDTH);
        let attempts = usize::try_from(second).ok();
        let attempts = attempts.and_then(|second| outcome.attempts.get(second));
        let note = if (plan.before..plan.before + plan.stall).contains(&second) {
            "  stalled"
        } else {
            ""
        };
        text.push_str(&format!(
            "  {second:>6}  {:>6.0} %  {:>8}  {:<WIDTH$}{note}\n",
            part * 100.0,
            attempts.copied().unwrap_or_default(),
            "#".repeat(cells),
        ));
    }
    let pace = if outcome.kept_pace {
        ""
    } else {
        "\n  THE CLIENTS LAGGED: what they saw is in part their own doing"
    };
    text.push_str(&format!(
        "  {}: {}{pace}\n\n",
        arm.name,
        outcome.verdict(plan)
    ));
    text
}

fn to_json(
    plan: &Plan,
    seen: &[(Arm, Outcome)],
    expectations: &[Expectation],
) -> anyhow::Result<String> {
    let arms: Vec<Json> = seen
        .iter()
        .map(|(arm, outcome)| {
            json!({
                "arm": arm.name,
                "keys": arm.keys,
                "goodput": outcome.goodput(),
                "attempts": outcome.attempts,
                "recovery_seconds": outcome.recovery(plan),
                "goodput_at_the_end": outcome.at_the_end(plan),
                "verdict": outcome.verdict(plan),
                "kept_pace": outcome.kept_pace,
            })
        })
        .collect();
    let expectations: Vec<Json> = expectations
        .iter()
        .map(|one| json!({ "text": one.text, "holds": one.holds }))
        .collect();
    let value = json!({
        "set_up": {
            "capacity_per_second": plan.capacity,
            "requests_per_second": plan.rate,
            "before_seconds": plan.before,
            "stall_seconds": plan.stall,
            "after_seconds": plan.after,
            "attempt_seconds": ATTEMPT.as_secs_f64(),
            "patience_seconds": PATIENCE.as_secs_f64(),
        },
        "arms": arms,
        "expectations": expectations,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
