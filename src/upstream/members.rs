//! The endpoints that an upstream's entries stand for, by what is known of names and files now (pure but for reading the
//! feeds).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::connect::{Address, Target};
use crate::config::{self, units};
use crate::discovery::supply::{Entries, source_of};
use crate::discovery::{Feed, Listing, Service, Supply};

/// One endpoint to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub id: String,
    /// What `host: endpoint` puts into `Host`.
    pub authority: String,
    pub target: Target,
    /// Its entry, with the weight and the priority that are its own.
    pub written: config::Endpoint,
}

/// A feed, and which of its lists was used.
#[derive(Debug, Clone)]
pub struct Used {
    pub feed: Arc<Feed>,
    pub revision: u64,
}

impl Used {
    /// Whether the feed has another list since.
    pub fn is_outdated(&self) -> bool {
        self.feed.current().0 != self.revision
    }
}

/// The endpoints of an upstream now, and what they were made of. Of those with one id the first counts.
pub fn gather(
    upstream: &str,
    written: &config::Upstream,
    supply: &Supply,
) -> Result<(Vec<Member>, Vec<Used>), (String, units::UnitError)> {
    let Entries { all, file } = supply.entries(upstream, written);
    let mut used: Vec<Used> = Vec::new();
    used.extend(file.map(|(feed, revision)| Used { feed, revision }));
    let mut members = Vec::new();
    for entry in &all {
        let list = source_of(entry).and_then(|source| {
            let feed = supply.feed(upstream, source);
            let (revision, list) = feed.current();
            // Two entries may have one name at two ports.
            if !used.iter().any(|known| Arc::ptr_eq(&known.feed, &feed)) {
                used.push(Used { feed, revision });
            }
            list
        });
        let made = expand(entry, list.as_deref());
        members.extend(made.map_err(|error| (entry.address.clone(), error))?);
    }
    let mut seen = HashSet::new();
    members.retain(|member: &Member| seen.insert(member.id.clone()));
    Ok((members, used))
}

/// What one entry stands for; `list` is what is known of its name.
fn expand(
    entry: &config::Endpoint,
    list: Option<&Listing>,
) -> Result<Vec<Member>, units::UnitError> {
    let member = |id: String, authority: String, address, host: Option<&str>| Member {
        id,
        authority,
        target: Target {
            address,
            host: host.and_then(|host| super::client_tls::server_name(host).ok()),
        },
        written: entry.clone(),
    };
    let (id, address) = (entry.identity(), &entry.address);
    let one = |target: Address, host: Option<&str>| {
        vec![member(id.to_owned(), address.clone(), target, host)]
    };
    Ok(match (entry.target()?, list) {
        (units::Target::Unix(path), _) => one(Address::Unix(path), None),
        (units::Target::Ip(address), _) => {
            one(Address::Tcp(address), Some(&address.ip().to_string()))
        }
        // A host name stands for each of its addresses, each with its own identity and the whole weight.
        (units::Target::Name { host, port }, Some(Listing::Addresses(all))) => all
            .iter()
            .map(|ip| {
                let target = Address::Tcp(SocketAddr::new(*ip, port));
                member(format!("{id}/{ip}"), address.clone(), target, Some(&host))
            })
            .collect(),
        (units::Target::Srv(_), Some(Listing::Services(all))) => {
            of_services(entry, all, |id, authority, target, host| {
                member(id, authority, target, Some(host))
            })
        }
        (units::Target::Name { .. } | units::Target::Srv(_), _) => Vec::new(),
    })
}

/// What SRV records stand for: `id/target:port`; where a target has several addresses, `id/target:port/ip` for each.
fn of_services(
    entry: &config::Endpoint,
    services: &[Service],
    member: impl Fn(String, String, Address, &str) -> Member,
) -> Vec<Member> {
    let mut priorities: Vec<u16> = services.iter().map(|service| service.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let heaviest = services.iter().map(|service| service.weight).max();
    let mut members = Vec::new();
    for service in services {
        let place = format!("{}:{}", service.target, service.port);
        let id = format!("{}/{place}", entry.identity());
        let tier = priorities.partition_point(|priority| *priority < service.priority);
        for ip in &service.addresses {
            let id = match service.addresses[..] {
                [_] => id.clone(),
                _ => format!("{id}/{ip}"),
            };
            let address = Address::Tcp(SocketAddr::new(*ip, service.port));
            let mut member = member(id, place.clone(), address, &service.target);
            member.written.priority = priority(entry.priority, tier);
            member.written.weight =
                weight(entry.weight, service.weight, heaviest.unwrap_or_default());
            members.push(member);
        }
    }
    members
}

/// The highest number of a priority, and the highest weight, that an endpoint may have.
const LAST_PRIORITY: usize = 15;
const HEAVIEST: u64 = 1000;

/// Records of the lowest priority are in the tier of their entry, those of the next in the next; all beyond the last share it.
fn priority(entry: u8, tier: usize) -> u8 {
    let place = usize::from(entry).saturating_add(tier).min(LAST_PRIORITY);
    u8::try_from(place).unwrap_or(entry)
}

/// The weight of a record times that of its entry, in proportion where the heaviest record would be too heavy. Weight 0 among
/// others is to have a very small chance (RFC 2782): it counts as 1, the least there is.
fn weight(entry: u32, record: u16, heaviest: u16) -> u32 {
    if entry == 0 {
        return 0;
    }
    let times = |weight: u16| u64::from(weight.max(1)) * u64::from(entry);
    let most = times(heaviest).max(HEAVIEST);
    let scaled = (times(record) * HEAVIEST / most).max(1);
    u32::try_from(scaled).unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(ips: &[&str]) -> Listing {
        Listing::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn ids(members: &[Member]) -> Vec<&str> {
        members.iter().map(|member| &*member.id).collect()
    }

    fn host(member: &Member) -> Option<String> {
        let host = member.target.host.as_ref();
        host.map(|host| host.to_str().into_owned())
    }

    #[test]
    fn a_name_has_a_child_for_each_of_its_addresses() {
        let entry = config::Endpoint {
            weight: 3,
            ..config::Endpoint::new("app.internal:80")
        };
        let list = addresses(&["10.0.0.1", "fd00::1"]);
        let members = expand(&entry, Some(&list)).unwrap();
        let expected = ["app.internal:80/10.0.0.1", "app.internal:80/fd00::1"];
        assert_eq!(ids(&members), expected);
        let target = &members[1].target;
        assert_eq!(
            target.address,
            Address::Tcp("[fd00::1]:80".parse().unwrap())
        );
        assert_eq!(host(&members[1]).as_deref(), Some("app.internal"));
        assert_eq!(members[1].authority, "app.internal:80");
        assert_eq!(members[1].written.weight, 3);
        assert_eq!(expand(&entry, None).unwrap(), []);
    }

    #[test]
    fn what_is_no_name_stands_for_itself_and_its_host_is_the_name_of_its_certificate() {
        let one = |address: &str| expand(&config::Endpoint::new(address), None).unwrap();
        let named = [
            ("127.0.0.1:443", Some("127.0.0.1")),
            ("[::1]:443", Some("::1")),
            ("unix:/run/a.sock", None),
        ];
        for (address, name) in named {
            let members = one(address);
            assert_eq!(ids(&members), [address]);
            assert_eq!(host(&members[0]).as_deref(), name);
        }
        assert!(expand(&config::Endpoint::new("127.0.0.1"), None).is_err());
    }

    fn service(priority: u16, weight: u16, target: &str, ips: &[&str]) -> Service {
        Service {
            priority,
            target: target.to_owned(),
            port: 8080,
            weight,
            addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn services_have_the_priority_and_weight_of_their_records() {
        let entry = config::Endpoint {
            weight: 2,
            priority: 1,
            id: Some("api".to_owned()),
            ..config::Endpoint::new("srv:_http._tcp.api")
        };
        let list = Listing::Services(vec![
            service(10, 0, "a", &["10.0.0.1"]),
            service(10, 60, "b", &["10.0.0.2", "10.0.0.3"]),
            service(500, 1, "c", &["10.0.0.4"]),
        ]);
        let members = expand(&entry, Some(&list)).unwrap();
        let expected = [
            "api/a:8080",
            "api/b:8080/10.0.0.2",
            "api/b:8080/10.0.0.3",
            "api/c:8080",
        ];
        assert_eq!(ids(&members), expected);
        let own = |member: &Member| (member.written.priority, member.written.weight);
        let own: Vec<_> = members.iter().map(own).collect();
        assert_eq!(own, [(1, 2), (1, 120), (1, 120), (2, 2)]);
        assert_eq!(members[3].authority, "c:8080");
        assert_eq!(host(&members[3]).as_deref(), Some("c"));
    }

    proptest! {
        #[test]
        fn weights_of_records_stay_in_order_and_within_what_an_endpoint_may_have(
            entry in 1_u32..=1000, one in any::<u16>(), other in any::<u16>(),
        ) {
            let heaviest = one.max(other);
            let weights = [one, other].map(|record| weight(entry, record, heaviest));
            prop_assert!(weights.iter().all(|weight| (1..=1000).contains(weight)));
            prop_assert!((one <= other) == (weights[0] <= weights[1]) || weights[0] == weights[1]);
        }

        #[test]
        fn tiers_are_never_beyond_the_last(entry in 0_u8..=15, tier in 0_usize..100) {
            prop_assert!((entry..=15).contains(&priority(entry, tier)));
        }
    }
}
