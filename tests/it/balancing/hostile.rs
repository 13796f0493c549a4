//! What clients send to be hashed, bound or sorted by: whatever it is, there is an answer, and nobody panics.

use super::{Pool, hold, yaml_with};
use crate::harness::{Client, Front, Proxy, Raw, expect_no_panic};

/// What the upstreams of these tests ask of a request.
const KEYS: [&str; 8] = [
    "balance: { consistent_hash: { key: host } }",
    "balance: { consistent_hash: { key: path, algorithm: maglev } }",
    "balance: { consistent_hash: { key: { header: X-User }, algorithm: rendezvous, bounded_load: on } }",
    "balance: { consistent_hash: { key: { query: user } } }",
    "balance: { consistent_hash: { key: { cookie: { name: visitor, create: true } } } }",
    "balance: { consistent_hash: { key: client_ip } }",
    "balance: round_robin, sticky: {}",
    "subset: { metadata: v, header: X-User, otherwise: none }",
];

/// Requests, of which each is complete.
fn requests() -> Vec<Vec<u8>> {
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    let value = "A".repeat(44);
    let mut requests = vec![
        // Cookies of 8 KiB, and many of them.
        get("/", &format!("Cookie: visitor={}\r\n", "x".repeat(8192))),
        get("/", &format!("Cookie: plimsoll={}\r\n", "x".repeat(8192))),
        get(
            "/",
            &format!("Cookie: {}\r\n", "plimsoll=a; visitor=b; ".repeat(200)),
        ),
        get(
            "/",
            &format!("Cookie: {}\r\n", format!("plimsoll={value}; ").repeat(200)),
        ),
        get("/", &format!("Cookie: plimsoll={value}\r\n").repeat(90)),
        get("/", &format!("Cookie: {}\r\n", ";".repeat(8192))),
        get("/", &format!("Cookie: {}\r\n", "=".repeat(8192))),
        get("/", "Cookie: plimsoll\r\nCookie: visitor\r\nCookie:\r\n"),
        get("/", "Cookie: plimsoll==;visitor==; plimsoll=\"\r\n"),
        // Huge headers and many of them.
        get("/", &format!("X-User: {}\r\n", "u".repeat(20_000))),
        get("/", &"X-User: u\r\n".repeat(95)),
        get("/", "X-User:\r\nX-User:  \t \r\n"),
        // Escapes that are none, and targets of every kind.
        get("/%", ""),
        get("/%zz%0", ""),
        get("/%00%ff%c0%ae/../..//", ""),
        get("/?user=%", ""),
        get("/?user=%z%%%2", ""),
        get("/?user=%00%0d%0a&user=1", ""),
        get("/?=&&&user&user=&=user", ""),
        get(&format!("/?user={}", "%41".repeat(4000)), ""),
        get(&format!("/?{}", "user&".repeat(4000)), ""),
        get(&format!("/{}", "x/".repeat(8000)), ""),
        get("/?", ""),
        get("/#a", ""),
        get("*", ""),
        get("http://a.example/k?user=1", ""),
        get("http://a.example", ""),
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        // Hosts.
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: .\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: [::1]:\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n".to_vec(),
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "h".repeat(5000)).into_bytes(),
        // Who the client is said to be.
        get(
            "/",
            "X-Forwarded-For: , ,, unknown, [::1, 1.2.3.4.5, ]:[\r\n",
        ),
        get(
            "/",
            &format!("X-Forwarded-For: {}\r\n", "127.0.0.1,".repeat(2000)),
        ),
        get("/", &"X-Forwarded-For: 127.0.0.1\r\n".repeat(90)),
        get(
            "/",
            "Plimsoll-Explain: 1\r\nPlimsoll-Explain: 1\r\nConnection: plimsoll-explain\r\n",
        ),
        get(
            "/",
            "Connection: cookie, x-user, plimsoll-explain, host\r\nX-User: 1\r\n",
        ),
    ];
    // Bytes that are no UTF-8, and such as no field may hold, at every place of a cookie, a header, a target.
    for byte in [0u8, 1, b'\t', 0x1b, 0x7f, 0x80, 0xc0, 0xff] {
        for template in [
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: plimsoll=!\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: visitor=a!b; plimsoll=!!\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-User: a!b\r\n\r\n",
            "GET /a!b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?user=a!b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a!b\r\n\r\n",
        ] {
            let bytes = template.bytes();
            requests.push(bytes.map(|b| if b == b'!' { byte } else { b }).collect());
        }
    }
    requests
}

#[tokio::test]
async fn whatever_comes_is_answered() {
    let pool = Pool::start(2);
    // Panics of workers are noted from here on.
    let _front = Front::before(&pool.backends[0].endpoint(), "").await;
    let written = pool.written(&["metadata: { v: u }"]);
    let listener = "trusted_proxies: [127.0.0.0/8], explain_to: [127.0.0.0/8]";
    let requests = requests();
    for keys in KEYS {
        let keys = format!("{keys}, decisions: {{ sample: 100% }}");
        let proxy = Proxy::start(&yaml_with(&written, listener, "", &keys)).await;
        let mut raw = Raw::connect(proxy.address()).await;
        for request in &requests {
            raw.send(request).await;
            let method = if request.starts_with(b"OPTIONS") {
                "OPTIONS"
            } else {
                "GET"
            };
            let answer = raw.response_to(method).await;
            let known = [200, 400, 404, 408, 414, 431, 503];
            let shown = request[..request.len().min(80)].escape_ascii();
            assert!(known.contains(&answer.status()), "{shown}: {answer:?}");
            let is_refused = answer.status() == 503 && !keys.starts_with("subset");
            assert!(!is_refused, "{shown}: {answer:?}");
            if !answer.keeps_alive() {
                raw = Raw::connect(proxy.address()).await;
            }
        }
        // It serves as before.
        let mut client = Client::h2(proxy.address()).await;
        assert!([200, 503].contains(&client.get("/").await.status.as_u16()));
        hold(&proxy, &["a", "b"], true);
        assert_eq!(client.get("/").await.status, 503);
    }
    expect_no_panic();
}
