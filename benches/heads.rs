//! What writing a head anew costs, with 8 and with 30 fields: towards an endpoint without the hop-by-hop fields and with
//! what is said about the client, and towards the client. `nominated` has a field that `Connection` names, which splits
//! the run that is otherwise copied at once.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plimsoll::http::fields::{Fields, Name, Names};
use plimsoll::http::h1::parse::{self, Limits};
use plimsoll::http::h1::write;
use plimsoll::http::head::{RequestHead, ResponseHead, Version};
use plimsoll::http::headers::{self, Forward};
use plimsoll::http::{Outgoing, RequestLine};

const LIMITS: Limits = Limits {
    head_bytes: 64 * 1024,
    fields: 100,
};

/// What a browser sends and what an application answers, in the order in which they do; the first eight are enough for a
/// small client.
const REQUEST: [(&str, &str); 12] = [
    ("Host", "shop.example.com"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("Accept-Language", "en-GB,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("Referer", "https://shop.example.com/cart"),
    (
        "Cookie",
        "session=0123456789abcdef0123456789abcdef; theme=dark; consent=all",
    ),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Priority", "u=0, i"),
];
const RESPONSE: [(&str, &str); 12] = [
    ("Server", "application/1.4"),
    ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Length", "5120"),
    ("Cache-Control", "private, max-age=0, must-revalidate"),
    ("ETag", "\"5f3c-1a2b3c4d5e6f7\""),
    ("Vary", "Accept-Encoding, Cookie"),
    (
        "Set-Cookie",
        "session=0123456789abcdef0123456789abcdef; Path=/; Secure; HttpOnly",
    ),
    ("Strict-Transport-Security", "max-age=63072000"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:",
    ),
];

/// A head of so many fields. The last two are `Connection` and, in the middle of the others, what it names, if anything.
fn head(first_line: &str, known: &[(&str, &str)], count: usize, is_nominated: bool) -> Vec<u8> {
    let own = if is_nominated { 2 } else { 1 };
    let mut lines: Vec<String> = (0..count - own)
        .map(|place| match known.get(place) {
            Some((name, value)) => format!("{name}: {value}\r\n"),
            None => format!("X-Application-Field-{place}: value-{place}\r\n"),
        })
        .collect();
    if is_nominated {
        lines.insert(
            lines.len() / 2,
            "X-Hop: for the next one alone\r\n".to_owned(),
        );
        lines.push("Connection: keep-alive, X-Hop\r\n".to_owned());
    } else {
        lines.push("Connection: keep-alive\r\n".to_owned());
    }
    format!("{first_line}\r\n{}\r\n", lines.concat()).into_bytes()
}

/// As the proxy does it for each attempt, without a route's edits.
fn write_request(head: &RequestHead, extra: &mut Fields, out: &mut Vec<u8>) {
    let mut omit = Vec::new();
    headers::nominated(&head.fields, &mut omit);
    extra.clear();
    let forward = Forward {
        peer: Some([198, 51, 100, 23].into()),
        trusted: false,
        tls: true,
        underscores: false,
        version: head.version,
        x_forwarded: true,
        forwarded: false,
        via: None,
    };
    forward.write(&head.fields, extra);
    let line = RequestLine {
        method: &head.method,
        target: &head.target,
        upgrade: None,
    };
    let outgoing = Outgoing {
        fields: &head.fields,
        skip: forward.skip(),
        omit: &omit,
        extra,
        length: head.length,
    };
    write::request_head(out, &line, &outgoing);
}

/// As the proxy does it for each answer that has a date.
fn write_response(head: &ResponseHead, extra: &Fields, out: &mut Vec<u8>) {
    let mut omit = Vec::new();
    headers::nominated(&head.fields, &mut omit);
    let outgoing = Outgoing {
        fields: &head.fields,
        skip: Names::NONE,
        omit: &omit,
        extra,
        length: head.length,
    };
    let (version, keep_alive) = (Version::Http11, true);
    write::response_head(
        out,
        head.status,
        &head.reason,
        &outgoing,
        head.length,
        false,
        version,
        keep_alive,
    );
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request_head");
    for (name, is_nominated) in [("plain", false), ("nominated", true)] {
        for count in [8, 30] {
            let bytes = head(
                "GET /cart/items?page=2 HTTP/1.1",
                &REQUEST,
                count,
                is_nominated,
            );
            let mut head = RequestHead::default();
            let read = parse::request(&bytes, &LIMITS, &mut head).expect("it is valid");
            assert_eq!((read, head.fields.len()), (Some(bytes.len()), count));
            let (mut extra, mut out) = (Fields::default(), Vec::new());
            write_request(&head, &mut extra, &mut out);
            assert!(!contains(&out, "X-Hop") && !contains(&out, "203.0.113.7"));
            assert!(contains(&out, "x-forwarded-for: 198.51.100.23\r\n"));
            group.throughput(Throughput::Bytes(out.len() as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    write_request(black_box(&head), &mut extra, &mut out);
                    out.len()
                });
            });
        }
    }
    group.finish();
}

fn responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("response_head");
    for (name, is_nominated) in [("plain", false), ("nominated", true)] {
        for count in [8, 30] {
            let bytes = head("HTTP/1.1 200 OK", &RESPONSE, count, is_nominated);
            let mut head = ResponseHead::default();
            let read = parse::response(&bytes, &LIMITS, &http::Method::GET, &mut head);
            assert_eq!(read.expect("it is valid"), Some(bytes.len()));
            assert!(head.fields.contains(Name::Date) && head.fields.len() == count);
            let (extra, mut out) = (Fields::default(), Vec::new());
            write_response(&head, &extra, &mut out);
            assert!(!contains(&out, "X-Hop") && contains(&out, "content-length: 5120\r\n"));
            group.throughput(Throughput::Bytes(out.len() as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    write_response(black_box(&head), &extra, &mut out);
                    out.len()
                });
            });
        }
    }
    group.finish();
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

criterion_group!(benches, requests, responses);
criterion_main!(benches);
