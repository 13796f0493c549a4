//! What all tables promise, and how they compare.

mod laws;
mod measured;

use super::*;
use crate::entropy::Random;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const RING: Algorithm = Algorithm::Ring { virtual_nodes: 160 };
const MAGLEV: Algorithm = Algorithm::Maglev { size: 65_537 };
const ALL: [Algorithm; 3] = [RING, MAGLEV, Algorithm::Rendezvous];

/// The endpoints `0..weights.len()` of one of many upstreams.
fn weighing(weights: &[u32], upstream: u64) -> Vec<Place> {
    let place = |(endpoint, &weight): (u32, &u32)| Place {
        endpoint,
        identity: xxh3_64_with_seed(&endpoint.to_le_bytes(), upstream),
        weight,
    };
    (0u32..).zip(weights).map(place).collect()
}

/// Endpoints of weight 1.
fn equal(count: usize, upstream: u64) -> Vec<Place> {
    weighing(&vec![1; count], upstream)
}

fn without(places: &[Place], gone: &[u32]) -> Vec<Place> {
    let stays = |place: &&Place| !gone.contains(&place.endpoint);
    places.iter().filter(stays).copied().collect()
}

/// The hashes of the numbers `0..count`.
fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| xxh3_64(&number.to_le_bytes()))
}

fn owners(table: &Table, keys: impl Iterator<Item = u64>) -> Vec<usize> {
    keys.map(|key| table.owner(key).unwrap()).collect()
}

/// `count` different endpoints of `0..of`.
fn draw(count: usize, of: usize, random: &mut Random) -> Vec<u32> {
    let mut all: Vec<u32> = (0..of as u32).collect();
    shuffle(&mut all, random);
    all.truncate(count);
    all
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for i in (1..all.len()).rev() {
        all.swap(i, random.below(i + 1));
    }
}
