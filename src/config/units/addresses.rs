//! How networks and addresses are written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::UnitError;
use crate::config::schema::{Address, Network};

impl FromStr for Network {
    type Err = UnitError;

    /// A bare address is the network that holds only it.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| UnitError::Network)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits)
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                return Err(UnitError::Network);
            }
            Some(digits) => digits.parse().map_err(|_| UnitError::Prefix(longest))?,
        };
        if prefix > longest {
            return Err(UnitError::Prefix(longest));
        }
        let network = Self {
            address: masked(address, prefix),
            prefix,
        };
        if network.address == address {
            Ok(network)
        } else {
            Err(UnitError::HostBits(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Whether `address` lies in this network. An IPv4 address written as IPv6 (RFC 4291, 2.5.5.2)
    /// counts as the IPv4 address: that is what a dual-stack socket reports.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = if self.address.is_ipv4() {
            address.to_canonical()
        } else {
            address
        };
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

/// The network of so many bits that an address lies in.
pub fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl Address {
    /// Whether only this host can reach it: loopback, or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = UnitError;

    /// The address of a listener: `0.0.0.0:8080`, `[::1]:80`, `unix:/run/plimsoll.sock`. Port 0
    /// lets the system choose one.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        Err(match text.rsplit_once(':') {
            _ if text.contains("://") => UnitError::Scheme,
            _ if text.parse::<IpAddr>().is_ok() && text.contains(':') => UnitError::Brackets,
            None => UnitError::NoPort,
            Some(("", _)) => UnitError::NoAddress,
            Some((_, port)) if port.parse::<u16>().is_err() => UnitError::Port(0),
            Some(_) => UnitError::Address,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The limit of `sun_path` in `sockaddr_un` on Linux, without the closing NUL.
const UNIX_PATH_MAX: usize = 107;

fn unix_path(path: &str) -> Result<PathBuf, UnitError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(UnitError::UnixPath);
    }
    if path.len() > UNIX_PATH_MAX {
        Err(UnitError::UnixPathLength)
    } else {
        Ok(path.into())
    }
}

/// What the address of an endpoint says: an IP address, a name to resolve, a service to look up, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Ip(SocketAddr),
    /// Without brackets and without a closing dot of its own meaning; resolved when it is used.
    Name {
        host: String,
        port: u16,
    },
    /// The name of SRV records, which say hosts and ports (RFC 2782).
    Srv(String),
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix("srv:") {
            return if is_host_name(name) && name.parse::<u16>().is_err() {
                Ok(Self::Srv(name.to_owned()))
            } else {
                Err(UnitError::Srv)
            };
        }
        if text.contains("://") {
            return Err(UnitError::Scheme);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(UnitError::Port(1))
            } else {
                Ok(Self::Ip(address))
            };
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(UnitError::Brackets);
        }
        let (host, port) = text.rsplit_once(':').ok_or(UnitError::NoPort)?;
        if host.is_empty() {
            return Err(UnitError::NoAddress);
        }
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|port| digits && *port > 0)
            .ok_or(UnitError::Port(1))?;
        // What looks like numbers and dots but is no IPv4 address is a slip, not a name.
        let numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if numeric || !is_host_name(host) {
            return Err(UnitError::HostName);
        }
        Ok(Self::Name {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Srv(name) => write!(f, "srv:{name}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Letters, digits, `-`, `_`, in labels of 1 to 63 separated by dots, 253 in all (RFC 1035, 2.3.4;
/// `_` is not in it, but containers are named so). A closing dot is allowed.
pub(crate) fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_mapped_addresses_of_dual_stack_sockets() {
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert!(network.contains("10.1.2.3".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.1.2.3".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
    }

    #[test]
    fn targets_are_addresses_names_and_sockets() {
        let name = Target::Name {
            host: "app_1.internal".to_owned(),
            port: 80,
        };
        assert_eq!("app_1.internal:80".parse(), Ok(name));
        assert_eq!(
            "[::1]:80".parse(),
            Ok(Target::Ip("[::1]:80".parse().unwrap()))
        );
        assert_eq!(
            "unix:/run/a.sock".parse(),
            Ok(Target::Unix("/run/a.sock".into()))
        );
        let service = Target::Srv("_http._tcp.api.internal".to_owned());
        assert_eq!("srv:_http._tcp.api.internal".parse(), Ok(service));
        let slips = [
            "app",
            "app:",
            "app:+80",
            ":80",
            "1.2.3:80",
            "::1:80",
            "unix:a",
            "a b:80",
            "-a:80",
            "http://a:80",
            "srv:",
            "srv:80",
            "srv: _http._tcp.a",
            "srv:_http._tcp.a:80",
        ];
        for text in slips {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
