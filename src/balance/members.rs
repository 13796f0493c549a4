//! The membership of an upstream, compiled for picking: who is a candidate, and by which weight.

use crate::entropy::Random;
use xxhash_rust::xxh3::Xxh3Default;

/// One endpoint as its owner describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The same for the same endpoint across reloads and workers, and unlike that of any other.
    pub identity: u64,
    /// Relative to the others, slow start included; see the rule in [`crate::balance`].
    pub weight: u32,
    /// Why it is not eligible; `None`: it is.
    pub excluded: Option<Exclusion>,
}

/// Why an endpoint is not a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusion {
    /// Active probes say so.
    Unhealthy,
    /// Taken out by outlier detection.
    Ejected,
    /// Its breaker is open.
    BreakerOpen,
    /// It is to finish what runs and take nothing new.
    Draining,
    /// Its weight is 0 and an eligible endpoint has a weight.
    WeightZero,
    /// A cap on its attempts or connections is reached.
    Full,
    /// This request has been there.
    Tried,
    /// Its metadata has another value than the one asked for.
    Subset,
    /// It is outside the random subset that this proxy uses.
    Unsampled,
    /// Another priority serves, or it is a backup and this is not their turn, or the other way round.
    Tier,
    /// The group is of the other zone.
    Zone,
    /// Too few endpoints are eligible, and the upstream is to fail closed then.
    Panic,
}

impl Exclusion {
    /// The word in records, and in what a client is told.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::BreakerOpen => "breaker_open",
            Self::Draining => "draining",
            Self::WeightZero => "weight_zero",
            Self::Full => "full",
            Self::Tried => "tried",
            Self::Subset => "other_subset",
            Self::Unsampled => "unsampled",
            Self::Tier => "other_tier",
            Self::Zone => "other_zone",
            Self::Panic => "panic",
        }
    }
}

/// All endpoints of an upstream, in a fixed order that indices refer to; immutable.
#[derive(Debug)]
pub struct Members {
    identities: Box<[u64]>,
    /// As given, but at least 1: the weight of every candidate.
    weights: Box<[u32]>,
    excluded: Box<[Option<Exclusion>]>,
    /// One bit for each endpoint: it is a candidate.
    eligible: Box<[u64]>,
    /// Indices of the candidates, class by class.
    candidates: Box<[u32]>,
    classes: Box<[Class]>,
    fingerprint: u64,
    last_resort: bool,
}

/// Candidates of equal weight: drawing and visiting them costs the same however many they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    /// The weight of each.
    pub(super) weight: u32,
    /// Where they begin among the candidates.
    pub(super) start: usize,
    pub(super) len: usize,
    /// The summed weight of this class and all before it.
    through: u64,
}

impl Members {
    /// Compiles a membership; at most `i32::MAX` endpoints, so that no sum of weights overflows.
    pub fn new(members: &[Member]) -> Self {
        let mut excluded: Box<[_]> = members.iter().map(|member| member.excluded).collect();
        let last_resort = !members.iter().any(|m| m.excluded.is_none() && m.weight > 0);
        for (reason, member) in excluded.iter_mut().zip(members) {
            if reason.is_none() && member.weight == 0 && !last_resort {
                *reason = Some(Exclusion::WeightZero);
            }
        }
        let weights: Box<[u32]> = members.iter().map(|member| member.weight.max(1)).collect();
        let mut eligible = vec![0u64; members.len().div_ceil(64)].into_boxed_slice();
        let mut candidates = Vec::with_capacity(members.len());
        for (i, reason) in (0u32..).zip(&excluded) {
            if reason.is_none() {
                eligible[i as usize / 64] |= 1 << (i % 64);
                candidates.push(i);
            }
        }
        // A stable sort: within a class the order is that of the membership.
        candidates.sort_by_key(|&i| std::cmp::Reverse(weights[i as usize]));
        Self {
            identities: members.iter().map(|member| member.identity).collect(),
            classes: classes(&candidates, &weights),
            fingerprint: fingerprint(members),
            candidates: candidates.into_boxed_slice(),
            weights,
            excluded,
            eligible,
            last_resort,
        }
    }

    /// How many endpoints there are, candidates or not.
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether there is no endpoint at all.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Whether this endpoint is a candidate; `false` beyond the last one.
    pub fn is_candidate(&self, i: usize) -> bool {
        self.eligible
            .get(i / 64)
            .is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Indices of all candidates.
    pub fn candidates(&self) -> &[u32] {
        &self.candidates
    }

    /// Why an endpoint is not a candidate; `None` when it is one.
    pub fn excluded(&self, i: usize) -> Option<Exclusion> {
        self.excluded[i]
    }

    /// Whether the candidates are endpoints of weight 0, because no eligible one has a weight.
    pub fn is_last_resort(&self) -> bool {
        self.last_resort && !self.candidates.is_empty()
    }

    /// The weight by which a candidate counts, at least 1.
    pub fn weight(&self, i: usize) -> u32 {
        self.weights[i]
    }

    /// The same of a candidate, without a look at it where all candidates weigh the same.
    pub(super) fn weight_of_candidate(&self, i: usize) -> u32 {
        match *self.classes {
            [Class { weight, .. }] => weight,
            _ => self.weights[i],
        }
    }

    /// The weights of all candidates together.
    pub fn total_weight(&self) -> u64 {
        self.classes.last().map_or(0, |class| class.through)
    }

    pub(super) fn identities(&self) -> &[u64] {
        &self.identities
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Equal for equal memberships, so that a memory notices a change without being told.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Draws a candidate by weight, in constant time but for the search among unequal weights; there
    /// must be one.
    pub(super) fn sample(&self, random: &mut Random) -> usize {
        if let [_] = *self.classes {
            return self.candidates[random.below(self.candidates.len())] as usize;
        }
        let ticket = random.below(self.total_weight() as usize) as u64;
        let class = &self.classes[self
            .classes
            .partition_point(|class| class.through <= ticket)];
        let before = class.through - u64::from(class.weight) * class.len as u64;
        let place = ((ticket - before) / u64::from(class.weight)) as usize;
        self.candidates[class.start + place] as usize
    }
}

fn classes(candidates: &[u32], weights: &[u32]) -> Box<[Class]> {
    let mut classes: Vec<Class> = Vec::new();
    let mut through = 0;
    let same = |a: &u32, b: &u32| weights[*a as usize] == weights[*b as usize];
    let mut start = 0;
    for group in candidates.chunk_by(same) {
        let weight = weights[group[0] as usize];
        through += u64::from(weight) * group.len() as u64;
        classes.push(Class {
            weight,
            start,
            len: group.len(),
            through,
        });
        start += group.len();
    }
    classes.into_boxed_slice()
}

fn fingerprint(members: &[Member]) -> u64 {
    let mut hash = Xxh3Default::new();
    for member in members {
        hash.update(&member.identity.to_le_bytes());
        hash.update(&member.weight.to_le_bytes());
        hash.update(&[u8::from(member.excluded.is_none())]);
    }
    hash.digest()
}
