//! What can be expected of an upstream as it stands: who should get how much, who is out and why, whose a key is.
//!
//! For people and metrics. A request asks none of this; it picks by [`Groups::pick`](super::groups::Groups::pick). All is
//! told of the section that holds all endpoints: requests that ask for a subset have a spread of their own.

use std::sync::Arc;

use super::Upstream;
use crate::balance::narrow::{Narrowed, Spread};
use crate::balance::{Exclusion, Policy};

/// The section of all endpoints.
const ALL: usize = 0;

/// An upstream at one moment.
pub struct Outlook<'a> {
    upstream: &'a Upstream,
    narrowed: Arc<Narrowed>,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The endpoint that the key belongs to by the table, by index.
    pub endpoint: usize,
    /// Who serves it while that one is out; `None`: it is not, or there is nobody.
    pub stand_in: Option<usize>,
}

/// A group of endpoints as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupOutlook {
    pub name: String,
    /// Its part of the traffic, 0 to 1.
    pub share: f64,
    /// How many endpoints it has, and how many of them can be picked.
    pub endpoints: usize,
    pub candidates: usize,
}

impl<'a> Outlook<'a> {
    /// As it stands now.
    pub fn of(upstream: &'a Upstream) -> Self {
        Self {
            upstream,
            narrowed: upstream.groups.narrowed(),
        }
    }

    fn spread(&self) -> &Spread {
        self.narrowed.section(ALL)
    }

    /// The part of the picks that each endpoint should get while nothing changes: the share of its group times its weight
    /// in force over those of all candidates there. They sum to 1, or are all 0 where nobody can be picked. What keeps
    /// sessions and keys together, and what goes by load, may well give it another; that is what the number is for.
    pub fn expected_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.upstream.endpoints.len()];
        for group in self.spread().groups() {
            let members = &group.members;
            let in_force = |i: usize| {
                let factor = self.upstream.endpoints[i].signals.charge().factor;
                f64::from(members.weight(i)) * f64::from(factor)
            };
            let candidates = || members.candidates().iter().map(|&i| i as usize);
            // Read once: a tick in between would change them.
            let weighed: Vec<(usize, f64)> = candidates().map(|i| (i, in_force(i))).collect();
            let all: f64 = weighed.iter().map(|(_, weight)| weight).sum();
            for (i, weight) in weighed {
                shares[i] += group.share * weight / all;
            }
        }
        shares
    }

    /// Whether an endpoint may be picked, by whatever group.
    pub fn is_candidate(&self, i: usize) -> bool {
        let mut groups = self.spread().groups().iter();
        groups.any(|group| group.members.is_candidate(i))
    }

    /// Why an endpoint is out: what is held against it, even where a panic overrides that, else why its group does not have
    /// it for a candidate. That another group serves is no reason: its share says so.
    pub fn out(&self, i: usize) -> Option<Exclusion> {
        let endpoint = &self.upstream.endpoints[i];
        let held = self.upstream.groups.standing(endpoint, i);
        if held.is_some() || self.is_candidate(i) {
            return held;
        }
        let groups = self.spread().groups().iter();
        let mut reasons = groups.filter_map(|group| group.members.excluded(i));
        reasons.find(|reason| !matches!(reason, Exclusion::Tier | Exclusion::Zone))
    }

    /// Whether the panic rule decides who serves, here or in a subset.
    pub fn is_panicking(&self) -> bool {
        let sections = 0..self.upstream.groups.layout().sections().len();
        sections
            .into_iter()
            .any(|section| self.narrowed.section(section).is_panicking())
    }

    /// The groups, in the order in which they serve.
    pub fn groups(&self) -> Vec<GroupOutlook> {
        let section = &self.upstream.groups.layout().sections()[ALL];
        let groups = section.groups.iter().zip(self.spread().groups());
        groups
            .map(|(laid_out, group)| GroupOutlook {
                name: laid_out.label.to_string(),
                share: group.share,
                endpoints: laid_out.endpoints.len(),
                candidates: group.members.candidates().len(),
            })
            .collect()
    }

    /// Whose a key is; `None` where none are hashed. Load, which moves keys on for a moment, and slow start, which leaves
    /// an endpoint only a part of its keys, are left aside.
    pub fn owner(&self, key: u64) -> Option<Owner> {
        let group = self.spread().choose(key);
        let groups = &self.upstream.groups;
        let Policy::ConsistentHash(hash) = &groups.groups()[groups.place(ALL, group)].policy else {
            return None;
        };
        let members = &self.spread().groups()[group].members;
        let endpoint = hash.table().owner(key)?;
        let is_out = !members.is_candidate(endpoint);
        let next = || hash.table().find(key, |i| members.is_candidate(i));
        Some(Owner {
            endpoint,
            stand_in: is_out.then(next).flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Charge;
    use crate::clock::Instant;
    use crate::config::read;
    use crate::tls::Shared;
    use crate::upstream::registry::Registry;

    fn upstream(keys: &str) -> Upstream {
        let yaml = format!(
            "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
             upstreams: {{ pool: {{ {keys} }} }}\n"
        );
        let config = read::from_text("test.yaml", &yaml, &|_| None)
            .unwrap()
            .config;
        let (registry, shared) = (Registry::default(), Shared::new().unwrap());
        Upstream::compile("pool", &config.upstreams["pool"], None, &registry, &shared).unwrap()
    }

    fn shares(upstream: &Upstream) -> Vec<f64> {
        Outlook::of(upstream).expected_shares()
    }

    fn near(shares: &[f64], expected: &[f64]) -> bool {
        let pairs = shares.iter().zip(expected);
        shares.len() == expected.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn shares_follow_the_weight_in_force_and_the_health_of_tiers() {
        let upstream = upstream(
            "endpoints: [{ address: \"127.0.0.1:1\", weight: 3 }, \"127.0.0.1:2\", \
             { address: \"127.0.0.1:3\", priority: 1 }]",
        );
        let first = &upstream.endpoints[0];
        assert!(near(&shares(&upstream), &[0.75, 0.25, 0.0]));
        let half = Charge {
            factor: 0.5,
            ..Charge::NONE
        };
        first.signals.charge_with(half);
        assert!(near(&shares(&upstream), &[0.6, 0.4, 0.0]));
        // A quarter of the weight of the first tier is left: 1.4 / 4 of the traffic.
        first.hold(Exclusion::Unhealthy, true, Instant(1));
        upstream.look(Instant(1));
        assert!(near(&shares(&upstream), &[0.0, 0.35, 0.65]));
        let outlook = Outlook::of(&upstream);
        let out = [0, 1, 2].map(|i| (outlook.out(i), outlook.is_candidate(i)));
        let well = (None, true);
        assert_eq!(out, [(Some(Exclusion::Unhealthy), false), well, well]);
        assert_eq!(outlook.owner(1), None, "nothing is hashed");
    }

    #[test]
    fn a_key_whose_owner_is_out_has_a_stand_in_and_no_other_key_has() {
        let upstream = upstream(
            "endpoints: [\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:3\"], \
             balance: { consistent_hash: { key: path } }",
        );
        let owners = |upstream: &Upstream| -> Vec<Owner> {
            let keys = 0..100u64;
            let outlook = Outlook::of(upstream);
            keys.filter_map(|key| outlook.owner(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                .collect()
        };
        let before = owners(&upstream);
        assert!(before.len() == 100 && before.iter().all(|owner| owner.stand_in.is_none()));
        upstream.endpoints[1].hold(Exclusion::BreakerOpen, true, Instant(1));
        upstream.look(Instant(1));
        for (before, now) in before.into_iter().zip(owners(&upstream)) {
            assert_eq!(before.endpoint, now.endpoint);
            assert_eq!(now.stand_in.is_some(), now.endpoint == 1);
            assert_ne!(now.stand_in, Some(1));
        }
    }
}
