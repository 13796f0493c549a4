//! Values of keys, by chance.

use std::time::Duration;

use proptest::prelude::*;

use crate::config::units::{Decimal, Share};

/// Texts with all that has a meaning in YAML, in variables and in terminals.
pub(super) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[${}:#\\-\"'\\\\\\n\\t a]{0,10}",
        "(true|off|null|~|1e3|0x1f|10s|1_000)"
    ]
}

pub(super) fn share(low: u32) -> impl Strategy<Value = Share> {
    (low..=1_000_000).prop_map(|millionths| Share { millionths })
}

pub(super) fn decimal(
    thousandths: std::ops::RangeInclusive<u32>,
) -> impl Strategy<Value = Decimal> {
    thousandths.prop_map(|thousandths| Decimal { thousandths })
}

pub(super) fn millis(low: u64, high: u64) -> impl Strategy<Value = Duration> {
    (low..=high).prop_map(Duration::from_millis)
}
