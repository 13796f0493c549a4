//! The limiters of a route or of a listener, asked one after the other.

use std::sync::Arc;

use super::bandwidth::Flow;
use super::fields;
use super::key::Client;
use super::limiter::{Limiter, Permit, Refusal, Rule, Taken};
use crate::clock::Instant;
use crate::config::Direction;

/// Limiters in the order in which they are asked.
#[derive(Debug)]
pub struct Attached {
    /// Those that need not know who the client is.
    early: Box<[Arc<Limiter>]>,
    /// Those that do.
    late: Box<[Arc<Limiter>]>,
    /// Of bytes.
    flows: Box<[Arc<Limiter>]>,
    /// `RateLimit-Policy`; empty when clients are told of none.
    policy: Box<[u8]>,
}

/// When limiters are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Early,
    /// It is known who the client is.
    Late,
}

/// What clients are told of the rate that is used up the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    phase: Phase,
    index: usize,
    remaining: u64,
    /// Seconds.
    after: u64,
}

/// What a request got of its limiters.
#[derive(Debug, Default)]
pub struct Entered {
    pub standing: Option<Standing>,
    pub permits: Vec<Permit>,
}

/// A request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub why: Refusal,
    /// What the client is told of the limiter that refused it.
    pub standing: Option<Standing>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Down,
    /// To the endpoint.
    Up,
}

impl Attached {
    /// `None` without any.
    pub(super) fn new(limiters: Vec<Arc<Limiter>>) -> Option<Self> {
        if limiters.is_empty() {
            return None;
        }
        let (flows, rest): (Vec<_>, Vec<_>) = limiters
            .into_iter()
            .partition(|limiter| matches!(limiter.rule, Rule::Bandwidth(..)));
        let (late, early): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|limiter| limiter.key.is_of_identity());
        let mut policy = Vec::new();
        for limiter in early.iter().chain(&late).filter(|one| one.is_told) {
            let Rule::Rate(rate, ..) = &limiter.rule else {
                continue;
            };
            if !policy.is_empty() {
                policy.extend_from_slice(b", ");
            }
            fields::policy(&limiter.name, rate, &mut policy);
        }
        Some(Self {
            early: early.into(),
            late: late.into(),
            flows: flows.into(),
            policy: policy.into(),
        })
    }

    /// Every limiter, in the order in which they are asked.
    pub fn limiters(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.early.iter().chain(&self.late).chain(&self.flows)
    }

    /// Whether any limiter is asked in this phase.
    pub fn asks(&self, phase: Phase) -> bool {
        !self.of(phase).is_empty()
    }

    /// The value of `RateLimit-Policy`; empty when clients are told of none.
    pub fn policy(&self) -> &[u8] {
        &self.policy
    }

    /// Asks all limiters of a phase. What one refuses takes nothing of the others. `lane` is the worker's.
    pub fn enter(
        &self,
        phase: Phase,
        asked: &impl Client,
        now: Instant,
        lane: usize,
    ) -> Result<Entered, Refused> {
        let mut entered = Entered::default();
        self.enter_from(0, phase, asked, now, lane, &mut entered)?;
        Ok(entered)
    }

    /// Takes of one limiter, then of those behind it, and gives back when one of those refuses.
    fn enter_from(
        &self,
        index: usize,
        phase: Phase,
        asked: &impl Client,
        now: Instant,
        lane: usize,
        entered: &mut Entered,
    ) -> Result<(), Refused> {
        let Some(limiter) = self.of(phase).get(index) else {
            return Ok(());
        };
        let standing = |remaining, after| Standing {
            phase,
            index,
            remaining,
            after: fields::seconds(after),
        };
        let taken = limiter.take(asked, now, lane).map_err(|why| Refused {
            why,
            standing: match why {
                Refusal::Rate(after) => limiter.is_told.then(|| standing(0, after)),
                Refusal::Concurrency | Refusal::NoKey => None,
            },
        })?;
        if let Taken::Rate(verdict, ..) = &taken
            && limiter.is_told
        {
            let own = standing(verdict.remaining, verdict.after);
            entered.standing = Standing::tighter(entered.standing, Some(own));
        }
        let next = index + 1;
        match taken {
            Taken::Permit(permit) => {
                self.enter_from(next, phase, asked, now, lane, entered)?;
                entered.permits.push(permit);
                Ok(())
            }
            taken => self
                .enter_from(next, phase, asked, now, lane, entered)
                .inspect_err(|_| limiter.give_back(taken)),
        }
    }

    /// Adds the limits on bytes that go this way.
    pub fn hold(&self, way: Way, asked: &impl Client, flow: &mut Flow) {
        for limiter in &self.flows {
            let Rule::Bandwidth(bandwidth, direction) = &limiter.rule else {
                continue;
            };
            let goes = match direction {
                Direction::Down => way == Way::Down,
                Direction::Up => way == Way::Up,
                Direction::Both => true,
            };
            if let (true, Some(key)) = (goes, limiter.key_of(asked)) {
                flow.add(limiter, key, *bandwidth);
            }
        }
    }

    /// The value of `RateLimit`.
    pub fn write_standing(&self, standing: &Standing, out: &mut Vec<u8>) {
        if let Some(limiter) = self.of(standing.phase).get(standing.index) {
            fields::standing(&limiter.name, standing.remaining, standing.after, out);
        }
    }

    fn of(&self, phase: Phase) -> &[Arc<Limiter>] {
        match phase {
            Phase::Early => &self.early,
            Phase::Late => &self.late,
        }
    }
}

impl Standing {
    /// The one with less left; of equal ones the one that takes longer.
    pub fn tighter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let rank = |standing: &Self| (standing.remaining, u64::MAX - standing.after);
        one.into_iter().chain(other).min_by_key(rank)
    }
}

/// Whole seconds after which a refused request may come again, at least one (RFC 9110, 10.2.3).
pub fn retry_after(refusal: &Refusal) -> u32 {
    match refusal {
        Refusal::Rate(after) => u32::try_from(fields::seconds(*after))
            .unwrap_or(u32::MAX)
            .max(1),
        Refusal::Concurrency | Refusal::NoKey => 1,
    }
}
