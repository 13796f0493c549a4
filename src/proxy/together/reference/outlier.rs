//! Who is out for being worse than the others: judged anew at each tick from what each of them did.

use std::collections::HashMap;

use super::MS;
use crate::proxy::together::events::Rules;

/// What an endpoint did at its address, and what keeps it from serving besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::proxy::together) struct Conduct {
    pub(super) answered: u32,
    pub(super) failed: u32,
    pub(in crate::proxy::together) in_row: u32,
}

impl Conduct {
    pub(super) fn answered(&mut self) {
        self.answered += 1;
        self.in_row = 0;
    }

    pub(super) fn failed(&mut self, is_gateway: bool) {
        self.failed += 1;
        self.in_row = if is_gateway { self.in_row + 1 } else { 0 };
    }
}

/// One of those that are compared.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    pub(super) id: usize,
    pub(super) conduct: &'a mut Conduct,
    /// But for being ejected.
    pub(super) is_serving: bool,
}

#[derive(Debug, Clone, Default)]
pub(in crate::proxy::together) struct Known {
    seen: (u32, u32),
    /// Until when it is out.
    pub(in crate::proxy::together) until: Option<u64>,
    pub(in crate::proxy::together) ejected: u64,
    pub(in crate::proxy::together) since: u64,
    pub(in crate::proxy::together) stay: u64,
    /// Times that it was taken out, less those made good since.
    pub(in crate::proxy::together) marks: u32,
    quiet_since: u64,
}

#[derive(Debug, Default)]
pub(in crate::proxy::together) struct Outlier {
    pub(in crate::proxy::together) known: HashMap<usize, Known>,
    compared: Option<u64>,
}

impl Outlier {
    pub(in crate::proxy::together) fn is_out(&self, id: usize) -> bool {
        self.known.get(&id).is_some_and(|one| one.until.is_some())
    }

    pub(super) fn look(&mut self, now: u64, rules: &Rules, peers: &mut [Peer<'_>]) {
        self.known
            .retain(|id, _| peers.iter().any(|peer| peer.id == *id));
        for peer in &*peers {
            self.known.entry(peer.id).or_insert_with(|| Known {
                seen: totals(peer.conduct),
                ..Known::default()
            });
        }
        let returned = self.let_back(now, peers);
        let is_due = self
            .compared
            .is_some_and(|compared| now - compared >= Rules::INTERVAL * MS);
        let mut did: HashMap<usize, (u32, u32)> = HashMap::new();
        if is_due || self.compared.is_none() {
            self.compared = Some(now);
            for peer in &*peers {
                let after = totals(peer.conduct);
                let known = self.known.get_mut(&peer.id).expect("it was met");
                let before = std::mem::replace(&mut known.seen, after);
                let came = (
                    after.0.saturating_sub(before.0),
                    after.1.saturating_sub(before.1),
                );
                did.insert(peer.id, came);
            }
        }
        let mut suspects: Vec<(usize, f64)> = Vec::new();
        for peer in peers.iter().filter(|peer| !returned.contains(&peer.id)) {
            if !peer.is_serving || self.is_out(peer.id) {
                continue;
            }
            let others = self.others(peers, peer.id);
            suspects.extend(in_row(rules, peer, &others).map(|by| (peer.id, by)));
            if is_due {
                suspects.extend(failing(peer, &others, &did).map(|by| (peer.id, by)));
            }
        }
        suspects.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (id, _) in suspects {
            if !self.is_out(id) && self.others(peers, id).len() >= rules.keep {
                let known = self.known.get_mut(&id).expect("it was met");
                known.marks += 1;
                known.ejected += 1;
                let stay = Rules::EJECT_FOR * u64::from(known.marks);
                known.stay = stay.min(Rules::EJECT_FOR_MAX) * MS;
                known.since = now;
                known.until = Some(now + known.stay);
            }
        }
    }

    /// Those whose time is over, and who have nothing held against them for now.
    fn let_back(&mut self, now: u64, peers: &mut [Peer<'_>]) -> Vec<usize> {
        let mut returned = Vec::new();
        for peer in peers {
            let known = self.known.get_mut(&peer.id).expect("it was met");
            match known.until {
                Some(until) if now >= until => {
                    known.until = None;
                    known.quiet_since = now;
                    peer.conduct.in_row = 0;
                    returned.push(peer.id);
                }
                Some(_) => {}
                None => {
                    while known.marks > 0 && now - known.quiet_since >= Rules::EJECT_FOR * MS {
                        known.marks -= 1;
                        known.quiet_since += Rules::EJECT_FOR * MS;
                    }
                }
            }
        }
        returned
    }

    /// The others that serve.
    fn others<'a, 'b>(&self, peers: &'a [Peer<'b>], id: usize) -> Vec<&'a Peer<'b>> {
        let others = peers.iter().filter(|peer| peer.id != id);
        others
            .filter(|peer| peer.is_serving && !self.is_out(peer.id))
            .collect()
    }
}

/// How much worse one is that fails in a row while fewer than half of the others do.
fn in_row(rules: &Rules, peer: &Peer<'_>, others: &[&Peer<'_>]) -> Option<f64> {
    let fails = |peer: &Peer<'_>| peer.conduct.in_row >= rules.in_row;
    let alike = others.iter().filter(|peer| fails(peer)).count();
    let is_alone = 2 * alike < others.len().max(1);
    (fails(peer) && is_alone).then(|| f64::from(peer.conduct.in_row) / f64::from(rules.in_row))
}

/// How much worse one is whose attempts fail more often than those of the others in the middle.
fn failing(peer: &Peer<'_>, others: &[&Peer<'_>], did: &HashMap<usize, (u32, u32)>) -> Option<f64> {
    let rate = |id: usize| {
        let (answered, failed) = did[&id];
        let all = answered + failed;
        (all >= Rules::MIN_SAMPLES).then(|| f64::from(failed) / f64::from(all))
    };
    let own = rate(peer.id)?;
    let mut rates: Vec<f64> = others.iter().filter_map(|other| rate(other.id)).collect();
    rates.sort_by(f64::total_cmp);
    let middle = match rates.len() {
        0 => return None,
        odd if odd % 2 == 1 => rates[odd / 2],
        even => (rates[even / 2 - 1] + rates[even / 2]) / 2.0,
    };
    let limit = f64::from(Rules::WORSE_BY) / 100.0;
    (own - middle >= limit - 1e-9).then(|| (own - middle) / limit)
}

fn totals(conduct: &Conduct) -> (u32, u32) {
    (conduct.answered, conduct.failed)
}
