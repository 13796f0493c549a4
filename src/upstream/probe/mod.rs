//! Active checks: what is asked of endpoints, and the tasks that ask. They feed [`health`](super::health), which judges.
//!
//! All run on the control thread, each on a connection of its own, so that a check neither waits for a request nor holds
//! one up.

mod ask;
mod exchange;
mod failure;
mod grpc;
mod http;
mod prober;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::client_tls::ClientTls;
use super::endpoint::Endpoint;
use super::health::{Check, Outcome, Rules, Verdict};
use crate::clock::Clock;
use crate::config::{self, InitialHealth, Protocol};
use crate::tls::{Shared, TlsError};
use ask::Ask;
pub use failure::{CheckFailure, Unsendable};
pub use prober::Prober;
use timing::Progress;

/// The longest reason that is kept. What a certificate or a library says may be long, and is chosen by the endpoint.
const REASON: usize = 256;

/// How the endpoints of one upstream are checked.
#[derive(Debug)]
pub struct Checks {
    pub rules: Rules,
    /// Checks that may be under way at the same time, and how many more may begin now.
    pub at_once: usize,
    places: Arc<Semaphore>,
    ask: Ask,
    /// Instead of the endpoint's own port.
    port: Option<u16>,
    tls: Option<ClientTls>,
    timeout: Duration,
}

/// Why checks cannot be made as they are written.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
}

impl Checks {
    /// Compiles the checks of an upstream; `tls` is how its endpoints are spoken to. Blocks on files.
    pub fn compile(
        written: &config::ActiveHealth,
        upstream: &config::Upstream,
        tls: Option<&ClientTls>,
        shared: &Shared,
    ) -> Result<Self, CompileError> {
        let is_grpc = written.kind == config::CheckType::Grpc;
        let tls = match &upstream.tls {
            // Only over HTTP/2, which the handshake of the traffic may not offer.
            Some(tls) if is_grpc => Some(ClientTls::compile(tls, Protocol::H2, shared)?),
            _ => tls.cloned(),
        };
        Ok(Self {
            rules: rules(written),
            at_once: written.at_once,
            places: Arc::new(Semaphore::new(written.at_once)),
            ask: Ask::compile(
                written,
                upstream.protocol,
                tls.is_some(),
                upstream.proxy_protocol.map(Into::into),
            )?,
            port: written.port,
            tls,
            timeout: written.timeout,
        })
    }

    /// How endpoints are spoken to.
    pub fn tls(&self) -> Option<&ClientTls> {
        self.tls.as_ref()
    }

    /// Checks that are under way.
    pub fn running(&self) -> usize {
        self.at_once.saturating_sub(self.places.available_permits())
    }

    /// Checks an endpoint once. Never takes longer than the timeout, and a moment for what is left of the answer.
    async fn check(&self, endpoint: &Endpoint, clock: Clock) -> Check {
        let began = clock.now();
        let progress = Progress::default();
        let asking = self
            .ask
            .ask(endpoint, self.port, self.tls.as_ref(), &progress);
        // Boxed: a task that waits for the next check should not be as large as one that does it.
        let asked = Box::pin(timing::within(clock, self.timeout, &progress, asking)).await;
        let took = clock.now().since(began);
        let (is_void, late) = (asked.is_void(), asked.late_in_millis());
        let (outcome, reason) = match asked.result {
            Ok(rest) => {
                if let Some(rest) = rest {
                    // Boxed for the same reason. However long it takes, the endpoint has passed.
                    Box::pin(rest.finish()).await;
                }
                (Outcome::Passed, None)
            }
            Err(_) if is_void => {
                let late = config::units::format_duration(late);
                let reason = format!("this process was late by {late} itself");
                (Outcome::Void, Some(reason))
            }
            Err(failure) => (Outcome::Failed, Some(shortened(failure.to_string()))),
        };
        Check {
            began,
            took,
            outcome,
            reason,
        }
    }
}

fn rules(written: &config::ActiveHealth) -> Rules {
    Rules {
        interval: written.interval,
        fast: written.fast_interval,
        slow: written.slow_interval.unwrap_or(written.interval),
        jitter: written.jitter.fraction(),
        rise: written.rise,
        fall: written.fall,
        initial: match written.initial {
            InitialHealth::Healthy => Verdict::Healthy,
            InitialHealth::Unhealthy => Verdict::Unhealthy,
            InitialHealth::FirstCheck => Verdict::Unknown,
        },
        history: written.history,
    }
}

/// Cut where a character ends.
fn shortened(mut reason: String) -> String {
    if reason.len() > REASON {
        let end = reason.floor_char_boundary(REASON);
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_where_a_character_ends() {
        assert_eq!(shortened("short".to_owned()), "short");
        let cut = shortened("é".repeat(1000) + "x");
        assert_eq!(cut.chars().count(), REASON / 2 + 1);
        let odd = shortened(format!("x{}", "é".repeat(1000)));
        assert!(odd.ends_with('…') && odd.len() <= REASON + 3);
    }
}
