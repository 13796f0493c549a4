//! Routes as an operator might write them, by chance.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::entering::auth;
use super::keyed::idempotency;
use super::values::{any_text, millis, share};
use crate::config::schema::*;

fn value_match() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        any_text().prop_map(ValueMatch::Exact),
        "[a-z]{1,4}[+*$]?".prop_map(ValueMatch::Regex),
        Just(ValueMatch::Present),
        Just(ValueMatch::Absent),
    ]
}

fn matcher() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        "/[a-z%/]{0,8}".prop_map(PathMatch::Prefix),
        "/[a-z.~]{0,8}".prop_map(PathMatch::Exact),
        "/[a-z]{0,4}(\\$|\\.\\*)?".prop_map(PathMatch::Regex),
    ];
    let host = prop_oneof![
        "[a-z]{1,5}\\.[a-z]{2,3}",
        "\\*\\.[a-z]{1,5}",
        Just("off".to_owned())
    ];
    (
        prop_oneof![Just(Vec::new()), Just(vec!["web".to_owned()])],
        vec(host, 0..3),
        of(path),
        vec("[A-Z]{1,6}", 0..3),
        btree_map("[A-Za-z][A-Za-z-]{0,6}", value_match(), 0..3),
        btree_map(any_text(), value_match(), 0..3),
    )
        .prop_map(|(listener, host, path, method, header, query)| {
            // A merge key is not a name.
            let query = query.into_iter().filter(|(name, _)| name != "<<").collect();
            Match {
                listener,
                host,
                path,
                method,
                header: header.into_iter().collect(),
                query,
            }
        })
}

fn edits() -> impl Strategy<Value = FieldEdits> {
    let fields = || btree_map("[A-Za-z][A-Za-z-]{0,6}", "[ -~]{0,10}", 0..3);
    (vec("[A-Z][a-z-]{0,5}", 0..3), fields(), fields()).prop_map(|(remove, set, add)| FieldEdits {
        remove,
        set: set.into_iter().collect(),
        add: add.into_iter().collect(),
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Upstream("api".to_owned())),
        (1_u32..1000).prop_map(|weight| Action::Split(vec![("api".to_owned(), weight)])),
        (200_u16..600, any_text()).prop_map(|(status, body)| {
            Action::Respond(Respond {
                status,
                body,
                ..Respond::default()
            })
        }),
        (of("[a-z]{1,5}(:80)?"), of("/[a-z?=]{0,5}")).prop_map(|(host, path)| {
            Action::Redirect(Redirect {
                host,
                path,
                scheme: Some("https".to_owned()),
                status: 301,
            })
        }),
    ]
}

fn rewrite() -> impl Strategy<Value = Rewrite> {
    prop_oneof![
        "/[a-z]{0,4}".prop_map(Rewrite::Prefix),
        "/[a-z]{0,4}".prop_map(Rewrite::Path),
        ("[a-z]{1,4}", any_text()).prop_map(|(regex, to)| Rewrite::Regex { regex, to }),
    ]
}

fn distribution() -> impl Strategy<Value = Distribution> {
    let tail = || (millis(1, 1000), millis(1000, 3_600_000));
    prop_oneof![
        millis(1, 3_600_000).prop_map(Distribution::Constant),
        millis(1, 3_600_000).prop_map(Distribution::Exponential),
        tail().prop_map(|(median, p99)| Distribution::Lognormal(Lognormal { median, p99 })),
        tail().prop_map(|(minimum, p99)| Distribution::Pareto(Pareto { minimum, p99 })),
        (tail(), share(1)).prop_map(|((usual, rare), share)| {
            Distribution::Bimodal(Bimodal { usual, rare, share })
        }),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    let delay = (distribution(), share(1), millis(1, 3_600_000));
    let delay = delay.prop_map(|(distribution, share, max)| FaultDelay {
        distribution,
        share,
        max,
    });
    let abort = (400_u16..600, share(1)).prop_map(|(status, share)| FaultAbort { status, share });
    (
        btree_map("[A-Za-z][A-Za-z-]{0,6}", value_match(), 0..3),
        of(delay),
        of(abort),
        of(1_u64..1 << 40),
    )
        .prop_map(|(header, delay, abort, bandwidth)| Fault {
            only_with_header: header.into_iter().collect(),
            delay,
            abort,
            bandwidth,
        })
}

pub(super) fn route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        Just(HostRewrite::Endpoint),
        "[a-d]{1,4}".prop_map(HostRewrite::To)
    ];
    (
        matcher(),
        action(),
        of(rewrite()),
        of(host),
        edits(),
        edits(),
        of(any_text().prop_filter("a value", |text| !text.is_empty())),
        (of(idempotency()), of(auth())),
        priority(),
        of(fault()),
    )
        .prop_map(
            |(
                matcher,
                action,
                rewrite,
                host,
                request_fields,
                response_fields,
                subset,
                (idempotency, auth),
                priority,
                fault,
            )| {
                let regex = matches!(matcher.path, Some(PathMatch::Regex(_)));
                // There is no prefix to replace in what an expression matched.
                let rewrite = rewrite.filter(|to| !regex || !matches!(to, Rewrite::Prefix(_)));
                Route {
                    name: None,
                    matcher,
                    action,
                    subset,
                    breaker: None,
                    priority: priority.0,
                    priority_header: priority.1,
                    rewrite,
                    host,
                    request_fields,
                    response_fields,
                    fault,
                    idempotency,
                    addresses: Addresses::default(),
                    limits: Vec::new(),
                    auth,
                }
            },
        )
}

fn priority() -> impl Strategy<Value = (Priority, Option<String>)> {
    (select(&Priority::ALL[..]), of("[A-Za-z-]{1,6}"))
}
