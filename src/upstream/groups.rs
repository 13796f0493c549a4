//! The endpoints of one upstream in the groups that a policy picks among, and who of them can be picked now.
//!
//! What is written in the configuration is compiled once: the [`Layout`], and one [`Policy`] for each group, since a hash
//! table is one of a group's endpoints. Who is out, and how much each counts, changes under it: [`Groups::look`] finds out
//! once a tick, or at once when somebody knows of a change, and swaps what workers see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::endpoint::Endpoint;
use crate::balance::appraisal::{self, Subject};
use crate::balance::narrow::{self, GroupLabel, Layout, Narrowed, Place, Spread};
use crate::balance::{
    Decision, Exclusion, Lack, Live, Member, Memory, Picked, Policy, Reason, Totals, View,
};
use crate::clock::Instant;
use crate::config;
use crate::entropy::Random;

/// A worker's own reference to who can be picked: looking at it costs one load while nothing changes.
pub type Seen = Cache<Arc<ArcSwap<Narrowed>>, Arc<Narrowed>>;

/// One group: where it stands, and its policy.
#[derive(Debug)]
pub struct Group {
    pub label: GroupLabel,
    pub policy: Policy,
}

/// The groups of one upstream.
#[derive(Debug)]
pub struct Groups {
    layout: Layout,
    /// Section by section.
    groups: Vec<Group>,
    /// Where the groups of each section begin.
    begins: Vec<usize>,
    /// The numbers of all endpoints together.
    pub totals: Arc<Totals>,
    /// How much of its weight an endpoint gets.
    pub rules: appraisal::Rules,
    narrowed: Arc<ArcSwap<Narrowed>>,
    /// What `narrowed` was made of.
    known: Mutex<Vec<Standing>>,
    /// Endpoints by identity, for sessions that are bound to one.
    by_identity: HashMap<u64, usize>,
}

/// What of a request decides which endpoint it gets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The section of its subset; 0 without one.
    pub section: usize,
    /// The hash of its key.
    pub key: Option<u64>,
    /// The endpoint that its session is bound to, by index.
    pub bound: Option<usize>,
    /// What is held against the health of that endpoint; of one that is draining as well, only its owner knows.
    pub bound_out: Option<Exclusion>,
}

/// The grounds of a pick, group by group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grounds {
    /// The group that was asked first; each with what it decided, the last of which counts.
    pub groups: Vec<(usize, Decision)>,
    /// Why the endpoint that the session is bound to was not taken.
    pub unbound: Option<Exclusion>,
}

/// How an endpoint stands, as far as that decides who can be picked.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Standing {
    out: Option<Exclusion>,
    /// The part of its weight that slow start leaves to it.
    in_force: f64,
}

impl Groups {
    /// Compiles the groups of endpoints that the configuration describes so.
    pub fn compile(
        places: &[Place],
        endpoints: &[Arc<Endpoint>],
        balance: &config::Balance,
        rules: (narrow::Rules, appraisal::Rules),
        totals: Arc<Totals>,
    ) -> Self {
        let layout = Layout::compile(places, rules.0);
        let (mut groups, mut begins) = (Vec::new(), Vec::new());
        for section in layout.sections() {
            begins.push(groups.len());
            groups.extend(section.groups.iter().map(|group| Group {
                label: group.label,
                policy: Policy::compile(balance, places, &group.endpoints),
            }));
        }
        let known: Vec<Standing> = endpoints.iter().map(|e| Standing::first(e)).collect();
        let narrowed = narrow(&layout, &known);
        if matches!(balance, config::Balance::Prequal(_)) {
            endpoints
                .iter()
                .for_each(|endpoint| endpoint.signals.by_load.enable());
        }
        Self {
            groups,
            begins,
            totals,
            rules: rules.1,
            narrowed: Arc::new(ArcSwap::from_pointee(narrowed)),
            known: Mutex::new(known),
            by_identity: (0..)
                .zip(places)
                .map(|(i, place)| (place.identity, i))
                .collect(),
            layout,
        }
    }

    /// All groups, section by section; memories stand in the same order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The place among all of group `group` of section `section`.
    pub fn place(&self, section: usize, group: usize) -> usize {
        self.begins[section] + group
    }

    /// The endpoint of this identity.
    pub fn index_of(&self, identity: u64) -> Option<usize> {
        self.by_identity.get(&identity).copied()
    }

    /// The identity of an endpoint.
    pub fn identity(&self, i: usize) -> u64 {
        self.layout.places()[i].identity
    }

    /// The sections and groups as they were configured.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The section of the endpoints with this value of the subset's metadata; `None`: there are none.
    pub fn section_of(&self, value: &[u8]) -> Option<usize> {
        self.layout.section_of(subset(value))
    }

    /// What all workers see now.
    pub fn narrowed(&self) -> Arc<Narrowed> {
        self.narrowed.load_full()
    }

    /// A worker's own reference.
    pub fn seen(&self) -> Seen {
        Cache::new(Arc::clone(&self.narrowed))
    }

    /// Why an endpoint is out, whatever the group; `None`: it is not.
    pub fn standing(&self, endpoint: &Endpoint, i: usize) -> Option<Exclusion> {
        let draining = self.layout.places()[i].draining;
        draining
            .then_some(Exclusion::Draining)
            .or_else(|| endpoint.out())
    }

    /// Picks among who can be picked now (`narrowed`): the endpoint that the session is bound to, else by the policy of the
    /// group whose turn it is, else by those of the others. `memories` stand in the order of [`Groups::groups`].
    pub fn pick<L: Live>(
        &self,
        narrowed: &Narrowed,
        ask: &Ask,
        live: &L,
        memories: &mut [Memory],
        random: &mut Random,
        mut grounds: Option<&mut Grounds>,
    ) -> Result<Picked, Lack> {
        let spread = narrowed.section(ask.section);
        if let Some(endpoint) = ask.bound {
            match self.unbound(spread, endpoint, ask.bound_out, live) {
                None => return Ok(bound(endpoint, spread, live, grounds)),
                reason => {
                    if let Some(grounds) = grounds.as_deref_mut() {
                        grounds.unbound = reason;
                    }
                }
            }
        }
        let first = match spread.groups() {
            [_] => 0,
            // A key keeps its group.
            _ => spread.choose(ask.key.unwrap_or_else(|| random.next_u64())),
        };
        let mut one = |group: usize| {
            let view = View::new(&spread.groups()[group].members, live);
            let place = self.place(ask.section, group);
            let (policy, memory) = (&self.groups[place].policy, &mut memories[place]);
            let picked = match grounds.as_deref_mut() {
                None => policy.pick(memory, &view, ask.key, random, None),
                Some(grounds) => {
                    let mut decision = Decision::default();
                    let picked = policy.pick(memory, &view, ask.key, random, Some(&mut decision));
                    grounds.groups.push((group, decision));
                    picked
                }
            };
            picked.ok_or_else(|| view.lack())
        };
        let mut picked = one(first);
        if picked.is_err() {
            for group in spread.others(first) {
                let Err(lack) = picked else { break };
                picked = one(group)
                    .map(|picked| by(picked, Reason::OtherGroup))
                    .map_err(|other| more(lack, other));
            }
        }
        if spread.is_panicking() {
            // One that fails open has candidates, which may be full or tried as at other times.
            picked = picked
                .map(|picked| by(picked, Reason::Panic))
                .map_err(|lack| more(lack, Lack::Panic));
        }
        picked
    }

    /// Why the endpoint that the session is bound to cannot be taken now; `None`: it can, or the session is bound to none.
    pub fn unbound_now<L: Live>(
        &self,
        narrowed: &Narrowed,
        ask: &Ask,
        live: &L,
    ) -> Option<Exclusion> {
        let spread = narrowed.section(ask.section);
        self.unbound(spread, ask.bound?, ask.bound_out, live)
    }

    /// Why the endpoint that a session is bound to cannot be taken. That it is draining, of weight 0, of another group or
    /// none that this proxy uses is no reason: those things keep new sessions away.
    fn unbound<L: Live>(
        &self,
        spread: &Spread,
        i: usize,
        health: Option<Exclusion>,
        live: &L,
    ) -> Option<Exclusion> {
        let group = spread.groups().first()?;
        let out = match group.members.excluded(i) {
            // Told before its health, and not for a panic to override.
            Some(Exclusion::Draining) => health,
            Some(
                Exclusion::WeightZero | Exclusion::Tier | Exclusion::Zone | Exclusion::Unsampled,
            )
            | None => None,
            out => out,
        };
        let tried = || live.tried(i).then_some(Exclusion::Tried);
        let full = || live.full(i).then_some(Exclusion::Full);
        out.or_else(tried).or_else(full)
    }

    /// The weight in force of an endpoint, relative to what was written: less in slow start, and while it fails.
    pub fn weight(&self, endpoint: &Endpoint, i: usize) -> f64 {
        f64::from(self.layout.places()[i].weight) * f64::from(endpoint.signals.charge().factor)
    }

    /// Finds out how the endpoints stand and fare, which are those that this was compiled with.
    pub fn look(&self, endpoints: &[Arc<Endpoint>], now: Instant) {
        // Held all along: of two that look at once, the one that saw less must not have the last word.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let out = |(i, endpoint): (usize, &Arc<Endpoint>)| self.standing(endpoint, i);
        let out: Vec<Option<Exclusion>> = endpoints.iter().enumerate().map(out).collect();
        let places = self.layout.places();
        let subjects: Vec<Subject<'_>> = endpoints
            .iter()
            .zip(places)
            .zip(&out)
            .enumerate()
            .map(|(i, ((endpoint, place), out))| Subject {
                identity: place.identity,
                signals: &endpoint.signals,
                is_eligible: out.is_none(),
                group: self.layout.home(i).unwrap_or(usize::MAX),
            })
            .collect();
        self.totals.appraise(now, &self.rules, &subjects);
        let standings = endpoints.iter().zip(out).map(|(endpoint, out)| Standing {
            out,
            in_force: self.in_force(endpoint, now),
        });
        let standings: Vec<Standing> = standings.collect();
        if *known != standings {
            self.narrowed
                .store(Arc::new(narrow(&self.layout, &standings)));
            *known = standings;
        }
    }

    /// The part of its weight and of its caps that slow start leaves to an endpoint.
    pub fn in_force(&self, endpoint: &Endpoint, now: Instant) -> f64 {
        appraisal::ramp(now, &self.rules, &endpoint.signals)
    }
}

/// Of what was lacking in one place and then in another, what says more: where there is nobody but for want of room, room
/// may be made.
fn more(lack: Lack, other: Lack) -> Lack {
    match (lack, other) {
        (Lack::Endpoint, other) | (_, other @ Lack::Capacity) => other,
        (lack, _) => lack,
    }
}

fn by(picked: Picked, by: Reason) -> Picked {
    Picked { by, ..picked }
}

fn bound<L: Live>(
    endpoint: usize,
    spread: &Spread,
    live: &L,
    grounds: Option<&mut Grounds>,
) -> Picked {
    let by = Reason::Bound;
    let picked = Picked { endpoint, by };
    if let Some(grounds) = grounds {
        let view = View::new(&spread.groups()[0].members, live);
        grounds.groups.push((0, Decision::of_bound(&view, picked)));
    }
    picked
}

impl Standing {
    /// Before the first look.
    fn first(endpoint: &Endpoint) -> Self {
        Self {
            out: endpoint.out(),
            in_force: 1.0,
        }
    }
}

fn narrow(layout: &Layout, standings: &[Standing]) -> Narrowed {
    let member = |(place, standing): (&Place, &Standing)| Member {
        identity: place.identity,
        weight: place.weight,
        excluded: standing.out,
    };
    let members: Vec<Member> = layout.places().iter().zip(standings).map(member).collect();
    let in_force: Vec<f64> = standings.iter().map(|standing| standing.in_force).collect();
    Narrowed::new(layout, &members, &in_force)
}

/// A number for a value of metadata, the same in every configuration.
pub fn subset(value: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(value) as u32
}
