//! Where sessions go: they stay at their endpoint, only those of a lost one move, and they move once.

use hyper::{HeaderMap, Request};
use plimsoll::balance::Exclusion;

use super::cookies::{OLD, secrets};
use super::{Pool, Tally, hang, hold, of, picks, reached, reload, start, upstream, yaml};
use crate::harness::{
    Answer, Backend, Client, DEADLINE, Directory, Outgoing, Proxy, eventually, within,
};

/// The values of `Set-Cookie`.
pub(super) fn set(headers: &HeaderMap) -> Vec<&str> {
    let all = headers.get_all("set-cookie").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

/// The session that an answer binds its client to, as the client sends it back; `None`: it binds it to none anew.
pub(super) fn given(answer: &Answer) -> Option<String> {
    match set(&answer.headers)[..] {
        [] => None,
        [cookie] => Some(cookie.split("; ").next().unwrap().to_owned()),
        _ => panic!("several cookies: {answer:?}"),
    }
}

/// A client that keeps what it is given, as a browser does, and remembers who answered it last.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) cookie: String,
    pub(super) backend: String,
    /// How often it was bound anew.
    pub(super) moves: usize,
}

impl Session {
    pub(super) async fn begin(client: &mut Client) -> Self {
        let answer = client.get("/").await;
        Self {
            cookie: given(&answer).expect("a new client is bound"),
            backend: answer.backend().unwrap().to_owned(),
            moves: 0,
        }
    }

    pub(super) async fn go_on(&mut self, client: &mut Client) {
        let answer = with_cookie(client, "/", &self.cookie).await;
        self.backend = answer.backend().unwrap().to_owned();
        if let Some(cookie) = given(&answer) {
            self.cookie = cookie;
            self.moves += 1;
        }
    }
}

pub(super) async fn with_cookie(client: &mut Client, path: &str, cookie: &str) -> Answer {
    let request = Request::get(path).header("cookie", cookie);
    client.send(request.body(Outgoing::empty()).unwrap()).await
}

/// So many sessions, in turn at each of the endpoints.
async fn sessions(client: &mut Client, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(Session::begin(client).await);
    }
    sessions
}

pub(super) const TURNS: &str = "balance: round_robin, sticky: {}";

#[tokio::test]
async fn a_session_stays_and_its_cookie_says_how_it_is_to_be_kept() {
    let pool = Pool::start(3);
    let proxy = start(&pool, TURNS).await;
    for is_h2 in [false, true] {
        let mut client = match is_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let first = client.get("/").await;
        let cookies = set(&first.headers);
        let (pair, attributes) = cookies[0].split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        let value = pair.strip_prefix("plimsoll=").unwrap();
        // It does not show the address, and two for one endpoint are told apart by nothing but their time.
        assert_eq!(value.len(), 44);
        for turn in 0..10 {
            let cookie = if turn % 2 == 0 {
                pair.to_owned()
            } else {
                format!("a=b; {pair}; c=d")
            };
            let again = with_cookie(&mut client, "/", &cookie).await;
            assert_eq!(again.backend(), first.backend());
            assert_eq!(given(&again), None, "it is good for half an hour yet");
        }
    }
    assert_eq!(picks(&proxy, "bound"), 20);
}

#[tokio::test]
async fn only_the_sessions_of_a_stopped_endpoint_move_and_they_stay_where_they_went() {
    let mut pool = Pool::start(3);
    // At an address where no other test binds a port meanwhile.
    let apart = ([127, 0, 0, 77], 0).into();
    pool.backends[1] = Backend::labelled("b").at(apart).start();
    // So that it gets its whole share at once when it is back.
    let proxy = start(&pool, &format!("{TURNS}, failure_penalty: off")).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut all = sessions(&mut client, 12).await;
    let before: Vec<String> = all.iter().map(|one| one.backend.clone()).collect();
    let lost = pool.backends.remove(1);
    let address = lost.address();
    drop(lost);
    for _ in 0..3 {
        for session in &mut all {
            session.go_on(&mut client).await;
        }
    }
    let after: Vec<String> = all.iter().map(|one| one.backend.clone()).collect();
    for (session, before) in all.iter().zip(&before) {
        let moves = usize::from(before == "b");
        assert_eq!(session.moves, moves, "{before} to {session:?}");
        assert!(session.backend != "b" && (before == "b" || session.backend == *before));
    }
    let _back = Backend::labelled("b").at(address).start();
    for (session, before) in all.iter_mut().zip(&after) {
        session.go_on(&mut client).await;
        assert_eq!(session.backend, *before);
    }
    // It is used again.
    let new = sessions(&mut client, 6).await;
    assert!(new.iter().any(|session| session.backend == "b"), "{new:?}");
}

#[tokio::test]
async fn only_the_sessions_of_a_removed_or_unhealthy_endpoint_move() {
    let pool = Pool::start(3);
    let proxy = start(&pool, TURNS).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut all = sessions(&mut client, 9).await;
    let before: Vec<String> = all.iter().map(|one| one.backend.clone()).collect();
    let written = pool.written(&[]);
    let two = [&written[..1], &written[2..]].concat();
    reload(&proxy, &yaml(&two, TURNS)).await;
    for session in &mut all {
        session.go_on(&mut client).await;
    }
    reload(&proxy, &yaml(&written, TURNS)).await;
    for session in &mut all {
        session.go_on(&mut client).await;
    }
    hold(&proxy, &["c"], true);
    for session in &mut all {
        session.go_on(&mut client).await;
    }
    hold(&proxy, &["c"], false);
    for session in &mut all {
        session.go_on(&mut client).await;
    }
    for (session, before) in all.iter().zip(&before) {
        assert!(session.backend != "c", "{session:?}");
        match &before[..] {
            "a" => assert_eq!((&session.backend[..], session.moves), ("a", 0)),
            // It may have gone to `c`, which was lost after it.
            "b" => assert!((1..=2).contains(&session.moves), "{session:?}"),
            _ => assert_eq!(session.moves, 1, "{session:?}"),
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_is_emptied_keeps_its_sessions_and_gets_no_new_ones() {
    for emptied in ["draining: true", "weight: 0", "backup: true", "priority: 1"] {
        let pool = Pool::start(3);
        let proxy = start(&pool, TURNS).await;
        let mut client = Client::h1(proxy.address()).await;
        let mut all = sessions(&mut client, 9).await;
        let before: Vec<String> = all.iter().map(|one| one.backend.clone()).collect();
        reload(&proxy, &yaml(&pool.written(&["", emptied]), TURNS)).await;
        let new = sessions(&mut client, 6).await;
        assert!(
            new.iter().all(|new| new.backend != "b"),
            "{emptied}: {new:?}"
        );
        for (session, before) in all.iter_mut().zip(&before) {
            session.go_on(&mut client).await;
            assert_eq!((&session.backend, session.moves), (before, 0), "{emptied}");
        }
        // Unless it is lost as well.
        hold(&proxy, &["b"], true);
        for (session, before) in all.iter_mut().zip(&before) {
            session.go_on(&mut client).await;
            assert_eq!(
                session.moves,
                usize::from(before == "b"),
                "{emptied}: {session:?}"
            );
            assert_ne!(session.backend, "b", "{emptied}");
        }
    }
}

#[tokio::test]
async fn a_full_endpoint_lends_its_session_out_and_keeps_it() {
    let pool = Pool::start(2);
    let proxy = start(&pool, &format!("{TURNS}, connections: {{ max: 1 }}")).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut session = Session::begin(&mut client).await;
    let home = session.backend.clone();
    let held = hang(proxy.address(), &format!("Cookie: {}\r\n", session.cookie)).await;
    pool.holds(1).await;
    for _ in 0..3 {
        session.go_on(&mut client).await;
        assert_ne!(session.backend, home);
    }
    drop(held);
    eventually(DEADLINE, || {
        reached(&proxy, &home).signals.in_flight.load() == 0
    })
    .await;
    session.go_on(&mut client).await;
    assert_eq!((&session.backend, session.moves), (&home, 0));

    // One that is out is lost, however full it is: its session moves and does not come back.
    let _held = hang(proxy.address(), &format!("Cookie: {}\r\n", session.cookie)).await;
    pool.holds(1).await;
    hold(&proxy, &[&home], true);
    session.go_on(&mut client).await;
    assert_eq!(session.moves, 1);
    hold(&proxy, &[&home], false);
    session.go_on(&mut client).await;
    assert!(session.backend != home && session.moves == 1);
}

/// Two workers may both see room for the last connection, and one of them dials in vain.
#[tokio::test]
async fn a_race_for_the_last_connection_moves_no_session() {
    let pool = Pool::start(2);
    let config = yaml(
        &pool.written(&[]),
        &format!("{TURNS}, connections: {{ max: 1 }}"),
    );
    let proxy = Proxy::start(&config.replacen("workers: 1", "workers: 2", 1)).await;
    let address = proxy.address();
    let session = Session::begin(&mut Client::h1(address).await).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut session = session.clone();
        asking.spawn(async move {
            let mut client = Client::h1(address).await;
            for _ in 0..10 {
                let answer = with_cookie(&mut client, "/close", &session.cookie).await;
                session.moves += usize::from(given(&answer).is_some());
            }
            session.moves
        });
    }
    let moves = within(asking.join_all()).await;
    assert_eq!(moves.iter().sum::<usize>(), 0, "{moves:?}");
}

#[tokio::test]
async fn a_request_with_a_body_moves_with_its_session() {
    let mut pool = Pool::start(2);
    let proxy = start(&pool, TURNS).await;
    let mut client = Client::h1(proxy.address()).await;
    let session = Session::begin(&mut client).await;
    let lost = usize::from(session.backend == "b");
    let other = pool.backends[1 - lost].endpoint();
    drop(pool.backends.remove(lost));
    let body = vec![b'x'; 20_000];
    let request = Request::post("/echo").header("cookie", &session.cookie);
    let answer = client
        .send(request.body(Outgoing::whole(body.clone())).unwrap())
        .await;
    assert_eq!(answer.status, 200, "{other} could have answered");
    assert_eq!(answer.body, body);
    assert_ne!(answer.backend(), Some(&session.backend[..]));
    let moved = given(&answer).expect("bound to who answered");
    let again = with_cookie(&mut client, "/", &moved).await;
    assert_eq!(again.backend(), answer.backend());
    assert_eq!(given(&again), None);
}

#[tokio::test]
async fn a_session_of_another_subset_moves() {
    let pool = Pool::start(2);
    let written = pool.written(&["metadata: { v: x }", "metadata: { v: y }"]);
    let upstream = "sticky: {}, subset: { metadata: v, header: X-V }";
    let proxy = Proxy::start(&yaml(&written, upstream)).await;
    let mut client = Client::h1(proxy.address()).await;
    let asking = |value: &str, cookie: &str| {
        let request = Request::get("/").header("x-v", value);
        let request = request.header("cookie", cookie);
        request.body(Outgoing::empty()).unwrap()
    };
    let first = client.send(asking("x", "")).await;
    assert_eq!(first.backend(), Some("a"));
    let cookie = given(&first).unwrap();
    let other = client.send(asking("y", &cookie)).await;
    assert_eq!(other.backend(), Some("b"));
    assert!(given(&other).is_some());
}

/// Each proxy has endpoints of its own, and a client may come by way of any proxy.
#[tokio::test]
async fn a_session_reaches_its_endpoint_through_a_proxy_that_uses_others() {
    let directory = Directory::new();
    let pool = Pool::start(6);
    let upstream = secrets(&directory, "shared", &[OLD]) + ", random_subset: 2";
    let mut proxies = Vec::new();
    for _ in 0..4 {
        proxies.push(start(&pool, &upstream).await);
    }
    let mut client = Client::h1(proxies[0].address()).await;
    let mut session = Session::begin(&mut client).await;
    let home = session.backend.clone();
    for proxy in &proxies {
        let mut client = Client::h1(proxy.address()).await;
        session.go_on(&mut client).await;
        assert_eq!((&session.backend, session.moves), (&home, 0));
    }
}

#[tokio::test]
async fn sessions_are_counted_where_they_are_bound() {
    let pool = Pool::start(3);
    let proxy = start(&pool, TURNS).await;
    let mut client = Client::h1(proxy.address()).await;
    let mut all = sessions(&mut client, 30).await;
    let mut tally = Tally::new();
    for session in &mut all {
        session.go_on(&mut client).await;
        *tally.entry(session.backend.clone()).or_default() += 1;
    }
    // New ones are placed by the policy: exactly in turn.
    assert!(
        ["a", "b", "c"].iter().all(|label| of(&tally, label) == 10),
        "{tally:?}"
    );
    let now = proxy.live().clock.now();
    reached(&proxy, "a").hold(Exclusion::BreakerOpen, true, now);
    upstream(&proxy).look(now);
    let lost = all
        .iter_mut()
        .find(|session| session.backend == "a")
        .unwrap();
    lost.go_on(&mut client).await;
    assert_eq!(lost.moves, 1);
}
