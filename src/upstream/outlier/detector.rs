//! Who is worse than their peers: the state machine of an upstream, told at each tick how its endpoints stand.
//!
//! Peers are the endpoints of one group (priority and zone), since another zone is slower by nature. All of them
//! are compared by what they did since the last comparison; a row of failures is looked at with every tick.

use std::collections::HashMap;
use std::time::Duration;

use super::conduct::{Sample, Totals};
use crate::clock::Instant;
use crate::entropy::Random;

/// When an endpoint is an outlier, and for how long it is out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rules {
    pub in_row: Option<u32>,
    pub failure_rate: Option<f64>,
    pub latency: Option<f64>,
    pub min_samples: u32,
    pub min_endpoints: usize,
    pub interval: Duration,
    pub keep: usize,
    pub eject_for: Duration,
    pub eject_for_max: Duration,
    pub jitter: f64,
}

/// How an endpoint stands.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub identity: u64,
    /// Its peers have the same.
    pub group: usize,
    /// Nothing else keeps it from being picked.
    pub is_serving: bool,
    pub totals: Totals,
    /// Gateway failures in a row.
    pub in_row: u32,
}

/// What makes an endpoint an outlier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// So many gateway failures in a row.
    InARow(u32),
    /// Its share of failures, and the median of its peers'.
    FailureRate(f64, f64),
    /// Its typical latency, and the median of its peers', in nanoseconds.
    Latency(f64, f64),
}

/// What changes for one of the endpoints, by its place among the subjects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Ejected(usize, Why, Duration),
    Returned(usize),
}

/// What is known of one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Member {
    seen: Totals,
    /// What it did between the last two comparisons.
    pub sample: Sample,
    /// Why it is out, and until when.
    pub ejected: Option<(Why, Instant)>,
    /// How often it was taken out, less the times that it has made good since.
    pub ejections: u32,
    /// In all.
    pub ejected_in_all: u64,
    /// Since when it has been in without a mark against it being taken off.
    quiet_since: Instant,
}

/// The outlier detection of one upstream.
#[derive(Debug, Default)]
pub struct Detector {
    members: Vec<(u64, Member)>,
    compared: Option<Instant>,
}

impl Detector {
    /// Looks at all endpoints, and says who goes and who returns.
    pub fn look(
        &mut self,
        now: Instant,
        rules: &Rules,
        random: &mut Random,
        subjects: &[Subject],
    ) -> Vec<Verdict> {
        self.meet(subjects);
        let mut verdicts = self.let_back(now, rules);
        let is_due = match self.compared {
            Some(compared) => now.since(compared) >= rules.interval,
            None => {
                self.begin(now, subjects);
                false
            }
        };
        if is_due {
            for ((_, member), subject) in self.members.iter_mut().zip(subjects) {
                member.sample = Sample::between(member.seen, subject.totals);
            }
            self.begin(now, subjects);
        }
        let returned = |i: usize| verdicts.contains(&Verdict::Returned(i));
        // Whoever returns does so without its row of failures, beside which that of another would be like its peers'.
        let anew = |(i, subject): (usize, &Subject)| Subject {
            in_row: if returned(i) { 0 } else { subject.in_row },
            ..*subject
        };
        let subjects: Vec<Subject> = subjects.iter().enumerate().map(anew).collect();
        let subjects = &*subjects;
        let mut suspects: Vec<(usize, Why, f64)> = Vec::new();
        for i in (0..subjects.len()).filter(|i| self.is_in(subjects, *i) && !returned(*i)) {
            let peers = self.peers(subjects, i);
            suspects.extend(row(rules, subjects, i, &peers));
            if is_due {
                suspects.extend(self.failing(rules, i, &peers));
                suspects.extend(self.slow(rules, i, &peers));
            }
        }
        suspects.sort_by(|a, b| b.2.total_cmp(&a.2));
        for (i, why, _) in suspects {
            if self.is_in(subjects, i) && self.peers(subjects, i).len() >= rules.keep.max(1) {
                let stay = self.members[i].1.eject(now, rules, random, why);
                verdicts.push(Verdict::Ejected(i, why, stay));
            }
        }
        verdicts
    }

    /// Lets all back that are out, since nobody asks any more.
    pub fn release(&mut self) {
        for (_, member) in &mut self.members {
            member.ejected = None;
        }
        self.compared = None;
    }

    /// Who of the subjects is out, in the order in which they were looked at last.
    pub fn out(&self) -> impl Iterator<Item = bool> {
        self.members
            .iter()
            .map(|(_, member)| member.ejected.is_some())
    }

    /// What is known of the endpoint with this identity.
    pub fn member(&self, identity: u64) -> Option<&Member> {
        let mut members = self.members.iter();
        members
            .find(|(known, _)| *known == identity)
            .map(|(_, member)| member)
    }

    /// In how long they are compared next.
    pub fn next(&self, now: Instant, rules: &Rules) -> Duration {
        let compared = self.compared.unwrap_or(now);
        (compared + rules.interval).since(now)
    }

    /// How many more endpoints could be taken out now.
    pub fn may_eject(&self, rules: &Rules, subjects: &[Subject]) -> usize {
        let mut groups: HashMap<usize, usize> = HashMap::new();
        for i in (0..subjects.len()).filter(|i| self.is_in(subjects, *i)) {
            *groups.entry(subjects[i].group).or_default() += 1;
        }
        let left = groups
            .values()
            .map(|count| count.saturating_sub(rules.keep.max(1)));
        left.sum()
    }

    /// Keeps what is known of these endpoints and of no others, in their order.
    fn meet(&mut self, subjects: &[Subject]) {
        let mut known = self.members.iter().zip(subjects);
        let is_same = self.members.len() == subjects.len()
            && known.all(|((identity, _), subject)| *identity == subject.identity);
        if is_same {
            return;
        }
        let before: HashMap<u64, Member> = self.members.drain(..).collect();
        let member = |subject: &Subject| {
            let new = || Member {
                seen: subject.totals,
                ..Member::default()
            };
            let known = before.get(&subject.identity).copied();
            (subject.identity, known.unwrap_or_else(new))
        };
        self.members = subjects.iter().map(member).collect();
    }

    fn begin(&mut self, now: Instant, subjects: &[Subject]) {
        self.compared = Some(now);
        for ((_, member), subject) in self.members.iter_mut().zip(subjects) {
            member.seen = subject.totals;
        }
    }

    fn let_back(&mut self, now: Instant, rules: &Rules) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (i, (_, member)) in self.members.iter_mut().enumerate() {
            match member.ejected {
                Some((_, until)) if now >= until => {
                    member.ejected = None;
                    member.quiet_since = now;
                    verdicts.push(Verdict::Returned(i));
                }
                Some(_) => {}
                None => member.make_good(now, rules),
            }
        }
        verdicts
    }

    fn is_in(&self, subjects: &[Subject], i: usize) -> bool {
        subjects[i].is_serving && self.members[i].1.ejected.is_none()
    }

    /// The others that serve in the same group.
    fn peers(&self, subjects: &[Subject], i: usize) -> Vec<usize> {
        let others = (0..subjects.len()).filter(|other| {
            *other != i
                && subjects[*other].group == subjects[i].group
                && self.is_in(subjects, *other)
        });
        others.collect()
    }

    fn failing(&self, rules: &Rules, i: usize, peers: &[usize]) -> Option<(usize, Why, f64)> {
        let limit = rules.failure_rate?;
        let rate = |i: usize| {
            let sample = &self.members[i].1.sample;
            (sample.ended() >= rules.min_samples.max(1)).then(|| sample.failure_rate())
        };
        let (own, median) = compared(rules, rate(i)?, peers.iter().filter_map(|i| rate(*i)))?;
        let ahead = own - median;
        // Rounding must not decide on a difference that is exactly what was written.
        (ahead + 1e-9 >= limit).then_some((i, Why::FailureRate(own, median), ahead / limit))
    }

    fn slow(&self, rules: &Rules, i: usize, peers: &[usize]) -> Option<(usize, Why, f64)> {
        let limit = rules.latency?;
        let latency = |i: usize| {
            let sample = &self.members[i].1.sample;
            let is_enough = sample.answered >= rules.min_samples.max(1);
            sample.latency.filter(|_| is_enough)
        };
        let (own, median) = compared(rules, latency(i)?, peers.iter().filter_map(|i| latency(*i)))?;
        let times = own / median;
        (times > limit).then_some((i, Why::Latency(own, median), times / limit))
    }
}

impl Member {
    fn eject(&mut self, now: Instant, rules: &Rules, random: &mut Random, why: Why) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        self.ejected_in_all += 1;
        let longest = rules.eject_for_max.max(rules.eject_for);
        let stay = rules.eject_for.saturating_mul(self.ejections).min(longest);
        let stay = stay.mul_f64(1.0 - rules.jitter * random.unit());
        self.ejected = Some((why, now + stay));
        stay
    }

    /// Takes off one ejection for each `eject_for` that it has been in.
    fn make_good(&mut self, now: Instant, rules: &Rules) {
        while self.ejections > 0 && now.since(self.quiet_since) >= rules.eject_for {
            self.ejections -= 1;
            self.quiet_since = self.quiet_since + rules.eject_for;
        }
    }
}

/// One that failed in a row while fewer than half of its peers did.
fn row(
    rules: &Rules,
    subjects: &[Subject],
    i: usize,
    peers: &[usize],
) -> Option<(usize, Why, f64)> {
    let limit = rules.in_row?;
    let in_row = subjects[i].in_row;
    let alike = peers.iter().filter(|peer| subjects[**peer].in_row >= limit);
    let is_alone = alike.count() * 2 < peers.len().max(1);
    let worse = f64::from(in_row) / f64::from(limit.max(1));
    (in_row >= limit && is_alone).then_some((i, Why::InARow(in_row), worse))
}

/// An endpoint's value beside the median of its peers', if there are enough of them.
fn compared(rules: &Rules, own: f64, peers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut peers: Vec<f64> = peers.collect();
    if peers.is_empty() || peers.len() + 1 < rules.min_endpoints {
        return None;
    }
    peers.sort_by(f64::total_cmp);
    let middle = peers.len() / 2;
    let median = if peers.len().is_multiple_of(2) {
        f64::midpoint(peers[middle - 1], peers[middle])
    } else {
        peers[middle]
    };
    Some((own, median))
}
