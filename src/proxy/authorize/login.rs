//! By user and password. What was judged lately is known; else the password is hashed on a thread of its own kind, never on
//! the worker's: a tenth of a second would be felt by everybody on it.

use std::sync::Arc;
use std::time::Duration;

use super::{Judged, wait};
use crate::clock::Instant;
use crate::http::fields::Name;
use crate::limit::auth::{Basic, Candidate, Checks, Verdict, claim};
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::Downstream;

/// How long a turn is waited for, and the hash: many times what it takes unless somebody guesses passwords.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn judge(
    exchange: &mut Exchange,
    down: &mut Downstream,
    basic: &Basic,
) -> Result<Judged, ProxyError> {
    let login = claim::login(exchange.head.fields.all(Name::Authorization));
    let login = match login {
        Ok(login) => login,
        Err(unclaimed) => return Ok(Judged::of(unclaimed)),
    };
    let candidate = basic.candidate(login);
    let checks = Arc::clone(basic.checks());
    let now = exchange.worker.wheel.now();
    let user = candidate.user.clone();
    let is_right = match candidate.known(&checks, now) {
        Some(known) => known,
        None => {
            let hashing = hash(candidate, checks, now);
            match wait(exchange, down, now + PATIENCE, hashing).await? {
                Some(Some(found)) => found,
                Some(None) | None => return Ok(Judged::Turned(Verdict::Unavailable)),
            }
        }
    };
    Ok(Judged::by_name(user.filter(|_| is_right)))
}

/// Hashes the password when it is its turn. `None`: there is none to be had.
async fn hash(candidate: Candidate, checks: Arc<Checks>, now: Instant) -> Option<bool> {
    let turn = checks.turn().await?;
    // Browsers ask for many things at once with the same password: the first has found it out for the others.
    if let Some(known) = candidate.known(&checks, now) {
        return Some(known);
    }
    let hashing = tokio::task::spawn_blocking(move || {
        let is_right = candidate.is_right();
        // Noted here, so that it is known even if the client has left meanwhile.
        candidate.found(&checks, is_right, now);
        drop(turn);
        is_right
    });
    hashing.await.ok()
}
