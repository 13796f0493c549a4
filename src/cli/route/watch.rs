//! `plimsoll route --watch`: what a running process decides, as it decides it.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::text::score;
use super::{Args, Stop, present, question, read_answer};
use crate::admin::decisions::Latest;
use crate::cli::{ask, print_on, say};
use crate::observe::decision::{CandidateRecord, DecisionRecord};
use crate::proxy::error::ProxyError;
use crate::route;

/// Between two looks. A process writes down at most one decision in a millisecond for each upstream and keeps 64 unless
/// it is told otherwise, so that none is lost when nothing stalls.
const PERIOD: Duration = Duration::from_millis(50);
/// For one look.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a path beyond which what was seen is left to the reader to sort out.
const LONGEST_PATH: usize = 4096;
/// Decisions of one look at an upstream: as many as can be kept.
const MOST: usize = 4096;
/// Candidates of a line.
const BEST: usize = 3;

/// Which decisions are shown, and how.
struct Watch<'a> {
    admin: ask::Admin,
    upstream: Option<&'a str>,
    /// The name of the route.
    route: Option<String>,
    json: bool,
}

/// Follows them until the time is over, the reader has seen enough, INT or TERM.
pub(super) fn run(args: &Args) -> Result<ExitCode, Stop> {
    let watch = Watch {
        admin: ask::admin_of(args.against.as_ref(), args.config.as_deref()),
        upstream: args.upstream.as_deref(),
        route: wanted_route(args)?,
        json: args.json,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(watch.follow(args.length))?;
    Ok(ExitCode::SUCCESS)
}

/// The name of the route that the request of the arguments meets; `None`: there is no request.
fn wanted_route(args: &Args) -> Result<Option<String>, Stop> {
    if args.request.is_empty() {
        return Ok(None);
    }
    let (config, places) = present::load(args.config.as_deref())?;
    let question = question::Question::of(&args.words(), &config.listeners).map_err(Stop::usage)?;
    let present = present::Present::new(config, places)?;
    let request = question.request();
    let find = |request: &route::Request<'_>| {
        let found = present.routes.find(request);
        found.map(|route| route.name.to_string())
    };
    let found = request
        .check_names()
        .and_then(|()| request.with_routes(&mut Vec::new(), find))
        .and_then(|name| name.ok_or(ProxyError::NoRoute));
    found.map(Some).map_err(|error| Stop {
        code: 1,
        text: format!("plimsoll: the proxy would answer this request itself: {error}"),
    })
}

impl Watch<'_> {
    async fn follow(&self, length: Option<Duration>) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for INT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for TERM")?;
        let end = async {
            match length {
                Some(length) => sleep(length).await,
                None => std::future::pending().await,
            }
        };
        let mut end = std::pin::pin!(end);
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = &mut end => return Ok(()),
                _ = period.tick() => {}
            }
            let is_first = !seen.has_begun;
            let latest = self.look(&seen).await?;
            if let (true, Some(name), []) = (is_first, self.upstream, &latest.upstreams[..]) {
                bail!("the process at {} has no upstream `{name}`", self.admin);
            }
            if !self.show(seen.take(latest))? {
                return Ok(());
            }
            if is_first {
                say(&format!("watching the decisions at {}", self.admin));
            }
        }
    }

    async fn look(&self, seen: &Seen) -> anyhow::Result<Latest> {
        let path = seen.path(self.upstream);
        let answer = ask::in_time(&self.admin, &path, PATIENCE).await?;
        read_answer(&self.admin, "/api/v1/decisions", &answer)
    }

    /// Whether anybody still reads.
    fn show(&self, news: News) -> anyhow::Result<bool> {
        if news.lost > 0 {
            say(&format!(
                "{} decisions were lost on the way here",
                news.lost
            ));
        }
        let mut text = String::new();
        for record in &news.records {
            if self
                .route
                .as_ref()
                .is_some_and(|route| *route != record.route)
            {
                continue;
            }
            if self.json {
                text.push_str(&serde_json::to_string(record).context("cannot write a decision")?);
            } else {
                text.push_str(&line(record));
            }
            text.push('\n');
        }
        print_on(&text)
    }
}

/// What was shown of each upstream, by the sequence of the last one.
#[derive(Debug, Default)]
struct Seen {
    has_begun: bool,
    last: HashMap<String, u64>,
}

/// What a look brought.
#[derive(Debug, Default)]
struct News {
    /// In the order of time.
    records: Vec<DecisionRecord>,
    /// Written down and dropped again between two looks.
    lost: u64,
}

impl Seen {
    /// The path that asks for what is new.
    fn path(&self, upstream: Option<&str>) -> String {
        let mut path = format!("/api/v1/decisions?watch=1&limit={MOST}");
        if let Some(upstream) = upstream {
            path.push_str(&format!("&upstream={upstream}"));
        }
        for (name, last) in &self.last {
            if path.len() < LONGEST_PATH {
                path.push_str(&format!("&after={name}:{last}"));
            }
        }
        path
    }

    /// Sorts out what is new. At the first look nothing is, as what was decided before may be hours old.
    fn take(&mut self, latest: Latest) -> News {
        let mut news = News::default();
        for upstream in latest.upstreams {
            let before = self.last.insert(upstream.name, upstream.last);
            if !self.has_begun {
                continue;
            }
            // A process that was started anew counts from 1.
            let before = before
                .filter(|before| *before <= upstream.last)
                .unwrap_or(0);
            let new = upstream
                .decisions
                .into_iter()
                .filter(|record| record.sequence > before);
            let new: Vec<DecisionRecord> = new.collect();
            news.lost += (upstream.last - before).saturating_sub(new.len() as u64);
            news.records.extend(new);
        }
        self.has_begun = true;
        news.records.sort_by(|a, b| a.at.total_cmp(&b.at));
        news
    }
}

/// One decision in one line.
fn line(record: &DecisionRecord) -> String {
    let pick = &record.pick;
    let mut line = format!(
        "{} {} {} {} {} -> {} {}",
        time_of_day(record.at),
        record.request,
        record.method,
        record.target,
        pick.upstream,
        pick.picked.as_deref().unwrap_or("nobody"),
        pick.reason,
    );
    if record.attempt > 1 {
        line.push_str(&format!(" (attempt {})", record.attempt));
    }
    let mut best: Vec<&CandidateRecord> = pick.candidates.iter().collect();
    best.sort_by(|a, b| {
        let rank = |candidate: &CandidateRecord| candidate.score.unwrap_or(f64::INFINITY);
        rank(a).total_cmp(&rank(b))
    });
    for candidate in best.iter().take(BEST) {
        line.push_str(&format!("  {}", candidate.endpoint));
        if let Some(found) = candidate.score {
            line.push_str(&format!(" {}", score(found)));
        }
        if let Some(note) = &candidate.note {
            line.push_str(&format!(" {note}"));
        }
    }
    // A client has written the target.
    let safe = line.chars().map(|letter| match letter {
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    });
    safe.collect()
}

/// In UTC, with milliseconds.
fn time_of_day(unix_seconds: f64) -> String {
    let millis = (unix_seconds * 1e3).round() as u64 % 86_400_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::decisions::UpstreamDecisions;
    use crate::observe::decision::PickRecord;

    fn record(sequence: u64) -> DecisionRecord {
        let candidate = |endpoint: &str, score| CandidateRecord {
            endpoint: endpoint.to_owned(),
            in_flight: 1,
            weight: 1,
            factor: 1.0,
            failures_as_load: 0.0,
            latency_seconds: None,
            score,
            note: None,
        };
        DecisionRecord {
            sequence,
            at: 1_800_000_000.0 + sequence as f64,
            request: "00000000000000ab".to_owned(),
            method: "GET".to_owned(),
            target: "/x\u{9b}2J".to_owned(),
            route: "all".to_owned(),
            attempt: 2,
            pick: PickRecord {
                upstream: "api".to_owned(),
                picked: Some("b".to_owned()),
                reason: "policy".to_owned(),
                candidates: vec![candidate("a", Some(2.0)), candidate("b", Some(1.0))],
                ..PickRecord::default()
            },
        }
    }

    fn latest(name: &str, sequences: std::ops::RangeInclusive<u64>) -> Latest {
        Latest {
            upstreams: vec![UpstreamDecisions {
                name: name.to_owned(),
                last: *sequences.end(),
                decisions: sequences.map(record).collect(),
            }],
        }
    }

    fn sequences(news: &News) -> Vec<u64> {
        news.records.iter().map(|record| record.sequence).collect()
    }

    #[test]
    fn begins_with_what_is_decided_from_now_on_and_shows_each_once() {
        let mut seen = Seen::default();
        assert!(seen.take(latest("api", 1..=5)).records.is_empty());
        let news = seen.take(latest("api", 4..=7));
        assert_eq!((sequences(&news), news.lost), (vec![6, 7], 0));
        assert_eq!(
            seen.path(None),
            "/api/v1/decisions?watch=1&limit=4096&after=api:7"
        );
        assert_eq!(
            seen.path(Some("api")),
            "/api/v1/decisions?watch=1&limit=4096&upstream=api&after=api:7"
        );
        // An upstream that a reload brings is new as a whole.
        assert_eq!(sequences(&seen.take(latest("web", 1..=2))), [1, 2]);
    }

    #[test]
    fn counts_what_was_lost_and_notices_a_process_started_anew() {
        let mut seen = Seen::default();
        seen.take(latest("api", 1..=5));
        let news = seen.take(latest("api", 10..=12));
        assert_eq!((sequences(&news), news.lost), (vec![10, 11, 12], 4));
        let news = seen.take(latest("api", 1..=2));
        assert_eq!((sequences(&news), news.lost), (vec![1, 2], 0));
    }

    #[test]
    fn a_decision_is_one_line_that_a_terminal_can_be_trusted_with() {
        assert_eq!(
            line(&record(1)),
            "08:00:01.000Z 00000000000000ab GET /x\u{fffd}2J api -> b policy (attempt 2)  b 1.000  a 2.000"
        );
    }
}
