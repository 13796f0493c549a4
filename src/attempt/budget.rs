//! What share of an upstream's traffic may be retries and hedges: a bucket of tokens that its successes fill.
//!
//! Each success puts a share of a token in, each retry takes a whole one out. Nothing flows in by time or by requests: a
//! budget that failures pay for as well keeps an overload alive that it should end (Bronson et al., "Metastable Failures in
//! Distributed Systems", 2021). In an outage the bucket runs empty, and with it the retries.

/// What fills a budget, and how far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Tokens for each success.
    pub share: f64,
    /// Tokens that it holds at most.
    pub cap: f64,
}

/// The tokens of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    tokens: f64,
}

/// Tokens at the start, when nothing has succeeded yet: enough for the first failures of little traffic.
const START: f64 = 10.0;

impl Default for Budget {
    fn default() -> Self {
        Self { tokens: START }
    }
}

impl Budget {
    /// So many attempts have succeeded since it was told last.
    pub fn fund(&mut self, successes: u64, terms: Terms) {
        self.tokens = (self.tokens + successes as f64 * terms.share).min(terms.cap);
    }

    /// Takes a token, if there is a whole one.
    pub fn take(&mut self) -> bool {
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// Takes a token back that came to nothing.
    pub fn give_back(&mut self, terms: Terms) {
        self.tokens = (self.tokens + 1.0).min(terms.cap);
    }

    /// What is left.
    pub fn tokens(&self) -> f64 {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms {
        share: 0.1,
        cap: 100.0,
    };

    #[test]
    fn an_outage_is_paid_for_by_what_is_there_alone() {
        let mut budget = Budget::default();
        let taken = (0..1000).filter(|_| {
            budget.fund(0, TERMS);
            budget.take()
        });
        assert_eq!(taken.count(), 10);
        budget.fund(9, TERMS);
        assert!(!budget.take());
        budget.fund(2, TERMS);
        assert!(budget.take() && !budget.take());
        budget.give_back(TERMS);
        assert!(budget.take() && !budget.take());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_share_of_what_succeeded(
            steps in prop::collection::vec((0u64..50, 0usize..8), 1..200),
            percent in 0u32..=100,
            cap in 1u32..200,
        ) {
            let terms = Terms { share: f64::from(percent) / 100.0, cap: f64::from(cap) };
            let mut budget = Budget::default();
            let (mut succeeded, mut taken) = (0, 0);
            for (successes, wanted) in steps {
                budget.fund(successes, terms);
                succeeded += successes;
                taken += (0..wanted).filter(|_| budget.take()).count();
                prop_assert!(budget.tokens() <= terms.cap && budget.tokens() >= 0.0);
                prop_assert!(taken as f64 <= START + succeeded as f64 * terms.share + 1e-6);
            }
        }
    }
}
