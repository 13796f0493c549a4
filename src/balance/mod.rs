//! Which of these endpoints? One algorithm per file, and here the whole contract.
//!
//! A [`Policy`] is a function from what is known to a choice. What is known comes in three parts:
//!
//! - [`Members`]: who belongs to the upstream, with which weight, and who is out. Compiled anew when
//!   that changes, never per pick, and shared by all workers.
//! - [`Load`]: the live numbers, which the owner of the endpoints reads lazily from its atomics.
//! - [`Memory`]: what a policy must remember from pick to pick, per worker and upstream, keyed by the
//!   identity of endpoints, so that a change of membership keeps the positions of what remains.
//!
//! # Weights
//!
//! One rule in every policy: **an endpoint of weight `w` counts as `w` endpoints of weight 1**. It is
//! drawn or visited `w` times as often, and its load `l` weighs `(l + 1) / w`. Weights are relative:
//! multiplying all by the same number changes nothing, so a caller that needs fractions (slow start)
//! scales them up. An endpoint of weight 0 gets nothing while an eligible one has a weight, not even
//! when all of those are full or tried; when no eligible endpoint has a weight, all count as 1.
//!
//! Not here: who is eligible and why ([`Members`] is told), reserving the slot of the endpoint picked
//! (a pick is advice, the caller's compare-and-swap decides), and trying again.

mod decision;
mod least_connections;
mod maglev;
mod members;
mod p2c;
mod random;
mod rendezvous;
mod ring;
mod round_robin;
mod table;
mod turns;

pub use decision::{Considered, Decision, Excluded, Fallback};
pub use members::{Exclusion, Member, Members};
pub use table::{Algorithm, Place, Table};

use crate::config;
use crate::entropy::Random;
use std::cmp::Ordering;

/// The live side of a [`View`]: asked only about the endpoints that a policy looks at.
///
/// `i` is an index into the membership. Answers may change between two questions.
pub trait Load {
    /// Attempts in flight to this endpoint, over all workers.
    fn load(&self, i: usize) -> u32;
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
}

impl<'a, L: Load> View<'a, L> {
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

    /// The load of a candidate as the policies compare it.
    fn burden(&self, i: usize) -> Burden {
        Burden {
            load: self.live.load(i),
            weight: self.members.weight(i),
        }
    }
}

/// A load with the weight that carries it; ordered by `(load + 1) / weight`.
///
/// The one extra stands for the attempt about to be placed: it makes an idle endpoint of twice the
/// weight the better choice, and a heavier one stays so until its share is used.
#[derive(Debug, Clone, Copy)]
struct Burden {
    load: u32,
    weight: u32,
}

impl Burden {
    fn score(self) -> f64 {
        (f64::from(self.load) + 1.0) / f64::from(self.weight)
    }

    /// Compares the fractions exactly; neither product can overflow, see the ranges of `u32`.
    fn compare(self, other: Self) -> Ordering {
        let left = (u64::from(self.load) + 1) * u64::from(other.weight);
        let right = (u64::from(other.load) + 1) * u64::from(self.weight);
        left.cmp(&right)
    }
}

/// What the policy of one upstream remembers on one worker.
#[derive(Debug, Default)]
pub struct Memory {
    rotation: round_robin::Rotation,
}

/// The algorithm of one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Policy {
    /// The policy that the configuration asks for.
    pub fn compile(balance: &config::Balance) -> Self {
        match *balance {
            config::Balance::RoundRobin => Self::RoundRobin,
            config::Balance::Random => Self::Random,
            config::Balance::LeastConnections => Self::LeastConnections,
            config::Balance::P2c { choices: 0 | 1 } => Self::Random,
            config::Balance::P2c { choices } => Self::P2c { choices },
        }
    }

    /// Chooses an eligible endpoint of `view` that is neither full nor tried, by index; `None` only
    /// when there is none ([`View::lack`] says of what).
    ///
    /// `key` is what a request is hashed by; the policies here so far need none. With `explain` the
    /// grounds are written down, which costs a pass over the whole membership.
    pub fn pick<L: Load>(
        &self,
        memory: &mut Memory,
        view: &View<'_, L>,
        key: Option<u64>,
        random: &mut Random,
        explain: Option<&mut Decision>,
    ) -> Option<usize> {
        match explain {
            None => self.choose(memory, view, key, random, None),
            Some(decision) => {
                decision.begin(view);
                decision.picked = self.choose(memory, view, key, random, Some(decision));
                decision.picked
            }
        }
    }

    fn choose<L: Load>(
        &self,
        memory: &mut Memory,
        view: &View<'_, L>,
        _key: Option<u64>,
        random: &mut Random,
        explain: Option<&mut Decision>,
    ) -> Option<usize> {
        if view.members.candidates().is_empty() {
            return None;
        }
        match *self {
            Self::RoundRobin => round_robin::pick(&mut memory.rotation, view, random, explain),
            Self::Random => random::pick(view, random, explain),
            Self::LeastConnections => least_connections::pick(view, random, explain),
            Self::P2c { choices } => p2c::pick(choices, view, random, explain),
        }
    }
}

#[cfg(test)]
mod tests;
