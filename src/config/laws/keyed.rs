//! The `idempotency` of routes as an operator might write it, by chance.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::config::schema::{Idempotency, OnDuplicate, OnStoreFailure};

pub(super) fn idempotency() -> impl Strategy<Value = Idempotency> {
    let field = || "[A-Za-z][A-Za-z-]{0,6}";
    let sizes = (
        16_usize..=4096,
        0_usize..1 << 26,
        1024_usize..1 << 40,
        0_usize..1 << 30,
    );
    let spans = (1_u64..=86_400, 1_u64..=3_600_000);
    let choices = (
        prop_oneof![Just(OnDuplicate::Wait), Just(OnDuplicate::Conflict)],
        prop_oneof![Just(OnStoreFailure::Open), Just(OnStoreFailure::Closed)],
    );
    (
        (
            field(),
            vec("POST|PUT|PATCH|PURGE", 1..3),
            vec(field(), 0..3),
            of(field()),
        ),
        (any::<bool>(), any::<bool>()),
        sizes,
        spans,
        1_usize..=10_000_000,
        choices,
    )
        .prop_map(|(names, flags, sizes, spans, entries, choices)| {
            let (header, methods, credentials, replayed_header) = names;
            let (key_bytes, request_bytes, bytes, body_bytes) = sizes;
            Idempotency {
                header,
                required: flags.0,
                methods,
                credentials,
                key_bytes,
                request_bytes,
                ttl: Duration::from_secs(spans.0),
                entries,
                bytes,
                body_bytes,
                result_wait: Duration::from_millis(spans.1),
                on_duplicate: choices.0,
                on_store_failure: choices.1,
                backend_deduplicates: flags.1,
                replayed_header,
            }
        })
}
