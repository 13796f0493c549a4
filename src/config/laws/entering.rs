//! The `auth` of routes as an operator might write it, by chance.

use std::path::PathBuf;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::config::schema::{ApiKeyAuth, Auth, AuthWay, BasicAuth, ForwardAuth, OnAuthFailure};

pub(super) fn auth() -> impl Strategy<Value = Auth> {
    let field = || "[A-Za-z][A-Za-z-]{0,6}";
    // None that means something of its own.
    let own = || "[QZ][A-Za-z-]{0,6}";
    let file = || "[a-z]{1,6}".prop_map(PathBuf::from);
    let basic = (file(), "[ -!#-Z]{1,9}");
    let basic = basic.prop_map(|(users_file, realm)| BasicAuth { users_file, realm });
    let api_key = (file(), own(), of("[a-z&=%]{1,4}"), any::<bool>());
    let api_key = api_key.prop_map(|(keys_file, header, query, is_header)| ApiKeyAuth {
        keys_file,
        header: (is_header || query.is_none()).then_some(header),
        query,
    });
    let on_failure = prop_oneof![Just(OnAuthFailure::Open), Just(OnAuthFailure::Closed)];
    let forward = (
        "/[a-z?]{0,5}",
        1_u64..=60_000,
        vec(own(), 0..3),
        of(field()),
        on_failure,
    );
    let forward = forward.prop_map(|(path, millis, copy, identity, on_failure)| ForwardAuth {
        upstream: "api".to_owned(),
        path,
        timeout: Duration::from_millis(millis),
        copy,
        identity,
        on_failure,
    });
    let way = prop_oneof![
        basic.prop_map(AuthWay::Basic),
        api_key.prop_map(AuthWay::ApiKey),
        forward.prop_map(AuthWay::Forward),
    ];
    (way, of(own()), any::<bool>()).prop_map(|(way, identity_header, keep_credentials)| Auth {
        way,
        identity_header,
        keep_credentials,
    })
}
