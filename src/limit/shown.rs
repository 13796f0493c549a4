//! Who is counted, for people: what is secret only as a number that tells one from another.

use std::net::IpAddr;

use super::key::{Client, ask};
use crate::config::KeyPart;
use crate::config::units::masked;

/// Bytes of a value that are shown: a path may have thousands.
const SHOWN: usize = 64;

/// The parts of a request. `number` hashes what must not be shown.
pub(super) fn text(
    parts: &[KeyPart],
    asked: &impl Client,
    number: impl Fn(&[u8]) -> u128,
) -> String {
    let each = parts.iter().map(|part| match part {
        KeyPart::Constant => "everybody".to_owned(),
        KeyPart::ClientIp { v4, v6 } => match asked.client_ip() {
            Some(client) => format!("client_ip {}", network(client.to_canonical(), *v4, *v6)),
            None => "no client_ip".to_owned(),
        },
        _ => {
            let (name, is_secret) = called(part);
            let mut value = None;
            ask(part, asked, &mut |bytes| {
                value = Some(match is_secret {
                    true => format!("#{:08x}", number(bytes) as u32),
                    false => brief(bytes),
                });
            });
            value.map_or_else(|| format!("no {name}"), |value| format!("{name} {value}"))
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

/// How a part is called, and whether its values could be used in the name of others.
fn called(part: &KeyPart) -> (String, bool) {
    match part {
        KeyPart::ClientIp { .. } => ("client_ip".to_owned(), false),
        KeyPart::Host => ("host".to_owned(), false),
        KeyPart::Path => ("path".to_owned(), false),
        KeyPart::Constant => ("constant".to_owned(), false),
        KeyPart::Identity => ("identity".to_owned(), false),
        KeyPart::Header(name) => (format!("header {name}"), carries_secrets(name)),
        KeyPart::ApiKey(name) => (format!("api_key {name}"), true),
        KeyPart::Cookie(name) => (format!("cookie {name}"), true),
        KeyPart::Query(name) => (format!("query {name}"), true),
    }
}

/// Whether a field by this name may carry what proves who somebody is.
fn carries_secrets(name: &str) -> bool {
    const WORDS: [&str; 8] = [
        "auth",
        "cookie",
        "key",
        "token",
        "secret",
        "session",
        "password",
        "signature",
    ];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// The address, or its network where only so many bits count.
fn network(client: IpAddr, v4: u8, v6: u8) -> String {
    let (bits, all) = match client {
        IpAddr::V4(_) => (v4, 32),
        IpAddr::V6(_) => (v6, 128),
    };
    let network = masked(client, bits);
    if bits >= all {
        network.to_string()
    } else {
        format!("{network}/{bits}")
    }
}

/// The beginning, without what could be mistaken for something else in a log.
fn brief(value: &[u8]) -> String {
    let shown = &value[..value.len().min(SHOWN)];
    let more = if shown.len() < value.len() { "..." } else { "" };
    format!("`{}{more}`", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Whose;

    /// A client with one value for all that is asked.
    struct Asked(Option<&'static str>, &'static str);

    impl Client for Asked {
        fn whose(&self) -> Whose<'_> {
            Whose::Route("r")
        }
        fn client_ip(&self) -> Option<IpAddr> {
            Some(self.0?.parse().unwrap())
        }
        fn identity(&self) -> Option<&[u8]> {
            (!self.1.is_empty()).then_some(self.1.as_bytes())
        }
        fn host(&self, with: &mut dyn FnMut(&[u8])) {
            with(self.1.as_bytes());
        }
        fn path(&self, with: &mut dyn FnMut(&[u8])) {
            with(self.1.as_bytes());
        }
        fn header(&self, _: &str, with: &mut dyn FnMut(&[u8])) {
            if !self.1.is_empty() {
                with(self.1.as_bytes());
            }
        }
        fn cookie(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
            self.header(name, with);
        }
        fn query(&self, name: &str, with: &mut dyn FnMut(&[u8])) {
            self.header(name, with);
        }
    }

    fn shown(parts: &[KeyPart], asked: &Asked) -> String {
        text(parts, asked, |value| 0xabc0_0000_0000 + value.len() as u128)
    }

    #[test]
    fn what_is_secret_is_a_number_and_the_rest_is_in_brief() {
        let asked = Asked(Some("192.0.2.77"), "a\nb");
        let name = || "X-Tenant".to_owned();
        let ip = |v4, v6| KeyPart::ClientIp { v4, v6 };
        for (part, expected) in [
            (ip(32, 64), "client_ip 192.0.2.77"),
            (ip(24, 64), "client_ip 192.0.2.0/24"),
            (KeyPart::Constant, "everybody"),
            (KeyPart::Identity, "identity `a\\nb`"),
            (KeyPart::Path, "path `a\\nb`"),
            (KeyPart::Header(name()), "header X-Tenant `a\\nb`"),
            (
                KeyPart::Header("X-Api-Key".to_owned()),
                "header X-Api-Key #00000003",
            ),
            (KeyPart::ApiKey(name()), "api_key X-Tenant #00000003"),
            (KeyPart::Cookie(name()), "cookie X-Tenant #00000003"),
            (KeyPart::Query(name()), "query X-Tenant #00000003"),
        ] {
            assert_eq!(shown(&[part], &asked), expected);
        }
        let bare = Asked(None, "");
        let parts = [ip(32, 64), KeyPart::Header(name())];
        assert_eq!(shown(&parts, &bare), "no client_ip, no header X-Tenant");
        let six = Asked(Some("2001:db8::1:2"), "");
        assert_eq!(shown(&[ip(32, 64)], &six), "client_ip 2001:db8::/64");
        assert_eq!(shown(&[ip(32, 128)], &six), "client_ip 2001:db8::1:2");
        let long = Asked(
            None,
            concat!(
                "0123456789012345678901234567890123456789012345678901234567890123",
                "4"
            ),
        );
        assert!(shown(&[KeyPart::Path], &long).ends_with("0123...`"));
    }
}
