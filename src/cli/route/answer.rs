//! Where a request goes, found out by the code that requests go through, in the form in which it is printed as JSON.

use std::net::IpAddr;

use serde::Serialize;

use super::Stop;
use super::clocks::{self, Clock};
use super::entry::{self, Judgement, Verdict};
use super::present::{Live, Loaded, Present};
use super::question::Question;
use crate::balance::{Lack, Memory, Picked};
use crate::config::{self, Config};
use crate::entropy::Random;
use crate::http::fields::Name;
use crate::observe::decision::PickRecord;
use crate::proxy::error::ProxyError;
use crate::proxy::request::Request;
use crate::proxy::select::Selection;
use crate::route::{self, Action, Explanation};
use crate::upstream::Upstream;
use crate::upstream::absence::Absence;
use crate::upstream::explain::explain;
use crate::upstream::groups::Grounds;

/// Chance is seeded: the same question has the same answer.
const SEED: u64 = 1;
/// Picks among which shares are counted.
const PICKS: u32 = 1000;

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) request: Asked,
    pub(super) load: Load,
    /// The routes that do not match, from the top.
    pub(super) passed: Vec<PassedRoute>,
    /// The first that matches.
    pub(super) route: Option<MatchedRoute>,
    /// Who judges whether the client may enter, in the order in which they are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) entry: Vec<Judgement>,
    /// Routes below it.
    pub(super) not_reached: usize,
    pub(super) action: Option<Outcome>,
    /// The proxy answers this itself, whatever the routes say.
    pub(super) refused: Option<Refusal>,
    /// Those that run on it, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clocks: Option<Vec<Clock>>,
    pub(super) notes: Vec<String>,
}

/// The request as it was understood.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) host: Option<String>,
    pub(super) target: String,
    pub(super) listener: String,
    pub(super) tls: bool,
    /// The client, as far as proxies before this one are believed.
    pub(super) client: Option<IpAddr>,
}

/// Under which load.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    /// The admin address of the process whose load it is; none: all endpoints are idle and healthy.
    pub(super) against: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct PassedRoute {
    pub(super) index: usize,
    pub(super) name: String,
    /// Of the file.
    pub(super) line: u32,
    pub(super) failed: Vec<FailedTest>,
}

#[derive(Debug, Serialize)]
pub(super) struct FailedTest {
    /// `listener`, `host`, `path`, `method`, `header` or `query`.
    pub(super) test: &'static str,
    /// Of the header or parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) wanted: String,
    pub(super) given: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct MatchedRoute {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) line: u32,
    /// What it injects on purpose.
    pub(super) fault: Option<String>,
    /// The limits that the request is held to: those of the listener, then those of the route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) limits: Vec<String>,
}

/// What is done with the request.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// One arm, or those of a split.
    Forward {
        /// As it is sent on, where the route rewrites it.
        rewritten: Option<String>,
        arms: Vec<Arm>,
    },
    Redirect {
        status: u16,
        location: String,
    },
    Respond {
        status: u16,
        content_type: String,
        body_bytes: usize,
    },
}

/// An upstream that may get the request.
#[derive(Debug, Serialize)]
pub(super) struct Arm {
    /// With which chance.
    pub(super) share: f64,
    pub(super) upstream: String,
    /// Ids of the endpoints that do not run where the load is from.
    pub(super) newcomers: Vec<String>,
    /// How the session of the request stands, where the upstream binds sessions.
    pub(super) session: Option<String>,
    /// The request lacks what it is hashed by, and its client would be given a cookie for it.
    pub(super) creates_cookie: bool,
    /// None where the request was refused before anybody was asked.
    pub(super) pick: Option<PickRecord>,
    /// Of a thousand such requests at this moment; the most frequent first.
    pub(super) shares: Vec<EndpointShare>,
    /// What the client is told where nobody can be picked.
    pub(super) refused: Option<Refusal>,
}

#[derive(Debug, Serialize)]
pub(super) struct EndpointShare {
    pub(super) endpoint: String,
    pub(super) share: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) label: String,
    pub(super) reason: String,
}

impl Refusal {
    fn of(error: &ProxyError) -> Self {
        Self {
            status: error.status(),
            label: error.label().to_owned(),
            reason: error.to_string(),
        }
    }
}

impl Answer {
    /// Asks.
    pub(super) fn to(question: &Question, present: &Present) -> Result<Self, Stop> {
        let request = question.request();
        let against = present.against.as_ref();
        let mut answer = Self {
            request: Asked::of(&request),
            load: Load {
                against: against.map(|against| against.admin.to_string()),
            },
            passed: Vec::new(),
            route: None,
            entry: Vec::new(),
            not_reached: 0,
            action: None,
            refused: None,
            clocks: None,
            notes: question.notes.clone(),
        };
        let mut buffer = Vec::new();
        let told = request.check_names().and_then(|()| {
            request.with_routes(&mut buffer, |request| {
                present.routes.explain(request, &present.listeners)
            })
        });
        match told {
            Ok(told) => answer.tell(&told, &request, present)?,
            Err(error) => answer.refused = Some(Refusal::of(&error)),
        }
        Ok(answer)
    }

    fn tell(
        &mut self,
        told: &Explanation<'_>,
        request: &Request<'_>,
        present: &Present,
    ) -> Result<(), Stop> {
        let line = |index: usize| present.places.line(&format!("routes[{index}]"));
        let passed = told.passed.iter().map(|passed| PassedRoute {
            index: passed.route.index,
            name: passed.route.name.to_string(),
            line: line(passed.route.index),
            failed: passed.failed.iter().map(FailedTest::of).collect(),
        });
        self.passed = passed.collect();
        self.not_reached = told.not_reached;
        let written = told.found.and_then(|route| {
            let written = present.config.routes.get(route.index)?;
            Some((&*route.name, written))
        });
        self.entry = entry::judge(request, written, present);
        let Some(route) = told.found else {
            self.refused = Some(Refusal::of(&ProxyError::NoRoute));
            return Ok(());
        };
        self.route = Some(MatchedRoute {
            index: route.index,
            name: route.name.to_string(),
            line: line(route.index),
            fault: route.fault.as_ref().map(|fault| fault.text.to_string()),
            limits: limits(request, present.config.routes.get(route.index)),
        });
        let outcome = outcome(route, request, present)?;
        self.warn(&outcome, present);
        self.action = Some(outcome);
        Ok(())
    }

    /// Says what a running process knows and this one cannot.
    fn warn(&mut self, outcome: &Outcome, present: &Present) {
        let Outcome::Forward { arms, .. } = outcome else {
            return;
        };
        for arm in arms {
            let name = &arm.upstream;
            let Some(written) = present.config.upstreams.get(name) else {
                continue;
            };
            if written.random_subset.is_some() {
                let note = format!("every process draws a random subset of `{name}` of its own");
                self.notes.push(note);
            }
            let sticky = written.sticky.as_ref();
            if arm.session.is_some() && sticky.is_some_and(|sticky| sticky.secret_file.is_none()) {
                self.notes.push(format!(
                    "without a `secret_file` only the process that bound a session of `{name}` can read it"
                ));
            }
        }
    }

    /// The clocks of its listener and of the upstreams that may get it.
    pub(super) fn clocks_of(&self, config: &Config) -> Vec<Clock> {
        let name = &self.request.listener;
        let listener = config.listeners.get(name);
        let mut all =
            listener.map_or_else(Vec::new, |listener| clocks::of_listener(name, listener));
        if let Some(Outcome::Forward { arms, .. }) = &self.action {
            for arm in arms {
                let upstream = config.upstreams.get(&arm.upstream);
                all.extend(
                    upstream
                        .into_iter()
                        .flat_map(|upstream| clocks::of_upstream(&arm.upstream, upstream)),
                );
            }
        }
        all
    }

    /// Whether the request gets anywhere, for certain.
    pub(super) fn is_served(&self) -> bool {
        let mut judgements = self.entry.iter();
        if judgements.any(|one| one.verdict == Verdict::Deny) {
            return false;
        }
        match &self.action {
            None => false,
            Some(Outcome::Forward { arms, .. }) => arms.iter().all(|arm| arm.refused.is_none()),
            Some(Outcome::Redirect { .. } | Outcome::Respond { .. }) => true,
        }
    }
}

/// What clients of the listener and of the route are held to.
fn limits(request: &Request<'_>, route: Option<&config::Route>) -> Vec<String> {
    let of_listener = request.rules.limits.apply.iter();
    let of_route = route.into_iter().flat_map(|route| &route.limits);
    of_listener.chain(of_route).cloned().collect()
}

impl Asked {
    fn of(request: &Request<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            method: request.head.method.to_string(),
            host: request.head.fields.get(Name::Host).map(text),
            target: text(&request.head.target),
            listener: request.rules.name.clone(),
            tls: request.tls,
            client: request.client(),
        }
    }
}

impl FailedTest {
    fn of(failed: &route::Failed) -> Self {
        Self {
            test: failed.test.key(),
            name: failed.test.name().map(str::to_owned),
            wanted: failed.wanted.clone(),
            given: failed.given.clone(),
        }
    }
}

fn outcome(
    route: &route::Route,
    request: &Request<'_>,
    present: &Present,
) -> Result<Outcome, Stop> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let arms: Vec<(usize, f64)> = match &route.action {
        Action::Upstream(index) => vec![(*index, 1.0)],
        Action::Split(split) => split.shares().collect(),
        Action::Redirect(redirect) => {
            let scheme = if request.tls { "https" } else { "http" };
            let host = request.head.fields.get(Name::Host).unwrap_or_default();
            return Ok(Outcome::Redirect {
                status: redirect.status,
                location: text(&redirect.location(scheme, host, &request.head.target)),
            });
        }
        Action::Respond(respond) => {
            return Ok(Outcome::Respond {
                status: respond.status,
                content_type: text(&respond.content_type),
                body_bytes: respond.body.len(),
            });
        }
    };
    let rewritten = route.rewrite.as_ref().and_then(|rewrite| {
        let (raw, mut buffer, mut out) = (&request.head.target, Vec::new(), Vec::new());
        let apply = |canonical: &route::Request<'_>| rewrite.apply(raw, canonical.path, &mut out);
        request.with_routes(&mut buffer, apply).ok()?;
        Some(text(&out))
    });
    let asked = arms.into_iter().map(|(index, share)| {
        let name = &present.upstreams[index];
        Ok(arm(present.upstream(name)?, share, route, request))
    });
    Ok(Outcome::Forward {
        rewritten,
        arms: asked.collect::<Result<_, Stop>>()?,
    })
}

/// Asks one upstream.
fn arm(loaded: Loaded, share: f64, route: &route::Route, request: &Request<'_>) -> Arm {
    let upstream = &loaded.upstream;
    let mut random = Random::seeded(SEED);
    let mut arm = Arm {
        share,
        upstream: upstream.name.clone(),
        newcomers: loaded.newcomers,
        session: session(upstream, request),
        creates_cookie: false,
        pick: None,
        shares: Vec::new(),
        refused: None,
    };
    let selection = match Selection::of(request, upstream, route, &mut random, unix_seconds) {
        Ok(selection) => selection,
        Err(error) => {
            arm.refused = Some(Refusal::of(&error));
            return arm;
        }
    };
    let (groups, live) = (&upstream.groups, Live(upstream));
    let narrowed = groups.narrowed();
    let mut memories: Vec<Memory> = groups.groups().iter().map(|_| Memory::default()).collect();
    arm.creates_cookie = selection.created.is_some();
    let mut grounds = Grounds::default();
    let mut pick = |grounds: Option<&mut Grounds>| -> Result<Picked, Lack> {
        let mut ask = selection.ask;
        if arm.creates_cookie && grounds.is_none() {
            // Every client is given another.
            ask.key = Some(random.next_u64());
        }
        groups.pick(&narrowed, &ask, &live, &mut memories, &mut random, grounds)
    };
    let picked = pick(Some(&mut grounds));
    let key = selection.key.as_ref();
    arm.pick = Some(explain(
        upstream,
        &narrowed,
        &selection.ask,
        key,
        picked,
        &grounds,
    ));
    match picked {
        Ok(_) => {
            let picks = (0..PICKS).filter_map(|_| pick(None).ok());
            arm.shares = shares(upstream, picks.map(|picked| picked.endpoint));
        }
        Err(lack) => {
            let spread = narrowed.section(selection.ask.section);
            arm.refused = Some(Refusal::of(&match lack {
                Lack::Capacity => ProxyError::Full,
                lack => ProxyError::NoEndpoint(Absence::of(lack, spread)),
            }));
        }
    }
    arm
}

/// How the session cookie of a request is read, where there is one.
fn session(upstream: &Upstream, request: &Request<'_>) -> Option<String> {
    let sticky = upstream.selectors.as_ref()?.sticky.as_ref()?;
    Some(match sticky.find(request, unix_seconds())? {
        Err(refused) => format!("{refused}; it counts for nothing"),
        Ok(bound) => match upstream.groups.index_of(bound.identity) {
            Some(i) => format!("bound to {}", upstream.endpoints[i].id),
            None => "bound to an endpoint that is gone".to_owned(),
        },
    })
}

fn unix_seconds() -> u64 {
    let since = crate::clock::wall().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn shares(upstream: &Upstream, picked: impl Iterator<Item = usize>) -> Vec<EndpointShare> {
    let mut counts = vec![0u32; upstream.endpoints.len()];
    picked.for_each(|i| counts[i] += 1);
    let mut ranked: Vec<(usize, u32)> = counts.into_iter().enumerate().collect();
    ranked.retain(|(_, count)| *count > 0);
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let share = |(i, count): (usize, u32)| EndpointShare {
        endpoint: upstream.endpoints[i].id.clone(),
        share: f64::from(count) / f64::from(PICKS),
    };
    ranked.into_iter().map(share).collect()
}
