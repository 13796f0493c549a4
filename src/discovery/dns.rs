//! Asking name servers, and the file of hosts.
//!
//! A resolver is made for each question: it then goes by `/etc/hosts` and `/etc/resolv.conf` as they are, keeps nothing
//! between two questions that some are minutes apart, and what it knows expires as we say, not as its cache does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;

use super::merge::{self, Record, Records};
use super::{Absence, Answer, Failure, Listing, Service, Source};
use crate::clock::{Clock, Instant};
use crate::config::{Discovery, Family};

/// Targets of one service. More are a mistake or an attack: each is asked for by itself.
const MAX_TARGETS: usize = 1024;

/// Asks for a name; `known` is the list of the last time.
pub async fn ask(
    source: &Source,
    known: Option<&Listing>,
    rules: &Discovery,
    clock: &Clock,
) -> Answer {
    let timeout = clock.real(rules.timeout);
    let deadline = clock.now() + rules.timeout;
    let servers = rules.servers.clone();
    let opened = tokio::task::spawn_blocking(move || open(&servers, timeout)).await;
    let Ok(opened) = opened else {
        return Answer::Failed(no_answer(
            &source.to_string(),
            "the process is about to end",
        ));
    };
    let (hosts, resolver) = opened;
    let asker = Asker {
        hosts: Arc::new(hosts),
        resolver,
        family: rules.family,
        clock: *clock,
        deadline,
    };
    match (source, known) {
        (Source::Host(name), Some(Listing::Addresses(known))) => asker.host(name, known).await,
        (Source::Host(name), _) => asker.host(name, &[]).await,
        (Source::Srv(name), Some(Listing::Services(known))) => asker.services(name, known).await,
        (Source::Srv(name), _) => asker.services(name, &[]).await,
        (Source::File(_), _) => Answer::Failed(no_answer("", "a file is not asked for by name")),
    }
}

/// What is needed for one question and those that follow from it.
#[derive(Clone)]
struct Asker {
    hosts: Arc<Hosts>,
    /// Or why there is nobody to ask.
    resolver: Result<TokioResolver, String>,
    family: Family,
    clock: Clock,
    deadline: Instant,
}

impl Asker {
    async fn host(&self, name: &str, known: &[IpAddr]) -> Answer {
        let (v4, v6) = match self.family {
            Family::Any => (true, true),
            Family::Ipv4 => (true, false),
            Family::Ipv6 => (false, true),
        };
        if let Some(addresses) = self.in_hosts(name, v4, v6) {
            return merge::host(known, vec![(true, Records::Found(addresses, None))]);
        }
        let (a, aaaa) = tokio::join!(
            self.addresses(name, RecordType::A, v4),
            self.addresses(name, RecordType::AAAA, v6),
        );
        let asked = [(true, a), (false, aaaa)].into_iter();
        let asked = asked.filter_map(|(is_ipv4, records)| Some((is_ipv4, records?)));
        merge::host(known, asked.collect())
    }

    /// The addresses in the file of hosts. As for the C library, a name that stands there is not asked for elsewhere.
    fn in_hosts(&self, name: &str, v4: bool, v6: bool) -> Option<Vec<IpAddr>> {
        let name = Name::from_str_relaxed(name).ok()?;
        let listed = |kind| {
            let found = self
                .hosts
                .lookup_static_host(&Query::query(name.clone(), kind));
            found.map(|found| addresses(&found)).unwrap_or_default()
        };
        let mut all = Vec::new();
        for (kind, is_wanted) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            if is_wanted {
                all.extend(listed(kind));
            }
        }
        (!all.is_empty()).then_some(all)
    }

    async fn addresses(
        &self,
        name: &str,
        kind: RecordType,
        is_wanted: bool,
    ) -> Option<Records<IpAddr>> {
        if !is_wanted {
            return None;
        }
        Some(match self.look_up(name, kind).await {
            Ok(found) => match addresses(&found) {
                none if none.is_empty() => Records::Nothing(Absence::NoAddress, ttl(&found)),
                all => Records::Found(all, ttl(&found)),
            },
            Err(error) => missing(error, Absence::NoAddress, &format!("{kind} {name}")),
        })
    }

    async fn services(&self, name: &str, known: &[Service]) -> Answer {
        let question = format!("SRV {name}");
        let (records, valid) = match self.look_up(name, RecordType::SRV).await {
            Ok(found) => (records(&found), ttl(&found)),
            Err(error) => {
                return match missing::<Record>(error, Absence::NoService, &question) {
                    Records::Nothing(absence, valid) => Answer::Empty(absence, valid),
                    Records::Failed(failure) => Answer::Failed(failure),
                    Records::Found(..) => Answer::Empty(Absence::NoService, None),
                };
            }
        };
        if records.is_empty() {
            return Answer::Empty(Absence::NoService, valid);
        }
        let mut hosts = BTreeMap::new();
        let mut asked = JoinSet::new();
        for target in records.iter().map(|record| &record.target) {
            if target.is_empty() || hosts.contains_key(target) {
                continue;
            }
            if hosts.len() == MAX_TARGETS {
                let reason = format!("more than {MAX_TARGETS} targets");
                return Answer::Failed(no_answer(&question, &reason));
            }
            // Until it has answered.
            let pending = no_answer(&question, "no answer");
            hosts.insert(target.clone(), Answer::Failed(pending));
            let (asker, target) = (self.clone(), target.clone());
            let known = merge::known_of(known, &target);
            asked.spawn(async move {
                // The target of a record is a whole name, which no search domain completes.
                let answer = asker.host(&format!("{target}."), &known).await;
                (target, answer)
            });
        }
        while let Some(answered) = asked.join_next().await {
            hosts.extend(answered);
        }
        merge::services(known, records, valid, &hosts)
    }

    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Lookup, Missing> {
        let resolver = self.resolver.as_ref();
        let resolver = resolver.map_err(|reason| Missing::Nobody(reason.clone()))?;
        let name = Name::from_str_relaxed(name);
        let name = name.map_err(|error| Missing::Nobody(error.to_string()))?;
        // Boxed: what looks up is large, and most of the time nobody does.
        let asking = Box::pin(resolver.lookup(name, kind));
        let left = self.clock.real(self.deadline.since(self.clock.now()));
        match tokio::time::timeout(left, asking).await {
            Ok(answered) => answered.map_err(Missing::Net),
            Err(_) => Err(Missing::Net(NetError::Timeout)),
        }
    }
}

/// Why a question has no records for an answer.
enum Missing {
    /// There is nobody who could be asked.
    Nobody(String),
    Net(NetError),
}

/// Reads the files of the system, unless there are servers to ask. Blocks.
fn open(servers: &[SocketAddr], timeout: Duration) -> (Hosts, Result<TokioResolver, String>) {
    let hosts = if servers.is_empty() {
        // Without the file nobody is in it.
        Hosts::from_system().unwrap_or_default()
    } else {
        Hosts::default()
    };
    (
        hosts,
        resolver(servers, timeout).map_err(|error| error.to_string()),
    )
}

fn resolver(servers: &[SocketAddr], timeout: Duration) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // What is known and for how long is for `last_good` to say, and the file of hosts is read above.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // So that there is time to ask once more.
    options.timeout = options.timeout.min(timeout / 2);
    builder.build()
}

/// What an error says of what was asked for. `none` is for a name that exists.
fn missing<T>(error: Missing, none: Absence, question: &str) -> Records<T> {
    let reason = match error {
        Missing::Nobody(reason) => reason,
        Missing::Net(NetError::Dns(DnsError::NoRecordsFound(found))) => {
            let absence = match found.response_code {
                ResponseCode::NXDomain => Some(Absence::NoName),
                ResponseCode::NoError => Some(none),
                _ => None,
            };
            match absence {
                Some(absence) => {
                    let valid = found.negative_ttl.map(u64::from).map(Duration::from_secs);
                    return Records::Nothing(absence, valid);
                }
                None => said(found.response_code),
            }
        }
        Missing::Net(NetError::Dns(DnsError::ResponseCode(code))) => said(code),
        Missing::Net(NetError::Timeout) => "no answer in time".to_owned(),
        Missing::Net(error) => error.to_string(),
    };
    Records::Failed(no_answer(question, &reason))
}

fn said(code: ResponseCode) -> String {
    format!("the name server says `{code}`")
}

fn no_answer(question: &str, reason: &str) -> Failure {
    Failure::NoAnswer {
        question: question.to_owned(),
        reason: reason.to_owned(),
    }
}

fn addresses(found: &Lookup) -> Vec<IpAddr> {
    let records = found.answers().iter();
    records
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .collect()
}

fn records(found: &Lookup) -> Vec<Record> {
    let records = found.answers().iter();
    records
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => {
                let target = srv.target.to_string();
                Some(Record {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    // A name server may spell it as it likes, and differently each time: it would be another endpoint.
                    target: target
                        .strip_suffix('.')
                        .unwrap_or(&target)
                        .to_ascii_lowercase(),
                })
            }
            _ => None,
        })
        .collect()
}

/// How long all of it is valid, aliases on the way included.
fn ttl(found: &Lookup) -> Option<Duration> {
    let records = found.answers().iter();
    let shortest = records.map(|record| record.ttl).min();
    shortest.map(u64::from).map(Duration::from_secs)
}
