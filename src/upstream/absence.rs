//! Why nobody could be picked, as the client and the log are told.

use std::fmt;

use crate::balance::narrow::Spread;
use crate::balance::{Exclusion, Lack};

/// What was lacking, and who was out for which reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    pub lack: Lack,
    /// Reasons with the number of endpoints that they keep out, the most frequent first.
    pub out: Vec<(Exclusion, usize)>,
}

impl Absence {
    /// Of a section in which nobody could be picked.
    pub fn of(lack: Lack, spread: &Spread) -> Self {
        Self::with_probing(lack, spread, 0)
    }

    /// The same, where so many that are left are half-open and wait for their probes.
    pub fn with_probing(lack: Lack, spread: &Spread, probing: usize) -> Self {
        let mut out: Vec<(Exclusion, usize)> = Vec::new();
        if probing > 0 {
            out.push((Exclusion::BreakerOpen, probing));
        }
        let members = spread.groups().first().map(|group| &group.members);
        let reasons = members
            .into_iter()
            .flat_map(|members| (0..members.len()).filter_map(|i| members.excluded(i)))
            // Of the panic rule the lack tells already.
            .filter(|reason| !is_of_place(*reason) && *reason != Exclusion::Panic);
        for reason in reasons {
            match out.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => out.push((reason, 1)),
            }
        }
        out.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self { lack, out }
    }

    /// Of a subset that no endpoint belongs to.
    pub const NO_SUBSET: Self = Self {
        lack: Lack::Subset,
        out: Vec::new(),
    };

    /// Whether breakers keep out all that are not to be left alone anyway.
    fn is_all_open(&self) -> bool {
        let mut reasons = self.out.iter().map(|(reason, _)| *reason);
        let is_aside = |reason| matches!(reason, Exclusion::Draining | Exclusion::WeightZero);
        reasons
            .clone()
            .any(|reason| reason == Exclusion::BreakerOpen)
            && reasons.all(|reason| reason == Exclusion::BreakerOpen || is_aside(reason))
    }

    /// The word in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self.lack {
            Lack::Panic => "panic",
            Lack::Subset => "no_subset",
            Lack::BreakerOpen if self.out.is_empty() => "breaker_open",
            _ if self.is_all_open() => "all_open",
            Lack::BreakerOpen | Lack::Endpoint | Lack::Capacity | Lack::Untried => "no_endpoint",
        }
    }
}

/// Whether a reason says where an endpoint belongs, which is nothing of how it stands.
pub(super) fn is_of_place(reason: Exclusion) -> bool {
    matches!(
        reason,
        Exclusion::Tier | Exclusion::Zone | Exclusion::Subset | Exclusion::Unsampled
    )
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.lack {
            Lack::Panic => "too few endpoints are healthy, and the upstream fails closed then",
            Lack::Subset => "no endpoint has the metadata asked for",
            Lack::BreakerOpen if self.out.is_empty() => {
                "the breaker of the route or of the upstream is open"
            }
            _ if self.is_all_open() => "the breakers of all endpoints are open",
            Lack::BreakerOpen | Lack::Endpoint | Lack::Capacity | Lack::Untried => {
                "no endpoint is eligible"
            }
        })?;
        for (i, (reason, count)) in self.out.iter().enumerate() {
            let before = if i == 0 { ": " } else { ", " };
            write!(f, "{before}{count} {}", reason.label())?;
        }
        Ok(())
    }
}
