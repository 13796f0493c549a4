//! What an upstream has: its sections, and the groups of endpoints in each.

use super::panic::Panic;
use super::random_subset::{self, RandomSubset};
use crate::balance::Exclusion;
use std::collections::BTreeMap;
use std::fmt;

/// One endpoint as the configuration describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// As in [`Member`](crate::balance::Member).
    pub identity: u64,
    /// What it weighs in full, in the unit of [`Member::weight`](crate::balance::Member::weight).
    pub weight: u32,
    /// Its tier; 0 is the first to serve.
    pub priority: u8,
    /// It serves when no other can.
    pub backup: bool,
    /// It is to take nothing new, whatever else is said of it.
    pub draining: bool,
    /// It is in the zone of this proxy; read only where [`Rules::prefer_local`] is set.
    pub is_local: bool,
    /// A number for its value of the subset's metadata, the same for the same value after a reload;
    /// `None`: it has no value.
    pub subset: Option<u32>,
}

/// How an upstream narrows; with the default nothing but priorities, backups and subsets does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rules {
    /// This proxy has a zone, and endpoints of the same zone are preferred.
    pub prefer_local: bool,
    /// How many endpoints of each group are used; `None`: all.
    pub random_subset: Option<RandomSubset>,
    /// What to do when too few are eligible; `None`: go on with those, or with none.
    pub panic: Option<Panic>,
}

/// The static side: which groups there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    sections: Box<[Section]>,
    pub(super) places: Box<[Place]>,
    pub(super) panic: Option<Panic>,
}

/// All endpoints of an upstream, or those with one value of the subset's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The value that its endpoints share; `None`: it holds all.
    pub subset: Option<u32>,
    /// At least one, in the order in which they are to serve.
    pub groups: Vec<GroupLayout>,
    /// For each endpoint of the upstream where it belongs.
    pub(super) homes: Box<[Home]>,
}

/// Endpoints that a policy picks among.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLayout {
    /// What they have in common.
    pub label: GroupLabel,
    /// Their indices, ascending; without those outside the random subset.
    pub endpoints: Vec<u32>,
}

/// What tells a group from the others of its upstream, before and after a reload: what a policy
/// remembers is kept under it. Ordered as groups serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupLabel {
    /// That of the section. Not displayed: only the owner knows the value behind the number.
    pub subset: Option<u32>,
    /// Whether its endpoints are backups.
    pub backup: bool,
    /// Their priority.
    pub priority: u8,
    /// Where they are.
    pub zone: Zone,
}

/// Where the endpoints of a group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zone {
    /// Anywhere: no zone is preferred.
    Any,
    /// In the zone of this proxy.
    Local,
    /// In another zone, or in none that is known.
    Other,
}

/// Where an endpoint belongs in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In the group of this index.
    Group(usize),
    /// In none, for this reason.
    Out(Exclusion),
}

impl Layout {
    /// Compiles the groups of an upstream whose endpoints are these, in the order that indices refer to.
    pub fn compile(places: &[Place], rules: Rules) -> Self {
        let mut values: Vec<u32> = places.iter().filter_map(|place| place.subset).collect();
        values.sort_unstable();
        values.dedup();
        let subsets = std::iter::once(None).chain(values.into_iter().map(Some));
        Self {
            sections: subsets
                .map(|subset| Section::compile(subset, places, &rules))
                .collect(),
            places: places.into(),
            panic: rules.panic,
        }
    }

    /// The sections; the first holds all endpoints, and there is one for each subset value.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The endpoints as they were described.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The group of an endpoint in the section of all; `None`: it is outside the random subset.
    pub fn home(&self, endpoint: usize) -> Option<usize> {
        match self.sections[0].homes[endpoint] {
            Home::Group(group) => Some(group),
            Home::Out(_) => None,
        }
    }

    /// The index of the section with this subset value; `None` when no endpoint has it.
    pub fn section_of(&self, subset: u32) -> Option<usize> {
        // Sorted, and `None` is less than any value.
        self.sections
            .binary_search_by_key(&Some(subset), |section| section.subset)
            .ok()
    }
}

impl Section {
    fn compile(subset: Option<u32>, places: &[Place], rules: &Rules) -> Self {
        let mut groups: BTreeMap<GroupLabel, Vec<u32>> = BTreeMap::new();
        for (i, place) in (0u32..).zip(places) {
            if subset.is_none() || place.subset == subset {
                let label = GroupLabel::of(place, subset, rules);
                groups.entry(label).or_default().push(i);
            }
        }
        if groups.is_empty() {
            groups.insert(GroupLabel::of_nothing(subset), Vec::new());
        }
        let mut homes = vec![Home::Out(Exclusion::Subset); places.len()];
        let settle = |(group, (label, mut endpoints)): (usize, (_, Vec<u32>))| {
            for &i in &endpoints {
                homes[i as usize] = Home::Group(group);
            }
            if let Some(rule) = rules.random_subset {
                for i in random_subset::leave_out(rule, &mut endpoints, places) {
                    homes[i as usize] = Home::Out(Exclusion::Unsampled);
                }
            }
            GroupLayout { label, endpoints }
        };
        Self {
            subset,
            groups: groups.into_iter().enumerate().map(settle).collect(),
            homes: homes.into_boxed_slice(),
        }
    }

    /// The groups of each tier, in the order of the tiers.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &[GroupLayout]> {
        self.groups
            .chunk_by(|a, b| a.label.tier() == b.label.tier())
    }
}

impl GroupLabel {
    fn of(place: &Place, subset: Option<u32>, rules: &Rules) -> Self {
        Self {
            subset,
            backup: place.backup,
            priority: place.priority,
            zone: match (rules.prefer_local, place.is_local) {
                (false, _) => Zone::Any,
                (true, true) => Zone::Local,
                (true, false) => Zone::Other,
            },
        }
    }

    fn of_nothing(subset: Option<u32>) -> Self {
        Self {
            subset,
            backup: false,
            priority: 0,
            zone: Zone::Any,
        }
    }

    /// Equal for the groups of one tier.
    pub(super) fn tier(&self) -> (bool, u8) {
        (self.backup, self.priority)
    }
}

impl fmt::Display for GroupLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {}", self.priority)?;
        f.write_str(match self.zone {
            Zone::Any => "",
            Zone::Local => ", local zone",
            Zone::Other => ", other zones",
        })?;
        f.write_str(if self.backup { ", backup" } else { "" })
    }
}
