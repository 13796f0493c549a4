//! Who checks: a task for each endpoint, which waits until a check is due, makes it, and tells what came of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::AbortHandle;

use super::Checks;
use crate::balance::Exclusion;
use crate::clock::{Clock, Instant};
use crate::entropy::Random;
use crate::observe::event::Kind;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::health::{Check, Health, Verdict};

impl Upstream {
    /// Says how each endpoint stands in active checks, before any can be picked: newcomers begin as configured, the others
    /// as they were, and where checks end, so does what they held against an endpoint. Takes effect with the next look.
    pub fn enroll(&self, now: Instant, random: &mut Random) {
        let checked = self.checked();
        for (i, endpoint) in (0_u32..).zip(&self.endpoints) {
            let checks = self.checks.as_ref().filter(|_| checked.contains(&i));
            let mut health = endpoint.health();
            match (checks, &mut *health) {
                // Who was never checked is out for other reasons, if at all.
                (None, None) => continue,
                (None, known) => *known = None,
                (Some(checks), Some(known)) => known.replan(now, &checks.rules, random),
                (Some(checks), unknown) => {
                    *unknown = Some(Health::new(now, &checks.rules, random));
                }
            }
            let is_held = health.as_ref().is_some_and(Health::is_held);
            endpoint.hold(Exclusion::Unhealthy, is_held, now);
        }
    }

    /// The endpoints that are checked, by index: all that may be used. Those outside a random subset never are.
    fn checked(&self) -> HashSet<u32> {
        if self.checks.is_none() {
            return HashSet::new();
        }
        let groups = self.groups.layout().sections().iter();
        let groups = groups.flat_map(|section| &section.groups);
        groups.flat_map(|group| &group.endpoints).copied().collect()
    }
}

/// Checks the endpoints in force. To be used within the runtime of the control thread, on which its tasks run; they end
/// with it.
#[derive(Debug)]
pub struct Prober {
    clock: Clock,
    /// By upstream and id.
    tasks: HashMap<(String, String), Task>,
}

#[derive(Debug)]
struct Task {
    subject: watch::Sender<Subject>,
    ending: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.ending.abort();
    }
}

/// Whom a task checks, and how.
#[derive(Debug, Clone)]
struct Subject {
    /// The snapshot in force holds it. A task that held it, too, would keep a whole generation.
    upstream: Weak<Upstream>,
    checks: Arc<Checks>,
    endpoint: Arc<Endpoint>,
}

impl Subject {
    /// Is the other one from now on. Says whether there is more to it than that another snapshot is in force, so that the
    /// check which is waited for must be planned anew.
    fn take_over(&mut self, other: Self) -> bool {
        let is_another = !Arc::ptr_eq(&self.checks, &other.checks)
            || !Arc::ptr_eq(&self.endpoint, &other.endpoint);
        *self = other;
        is_another
    }
}

impl Prober {
    /// One that checks nobody yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            tasks: HashMap::new(),
        }
    }

    /// These are the upstreams in force from now on, whose endpoints have been enrolled. Checks of those that stay go on,
    /// those of others end.
    pub fn follow(&mut self, upstreams: &[Arc<Upstream>]) {
        let mut before = std::mem::take(&mut self.tasks);
        for upstream in upstreams {
            let Some(checks) = &upstream.checks else {
                continue;
            };
            for endpoint in &upstream.endpoints {
                if endpoint.health().is_none() {
                    continue;
                }
                let subject = Subject {
                    upstream: Arc::downgrade(upstream),
                    checks: Arc::clone(checks),
                    endpoint: Arc::clone(endpoint),
                };
                let key = (endpoint.upstream.clone(), endpoint.id.clone());
                let task = match before.remove(&key) {
                    Some(task) if !task.ending.is_finished() => {
                        task.subject
                            .send_if_modified(|known| known.take_over(subject));
                        task
                    }
                    // Ended by a panic, which is a bug that must not last longer than it has to.
                    Some(_) | None => self.spawn(subject),
                };
                self.tasks.insert(key, task);
            }
        }
    }

    fn spawn(&self, subject: Subject) -> Task {
        let (subject, followed) = watch::channel(subject);
        let task = tokio::spawn(check_again_and_again(
            followed,
            self.clock,
            Random::from_system(),
        ));
        Task {
            subject,
            ending: task.abort_handle(),
        }
    }
}

/// The life of a task: it ends when its owner is gone, or when there is nothing to check any more.
async fn check_again_and_again(
    mut followed: watch::Receiver<Subject>,
    clock: Clock,
    mut random: Random,
) {
    loop {
        let subject = followed.borrow_and_update().clone();
        let Some(due) = subject.endpoint.health().as_ref().map(Health::due) else {
            return;
        };
        let place = tokio::select! {
            biased;
            changed = followed.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            place = place(&subject.checks, due, clock) => place,
        };
        let check = subject.checks.check(&subject.endpoint, clock).await;
        drop(place);
        let latest = followed.borrow().clone();
        // What was found at another address says nothing of this one.
        if Arc::ptr_eq(&latest.endpoint, &subject.endpoint) {
            let Subject {
                upstream,
                checks,
                endpoint,
            } = &latest;
            checks.record(endpoint, upstream, check, clock.now(), &mut random);
        }
    }
}

/// Waits until a check is due and has a place; `None` where no places are given any more.
async fn place(checks: &Checks, due: Instant, clock: Clock) -> Option<OwnedSemaphorePermit> {
    let wait = due.since(clock.now());
    if !wait.is_zero() {
        tokio::time::sleep(clock.real(wait)).await;
    }
    Arc::clone(&checks.places).acquire_owned().await.ok()
}

impl Checks {
    /// Takes the result of a check, and carries out what it means.
    pub(crate) fn record(
        &self,
        endpoint: &Endpoint,
        upstream: &Weak<Upstream>,
        check: Check,
        now: Instant,
        random: &mut Random,
    ) {
        let turn = match endpoint.health().as_mut() {
            Some(health) => health.record(now, check, &self.rules, random),
            None => None,
        };
        let Some(turn) = turn else {
            return;
        };
        let is_held = turn.to != Verdict::Healthy;
        endpoint.hold(Exclusion::Unhealthy, is_held, now);
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        upstream.look(now);
        // That a newcomer is found healthy is what was expected.
        if turn.from != Verdict::Unknown || is_held {
            let (name, id) = (upstream.name.as_str(), endpoint.id.as_str());
            upstream
                .events
                .note(now, Kind::Health, name, Some(id), turn.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::tls::Shared;
    use crate::upstream::connect::{Address, Target};

    #[test]
    fn what_is_waited_for_goes_on_under_another_snapshot_of_the_same_endpoint() {
        let shared = Shared::new().unwrap();
        let checks = || {
            let upstream = config::Upstream::new(Vec::new());
            let written = config::ActiveHealth::default();
            Arc::new(Checks::compile(&written, &upstream, None, &shared).unwrap())
        };
        let endpoint = || {
            let target = Target {
                address: Address::Tcp("127.0.0.1:80".parse().unwrap()),
                host: None,
            };
            Arc::new(Endpoint::new("api", "a", "127.0.0.1:80", target))
        };
        let mut first = Subject {
            upstream: Weak::new(),
            checks: checks(),
            endpoint: endpoint(),
        };
        assert!(!first.clone().take_over(first.clone()));
        let otherwise = Subject {
            checks: checks(),
            ..first.clone()
        };
        assert!(first.clone().take_over(otherwise));
        let moved = Subject {
            endpoint: endpoint(),
            ..first.clone()
        };
        assert!(first.take_over(moved));
    }
}
