//! When too few endpoints are left, and what then.

use super::layout::Section;
use super::narrowed::Standing;
use crate::balance::Exclusion;

/// Slack in comparing a sum of shares with a threshold: rounding alone is no cause for panic.
const ROUNDING: f64 = 1e-9;

/// What to do when too few endpoints are eligible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Panic {
    /// The least share of eligible endpoints among those that should serve, 0 to 1, summed over tiers.
    pub threshold: f64,
    /// What happens below it.
    pub rule: PanicRule,
}

/// What happens in a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanicRule {
    /// Who is out by health serves too: the few that are left would only be overwhelmed, and so many
    /// failures may be an error of the probes.
    FailOpen,
    /// Nobody serves, so that an upstream that is down as a whole is not hit while it comes back.
    FailClosed,
}

impl Panic {
    /// Whether this section, with its endpoints standing so, panics. Never where nobody should serve.
    pub(super) fn strikes(self, section: &Section, standings: &[Standing]) -> bool {
        let Some(eligible) = eligible_share(section, standings) else {
            return false;
        };
        let none = || {
            let mut all = section.groups.iter().flat_map(|group| &group.endpoints);
            all.all(|&i| standings[i as usize].out.is_some())
        };
        eligible + ROUNDING < self.threshold || (self.rule == PanicRule::FailOpen && none())
    }
}

/// Whether an endpoint is out for a reason that a panic may override.
pub(super) fn is_of_health(reason: Exclusion) -> bool {
    match reason {
        Exclusion::Unhealthy | Exclusion::Ejected | Exclusion::BreakerOpen => true,
        Exclusion::Draining
        | Exclusion::WeightZero
        | Exclusion::Full
        | Exclusion::Tried
        | Exclusion::Subset
        | Exclusion::Unsampled
        | Exclusion::Tier
        | Exclusion::Zone
        | Exclusion::Panic => false,
    }
}

/// The share of eligible endpoints among those that should serve, by count, summed over the tiers;
/// `None` where nobody should serve.
fn eligible_share(section: &Section, standings: &[Standing]) -> Option<f64> {
    let stays = |i: u32| {
        let standing = standings[i as usize];
        (standing.out != Some(Exclusion::Draining)).then_some(standing)
    };
    let mut all = section.groups.iter().flat_map(|group| &group.endpoints);
    let is_weighted = all.any(|&i| stays(i).is_some_and(|standing| standing.weight > 0));
    let mut sum = None;
    for tier in section.tiers() {
        let endpoints = tier.iter().flat_map(|group| &group.endpoints);
        let meant = endpoints
            .filter_map(|&i| stays(i))
            .filter(|standing| standing.weight > 0 || !is_weighted);
        let (eligible, count) = meant.fold((0u32, 0u32), |(eligible, count), standing| {
            (eligible + u32::from(standing.out.is_none()), count + 1)
        });
        if count > 0 {
            *sum.get_or_insert(0.0) += f64::from(eligible) / f64::from(count);
        }
    }
    sum
}
