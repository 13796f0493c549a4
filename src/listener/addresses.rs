//! Lists of addresses that are let in or kept out, compiled so that one look-up costs a binary search, however long the
//! lists are (pure).

use std::net::IpAddr;

use crate::config::{self, Network, TrustedProxy};

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    v4: Spans,
    v6: Spans,
    /// Peers on a Unix socket.
    unix: bool,
}

/// Where a verdict begins to hold, as a number, and whether it lets in; sorted, the first one at zero.
type Spans = Vec<(u128, bool)>;

impl Addresses {
    /// `None` where nothing is listed, so that nothing has to be asked.
    pub fn compile(written: &config::Addresses) -> Option<Self> {
        if written.allow.is_empty() && written.deny.is_empty() {
            return None;
        }
        let allowed = written.allow.iter().map(|entry| (entry, true));
        let entries: Vec<_> = allowed
            .chain(written.deny.iter().map(|entry| (entry, false)))
            .collect();
        let otherwise = written.allow.is_empty();
        let of = |is_v4: bool| {
            let networks = entries.iter().filter_map(|(entry, lets)| match entry {
                TrustedProxy::Network(network) if network.address.is_ipv4() == is_v4 => {
                    Some((*network, *lets))
                }
                TrustedProxy::Network(_) | TrustedProxy::Unix => None,
            });
            spans(networks.collect(), otherwise)
        };
        let unix = entries
            .iter()
            .find(|(entry, _)| **entry == TrustedProxy::Unix);
        Some(Self {
            v4: of(true),
            v6: of(false),
            unix: unix.map_or(otherwise, |(_, lets)| *lets),
        })
    }

    /// Whether this address is let in; `None` on a Unix socket.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        let (spans, number) = match address.map(|address| address.to_canonical()) {
            None => return self.unix,
            Some(IpAddr::V4(v4)) => (&self.v4, u128::from(v4.to_bits())),
            Some(IpAddr::V6(v6)) => (&self.v6, v6.to_bits()),
        };
        let after = spans.partition_point(|(start, _)| *start <= number);
        // The first span begins at zero, so there is always one before.
        spans[after - 1].1
    }
}

/// What is left of nested networks: for each address the verdict of the longest prefix that holds it.
fn spans(mut networks: Vec<(Network, bool)>, otherwise: bool) -> Spans {
    // An outer network comes before those within it.
    networks.sort_by_key(|(network, _)| (first(network), network.prefix));
    let mut spans = vec![(0, otherwise)];
    let mut add = |start: u128, lets: bool| {
        match spans.last_mut() {
            Some(last) if last.0 == start => last.1 = lets,
            _ => spans.push((start, lets)),
        };
    };
    // Networks that hold the place that has been reached, the innermost last: their ends and verdicts.
    let mut open: Vec<(u128, bool)> = Vec::new();
    let close = |open: &mut Vec<(u128, bool)>, add: &mut dyn FnMut(u128, bool), until: u128| {
        while let Some((end, _)) = open.pop_if(|(end, _)| *end < until) {
            if let Some(next) = end.checked_add(1) {
                add(next, open.last().map_or(otherwise, |(_, lets)| *lets));
            }
        }
    };
    for (network, lets) in networks {
        let start = first(&network);
        close(&mut open, &mut add, start);
        add(start, lets);
        open.push((last(&network), lets));
    }
    close(&mut open, &mut add, u128::MAX);
    spans
}

fn first(network: &Network) -> u128 {
    match network.address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn last(network: &Network) -> u128 {
    let width = if network.address.is_ipv4() { 32 } else { 128 };
    let free = width - u32::from(network.prefix);
    // All bits behind the prefix; a shift by the whole width is none.
    let rest = u128::MAX.checked_shr(128 - free).unwrap_or(0);
    first(network) | rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(allow: &[&str], deny: &[&str]) -> Addresses {
        let list = |texts: &[&str]| {
            let each = texts.iter().map(|text| match *text {
                "unix" => TrustedProxy::Unix,
                text => TrustedProxy::Network(text.parse().unwrap()),
            });
            each.collect()
        };
        Addresses::compile(&config::Addresses {
            allow: list(allow),
            deny: list(deny),
        })
        .unwrap()
    }

    fn lets(addresses: &Addresses, address: &str) -> bool {
        addresses.admit(Some(address.parse().unwrap()))
    }

    #[test]
    fn nothing_listed_asks_nothing() {
        assert_eq!(Addresses::compile(&config::Addresses::default()), None);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let list = listed(&["10.0.0.0/8", "10.9.1.1"], &["10.9.0.0/16"]);
        assert!(lets(&list, "10.1.1.1"));
        assert!(!lets(&list, "10.9.0.0"));
        assert!(lets(&list, "10.9.1.1"));
        assert!(!lets(&list, "10.9.1.2"));
        assert!(!lets(&list, "10.9.255.255"));
        assert!(lets(&list, "10.10.0.0"));
        assert!(!lets(&list, "11.0.0.0"));
        assert!(!lets(&list, "9.255.255.255"));
        assert!(!lets(&list, "::1"));
        assert!(lets(&list, "::ffff:10.1.1.1"));
    }

    #[test]
    fn what_is_only_denied_lets_all_others_in() {
        let list = listed(&[], &["0.0.0.0/0", "2001:db8::/32"]);
        assert!(!lets(&list, "0.0.0.0"));
        assert!(!lets(&list, "255.255.255.255"));
        assert!(lets(&list, "::1"));
        assert!(!lets(&list, "2001:db8:ffff::"));
        assert!(lets(&list, "2001:db9::"));
        assert!(list.admit(None));
    }

    #[test]
    fn a_unix_socket_is_a_peer_by_itself() {
        assert!(!listed(&["10.0.0.0/8"], &[]).admit(None));
        assert!(listed(&["unix"], &[]).admit(None));
        assert!(!listed(&[], &["unix"]).admit(None));
    }

    /// What the list says when each entry is looked at.
    fn scanned(written: &config::Addresses, address: IpAddr) -> bool {
        let entries = written.allow.iter().map(|entry| (entry, true));
        let entries = entries.chain(written.deny.iter().map(|entry| (entry, false)));
        let holding = entries.filter_map(|(entry, lets)| match entry {
            TrustedProxy::Network(network) if network.contains(address) => {
                Some((network.prefix, lets))
            }
            _ => None,
        });
        holding
            .max_by_key(|(prefix, _)| *prefix)
            .map_or(written.allow.is_empty(), |(_, lets)| lets)
    }

    /// Networks that nest and touch: few bits differ.
    fn network() -> impl Strategy<Value = Network> {
        let four = (0_u32..16, 0_u8..=32)
            .prop_map(|(bits, prefix)| (IpAddr::from((bits << 28 | bits).to_be_bytes()), prefix));
        let six = (0_u128..16, 0_u8..=128)
            .prop_map(|(bits, prefix)| (IpAddr::from((bits << 124 | bits).to_be_bytes()), prefix));
        prop_oneof![four, six].prop_map(|(address, prefix)| Network {
            address: config::units::masked(address, prefix),
            prefix,
        })
    }

    proptest! {
        #[test]
        fn a_look_up_gives_what_a_scan_gives(
            networks in proptest::collection::hash_map(network(), any::<bool>(), 1..12),
            others in proptest::collection::vec(any::<u32>(), 0..20),
        ) {
            let of = |lets: bool| {
                let chosen = networks.iter().filter(|(_, verdict)| **verdict == lets);
                chosen.map(|(network, _)| TrustedProxy::Network(*network)).collect()
            };
            let written = config::Addresses { allow: of(true), deny: of(false) };
            let list = Addresses::compile(&written).unwrap();
            let mut asked: Vec<IpAddr> = others.into_iter().map(|bits| IpAddr::from(bits.to_be_bytes())).collect();
            // The borders of every network, and what lies beside them.
            for network in networks.keys() {
                let v4 = network.address.is_ipv4();
                for border in [first(network), last(network)] {
                    for number in [border.wrapping_sub(1), border, border.wrapping_add(1)] {
                        asked.push(if v4 {
                            IpAddr::from((number as u32).to_be_bytes())
                        } else {
                            IpAddr::from(number.to_be_bytes())
                        });
                    }
                }
            }
            for address in asked {
                // One of IPv4 that is written as one of IPv6 counts as the former.
                prop_assert_eq!(list.admit(Some(address)), scanned(&written, address.to_canonical()), "{}", address);
            }
        }
    }
}
