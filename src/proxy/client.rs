//! Who the client is, as far as the proxies in front of this one are believed.

use std::net::IpAddr;

use crate::config::TrustedProxy;
use crate::http::fields::{Fields, Name};

/// The address of the client of a request with these fields; `None` on a Unix socket, unless a trusted proxy speaks there
/// and tells.
pub fn address(trusted: &[TrustedProxy], peer: Option<IpAddr>, fields: &Fields) -> Option<IpAddr> {
    if trusted.is_empty() || !is_trusted(trusted, peer) {
        return peer;
    }
    let lines: Vec<&[u8]> = fields.all(Name::XForwardedFor).collect();
    believed(trusted, peer, &lines)
}

/// Whether a peer is one of the proxies that are believed.
pub fn is_trusted(trusted: &[TrustedProxy], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|proxy| proxy.is(peer))
}

/// The last address of `X-Forwarded-For` that no trusted proxy has: what stands before it anybody can have written. The
/// first one where all are trusted; the peer where there is none that can be read.
fn believed(trusted: &[TrustedProxy], peer: Option<IpAddr>, lines: &[&[u8]]) -> Option<IpAddr> {
    let mut client = peer;
    let words = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    for word in words {
        let word = word.trim_ascii();
        if word.is_empty() {
            continue;
        }
        let Some(address) = parse(word) else {
            break;
        };
        client = Some(address);
        if !is_trusted(trusted, client) {
            break;
        }
    }
    client
}

/// An address with or without a port; one of IPv6 with a port stands in brackets.
fn parse(word: &[u8]) -> Option<IpAddr> {
    let word = std::str::from_utf8(word).ok()?;
    if let Some(rest) = word.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    let bare = || {
        word.rsplit_once(':')
            .and_then(|(address, _)| address.parse().ok())
    };
    word.parse()
        .ok()
        .or_else(bare)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8"].map(|network| TrustedProxy::Network(network.parse().unwrap()));
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let peer = Some("10.0.0.1".parse().unwrap());
        believed(&trusted, peer, &lines).unwrap().to_string()
    }

    #[test]
    fn is_the_last_address_that_no_trusted_proxy_has() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client(&["6.6.6.6", "1.2.3.4, 10.9.9.9"]), "1.2.3.4");
        assert_eq!(client(&["10.1.1.1, 10.2.2.2"]), "10.1.1.1");
        assert_eq!(client(&["1.2.3.4:99, [::ffff:10.0.0.7]:80,"]), "1.2.3.4");
        assert_eq!(client(&["1.2.3.4, unknown, 10.0.0.7"]), "10.0.0.7");
        assert_eq!(client(&["2001:db8::1"]), "2001:db8::1");
    }
}
