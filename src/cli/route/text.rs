//! The answer for people (pure).

use super::answer::{Answer, Arm, Asked, EndpointShare, FailedTest, Outcome, PassedRoute};
use super::clocks;
use super::entry::{Judgement, Verdict};
use crate::balance::Reason;
use crate::cli::status::latency;
use crate::cli::table::Table;
use crate::observe::decision::{CandidateRecord, PickRecord};

/// Routes that did not match, shown one by one; of more, those that came nearest.
const PASSED: usize = 20;
/// Endpoints of a line with shares.
const SHARES: usize = 8;

/// All of it.
pub(super) fn render(answer: &Answer) -> String {
    let mut text = asked(&answer.request);
    for note in &answer.notes {
        text.push_str(&format!("  ({note})\n"));
    }
    text.push('\n');
    text.push_str(&routes(answer));
    if let Some(refused) = &answer.refused {
        let (status, reason) = (refused.status, &refused.reason);
        text.push_str(&format!("the proxy answers with {status}: {reason}\n"));
    }
    let is_denied = answer.entry.iter().any(|one| one.verdict == Verdict::Deny);
    if is_denied && answer.action.is_some() {
        text.push_str("it is not let in; what follows is for one that is:\n");
    }
    match &answer.action {
        None => {}
        Some(Outcome::Redirect { status, location }) => {
            text.push_str(&format!("redirect with {status} to {location}\n"));
        }
        Some(Outcome::Respond {
            status,
            content_type,
            body_bytes,
        }) => text.push_str(&format!(
            "answered with {status}, {body_bytes} bytes of {content_type}\n"
        )),
        Some(Outcome::Forward { rewritten, arms }) => {
            if let Some(target) = rewritten {
                text.push_str(&format!("sent on as {} {target}\n", answer.request.method));
            }
            text.push_str(&load(answer));
            let is_split = arms.len() > 1;
            arms.iter()
                .for_each(|one| text.push_str(&arm(one, is_split)));
        }
    }
    if let Some(clocks) = &answer.clocks {
        text.push('\n');
        text.push_str(&clocks::render(clocks));
    }
    text
}

fn asked(request: &Asked) -> String {
    let scheme = if request.tls { "https" } else { "http" };
    let url = match &request.host {
        Some(host) => format!("{scheme}://{host}{}", request.target),
        None => format!("{} without a host", request.target),
    };
    let client = request.client;
    let client = client.map_or_else(String::new, |client| format!(", from {client}"));
    format!(
        "{} {url}, on listener `{}`{client}\n",
        request.method, request.listener
    )
}

fn load(answer: &Answer) -> String {
    match &answer.load.against {
        None => "under no load: all endpoints idle and healthy (--against ADMIN takes the load of a running proxy)\n"
            .to_owned(),
        Some(admin) => format!("under the load at {admin}\n"),
    }
}

/// The routes up to the one that matches.
fn routes(answer: &Answer) -> String {
    let mut shown: Vec<&PassedRoute> = answer.passed.iter().collect();
    shown.sort_by_key(|passed| passed.failed.len());
    shown.truncate(PASSED);
    shown.sort_by_key(|passed| passed.index);
    let mut text = String::new();
    for passed in &shown {
        text.push_str(&named(passed.index, &passed.name, passed.line));
        text.push_str("does not match\n");
        for failed in &passed.failed {
            text.push_str(&format!("  {}\n", failure(failed)));
        }
    }
    let left_out = answer.passed.len() - shown.len();
    if left_out > 0 {
        text.push_str(&format!(
            "and {left_out} more that do not match, which --json lists\n"
        ));
    }
    match &answer.route {
        Some(route) => {
            text.push_str(&named(route.index, &route.name, route.line));
            text.push_str("matches\n");
            if let Some(fault) = &route.fault {
                text.push_str(&format!("  injects faults on purpose: {fault}\n"));
            }
        }
        None if answer.passed.is_empty() => {}
        None => text.push_str("no route matches\n"),
    }
    for judgement in &answer.entry {
        let Judgement { by, verdict, why } = judgement;
        text.push_str(&format!("  {by}: {}, {why}\n", verdict.word()));
    }
    if answer.not_reached > 0 {
        let plural = if answer.not_reached == 1 { "" } else { "s" };
        text.push_str(&format!(
            "({} route{plural} below it not reached)\n",
            answer.not_reached
        ));
    }
    text.push('\n');
    text
}

fn named(index: usize, name: &str, line: u32) -> String {
    format!("routes[{index}] `{name}`, line {line}: ")
}

fn failure(failed: &FailedTest) -> String {
    let name = failed.name.as_ref();
    let name = name.map_or_else(String::new, |name| format!(" {name}"));
    let given = match failed.given.as_deref() {
        None => "the request has none".to_owned(),
        Some("") => "the request has an empty one".to_owned(),
        Some(given) => format!("the request has {given}"),
    };
    format!("{}{name}: asks for {}, {given}", failed.test, failed.wanted)
}

fn arm(arm: &Arm, is_split: bool) -> String {
    let mut text = String::from("\n");
    if is_split {
        text.push_str(&format!("{} ", percent(arm.share)));
    }
    text.push_str(&format!("upstream `{}`", arm.upstream));
    if let Some(pick) = &arm.pick {
        text.push_str(&format!(" ({})", pick.balance));
        if let Some(subset) = &pick.subset {
            text.push_str(&format!(", subset {subset}"));
        }
    }
    text.push('\n');
    if !arm.newcomers.is_empty() {
        let newcomers = arm.newcomers.join(", ");
        text.push_str(&format!(
            "  newcomers, which do not run there: {newcomers}\n"
        ));
    }
    if let Some(session) = &arm.session {
        text.push_str(&format!("  session: {session}\n"));
    }
    if let Some(pick) = &arm.pick {
        text.push_str(&grounds(pick, arm.creates_cookie));
    }
    if let Some(refused) = &arm.refused {
        let (status, reason) = (refused.status, &refused.reason);
        text.push_str(&format!("  -> nobody: {status}, {reason}\n"));
    }
    if let [_, _, ..] = arm.shares[..] {
        text.push_str(&format!(
            "  of 1000 such requests now: {}\n",
            shares(&arm.shares)
        ));
    }
    text
}

fn shares(shares: &[EndpointShare]) -> String {
    let shown = shares.iter().take(SHARES);
    let mut words: Vec<String> = shown
        .map(|one| format!("{} {}", one.endpoint, percent(one.share)))
        .collect();
    if shares.len() > SHARES {
        words.push(format!("{} more", shares.len() - SHARES));
    }
    words.join(", ")
}

/// A pick with what it was based on.
fn grounds(pick: &PickRecord, creates_cookie: bool) -> String {
    let mut text = String::new();
    if let Some(key) = &pick.key {
        let of = key.text.as_ref();
        let of = of.map_or_else(String::new, |of| format!(" of {of}"));
        let made = if creates_cookie {
            ", of a cookie that is made for the client"
        } else {
            ""
        };
        text.push_str(&format!("  key: {}{of}{made}\n", key.hash));
    }
    if let Some(unbound) = &pick.unbound {
        text.push_str(&format!(
            "  the endpoint of its session is out: {unbound}\n"
        ));
    }
    if let [_, _, ..] = pick.groups[..] {
        for group in &pick.groups {
            text.push_str(&format!(
                "  group {}: {} of the traffic, candidates: {}{}\n",
                group.name,
                percent(group.share),
                group.candidates,
                if group.asked { ", asked" } else { "" },
            ));
        }
    }
    text.push_str(&candidates(pick));
    if let Some(picked) = &pick.picked {
        let meaning = meaning(&pick.reason);
        text.push_str(&format!("  -> {picked} ({}: {meaning})\n", pick.reason));
    }
    text
}

fn candidates(pick: &PickRecord) -> String {
    let mut table = Table::new(
        2,
        &[
            "  ENDPOINT",
            "",
            "IN FLIGHT",
            "WEIGHT",
            "IN FORCE",
            "FAILING",
            "LATENCY",
            "SCORE",
        ],
    );
    for candidate in &pick.candidates {
        table.row(row(candidate));
    }
    for excluded in &pick.excluded {
        table.row(vec![
            format!("  {}", excluded.endpoint),
            format!("out: {}", excluded.reason),
        ]);
    }
    let mut text = if pick.candidates.is_empty() && pick.excluded.is_empty() {
        String::new()
    } else {
        table.render()
    };
    for (count, what) in [
        (pick.candidates_beyond, "candidates"),
        (pick.excluded_beyond, "that are out"),
    ] {
        if count > 0 {
            text.push_str(&format!("  and {count} more {what}\n"));
        }
    }
    text
}

fn row(candidate: &CandidateRecord) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        format!("  {}", candidate.endpoint),
        candidate.note.clone().unwrap_or_default(),
        candidate.in_flight.to_string(),
        candidate.weight.to_string(),
        percent(f64::from(candidate.factor)),
        format!("{:.1}", candidate.failures_as_load),
        candidate
            .latency_seconds
            .map_or_else(none, |seconds| latency(Some(seconds))),
        candidate.score.map_or_else(none, score),
    ]
}

/// A score with as many digits as tell it apart.
pub(super) fn score(score: f64) -> String {
    if score != 0.0 && (score.abs() >= 1e5 || score.abs() < 1e-3) {
        format!("{score:.3e}")
    } else {
        format!("{score:.3}")
    }
}

/// A share with up to one decimal.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// What the word for the way of a pick means.
fn meaning(reason: &str) -> &'static str {
    let of = |known: &Reason| match known {
        Reason::Bound => "its session is bound to it",
        Reason::Panic => "too few endpoints are healthy, so that those count that are not",
        Reason::OtherGroup => "the group whose turn it was had none free",
        Reason::LastResort => "only endpoints of weight 0 are eligible",
        Reason::NoKey => "it lacks what it would be hashed by, so that p2c picked",
        Reason::Spilled => "whom the key belongs to is out, full or above its bound",
        Reason::ScanAfterMisses => "the first ones met were full or above their bound",
        Reason::FewCandidates => "so few that all are compared, equals by chance",
        Reason::Policy => "as the policy goes",
    };
    let known = Reason::ALL.iter().find(|known| known.label() == reason);
    known.map_or("unknown to this version", of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning() {
        for label in Reason::LABELS {
            assert_ne!(meaning(label), meaning("unknown"), "{label}");
        }
    }

    #[test]
    fn numbers_are_short_and_told_apart() {
        assert_eq!(
            [0.0, 0.125, 1.0 / 6.0, 1.0].map(percent),
            ["0 %", "12.5 %", "16.7 %", "100 %"]
        );
        assert_eq!(
            [0.0, 0.5, 12.0, 2.5e7, 4e-7].map(score),
            ["0.000", "0.500", "12.000", "2.500e7", "4.000e-7"]
        );
    }
}
