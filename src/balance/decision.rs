//! Why an endpoint was picked: written down on request, so that a pick can be shown and believed.

use super::{Burden, Exclusion, Load, View};

/// Entries kept of each list; an upstream of ten thousand endpoints must not fill the record.
const KEPT: usize = 64;

/// The grounds of one pick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Candidates that were compared, in that order; at most 64.
    pub considered: Vec<Considered>,
    /// Endpoints that could not be picked; at most 64.
    pub excluded: Vec<Excluded>,
    /// How many endpoints are missing from `excluded` because it was full.
    pub excluded_beyond: usize,
    /// How many candidates are missing from `considered` because it was full.
    pub considered_beyond: usize,
    /// The index of the endpoint picked.
    pub picked: Option<usize>,
    /// What the policy did in place of its usual way.
    pub fallback: Option<Fallback>,
    /// Only endpoints of weight 0 were eligible, so these served.
    pub last_resort: bool,
}

/// A candidate that a policy looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Considered {
    /// Its index.
    pub endpoint: usize,
    /// Attempts in flight when it was read.
    pub load: u32,
    /// The weight by which it counted.
    pub weight: u32,
    /// `(load + 1) / weight`, the lowest wins; `None` where the policy goes by turn or chance.
    pub score: Option<f64>,
}

/// An endpoint that could not be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excluded {
    /// Its index.
    pub endpoint: usize,
    /// Why.
    pub reason: Exclusion,
}

/// What a policy did in place of its usual way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// So few candidates that all were compared instead of a sample.
    FewCandidates,
    /// The first ones met were full or tried, so all were gone through.
    ScanAfterMisses,
}

impl Decision {
    /// Starts over, with everything that is out before the policy begins.
    pub(super) fn begin<L: Load>(&mut self, view: &View<'_, L>) {
        *self = Self {
            last_resort: view.members.is_last_resort(),
            ..Self::default()
        };
        for endpoint in 0..view.members.len() {
            let tried = || view.live.tried(endpoint).then_some(Exclusion::Tried);
            let full = || view.live.full(endpoint).then_some(Exclusion::Full);
            let reason = view.members.excluded(endpoint).or_else(tried).or_else(full);
            if let Some(reason) = reason {
                keep(
                    &mut self.excluded,
                    &mut self.excluded_beyond,
                    Excluded { endpoint, reason },
                );
            }
        }
    }

    /// A candidate whose load counted.
    pub(super) fn scored(&mut self, endpoint: usize, burden: Burden) {
        self.consider(endpoint, burden, Some(burden.score()));
    }

    /// A candidate whose turn it was, or who was drawn.
    pub(super) fn drawn<L: Load>(&mut self, endpoint: usize, view: &View<'_, L>) {
        self.consider(endpoint, view.burden(endpoint), None);
    }

    fn consider(&mut self, endpoint: usize, burden: Burden, score: Option<f64>) {
        let Burden { load, weight } = burden;
        let entry = Considered {
            endpoint,
            load,
            weight,
            score,
        };
        keep(&mut self.considered, &mut self.considered_beyond, entry);
    }
}

fn keep<T>(list: &mut Vec<T>, beyond: &mut usize, entry: T) {
    if list.len() < KEPT {
        list.push(entry);
    } else {
        *beyond += 1;
    }
}
