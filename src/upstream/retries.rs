//! The budget of an upstream's retries and hedges: State, shared by all workers and kept over reloads.
//!
//! No request touches it. Each worker counts successes in cells of its own; they are folded in under the lock when somebody
//! wants a token, which is when something has failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::attempt::budget::{Budget, Terms};
use crate::observe::UpstreamCells;

/// The budget of one upstream.
#[derive(Debug, Default)]
pub struct Retries(Mutex<Fund>);

#[derive(Debug, Default)]
struct Fund {
    budget: Budget,
    sources: Vec<Source>,
}

/// What one worker counts.
#[derive(Debug)]
struct Source {
    cells: Arc<UpstreamCells>,
    /// Successes that were folded in.
    seen: u64,
}

impl Retries {
    /// The successes that are counted here fund the budget from now on. Cells that it knows are not counted twice.
    pub fn join(&self, cells: &Arc<UpstreamCells>) {
        let sources = &mut self.fund().sources;
        if sources
            .iter()
            .any(|source| Arc::ptr_eq(&source.cells, cells))
        {
            return;
        }
        // Those of an upstream that had gone and came again under its name.
        sources.retain(|source| Arc::strong_count(&source.cells) > 1);
        sources.push(Source {
            cells: Arc::clone(cells),
            seen: cells.successes.value(),
        });
    }

    /// Takes a token, if there is one.
    pub fn take(&self, terms: Terms) -> bool {
        let mut fund = self.fund();
        fund.fold(terms);
        fund.budget.take()
    }

    /// Takes back a token for an attempt that was not made.
    pub fn give_back(&self, terms: Terms) {
        self.fund().budget.give_back(terms);
    }

    /// The tokens that there are.
    pub fn tokens(&self, terms: Terms) -> f64 {
        let mut fund = self.fund();
        fund.fold(terms);
        fund.budget.tokens()
    }

    fn fund(&self) -> MutexGuard<'_, Fund> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fund {
    fn fold(&mut self, terms: Terms) {
        let mut successes = 0;
        for source in &mut self.sources {
            let now = source.cells.successes.value();
            successes += now.saturating_sub(source.seen);
            source.seen = now;
        }
        self.budget.fund(successes, terms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::observe::{Labels, Registry};

    const TERMS: Terms = Terms {
        share: 0.5,
        cap: 20.0,
    };

    #[test]
    fn successes_of_all_workers_fund_one_budget_once() {
        let registry = Registry::new(2, Labels::default(), Instant(0));
        let cells = [0, 1].map(|worker| registry.worker(worker).upstream("pool"));
        let retries = Retries::default();
        cells[0].successes.add(1000);
        for _ in 0..2 {
            cells.iter().for_each(|cells| retries.join(cells));
        }
        assert_eq!(
            retries.tokens(TERMS),
            10.0,
            "what was before is not its own"
        );
        cells.iter().for_each(|cells| cells.successes.add(2));
        assert_eq!(retries.tokens(TERMS), 12.0);
        assert_eq!(retries.tokens(TERMS), 12.0);
        assert!(retries.take(TERMS));
        cells[1].successes.add(1000);
        assert_eq!(retries.tokens(TERMS), 20.0);
    }
}
