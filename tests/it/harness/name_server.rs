//! A name server that says what a test wants, over UDP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// How a name is answered for, whatever is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// SERVFAIL.
    Fails,
    /// REFUSED.
    Refuses,
    /// NXDOMAIN.
    NoName,
    /// No error and no records.
    Nothing,
    /// No answer at all.
    Silent,
}

/// An SRV record: priority, weight, port, target.
pub type Srv<'a> = (u16, u16, u16, &'a str);

/// A TTL, and the data of each record.
type Records = (u32, Vec<Vec<u8>>);

#[derive(Default)]
struct Zone {
    /// By name and type.
    records: HashMap<(String, u16), Records>,
    troubles: HashMap<String, Trouble>,
    asked: HashMap<String, u64>,
}

/// A running name server. A name that it was told nothing of is not there.
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let look = Duration::from_millis(20);
        socket.set_read_timeout(Some(look)).unwrap();
        let address = socket.local_addr().unwrap();
        let (zone, ended) = (Arc::<Mutex<Zone>>::default(), Arc::<AtomicBool>::default());
        let (known, told) = (Arc::clone(&zone), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !told.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let mut zone = known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = answer(&buffer[..length], &mut zone) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self {
            address,
            zone,
            ended,
            thread: Some(thread),
        }
    }

    /// As written in `servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many questions it was asked.
    pub fn questions(&self) -> u64 {
        self.zone().asked.values().sum()
    }

    /// How many of them were about this name.
    pub fn asked(&self, name: &str) -> u64 {
        self.zone().asked.get(name).copied().unwrap_or_default()
    }

    /// From now on the name has these addresses, valid for `ttl` seconds.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address.parse().unwrap() {
                IpAddr::V4(address) => v4.push(address.octets().to_vec()),
                IpAddr::V6(address) => v6.push(address.octets().to_vec()),
            }
        }
        let mut zone = self.zone();
        zone.records.insert((name.to_owned(), A), (ttl, v4));
        zone.records.insert((name.to_owned(), AAAA), (ttl, v6));
        zone.troubles.remove(name);
    }

    /// From now on the name has these SRV records.
    pub fn services(&self, name: &str, ttl: u32, services: &[Srv<'_>]) {
        let data = services.iter().map(|(priority, weight, port, target)| {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
            [numbers.concat(), encoded(target)].concat()
        });
        let mut zone = self.zone();
        let records = (ttl, data.collect());
        zone.records.insert((name.to_owned(), SRV), records);
        zone.troubles.remove(name);
    }

    /// From now on the name is answered for like this, until it gets records again.
    pub fn trouble(&self, name: &str, trouble: Trouble) {
        self.zone().troubles.insert(name.to_owned(), trouble);
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer to a query of one question (RFC 1035, 4); `None`: silence.
fn answer(query: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    while query[at] != 0 {
        let length = usize::from(query[at]);
        let label = &query[at + 1..at + 1 + length];
        labels.push(String::from_utf8(label.to_vec()).unwrap());
        at += 1 + length;
    }
    let (name, end) = (labels.join(".").to_ascii_lowercase(), at + 5);
    *zone.asked.entry(name.clone()).or_default() += 1;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let is_known = zone.records.keys().any(|(known, _)| *known == name);
    let records = zone.records.get(&(name.clone(), kind));
    let (code, records) = match zone.troubles.get(&name) {
        Some(Trouble::Silent) => return None,
        Some(Trouble::Fails) => (2, None),
        Some(Trouble::Refuses) => (5, None),
        Some(Trouble::NoName) => (3, None),
        Some(Trouble::Nothing) => (0, None),
        None => (if is_known { 0 } else { 3 }, records),
    };
    let (ttl, data) = records.map_or((0, &[][..]), |(ttl, data)| (*ttl, data));
    let mut out = query[..2].to_vec();
    // An authoritative answer, recursion desired and available.
    out.extend([0x85, 0x80 | code, 0, 1]);
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(&query[12..end]);
    for one in data {
        // The name of the question, by its place.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend(u16::try_from(one.len()).unwrap().to_be_bytes());
        out.extend(one);
    }
    Some(out)
}

fn encoded(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}
