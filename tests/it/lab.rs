//! The experiments of the lab come to an end, and show what they are there to show.

use crate::harness::Process;

/// The part of the requests that the slow endpoint received, from the row of a policy.
fn to_the_slow_one(table: &str, policy: &str) -> f64 {
    let begins = |line: &&str| line.split_whitespace().next() == Some(policy);
    let row = table.lines().find(begins).expect("a row of this policy");
    let mut cells = row.split("  ").map(str::trim);
    // The first share of the row; what is expected stands behind it.
    let share = cells.find_map(|cell| cell.strip_suffix(" %"));
    share.expect("a share").parse().unwrap()
}

#[test]
fn a_policy_that_counts_what_is_in_flight_spares_the_slow_endpoint() {
    // One round of 0.6 s for each: shares are counts, which a busy machine moves little. Latencies it moves as it likes,
    // so none is asserted.
    let arguments = [
        "lab",
        "slow-endpoint",
        "--seconds",
        "0.6",
        "--rate",
        "400",
        "--timeout",
        "200ms",
        "--policies",
        "round_robin,p2c",
        "--no-assert",
    ];
    let mut process = Process::start(&arguments);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    let stdout = process.stdout();
    let (in_turn, by_load) = (
        to_the_slow_one(&stdout, "round_robin"),
        to_the_slow_one(&stdout, "p2c"),
    );
    assert!((15.0..25.0).contains(&in_turn), "{stdout}");
    assert!(by_load < in_turn, "{stdout}");
    for part in ["5 endpoints, one of them 10 times slower", "To see: "] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
}
