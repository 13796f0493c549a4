//! Narrowing before the pick: among which endpoints of an upstream does a policy choose now?
//!
//! A policy picks inside one *group*. [`Layout`] says which groups there are, compiled with the
//! configuration; [`Narrowed`] says how much of the traffic each gets and who is a candidate in it,
//! compiled anew when eligibility changes, never per pick. Per request only a group is chosen, by
//! [`Spread::choose`]. Where nothing of this is configured there is one section with one group.
//!
//! # The rules, in the order in which they apply
//!
//! 1. **Subset.** The first section holds all endpoints; each value of the subset's metadata has a
//!    section of its own, which holds only the endpoints with that value. Sections know nothing of each
//!    other: all that follows happens inside one.
//! 2. **Tiers and groups.** Endpoints of one priority form a tier, 0 the first; those marked as backup
//!    form tiers of their own, after all others. Where zones are preferred, a tier has up to two groups,
//!    the local zone and the other zones; else it has one.
//! 3. **Random subset.** Of each group this proxy uses `size` endpoints, drawn by rendezvous of a seed
//!    and the identity, so that a change of membership changes one place of the draw (gRFC A68). Each
//!    group is drawn apart: else the local zone, or a priority, could be left without any.
//! 4. **Draining and weight 0.** A draining endpoint is no candidate and counts in no total. One of
//!    weight 0 is a candidate only where no endpoint of the *section* is eligible that has a weight,
//!    backups included; then all count as 1, as everywhere in [`crate::balance`].
//! 5. **Panic.** Each tier is taken to be able to serve alone, as Envoy does, so the eligible shares of
//!    the tiers, by count, add up. If they sum to less than the threshold the section panics: to *fail
//!    open* makes candidates of all who are out by health (unhealthy, ejected, breaker open), to *fail
//!    closed* leaves none at all. To fail open also strikes, whatever the threshold, where nothing is
//!    eligible. Backups count as tiers here: what they can serve is no reason to panic.
//! 6. **Priority with spill-over.** The health of a tier is `min(1, 1.4 × eligible weight / total
//!    weight)`. Tier 0 takes its health of the traffic, the next `min(its health, what is left)`, and so
//!    on; if the healths sum to less than 1, the shares are scaled up to 1 (Envoy, "Priority levels").
//! 7. **Backup.** Tiers of backups share the traffic by rule 6 when no other endpoint of the section is
//!    eligible, and else get none (as in nginx and HAProxy).
//! 8. **Zone with spill by health.** Within a tier the local group takes `min(1, 1.4 × eligible local
//!    weight / total local weight)`, the other zones the rest; a group without eligible endpoints leaves
//!    all to the other. (Envoy weighs zones against the fleet's; one proxy does not know its fleet.)
//! 9. **No free candidate.** When all candidates of the group chosen are full or tried, the other groups
//!    are tried in order, local before other zones, priority by priority, backups last, with or without
//!    a share: [`Spread::others`].
//!
//! Two things about weights and health. The eligible weight is what endpoints weigh *now*, the total
//! what they weigh *in full*, so that a tier that comes back in slow start takes its traffic back as
//! slowly. And to fail open changes who is a candidate, not the shares: they stay those of true health
//! as long as anything is eligible (so in Envoy, "Panic threshold"), since a dead first tier that counted
//! as healthy would draw all traffic away from the rest that still answers.
//!
//! Not here: sessions bound to an endpoint, which reach it past all this while it drains; and the
//! choice of a section, which the owner makes by route or header.

mod layout;
mod narrowed;
mod panic;
mod random_subset;
mod shares;

pub use layout::{GroupLabel, GroupLayout, Layout, Place, Rules, Section, Zone};
pub use narrowed::{Group, Narrowed, Spread};
pub use panic::{Panic, PanicRule};
pub use random_subset::RandomSubset;

#[cfg(test)]
mod tests;
