//! The endpoints of a table, in the one order that is the same for all tables of the same set.
//!
//! Tables speak of *slots*, positions in this order; only [`super::Table`] turns a slot into the
//! number by which the caller knows the endpoint. So two proxies that list the same endpoints
//! differently agree on every key.

use std::ops::Range;

/// More than any configuration holds: a slot fits the bits that a point of the ring has for it.
pub(in crate::balance) const MAX_PLACES: usize = 1 << 24;

/// Keeps the arithmetic of points within 64 bits.
const MAX_WEIGHT: u32 = 1000;

/// One endpoint as a table sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index by which the caller knows it; what a table answers with.
    pub endpoint: u32,
    /// The same on every proxy and across reloads, and unlike that of any other: of two alike and of
    /// one weight, the first has the keys of both.
    pub identity: u64,
    /// Its part of the keys relative to the others, 0 to 1000; more counts as 1000. With 0 it owns none
    /// and is offered last; when all are 0, all count as 1.
    pub weight: u32,
}

/// Sorted by weight, the heaviest first, then by identity.
#[derive(Debug)]
pub(in crate::balance) struct Places {
    endpoints: Box<[u32]>,
    identities: Box<[u64]>,
    classes: Box<[Class]>,
    /// Slots below have a weight above 0.
    weighted: usize,
}

/// Endpoints of equal weight. Schemes compare within a class by whole numbers, and by the weight only
/// from class to class.
#[derive(Debug, Clone)]
pub(in crate::balance) struct Class {
    pub(in crate::balance) weight: u32,
    pub(in crate::balance) slots: Range<usize>,
}

impl Places {
    pub(super) fn compile(places: &[Place]) -> Self {
        let least = u32::from(places.iter().all(|place| place.weight == 0));
        let bounded = |place: &Place| Place {
            weight: place.weight.clamp(least, MAX_WEIGHT),
            ..*place
        };
        let mut sorted: Vec<Place> = places.iter().map(bounded).collect();
        sorted.sort_unstable_by_key(|place| {
            let heaviest_first = std::cmp::Reverse(place.weight);
            (heaviest_first, place.identity, place.endpoint)
        });
        sorted.truncate(MAX_PLACES);
        let mut classes = Vec::new();
        let mut start = 0;
        for class in sorted.chunk_by(|a, b| a.weight == b.weight) {
            classes.push(Class {
                weight: class[0].weight,
                slots: start..start + class.len(),
            });
            start += class.len();
        }
        Self {
            endpoints: sorted.iter().map(|place| place.endpoint).collect(),
            identities: sorted.iter().map(|place| place.identity).collect(),
            classes: classes.into_boxed_slice(),
            weighted: sorted.partition_point(|place| place.weight > 0),
        }
    }

    pub(in crate::balance) fn len(&self) -> usize {
        self.identities.len()
    }

    /// How many own keys; those have the slots from 0.
    pub(in crate::balance) fn weighted(&self) -> usize {
        self.weighted
    }

    pub(in crate::balance) fn identities(&self) -> &[u64] {
        &self.identities
    }

    /// All classes, the heaviest first.
    pub(in crate::balance) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The classes of those that own keys, and the one of weight 0 if there is one.
    pub(in crate::balance) fn classes_by_right(&self) -> (&[Class], &[Class]) {
        let weighted = self.classes.partition_point(|class| class.weight > 0);
        self.classes.split_at(weighted)
    }

    /// What the caller calls the endpoint in this slot.
    pub(super) fn endpoint(&self, slot: usize) -> u32 {
        self.endpoints[slot]
    }
}
