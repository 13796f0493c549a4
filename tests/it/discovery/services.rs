//! SRV records.

use plimsoll::admin::status::UpstreamStatus;

use super::{endpoints_become, pool, pool_when, proxy, source_when, tells};
use crate::harness::{Backend, Client, DEADLINE, NameServer, Trouble, eventually, within};

const NAME: &str = "_http._tcp.api.test";

fn id(target: &str, backend: &Backend) -> String {
    format!("api/{target}:{}", backend.address().port())
}

#[tokio::test]
async fn the_lowest_priority_serves_by_weight_and_the_next_when_it_is_gone() {
    let server = NameServer::start();
    let [light, heavy, spare] = ["light", "heavy", "spare"].map(Backend::start);
    let port = |backend: &Backend| backend.address().port();
    for target in ["a.test", "b.test", "c.test"] {
        server.addresses(target, 0, &["127.0.0.1"]);
    }
    let records = [
        (10, 0, port(&light), "a.test"),
        (10, 3, port(&heavy), "b.test"),
        (20, 1, port(&spare), "c.test"),
    ];
    server.services(NAME, 0, &records);
    let keys =
        format!("endpoints: [{{ address: \"srv:{NAME}\", id: api }}]\n    balance: round_robin");
    let proxy = proxy(&server, &keys, "").await;
    let all = [
        id("a.test", &light),
        id("b.test", &heavy),
        id("c.test", &spare),
    ];
    endpoints_become(&proxy, &all).await;
    let mut client = Client::h1(proxy.address()).await;
    for _ in 0..40 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // Weight 0 among others counts as 1.
    let counts = [&light, &heavy, &spare].map(|backend| backend.counters().requests());
    assert_eq!(counts, [10, 30, 0]);
    let sources = pool(&proxy).await.sources;
    assert_eq!((sources.len(), sources[0].entries), (1, 3));
    assert_eq!(
        (&*sources[0].source, &*sources[0].kind),
        (&*format!("srv:{NAME}"), "srv")
    );

    server.services(NAME, 0, &records[2..]);
    endpoints_become(&proxy, &all[2..]).await;
    eventually(DEADLINE, || heavy.counters().open() == 0).await;
    assert_eq!(client.get("/").await.backend(), Some("spare"));
}

#[tokio::test]
async fn a_target_that_moves_keeps_its_identity() {
    let server = NameServer::start();
    let old = Backend::start("old");
    let port = old.address().port();
    let new = Backend::labelled("new")
        .at(format!("127.0.0.2:{port}").parse().unwrap())
        .start();
    server.addresses("pod-0.test", 0, &["127.0.0.1"]);
    // However it is spelt.
    server.services(NAME, 0, &[(0, 1, port, "Pod-0.TEST")]);
    let keys = format!("endpoints: [{{ address: \"srv:{NAME}\", id: api }}]");
    let proxy = proxy(&server, &keys, "").await;
    let ids = [id("pod-0.test", &old)];
    endpoints_become(&proxy, &ids).await;
    let mut client = Client::h1(proxy.address()).await;
    assert_eq!(client.get("/").await.backend(), Some("old"));
    server.addresses("pod-0.test", 0, &["127.0.0.2"]);
    let at = format!("127.0.0.2:{port}");
    let moved = pool_when(&proxy, |pool| pool.endpoints[0].address == at).await;
    assert_eq!(moved.endpoints[0].id, ids[0]);
    within(async { while client.get("/").await.backend() != Some("new") {} }).await;
    // An attempt is counted when it has ended, which may be after the client has its answer.
    let counted = |pool: &UpstreamStatus| pool.endpoints[0].attempts.lifetime.count >= 2;
    pool_when(&proxy, counted).await;
    drop(new);
}

#[tokio::test]
async fn a_target_that_nobody_answers_for_stays() {
    let server = NameServer::start();
    let [one, other] = ["one", "other"].map(Backend::start);
    let port = |backend: &Backend| backend.address().port();
    server.addresses("a.test", 0, &["127.0.0.1"]);
    server.addresses("b.test", 0, &["127.0.0.1"]);
    let records = [(0, 1, port(&one), "a.test"), (0, 1, port(&other), "b.test")];
    server.services(NAME, 0, &records);
    let keys = format!("endpoints: [{{ address: \"srv:{NAME}\", id: api }}]");
    let proxy = proxy(&server, &keys, "timeout: 300ms").await;
    let all = [id("a.test", &one), id("b.test", &other)];
    endpoints_become(&proxy, &all).await;
    server.trouble("b.test", Trouble::Fails);
    let failing = source_when(&proxy, |source| source.error.is_some()).await;
    let error = failing.error.unwrap();
    assert!(error.contains("b.test"), "{error}");
    assert_eq!(failing.entries, 2);
    // Its host is gone, the record is not yet.
    server.trouble("b.test", Trouble::NoName);
    endpoints_become(&proxy, &all[..1]).await;
    // And now the service says that it is not here, which is no reason to stop.
    server.services(NAME, 0, &[(0, 0, 0, ".")]);
    tells(&proxy, &["not to exist here", "the last one, of 1, stays"]).await;
    endpoints_become(&proxy, &all[..1]).await;
}
