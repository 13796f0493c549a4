//! Outlier detection: who is worse than their peers is taken out for a time.
//!
//! [`Conduct`] is what workers count of an endpoint, [`Detector`] the rules, [`Watch`] its State, which survives a reload, and
//! [`Outlier`] what one configuration makes of it. Not here: what a failure is, which whoever carries attempts judges.

mod conduct;
mod detector;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::span;
use super::endpoint::Endpoint;
use super::groups::Groups;
use crate::balance::Exclusion;
use crate::clock::Instant;
use crate::config;
use crate::entropy::Random;
use crate::observe::event::{Events, Kind};

pub use conduct::{Conduct, Sample, Totals};
pub use detector::{Detector, Member, Rules, Subject, Verdict, Why};

/// The detection of one upstream as it stands.
#[derive(Debug)]
pub struct Watch(Mutex<(Detector, Random)>);

impl Default for Watch {
    fn default() -> Self {
        Self(Mutex::new((Detector::default(), Random::from_system())))
    }
}

/// Outlier detection as it is configured.
#[derive(Debug)]
pub struct Outlier {
    /// Off: nobody is taken out, and who was is let back.
    pub rules: Option<Rules>,
    upstream: String,
    watch: Arc<Watch>,
    events: Arc<Events>,
}

impl From<&config::Outlier> for Rules {
    fn from(written: &config::Outlier) -> Self {
        Self {
            in_row: written.consecutive_gateway_failures,
            failure_rate: written.failure_rate.map(|rate| rate.fraction()),
            latency: written.latency.map(|factor| factor.value()),
            min_samples: written.min_samples,
            min_endpoints: written.min_endpoints,
            interval: written.interval,
            keep: written.keep,
            eject_for: written.eject_for,
            eject_for_max: written.eject_for_max,
            jitter: written.jitter.fraction(),
        }
    }
}

impl Outlier {
    pub fn new(
        upstream: &str,
        written: Option<&config::Outlier>,
        watch: Arc<Watch>,
        events: Arc<Events>,
    ) -> Self {
        Self {
            rules: written.map(Rules::from),
            upstream: upstream.to_owned(),
            watch,
            events,
        }
    }

    /// Finds out who is an outlier now; from a tick.
    pub fn look(&self, endpoints: &[Arc<Endpoint>], groups: &Groups, now: Instant) {
        let mut kept = self.kept();
        let (detector, random) = &mut *kept;
        let Some(rules) = &self.rules else {
            detector.release();
            endpoints.iter().for_each(|one| keep_out(one, false, now));
            return;
        };
        let subjects = subjects(endpoints, groups);
        for verdict in detector.look(now, rules, random, &subjects) {
            match verdict {
                Verdict::Ejected(i, why, stay) => {
                    let text = format!("is ejected for {}: {why}", span(stay));
                    self.tell(now, &endpoints[i], text);
                }
                Verdict::Returned(i) => {
                    endpoints[i].conduct.forget_row();
                    self.tell(now, &endpoints[i], "is back: its time is over".to_owned());
                }
            }
        }
        for (endpoint, is_out) in endpoints.iter().zip(detector.out()) {
            keep_out(endpoint, is_out, now);
        }
    }

    /// What is known of an endpoint.
    pub fn member(&self, identity: u64) -> Option<Member> {
        self.kept().0.member(identity).copied()
    }

    /// In how many seconds endpoints are compared next, and how many could be taken out now; `None` where it is off.
    pub fn outlook(
        &self,
        endpoints: &[Arc<Endpoint>],
        groups: &Groups,
        now: Instant,
    ) -> Option<(f64, usize)> {
        let rules = self.rules.as_ref()?;
        let kept = self.kept();
        let may_eject = kept.0.may_eject(rules, &subjects(endpoints, groups));
        Some((kept.0.next(now, rules).as_secs_f64(), may_eject))
    }

    fn tell(&self, now: Instant, endpoint: &Endpoint, text: String) {
        let (upstream, endpoint) = (&self.upstream, Some(endpoint.id.as_str()));
        self.events
            .note(now, Kind::Outlier, upstream, endpoint, text);
    }

    fn kept(&self) -> MutexGuard<'_, (Detector, Random)> {
        self.watch.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds its ejection against an endpoint. Asked for with each tick, whether or not anything has changed: one that has moved
/// was copied when the configuration was read, and may have been ejected or let back since.
fn keep_out(endpoint: &Endpoint, is_out: bool, now: Instant) {
    if endpoint.is_held(Exclusion::Ejected) != is_out {
        endpoint.hold(Exclusion::Ejected, is_out, now);
    }
}

fn subjects(endpoints: &[Arc<Endpoint>], groups: &Groups) -> Vec<Subject> {
    let layout = groups.layout();
    let subject = |(i, endpoint): (usize, &Arc<Endpoint>)| Subject {
        identity: groups.identity(i),
        group: layout.home(i).unwrap_or(usize::MAX),
        // An ejection is told before a breaker that is open as well.
        is_serving: groups.standing(endpoint, i).is_none_or(is_ejection)
            && !endpoint.is_held(Exclusion::BreakerOpen)
            && layout.home(i).is_some()
            && layout.places()[i].weight > 0,
        totals: endpoint.conduct.totals(),
        in_row: endpoint.conduct.in_row(),
    };
    endpoints.iter().enumerate().map(subject).collect()
}

fn is_ejection(reason: Exclusion) -> bool {
    reason == Exclusion::Ejected
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| 100.0 * part;
        let millis = |nanos: f64| nanos / 1e6;
        match *self {
            Self::InARow(count) => write!(f, "{count} gateway failures in a row"),
            Self::FailureRate(own, median) => write!(
                f,
                "{:.0}% of its attempts failed, beside {:.0}% of its peers'",
                percent(own),
                percent(median)
            ),
            Self::Latency(own, median) => write!(
                f,
                "its answers take {:.1} ms, beside {:.1} ms of its peers'",
                millis(own),
                millis(median)
            ),
        }
    }
}
