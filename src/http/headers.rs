//! Which fields end at a proxy, and which it adds on the way to the endpoint.

use std::io::Write as _;
use std::net::IpAddr;

use super::fields::{Fields, Name, Names};
use super::head::Version;

/// Fields that speak of one connection and are never forwarded (RFC 9110, 7.6.1).
///
/// `Proxy-Authenticate` and `Proxy-Authorization` are among them: they are between a client and its next proxy
/// (RFC 9110, 11.7). `Trailer` is not: it speaks of the message (RFC 9110, 6.6.2), and trailers are forwarded.
/// `TE: trailers` is written anew towards endpoints where [`accepts_trailers`] says so.
pub const HOP_BY_HOP: Names = Names::of(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::Te,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::Http2Settings,
    Name::ProxyAuthenticate,
    Name::ProxyAuthorization,
]);

/// Fields by which a proxy tells who its client is. Anybody can write them.
const FORWARDING: Names = Names::of(&[
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::Forwarded,
]);

/// Names that may hold `_`.
pub const UNDERSCORED: Names = Names::of(&[Name::XForwardedOther, Name::Underscored]);

/// Fields of a request that count for nothing when it comes from a stranger: those that only a proxy may write, and
/// unless `underscores` may pass, names that applications could take for others (CGI, RFC 3875, 4.1.18, tells
/// `X_Y` and `X-Y` by the same variable).
pub const fn strange(underscores: bool) -> Names {
    if underscores {
        FORWARDING
    } else {
        FORWARDING.and(UNDERSCORED)
    }
}

/// Trailers that make a message malformed: who read them late would have framed or routed it otherwise.
pub const REFUSED_TRAILERS: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Host]);

/// Trailers that are left out: a recipient that merges them into the head would be told things that its sender could
/// not have said there, or that the proxy would have removed (RFC 9110, 6.5.1).
pub const DROPPED_TRAILERS: Names = HOP_BY_HOP
    .and(Names::of(&[
        Name::Trailer,
        Name::Expect,
        Name::MaxForwards,
        Name::Authorization,
        Name::Cookie,
        Name::SetCookie,
        Name::ContentType,
        Name::ContentEncoding,
        Name::Location,
        Name::Via,
        Name::RequestId,
        Name::IdempotencyKey,
    ]))
    .and(FORWARDING);

/// The items of a comma-separated list, without the white space around them and without empty ones.
pub fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// Fields that `Connection` cannot take away: of some it is settled elsewhere whether they are forwarded, others the
/// proxy needs or writes itself, and on the rest endpoints rely for who is asking.
const NOT_NOMINATED: Names = HOP_BY_HOP.and(FORWARDING).and(Names::of(&[
    Name::Host,
    Name::ContentLength,
    Name::Expect,
    Name::MaxForwards,
    Name::Via,
    Name::Date,
    Name::RequestId,
    Name::IdempotencyKey,
    Name::Authorization,
    Name::Cookie,
    Name::SecWebSocketKey,
    Name::SecWebSocketVersion,
    Name::SecWebSocketAccept,
]));

/// Appends to `out`, in lower case, the names of fields that `Connection` nominates and that occur.
///
/// They must be removed (RFC 9110, 7.6.1), but for `NOT_NOMINATED`: the rule is for fields that speak of one
/// connection, and `Connection: host` or `Connection: x-forwarded-for` would strip on the way to an endpoint what it
/// relies on. Envoy refuses such nominations of its forwarding fields, and ten or more of any; nginx and HAProxy do
/// not act on nominations. How many options there may be is bounded where heads are parsed.
pub fn nominated(fields: &Fields, out: &mut Vec<Vec<u8>>) {
    let is_usual = |value: &[u8]| {
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    for value in fields
        .all(Name::Connection)
        .filter(|value| !is_usual(value))
    {
        for option in items(value) {
            let stays =
                option.eq_ignore_ascii_case(b"close") || NOT_NOMINATED.contains(Name::of(option));
            if !stays && fields.all_by_bytes(option).next().is_some() {
                out.push(option.to_ascii_lowercase());
            }
        }
    }
}

/// How many more proxies an OPTIONS or a TRACE may pass (RFC 9110, 7.6.2); `None` where nothing is said about it, or
/// nothing that can be understood, and of other methods, where it has no meaning.
pub fn forwards_left(method: &::http::Method, fields: &Fields) -> Option<u64> {
    if !fields.contains(Name::MaxForwards)
        || !matches!(*method, ::http::Method::OPTIONS | ::http::Method::TRACE)
    {
        return None;
    }
    let value = fields.get(Name::MaxForwards)?;
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether the sender said `TE: trailers` (RFC 9110, 10.1.4), which gRPC requires to be passed on.
pub fn accepts_trailers(fields: &Fields) -> bool {
    fields
        .all(Name::Te)
        .flat_map(items)
        .any(|item| item.eq_ignore_ascii_case(b"trailers"))
}

/// What is told to the endpoint about where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// Who is at the other end of the downstream connection; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// The peer is a proxy whose own forwarding fields are kept and extended.
    pub trusted: bool,
    /// Names with `_` may pass whoever the peer is.
    pub underscores: bool,
    /// The peer speaks TLS.
    pub tls: bool,
    /// The version that the peer speaks.
    pub version: Version,
    /// Write `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: bool,
    /// Write `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Write `Via` with this pseudonym (RFC 9110, 7.6.3).
    pub via: Option<&'a str>,
}

impl Forward<'_> {
    /// Fields of the request that are not copied: those of a peer that is not trusted, and those that [`Self::write`]
    /// writes anew with the received values in front.
    pub fn skip(&self) -> Names {
        if !self.trusted {
            return strange(self.underscores);
        }
        let mut names = Names::NONE;
        if self.x_forwarded && self.peer.is_some() {
            names = names.and(Names::of(&[Name::XForwardedFor]));
        }
        if self.forwarded {
            names = names.and(Names::of(&[Name::Forwarded]));
        }
        names
    }

    /// Adds to `extra` what is said about a request with these fields.
    pub fn write(&self, fields: &Fields, extra: &mut Fields) {
        if self.x_forwarded {
            self.write_x_forwarded(fields, extra);
        }
        if self.forwarded {
            extra.push_written(Name::Forwarded, b"forwarded", |out| {
                self.received(fields, Name::Forwarded, out);
                self.write_element(fields, out);
            });
        }
        if let Some(pseudonym) = self.via {
            via(self.version, pseudonym, extra);
        }
    }

    fn write_x_forwarded(&self, fields: &Fields, extra: &mut Fields) {
        if let Some(peer) = self.peer {
            extra.push_written(Name::XForwardedFor, b"x-forwarded-for", |out| {
                self.received(fields, Name::XForwardedFor, out);
                address(peer, out);
            });
        }
        // The first proxy knows what the client spoke and asked for; those after it keep what it said.
        if !(self.trusted && fields.contains(Name::XForwardedProto)) {
            extra.push_known(Name::XForwardedProto, b"x-forwarded-proto", self.scheme());
        }
        if !(self.trusted && fields.contains(Name::XForwardedHost))
            && let Some(host) = fields.get(Name::Host)
        {
            extra.push_known(Name::XForwardedHost, b"x-forwarded-host", host);
        }
    }

    fn scheme(&self) -> &'static [u8] {
        if self.tls { b"https" } else { b"http" }
    }

    /// The values of a trusted peer, each followed by a comma.
    fn received(&self, fields: &Fields, name: Name, out: &mut Vec<u8>) {
        if !self.trusted {
            return;
        }
        for value in fields.all(name).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }

    /// One element of `Forwarded` (RFC 7239, 4).
    fn write_element(&self, fields: &Fields, out: &mut Vec<u8>) {
        out.extend_from_slice(b"for=");
        match self.peer.map(|peer| peer.to_canonical()) {
            None => out.extend_from_slice(b"unknown"),
            Some(peer @ IpAddr::V4(_)) => address(peer, out),
            Some(peer @ IpAddr::V6(_)) => {
                out.extend_from_slice(b"\"[");
                address(peer, out);
                out.extend_from_slice(b"]\"");
            }
        }
        if let Some(host) = fields.get(Name::Host) {
            out.extend_from_slice(b";host=");
            quoted(host, out);
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(self.scheme());
    }
}

/// Adds `Via`: the version in which the message was received, and who received it. A line of its own goes behind
/// those of the proxies before (RFC 9110, 5.3).
pub fn via(version: Version, pseudonym: &str, extra: &mut Fields) {
    extra.push_written(Name::Via, b"via", |out| {
        out.extend_from_slice(match version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
            Version::Http2 => b"2 ",
        });
        out.extend_from_slice(pseudonym.as_bytes());
    });
}

/// Appends an address as text. That of an IPv4 peer on a socket for both families is written as IPv4.
pub fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mut digits = itoa::Buffer::new();
            for (i, octet) in address.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(digits.format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => {
            // Writing to a vector does not fail.
            let _ = write!(out, "{address}");
        }
    }
}

/// Appends a value of `Forwarded`: a token as it is, anything else as a quoted string.
fn quoted(value: &[u8], out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !value.is_empty() && value.iter().all(is_plain) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::{Fields, Forward, IpAddr, Version, accepts_trailers, forwards_left, nominated};

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn forward(peer: &str, trusted: bool) -> Forward<'static> {
        Forward {
            peer: peer.parse::<IpAddr>().ok(),
            trusted,
            underscores: false,
            tls: false,
            version: Version::Http11,
            x_forwarded: true,
            forwarded: true,
            via: Some("plimsoll"),
        }
    }

    /// What the endpoint gets of these fields.
    fn forwarded(forward: &Forward<'_>, received: &Fields) -> String {
        let mut extra = Fields::default();
        forward.write(received, &mut extra);
        let mut out = Vec::new();
        received.write_lines(&mut out, forward.skip(), &[]);
        extra.write_lines(&mut out, super::Names::NONE, &[]);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn replaces_what_an_untrusted_peer_says() {
        let received = fields(&[
            ("Host", "a:80"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Forwarded-Port", "443"),
            ("X_Forwarded_For", "6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("X_Any", "1"),
        ]);
        assert_eq!(
            forwarded(&forward("192.0.2.17", false), &received),
            "Host: a:80\r\nx-forwarded-for: 192.0.2.17\r\nx-forwarded-proto: http\r\nx-forwarded-host: a:80\r\n\
             forwarded: for=192.0.2.17;host=\"a:80\";proto=http\r\nvia: 1.1 plimsoll\r\n"
        );
    }

    #[test]
    fn extends_what_a_trusted_peer_says() {
        let received = fields(&[
            ("Host", "a"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.2"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-Port", "443"),
            ("X_Any", "1"),
        ]);
        assert_eq!(
            forwarded(&forward("::ffff:192.0.2.3", true), &received),
            "Host: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX_Any: 1\r\nx-forwarded-for: 192.0.2.1, 192.0.2.2, 192.0.2.3\r\n\
             x-forwarded-host: a\r\nforwarded: for=192.0.2.1, for=192.0.2.3;host=a;proto=http\r\nvia: 1.1 plimsoll\r\n"
        );
    }

    #[test]
    fn quotes_ipv6_and_names_no_address_on_unix_sockets() {
        let received = fields(&[("Host", "a")]);
        let text = forwarded(&forward("2001:db8::1", false), &received);
        assert!(text.contains("x-forwarded-for: 2001:db8::1\r\n"), "{text}");
        assert!(text.contains("for=\"[2001:db8::1]\";host=a"), "{text}");
        let text = forwarded(&forward("unix", false), &received);
        assert!(!text.contains("x-forwarded-for"), "{text}");
        assert!(text.contains("for=unknown;"), "{text}");
    }

    #[test]
    fn nominates_what_is_not_needed() {
        let received = fields(&[
            (
                "Connection",
                "close, X-Secret, x-absent, Host,, Keep-Alive , authorization, Accept, x_y, x-real-ip",
            ),
            (
                "connection",
                "x-other,cookie, content-length, user-agent, priority",
            ),
            ("Host", "a"),
            ("X-SECRET", "1"),
            ("X-Other", "1"),
            ("Authorization", "1"),
            ("Accept", "1"),
            ("X_Y", "1"),
            ("X-Real-IP", "1"),
            ("User-Agent", "1"),
        ]);
        let mut out = Vec::new();
        nominated(&received, &mut out);
        assert_eq!(
            out,
            [
                &b"x-secret"[..],
                b"accept",
                b"x_y",
                b"x-other",
                b"user-agent"
            ]
        );
    }

    #[test]
    fn max_forwards_counts_for_two_methods() {
        use ::http::Method;
        let left = |method, value| forwards_left(&method, &fields(&[("Max-Forwards", value)]));
        assert_eq!(left(Method::OPTIONS, "0"), Some(0));
        assert_eq!(left(Method::TRACE, "010"), Some(10));
        assert_eq!(left(Method::GET, "0"), None);
        for value in ["", "+1", "-1", "a", "1, 2", "99999999999999999999"] {
            assert_eq!(left(Method::TRACE, value), None, "{value}");
        }
        assert_eq!(forwards_left(&Method::OPTIONS, &fields(&[])), None);
    }

    #[test]
    fn finds_trailers_in_te() {
        assert!(accepts_trailers(&fields(&[("TE", "gzip, Trailers")])));
        assert!(!accepts_trailers(&fields(&[("TE", "gzip")])));
    }
}
