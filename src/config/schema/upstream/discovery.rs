//! Keys of how endpoints are found that come and go.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::{DAY, millis, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::setting::{Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::Node;

block! {
    /// How host names, SRV records and files of endpoints are followed.
    pub struct Discovery {
        /// The name servers to ask, each an IP address with or without a port. None given: those of
        /// `/etc/resolv.conf` with its search domains, after the names in `/etc/hosts`. Both files are
        /// read each time, so that a change of them counts. With servers given neither is read.
        pub servers: Vec<SocketAddr> as Vec<NameServer> = Vec::new();
        /// Which addresses of a host name count: `any`, `ipv4` or `ipv6`. All by default; one family where
        /// the network carries no other.
        pub family: Family = Family::Any;
        /// A name is asked for again when its answer has expired (its TTL), though not sooner than this.
        /// Guards the name servers against answers that expire at once. As often as Envoy asks.
        pub refresh_min: Duration = seconds(5), in millis(100)..=DAY;
        /// And not later than this. Guards against answers that are valid for days, after which nobody
        /// could be moved. Must not be less than `refresh_min`.
        pub refresh_max: Duration = seconds(300), in millis(100)..=DAY;
        /// How long one answer may take, all servers and repetitions included. After a failure a name is
        /// asked for again after `refresh_min`, then twice that, up to 30 s or `refresh_max`. As the 5 s
        /// of the C library, with room for one repetition.
        pub timeout: Duration = seconds(5), in millis(10)..=seconds(60);
        /// How often `endpoints_file` is looked at although nothing told of a change. Its folder is
        /// watched, so that this only counts where watching does not see changes: network file systems,
        /// a single file mounted into a container, no watches left.
        pub poll: Duration = seconds(10), in millis(100)..=DAY;
        /// Whether an answer that says that there is nothing (no such name, no records, an empty file)
        /// takes every endpoint away. Off, because it is more often a mistake on the other side than
        /// meant, and the last endpoints may well still serve. On where an upstream is scaled to none.
        pub allow_empty: bool = false;
    }
}

choice! {
    /// Which addresses of a host name count.
    pub enum Family, "a family of addresses" {
        /// Those of both families.
        Any = "any",
        /// A records only.
        Ipv4 = "ipv4",
        /// AAAA records only.
        Ipv6 = "ipv6",
    }
}

/// An IP address, with port 53 unless another is written.
pub(crate) struct NameServer;

const DNS_PORT: u16 = 53;

impl Setting<SocketAddr> for NameServer {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<SocketAddr> {
        let wanted = "the IP address of a name server such as `10.0.0.2` or `10.0.0.2:5353`";
        reader.parse(node, wanted, |text| {
            let bare = text.parse::<IpAddr>();
            let bare = bare.map(|ip| SocketAddr::new(ip, DNS_PORT));
            let address = bare.or_else(|_| text.parse::<SocketAddr>());
            address
                .ok()
                .filter(|address| address.port() != 0)
                .ok_or("a name server is known by its address: nobody could resolve its name")
        })
    }
    fn write(value: &SocketAddr) -> Yaml {
        Yaml::Text(match value.port() {
            DNS_PORT => value.ip().to_string(),
            _ => value.to_string(),
        })
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 2 })
    }
}

written_as_map!(Discovery);
with_default!(Discovery);
