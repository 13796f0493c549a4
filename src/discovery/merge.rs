//! One answer out of those to several questions (pure): A and AAAA records of a name; SRV records and the addresses of
//! their targets.
//!
//! What could not be found out is not what is not there: a family, or a target, that nobody answered for stays as it was.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Absence, Answer, Failure, Listing, Service};

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records<T> {
    Found(Vec<T>, Option<Duration>),
    Nothing(Absence, Option<Duration>),
    Failed(Failure),
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// Without a closing dot; empty for the root.
    pub target: String,
}

/// The addresses of a name. `families` are the questions that were asked, each with whether it was for IPv4.
pub fn host(known: &[IpAddr], families: Vec<(bool, Records<IpAddr>)>) -> Answer {
    let (mut addresses, mut ttl, mut failure, mut found) = (Vec::new(), None, None, false);
    let (mut absence, mut absent_for) = (Absence::NoAddress, None);
    for (is_ipv4, records) in families {
        match records {
            Records::Found(more, valid) => {
                found = true;
                addresses.extend(more);
                ttl = shorter(ttl, valid);
            }
            Records::Nothing(reason, valid) => {
                if reason == Absence::NoName {
                    absence = reason;
                }
                absent_for = shorter(absent_for, valid);
            }
            Records::Failed(reason) => {
                let kept = known.iter().filter(|ip| ip.is_ipv4() == is_ipv4);
                addresses.extend(kept);
                failure = Some(reason);
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    let list = Listing::Addresses(addresses);
    match failure {
        Some(failure) if found => Answer::Partial(list, failure),
        Some(failure) => Answer::Failed(failure),
        None if found => Answer::Complete(list, ttl),
        None => Answer::Empty(absence, absent_for),
    }
}

/// What SRV records lead to. `hosts` are the answers for their targets, `known` what they led to before.
pub fn services(
    known: &[Service],
    records: Vec<Record>,
    valid: Option<Duration>,
    hosts: &BTreeMap<String, Answer>,
) -> Answer {
    if records.iter().all(|record| record.target.is_empty()) {
        return Answer::Empty(Absence::Declined, valid);
    }
    let (mut services, mut ttl, mut failure) = (Vec::new(), valid, None);
    for record in records {
        let addresses = match hosts.get(&record.target) {
            Some(Answer::Complete(list, valid)) => {
                ttl = shorter(ttl, *valid);
                addresses(list)
            }
            Some(Answer::Partial(list, reason)) => {
                failure = Some(reason.clone());
                addresses(list)
            }
            Some(Answer::Failed(reason)) => {
                failure = Some(reason.clone());
                known_of(known, &record.target)
            }
            // A record may outlive the host that it leads to.
            Some(Answer::Empty(..)) | None => Vec::new(),
        };
        if !addresses.is_empty() {
            services.push(Service {
                priority: record.priority,
                target: record.target,
                port: record.port,
                weight: record.weight,
                addresses,
            });
        }
    }
    services.sort_unstable();
    let mut seen = std::collections::HashSet::new();
    services.retain(|service| seen.insert((service.target.clone(), service.port)));
    match failure {
        Some(failure) if services.is_empty() => Answer::Failed(failure),
        Some(failure) => Answer::Partial(Listing::Services(services), failure),
        None if services.is_empty() => Answer::Empty(Absence::NoAddress, ttl),
        None => Answer::Complete(Listing::Services(services), ttl),
    }
}

/// The addresses that a target of SRV records had before.
pub fn known_of(known: &[Service], target: &str) -> Vec<IpAddr> {
    let before = known.iter().find(|service| service.target == target);
    before.map_or_else(Vec::new, |service| service.addresses.clone())
}

fn addresses(list: &Listing) -> Vec<IpAddr> {
    match list {
        Listing::Addresses(all) => all.clone(),
        Listing::Services(_) | Listing::Endpoints(_) => Vec::new(),
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(texts: &[&str], seconds: u64) -> Records<IpAddr> {
        Records::Found(ips(texts), Some(Duration::from_secs(seconds)))
    }

    fn failure() -> Failure {
        Failure::NoAnswer {
            question: "AAAA a".to_owned(),
            reason: "Server Failure".to_owned(),
        }
    }

    fn complete(texts: &[&str], seconds: u64) -> Answer {
        let list = Listing::Addresses(ips(texts));
        Answer::Complete(list, Some(Duration::from_secs(seconds)))
    }

    #[test]
    fn addresses_of_both_families_are_one_list_that_is_valid_as_long_as_all_of_it() {
        let families = vec![
            (true, found(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], 60)),
            (false, found(&["fd00::1"], 20)),
        ];
        let expected = complete(&["10.0.0.1", "10.0.0.2", "fd00::1"], 20);
        assert_eq!(host(&[], families), expected);
    }

    #[test]
    fn a_family_that_nobody_answers_for_stays_as_it_was() {
        let known = ips(&["10.0.0.9", "fd00::1"]);
        let families = vec![
            (true, found(&["10.0.0.1"], 60)),
            (false, Records::Failed(failure())),
        ];
        let list = Listing::Addresses(ips(&["10.0.0.1", "fd00::1"]));
        assert_eq!(host(&known, families), Answer::Partial(list, failure()));
        // One family that is not there says nothing about the other.
        let families = vec![
            (true, Records::Nothing(Absence::NoAddress, None)),
            (false, Records::Failed(failure())),
        ];
        assert_eq!(host(&known, families), Answer::Failed(failure()));
    }

    #[test]
    fn a_name_that_is_not_there_is_told_from_one_without_addresses() {
        let nothing = |absence| Records::Nothing(absence, Some(Duration::from_secs(9)));
        let (none, no_name) = (Absence::NoAddress, Absence::NoName);
        let both = |one, other| host(&[], vec![(true, nothing(one)), (false, nothing(other))]);
        let valid = Some(Duration::from_secs(9));
        assert_eq!(both(none, none), Answer::Empty(none, valid));
        assert_eq!(both(no_name, no_name), Answer::Empty(no_name, valid));
        // Servers that have no such records may say that there is no such name.
        let families = vec![(true, found(&["10.0.0.1"], 5)), (false, nothing(no_name))];
        assert_eq!(host(&[], families), complete(&["10.0.0.1"], 5));
    }

    fn record(priority: u16, target: &str) -> Record {
        Record {
            priority,
            weight: 5,
            port: 80,
            target: target.to_owned(),
        }
    }

    fn service(priority: u16, target: &str, texts: &[&str]) -> Service {
        Service {
            priority,
            target: target.to_owned(),
            port: 80,
            weight: 5,
            addresses: ips(texts),
        }
    }

    #[test]
    fn a_target_that_nobody_answers_for_keeps_its_addresses_and_one_that_is_gone_does_not() {
        let known = [
            service(0, "a", &["10.0.0.1"]),
            service(0, "b", &["10.0.0.2"]),
            service(0, "c", &["10.0.0.3"]),
        ];
        let hosts = BTreeMap::from([
            ("a".to_owned(), complete(&["10.0.0.7"], 3)),
            ("b".to_owned(), Answer::Failed(failure())),
            ("c".to_owned(), Answer::Empty(Absence::NoName, None)),
        ]);
        let records = vec![
            record(1, "a"),
            record(0, "b"),
            record(0, "c"),
            record(2, "a"),
        ];
        let list = vec![
            service(0, "b", &["10.0.0.2"]),
            service(1, "a", &["10.0.0.7"]),
        ];
        let answer = services(&known, records, None, &hosts);
        assert_eq!(answer, Answer::Partial(Listing::Services(list), failure()));
    }

    #[test]
    fn a_service_may_say_that_it_is_not_here() {
        let answer = services(&[], vec![record(0, "")], None, &BTreeMap::new());
        assert_eq!(answer, Answer::Empty(Absence::Declined, None));
    }

    fn any_records() -> impl Strategy<Value = Records<IpAddr>> {
        let ip = any::<[u8; 4]>().prop_map(IpAddr::from);
        prop_oneof![
            proptest::collection::vec(ip, 1..4).prop_map(|ips| Records::Found(ips, None)),
            Just(Records::Nothing(Absence::NoName, None)),
            Just(Records::Failed(failure())),
        ]
    }

    proptest! {
        #[test]
        fn a_list_is_never_empty_and_holds_all_that_was_found(
            known in proptest::collection::vec(any::<[u8; 4]>().prop_map(IpAddr::from), 0..4),
            one in any_records(), other in any_records(),
        ) {
            let found: Vec<IpAddr> = [&one, &other]
                .into_iter()
                .flat_map(|records| match records { Records::Found(ips, _) => ips.clone(), _ => Vec::new() })
                .collect();
            match host(&known, vec![(true, one), (false, other)]) {
                Answer::Complete(Listing::Addresses(list), _) | Answer::Partial(Listing::Addresses(list), _) => {
                    prop_assert!(!list.is_empty() && list.is_sorted());
                    prop_assert!(found.iter().all(|ip| list.contains(ip)));
                    prop_assert!(list.iter().all(|ip| found.contains(ip) || known.contains(ip)));
                }
                _ => prop_assert!(found.is_empty()),
            }
        }
    }
}
