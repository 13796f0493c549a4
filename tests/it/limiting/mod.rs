//! Limits on clients: who is refused, what is told, what it costs whom, and what stays over a reload.

#![allow(
    clippy::print_stdout,
    reason = "what was measured is shown, as a table"
)]

mod bandwidth;
mod events;

use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Method, Request};
use plimsoll::admin::scrape::scrape;
use plimsoll::admin::status::{self, LimitStatus};
use plimsoll::clock::{Clock, Instant};
use plimsoll::limit::auth::key_line;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::MissedTickBehavior;

use crate::harness::{
    Answer, Backend, Client, DEADLINE, Directory, Outgoing, Proxy, Raw, config, eventually,
    pattern, request, within,
};

/// A proxy whose only route is held to these limits.
async fn limited(backend: &Backend, names: &str, limits: &str) -> Proxy {
    let route = format!("limits: [{names}]");
    let yaml = config(&[backend.endpoint()], "", &route, "");
    Proxy::start(&format!("{yaml}{limits}\n")).await
}

fn asking(path: &str, fields: &[(&'static str, &str)]) -> Request<Outgoing> {
    let mut asking = request(Method::GET, path, Outgoing::empty());
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        asking.headers_mut().append(*name, value);
    }
    asking
}

fn told(answer: &Answer) -> [Option<&str>; 3] {
    ["ratelimit-policy", "ratelimit", "retry-after"].map(|name| answer.header(name))
}

fn limit(proxy: &Proxy, name: &str) -> LimitStatus {
    let status = status::read(proxy.live());
    let mut limits = status.limits.into_iter();
    limits.find(|limit| limit.name == name).unwrap()
}

#[tokio::test]
async fn who_asks_too_much_is_told_so_and_when_to_come_again() {
    let backend = Backend::start("a");
    for h2 in [false, true] {
        let limits = "rate_limits: { per_client: { key: client_ip, rate: 1/h, burst: 2 } }";
        let proxy = limited(&backend, "per_client", limits).await;
        let mut client = match h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let policy = Some("\"per_client\";q=2;w=7200");
        for left in ["\"per_client\";r=1;t=3600", "\"per_client\";r=0;t=3600"] {
            let answer = client.get("/").await;
            assert_eq!(answer.backend(), Some("a"));
            assert_eq!(told(&answer), [policy, Some(left), None]);
        }
        // What is refused does not make it worse, and the connection goes on.
        for _ in 0..3 {
            let answer = client.post("/", "unread").await;
            answer.assert_told(429, "http_request_denied", "rate_limited");
            let left = Some("\"per_client\";r=0;t=3600");
            assert_eq!(told(&answer), [policy, left, Some("3600")]);
        }
        let known = limit(&proxy, "per_client");
        assert_eq!((known.passed, known.limited, known.keys), (2, 3, 1));
        assert_eq!(known.allows, "1/h, 2 at once");
        assert_eq!(known.holds, ["route /*"]);
    }
    assert_eq!(backend.counters().requests(), 4);
}

#[tokio::test]
async fn the_shortest_wait_is_told_as_a_second() {
    let backend = Backend::start("a");
    let limits = "rate_limits: { a: { key: constant, rate: 10/s, burst: 1, headers: false } }";
    let proxy = limited(&backend, "a", limits).await;
    let mut client = Client::h1(proxy.address()).await;
    let refused = async {
        loop {
            let answer = client.get("/").await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let answer = within(refused).await;
    assert_eq!(told(&answer), [None, None, Some("1")]);
}

#[tokio::test]
async fn answers_of_its_own_are_limited_and_told_of_too() {
    let limits = "rate_limits: { a: { key: host, rate: 1/h } }";
    let yaml = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         routes: [{{ respond: {{ body: hello }}, limits: [a] }}]\n{limits}\n"
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello"));
    assert_eq!(answer.header("ratelimit"), Some("\"a\";r=0;t=3600"));
    // However the host is spelt, it is one.
    for host in ["127.0.0.1", "127.0.0.1:1", "127.0.0.1."] {
        let answer = client.send(asking("/", &[("host", host)])).await;
        assert_eq!(answer.status, 429, "{host}");
    }
    let other = client.send(asking("/", &[("host", "b.example")])).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn limits_of_the_listener_come_before_any_route() {
    let backend = Backend::start("a");
    let listener = "limits: { apply: [door] }, trusted_proxies: [127.0.0.0/8]";
    let route = "limits: [room]";
    let yaml = config(&[backend.endpoint()], listener, route, "").replace("path: /", "path: /in");
    let limits = "rate_limits: { door: { key: client_ip, rate: 1/h, burst: 3 }, room: { key: path, rate: 2/h, burst: 2 } }";
    let proxy = Proxy::start(&format!("{yaml}{limits}\n")).await;
    let mut client = Client::h1(proxy.address()).await;
    let policies = Some("\"door\";q=3;w=10800, \"room\";q=2;w=3600");
    let first = client.get("/in").await;
    // The one with less left.
    assert_eq!(told(&first), [policies, Some("\"room\";r=1;t=1800"), None]);
    // However the path is spelt, it is one.
    let second = client.get("/%69n?a=b").await;
    assert_eq!(told(&second), [policies, Some("\"room\";r=0;t=1800"), None]);
    let nowhere = client.get("/nowhere").await;
    nowhere.assert_told(404, "destination_not_found", "no_route");
    for path in ["/in", "/nowhere"] {
        let answer = client.get(path).await;
        answer.assert_told(429, "http_request_denied", "rate_limited");
        let door = [
            Some("\"door\";q=3;w=10800"),
            Some("\"door\";r=0;t=3600"),
            Some("3600"),
        ];
        assert_eq!(told(&answer), door);
    }
    // Another client, as far as a proxy that is believed tells.
    let another = |path| asking(path, &[("x-forwarded-for", "192.0.2.7")]);
    client
        .send(another("/in"))
        .await
        .assert_told(429, "http_request_denied", "rate_limited");
    assert_eq!(client.send(another("/in/2")).await.backend(), Some("a"));
    assert_eq!(backend.counters().requests(), 3);
    // What the route refused had taken of the listener's.
    assert_eq!(limit(&proxy, "door").holds, ["listener web"]);
    assert_eq!(
        (limit(&proxy, "door").limited, limit(&proxy, "room").limited),
        (2, 1)
    );
}

#[tokio::test]
async fn what_one_limit_of_a_route_refuses_takes_nothing_of_another() {
    let backend = Backend::start("a");
    let limits = "rate_limits: { wide: { key: constant, rate: 1/h, burst: 3 }, tight: { key: { header: X-Who }, rate: 1/h } }";
    let proxy = limited(&backend, "wide, tight", limits).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut statuses = Vec::new();
    for who in ["a", "a", "a", "a", "b", "c", "d"] {
        let answer = client.send(asking("/", &[("x-who", who)])).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 429, 200, 200, 429]);
}

#[tokio::test]
async fn clients_are_told_apart_by_what_is_written() {
    let backend = Backend::start("a");
    let limits = "rate_limits: { a: { key: [{ api_key: Authorization }, { query: tenant }, { cookie: c }], rate: 1/h, \
                  overrides: { 'vip x y': off }, missing: refuse } }";
    let proxy = limited(&backend, "a", limits).await;
    let mut client = Client::h1(proxy.address()).await;
    for (path, key, cookie, status) in [
        ("/?tenant=x", "one", "c=y", 200),
        ("/?a=b&tenant=%78", "Bearer one", "b=c; c=y", 429),
        ("/?tenant=x", "two", "c=y", 200),
        ("/?tenant=z", "one", "c=y", 200),
        ("/?tenant=x", "one", "c=z", 200),
        ("/?tenant=x", "vip", "c=y", 200),
        ("/?tenant=x", "vip", "c=y", 200),
    ] {
        let fields = [("authorization", key), ("cookie", cookie)];
        let answer = client.send(asking(path, &fields)).await;
        assert_eq!(answer.status, status, "{path} {key} {cookie}");
    }
    let answer = client.get("/?tenant=x").await;
    answer.assert_told(403, "http_request_denied", "forbidden");
    assert_eq!(limit(&proxy, "a").limited, 2);
}

#[tokio::test]
async fn who_somebody_is_counts_whatever_key_it_shows() {
    let (backend, files) = (Backend::start("a"), Directory::new());
    let keys = [("partner", "k-1"), ("partner", "k-2"), ("other", "k-3")];
    let keys = keys.map(|(name, key)| key_line(name, key.as_bytes()));
    let keys = files.write("keys", keys.join("\n"));
    let route = format!(
        "limits: [each, all], auth: {{ api_key: {{ keys_file: {:?} }} }}",
        keys.display().to_string()
    );
    let limits = "rate_limits: { each: { key: identity, rate: 1/h, burst: 2 }, all: { key: constant, rate: 1/h, burst: 9 } }";
    let yaml = config(&[backend.endpoint()], "", &route, "");
    let proxy = Proxy::start(&format!("{yaml}{limits}\n")).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut statuses = Vec::new();
    for key in ["k-1", "k-2", "k-1", "k-3", "wrong"] {
        let answer = client.send(asking("/", &[("x-api-key", key)])).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 401]);
    // Those who are nobody are counted by what needs no name, which bounds their guesses.
    let known = ["each", "all"]
        .map(|name| limit(&proxy, name))
        .map(|one| (one.passed, one.limited));
    assert_eq!(known, [(3, 1), (5, 0)]);
}

#[tokio::test]
async fn a_limit_on_trial_counts_and_refuses_nobody() {
    let backend = Backend::start("a");
    let limits = "rate_limits: { a: { key: client_ip, rate: 1/h, dry_run: true } }";
    let proxy = limited(&backend, "a", limits).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..4 {
        let answer = client.get("/").await;
        assert_eq!(
            (answer.backend(), told(&answer)),
            (Some("a"), [None, None, None])
        );
    }
    let metrics = scrape(proxy.live());
    for line in [
        "plimsoll_limit_requests_total{limit=\"a\",kind=\"rate\",result=\"passed\"} 1\n",
        "plimsoll_limit_requests_total{limit=\"a\",kind=\"rate\",result=\"limited\"} 0\n",
        "plimsoll_limit_requests_total{limit=\"a\",kind=\"rate\",result=\"would_limit\"} 3\n",
        "plimsoll_limit_keys{limit=\"a\",kind=\"rate\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn no_more_keys_are_known_than_may_be() {
    let backend = Backend::start("a");
    let limits = "rate_limits: { a: { key: { header: X-Who }, rate: 10/s, burst: 1, keys: 2 } }";
    let proxy = limited(&backend, "a", limits).await;
    let mut client = Client::h1(proxy.address()).await;
    let flood = async {
        let mut who = 0;
        while limit(&proxy, "a").overflowed == 0 || limit(&proxy, "a").evicted == 0 {
            who += 1;
            client
                .send(asking("/", &[("x-who", &who.to_string())]))
                .await;
            assert!(limit(&proxy, "a").keys <= 2);
        }
    };
    within(flood).await;
    let metrics = scrape(proxy.live());
    for name in [
        "plimsoll_limit_overflow_total",
        "plimsoll_limit_evictions_total",
    ] {
        let none = format!("{name}{{limit=\"a\",kind=\"rate\"}} 0\n");
        assert!(
            metrics.contains(name) && !metrics.contains(&none),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn so_many_at_once_however_they_end() {
    let backend = Backend::start("a");
    let limits = "concurrency_limits: { few: { key: client_ip, max: 2 } }";
    let proxy = limited(&backend, "few", limits).await;
    let in_use = |count| {
        let proxy = &proxy;
        eventually(DEADLINE, move || limit(proxy, "few").in_use == count)
    };
    let hang = async || {
        let mut raw = Raw::connect(proxy.address()).await;
        raw.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw
    };
    let first = hang().await;
    in_use(1).await;
    let mut client = Client::h2(proxy.address()).await;
    let tunnel = client.tunnel("websocket", "/ws").await.unwrap();
    in_use(2).await;
    let refused = client.get("/").await;
    refused.assert_told(429, "http_request_denied", "concurrency_limited");
    // A client that leaves makes room, and so does a tunnel that ends.
    drop(first);
    in_use(1).await;
    assert_eq!(client.get("/").await.backend(), Some("a"));
    drop(tunnel);
    in_use(0).await;
    // So does an answer that is read to its end, and one that is not.
    let both = [hang().await, hang().await];
    in_use(2).await;
    assert_eq!(client.get("/").await.status, 429);
    drop(both);
    in_use(0).await;
    assert_eq!(client.get("/").await.backend(), Some("a"));
    let metrics = scrape(proxy.live());
    assert!(
        metrics.contains("plimsoll_limit_in_use{limit=\"few\"} 0\n"),
        "{metrics}"
    );
    assert_eq!(limit(&proxy, "few").limited, 2);
}

#[tokio::test]
async fn what_is_known_of_clients_stays_over_a_reload() {
    let backend = Backend::start("a");
    let yaml = |rate: &str, name: &str| {
        let route = format!("limits: [{name}]");
        let limits =
            format!("rate_limits: {{ {name}: {{ key: client_ip, rate: {rate}, burst: 2 }} }}\n");
        config(&[backend.endpoint()], "", &route, "") + &limits
    };
    let proxy = Proxy::start(&yaml("1/h", "a")).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut status = async || client.get("/").await.status.as_u16();
    assert_eq!(
        [status().await, status().await, status().await],
        [200, 200, 429]
    );
    let changes = proxy.reload(&yaml("2/h", "a")).await.unwrap();
    assert_eq!(changes.limits.changed, ["a"]);
    assert_eq!(status().await, 429);
    assert_eq!(limit(&proxy, "a").limited, 2);
    // What had to be waited for an hour for does not keep a faster rate from letting in soon.
    proxy.reload(&yaml("50/s", "a")).await.unwrap();
    within(async { while status().await == 429 {} }).await;
    // Under another name nothing is known.
    let changes = proxy.reload(&yaml("1/h", "b")).await.unwrap();
    assert_eq!(
        (changes.limits.added, changes.limits.removed),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
    assert_eq!(
        [status().await, status().await, status().await],
        [200, 200, 429]
    );
}

/// Asks as fast as it is answered until the time is over; gives how often it was let in, and how often not.
async fn ask_until(
    mut client: Client,
    clock: Clock,
    end: Instant,
    who: &'static str,
) -> (u64, u64) {
    let (mut passed, mut refused) = (0, 0);
    while clock.now() < end {
        match client
            .send(asking("/", &[("x-who", who)]))
            .await
            .status
            .as_u16()
        {
            200 => passed += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    (passed, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_all_workers_no_more_pass_than_rate_and_burst() {
    let yaml = "workers: 4\n\
                listeners: { web: { address: '127.0.0.1:0' } }\n\
                routes: [{ respond: {}, limits: [a] }]\n\
                rate_limits: { a: { key: { header: X-Who }, rate: 500/s, burst: 50 } }\n";
    let proxy = Proxy::start(yaml).await;
    let clients = futures(8, async |_| Client::h1(proxy.address()).await).await;
    let clock = Clock::system();
    let end = clock.now() + Duration::from_millis(1500);
    let asking = clients
        .into_iter()
        .map(|client| tokio::spawn(ask_until(client, clock, end, "all")));
    let (mut passed, mut refused) = (0, 0);
    for each in asking.collect::<Vec<_>>() {
        let (own, not) = within(each).await.unwrap();
        (passed, refused) = (passed + own, refused + not);
    }
    // The clock began before the first request, and stops after the last answer.
    let taken = clock.now().since(Instant(0)).as_secs_f64();
    let most = (500.0 * taken) as u64 + 50;
    assert!(passed <= most, "{passed} of {most} in {taken} s");
    // And most of them do, though the clients, too, have to share two cores with whatever else runs.
    assert!(
        refused > 0 && passed * 5 >= most * 4,
        "{passed} of {most} passed, {refused} did not"
    );
    let known = limit(&proxy, "a");
    assert_eq!((known.passed, known.limited), (passed, refused));
    println!("{passed} passed of {most} that may in {taken:.3} s, {refused} were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greedy_client_takes_nothing_from_polite_ones() {
    const POLITE: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let yaml = "workers: 2\n\
                listeners: { web: { address: '127.0.0.1:0' } }\n\
                routes: [{ respond: {}, limits: [a] }]\n\
                rate_limits: { a: { key: { header: X-Who }, rate: 100/s, burst: 10 } }\n";
    let proxy = Proxy::start(yaml).await;
    let clock = Clock::system();
    let end = clock.now() + Duration::from_secs(2);
    let mut greedy = Vec::new();
    for _ in 0..2 {
        let client = Client::h1(proxy.address()).await;
        greedy.push(tokio::spawn(ask_until(client, clock, end, "greedy")));
    }
    let mut polite = Vec::new();
    for who in POLITE {
        let mut client = Client::h1(proxy.address()).await;
        polite.push(tokio::spawn(async move {
            let mut served = 0_u64;
            // Two thirds of what each may, at most.
            let mut pause = tokio::time::interval(Duration::from_millis(15));
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..100 {
                pause.tick().await;
                let answer = client.send(asking("/", &[("x-who", who)])).await;
                served += u64::from(answer.status == 200);
            }
            served
        }));
    }
    let mut served = 0;
    for each in polite {
        served += within(each).await.unwrap();
    }
    let (mut passed, mut refused) = (0, 0);
    for each in greedy {
        let (own, not) = within(each).await.unwrap();
        (passed, refused) = (passed + own, refused + not);
    }
    assert!(
        served >= 999,
        "of 1000 polite requests {served} were served"
    );
    assert!(
        refused > passed,
        "{passed} greedy requests passed, {refused} did not"
    );
    println!("polite: {served} of 1000; greedy: {passed} passed, {refused} did not");
}

/// What `make` gives, so many times.
async fn futures<T>(count: usize, make: impl AsyncFn(usize) -> T) -> Vec<T> {
    let mut all = Vec::new();
    for index in 0..count {
        all.push(make(index).await);
    }
    all
}
