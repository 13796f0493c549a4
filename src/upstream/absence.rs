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
        let mut out: Vec<(Exclusion, usize)> = Vec::new();
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

    /// The word in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self.lack {
            Lack::Panic => "panic",
            Lack::Subset => "no_subset",
            Lack::Endpoint | Lack::Capacity | Lack::Untried => "no_endpoint",
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
            Lack::Endpoint | Lack::Capacity | Lack::Untried => "no endpoint is eligible",
        })?;
        for (i, (reason, count)) in self.out.iter().enumerate() {
            let before = if i == 0 { ": " } else { ", " };
            write!(f, "{before}{count} {}", reason.label())?;
        }
        Ok(())
    }
}
