//! Limits on bytes in a time: how long bodies and tunnels take.

use super::*;

/// How long it took on a clock of its own.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let clock = Clock::system();
    let output = within(future).await;
    (output, clock.now().since(Instant(0)))
}

/// What `bytes` take at 400 KiB/s behind a burst of 40 KiB: never less, but for one frame of HTTP/2, which goes as a whole and is
/// paid for by what follows. How much more is a matter of the machine, of which a stall weighs much in a second; see
/// `long_transfers_keep_to_their_bandwidth`.
#[track_caller]
fn assert_takes(taken: Duration, bytes: usize) {
    assert_within(taken, bytes, 1.3);
}

#[track_caller]
fn assert_within(taken: Duration, bytes: usize, beyond: f64) {
    let span = |bytes: usize| Duration::from_secs_f64(bytes as f64 / (400.0 * 1024.0));
    let expected = span(bytes - 40 * 1024);
    let least = expected - span(16 * 1024);
    let most = expected.mul_f64(beyond);
    assert!(
        (least..=most).contains(&taken),
        "{taken:?}, not {expected:?}"
    );
}

const THIN: &str = "rate: 400KiB/s, burst: 40KiB";

#[tokio::test]
async fn answers_go_no_faster_than_their_bandwidth() {
    let backend = Backend::start("a");
    for client_speaks_h2 in [false, true] {
        let limits = format!("bandwidth_limits: {{ thin: {{ key: client_ip, {THIN} }} }}");
        let proxy = limited(&backend, "thin", &limits).await;
        let connect = async || match client_speaks_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let (mut one, mut other) = (connect().await, connect().await);
        let bytes = 200 * 1024;
        let path = format!("/bytes/{bytes}");
        // Two exchanges of one client share what it has.
        let both = async { tokio::join!(one.get(&path), other.get(&path)) };
        let ((first, second), taken) = timed(both).await;
        assert_eq!((first.body.len(), second.body.len()), (bytes, bytes));
        assert_takes(taken, 2 * bytes);
        assert!(limit(&proxy, "thin").delayed_seconds > 0.5);
        let metrics = scrape(proxy.live());
        let none = "plimsoll_limit_delay_seconds_total{limit=\"thin\"} 0\n";
        assert!(metrics.contains("limit_delay_seconds_total") && !metrics.contains(none));
    }
}

#[tokio::test]
async fn request_bodies_go_no_faster_than_their_bandwidth() {
    let backend = Backend::start("a");
    let limits =
        format!("bandwidth_limits: {{ thin: {{ key: client_ip, direction: up, {THIN} }} }}");
    for client_speaks_h2 in [false, true] {
        let proxy = limited(&backend, "thin", &limits).await;
        let mut client = match client_speaks_h2 {
            false => Client::h1(proxy.address()).await,
            true => Client::h2(proxy.address()).await,
        };
        let bytes = 300 * 1024;
        let (answer, taken) = timed(client.post("/echo", pattern(bytes))).await;
        // Answers are as fast as ever.
        assert_eq!(answer.body, pattern(bytes));
        assert_takes(taken, bytes);
    }
}

#[tokio::test]
async fn a_tunnel_goes_no_faster_than_its_bandwidth() {
    let backend = Backend::start("a");
    let limits =
        format!("bandwidth_limits: {{ thin: {{ key: client_ip, direction: both, {THIN} }} }}");
    let proxy = limited(&backend, "thin", &limits).await;
    let mut client = Client::h2(proxy.address()).await;
    let mut tunnel = client.tunnel("websocket", "/ws").await.unwrap();
    // One masked frame of so many bytes, which comes back.
    let bytes: u16 = 60_000;
    let mut frame = vec![0x82, 0xFE];
    frame.extend_from_slice(&bytes.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.resize(8 + usize::from(bytes), 0);
    let exchange = async {
        for _ in 0..2 {
            tunnel.write_all(&frame).await.unwrap();
            let mut echoed = vec![0; 4 + usize::from(bytes)];
            tunnel.read_exact(&mut echoed).await.unwrap();
        }
    };
    let ((), taken) = timed(exchange).await;
    assert_takes(taken, 4 * usize::from(bytes));
}

/// Pieces are scheduled by the time at which they are due, so that what a timer is late adds up to nothing: at both ends of an
/// exchange is all that there is of it.
#[tokio::test]
#[ignore = "takes ten seconds and wants a machine that is not overloaded: .ci/long/limits.sh"]
async fn long_transfers_keep_to_their_bandwidth() {
    let backend = Backend::start("a");
    let held = async |direction: &str| {
        let keys = format!("key: client_ip, direction: {direction}, {THIN}");
        limited(
            &backend,
            "thin",
            &format!("bandwidth_limits: {{ thin: {{ {keys} }} }}"),
        )
        .await
    };
    let (down, up) = (held("down").await, held("up").await);
    let bytes = 4_000_000;
    let path = format!("/bytes/{bytes}");
    let (mut one, mut other) = (
        Client::h1(down.address()).await,
        Client::h1(up.address()).await,
    );
    let both = tokio::join!(
        timed(one.get(&path)),
        timed(other.post("/echo", pattern(bytes)))
    );
    for (way, (answer, taken)) in [("down", both.0), ("up", both.1)] {
        assert_eq!(answer.body.len(), bytes, "{way}");
        println!("{way}: {bytes} bytes in {taken:?}");
        assert_within(taken, bytes, 1.05);
    }
}
