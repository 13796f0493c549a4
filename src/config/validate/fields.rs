//! Names of header fields that mean something of their own, so that nothing else can be told by them.

use crate::config::cursor::Reader;
use crate::config::diagnostic::{Mark, Problem};

/// What a field is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It frames a message or says where it goes: whoever writes the message writes it.
    Framing,
    /// It speaks of one message on its way, and is used up there.
    Way,
    /// Proxies tell by it where a request came from.
    Forwarding,
    /// A client shows by it who it is.
    Credentials,
    /// A client says by it what it sends and wants.
    Content,
}

const KNOWN: [(Meaning, &[&str]); 5] = [
    (
        Meaning::Framing,
        &[
            "connection",
            "content-length",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ],
    ),
    (
        Meaning::Way,
        &[
            "expect",
            "http2-settings",
            "max-forwards",
            "proxy-authenticate",
            "proxy-authorization",
        ],
    ),
    // Not the whole family: `X-Forwarded-User` is what many applications know a user by.
    (
        Meaning::Forwarding,
        &[
            "forwarded",
            "via",
            "x-forwarded",
            "x-forwarded-by",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-method",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-proto",
            "x-forwarded-scheme",
            "x-forwarded-server",
            "x-forwarded-ssl",
            "x-forwarded-uri",
            "x-real-ip",
        ],
    ),
    (Meaning::Credentials, &["authorization", "cookie"]),
    (
        Meaning::Content,
        &[
            "accept",
            "accept-encoding",
            "accept-language",
            "cache-control",
            "content-encoding",
            "content-type",
            "user-agent",
        ],
    ),
];

impl Meaning {
    /// Of a field, in any case, and with `_` for `-`, which many applications read as the same.
    pub(super) fn of(name: &str) -> Option<Self> {
        let plain = name.to_ascii_lowercase().replace('_', "-");
        let mut known = KNOWN.iter();
        known
            .find(|(_, names)| names.contains(&&*plain))
            .map(|(meaning, _)| *meaning)
    }

    /// Why it cannot be taken for something else.
    fn reason(self) -> &'static str {
        match self {
            Self::Framing => {
                "frames a request or says where it goes: without the client's own none would arrive"
            }
            Self::Way => {
                "speaks of one message on its way, and does not reach an endpoint as it is"
            }
            Self::Forwarding => "is where proxies tell where a request came from",
            Self::Credentials => "is where clients show who they are",
            Self::Content => "means something else to endpoints, and clients need it",
        }
    }
}

/// Refuses a field by which endpoints would be told something, if it means something of its own. `but`: what it may mean here.
pub(super) fn own(
    name: &str,
    but: &[Meaning],
    (mark, path, help): (Mark, String, &str),
    reader: &mut Reader<'_>,
) -> bool {
    let Some(meaning) = Meaning::of(name).filter(|meaning| !but.contains(meaning)) else {
        return true;
    };
    let message = format!("`{name}` {}", meaning.reason());
    let problem = Problem::error(mark, path, message);
    reader.problems.push(problem.help(help));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_one_meaning_however_it_is_spelt() {
        for (name, meaning) in [
            ("Host", Some(Meaning::Framing)),
            ("TRANSFER_encoding", Some(Meaning::Framing)),
            ("Proxy-Authorization", Some(Meaning::Way)),
            ("X_Real_IP", Some(Meaning::Forwarding)),
            ("Cookie", Some(Meaning::Credentials)),
            ("Accept", Some(Meaning::Content)),
            ("X-Forwarded-User", None),
            ("X-User", None),
        ] {
            assert_eq!(Meaning::of(name), meaning, "{name}");
        }
        let mut all: Vec<_> = KNOWN.iter().flat_map(|(_, names)| *names).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
