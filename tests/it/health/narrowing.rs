//! What narrows the endpoints, moved by real checks: tiers, zones, backups, and panic.

use plimsoll::upstream::health::Verdict;

use super::{QUICK, turns, written, yaml};
use crate::harness::{Backend, Client, Proxy, within};

const IDS: [&str; 4] = ["a", "b", "c", "d"];

struct Pool(Vec<Backend>);

impl Pool {
    fn start() -> Self {
        Self(IDS.map(Backend::start).into())
    }

    async fn before(&self, more: [&str; 4], top: &str, upstream: &str) -> Proxy {
        let all = self.0.iter().zip(IDS).zip(more);
        let written: Vec<String> = all
            .map(|((backend, id), more)| written(id, &backend.endpoint(), more))
            .collect();
        let upstream = format!("balance: round_robin, {upstream}");
        Proxy::start(&format!("{top}\n{}", yaml(&written, QUICK, &upstream))).await
    }

    /// Sets the health of these and waits until the checks have found it.
    async fn set(&self, proxy: &Proxy, ids: &[&str], status: u16) {
        let verdict = match status {
            200 => Verdict::Healthy,
            _ => Verdict::Unhealthy,
        };
        for id in ids {
            let place = IDS.iter().position(|known| known == id).unwrap();
            self.0[place].change(Backend::labelled(id).health(status));
        }
        for id in ids {
            turns(proxy, id, verdict).await;
        }
    }
}

/// The answers of sixty requests: who gave them, and how many.
async fn answers(proxy: &Proxy) -> Vec<(String, usize)> {
    let mut client = Client::h1(proxy.address()).await;
    let mut tally = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..60 {
        let answer = client.get("/").await;
        let label = answer.backend().unwrap_or("none").to_owned();
        *tally.entry(label).or_default() += 1;
    }
    tally.into_iter().collect()
}

/// Waits until these answer, all of them and nobody else.
async fn answered_by(proxy: &Proxy, labels: &str) {
    within(async {
        loop {
            let tally = answers(proxy).await;
            let seen: Vec<&str> = tally.iter().map(|(label, _)| &**label).collect();
            if seen.concat() == labels {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_upstream_whose_checks_all_fail_is_open_or_closed_as_its_rule_says() {
    let all = &IDS[..];
    for (rule, serving) in [
        ("", "none"),
        ("panic: { rule: fail_open }", "abcd"),
        ("panic: { rule: fail_closed }", "none"),
    ] {
        let pool = Pool::start();
        let proxy = pool.before([""; 4], "", rule).await;
        answered_by(&proxy, "abcd").await;
        pool.set(&proxy, all, 503).await;
        answered_by(&proxy, serving).await;
        let label = match rule {
            "panic: { rule: fail_closed }" => "panic",
            _ => "no_endpoint",
        };
        if serving == "none" {
            let answer = Client::h1(proxy.address()).await.get("/").await;
            answer.assert_told(503, "destination_unavailable", label);
        }
        pool.set(&proxy, all, 200).await;
        answered_by(&proxy, "abcd").await;
    }
}

/// With a quarter healthy and a threshold of half, the checks are not believed, or nobody is.
#[tokio::test]
async fn too_few_healthy_endpoints_are_a_panic() {
    for (rule, serving) in [("fail_open", "abcd"), ("fail_closed", "none")] {
        let pool = Pool::start();
        let upstream = format!("panic: {{ threshold: 50%, rule: {rule} }}");
        let proxy = pool.before([""; 4], "", &upstream).await;
        pool.set(&proxy, &["a", "b"], 503).await;
        answered_by(&proxy, "cd").await;
        pool.set(&proxy, &["c"], 503).await;
        answered_by(&proxy, serving).await;
        pool.set(&proxy, &["a"], 200).await;
        answered_by(&proxy, "ad").await;
    }
}

#[tokio::test]
async fn the_second_tier_takes_over_as_the_first_fails_its_checks_and_gives_back() {
    let pool = Pool::start();
    let second = "priority: 1";
    let proxy = pool.before(["", "", second, second], "", "").await;
    answered_by(&proxy, "ab").await;
    // Half of the tier is left: it keeps 70 %, and the rest goes on.
    pool.set(&proxy, &["b"], 503).await;
    answered_by(&proxy, "acd").await;
    pool.set(&proxy, &["a"], 503).await;
    answered_by(&proxy, "cd").await;
    pool.set(&proxy, &["a", "b"], 200).await;
    answered_by(&proxy, "ab").await;
}

#[tokio::test]
async fn another_zone_takes_over_and_then_the_backup() {
    let pool = Pool::start();
    let more = ["zone: here", "zone: there", "backup: true", "backup: true"];
    let proxy = pool.before(more, "zone: here", "").await;
    answered_by(&proxy, "a").await;
    pool.set(&proxy, &["a"], 503).await;
    answered_by(&proxy, "b").await;
    pool.set(&proxy, &["b"], 503).await;
    answered_by(&proxy, "cd").await;
    pool.set(&proxy, &["a"], 200).await;
    answered_by(&proxy, "a").await;
}
