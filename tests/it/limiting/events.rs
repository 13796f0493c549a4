//! That a limit refuses is told, in few words and without secrets.

use plimsoll::observe::event::Kind;

use super::*;
use crate::harness::{FAST, pass};

fn events(proxy: &Proxy) -> Vec<String> {
    let (events, _) = proxy.live().events.after(0);
    let limits = events.iter().filter(|event| event.kind == Kind::Limit);
    limits.map(ToString::to_string).collect()
}

#[tokio::test]
async fn who_is_refused_is_told_at_once_and_how_many_were_since() {
    let backend = Backend::start("a");
    let route = "name: api, limits: [per_client]";
    let yaml = config(&[backend.endpoint()], "", route, "")
        + "rate_limits: { per_client: { key: client_ip, rate: 1/h, burst: 1 } }\n\
           admin: { address: \"127.0.0.1:0\" }\n";
    let proxy = Proxy::start_on(Clock::scaled(FAST), &yaml).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(events(&proxy), [""; 0]);
    assert_eq!(client.get("/").await.status, 429);
    let first = "limit: route api refuses client_ip 127.0.0.1 by `per_client`: it asks too often";
    assert_eq!(events(&proxy), [first]);
    // Until ten seconds are over, which are a tenth of one here, it is told no more.
    let clock = proxy.live().clock;
    let begun = clock.now();
    let mut refused = 0;
    while events(&proxy).len() == 1 {
        assert_eq!(client.get("/").await.status, 429);
        refused += 1;
    }
    assert!(clock.now().since(begun) > Duration::from_secs(9));
    let second = events(&proxy).pop().unwrap();
    let others = match refused - 1 {
        0 => String::new(),
        1 => "; another request was since this was last told".to_owned(),
        more => format!("; {more} other requests were since this was last told"),
    };
    assert_eq!(second, format!("{first}{others}"));
    pass(Duration::from_secs(1)).await;
    let admin = Client::h1(proxy.admin()).await.get("/api/v1/events").await;
    let told = admin.json();
    let event = &told["events"][0];
    assert_eq!(
        (&event["kind"], &event["route"]),
        (&"limit".into(), &"api".into())
    );
}

#[tokio::test]
async fn keys_that_are_secrets_are_not_told() {
    let backend = Backend::start("a");
    let limits = "concurrency_limits: { own: { key: [{ api_key: X-Key }, { header: X-Tenant }], max: 1, dry_run: true } }";
    let proxy = limited(&backend, "own", limits).await;
    let fields = [("x-key", "s3cret-key"), ("x-tenant", "acme")];
    let mut hung = Client::h1(proxy.address()).await;
    let waiting = tokio::spawn(async move { hung.send(asking("/hang", &fields)).await });
    eventually(DEADLINE, || limit(&proxy, "own").in_use == 1).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.send(asking("/", &fields)).await.status, 200);
    let told = events(&proxy);
    let [told] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(
        told.starts_with("limit: route /* would refuse api_key X-Key #")
            && told.ends_with(
                ", header X-Tenant `acme` by `own`: as many of its requests as may are under way"
            ),
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");
    waiting.abort();
}
