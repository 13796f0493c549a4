//! How even the shares are, what a change of membership moves, and what a look-up costs: in small with
//! bounds, and in full, as tables with the published figures beside, on demand:
//!
//! ```text
//! cargo test --release --lib balance::table::tests::measured -- --ignored --nocapture --test-threads 1
//! ```

use super::*;
use crate::clock::Clock;
use std::hint::black_box;

const LARGE_MAGLEV: Algorithm = Algorithm::Maglev { size: 655_373 };

/// By how much the largest share of the table is above the average.
fn over_provision(table: &Table) -> f64 {
    let shares = table.shares();
    let largest = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    largest * shares.len() as f64 - 1.0
}

/// The same, of the keys that each endpoint gets out of `count`.
fn over_provision_of_keys(table: &Table, endpoints: usize, keys: impl Iterator<Item = u64>) -> f64 {
    let (mut counts, mut total) = (vec![0u32; endpoints], 0u32);
    for key in keys {
        counts[table.owner(key).unwrap()] += 1;
        total += 1;
    }
    let largest = counts.iter().max().copied().unwrap_or(0);
    f64::from(largest) * endpoints as f64 / f64::from(total) - 1.0
}

/// The owner of each entry of a Maglev table of `size` entries.
fn entries(table: &Table, size: u64) -> Vec<usize> {
    let hash = |entry: u64| (u128::from(entry) << 64).div_ceil(u128::from(size)) as u64;
    owners(table, (0..size).map(hash))
}

/// The part of the entries that change when `gone` of `count` endpoints are taken out at random.
fn changed_entries(size: u32, count: usize, gone: usize, draw_number: u64) -> f64 {
    let places = equal(count, draw_number);
    let gone = draw(gone, count, &mut Random::seeded(draw_number));
    let table = |places: &[Place]| Table::compile(Algorithm::Maglev { size }, places);
    let (before, after) = (table(&places), table(&without(&places, &gone)));
    moved(
        &entries(&before, size.into()),
        &entries(&after, size.into()),
    )
}

/// The part of `count` keys that move when five endpoints become six.
fn moved_by_a_sixth(algorithm: Algorithm, upstream: u64, count: u64) -> f64 {
    let table = |endpoints| Table::compile(algorithm, &equal(endpoints, upstream));
    moved(
        &owners(&table(5), keys(count)),
        &owners(&table(6), keys(count)),
    )
}

/// The part of places at which two lists differ.
fn moved(before: &[usize], after: &[usize]) -> f64 {
    assert_eq!(before.len(), after.len());
    let differ = before.iter().zip(after).filter(|(a, b)| a != b);
    differ.count() as f64 / before.len() as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `0.1234` as `12.34 %` of the least, the middle, and the greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| 100.0 * values[((values.len() - 1) as f64 * part).round() as usize];
    format!(
        "{:6.2} {:6.2} {:6.2} {:6.2} {:6.2}",
        at(0.0),
        at(0.05),
        at(0.5),
        at(0.95),
        at(1.0)
    )
}

#[test]
fn a_sixth_endpoint_moves_a_sixth_of_the_keys_where_a_modulo_moves_five() {
    // What moves is the share of the newcomer, which on a ring differs by a point from draw to draw.
    for (algorithm, draws) in [(RING, 12), (MAGLEV, 1), (Algorithm::Rendezvous, 1)] {
        let each: Vec<f64> = (0..draws)
            .map(|upstream| moved_by_a_sixth(algorithm, upstream, 100_000))
            .collect();
        assert!(
            (mean(&each) - 1.0 / 6.0).abs() < 0.01,
            "{algorithm:?}: {each:?}"
        );
        assert!(each.iter().all(|moved| (moved - 1.0 / 6.0).abs() < 0.04));
    }
    let modulo = |endpoints: u64| keys(100_000).map(move |key| (key % endpoints) as usize);
    let by_modulo = moved(
        &modulo(5).collect::<Vec<_>>(),
        &modulo(6).collect::<Vec<_>>(),
    );
    assert!((by_modulo - 5.0 / 6.0).abs() < 0.01, "{by_modulo}");
}

#[test]
fn shares_are_as_even_as_published() {
    let ring = over_provision(&Table::compile(RING, &equal(1000, 0)));
    assert!((0.22..0.40).contains(&ring), "ring {ring}");
    // 66 entries for some, 65 for most: 66 / 65.537.
    let maglev = over_provision(&Table::compile(MAGLEV, &equal(1000, 0)));
    assert!((0.0070..0.0072).contains(&maglev), "Maglev {maglev}");
    // A hundred instead of a thousand endpoints, with as many keys for each.
    let rendezvous = Table::compile(Algorithm::Rendezvous, &equal(100, 0));
    let rendezvous = over_provision_of_keys(&rendezvous, 100, keys(6554));
    assert!(
        (0.15..0.50).contains(&rendezvous),
        "rendezvous {rendezvous}"
    );
}

#[test]
fn lost_endpoints_change_few_entries_of_maglev_beyond_their_own() {
    for (gone, low, high) in [(1, 0.001, 0.02), (50, 0.06, 0.11)] {
        let changed = changed_entries(65_537, 1000, gone, 1);
        assert!((low..high).contains(&changed), "{gone} gone: {changed}");
    }
}

#[test]
#[ignore = "half a minute in release; prints the whole table with its spread"]
#[allow(clippy::print_stdout, reason = "a table for people")]
fn prints_the_table_of_hashing() {
    const HEAD: &str = "   min     5%    50%    95%    max";
    println!("\nOver-provision of 1000 endpoints in %, over draws of endpoints     {HEAD}");
    for (name, algorithm, draws) in [
        (
            "ring, 65 points",
            Algorithm::Ring { virtual_nodes: 65 },
            100,
        ),
        (
            "ring, 100 points",
            Algorithm::Ring { virtual_nodes: 100 },
            100,
        ),
        (
            "ring, 160 points (published 29.7, for points not told)",
            RING,
            100,
        ),
        (
            "ring, 655 points",
            Algorithm::Ring { virtual_nodes: 655 },
            30,
        ),
        ("Maglev, 65 537 (published about 0)", MAGLEV, 20),
        ("Maglev, 655 373 (published about 0)", LARGE_MAGLEV, 5),
    ] {
        let each = (0..draws).map(|d| over_provision(&Table::compile(algorithm, &equal(1000, d))));
        println!("{name:67}{}", spread(each.collect()));
    }
    for (name, count, draws) in [
        ("rendezvous, 65 537 keys (published 49.5)", 65_537, 40),
        ("rendezvous, 655 373 keys (published 12.3)", 655_373, 10),
    ] {
        let each = (0..draws).map(|draw| {
            let table = Table::compile(Algorithm::Rendezvous, &equal(1000, draw));
            over_provision_of_keys(&table, 1000, keys(count))
        });
        println!("{name:67}{}", spread(each.collect()));
    }
    println!("\nEntries of Maglev that change in %, k of 1000 endpoints gone       {HEAD}");
    for (size, draws) in [(65_537, 200), (655_373, 20)] {
        for gone in [1, 2, 5, 10, 20, 50] {
            let each = (0..draws).map(|draw| changed_entries(size, 1000, gone, draw));
            let name = format!(
                "{size} entries, k = {gone}, {} must change",
                gone as f64 / 10.0
            );
            println!("{name:67}{}", spread(each.collect()));
        }
    }
    println!("\nKeys that move in %, 5 endpoints become 6 (16.67 must)             {HEAD}");
    for algorithm in ALL {
        let each = (0..100).map(|upstream| moved_by_a_sixth(algorithm, upstream, 100_000));
        println!("{:67}{}", format!("{algorithm:?}"), spread(each.collect()));
    }
}

#[test]
#[ignore = "measures time; only a release build on a quiet machine says something"]
#[allow(clippy::print_stdout, reason = "a table for people")]
fn prints_what_a_look_up_costs() {
    let clock = Clock::system();
    println!("\nscheme, endpoints: ms to compile, ns for an owner, with half refused, with all");
    let weights_up_to_1000: Vec<u32> = (0..10_000).map(|i| 1 + i % 1000).collect();
    for algorithm in ALL {
        for (name, weights) in [
            ("3", vec![1; 3]),
            ("100", vec![1; 100]),
            ("1 000", vec![1; 1000]),
            ("10 000", vec![1; 10_000]),
            ("10 000, weights 1 to 1000", weights_up_to_1000.clone()),
        ] {
            let places = weighing(&weights, 0);
            let start = clock.now();
            let table = Table::compile(algorithm, &places);
            let compiled = clock.now().since(start).as_secs_f64() * 1e3;
            let name = format!("{algorithm:?}, {name}");
            let owner = per_key(clock, &table, |_| true);
            let half = per_key(clock, &table, |endpoint| endpoint % 2 == 0);
            let none = per_key(clock, &table, |_| false);
            println!("{name:55}{compiled:10.2}{owner:12.1}{half:12.1}{none:12.1}");
        }
    }
}

/// Nanoseconds to find an endpoint.
fn per_key(clock: Clock, table: &Table, accept: fn(usize) -> bool) -> f64 {
    let mut count = 1000;
    // Long enough to be told from the clock, however slow each is.
    loop {
        let mut random = Random::seeded(1);
        let start = clock.now();
        for _ in 0..count {
            black_box(table.find(random.next_u64(), accept));
        }
        let took = clock.now().since(start).as_nanos();
        if took > 100_000_000 {
            break took as f64 / f64::from(count);
        }
        count *= 4;
    }
}
