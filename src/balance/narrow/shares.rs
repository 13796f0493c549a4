//! Who gets how much: the traffic of a section divided among its groups by their health.

use super::layout::Section;

/// How far a tier or zone is taken to be larger than it must be: it keeps all of its traffic until
/// fewer than 1/1.4 = 71 % of its weight is eligible. Envoy's overprovisioning factor and its default.
const OVERPROVISIONING: f64 = 1.4;

/// What is left below this is an error of rounding and no traffic.
const ROUNDING: f64 = 1e-9;

/// What a group can bear.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stock {
    /// The weight, as of now, of those that may serve.
    pub(super) eligible: f64,
    /// The full weight of those that should serve; at least `eligible`.
    pub(super) total: f64,
}

impl Stock {
    fn health(self) -> f64 {
        if self.total == 0.0 {
            0.0
        } else {
            (OVERPROVISIONING * self.eligible / self.total).min(1.0)
        }
    }

    fn of(groups: &[Self]) -> Self {
        Self {
            eligible: groups.iter().map(|group| group.eligible).sum(),
            total: groups.iter().map(|group| group.total).sum(),
        }
    }
}

/// The share of each group, of which `stocks` are; they sum to 1, or are all 0 where nobody can serve.
pub(super) fn shares(section: &Section, stocks: &[Stock]) -> Vec<f64> {
    let mut groups = section.groups.iter().zip(stocks);
    let backup = !groups.any(|(group, stock)| !group.label.backup && stock.eligible > 0.0);
    let tiers: Vec<_> = section
        .tiers()
        .scan(0, |end, tier| {
            let start = *end;
            *end += tier.len();
            Some((start..*end, tier[0].label.backup))
        })
        .filter(|&(_, is_backup)| is_backup == backup)
        .map(|(range, _)| (range.clone(), Stock::of(&stocks[range]).health()))
        .collect();
    let whole = tiers.iter().map(|(_, health)| health).sum::<f64>().min(1.0);
    let mut shares = vec![0.0; stocks.len()];
    let mut left = 1.0;
    for (range, health) in tiers {
        if health > 0.0 && left > ROUNDING {
            let taken = f64::min(health / whole, left);
            left -= taken;
            split(taken, &stocks[range.clone()], &mut shares[range]);
        }
    }
    shares
}

/// Divides what a tier takes between its zones; one of them has something eligible.
fn split(taken: f64, stocks: &[Stock], shares: &mut [f64]) {
    match (stocks, shares) {
        ([local, others], [to_local, to_others]) => {
            *to_local = if others.eligible > 0.0 {
                taken * local.health()
            } else {
                taken
            };
            *to_others = taken - *to_local;
        }
        (_, shares) => shares[0] = taken,
    }
}
