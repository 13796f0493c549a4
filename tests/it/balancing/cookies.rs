//! The cookies that bind sessions: what they look like, who believes them, and for how long.

use std::time::Duration;

use hyper::Method;
use plimsoll::balance::{SameSite, Secrets, SessionCookie, Sticky};

use super::sticky::{Session, TURNS, given, set, with_cookie};
use super::{Pool, endpoint, hold, picks, reload, start, yaml, yaml_with};
use crate::harness::{
    Authority, Client, DEADLINE, Directory, Outgoing, Process, Proxy, Raw, Scripted, eventually,
    request, within,
};

#[tokio::test]
async fn the_configured_name_path_time_and_sites_are_in_the_cookie() {
    let pool = Pool::start(1);
    let sticky = "sticky: { cookie: sid, ttl: 90s, path: /app, same_site: none }";
    let proxy = start(&pool, sticky).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    let cookies = set(&answer.headers);
    assert!(cookies[0].starts_with("sid="), "{cookies:?}");
    let attributes = "; Path=/app; Max-Age=90; HttpOnly; SameSite=None; Secure";
    assert!(cookies[0].ends_with(attributes), "{cookies:?}");
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_tls_alone() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let (cert, key) = authority.identity(&["localhost"]).write(&directory, "site");
    let pool = Pool::start(2);
    let tls = format!("tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}");
    let upstream =
        "balance: { consistent_hash: { key: { cookie: { name: v, create: true } } } }, sticky: {}";
    let proxy = Proxy::start(&yaml_with(&pool.written(&[]), &tls, "", upstream)).await;
    for alpn in ["h2", "http/1.1"] {
        let mut client = Client::tls(proxy.address(), &authority.client(&[alpn])).await;
        let answer = client.get("/").await;
        let cookies = set(&answer.headers);
        assert_eq!(cookies.len(), 2, "that of the key, and that of the session");
        assert!(
            cookies
                .iter()
                .all(|cookie| cookie.ends_with("; HttpOnly; SameSite=Lax; Secure")),
            "{cookies:?}"
        );
    }
}

/// A file of secrets with these lines.
pub(super) fn secrets(directory: &Directory, name: &str, lines: &[&str]) -> String {
    let path = directory.write(name, lines.join("\n"));
    format!("balance: round_robin, sticky: {{ secret_file: {path:?} }}")
}

pub(super) const OLD: &str = "an old secret, of 32 bytes or more";
const NEW: &str = "a new secret, of 32 bytes or more!";

#[tokio::test]
async fn proxies_with_one_secret_know_each_others_sessions_and_no_others() {
    let directory = Directory::new();
    let pool = Pool::start(3);
    let shared = secrets(&directory, "shared", &[OLD]);
    let first = start(&pool, &shared).await;
    let second = start(&pool, &shared).await;
    let renewed = start(&pool, &secrets(&directory, "renewed", &[NEW, OLD])).await;
    let strange = start(&pool, &secrets(&directory, "strange", &[NEW])).await;
    let alone = start(&pool, TURNS).await;
    // The same endpoints and the same secret, of an upstream of another name.
    let other = yaml(&pool.written(&[]), &shared).replace("pool", "other");
    let other = Proxy::start(&other).await;
    let mut begun = Client::h1(first.address()).await;
    let mut session = Session::begin(&mut begun).await;
    for (proxy, knows) in [
        (&second, true),
        (&renewed, true),
        (&strange, false),
        (&alone, false),
        (&other, false),
    ] {
        let mut client = Client::h1(proxy.address()).await;
        for _ in 0..4 {
            let answer = with_cookie(&mut client, "/", &session.cookie).await;
            assert_eq!(given(&answer).is_none(), knows, "known, or replaced");
            if knows {
                assert_eq!(answer.backend(), Some(&session.backend[..]));
            }
        }
        let bound = picks(proxy, "bound");
        assert_eq!(bound, if knows { 4 } else { 0 });
    }
    // What the new secret has signed is not known where only the old one is.
    let mut client = Client::h1(renewed.address()).await;
    let newer = Session::begin(&mut client).await;
    assert!(given(&with_cookie(&mut begun, "/", &newer.cookie).await).is_some());
    session.go_on(&mut begun).await;
    assert_eq!(session.moves, 0);
}

#[tokio::test]
async fn a_forged_cookie_is_ignored_and_replaced() {
    let pool = Pool::start(3);
    let proxy = start(&pool, TURNS).await;
    let mut client = Client::h1(proxy.address()).await;
    let session = Session::begin(&mut client).await;
    let value = session.cookie.strip_prefix("plimsoll=").unwrap();
    let mut forged = vec![
        String::new(),
        "a".to_owned(),
        "A".repeat(44),
        format!("{value}A"),
        value[..43].to_owned(),
        format!("\"{value}\""),
        format!("%41{}", &value[1..]),
        value.to_ascii_lowercase(),
    ];
    for place in 0..44 {
        let mut letters = value.as_bytes().to_vec();
        letters[place] = if letters[place] == b'B' { b'C' } else { b'B' };
        forged.push(String::from_utf8(letters).unwrap());
    }
    for value in &forged {
        let answer = with_cookie(&mut client, "/", &format!("plimsoll={value}")).await;
        assert!(given(&answer).is_some(), "{value}");
    }
    assert_eq!(picks(&proxy, "bound"), 0);
    // A good one behind others, as a browser sends that knows two of the name, still counts.
    let both = format!("plimsoll={}; {}", forged[2], session.cookie);
    let answer = with_cookie(&mut client, "/", &both).await;
    assert_eq!(answer.backend(), Some(&session.backend[..]));
    assert_eq!(given(&answer), None);
}

#[tokio::test]
async fn secrets_are_exchanged_with_their_file_and_sessions_stay_as_long_as_theirs_is_there() {
    let directory = Directory::new();
    let pool = Pool::start(3);
    let proxy = start(&pool, &secrets(&directory, "secret", &[OLD])).await;
    let mut client = Client::h1(proxy.address()).await;
    let begun = client.get("/").await;
    let cookie = given(&begun).unwrap();
    for (lines, is_bound) in [(&[NEW, OLD][..], true), (&[NEW][..], false)] {
        let applied = || proxy.live().credentials.read()[0].1;
        let before = applied();
        secrets(&directory, "secret", lines);
        eventually(DEADLINE, || applied() == before + 1).await;
        let picked = picks(&proxy, "bound");
        let answer = with_cookie(&mut client, "/", &cookie).await;
        let bound = picks(&proxy, "bound") - picked;
        assert_eq!(bound, u64::from(is_bound), "{lines:?}");
        assert_eq!(given(&answer).is_none(), is_bound, "{lines:?}");
    }
}

/// That time is of the wall, and is not waited for: the cookies are sealed as if it had passed.
#[tokio::test]
async fn a_session_is_renewed_in_its_second_half_and_ends_with_its_time() {
    const TTL: u64 = 600;
    let directory = Directory::new();
    let pool = Pool::start(3);
    let path = directory.write("secret", OLD);
    let upstream =
        format!("balance: round_robin, sticky: {{ secret_file: {path:?}, ttl: {TTL}s }}");
    let proxy = start(&pool, &upstream).await;
    let hash = |name: &str| xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    let sealed = |upstream: &str, id: &str, at: u64| {
        let cookie = SessionCookie {
            name: "plimsoll".into(),
            path: "/".into(),
            ttl: Duration::from_secs(TTL),
            same_site: SameSite::Lax,
        };
        let secrets = Secrets::new(OLD.as_bytes(), &[]);
        let value = Sticky::new(cookie, secrets, hash(upstream)).seal(hash(id), at);
        format!("plimsoll={}", std::str::from_utf8(&value).unwrap())
    };
    let wall = plimsoll::clock::wall().duration_since(std::time::UNIX_EPOCH);
    let now = wall.unwrap().as_secs();
    let mut client = Client::h1(proxy.address()).await;
    for (cookie, is_bound, is_set) in [
        (sealed("pool", "b", now - 100), true, false),
        (sealed("pool", "b", now - 400), true, true),
        // By a proxy whose clock is ahead.
        (sealed("pool", "b", now + 300), true, true),
        (sealed("pool", "b", now - TTL - 1), false, true),
        (sealed("pool", "b", 0), false, true),
        (sealed("pool", "gone", now), false, true),
        (sealed("other", "b", now), false, true),
    ] {
        let before = picks(&proxy, "bound");
        let answer = with_cookie(&mut client, "/", &cookie).await;
        assert_eq!(
            picks(&proxy, "bound") - before,
            u64::from(is_bound),
            "{cookie}"
        );
        let set = given(&answer);
        assert_eq!(set.is_some(), is_set, "{cookie}");
        if is_bound {
            assert_eq!(answer.backend(), Some("b"));
        }
        if let Some(set) = set {
            let again = with_cookie(&mut client, "/", &set).await;
            assert_eq!((again.backend(), given(&again)), (answer.backend(), None));
        }
    }
}

#[tokio::test]
async fn every_kind_of_answer_of_an_endpoint_binds_and_none_of_ours_does() {
    let pool = Pool::start(1);
    let proxy = start(&pool, "sticky: {}").await;
    let address = proxy.address();
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(address).await,
            true => Client::h2(address).await,
        };
        for path in [
            "/status/204",
            "/status/304",
            "/status/404",
            "/status/503",
            "/chunked/100/10/0",
            "/trailers",
        ] {
            let answer = client.get(path).await;
            assert!(given(&answer).is_some(), "{path}: {answer:?}");
        }
        let head = request(Method::HEAD, "/", Outgoing::empty());
        assert!(given(&client.send(head).await).is_some());
    }
    let mut connect = request(Method::CONNECT, "/ws", Outgoing::empty());
    let websocket = hyper::ext::Protocol::from_static("websocket");
    connect.extensions_mut().insert(websocket);
    let mut client = Client::h2(address).await;
    let agreed = client.open(connect).await.unwrap();
    assert_eq!(agreed.status(), 200);
    assert_eq!(set(agreed.headers()).len(), 1);
    let mut raw = Raw::connect(address).await;
    raw.send("GET /early/1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = raw.response().await;
    assert_eq!(answer.interim[0].field("set-cookie"), None);
    assert!(answer.field("set-cookie").is_some());
    raw.send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    let head = raw.head().await;
    assert_eq!(head.status(), 101);
    assert!(head.field("set-cookie").is_some(), "{head:?}");
    hold(&proxy, &["a"], true);
    let mut client = Client::h1(address).await;
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), given(&answer)), (503, None));
}

/// What an endpoint says of its connection is not said of the proxy's fields.
#[tokio::test]
async fn an_endpoint_cannot_take_the_cookie_away() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: set-cookie, plimsoll\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n";
    let scripted = Scripted::start(vec![answer.into()]).await;
    let endpoints = [endpoint("a", &scripted.address().to_string(), "")];
    let proxy = Proxy::start(&yaml(&endpoints, "sticky: {}")).await;
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let answer = client.get("/").await;
        assert!(given(&answer).unwrap().starts_with("plimsoll="));
    }
}

#[test]
fn a_secret_that_could_be_guessed_or_read_is_refused_at_start() {
    let directory = Directory::new();
    let start = |upstream: &str| {
        let endpoints = [endpoint("a", "127.0.0.1:1", "")];
        let file = directory.write("plimsoll.yaml", yaml(&endpoints, upstream));
        let mut process = Process::start(&["run", "-c", file.to_str().unwrap()]);
        let code = process.wait();
        (code, process.stderr())
    };
    for (name, lines, reason) in [
        (
            "weak",
            &["guess me"][..],
            ", line 1: a secret of 32 bytes or more is needed",
        ),
        (
            "second",
            &[OLD, "", "guess me"],
            ", line 3: a secret of 32 bytes or more is needed",
        ),
        (
            "empty",
            &["", ""],
            " is empty; write a line of 32 bytes or more",
        ),
    ] {
        let (code, stderr) = start(&secrets(&directory, name, lines));
        assert_eq!(code, Some(3), "{stderr}");
        let path = directory.path().join(name);
        let told = format!(
            "upstreams.pool.sticky: the secret file {}{reason}",
            path.display()
        );
        assert!(stderr.contains(&told), "{stderr}");
        assert!(
            !stderr.contains("guess me"),
            "a secret is not shown: {stderr}"
        );
    }
    let (code, stderr) = start("sticky: { secret_file: /nowhere/secret }");
    assert_eq!(code, Some(3), "{stderr}");
    assert!(
        stderr.contains("/nowhere/secret cannot be read"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_reload_with_a_bad_secret_changes_nothing() {
    let directory = Directory::new();
    let pool = Pool::start(2);
    let proxy = start(&pool, &secrets(&directory, "good", &[OLD])).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut session = Session::begin(&mut client).await;
    let short = yaml(
        &pool.written(&[]),
        &secrets(&directory, "short", &["short"]),
    );
    let refused = within(proxy.reload(&short)).await.unwrap_err();
    assert!(refused.to_string().contains("32 bytes"), "{refused}");
    // A new secret in front of the old one loses no session, and signs the next.
    let both = yaml(
        &pool.written(&[]),
        &secrets(&directory, "both", &[NEW, OLD]),
    );
    reload(&proxy, &both).await;
    for _ in 0..4 {
        session.go_on(&mut client).await;
    }
    assert_eq!(session.moves, 0);
    assert_eq!(picks(&proxy, "bound"), 4);
}
