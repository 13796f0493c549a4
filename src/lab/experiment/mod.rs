//! What does one slow endpoint do to clients under each policy? All of it in one process, on real sockets.
//!
//! - [`plan`]: how long, how much, and the arithmetic of what the endpoints can do (pure).
//! - [`contender`]: the policies that can be compared, by name (pure).
//! - `users`: whose requests they are, for those that hash (pure).
//! - `trial`: one policy for one round: backends, proxy and load, everything started anew.
//! - [`outcome`]: what all rounds of a policy showed together (pure).
//! - [`expectation`]: what must have been seen (pure).

pub mod contender;
pub mod expectation;
pub mod outcome;
pub mod plan;
mod trial;
mod users;

use contender::Contender;
use outcome::Outcome;
use plan::Plan;

/// Runs every contender for as many rounds as planned; the outcomes stand in the order of the contenders. `started`
/// hears the number of each round, counted from 0, before it begins.
///
/// A round has all of them, one after the other, so that what else the machine does meets all alike. Every other round
/// goes backwards, and each begins one further on: none always follows the same one.
pub fn run(
    plan: &Plan,
    contenders: &[Contender],
    mut started: impl FnMut(u32),
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = vec![Outcome::new(plan.timeout); contenders.len()];
    for round in 0..plan.rounds() {
        started(round);
        for index in order(contenders.len(), round) {
            let seen = trial::run(plan, &contenders[index].balance, round)?;
            outcomes[index].add(&seen);
        }
    }
    Ok(outcomes)
}

fn order(count: usize, round: u32) -> Vec<usize> {
    let first = round as usize;
    let mut order: Vec<usize> = (0..count).map(|place| (first + place) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_all_of_them_in_another_order() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [0, 2, 1]);
        assert_eq!(order(3, 2), [2, 0, 1]);
        assert_eq!(order(0, 1), [0; 0]);
    }
}
