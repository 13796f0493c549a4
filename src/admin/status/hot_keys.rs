//! Which keys a hashing upstream is asked for most, and who has to bear them.

use serde::{Deserialize, Serialize};

use crate::upstream::Upstream;
use crate::upstream::outlook::Outlook;

/// Keys that are shown.
const MOST: usize = 10;

/// The hottest keys of an upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HotKeysStatus {
    /// Picks by key of about the last two minutes, what is older than one counting half: what shares are of.
    pub picks: u64,
    /// The hottest first; at most ten.
    pub keys: Vec<HotKeyStatus>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HotKeyStatus {
    /// 16 hex digits.
    pub hash: String,
    /// The value, where it cannot be a secret.
    pub text: Option<String>,
    /// `count` over the picks of all keys.
    pub share: f64,
    /// Picks, or up to `error` fewer.
    pub count: u64,
    pub error: u64,
    /// How many of them went to another endpoint than its owner, which was out, full or above its bound.
    pub spilled: u64,
    /// The endpoint that the key belongs to, by id, for requests that ask for no subset.
    pub owner: Option<String>,
    /// Who serves it while its owner is out.
    pub stand_in: Option<String>,
}

/// Reads the hottest keys; `None` where requests are not hashed.
pub(super) fn read(upstream: &Upstream, outlook: &Outlook<'_>) -> Option<HotKeysStatus> {
    let total = upstream.census.as_ref()?.total();
    let picks = total.noted();
    let id = |i: usize| upstream.endpoints[i].id.clone();
    let keys = total.top(MOST).into_iter().map(|hot| {
        let owner = outlook.owner(hot.hash);
        HotKeyStatus {
            hash: format!("{:016x}", hot.hash),
            text: hot.text.map(|text| text.to_string()),
            share: hot.count as f64 / picks as f64,
            count: hot.count,
            error: hot.error,
            spilled: hot.spilled,
            owner: owner.map(|owner| id(owner.endpoint)),
            stand_in: owner.and_then(|owner| owner.stand_in).map(id),
        }
    });
    Some(HotKeysStatus {
        picks,
        keys: keys.collect(),
    })
}

/// The part of the picks by key that the hottest one surely had; `None` where there were none.
pub(in crate::admin) fn hottest_share(upstream: &Upstream) -> Option<f64> {
    let total = upstream.census.as_ref()?.total();
    let keys = total.top(usize::MAX).into_iter();
    let surely = keys.map(|hot| hot.count - hot.error).max()?;
    Some(surely as f64 / total.noted() as f64)
}
