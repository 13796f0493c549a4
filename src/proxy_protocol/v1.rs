//! Version 1 of the PROXY header: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Found, Header, TEXT, alike, mark};

/// The longest line that there is, its end included: two addresses of IPv6 in full.
const LONGEST: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Found>, Error> {
    if mark(bytes, TEXT)?.is_none() {
        return Ok(None);
    }
    let seen = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() == LONGEST {
            Err(Error::Malformed)
        } else {
            Ok(None)
        };
    };
    let line = seen[TEXT.len()..end].strip_suffix(b"\r");
    let line = line.ok_or(Error::Malformed)?;
    Ok(Some(Found {
        length: end + 1,
        header: parse(line).ok_or(Error::Malformed)?,
    }))
}

/// What stands between `PROXY ` and the end of the line.
fn parse(line: &[u8]) -> Option<Header> {
    let line = std::str::from_utf8(line).ok()?;
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // What may follow is to be ignored.
        return Some(Header::Unknown);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, from, to] = words[..] else {
        return None;
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    Some(Header::Told {
        source: SocketAddr::new(address(source)?, port(from)?),
        destination: SocketAddr::new(address(destination)?, port(to)?),
    })
}

/// A port in decimal, without a sign and without leading zeros: what two readers could read as two numbers is none.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    if digits && !leads {
        text.parse().ok()
    } else {
        None
    }
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let text = match header {
        Header::Local | Header::Unknown => "PROXY UNKNOWN\r\n".to_owned(),
        Header::Told {
            source,
            destination,
        } => {
            let (source, destination) = alike(*source, *destination);
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.port(), destination.port());
            let (source, destination) = (source.ip(), destination.ip());
            format!("PROXY {family} {source} {destination} {from} {to}\r\n")
        }
    };
    text.into_bytes()
}
