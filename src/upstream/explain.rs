//! The grounds of a pick in words: endpoints and groups by name instead of index.

use super::Upstream;
use super::absence::is_of_place;
use super::groups::{Ask, Grounds};
use crate::balance::Key;
use crate::balance::narrow::Narrowed;
use crate::balance::{Considered, Decision, Excluded, Exclusion, Lack, Note, Picked};
use crate::observe::decision::{
    CandidateRecord, ExcludedRecord, GroupRecord, KeyRecord, PickRecord,
};

/// What a pick came to, with its grounds, as it is shown.
pub fn explain(
    upstream: &Upstream,
    narrowed: &Narrowed,
    ask: &Ask,
    key: Option<&Key>,
    outcome: Result<Picked, Lack>,
    grounds: &Grounds,
) -> PickRecord {
    let none = Decision::default();
    let deciding = grounds
        .groups
        .last()
        .map_or(&none, |(_, decision)| decision);
    let id = |i: usize| upstream.endpoints[i].id.clone();
    let excluded = deciding.excluded.iter().map(|excluded| ExcludedRecord {
        endpoint: id(excluded.endpoint),
        reason: reason(excluded, grounds).label().to_owned(),
    });
    PickRecord {
        upstream: upstream.name.clone(),
        balance: upstream.balance.to_owned(),
        subset: upstream.groups.layout().sections()[ask.section]
            .subset
            .and_then(|subset| upstream.subsets.get(&subset).cloned()),
        picked: outcome.ok().map(|picked| id(picked.endpoint)),
        reason: match outcome {
            Ok(picked) => picked.by.label(),
            Err(lack) => lack.label(),
        }
        .to_owned(),
        key: key.map(|key| KeyRecord {
            hash: format!("{:016x}", key.hash),
            text: key.text.map(|text| text.to_string()),
        }),
        unbound: grounds.unbound.map(|reason| reason.label().to_owned()),
        groups: groups(upstream, narrowed, ask, grounds),
        candidates: deciding
            .considered
            .iter()
            .map(|considered| candidate(id(considered.endpoint), considered))
            .collect(),
        candidates_beyond: deciding.considered_beyond,
        excluded: excluded.collect(),
        excluded_beyond: deciding.excluded_beyond,
    }
}

/// Why an endpoint could not be picked: to a group that was asked in vain it means more than that it is of another one.
fn reason(excluded: &Excluded, grounds: &Grounds) -> Exclusion {
    if !is_of_place(excluded.reason) {
        return excluded.reason;
    }
    let asked = grounds
        .groups
        .iter()
        .flat_map(|(_, decision)| &decision.excluded);
    let mut others = asked.filter(|other| other.endpoint == excluded.endpoint);
    let found = others.find(|other| !is_of_place(other.reason));
    found.unwrap_or(excluded).reason
}

fn groups(
    upstream: &Upstream,
    narrowed: &Narrowed,
    ask: &Ask,
    grounds: &Grounds,
) -> Vec<GroupRecord> {
    let section = &upstream.groups.layout().sections()[ask.section];
    let spread = narrowed.section(ask.section);
    let all = section.groups.iter().zip(spread.groups()).enumerate();
    all.map(|(i, (laid_out, group))| GroupRecord {
        name: laid_out.label.to_string(),
        share: group.share,
        candidates: group.members.candidates().len(),
        asked: grounds.groups.iter().any(|(asked, _)| *asked == i),
    })
    .collect()
}

fn candidate(endpoint: String, considered: &Considered) -> CandidateRecord {
    CandidateRecord {
        endpoint,
        in_flight: considered.load,
        weight: considered.weight,
        factor: considered.factor,
        failures_as_load: considered.ghosts,
        latency_seconds: considered.latency.map(|nanos| nanos / 1e9),
        score: considered.score,
        note: considered.note.map(Note::label).map(str::to_owned),
    }
}
