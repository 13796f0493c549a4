//! Tests: keys come, go and are told apart, also while all workers change them at once.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::limit::table::{Changed, Numbers, Table};

/// Times: idle when they have passed.
struct Times(u64);

impl Numbers for Times {
    fn fresh(&self, last: u64) -> u64 {
        last
    }
    fn is_idle(&self, number: u64) -> bool {
        number < self.0
    }
}

/// As keys are: every bit by chance.
fn key(number: u64) -> u128 {
    xxhash_rust::xxh3::xxh3_128(&number.to_le_bytes())
}

fn add(table: &Table, number: u64, most: usize, now: u64, span: u64) -> Changed<u64> {
    table.change(key(number), most, &Times(now), |known, _| {
        let new = known.max(now) + span;
        (Some(new), new)
    })
}

#[test]
fn keys_are_told_apart_and_found_again() {
    let table = Table::new(1000);
    for number in 0..1000 {
        assert_eq!(add(&table, number, 1000, 10, 5).result, 15);
    }
    for number in 0..1000 {
        let changed = add(&table, number, 1000, 10, 5);
        assert_eq!((changed.result, changed.place.is_shared()), (20, false));
    }
    assert_eq!(table.used(), 1000);
}

#[test]
fn what_there_is_no_room_for_shares_one_number() {
    let table = Table::new(20);
    let changed: Vec<_> = (0..30)
        .map(|number| add(&table, number, 20, 10, 5))
        .collect();
    let shared = changed.iter().filter(|one| one.place.is_shared());
    assert_eq!(shared.map(|one| one.result).max(), Some(10 + 10 * 5));
    assert_eq!(table.used(), 20);
    assert!(changed.iter().all(|one| !one.evicted));
}

#[test]
fn only_a_key_whose_time_has_passed_makes_room() {
    let table = Table::new(16);
    for number in 0..16 {
        add(&table, number, 16, 10, 100 + number);
    }
    assert!(add(&table, 99, 16, 110, 1).place.is_shared());
    let came = add(&table, 99, 16, 113, 100);
    assert!(came.evicted && !came.place.is_shared(), "{came:?}");
    // The one that was not asked for the longest had to go.
    assert_eq!(add(&table, 1, 16, 113, 1).result, 114);
    assert!(!add(&table, 15, 16, 113, 1).place.is_shared());
    assert_eq!(table.used(), 16);
}

#[test]
fn a_sweep_forgets_what_is_idle_and_nothing_else() {
    let table = Table::new(4096);
    for number in 0..1000 {
        add(
            &table,
            number,
            4096,
            10,
            if number % 2 == 0 { 5 } else { 500 },
        );
    }
    // As many parts as there can be.
    for turn in 0..64 {
        table.sweep(turn, &Times(100));
    }
    assert_eq!(table.used(), 500);
    for number in (1..1000).step_by(2) {
        assert_eq!(add(&table, number, 4096, 100, 0).result, 510);
    }
}

#[test]
fn what_was_taken_back_of_a_key_that_went_is_nobodys() {
    let table = Table::new(1);
    let first = add(&table, 1, 1, 10, 5);
    table.change_back(first.place, |number| number - 5);
    let second = add(&table, 2, 1, 20, 5);
    assert!(second.evicted);
    table.change_back(first.place, |number| number - 5);
    assert_eq!(add(&table, 2, 1, 20, 5).result, 30);
    table.change_back(second.place, |number| number - 5);
    assert_eq!(add(&table, 2, 1, 20, 0).result, 25);
}

#[test]
fn another_table_knows_what_is_not_idle() {
    let (old, new) = (Table::new(100), Table::new(1000));
    for number in 0..100 {
        add(&old, number, 100, 10, number);
    }
    new.take_over(&old, 1000, &Times(60));
    assert_eq!(add(&new, 99, 1000, 60, 0).result, 109);
    assert_eq!(add(&new, 10, 1000, 60, 0).result, 60);
}

#[test]
fn half_of_the_slots_hold_all_keys() {
    let table = Table::new(65_536);
    assert_eq!(table.room(), 65_536);
    let keys = 0..65_536;
    let shared = keys.filter(|number| add(&table, *number, 65_536, 10, 5).place.is_shared());
    assert_eq!(shared.count(), 0);
}

/// Every worker adds one nanosecond to each of some keys as often as it can: none is lost, and none goes elsewhere,
/// while keys come and go beside them.
#[test]
fn workers_at_once_lose_nothing() {
    const TURNS: u64 = 20_000;
    let table = Table::new(64);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let table = &table;
            scope.spawn(move || {
                for turn in 0..TURNS {
                    // Never idle: far ahead of the time.
                    add(table, turn % 8, 64, 1_000_000_000, 1);
                    // Idle at once.
                    let passing = 100 + worker * TURNS + turn;
                    table.change(key(passing), 64, &Times(turn + 2), |known, _| {
                        (Some(known.max(turn) + 1), ())
                    });
                }
            });
        }
    });
    for number in 0..8 {
        let sum = add(&table, number, 64, 0, 0).result;
        assert_eq!(sum, 1_000_000_000 + 4 * TURNS / 8, "of key {number}");
    }
    assert!(table.used() <= 64);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Beside a map without bounds: a key that was not forgotten has what it should have, and none that is not idle is
    /// forgotten.
    #[test]
    fn it_is_a_map_that_forgets_what_is_idle(
        most in 1_usize..40,
        events in proptest::collection::vec((0_u64..60, 0_u64..4, 0_u64..30), 1..400),
    ) {
        let table = Table::new(most);
        let (mut model, mut now, mut shared) = (HashMap::<u64, u64>::new(), 1, 0);
        for (number, gap, span) in events {
            now += gap;
            let changed = add(&table, number, most, now, span);
            if changed.place.is_shared() {
                let live = model.iter().filter(|(_, full)| **full >= now).count();
                prop_assert!(model.get(&number).is_none_or(|full| *full < now));
                prop_assert!(live > 0);
                shared = u64::max(shared, now) + span;
                prop_assert_eq!(changed.result, shared);
            } else {
                let known = model.entry(number).or_default();
                *known = (*known).max(now) + span;
                prop_assert_eq!(changed.result, *known);
            }
            prop_assert!(table.used() <= most);
        }
    }
}
