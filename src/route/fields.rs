//! Edits of header fields, and the `Host` that an endpoint is shown, as plain compiled lists.

use super::error::{Fault, Faults};
use super::host::{HostPattern, without_port};
use super::matcher::each;
use crate::config;

/// Carried out in this order: remove, set, add. Names are in lower case; all has been validated, so that it can be
/// written as it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    pub remove: Box<[Box<[u8]>]>,
    /// Replaces all fields of that name.
    pub set: Box<[Edit]>,
    /// Stands beside what is there.
    pub add: Box<[Edit]>,
}

/// A field to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    pub name: Box<[u8]>,
    pub value: Box<[u8]>,
}

/// `Host` towards the endpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// The address of the endpoint as written.
    Endpoint,
    To(Box<[u8]>),
}

impl FieldEdits {
    /// `None` when a fault was noted; `key` is where the edits stand within the route.
    pub(super) fn compile(
        written: &config::FieldEdits,
        key: &str,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let edit = |(name, value): &(String, String)| {
            let name = editable(name)?;
            let value = field_value(value)?;
            Ok(Edit { name, value })
        };
        let remove = each(faults, &written.remove, &format!("{key}.remove"), |name| {
            editable(name)
        });
        let set = each(faults, &written.set, &format!("{key}.set"), edit);
        let add = each(faults, &written.add, &format!("{key}.add"), edit);
        Some(Self {
            remove: remove?,
            set: set?,
            add: add?,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl HostRewrite {
    pub(super) fn compile(written: &config::HostRewrite) -> Result<Self, Fault> {
        Ok(match written {
            config::HostRewrite::Endpoint => Self::Endpoint,
            config::HostRewrite::To(text) => Self::To(authority(text)?),
        })
    }
}

/// A host, with or without a port, in the spelling in which it was written.
pub(super) fn authority(text: &str) -> Result<Box<[u8]>, Fault> {
    let refuse = |reason| {
        let text = text.to_owned();
        Err(Fault::Host { text, reason })
    };
    let host = without_port(text.as_bytes());
    let (host, port) = text.split_at(host.len());
    if !matches!(HostPattern::compile(host)?, HostPattern::Exact(_)) {
        return refuse("it must be one host");
    }
    let digits = port
        .strip_prefix(':')
        .is_none_or(|port| port.parse::<u16>().is_ok());
    if !digits {
        return refuse("the port must be a number from 0 to 65535");
    }
    Ok(text.as_bytes().into())
}

/// Field names of HTTP are tokens (RFC 9110, 5.1), compared without case.
pub(super) fn field_name(text: &str) -> Result<Box<str>, Fault> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(Fault::FieldName(text.to_owned()));
    }
    Ok(text.to_ascii_lowercase().into())
}

fn editable(text: &str) -> Result<Box<[u8]>, Fault> {
    let name = field_name(text)?;
    let reason = match &*name {
        "content-length" | "transfer-encoding" | "trailer" | "te" => {
            "it frames the message, which the proxy does from the body that it sends"
        }
        "connection" | "keep-alive" | "proxy-connection" | "upgrade" | "http2-settings" => {
            "it belongs to one connection and is written anew for each"
        }
        "proxy-authenticate" | "proxy-authorization" => {
            "it is between a client and its next proxy, and is passed on to nobody"
        }
        "host" => "use the `host` of the route",
        "expect" => "the proxy answers it or passes it on as the body needs",
        _ => return Ok(name.into_boxed_bytes()),
    };
    Err(Fault::RefusedField {
        name: name.into(),
        reason,
    })
}

/// RFC 9110, 5.5: visible bytes, spaces and tabs within, none around.
pub(super) fn field_value(text: &str) -> Result<Box<[u8]>, Fault> {
    let value = text.trim_matches([' ', '\t']).as_bytes();
    match value
        .iter()
        .find(|&&byte| byte.is_ascii_control() && byte != b'\t')
    {
        Some(&byte) => Err(Fault::FieldValue(byte)),
        None => Ok(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(written: &config::FieldEdits) -> Result<FieldEdits, Vec<(String, Fault)>> {
        let mut found = Vec::new();
        let edits = FieldEdits::compile(written, "request", &mut Faults::of(0, &mut found));
        edits.ok_or_else(|| {
            found
                .into_iter()
                .map(|error| (error.place, error.fault))
                .collect()
        })
    }

    #[test]
    fn names_become_lower_case_and_values_lose_the_space_around_them() {
        let edits = compile(&config::FieldEdits {
            remove: vec!["X-Old".into()],
            set: vec![("X-New".into(), "  a\tb \u{e9} ".into())],
            add: Vec::new(),
        });
        let edits = edits.unwrap();
        assert_eq!(&*edits.remove[0], b"x-old");
        assert_eq!(&*edits.set[0].name, b"x-new");
        assert_eq!(&*edits.set[0].value, "a\tb \u{e9}".as_bytes());
        assert!(!edits.is_empty() && FieldEdits::default().is_empty());
    }

    #[test]
    fn what_frames_a_message_cannot_be_edited() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "HOST",
            "TE",
            "Upgrade",
            "Proxy-Authenticate",
            "proxy-authorization",
        ] {
            let set = compile(&config::FieldEdits {
                set: vec![(name.into(), "1".into())],
                ..Default::default()
            });
            let remove = compile(&config::FieldEdits {
                remove: vec![name.into()],
                ..Default::default()
            });
            for found in [set.unwrap_err(), remove.unwrap_err()] {
                assert!(matches!(found[0].1, Fault::RefusedField { .. }), "{name}");
            }
        }
    }

    #[test]
    fn no_edit_can_begin_another_line() {
        let edits = config::FieldEdits {
            remove: vec!["a:b".into(), String::new()],
            set: vec![("a".into(), "b\r\nc: d".into())],
            add: vec![("a b".into(), "c".into()), ("a".into(), "\0".into())],
        };
        let found = compile(&edits).unwrap_err();
        let expected = [
            ("remove", Fault::FieldName("a:b".into())),
            ("remove", Fault::FieldName(String::new())),
            ("set", Fault::FieldValue(b'\r')),
            ("add", Fault::FieldName("a b".into())),
            ("add", Fault::FieldValue(0)),
        ];
        let expected = expected.map(|(list, fault)| (format!("routes[0].request.{list}"), fault));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_host_to_show_may_have_a_port() {
        let to = |text: &str| HostRewrite::compile(&config::HostRewrite::To(text.into()));
        for text in ["a.example", "A.example:8080", "[::1]:80", "10.0.0.1"] {
            assert_eq!(to(text), Ok(HostRewrite::To(text.as_bytes().into())));
        }
        for text in [
            "", "a:", "a:x", "a:70000", "*.a", "*", "a b", "a\r\n", "u@a", "a/b",
        ] {
            assert!(matches!(to(text), Err(Fault::Host { .. })), "{text:?}");
        }
    }
}
