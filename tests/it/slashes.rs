//! Paths that an endpoint may read in another way than the routes do: no way around a route that guards something.

use plimsoll::observe::Metric;

use crate::harness::{DEADLINE, Proxy, Raw, Scripted, Step, eventually};

/// Only a network that nobody here is of comes to `/admin`; everybody to the rest of the same upstream, but for `/own`, which
/// the proxy answers.
async fn before(service: &Scripted, listener: &str) -> Proxy {
    Proxy::start(&format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\", {listener} }} }}\n\
         routes:\n\
         - {{ match: {{ path: /app/admin }}, upstream: pool, addresses: {{ allow: [10.0.0.0/8] }} }}\n\
         - {{ match: {{ path: /own }}, respond: {{ body: own }} }}\n\
         - {{ upstream: pool }}\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        service.address().to_string()
    ))
    .await
}

/// An endpoint that answers whatever it is asked for.
async fn endpoint() -> Scripted {
    let answer = Step::write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    Scripted::play(vec![vec![vec![Step::ReadHead, answer]; 30].concat(); 10]).await
}

/// What a GET is answered with.
async fn ask(proxy: &Proxy, target: &str) -> (u16, String) {
    let mut client = Raw::connect(proxy.address()).await;
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let answer = client.response().await;
    (answer.status(), answer.text().to_owned())
}

/// The target that the endpoint was asked for the last time.
fn seen(service: &Scripted) -> String {
    let heads = service.heads();
    let line = heads.last().unwrap().first_line.clone();
    line.split(' ').nth(1).unwrap().to_owned()
}

/// Ways to `/app/admin` for endpoints that merge, decode, or both.
const AROUND: [&str; 13] = [
    "//app/admin",
    "/app//admin",
    "/app///admin/x?y",
    "/%2fapp/admin",
    "/app%2Fadmin",
    "/app/admin%2fx",
    "/app%5cadmin",
    "/app\\admin",
    "/x%2f..%2fapp/admin",
    "/x/..%2fapp/admin",
    "/x//../app/admin",
    "/.%2fapp/admin",
    "/x//..%2f..%2fapp%2fadmin",
];

#[tokio::test]
async fn no_spelling_leads_around_a_guarded_route() {
    let service = endpoint().await;
    let proxy = before(&service, "").await;
    assert_eq!(ask(&proxy, "/app/admin").await.0, 403);
    for target in AROUND {
        let (status, text) = ask(&proxy, target).await;
        assert_eq!(status, 400, "{target}");
        assert!(text.contains("ambiguous_path"), "{target}: {text}");
    }
    // Counted once the answer is out.
    eventually(DEADLINE, || {
        proxy.listeners(Metric::ListenerRefused, "ambiguous_path") == AROUND.len() as u64
    })
    .await;
    assert_eq!(service.heads().len(), 0);
    // What leads nowhere else goes on as it came.
    for target in [
        "/app//b",
        "/app/http://a.example/b",
        "/app/group%2Fproject",
        "/app/b?c=//app/admin%2f",
        "/app/a\\b",
        // The route that it meets by another reading guards nothing.
        "//own",
    ] {
        assert_eq!(ask(&proxy, target).await.0, 200, "{target}");
        assert_eq!(seen(&service), target);
    }
}

#[tokio::test]
async fn what_passes_is_the_operators_choice() {
    // Those that are refused have no target.
    for (listener, cases) in [
        (
            "slashes: pass",
            &[
                ("/app//admin", 200, "/app//admin"),
                ("/app%2fadmin", 400, ""),
                ("/x/%2fapp", 200, "/x/%2fapp"),
            ][..],
        ),
        (
            "slashes: merge",
            &[
                ("/app//admin", 403, ""),
                ("/app///b?c//d", 200, "/app/b?c//d"),
                ("/app%2f%2fb", 200, "/app%2f%2fb"),
                ("/x/..%2fapp/admin", 400, ""),
            ],
        ),
        (
            "escaped_slashes: decode",
            &[
                ("/app%2fadmin", 403, ""),
                ("/app%5Cb\\c", 200, "/app/b/c"),
                ("/app%2f%2fadmin", 400, ""),
                ("/app/x/..%2fadmin", 403, ""),
            ],
        ),
        (
            "slashes: refuse, escaped_slashes: decode",
            &[
                ("/app%2fb", 200, "/app/b"),
                ("/app/%2fb", 400, ""),
                ("/app//b", 400, ""),
            ],
        ),
        (
            "escaped_slashes: refuse",
            &[
                ("/app%2fb", 400, ""),
                ("/app\\b", 400, ""),
                ("/app/b?c=%2f", 200, "/app/b?c=%2f"),
            ],
        ),
    ] {
        let service = endpoint().await;
        let proxy = before(&service, listener).await;
        for (target, status, forwarded) in cases {
            assert_eq!(ask(&proxy, target).await.0, *status, "{listener}: {target}");
            if *status == 200 {
                assert_eq!(seen(&service), *forwarded, "{listener}: {target}");
            }
        }
    }
}

#[tokio::test]
async fn a_limit_by_path_counts_all_spellings_as_one() {
    let service = endpoint().await;
    let proxy = Proxy::start(&format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ upstream: pool, limits: [each] }} ]\n\
         rate_limits: {{ each: {{ key: path, rate: 1/h, burst: 1 }} }}\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        service.address().to_string()
    ))
    .await;
    assert_eq!(ask(&proxy, "/a/b").await.0, 200);
    for target in ["/a//b", "//a/b", "/a%2fb", "/a\\b", "/a/./b", "/%61/b"] {
        assert_eq!(ask(&proxy, target).await.0, 429, "{target}");
    }
}
