//! Why an endpoint was picked: the word that every pick is counted under, and, on request, all of its grounds.

use super::{Exclusion, Live, View};

/// Entries kept of each list; an upstream of ten thousand endpoints must not fill the record.
const KEPT: usize = 64;

/// An endpoint and how it came to be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Its index.
    pub endpoint: usize,
    pub by: Reason,
}

/// How a pick came about. The first that applies, from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The session is bound to it.
    Bound,
    /// Too few endpoints are healthy, so that those count that are not.
    Panic,
    /// The group whose turn it was had none free, so that another group served.
    OtherGroup,
    /// Only endpoints of weight 0 were eligible, so these served.
    LastResort,
    /// The request lacks what it should be hashed by, so that `p2c` picked.
    NoKey,
    /// The endpoint that the key belongs to was out, full or above its bound, so that the next one got it.
    Spilled,
    /// The first ones met were full or tried, so all were gone through.
    ScanAfterMisses,
    /// So few candidates that all were compared instead of a sample.
    FewCandidates,
    /// The policy in its usual way.
    Policy,
}

impl Reason {
    pub const ALL: [Self; 9] = [
        Self::Bound,
        Self::Panic,
        Self::OtherGroup,
        Self::LastResort,
        Self::NoKey,
        Self::Spilled,
        Self::ScanAfterMisses,
        Self::FewCandidates,
        Self::Policy,
    ];

    /// The word of each, in the order of [`Reason::ALL`].
    pub const LABELS: [&'static str; Self::ALL.len()] = {
        let mut labels = [""; Self::ALL.len()];
        let mut i = 0;
        while i < labels.len() {
            labels[i] = Self::ALL[i].label();
            i += 1;
        }
        labels
    };

    /// The word in metrics and records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Panic => "panic",
            Self::OtherGroup => "other_group",
            Self::LastResort => "last_resort",
            Self::NoKey => "no_key",
            Self::Spilled => "spilled",
            Self::ScanAfterMisses => "scan_after_misses",
            Self::FewCandidates => "few_candidates",
            Self::Policy => "policy",
        }
    }
}

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
    /// The endpoint picked.
    pub picked: Option<Picked>,
}

/// A candidate that a policy looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Considered {
    /// Its index.
    pub endpoint: usize,
    /// Attempts in flight when it was read.
    pub load: u32,
    /// The weight by which it counted, before `factor`.
    pub weight: u32,
    /// The part of the weight that slow start and failures leave.
    pub factor: f32,
    /// Failures of late, as load.
    pub ghosts: f32,
    /// Nanoseconds, where the policy asked.
    pub latency: Option<f64>,
    /// What the policy compared, the lowest wins; `None` where it goes by turn, chance or key.
    pub score: Option<f64>,
    /// What else the policy found about it.
    pub note: Option<Note>,
}

/// What a policy found about a candidate besides its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Prequal: more in flight than most, so that its latency does not count.
    Hot,
    /// Prequal: not hot.
    Cold,
    /// Consistent hashing: above the bound on its load.
    AboveBound,
    /// Passed over by chance, since less than its whole weight is in force.
    PassedOver,
    /// Consistent hashing: the key belongs to it.
    Owner,
}

impl Note {
    /// The word in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::AboveBound => "above_bound",
            Self::PassedOver => "passed_over",
            Self::Owner => "owner",
        }
    }
}

/// An endpoint that could not be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excluded {
    /// Its index.
    pub endpoint: usize,
    /// Why.
    pub reason: Exclusion,
}

impl Decision {
    /// Starts over, with everything that is out before the policy begins.
    pub(super) fn begin<L: Live>(&mut self, view: &View<'_, L>) {
        *self = Self::default();
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

    /// That a session was bound to the endpoint picked.
    pub fn of_bound<L: Live>(view: &View<'_, L>, picked: Picked) -> Self {
        let mut decision = Self::default();
        decision.begin(view);
        // What keeps others away does not keep it.
        decision
            .excluded
            .retain(|excluded| excluded.endpoint != picked.endpoint);
        decision.drawn(picked.endpoint, view);
        decision.picked = Some(picked);
        decision
    }

    /// A candidate as it stands. What the policy made of it is for the policy to fill in.
    pub(super) fn consider<L: Live>(
        &mut self,
        endpoint: usize,
        view: &View<'_, L>,
        fill: impl FnOnce(&mut Considered),
    ) {
        let charge = view.charge(endpoint);
        let mut entry = Considered {
            endpoint,
            load: view.load(endpoint),
            weight: view.members.weight(endpoint),
            factor: charge.factor,
            ghosts: charge.ghosts,
            latency: None,
            score: None,
            note: None,
        };
        fill(&mut entry);
        keep(&mut self.considered, &mut self.considered_beyond, entry);
    }

    /// A candidate whose load counted.
    pub(super) fn scored<L: Live>(&mut self, endpoint: usize, score: f64, view: &View<'_, L>) {
        self.consider(endpoint, view, |entry| entry.score = Some(score));
    }

    /// A candidate whose turn it was, or who was drawn.
    pub(super) fn drawn<L: Live>(&mut self, endpoint: usize, view: &View<'_, L>) {
        self.consider(endpoint, view, |_| {});
    }

    /// A candidate that was passed over.
    pub(super) fn noted<L: Live>(&mut self, endpoint: usize, note: Note, view: &View<'_, L>) {
        self.consider(endpoint, view, |entry| entry.note = Some(note));
    }
}

fn keep<T>(list: &mut Vec<T>, beyond: &mut usize, entry: T) {
    if list.len() < KEPT {
        list.push(entry);
    } else {
        *beyond += 1;
    }
}
