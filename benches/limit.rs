//! What it costs to ask a limiter: one number in a table, by how many clients there are.

use std::net::IpAddr;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use plimsoll::clock::Instant;
use plimsoll::config::read::from_text;
use plimsoll::limit::{Client, Limits, Phase, Registry, Whose};

/// A client with nothing but an address.
struct Address(u32);

impl Client for Address {
    fn whose(&self) -> Whose<'_> {
        Whose::Route("r")
    }

    fn client_ip(&self) -> Option<IpAddr> {
        Some(IpAddr::from(self.0.to_be_bytes()))
    }
    fn identity(&self) -> Option<&[u8]> {
        None
    }
    fn host(&self, _: &mut dyn FnMut(&[u8])) {}
    fn path(&self, _: &mut dyn FnMut(&[u8])) {}
    fn header(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
    fn cookie(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
    fn query(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

fn limits(written: &str) -> Limits {
    let text = format!(
        "listeners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         routes: [{{ respond: {{}}, limits: [a] }}]\n{written}\n"
    );
    let config = from_text("bench.yaml", &text, &|_| None)
        .expect("the text is valid")
        .config;
    Limits::compile(&config, &Registry::new(1, 7, Arc::default()))
}

fn take(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("take");
    let kinds = [
        (
            "passes",
            "rate_limits: { a: { key: client_ip, rate: 1000000/s } }",
        ),
        (
            "is_refused",
            "rate_limits: { a: { key: client_ip, rate: 1/h } }",
        ),
        (
            "permit",
            "concurrency_limits: { a: { key: client_ip, max: 1000 } }",
        ),
    ];
    for (name, written) in kinds {
        for clients in [1_u32, 1_000, 65_536] {
            let limits = limits(written);
            let attached = limits.routes[0].as_ref().expect("the route has limits");
            let (mut now, mut client) = (1_000_000_000, 0);
            let id = BenchmarkId::new(name, clients);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    now += 1_000;
                    // By steps that meet every client, far apart in memory.
                    client = (client + 40_503) % clients;
                    let entered = attached.enter(Phase::Early, &Address(client), Instant(now), 0);
                    std::hint::black_box(entered.is_ok())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, take);
criterion_main!(benches);
