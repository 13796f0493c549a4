//! Tests: what is kept of gates over reloads.

use std::sync::Arc;

use super::gate::Ledger;
use super::{Gate, Verdict, compile};
use crate::config::read::from_text;

/// The gates of routes with these names.
fn gates(names: &[&str], ledger: &Ledger) -> Vec<Arc<Gate>> {
    let routes = names.iter().map(|name| {
        format!(
            "- {{ name: {name}, match: {{ path: /{name}/ }}, upstream: api, auth: {{ forward: {{ upstream: api }} }} }}\n"
        )
    });
    let text = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n{}\
         upstreams: {{ api: {{ endpoints: [\"127.0.0.1:9001\"] }} }}\n",
        routes.collect::<String>()
    );
    let loaded = from_text("a.yaml", &text, &|_| None);
    let config = loaded.unwrap_or_else(|no| panic!("{no}")).config;
    let gates = compile(&config, ledger).unwrap();
    gates.into_iter().flatten().collect()
}

#[test]
fn thousands_of_reloads_leave_no_counts_behind() {
    let ledger = Ledger::default();
    let mut in_force = gates(&["kept", "first"], &ledger);
    in_force[0].counts.judged(Verdict::Allowed);
    for number in 0..3000 {
        let name = format!("route-{number}");
        let new = gates(&["kept", &name], &ledger);
        // Every second file is refused in the end.
        if number % 2 == 0 {
            in_force = new;
        }
    }
    // Of the one in force, of the one that was refused last, and what all had.
    assert!(ledger.routes() <= 3, "{}", ledger.routes());
    let allowed = in_force[0].counts.all().into_iter();
    let allowed = allowed.filter(|(verdict, _)| *verdict == Verdict::Allowed);
    assert_eq!(allowed.map(|(_, count)| count).sum::<u64>(), 1);
}
