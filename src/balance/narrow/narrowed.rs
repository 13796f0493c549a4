//! What the groups of an upstream look like now: their candidates, and their shares of the traffic.

use super::layout::{GroupLabel, Home, Layout, Place, Section};
use super::panic::{PanicRule, is_of_health};
use super::shares::{self, Stock};
use crate::balance::{Exclusion, Member, Members};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Parts the choice of a group from all other uses of a key's hash: if the keys of a group were those
/// below a bound, they would crowd on a part of the ring of that group.
const SALT: u64 = u64::from_le_bytes(*b"narrowed");

/// The dynamic side: how things stand in each section. Immutable, and shared by all workers.
#[derive(Debug)]
pub struct Narrowed {
    sections: Box<[Spread]>,
}

/// How the traffic of a section is spread over its groups.
#[derive(Debug)]
pub struct Spread {
    groups: Box<[Group]>,
    /// The groups that have a share, in their order.
    doors: Box<[Door]>,
    is_panicking: bool,
}

/// A group as it stands.
#[derive(Debug)]
pub struct Group {
    /// All endpoints of the upstream, by the same indices in each group; those that belong elsewhere
    /// are excluded.
    pub members: Members,
    /// Its share of the section's traffic, 0 to 1; above 0 only where it has candidates.
    pub share: f64,
}

/// Where a group begins to get the traffic that those before it do not get.
#[derive(Debug, Clone, Copy)]
struct Door {
    /// Tickets below this are for the group, unless they are for one before it.
    below: u64,
    group: usize,
}

/// How one endpoint stands, whatever the section.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    identity: u64,
    pub(super) weight: u32,
    /// The part of its weight that is in force.
    in_force: f64,
    /// Why it would not be eligible even if it were alone.
    pub(super) out: Option<Exclusion>,
}

impl Narrowed {
    /// Narrows an upstream with this layout whose `members` stand so; the same endpoints in the same
    /// order. A member is excluded for reasons of its own, of which draining goes before health.
    /// `in_force` is the part of each weight that slow start leaves: a tier or zone takes its traffic
    /// over only as fast as its endpoints can.
    pub fn new(layout: &Layout, members: &[Member], in_force: &[f64]) -> Self {
        debug_assert_eq!(layout.places.len(), members.len(), "one member per place");
        let standings = layout.places.iter().zip(members).zip(in_force);
        let standings = standings.map(|((place, member), part)| Standing::of(place, member, *part));
        let standings: Vec<Standing> = standings.collect();
        let narrow = |section| {
            let panic = layout.panic.filter(|p| p.strikes(section, &standings));
            Spread::new(section, &standings, panic.map(|panic| panic.rule))
        };
        Self {
            sections: layout.sections().iter().map(narrow).collect(),
        }
    }

    /// How things stand in the section of that index in [`Layout::sections`].
    pub fn section(&self, i: usize) -> &Spread {
        &self.sections[i]
    }
}

impl Spread {
    fn new(section: &Section, standings: &[Standing], panic: Option<PanicRule>) -> Self {
        let out = reasons(section, standings, panic);
        let shares = shares::shares(section, &stocks(section, standings, &out));
        let doors = doors(&shares);
        let group = |(i, share)| Group {
            members: members(section, i, standings, &out),
            share,
        };
        Self {
            groups: shares.into_iter().enumerate().map(group).collect(),
            doors,
            is_panicking: panic.is_some(),
        }
    }

    /// The groups, in the order of [`Section::groups`].
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The index of the group that serves a request, each as often as its share says. `ticket` is
    /// uniform over `u64`: drawn by chance, or the hash of a key, which then keeps its group as long as
    /// the shares do. Where nobody can serve it is the first group, which tells why.
    pub fn choose(&self, ticket: u64) -> usize {
        match &*self.doors {
            [] => 0,
            [only] => only.group,
            [before @ .., last] => {
                let ticket = xxh3_64_with_seed(&ticket.to_le_bytes(), SALT);
                let door = before.iter().find(|door| ticket < door.below);
                door.unwrap_or(last).group
            }
        }
    }

    /// The groups to try, in this order, when none of the candidates of `chosen` is free.
    pub fn others(&self, chosen: usize) -> impl Iterator<Item = usize> {
        let groups = self.groups.iter().enumerate();
        groups
            .filter(move |(i, group)| *i != chosen && !group.members.candidates().is_empty())
            .map(|(i, _)| i)
    }

    /// Whether the panic rule decides who serves.
    pub fn is_panicking(&self) -> bool {
        self.is_panicking
    }
}

impl Standing {
    fn of(place: &Place, member: &Member, in_force: f64) -> Self {
        let draining = place.draining.then_some(Exclusion::Draining);
        Self {
            identity: member.identity,
            weight: member.weight,
            in_force,
            out: draining.or(member.excluded),
        }
    }
}

/// For each endpoint why it is no candidate, the groups of the section left aside.
fn reasons(
    section: &Section,
    standings: &[Standing],
    panic: Option<PanicRule>,
) -> Vec<Option<Exclusion>> {
    let reason = |(standing, home): (&Standing, &Home)| match (panic, standing.out, home) {
        (Some(PanicRule::FailOpen), Some(reason), _) if is_of_health(reason) => None,
        (Some(PanicRule::FailClosed), None, Home::Group(_)) => Some(Exclusion::Panic),
        (_, out, _) => out,
    };
    let all = standings.iter().zip(&section.homes);
    let mut out: Vec<Option<Exclusion>> = all.map(reason).collect();
    let mut endpoints = section.groups.iter().flat_map(|group| &group.endpoints);
    if endpoints.any(|&i| out[i as usize].is_none() && standings[i as usize].weight > 0) {
        for (out, standing) in out.iter_mut().zip(standings) {
            if out.is_none() && standing.weight == 0 {
                *out = Some(Exclusion::WeightZero);
            }
        }
    }
    out
}

/// What each group can bear. In a panic this goes by true health as long as anything is eligible.
fn stocks(section: &Section, standings: &[Standing], out: &[Option<Exclusion>]) -> Vec<Stock> {
    let each = |i: &u32| (standings[*i as usize], out[*i as usize].is_none());
    let all = || section.groups.iter().flat_map(|g| &g.endpoints).map(each);
    let any_truly = all().any(|(standing, serves)| serves && standing.out.is_none());
    // As in `Members`: where only endpoints of weight 0 serve, all count as 1.
    let is_last_resort = !all().any(|(standing, serves)| serves && standing.weight > 0);
    let weigh = |weight: u32| f64::from(if is_last_resort { 1 } else { weight });
    let add = |mut stock: Stock, (standing, serves): (Standing, bool)| {
        if standing.out != Some(Exclusion::Draining) {
            stock.total += weigh(standing.weight);
            if serves && (standing.out.is_none() || !any_truly) {
                stock.eligible += weigh(standing.weight) * standing.in_force;
            }
        }
        stock
    };
    let stock = |group: &Vec<u32>| group.iter().map(each).fold(Stock::default(), add);
    let groups = section.groups.iter();
    groups.map(|group| stock(&group.endpoints)).collect()
}

/// All endpoints as one group sees them.
fn members(
    section: &Section,
    group: usize,
    standings: &[Standing],
    out: &[Option<Exclusion>],
) -> Members {
    let label = |group: usize| section.groups[group].label;
    let elsewhere = |home: &Home| match *home {
        Home::Out(reason) => Some(reason),
        Home::Group(home) if home == group => None,
        Home::Group(home) => Some(apart(label(home), label(group))),
    };
    let all = standings.iter().zip(out).zip(&section.homes);
    let member = |((standing, out), home): ((&Standing, &Option<Exclusion>), &Home)| Member {
        identity: standing.identity,
        weight: standing.weight,
        excluded: out.or_else(|| elsewhere(home)),
    };
    Members::new(&all.map(member).collect::<Vec<_>>())
}

/// Why an endpoint of one group is no candidate in another.
fn apart(one: GroupLabel, other: GroupLabel) -> Exclusion {
    if one.tier() == other.tier() {
        Exclusion::Zone
    } else {
        Exclusion::Tier
    }
}

/// Where each group with a share begins, in units of 2^-64.
fn doors(shares: &[f64]) -> Box<[Door]> {
    let mut through = 0.0;
    let door = |(group, &share): (usize, &f64)| {
        through += share;
        // Saturates at the end of the range, where the last door takes all anyway.
        let below = (through * 2f64.powi(64)) as u64;
        (share > 0.0).then_some(Door { below, group })
    };
    shares.iter().enumerate().filter_map(door).collect()
}
