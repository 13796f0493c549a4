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

/// What a program reads of an experiment that ran to its end.
fn told(arguments: &[&str]) -> serde_json::Value {
    let mut process = Process::start(arguments);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    serde_json::from_str(&process.stdout()).unwrap()
}

#[test]
fn a_bounded_queue_outlives_a_stall() {
    // Short, so that it says only that the experiment runs and shows a stall; what becomes of each arm is seen by hand.
    let told = told(&[
        "lab",
        "metastable",
        "--before",
        "1",
        "--stall",
        "1",
        "--after",
        "2",
        "--arms",
        "cure",
        "--json",
        "--no-assert",
    ]);
    let arm = &told["arms"][0];
    assert_eq!(
        (&arm["arm"], told["arms"].as_array().unwrap().len()),
        (&"cure".into(), 1)
    );
    let goodput: Vec<f64> = arm["goodput"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_f64().unwrap())
        .collect();
    assert_eq!(goodput.len(), 4, "{told}");
    assert!(goodput[0] > 0.5 && goodput[1] < goodput[0], "{goodput:?}");
}

#[test]
fn a_slow_upstream_is_full_and_the_other_one_answers() {
    let told = told(&[
        "lab",
        "isolation",
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--rate",
        "300",
        "--json",
        "--no-assert",
    ]);
    let round = &told["rounds"][0];
    let share =
        |state: &str, upstream: &str, what: &str| round[state][upstream][what].as_f64().unwrap();
    assert!(share("slow", "first", "refused") > 0.3, "{told}");
    // How much is answered in the usual state is this machine's affair; the second one is to fare no worse than then.
    let usual = share("usual", "second", "answered");
    assert!(share("slow", "second", "answered") > usual - 0.1, "{told}");
}
