//! Limits on clients as an operator might write them, by chance.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::config::schema::*;
use crate::config::units::{Per, Rate};

/// Those of one configuration: no name stands twice.
type Limiters = (
    BTreeMap<String, RateLimit>,
    BTreeMap<String, ConcurrencyLimit>,
    BTreeMap<String, BandwidthLimit>,
);

fn key() -> impl Strategy<Value = Vec<KeyPart>> {
    let name = || "[A-Za-z][A-Za-z-]{0,6}";
    let part = prop_oneof![
        (0_u8..=32, 0_u8..=128).prop_map(|(v4, v6)| KeyPart::ClientIp { v4, v6 }),
        select(vec![
            KeyPart::Host,
            KeyPart::Path,
            KeyPart::Constant,
            KeyPart::client_ip()
        ]),
        name().prop_map(KeyPart::Header),
        name().prop_map(KeyPart::ApiKey),
        name().prop_map(KeyPart::Cookie),
        "[ -~]{1,6}".prop_map(KeyPart::Query),
    ];
    vec(part, 1..=KEY_PARTS)
}

fn rate() -> impl Strategy<Value = Rate> {
    let per = select(vec![Per::Second, Per::Minute, Per::Hour]);
    (1_u64..=1_000_000, per).prop_map(|(count, per)| Rate { count, per })
}

/// Values that a request with this key may have.
fn text(key: &[KeyPart]) -> String {
    let each = key.iter().map(|part| match part {
        KeyPart::ClientIp { .. } => "192.0.2.1",
        _ => "a",
    });
    each.collect::<Vec<_>>().join(" ")
}

fn missing() -> impl Strategy<Value = MissingKey> {
    select(vec![
        MissingKey::Pass,
        MissingKey::Shared,
        MissingKey::Refuse,
    ])
}

fn burst() -> impl Strategy<Value = Option<u64>> {
    of(1_u64..=1_000_000_000)
}

pub(super) fn limiters() -> impl Strategy<Value = Limiters> {
    let own =
        of((rate(), burst())).prop_map(|own| own.map(|(rate, burst)| RateOverride { rate, burst }));
    let rates = (
        (key(), rate(), burst(), 1_usize..=4_000_000),
        (vec(own, 0..2), missing(), any::<bool>(), any::<bool>()),
    );
    let rates = rates.prop_map(
        |((key, rate, burst, keys), (overrides, missing, dry_run, headers))| RateLimit {
            overrides: overrides.into_iter().map(|own| (text(&key), own)).collect(),
            key,
            rate,
            burst,
            keys,
            missing,
            dry_run,
            headers,
        },
    );
    let permits = (
        key(),
        1_u64..1_000_000,
        vec(of(1_u64..1000), 0..2),
        missing(),
        any::<bool>(),
    );
    let permits = permits.prop_map(|(key, max, overrides, missing, dry_run)| ConcurrencyLimit {
        overrides: overrides.into_iter().map(|own| (text(&key), own)).collect(),
        missing,
        dry_run,
        ..ConcurrencyLimit::new(key, max)
    });
    let direction = select(vec![Direction::Down, Direction::Up, Direction::Both]);
    let bytes = (
        key(),
        1_u64..1 << 40,
        of(1_u64..1 << 40),
        direction,
        select(vec![MissingKey::Pass, MissingKey::Shared]),
    );
    let bytes = bytes.prop_map(|(key, rate, burst, direction, missing)| BandwidthLimit {
        burst,
        direction,
        missing,
        ..BandwidthLimit::new(key, rate)
    });
    (
        btree_map("r[a-z]{0,3}", rates, 0..2),
        btree_map("c[a-z]{0,3}", permits, 0..2),
        btree_map("b[a-z]{0,3}", bytes, 0..2),
    )
}
