//! All that can be seen of an upstream beside what the reference says.

use super::reference::TOKEN;
use super::reference::breaker::State;
use super::world::World;
use crate::balance::Exclusion;
use crate::clock::Instant;
use crate::upstream::breaker::Phase;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::health::Verdict;
use crate::upstream::outlier::Member;

impl World {
    pub(super) fn compare(&mut self) {
        self.compare_queue();
        self.compare_budgets();
        let upstream = std::sync::Arc::clone(&self.current.upstream);
        let narrowed = upstream.groups.narrowed();
        let members = self.reference.members().to_vec();
        assert_eq!(upstream.endpoints.len(), members.len());
        for (i, (endpoint, place)) in upstream.endpoints.iter().zip(members).enumerate() {
            let identity = upstream.groups.identity(i);
            self.compare_ejection(
                &upstream.outlier.member(identity).expect("it was met"),
                place,
            );
            self.compare_breaker(endpoint, place);
            self.compare_endpoint(endpoint, place);
            let spread = narrowed.section(0);
            let is_candidate = spread.groups()[0].members.is_candidate(i);
            let current = self.reference.current();
            let expected = self.reference.generations[current].candidates[i];
            assert_eq!(is_candidate, expected, "{i} can be picked");
        }
    }

    fn compare_queue(&self) {
        let bulkhead = self.bulkhead();
        assert_eq!(bulkhead.in_flight() as usize, self.attempts.len());
        assert_eq!(bulkhead.waiting() as usize, self.waiters.len());
        assert_eq!(bulkhead.limit() as usize, self.reference.limit);
        assert_eq!(self.reference.attempts.len(), self.attempts.len());
        assert_eq!(self.reference.queue.list.len(), self.waiters.len());
        assert_eq!(self.reference.called, 0);
    }

    fn compare_budgets(&self) {
        let upstream = &self.current.upstream;
        let is = |tokens: f64, expected: u32| {
            let expected = f64::from(expected) / f64::from(TOKEN);
            assert!(
                (tokens - expected).abs() < 1e-9,
                "{tokens} tokens, not {expected}"
            );
        };
        let terms = upstream.terms.expect("it has a budget");
        is(
            upstream.retries.tokens(terms),
            self.reference.retries.tokens,
        );
        let hedge = upstream.hedge.as_ref().expect("it hedges");
        let fund = &hedge.hedging.fund;
        is(fund.tokens(hedge.terms), self.reference.hedges.tokens);
    }

    fn compare_endpoint(&self, endpoint: &Endpoint, place: usize) {
        let expected = &self.reference.places[place];
        let reasons = [
            Exclusion::Unhealthy,
            Exclusion::Ejected,
            Exclusion::BreakerOpen,
        ];
        let held = reasons.map(|reason| endpoint.is_held(reason));
        assert_eq!(
            held,
            self.reference.reasons(place),
            "what is held against it"
        );
        let first = reasons.into_iter().zip(held).find(|(_, held)| *held);
        assert_eq!(endpoint.out(), first.map(|(reason, _)| reason));
        let in_flight = endpoint.signals.in_flight.load() as usize;
        assert_eq!(in_flight, self.reference.in_flight(place));
        assert!(in_flight <= self.reference.rules.per_endpoint);
        let health = endpoint.health();
        let health = health.as_ref().expect("it is checked");
        let is_healthy = health.verdict() == Verdict::Healthy;
        let found = (is_healthy, health.against());
        assert_eq!(found, (expected.is_healthy, expected.against));
        assert_eq!(endpoint.conduct.in_row(), expected.conduct.in_row);
    }

    fn compare_breaker(&mut self, endpoint: &Endpoint, place: usize) {
        let (now, rules) = (self.now(), self.reference.rules.clone());
        let facts = endpoint.breaker.facts(now);
        let expected = &mut self.reference.places[place].breaker;
        let state = match facts.phase {
            Phase::Closed => State::Closed,
            Phase::HalfOpen => State::HalfOpen,
            Phase::Open => State::Open,
        };
        assert_eq!(state, expected.state);
        assert_eq!(endpoint.breaker.in_row(), expected.row);
        assert_eq!(endpoint.breaker.is_taken(), expected.is_taken(&rules));
        assert_eq!(facts.openings, expected.openings);
        if state == State::HalfOpen {
            assert_eq!(facts.probes, expected.probes);
            assert!(facts.probes.0 <= rules.probes);
        }
        let window = [facts.window.ended, facts.window.failed, facts.window.slow];
        assert_eq!(window, expected.window());
        if state == State::Open {
            let stay = (expected.since, expected.stay);
            let until = now + facts.next_probe.expect("it is open");
            agree_on(now, until, stay, &mut expected.until, rules.jitter);
        }
    }

    fn compare_ejection(&mut self, member: &Member, place: usize) {
        let (now, jitter) = (self.now(), self.reference.rules.jitter);
        let id = self.reference.places[place].id;
        let expected = self
            .reference
            .outlier
            .known
            .get_mut(&id)
            .expect("it was met");
        assert_eq!(member.ejected.is_some(), expected.until.is_some());
        assert_eq!(member.ejections, expected.marks);
        assert_eq!(member.ejected_in_all, expected.ejected);
        if let (Some((_, until)), Some(ends)) = (member.ejected, &mut expected.until) {
            let stay = (expected.since, expected.stay);
            agree_on(now, until.max(now), stay, ends, jitter);
        }
    }
}

/// When a stay ends that began at this time and is so long, or shorter by the jitter. The reference takes over when that is.
/// Of one that is over already it is not known.
fn agree_on(now: Instant, until: Instant, (since, stay): (u64, u64), ends: &mut u64, jitter: u32) {
    if jitter > 0 && now.0 == since {
        let least = since + stay * u64::from(100 - jitter) / 100;
        assert!(
            (least..=since + stay).contains(&until.0),
            "the jitter has bounds"
        );
        *ends = until.0;
    }
    assert_eq!(until.0, (*ends).max(now.0), "when the stay ends");
}
