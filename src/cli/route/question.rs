//! A request that nobody sent: from the words of the command line to the head that the proxy would have read (pure).
//!
//! The head goes through the parser of HTTP/1, so that what a client could not send is refused here as well.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{Address, Listener};
use crate::http::h1::parse::{self, Limits};
use crate::http::head::RequestHead;
use crate::proxy::request::Request;
use crate::proxy::slashes;
use crate::snapshot;

/// A head, and where it arrives.
#[derive(Debug)]
pub(super) struct Question {
    head: RequestHead,
    /// Index of the listener, in the order of their names.
    listener: usize,
    rules: snapshot::Listener,
    tls: bool,
    peer: Option<IpAddr>,
    /// What was taken for granted.
    pub(super) notes: Vec<String>,
}

/// The request as it was written.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    /// `METHOD URL`, or a URL alone.
    pub(super) request: &'a [String],
    pub(super) headers: &'a [String],
    pub(super) listener: Option<&'a str>,
    pub(super) client: Option<IpAddr>,
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// `None` where only a path was written.
    origin: Option<Origin<'a>>,
    /// Path and query; `*` for OPTIONS.
    target: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Origin<'a> {
    tls: bool,
    authority: &'a str,
}

/// Where a client is taken to be when nobody says.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Question {
    /// Reads the words against these listeners; the error says what is wrong with which word.
    pub(super) fn of(
        words: &Words<'_>,
        listeners: &BTreeMap<String, Listener>,
    ) -> Result<Self, String> {
        let (method, url) = match words.request {
            [url] if url.starts_with('/') || url.contains("://") => ("GET", url),
            [method, url] => (method.as_str(), url),
            _ => return Err("write `METHOD URL`, such as `GET http://example.com/`".to_owned()),
        };
        let url = Url::of(method, url)?;
        let mut notes = Vec::new();
        let listener = choose(listeners, words.listener, url.origin.as_ref(), &mut notes)?;
        let (name, rules) = listeners
            .iter()
            .nth(listener)
            .ok_or("the configuration has no listener")?;
        let limits = Limits {
            head_bytes: rules.limits.head_bytes,
            fields: rules.limits.fields,
        };
        let peer = match (&rules.address, words.client) {
            (_, Some(client)) => Some(client),
            (Address::Tcp(_), None) => {
                notes.push(format!(
                    "the client is taken to be {LOOPBACK}; --client names another"
                ));
                Some(LOOPBACK)
            }
            (Address::Unix(_), None) => None,
        };
        let compiled = snapshot::Listener::without_tls(name, rules);
        let mut head = head(method, &url, words.headers, &limits)?;
        slashes::apply(&compiled, &mut head.target).map_err(|error| {
            let status = error.status();
            format!("the proxy would refuse this request with {status}: {error}")
        })?;
        Ok(Self {
            head,
            listener,
            rules: compiled,
            tls: rules.tls.is_some(),
            peer,
            notes,
        })
    }

    /// As routes and upstreams read it.
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            head: &self.head,
            peer: self.peer,
            tls: self.tls,
            listener: self.listener,
            rules: &self.rules,
        }
    }
}

impl<'a> Url<'a> {
    fn of(method: &str, text: &'a str) -> Result<Self, String> {
        if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(format!("{text:?} holds a blank; write `%20`"));
        }
        // A fragment is never sent.
        let text = text.split('#').next().unwrap_or_default();
        if text.starts_with('/') || (text == "*" && method == "OPTIONS") {
            let target = text.to_owned();
            return Ok(Self {
                origin: None,
                target,
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!(
                "`{text}` is no URL; write `http://{text}`, or a path that begins with `/`"
            ));
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(format!(
                    "`{scheme}` is not spoken here; write `http` or `https`"
                ));
            }
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            origin: Some(Origin { tls, authority }),
            target: format!("{slash}{path}"),
        })
    }
}

impl Origin<'_> {
    fn port(&self) -> Option<u16> {
        let default = if self.tls { 443 } else { 80 };
        match self.authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok(),
            _ => Some(default),
        }
    }
}

/// The listener that is named, else the one of the URL's port, else the first; TLS where the URL says `https`.
fn choose(
    listeners: &BTreeMap<String, Listener>,
    named: Option<&str>,
    origin: Option<&Origin<'_>>,
    notes: &mut Vec<String>,
) -> Result<usize, String> {
    if let Some(name) = named {
        return listeners
            .keys()
            .position(|known| known == name)
            .ok_or_else(|| {
                let known: Vec<&str> = listeners.keys().map(String::as_str).collect();
                format!(
                    "there is no listener `{name}`; there is {}",
                    known.join(", ")
                )
            });
    }
    let of_scheme = |listener: &Listener| origin.is_none_or(|o| listener.tls.is_some() == o.tls);
    let of_port = |listener: &Listener| match (&listener.address, origin) {
        (Address::Tcp(address), Some(origin)) => Some(address.port()) == origin.port(),
        _ => false,
    };
    let first = |test: &dyn Fn(&Listener) -> bool| listeners.values().position(test);
    if let Some(sure) = first(&|listener| of_scheme(listener) && of_port(listener)) {
        return Ok(sure);
    }
    let likely = first(&of_scheme);
    if let (None, Some(origin)) = (likely, origin) {
        let what = if origin.tls { "TLS" } else { "clear text" };
        notes.push(format!("no listener speaks {what}, as the URL asks for"));
    } else if listeners.len() > 1 {
        let what = "the listener is the first that may be meant; --listener names another";
        notes.push(what.to_owned());
    }
    Ok(likely.unwrap_or(0))
}

/// The head as a client would send it. `Host` is that of the headers, else that of the URL, as with curl; without any it
/// is a request of HTTP/1.0.
fn head(
    method: &str,
    url: &Url<'_>,
    headers: &[String],
    limits: &Limits,
) -> Result<RequestHead, String> {
    if method == "CONNECT" {
        return Err("CONNECT names no path to route by".to_owned());
    }
    let mut fields = String::new();
    let mut has_host = false;
    for header in headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(format!("{header:?} is no header; write `Name: value`"));
        };
        // Here, so that no header can bring another along.
        if header.contains(|letter: char| letter.is_control() && letter != '\t') {
            return Err(format!("{header:?} holds a control character"));
        }
        has_host |= name.eq_ignore_ascii_case("host");
        fields.push_str(&format!("{name}: {}\r\n", value.trim()));
    }
    if let (false, Some(origin)) = (has_host, &url.origin) {
        fields.push_str(&format!("Host: {}\r\n", origin.authority));
        has_host = true;
    }
    let version = if has_host { "1.1" } else { "1.0" };
    let text = format!("{method} {} HTTP/{version}\r\n{fields}\r\n", url.target);
    let mut head = RequestHead::default();
    match parse::request(text.as_bytes(), limits, &mut head) {
        Ok(Some(length)) if length == text.len() => Ok(head),
        Ok(_) => Err(format!("{method:?} is no method")),
        Err(error) => Err(format!(
            "the proxy would refuse this request with {}: {error}",
            error.status()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::from_text;
    use crate::http::fields::Name;

    fn listeners() -> BTreeMap<String, Listener> {
        let text = "listeners:
  a: { address: '127.0.0.1:8080' }
  b: { address: '127.0.0.1:80' }
  c: { address: '127.0.0.1:443', tls: { certificates: [ { cert: c.pem, key: k.pem } ] } }
  d: { address: 'unix:/run/d.sock' }
routes: [ { respond: { status: 204 } } ]\n";
        from_text("t.yaml", text, &|_| None)
            .unwrap()
            .config
            .listeners
    }

    fn ask(request: &[&str], headers: &[&str], listener: Option<&str>) -> Result<Question, String> {
        let texts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&t| t.to_owned()).collect() };
        let (request, headers) = (texts(request), texts(headers));
        let words = Words {
            request: &request,
            headers: &headers,
            listener,
            client: None,
        };
        Question::of(&words, &listeners())
    }

    fn host(question: &Question) -> Option<&str> {
        let value = question.head.fields.get(Name::Host)?;
        Some(std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn a_url_becomes_a_target_and_a_host() {
        let cases = [
            ("http://example.com", "/", Some("example.com")),
            ("http://example.com?a=b", "/?a=b", Some("example.com")),
            (
                "HTTP://Example.com:81/x/../y?q#top",
                "/x/../y?q",
                Some("Example.com:81"),
            ),
            ("http://[::1]:80/", "/", Some("[::1]:80")),
            ("/only/a/path?x", "/only/a/path?x", None),
        ];
        for (url, target, expected) in cases {
            let question = ask(&[url], &[], None).unwrap();
            assert_eq!(question.head.target, target.as_bytes(), "{url}");
            assert_eq!(host(&question), expected, "{url}");
            assert_eq!(question.head.method, ::http::Method::GET);
        }
        let question = ask(&["OPTIONS", "*"], &[], None).unwrap();
        assert_eq!(question.head.target, b"*");
    }

    #[test]
    fn a_host_among_the_headers_stands_for_that_of_the_url() {
        let headers = ["host: api.example.com", "X-A:  b "];
        let question = ask(&["PUT", "http://127.0.0.1:8080/x"], &headers, None).unwrap();
        assert_eq!(host(&question), Some("api.example.com"));
        let values: Vec<_> = question
            .head
            .fields
            .iter()
            .map(|(_, _, value)| value)
            .collect();
        assert_eq!(values, [&b"api.example.com"[..], b"b"]);
        assert_eq!(question.listener, 0);
    }

    #[test]
    fn the_listener_is_the_one_named_or_that_of_the_scheme_and_port() {
        let chosen = |url: &str, named| ask(&[url], &[], named).unwrap().listener;
        assert_eq!(chosen("http://x/", None), 1);
        assert_eq!(chosen("http://x:8080/", None), 0);
        assert_eq!(chosen("http://x:9999/", None), 0);
        assert_eq!(chosen("https://x/", None), 2);
        assert_eq!(chosen("https://x:9999/", None), 2);
        assert_eq!(chosen("/", None), 0);
        assert_eq!(chosen("https://x/", Some("b")), 1);
        let on_a_socket = ask(&["/"], &[], Some("d")).unwrap();
        assert_eq!((on_a_socket.listener, on_a_socket.peer), (3, None));
        let error = ask(&["/"], &[], Some("web")).unwrap_err();
        assert!(
            error.contains("no listener `web`; there is a, b, c, d"),
            "{error}"
        );
    }

    #[test]
    fn what_no_client_could_send_is_refused_with_the_reason() {
        let cases: [(&[&str], &[&str], &str); 14] = [
            (&["example.com/x"], &[], "METHOD URL"),
            (&["GET", "example.com/x"], &[], "http://example.com/x"),
            (&["GET", "ftp://example.com/"], &[], "`ftp` is not spoken"),
            (&["GET", "http://a b/"], &[], "blank"),
            (&["GET", "http:///x"], &[], "malformed_host"),
            (&["GET", "http://u@a/"], &[], "malformed_host"),
            (&["GET", "http://a:x/"], &[], "malformed_host"),
            (&["G T", "/"], &[], "refuse this request with 400"),
            (&["", "/"], &[], "refuse this request with 400"),
            (&["CONNECT", "http://a/"], &[], "CONNECT"),
            (&["GET", "/"], &["X-A"], "`Name: value`"),
            (&["GET", "/"], &["X A: b"], "refuse this request with 400"),
            (&["GET", "/"], &["A: b\r\nC: d"], "control character"),
            (&["GET", "/"], &["Host: a", "Host: b"], "repeated_host"),
        ];
        for (request, headers, part) in cases {
            let error = ask(request, headers, None).unwrap_err();
            assert!(error.contains(part), "{request:?} {headers:?}: {error}");
        }
    }
}
