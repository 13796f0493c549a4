//! Limits of those whose names are known.

use super::*;

#[tokio::test]
async fn a_limit_by_identity_that_refuses_takes_nothing_of_the_others() {
    let files = Directory::new();
    let keys = ["ann", "bob"].map(|name| key_line(name, format!("key-of-{name}").as_bytes()));
    let keys = files.write("keys", keys.join("\n"));
    let proxy = Proxy::start(&format!(
        "workers: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ limits: [all, who], auth: {{ api_key: {{ keys_file: {:?} }} }}, respond: {{}} }} ]\n\
         rate_limits: {{ all: {{ key: client_ip, rate: 1/h, burst: 4 }}, who: {{ key: identity, rate: 1/h, burst: 2, \
         overrides: {{ bob: {{ rate: 1/h, burst: 9 }} }} }} }}\n",
        keys.display().to_string()
    ))
    .await;
    let ask = async |name: &str| {
        let mut client = Raw::connect(proxy.address()).await;
        let key = format!("X-Api-Key: key-of-{name}\r\n");
        client.send(get("/", &key)).await;
        let answer = client.response().await;
        let policy = answer.field("ratelimit-policy").unwrap().to_owned();
        (answer.status(), policy)
    };
    let of_ann = "\"all\";q=4;w=14400, \"who\";q=2;w=7200";
    for status in [200, 200, 429, 429, 429, 429] {
        assert_eq!(ask("ann").await, (status, of_ann.to_owned()));
    }
    // From the same address two are left, and bob's own policy is told.
    let of_bob = "\"all\";q=4;w=14400, \"who\";q=9;w=32400";
    for _ in 0..2 {
        assert_eq!(ask("bob").await, (200, of_bob.to_owned()));
    }
    // Judged before it is known who it is.
    assert_eq!(ask("bob").await, (429, of_ann.to_owned()));
}
