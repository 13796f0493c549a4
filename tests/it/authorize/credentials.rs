//! Passwords and keys.

#![allow(
    clippy::disallowed_methods,
    reason = "what is timed takes as long as hashes do"
)]

use hyper::{HeaderMap, Method};

use super::*;
use crate::harness::{Client, DEADLINE, Outgoing, WebSocket, eventually, field, fields, request};

const PASSWORD: &str = "basic: { users_file: USERS, realm: staging }";
const KEY: &str = "api_key: { keys_file: KEYS, query: key }";

#[tokio::test]
async fn who_came_to_a_gate_is_counted() {
    let door = Entrance::with(PASSWORD).await;
    assert_eq!(door.status(&basic("ops", "s3cret:x")).await, 200);
    assert_eq!(door.status(&basic("ops", "wrong")).await, 401);
    let metrics = Client::h1(door.proxy.admin()).await.get("/metrics").await;
    let of = |name: &str| {
        let mut lines = metrics.text().lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let counted = |verdict: &str| {
        of(&format!(
            "plimsoll_auth_requests_total{{route=\"/*\",verdict=\"{verdict}\"}}"
        ))
    };
    assert_eq!(
        ["allowed", "wrong"].map(counted),
        [Some("1"); 2],
        "{}",
        metrics.text()
    );
    assert_eq!(of("plimsoll_auth_passwords_remembered"), Some("1"));
}

#[tokio::test]
async fn a_password_lets_in_and_nothing_else_does() {
    let door = Entrance::with(PASSWORD).await;
    let other = basic("ops", "s3cret").replace("Authorization: ", "");
    for (name, lines, verdict) in [
        ("none", String::new(), "absent"),
        (
            "another scheme",
            "Authorization: Bearer x\r\n".to_owned(),
            "absent",
        ),
        ("no text", "Authorization: Basic\r\n".to_owned(), "absent"),
        (
            "no base64",
            "Authorization: Basic ???\r\n".to_owned(),
            "malformed",
        ),
        (
            "no colon",
            format!("Authorization: Basic {}\r\n", base64(b"ops")),
            "malformed",
        ),
        (
            "two fields",
            basic("ops", "s3cret:x").repeat(2),
            "malformed",
        ),
        (
            "a list",
            format!("Authorization: {}, {}\r\n", other.trim(), other.trim()),
            "malformed",
        ),
        ("a wrong password", basic("ops", "s3cret"), "wrong"),
        ("the same again", basic("ops", "s3cret"), "wrong"),
        ("another user's", basic("dev", "s3cret:x"), "wrong"),
        ("nobody", basic("nobody", ""), "wrong"),
        ("no user", basic("", "s3cret:x"), "wrong"),
        ("another case", basic("OPS", "s3cret:x"), "wrong"),
        (
            "no UTF-8",
            format!("Authorization: Basic {}\r\n", base64(b"op\xff:x")),
            "wrong",
        ),
    ] {
        let before = door.judged(verdict);
        let mut client = door.connect().await;
        client.send(get("/headers", &lines)).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), 401, "{name}");
        let challenge = "Basic realm=\"staging\", charset=\"UTF-8\"";
        assert_eq!(answer.field("www-authenticate"), Some(challenge), "{name}");
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("http_request_denied") && status.contains("unauthenticated"));
        assert_eq!(door.judged(verdict), before + 1, "{name}");
        // The connection may go on, as browsers do.
        client
            .send(get("/headers", &basic("ops", "s3cret:x")))
            .await;
        assert_eq!(client.response().await.status(), 200, "{name}");
    }
    assert_eq!(door.backend.counters().requests(), 14);
    assert_eq!(door.judged("allowed"), 14);
    assert_eq!(door.status(&basic("dev", "")).await, 200);
}

#[tokio::test]
async fn every_method_and_protocol_is_asked() {
    let door = Entrance::with(PASSWORD).await;
    let lines = basic("ops", "s3cret:x");
    let value = lines.trim().split_once(": ").unwrap().1.to_owned();
    for method in ["HEAD", "OPTIONS", "POST", "DELETE"] {
        for (lines, status) in [("", 401), (&lines[..], 200)] {
            let mut client = door.connect().await;
            let body = if method == "POST" {
                "Content-Length: 3\r\n"
            } else {
                ""
            };
            let text = if method == "POST" { "abc" } else { "" };
            client
                .send(format!(
                    "{method} / HTTP/1.1\r\nHost: a\r\n{lines}{body}\r\n{text}"
                ))
                .await;
            assert_eq!(
                client.response_to(method).await.status(),
                status,
                "{method}"
            );
            // What is left of the request does not become the next one.
            client.send(get("/headers", "")).await;
            assert_eq!(client.response().await.status(), 401, "{method}");
        }
    }
    let mut client = Client::h2(door.proxy.address()).await;
    assert_eq!(client.get("/").await.status, 401);
    let mut asked = request(Method::GET, "/", Outgoing::empty());
    asked
        .headers_mut()
        .insert("authorization", value.parse().unwrap());
    assert_eq!(client.send(asked).await.status, 200);
    // A tunnel is a request like others.
    for mut client in [
        Client::h1(door.proxy.address()).await,
        Client::h2(door.proxy.address()).await,
    ] {
        let refused = client.tunnel("websocket", "/ws").await.unwrap_err();
        assert_eq!(refused.status(), 401);
    }
    assert!(WebSocket::open(door.proxy.address(), "/ws").is_err());
    // HTTP/1.0, and a client that waits for a word before it sends its body.
    let mut client = door.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let answer = client.response_to("POST").await;
    assert_eq!(answer.status(), 401);
    assert!(answer.interim.is_empty());
}

#[tokio::test]
async fn a_key_lets_in_by_its_field_or_by_the_query() {
    let door = Entrance::with(KEY).await;
    for (target, lines, status) in [
        ("/", "", 401),
        ("/", "X-Api-Key: k-1\r\n", 200),
        ("/", "x-api-key: k-2\r\n", 200),
        ("/", "X-Api-Key: k-3\r\n", 401),
        ("/", "X-Api-Key:\r\n", 401),
        ("/", "X-Api-Key: k-1\r\nX-Api-Key: k-1\r\n", 401),
        ("/?key=k-1", "", 200),
        ("/?a=b&%6bey=k%2D2", "", 200),
        ("/?key=k-3", "", 401),
        ("/?key=k-1&key=k-1", "", 401),
        // The field comes first, and it is wrong.
        ("/?key=k-1", "X-Api-Key: k-3\r\n", 401),
    ] {
        let mut client = door.connect().await;
        client.send(get(target, lines)).await;
        let answer = client.response().await;
        assert_eq!(answer.status(), status, "{target} {lines:?}");
        let is_told = answer.field("www-authenticate").is_some();
        assert_eq!(is_told, status == 401);
    }
    // A key in the query goes nowhere.
    let told = door
        .connect()
        .await
        .ask(&get("/headers?a=b&key=k-1&c", ""))
        .await;
    assert_eq!(told["target"], "/headers?a=b&c");
}

#[tokio::test]
async fn a_bearer_token_may_be_the_key() {
    let door = Entrance::with("api_key: { keys_file: KEYS, header: Authorization }").await;
    assert_eq!(door.status("Authorization: Bearer k-1\r\n").await, 200);
    assert_eq!(door.status("Authorization: k-1\r\n").await, 401);
    assert_eq!(door.status(&basic("ops", "k-1")).await, 401);
    let mut client = door.connect().await;
    client.send(get("/", "")).await;
    assert_eq!(
        client.response().await.field("www-authenticate"),
        Some("Bearer")
    );
    let told = door.told("Authorization: Bearer k-2\r\n").await;
    assert!(field(&told, "authorization").is_none());
}

#[tokio::test]
async fn the_endpoint_is_told_who_it_is_and_not_by_the_client() {
    let door = Entrance::with(&format!("{PASSWORD}, identity_header: X-User")).await;
    let forged = "X-User: root\r\nx-user: admin\r\nX_User: root\r\n";
    let told = door.told(&(basic("ops", "s3cret:x") + forged)).await;
    assert_eq!(fields(&told, "x-user"), ["ops"]);
    assert!(fields(&told, "x_user").is_empty());
    assert!(fields(&told, "authorization").is_empty());
    // On a route beside it that asks nobody a stranger is nobody either.
    let told = door.connect().await.ask(&get("/open", forged)).await;
    assert!(fields(&told, "x-user").is_empty());
    let told = door
        .connect()
        .await
        .ask(&get("/open", "Authorization: x\r\n"))
        .await;
    assert_eq!(fields(&told, "authorization"), ["x"]);
    // A proxy that is trusted may say who its client is there, and here it is still asked.
    let trusting = ", trusted_proxies: [127.0.0.0/8]";
    let auth = format!("{PASSWORD}, identity_header: X-User, keep_credentials: true");
    let door = Entrance::between(&auth, trusting, "").await;
    let told = door
        .connect()
        .await
        .ask(&get("/open", "X-User: ann\r\n"))
        .await;
    assert_eq!(fields(&told, "x-user"), ["ann"]);
    assert_eq!(door.status("X-User: ann\r\n").await, 401);
    let told = door
        .told(&(basic("ops", "s3cret:x") + "X-User: ann\r\n"))
        .await;
    assert_eq!(fields(&told, "x-user"), ["ops"]);
    assert_eq!(fields(&told, "authorization").len(), 1);
    let keys = Entrance::with("api_key: { keys_file: KEYS }, identity_header: X-User").await;
    let told = keys.told("X-Api-Key: k-2\r\n").await;
    assert_eq!(fields(&told, "x-user"), ["partner"]);
    assert!(fields(&told, "x-api-key").is_empty());
}

/// Many applications read `X_User` and `X-User` as one field (CGI, WSGI): whoever could send the other spelling would be whom he
/// likes.
#[tokio::test]
async fn no_spelling_lets_a_client_say_who_it_is() {
    let auth = format!("{PASSWORD}, identity_header: X-User");
    let forged = "X_User: root\r\nx_USER: root\r\nX-USER: root\r\nX_Else: kept\r\n";
    for (listener, is_believed) in [
        (", underscores: pass", false),
        (", trusted_proxies: [127.0.0.0/8]", true),
    ] {
        let door = Entrance::between(&auth, listener, "").await;
        let own = basic("ops", "s3cret:x");
        let told = door.told(&(own.clone() + forged)).await;
        assert_eq!(fields(&told, "x-user"), ["ops"], "{listener}");
        assert!(fields(&told, "x_user").is_empty(), "{listener}: {told}");
        assert_eq!(fields(&told, "x_else"), ["kept"]);
        // Of a route that asks nobody, only a proxy that is believed may, and by the name itself.
        let told = door.connect().await.ask(&get("/open", forged)).await;
        let said: &[&str] = if is_believed { &["root"] } else { &[] };
        assert_eq!(fields(&told, "x-user"), said, "{listener}");
        assert!(fields(&told, "x_user").is_empty(), "{listener}: {told}");
        let mut asked = request(Method::GET, "/headers", Outgoing::empty());
        let value = own.trim().split_once(": ").unwrap().1;
        for (name, value) in [
            ("authorization", value),
            ("x_user", "root"),
            ("x-user", "root"),
        ] {
            let name = hyper::header::HeaderName::from_static(name);
            asked.headers_mut().append(name, value.parse().unwrap());
        }
        let mut client = Client::h2(door.proxy.address()).await;
        let told = client.send(asked).await.json();
        assert_eq!(fields(&told, "x-user"), ["ops"], "{listener}");
        assert!(fields(&told, "x_user").is_empty(), "{listener}: {told}");
    }
}

/// What is merged into the head by whoever reads it would be believed there.
#[tokio::test]
async fn no_trailer_says_who_a_client_is() {
    let auth = format!("{PASSWORD}, identity_header: X-User");
    let door = Entrance::between(&auth, ", underscores: pass", "").await;
    let lines = basic("ops", "s3cret:x");
    let asked = format!(
        "POST /checksum HTTP/1.1\r\nHost: a\r\n{lines}Transfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-User: root\r\nX_User: root\r\nX-Sum: 1\r\n\r\n"
    );
    let told = door.connect().await.ask(&asked).await;
    assert_eq!(told["length"], 3);
    assert_eq!(told["trailers"].to_string(), "[[\"x-sum\",\"1\"]]");
}

#[tokio::test]
async fn nobody_is_who_he_says_behind_his_body() {
    let door = Entrance::with(&format!("{PASSWORD}, identity_header: X-User")).await;
    let login = basic("ops", "s3cret:x");
    let login = login.trim_end().split_once(": ").unwrap().1;
    let names = ["x-user", "authorization", "x-sum"];
    let address = door.proxy.address();
    for mut client in [Client::h1(address).await, Client::h2(address).await] {
        let (upload, body) = Outgoing::pieces();
        let mut asked = request(Method::POST, "/checksum", body);
        let head = asked.headers_mut();
        head.insert("authorization", login.parse().unwrap());
        head.insert("trailer", names.join(", ").parse().unwrap());
        let mut trailers = HeaderMap::new();
        for name in names {
            trailers.insert(name, "root".parse().unwrap());
        }
        let feeding = tokio::spawn(upload.finish_with(trailers));
        let told = client.send(asked).await.json()["trailers"].to_string();
        feeding.await.unwrap();
        assert_eq!(told.matches("root").count(), 1, "{told}");
        assert!(told.contains("x-sum"), "{told}");
    }
}

#[tokio::test]
async fn a_redirect_and_an_answer_of_the_route_are_behind_the_gate() {
    let files = Directory::new();
    let users = files.write("users", user("ops", "x"));
    let auth = format!(
        "auth: {{ basic: {{ users_file: {:?} }} }}",
        users.display().to_string()
    );
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n\
         - {{ match: {{ path: /to }}, redirect: {{ path: /secret }}, {auth} }}\n\
         - {{ respond: {{ body: secret }}, {auth} }}\n"
    ))
    .await;
    for (path, status) in [("/to", 308), ("/", 200)] {
        let mut client = Raw::connect(proxy.address()).await;
        client.send(get(path, "")).await;
        let answer = client.response().await;
        assert!(answer.status() == 401 && !answer.text().contains("secret"));
        assert!(answer.field("location").is_none());
        client.send(get(path, &basic("ops", "x"))).await;
        assert_eq!(client.response().await.status(), status);
    }
}

#[tokio::test]
async fn a_keyed_request_is_judged_before_its_result_is_given() {
    let files = Directory::new();
    let users = files.write("users", user("ops", "x") + &user("dev", "y"));
    let backend = Backend::start("a");
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n\
         - {{ upstream: pool, idempotency: {{}}, auth: {{ basic: {{ users_file: {:?} }}, identity_header: X-User }} }}\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        users.display().to_string(),
        backend.endpoint()
    ))
    .await;
    let post = |lines: String| {
        format!(
            "POST /headers HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"1\"\r\nContent-Length: 0\r\n{lines}\r\n"
        )
    };
    let mut client = Raw::connect(proxy.address()).await;
    let told = client.ask(&post(basic("ops", "x"))).await;
    assert_eq!(fields(&told, "x-user"), ["ops"]);
    client.send(post(String::new())).await;
    assert_eq!(client.response().await.status(), 401);
    // The same key of somebody else is another request.
    let told = client.ask(&post(basic("dev", "y"))).await;
    assert_eq!(fields(&told, "x-user"), ["dev"]);
    assert_eq!(backend.counters().requests(), 2);
}

#[tokio::test]
async fn a_reload_takes_over_the_files_and_a_bad_one_changes_nothing() {
    let door = Entrance::with(PASSWORD).await;
    let old = basic("ops", "s3cret:x");
    assert_eq!(door.status(&old).await, 200);
    let yaml = |auth| yaml(&door.files, &door.backend.endpoint(), auth, "", "");
    door.files.write("users", "ops:secret\n");
    let refused = door.proxy.reload(&yaml(PASSWORD)).await.unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("users") && told.contains("line 1"), "{told}");
    assert!(!told.contains("ops:secret"), "{told}");
    assert_eq!(door.status(&old).await, 200);
    door.files.write("users", user("ops", "new"));
    door.proxy.reload(&yaml(PASSWORD)).await.unwrap();
    // A password that was right before is not remembered against the file.
    eventually(DEADLINE, || {
        door.proxy.live().snapshot.load().generation == 2
    })
    .await;
    for _ in 0..2 {
        assert_eq!(door.status(&old).await, 401);
        assert_eq!(door.status(&basic("ops", "new")).await, 200);
    }
}

/// Ten thousand times as costly as those of the other tests: to be judged beside everybody else, not before them.
#[tokio::test]
async fn a_costly_password_holds_up_nobody_else_and_is_hashed_once() {
    let files = Directory::new();
    let hash = Hash::make(b"x", b"saltsalt", 200_000).unwrap();
    let users = files.write("users", format!("ops:{hash}\n"));
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nroutes:\n\
         - {{ match: {{ path: /open }}, respond: {{}} }}\n\
         - {{ respond: {{}}, auth: {{ basic: {{ users_file: {:?} }} }} }}\n",
        users.display().to_string()
    ))
    .await;
    // Eight at once, of which the first finds it out for all, and one that needs no password.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = Raw::connect(proxy.address()).await;
        client.send(get("/", &basic("ops", "x"))).await;
        waiting.push(client);
    }
    let mut other = Raw::connect(proxy.address()).await;
    other.send(get("/open", "")).await;
    assert_eq!(other.response().await.status(), 200);
    for mut client in waiting {
        assert_eq!(client.response().await.status(), 200);
    }
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        other.send(get("/", &basic("ops", "x"))).await;
        assert_eq!(other.response().await.status(), 200);
    }
    // Two hundred hashes would take a minute without optimisation, and seconds with it.
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
}
