//! The result of a keyed request is for who it was found to be, however that was found.

use super::*;
use crate::harness::{Authority, Client, Outgoing, Scripted, Step, fields, showing};

/// A keyed POST with these lines in its head.
fn post(target: &str, lines: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nIdempotency-Key: \"1\"\r\nContent-Length: 5\r\n{lines}\r\npay 5"
    )
}

/// Whether the answer was that of a request before.
async fn is_replayed(door: &Entrance, request: &str) -> bool {
    let mut client = door.connect().await;
    client.send(request.to_owned()).await;
    let answer = client.response().await;
    assert_eq!(answer.status(), 200, "{request}");
    answer.field("idempotent-replayed").is_some()
}

/// A route with `idempotency` of which these are the keys.
async fn door(auth: &str, upstreams: &str, idempotency: &str) -> Entrance {
    let auth = format!("{auth} }}, idempotency: {{ {idempotency}");
    let door = Entrance::between(&auth, "", upstreams).await;
    let keys = [("partner", "k-1"), ("partner", "k-2"), ("other", "k-3")];
    let keys = keys.map(|(name, key)| key_line(name, key.as_bytes()));
    door.files.write("keys", keys.join("\n"));
    let yaml = yaml(&door.files, &door.backend.endpoint(), &auth, "", upstreams);
    door.proxy.reload(&yaml).await.unwrap();
    door
}

#[tokio::test]
async fn keys_of_different_names_get_results_of_their_own() {
    let auth = "api_key: { keys_file: KEYS, query: key }, identity_header: X-User";
    for idempotency in ["", "credentials: []"] {
        let door = door(auth, "", idempotency).await;
        let by_field = |key: &str| post("/headers", &format!("X-Api-Key: {key}\r\n"));
        assert!(!is_replayed(&door, &by_field("k-1")).await);
        assert!(!is_replayed(&door, &by_field("k-3")).await);
        assert!(is_replayed(&door, &by_field("k-1")).await);
        // Another key of the same name, and the same one elsewhere, are the same client.
        assert!(is_replayed(&door, &by_field("k-2")).await);
        assert!(is_replayed(&door, &post("/headers?key=k-3", "")).await);
        let told = door.connect().await.ask(&by_field("k-3")).await;
        assert_eq!(fields(&told, "x-user"), ["other"]);
        assert_eq!(door.backend.counters().requests(), 2);
    }
}

#[tokio::test]
async fn users_are_told_apart_whatever_the_credentials_are() {
    let auth = "basic: { users_file: USERS }";
    let door = door(auth, "", "credentials: [X-Tenant]").await;
    let of = |user: &str, password: &str| post("/headers", &basic(user, password));
    assert!(!is_replayed(&door, &of("ops", "s3cret:x")).await);
    assert!(!is_replayed(&door, &of("dev", "")).await);
    assert!(is_replayed(&door, &of("ops", "s3cret:x")).await);
}

#[tokio::test]
async fn whom_a_service_lets_in_is_told_apart_by_what_it_says() {
    for (forward, field) in [
        ("identity: X-Name", "X-Name"),
        ("copy: [X-Name]", "X-Name"),
        // It was to name it, and did not.
        ("identity: X-Else, copy: [X-Name]", "X-Name"),
    ] {
        let answers = ["ann", "bob", "ann"].map(|name| {
            let answer = format!("HTTP/1.1 200 OK\r\n{field}: {name}\r\nContent-Length: 0\r\n\r\n");
            vec![Step::ReadHead, Step::write(answer.as_str())]
        });
        let service = Scripted::play(vec![answers.concat()]).await;
        let endpoint = service.address().to_string();
        let upstreams = format!("  gate: {{ endpoints: [{endpoint:?}], retry: off }}\n");
        let auth = format!("forward: {{ upstream: gate, {forward} }}");
        let door = door(&auth, &upstreams, "").await;
        let request = post("/headers", "");
        assert!(!is_replayed(&door, &request).await, "{forward}");
        assert!(!is_replayed(&door, &request).await, "{forward}");
        assert!(is_replayed(&door, &request).await, "{forward}");
    }
}

#[tokio::test]
async fn certificates_tell_clients_apart() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Directory::new());
    let (cert, key) = authority.identity(&["localhost"]).write(&files, "web");
    let ca = clients.write(&files, "clients.pem");
    let backend = Backend::start("a");
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ], \
         client: {{ ca: {ca:?} }} }} }} }}\n\
         routes: [ {{ upstream: pool, idempotency: {{}} }} ]\n\
         upstreams: {{ pool: {{ endpoints: [{:?}] }} }}\n",
        backend.endpoint()
    ))
    .await;
    let (ada, eve) = (clients.of_client("Ada"), clients.of_client("Eve"));
    for (who, replayed) in [(&ada, false), (&eve, false), (&ada, true), (&eve, true)] {
        let config = showing(&authority, who, &["http/1.1"]);
        let mut client = Client::tls(proxy.address(), &config).await;
        let request = hyper::Request::post("/echo").header("idempotency-key", "\"1\"");
        let answer = client.send(request.body(Outgoing::whole("pay 5")).unwrap());
        let is_told = answer.await.header("idempotent-replayed").is_some();
        assert_eq!(is_told, replayed);
    }
    assert_eq!(backend.counters().requests(), 2);
}
