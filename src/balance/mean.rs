//! The mean of what is looked at now and then (pure).

/// A mean over the last while, and over less where it began later: what it has not seen does not count as none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    sum: f64,
    /// 0 at the beginning, and in the end 1.
    weight: f64,
}

impl Mean {
    /// So much since the last call, what was before of which this part still counts.
    pub(super) fn add(&mut self, value: f64, kept: f64) {
        self.sum = self.sum * kept + value * (1.0 - kept);
        self.weight = self.weight * kept + (1.0 - kept);
    }

    /// `None` before any time has passed.
    pub(super) fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}
