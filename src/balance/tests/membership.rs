//! State goes by identity: what is remembered of who remains is kept, and nothing of who is gone.

use super::*;

/// An upstream whose membership changes at random.
struct Upstream {
    members: Vec<Member>,
    /// The numbers of each, in the order of the members.
    signals: Vec<Signals>,
    next: u64,
    random: Random,
}

impl Upstream {
    fn any(&mut self) -> usize {
        self.random.below(self.members.len())
    }

    fn add(&mut self) {
        self.next += 1;
        let place = self.random.below(self.members.len() + 1);
        let member = Member {
            identity: self.next,
            weight: 1 + self.random.below(4) as u32,
            excluded: None,
        };
        self.members.insert(place, member);
        self.signals.insert(place, Signals::default());
    }

    fn change(&mut self) {
        match self.random.below(5) {
            0 if self.members.len() < 40 => self.add(),
            0 | 1 if self.members.len() > 1 => {
                let i = self.any();
                self.members.remove(i);
                self.signals.remove(i);
            }
            2 => {
                let i = self.any();
                self.members[i].weight = self.random.below(5) as u32;
            }
            3 => {
                let (i, j) = (self.any(), self.any());
                self.members.swap(i, j);
                self.signals.swap(i, j);
            }
            _ => {
                let i = self.any();
                let out = &mut self.members[i].excluded;
                *out = out.is_none().then_some(Exclusion::Unhealthy);
            }
        }
    }

    fn identities(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.identity).collect()
    }
}

#[test]
fn twenty_thousand_changes_leave_nothing_behind() {
    let prequal = |pool| {
        Policy::Prequal(prequal::Rules {
            q_rif: 0.84,
            pool,
            probes: 3,
        })
    };
    // One memory for all, as if the policy changed each time too.
    let policies = [Policy::RoundRobin, prequal(16), prequal(4)];
    let mut memory = Memory::default();
    let mut upstream = Upstream {
        members: weights(&[1; 20]),
        signals: (0..20).map(|_| Signals::default()).collect(),
        next: 1000,
        random: Random::seeded(2),
    };
    let (mut live, mut random) = (Numbers::default(), Random::seeded(1));
    for change in 0..20_000u64 {
        upstream.change();
        let members = Members::new(&upstream.members);
        live.now = Instant(change * 10_000_000);
        live.signals = std::mem::take(&mut upstream.signals);
        for policy in &policies {
            let view = View::new(&members, &live);
            let picked = policy.pick(&mut memory, &view, None, &mut random, None);
            assert_eq!(picked.is_none(), members.candidates().is_empty());
            if let Some(picked) = picked {
                let latency = Duration::from_millis(5);
                live.signals[picked.endpoint].answered(live.now, latency, 0, RULES.latency_decay);
            }
        }
        live.appraise(&members, &RULES);
        assert_eq!(live.totals.remembered(), upstream.identities());
        if !members.candidates().is_empty() {
            let (identities, order) = memory.rotation.remembered();
            assert_eq!(identities, upstream.identities());
            assert_eq!(order.len(), members.candidates().len());
            assert!(memory.probed.remembered().all(|i| members.is_candidate(i)));
        }
        upstream.signals = std::mem::take(&mut live.signals);
    }
}

/// Whatever has changed, from then on every endpoint gets exactly its share.
#[test]
fn round_robin_is_exact_after_any_change() {
    let mut memory = Memory::default();
    let mut upstream = Upstream {
        members: weights(&[1, 2, 3]),
        signals: (0..3).map(|_| Signals::default()).collect(),
        next: 1000,
        random: Random::seeded(3),
    };
    let mut random = Random::seeded(1);
    for _ in 0..300 {
        upstream.change();
        let members = Members::new(&upstream.members);
        if members.candidates().is_empty() {
            continue;
        }
        let live = Numbers::idle(members.len());
        let view = View::new(&members, &live);
        let mut picked = vec![0; members.len()];
        for _ in 0..members.total_weight() {
            let pick = Policy::RoundRobin.pick(&mut memory, &view, None, &mut random, None);
            picked[pick.unwrap().endpoint] += 1;
        }
        for (i, picked) in picked.into_iter().enumerate() {
            let due = if members.is_candidate(i) {
                members.weight(i)
            } else {
                0
            };
            assert_eq!(picked, due);
        }
    }
}
