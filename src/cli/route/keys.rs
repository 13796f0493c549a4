//! `plimsoll route --keys`: who owns which key of a hashing upstream, and which would move without an endpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::key_file::{Key, keys, read};
use super::moves::{Owners, Removal};
use super::present::{Live, Present, load};
use super::text::percent;
use super::{Args, Stop, json};
use crate::balance::{Memory, Policy};
use crate::cli::print;
use crate::cli::table::Table;
use crate::config::{self, Balance, Config};
use crate::entropy::Random;
use crate::upstream::Upstream;
use crate::upstream::groups::Ask;

/// The section of all endpoints, whatever their subset.
const ALL: usize = 0;

/// Who owns what.
#[derive(Debug, Serialize)]
struct Report {
    upstream: String,
    algorithm: &'static str,
    /// By what requests are hashed.
    key: String,
    /// How many keys there are.
    keys: usize,
    endpoints: Vec<EndpointShare>,
    /// Left out where the question is who would move.
    #[serde(skip_serializing_if = "Option::is_none")]
    owners: Option<Vec<Owner>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<Removal>,
}

#[derive(Debug, Serialize)]
struct Owner {
    key: String,
    endpoint: Option<String>,
}

#[derive(Debug, Serialize)]
struct EndpointShare {
    endpoint: String,
    weight: u32,
    keys: usize,
    /// Of the keys.
    share: f64,
    /// By weight, among those that can be picked.
    expected: f64,
    /// Of the table, which is what any keys come to in the long run.
    of_table: f64,
}

/// Answers what the arguments ask of the keys.
pub(super) fn run(args: &Args, file: &Path) -> Result<ExitCode, Stop> {
    let (config, places) = load(args.config.as_deref())?;
    let (name, options) = hashing(&config, args.upstream.as_deref()).map_err(Stop::usage)?;
    let (algorithm, key) = (options.algorithm.name(), kind(&options.key));
    let name = name.to_owned();
    let present = Present::new(config, places)?;
    let upstream = &present.upstream(&name)?.upstream;
    let keys = keys(&read(file)?, upstream).map_err(Stop::usage)?;
    let before = owners(upstream, &keys);
    let endpoints = shares(upstream, &before);
    let without = args.without.as_ref();
    let without = without.map(|id| Removal::of(id, &keys, &before, upstream, present));
    let without = without.transpose()?;
    let owner = |(key, endpoint): (&Key, &Option<String>)| Owner {
        key: key.text.clone(),
        endpoint: endpoint.clone(),
    };
    let owners = keys.iter().zip(&before).map(owner);
    let report = Report {
        upstream: name,
        algorithm,
        key,
        keys: keys.len(),
        endpoints,
        owners: without.is_none().then(|| owners.collect()),
        without,
    };
    print(&if args.json {
        json(&report)?
    } else {
        render(&report)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The upstream that is named, or the only one that hashes, and how it does.
fn hashing<'c>(
    config: &'c Config,
    named: Option<&str>,
) -> Result<(&'c str, &'c config::ConsistentHash), String> {
    let options = |(name, written): (&'c String, &'c config::Upstream)| match &written.balance {
        Balance::ConsistentHash(options) => Some((name.as_str(), options)),
        _ => None,
    };
    let all: Vec<_> = config.upstreams.iter().filter_map(options).collect();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    match (named, &all[..]) {
        (_, []) => Err("no upstream here has `balance: consistent_hash`".to_owned()),
        (None, [only]) => Ok(*only),
        (None, _) => Err(format!(
            "several upstreams hash; say which by --upstream: {names}"
        )),
        (Some(wanted), all) => all
            .iter()
            .find(|(name, _)| *name == wanted)
            .copied()
            .ok_or_else(|| match config.upstreams.get(wanted) {
                Some(other) => format!(
                    "upstream `{wanted}` has `balance: {}` and hashes nothing; these do: {names}",
                    other.balance.name()
                ),
                None => format!("there is no upstream `{wanted}`; these hash: {names}"),
            }),
    }
}

/// The key as it is written in the configuration.
fn kind(key: &config::HashKey) -> String {
    match key {
        config::HashKey::ClientIp => "client_ip".to_owned(),
        config::HashKey::Host => "host".to_owned(),
        config::HashKey::Path => "path".to_owned(),
        config::HashKey::Header(name) => format!("header {name}"),
        config::HashKey::Query(name) => format!("query {name}"),
        config::HashKey::Cookie { name, .. } => format!("cookie {name}"),
    }
}

/// The endpoint of each key as the upstream stands now, by its id.
pub(super) fn owners(upstream: &Upstream, keys: &[Key]) -> Owners {
    let (groups, narrowed) = (&upstream.groups, upstream.groups.narrowed());
    let mut memories: Vec<Memory> = groups.groups().iter().map(|_| Memory::default()).collect();
    // A key leaves nothing to chance.
    let mut random = Random::seeded(0);
    let owner = |key: &Key| {
        let ask = Ask {
            key: Some(key.hash),
            ..Ask::default()
        };
        let live = Live(upstream);
        let picked = groups.pick(&narrowed, &ask, &live, &mut memories, &mut random, None);
        picked
            .ok()
            .map(|picked| upstream.endpoints[picked.endpoint].id.clone())
    };
    keys.iter().map(owner).collect()
}

/// The keys of each endpoint beside what it should have.
fn shares(upstream: &Upstream, owners: &[Option<String>]) -> Vec<EndpointShare> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for owner in owners.iter().flatten() {
        *counts.entry(owner).or_default() += 1;
    }
    let (mut expected, mut of_table) = (
        vec![0.0; upstream.endpoints.len()],
        vec![0.0; upstream.endpoints.len()],
    );
    let narrowed = upstream.groups.narrowed();
    for (place, group) in narrowed.section(ALL).groups().iter().enumerate() {
        let members = &group.members;
        for &i in members.candidates() {
            let weight = f64::from(members.weight(i as usize));
            expected[i as usize] += group.share * weight / members.total_weight() as f64;
        }
        let place = upstream.groups.place(ALL, place);
        if let Policy::ConsistentHash(policy) = &upstream.groups.groups()[place].policy {
            for (i, share) in policy.table().shares() {
                of_table[i as usize] += group.share * share;
            }
        }
    }
    let endpoints = upstream.endpoints.iter().enumerate();
    endpoints
        .map(|(i, endpoint)| {
            let keys = counts.get(&*endpoint.id).copied().unwrap_or(0);
            EndpointShare {
                endpoint: endpoint.id.clone(),
                weight: upstream.groups.layout().places()[i].weight,
                keys,
                share: keys as f64 / owners.len() as f64,
                expected: expected[i],
                of_table: of_table[i],
            }
        })
        .collect()
}

fn render(report: &Report) -> String {
    let mut text = format!(
        "upstream `{}`, consistent_hash by {} ({}), keys: {}\n\n",
        report.upstream, report.key, report.algorithm, report.keys
    );
    if let Some(owners) = &report.owners {
        let mut table = Table::new(2, &["KEY", "ENDPOINT"]);
        for owner in owners {
            table.row(vec![
                owner.key.clone(),
                owner.endpoint.clone().unwrap_or_else(nobody),
            ]);
        }
        text.push_str(&table.render());
        text.push('\n');
    }
    if let Some(removal) = &report.without {
        text.push_str(&moved(removal));
        text.push('\n');
    }
    let mut table = Table::new(
        1,
        &[
            "ENDPOINT",
            "WEIGHT",
            "KEYS",
            "SHARE",
            "OF THE TABLE",
            "BY WEIGHT",
        ],
    );
    for one in &report.endpoints {
        table.row(vec![
            one.endpoint.clone(),
            one.weight.to_string(),
            one.keys.to_string(),
            percent(one.share),
            percent(one.of_table),
            percent(one.expected),
        ]);
    }
    text.push_str(&table.render());
    if let Some(removal) = &report.without {
        text.push_str(&summary(removal, report));
    }
    text
}

/// The keys that move, in either way, in the order of the file.
fn moved(removal: &Removal) -> String {
    let mut rows: BTreeMap<usize, [String; 4]> = BTreeMap::new();
    for (column, (moves, _)) in removal.ways().enumerate() {
        for one in &moves.moves {
            let name = |owner: &Option<String>| owner.clone().unwrap_or_else(nobody);
            let stays = || "-".to_owned();
            let row = rows
                .entry(one.place)
                .or_insert_with(|| [one.key.clone(), name(&one.from), stays(), stays()]);
            row[2 + column] = name(&one.to);
        }
    }
    let ways = removal.ways().map(|(_, way)| way.to_uppercase());
    let heading: Vec<String> = ["KEY".to_owned(), "NOW".to_owned()]
        .into_iter()
        .chain(ways)
        .collect();
    let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(heading.len(), &heading);
    for row in rows.into_values() {
        table.row(row.into_iter().take(heading.len()).collect());
    }
    table.render()
}

fn nobody() -> String {
    "nobody".to_owned()
}

/// The last lines: how much moved, and how much of it had to.
fn summary(removal: &Removal, report: &Report) -> String {
    let gone = report.endpoints.iter();
    let gone = gone.filter(|one| removal.endpoints.contains(&one.endpoint));
    let by_weight: f64 = gone.map(|one| one.expected).sum();
    let mut text = format!("\nwithout {}:\n", removal.endpoints.join(", "));
    for (moves, how) in removal.ways() {
        let share = |count: usize| percent(count as f64 / moves.keys as f64);
        text.push_str(&format!(
            "  {}: moved {} of {} keys = {} (its own keys {}, by weight {}), moved between survivors: {}\n",
            how,
            moves.moved,
            moves.keys,
            share(moves.moved),
            share(moves.of_gone),
            percent(by_weight),
            moves.between_survivors,
        ));
    }
    if removal.removed.is_none() {
        text.push_str("  removed: the file cannot be without it, as it is one of several addresses of a name, or the last\n");
    }
    text
}
