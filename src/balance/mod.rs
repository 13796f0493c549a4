//! Which of these endpoints? One algorithm per file, and here the whole contract.
//!
//! A [`Policy`] is a function from what is known to a choice. What is known comes in three parts:
//!
//! - [`Members`]: who belongs to the upstream, with which weight, and who is out. Compiled anew when
//!   that changes, never per pick, and shared by all workers.
//! - [`Live`]: the live numbers, [`Signals`] of each endpoint and [`Totals`] of all, which their owner keeps
//!   in atomics and a policy reads only where it looks.
//! - [`Memory`]: what a policy must remember from pick to pick, per worker and upstream, keyed by the
//!   identity of endpoints, so that a change of membership keeps the positions of what remains.
//!
//! # Weights
//!
//! One rule in every policy: **an endpoint of weight `w` counts as `w` endpoints of weight 1**. It is
//! drawn or visited `w` times as often, owns `w` times as many keys, and its load `l` weighs
//! `(l + 1) / w`, its [`View::burden`]. Weights are relative: multiplying all by the same number changes
//! nothing. An endpoint of weight 0 gets nothing while an eligible one has a weight, not even
//! when all of those are full or tried; when no eligible endpoint has a weight, all count as 1.
//!
//! Slow start and the failure penalty put a part of the weight out of force, and failures count as load:
//! [`appraisal`] holds that rule, which is one for all policies as well.
//!
//! Not here: who is eligible and why ([`Members`] is told), reserving the slot of the endpoint picked
//! (a pick is advice, the caller's compare-and-swap decides), and trying again.

pub mod appraisal;
mod best;
mod by_load;
mod consistent_hash;
mod decision;
mod hot_keys;
mod key;
mod least_connections;
mod maglev;
mod mean;
mod members;
pub mod narrow;
mod p2c;
mod peak_ewma;
pub mod prequal;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod sampled;
mod signals;
mod sticky;
pub mod table;
mod turns;

pub use appraisal::Totals;
pub use by_load::ByLoad;
pub use consistent_hash::ConsistentHash;
pub use decision::{Considered, Decision, Excluded, Note, Picked, Reason};
pub use hot_keys::{Hot, HotKeys};
pub use key::{CreateCookie, HashKey, Key, Text};
pub use members::{Exclusion, Member, Members};
pub use signals::{Charge, InFlight, Signals};
pub use sticky::{Bound, Refused, SameSite, Secrets, SessionCookie, Sticky};

use crate::clock::Instant;
use crate::config;
use crate::entropy::Random;
use std::time::Duration;

/// The live side of a [`View`]: asked only about the endpoints that a policy looks at.
///
/// `i` is an index into the membership. Answers may change between two questions.
pub trait Live {
    /// The moment of the pick.
    fn now(&self) -> Instant;
    /// The numbers of this endpoint, over all workers.
    fn signals(&self, i: usize) -> &Signals;
    /// The numbers of all endpoints together.
    fn totals(&self) -> &Totals;
    /// It takes no further attempt now: a cap on attempts or connections is reached.
    fn full(&self, i: usize) -> bool;
    /// This request has been there and shall go elsewhere.
    fn tried(&self, i: usize) -> bool;
}

/// What a policy sees of an upstream at one pick: borrowed, and made anew for each at no cost.
#[derive(Debug)]
pub struct View<'a, L> {
    members: &'a Members,
    live: &'a L,
}

impl<L> Clone for View<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for View<'_, L> {}

/// Why a pick found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// No endpoint is eligible.
    Endpoint,
    /// Some are eligible and not yet tried, but all of those are full.
    Capacity,
    /// Every eligible endpoint has been tried.
    Untried,
    /// Too few endpoints are healthy, and the upstream is to refuse all then.
    Panic,
    /// No endpoint has the metadata asked for.
    Subset,
    /// Breakers let nobody through: that of all endpoints together, or of each one that is left those that wait for
    /// their probes.
    BreakerOpen,
}

impl Lack {
    /// The word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Endpoint => "no_endpoint",
            Self::Capacity => "full",
            Self::Untried => "all_tried",
            Self::Panic => "panic",
            Self::Subset => "no_subset",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

impl<'a, L: Live> View<'a, L> {
    /// Joins the membership with its live numbers.
    pub fn new(members: &'a Members, live: &'a L) -> Self {
        Self { members, live }
    }

    /// The membership that indices refer to.
    pub fn members(&self) -> &'a Members {
        self.members
    }

    /// Why [`Policy::pick`] returned `None` on this view; for the caller's answer to the client.
    pub fn lack(&self) -> Lack {
        let mut candidates = self.members.candidates().iter();
        if self.members.candidates().is_empty() {
            Lack::Endpoint
        } else if candidates.any(|&i| !self.live.tried(i as usize)) {
            Lack::Capacity
        } else {
            Lack::Untried
        }
    }

    /// Whether a candidate may take this attempt.
    fn free(&self, i: usize) -> bool {
        !self.live.full(i) && !self.live.tried(i)
    }

    /// Attempts in flight at an endpoint.
    fn load(&self, i: usize) -> u32 {
        self.live.signals(i).load(self.live.now())
    }

    fn charge(&self, i: usize) -> Charge {
        self.live.signals(i).charge()
    }

    /// The weight of a candidate as far as it is in force.
    fn weight_in_force(&self, i: usize) -> f64 {
        f64::from(self.members.weight(i)) * f64::from(self.charge(i).factor)
    }

    /// The load of a candidate as the policies compare it: `(load + failures as load + 1) / weight in force`.
    ///
    /// The one extra stands for the attempt about to be placed: it makes an idle endpoint of twice the
    /// weight the better choice, and a heavier one stays so until its share is used. A division of
    /// whole numbers is rounded correctly (IEEE 754), so that equal fractions are equal here too.
    pub fn burden(&self, i: usize) -> f64 {
        (self.held(i) + 1.0) / self.weight_in_force(i)
    }

    /// Attempts in flight, and failures as load.
    fn held(&self, i: usize) -> f64 {
        f64::from(self.load(i)) + f64::from(self.charge(i).ghosts)
    }

    /// Attempts of the last second for each unit of the weight in force.
    fn rate(&self, i: usize) -> f64 {
        self.live.signals(i).rate(self.live.now()) / self.weight_in_force(i)
    }

    /// Whether one that goes by turn or chance passes this candidate over, since not all of its weight is in force.
    fn passes_over(&self, i: usize, random: &mut Random) -> bool {
        let factor = self.charge(i).factor;
        factor < 1.0 && random.unit() >= f64::from(factor)
    }
}

/// What the policy of one upstream remembers on one worker.
#[derive(Debug, Default)]
pub struct Memory {
    rotation: round_robin::Rotation,
    probed: prequal::Pool,
}

/// Candidates compared for a request that lacks the key which it should be hashed by.
const KEYLESS_CHOICES: usize = 2;

/// The algorithm of one upstream.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// Each in turn, by weight: exact shares in each cycle of a worker, evenly spread.
    RoundRobin,
    /// By chance, by weight.
    Random,
    /// The least loaded of all.
    LeastConnections,
    /// The least loaded of `choices` drawn by chance; of all where there are few.
    P2c {
        /// How many are drawn; 2 or more.
        choices: usize,
    },
    /// The lowest latency times load of `choices` drawn by chance; of all where there are few.
    PeakEwma {
        choices: usize,
        /// Time constant of the latency.
        decay: Duration,
    },
    /// Of those with little in flight the fastest, among a pool of probed ones.
    Prequal(prequal::Rules),
    /// The same one for the same key.
    ConsistentHash(ConsistentHash),
}

impl Policy {
    /// The policy that the configuration asks for, of those `endpoints` of an upstream that form a group. Takes long for a
    /// large hash table.
    pub fn compile(balance: &config::Balance, places: &[narrow::Place], endpoints: &[u32]) -> Self {
        match balance {
            config::Balance::RoundRobin => Self::RoundRobin,
            config::Balance::Random => Self::Random,
            config::Balance::LeastConnections => Self::LeastConnections,
            config::Balance::P2c { choices: 0 | 1 } => Self::Random,
            config::Balance::P2c { choices } => Self::P2c { choices: *choices },
            config::Balance::PeakEwma(options) => Self::PeakEwma {
                choices: options.choices,
                decay: options.decay,
            },
            config::Balance::Prequal(options) => Self::Prequal(prequal::Rules {
                q_rif: options.q_rif.fraction(),
                pool: options.pool,
                probes: options.probes,
            }),
            config::Balance::ConsistentHash(options) => {
                let place = |&endpoint: &u32| table::Place {
                    endpoint,
                    identity: places[endpoint as usize].identity,
                    weight: places[endpoint as usize].weight,
                };
                let places: Vec<table::Place> = endpoints.iter().map(place).collect();
                Self::ConsistentHash(ConsistentHash::compile(options, &places))
            }
        }
    }

    /// Chooses an eligible endpoint of `view` that is neither full nor tried, by index; `None` only
    /// when there is none ([`View::lack`] says of what).
    ///
    /// `key` is what a request is hashed by; policies that hash no request have no use for it. With `explain` the
    /// grounds are written down, which costs a pass over the whole membership.
    pub fn pick<L: Live>(
        &self,
        memory: &mut Memory,
        view: &View<'_, L>,
        key: Option<u64>,
        random: &mut Random,
        explain: Option<&mut Decision>,
    ) -> Option<Picked> {
        match explain {
            None => self.choose(memory, view, key, random, None),
            Some(decision) => {
                decision.begin(view);
                decision.picked = self.choose(memory, view, key, random, Some(decision));
                decision.picked
            }
        }
    }

    fn choose<L: Live>(
        &self,
        memory: &mut Memory,
        view: &View<'_, L>,
        key: Option<u64>,
        random: &mut Random,
        explain: Option<&mut Decision>,
    ) -> Option<Picked> {
        if view.members.candidates().is_empty() {
            return None;
        }
        let mut picked = match *self {
            Self::RoundRobin => round_robin::pick(&mut memory.rotation, view, random, explain),
            Self::Random => random::pick(view, random, explain),
            Self::LeastConnections => least_connections::pick(view, random, explain),
            Self::P2c { choices } => p2c::pick(choices, view, random, explain),
            Self::PeakEwma { choices, decay } => {
                peak_ewma::pick(choices, decay, view, random, explain)
            }
            Self::Prequal(ref rules) => {
                prequal::pick(rules, &mut memory.probed, view, random, explain)
            }
            Self::ConsistentHash(ref hash) => match key {
                Some(key) => hash.pick(view, key, explain),
                None => p2c::pick(KEYLESS_CHOICES, view, random, explain).map(|picked| Picked {
                    by: Reason::NoKey,
                    ..picked
                }),
            },
        };
        if let Some(picked) = &mut picked
            && view.members.is_last_resort()
        {
            picked.by = Reason::LastResort;
        }
        picked
    }
}

#[cfg(test)]
mod tests;
