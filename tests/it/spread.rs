//! Connections find a worker that has room for them.

use std::sync::atomic::Ordering;

use plimsoll::observe::Metric;

use crate::harness::{Backend, DEADLINE, Directory, Proxy, Raw, config, eventually};

const CLIENTS: usize = 60;

#[tokio::test]
async fn connections_of_one_accept_socket_are_spread_over_the_workers() {
    let directory = Directory::new();
    let path = directory.path().join("web.sock");
    let backend = Backend::start("a");
    // A Unix socket has one accept socket, which one worker has.
    let yaml = config(&[backend.endpoint()], "", "", "")
        .replacen("workers: 1", "workers: 2", 1)
        .replacen("127.0.0.1:0", &format!("unix:{}", path.display()), 1);
    let proxy = Proxy::start(&yaml).await;
    let live = proxy.live();
    let mut clients = Vec::new();
    for number in 1..=CLIENTS {
        let mut client = Raw::connect_unix(&path).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "a\n");
        assert_eq!(live.connections(), number);
        clients.push(client);
    }
    let on = |worker: usize| live.mailboxes[worker].connections.load(Ordering::Relaxed);
    // Up to what makes it worth a hand-over, and one on its way.
    assert!(
        on(0).abs_diff(on(1)) <= 2 + CLIENTS / 8 + 1,
        "{} and {}",
        on(0),
        on(1)
    );
    let handed_over = || proxy.workers(Metric::WorkerHandOvers, "");
    // All that one of the two has came from the other.
    let least = on(0).min(on(1)) as u64;
    eventually(DEADLINE, || handed_over() >= least).await;
    assert!(least > 0 && handed_over() < CLIENTS as u64);
    // They are served on where they are.
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 200);
    }
}
