//! The kinds of values that keys share: addresses, names, fields of HTTP, references. Quantities
//! stand in `quantities`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::cursor::Reader;
use super::emit::Yaml;
use super::schema::{Address, TrustedProxy};
use super::setting::{Book, Setting};
use super::tree::{Node, Value};
use super::units::{self, Target};

impl Setting for Address {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader.parse(
            node,
            "an address such as `0.0.0.0:8080`",
            str::parse::<Self>,
        )
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.to_string())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

impl Setting for TrustedProxy {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "a network such as `10.0.0.0/8`, or `unix`")?;
        if text.value == "unix" {
            return Some(Self::Unix);
        }
        match text.value.parse() {
            Ok(network) => Some(Self::Network(network)),
            // This one error computes a network from the text; of a variable it would tell.
            Err(units::UnitError::HostBits(_)) if text.is_expanded() => {
                reader.error(node, format!("{text} has bits set after its prefix length"));
                None
            }
            Err(error) => {
                let message =
                    format!("expected a network such as `10.0.0.0/8`, or `unix`, found {text}");
                reader.error_with_help(node, message, error.to_string());
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(match value {
            Self::Network(network) => network.to_string(),
            Self::Unix => "unix".to_owned(),
        })
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 2 })
    }
}

/// Declares kinds of text that a function checks. The message of the check must not repeat the
/// text, which may have come from a variable.
macro_rules! checked_text {
    ($($(#[doc = $doc:literal])* $name:ident, $wanted:literal, $check:expr;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) struct $name;

        impl Setting<String> for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
                let check: fn(&str) -> Result<(), String> = $check;
                reader.parse(node, $wanted, |text| check(text).map(|()| text.to_owned()))
            }
            fn write(value: &String) -> Yaml {
                Yaml::Text(value.clone())
            }
            fn shape(_: &mut Book) -> Json {
                json!({ "type": "string", "minLength": 1 })
            }
        }
    )*};
}

checked_text! {
    /// The address of an endpoint.
    EndpointAddress, "the address of an endpoint such as `127.0.0.1:9001`", |text| {
        text.parse::<Target>().map(drop).map_err(|error| error.to_string())
    };
    /// A host to match: a name, an IP address, or `*.` and a name.
    HostPattern, "a host such as `api.example.com` or `*.example.com`", check_host_pattern;
    /// A host with or without a port.
    HostAndPort, "a host with or without a port", check_host_and_port;
    /// A host name or an IP address: what a certificate carries.
    ServerName, "a host name or an IP address", |text| {
        let valid = units::is_host_name(text) || text.parse::<std::net::IpAddr>().is_ok();
        if valid { Ok(()) } else { Err("leave the port and the scheme out".to_owned()) }
    };
    /// `http` or `https`.
    Scheme, "`http` or `https`", |text| {
        if matches!(text, "http" | "https") { Ok(()) } else { Err("write it in lower case, without `://`".to_owned()) }
    };
    /// A method (RFC 9110, 9.1).
    Method, "a method such as `GET`", |text| {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            Err("a method is letters, digits and `-`".to_owned())
        } else if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            Err("methods are case-sensitive (RFC 9110, 9.1); write it in capitals".to_owned())
        } else {
            Ok(())
        }
    };
    /// The name of a header field (RFC 9110, 5.1).
    FieldName, "the name of a header field", check_field_name;
    /// The value of a header field (RFC 9110, 5.5).
    FieldValue, "the value of a header field", |text| {
        let control = text.bytes().any(|byte| byte < 0x20 && byte != b'\t' || byte == 0x7f);
        if control { Err("line breaks and control characters have no place in it".to_owned()) } else { Ok(()) }
    };
    /// The name of a cookie (RFC 6265, 4.1.1).
    CookieName, "the name of a cookie", |text| {
        let valid = !text.is_empty() && text.bytes().all(is_token_byte);
        if valid { Ok(()) } else { Err("the name of a cookie has letters, digits, `-` and `_`".to_owned()) }
    };
    /// The path of a cookie (RFC 6265, 4.1.1).
    CookiePath, "a path such as `/`", |text| {
        check_path(text)?;
        if text.contains(';') { Err("a `;` would end the path of the cookie".to_owned()) } else { Ok(()) }
    };
    /// A path from the root, without a query.
    PathText, "a path such as `/v1/`", |text| {
        check_path(text)?;
        if text.contains('?') { Err("leave the query out".to_owned()) } else { Ok(()) }
    };
    /// A path from the root, with or without a query.
    PathAndQuery, "a path such as `/new?from=old`", check_path;
    /// The pseudonym of this proxy (RFC 9110, 7.6.3).
    Pseudonym, "a name such as `edge-1`", |text| {
        let valid = !text.is_empty() && text.bytes().all(|byte| is_token_byte(byte) || matches!(byte, b':' | b'[' | b']'));
        if valid { Ok(()) } else { Err("a pseudonym is a host name or a word without blanks".to_owned()) }
    };
    /// What a password is asked for (RFC 9110, 11.5).
    Realm, "a text that browsers show", |text| {
        let valid = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        if valid { Ok(()) } else { Err("write it in ASCII, without quotes and backslashes".to_owned()) }
    };
    /// Any text but an empty one.
    Filled, "a text", |text| {
        if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
    };
    /// The name of a listener, an upstream or a route.
    Name, "a name", check_name;
}

/// A regular expression that compiles.
pub(crate) struct Pattern;

/// Compiled size of one expression. A pattern that needs more is a mistake or an attack on memory.
const PATTERN_BYTES: usize = 1 << 20;

impl Setting<String> for Pattern {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
        let text = reader.text(node, "a regular expression")?;
        let Err(error) = regex::RegexBuilder::new(&text.value)
            .size_limit(PATTERN_BYTES)
            .build()
        else {
            return Some(text.value.into_owned());
        };
        let reason = match error {
            regex::Error::CompiledTooBig(_) => {
                "it compiles to more than 1 MiB; shorten its repetitions".to_owned()
            }
            // The crate draws the pattern with a caret; only the last line says what is wrong.
            error if !text.is_expanded() => {
                let text = error.to_string();
                text.lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned()
            }
            _ => "the value of the variable does not compile".to_owned(),
        };
        reader.error_with_help(
            node,
            format!("the regular expression {text} is not valid"),
            reason,
        );
        None
    }
    fn write(value: &String) -> Yaml {
        Yaml::Text(value.clone())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "format": "regex" })
    }
}

/// Declares references to what is defined elsewhere in the file.
macro_rules! reference {
    ($($(#[doc = $doc:literal])* $name:ident, $what:literal, $names:ident;)*) => {$(
        $(#[doc = $doc])*
        pub(crate) struct $name;

        impl Setting<String> for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
                let text = reader.text(node, $what)?;
                if reader.names.$names.contains(&*text.value) {
                    return Some(text.value.into_owned());
                }
                let names = std::mem::take(&mut reader.names.$names);
                reader.unknown_name(node, &text, $what, names.iter().map(String::as_str));
                reader.names.$names = names;
                None
            }
            fn write(value: &String) -> Yaml {
                Yaml::Text(value.clone())
            }
            fn shape(_: &mut Book) -> Json {
                json!({ "type": "string", "minLength": 1 })
            }
        }
    )*};
}

reference! {
    /// One of `listeners`.
    ListenerName, "the name of a listener", listeners;
    /// One of `upstreams`.
    UpstreamName, "the name of an upstream", upstreams;
    /// One of the limits of all kinds.
    LimiterName, "the name of a limit", limiters;
}

/// One value, or a list of them.
pub(crate) struct Few<K>(std::marker::PhantomData<K>);

impl<T, K: Setting<T>> Setting<Vec<T>> for Few<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<T>> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                let help = "leave the key out to mean any";
                reader.error_with_help(node, "the list is empty, which nothing would match", help);
                None
            }
            Value::List(_) => reader.list(node, K::read),
            _ => K::read(node, reader).map(|value| vec![value]),
        }
    }
    fn write(value: &Vec<T>) -> Yaml {
        match value.as_slice() {
            [one] => K::write(one),
            many => Yaml::List(many.iter().map(K::write).collect()),
        }
    }
    fn shape(book: &mut Book) -> Json {
        let one = K::shape(book);
        json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
    }
}

/// A list that is not empty.
pub(crate) struct AtLeastOne<K>(std::marker::PhantomData<K>);

impl<T, K: Setting<T>> Setting<Vec<T>> for AtLeastOne<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<T>> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            reader.error(node, "the list is empty; at least one is needed");
        }
        reader.list(node, K::read)
    }
    fn write(value: &Vec<T>) -> Yaml {
        Yaml::List(value.iter().map(K::write).collect())
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "type": "array", "minItems": 1, "items": K::shape(book) })
    }
}

/// A map from names to blocks.
impl<T: Setting> Setting for BTreeMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        Some(reader.map(node, check_name, T::read)?.into_iter().collect())
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Map(
            value
                .iter()
                .map(|(name, value)| (name.clone(), T::write(value)))
                .collect(),
        )
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "type": "object", "additionalProperties": T::shape(book) })
    }
}

/// A map from the names of header fields to values, in the order of the file.
pub(crate) struct Fields<K>(std::marker::PhantomData<K>);

impl<T, K: Setting<T>> Setting<Vec<(String, T)>> for Fields<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<(String, T)>> {
        reader.map(node, check_field_name, K::read)
    }
    fn write(value: &Vec<(String, T)>) -> Yaml {
        Yaml::Map(
            value
                .iter()
                .map(|(name, value)| (name.clone(), K::write(value)))
                .collect(),
        )
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "type": "object", "additionalProperties": K::shape(book) })
    }
}

/// A map with free keys, in the order of the file.
pub(crate) struct Pairs<K>(std::marker::PhantomData<K>);

impl<T, K: Setting<T>> Setting<Vec<(String, T)>> for Pairs<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<(String, T)>> {
        reader.map(node, |_| Ok(()), K::read)
    }
    fn write(value: &Vec<(String, T)>) -> Yaml {
        Yaml::Map(
            value
                .iter()
                .map(|(name, value)| (name.clone(), K::write(value)))
                .collect(),
        )
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "type": "object", "additionalProperties": K::shape(book) })
    }
}

/// Names become labels of metrics and parts of paths in the admin API, so they stay plain.
fn check_name(text: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() {
        Err("the name is empty".to_owned())
    } else if text.len() > 128 {
        Err("a name has at most 128 characters".to_owned())
    } else if text.chars().all(valid) {
        Ok(())
    } else {
        Err("a name has letters, digits, `_`, `-` and `.`".to_owned())
    }
}

/// `tchar` of RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_field_name(text: &str) -> Result<(), String> {
    if !text.is_empty() && text.bytes().all(is_token_byte) {
        Ok(())
    } else {
        Err("the name of a header field has letters, digits and `-`".to_owned())
    }
}

fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("a path begins with `/`".to_owned());
    }
    if text.contains('#') {
        return Err("a fragment never reaches a server; leave it out".to_owned());
    }
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if printable {
        Ok(())
    } else {
        Err("write blanks and other characters percent-encoded, such as `%20`".to_owned())
    }
}

fn check_host_pattern(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.parse::<std::net::Ipv4Addr>().is_ok() || is_bracketed(name) || units::is_host_name(name)
    {
        return Ok(());
    }
    Err(if text.contains("://") || text.contains('/') {
        "a host has no scheme and no path; match the path with `path`".to_owned()
    } else if text.contains('*') {
        "`*` stands alone before the first dot: `*.example.com`".to_owned()
    } else if text.contains(':') {
        "leave the port out; match the listener with `listener`".to_owned()
    } else {
        "a host name has letters, digits, `-`, `_` and dots".to_owned()
    })
}

fn is_bracketed(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn check_host_and_port(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if text.contains("://") || text.contains('/') {
        return Err("a host has no scheme and no path".to_owned());
    }
    if !units::is_host_name(host) && !is_bracketed(host) {
        return Err("a host name has letters, digits, `-`, `_` and dots".to_owned());
    }
    let valid = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    if valid {
        Ok(())
    } else {
        Err("a port is a number from 1 to 65535".to_owned())
    }
}
