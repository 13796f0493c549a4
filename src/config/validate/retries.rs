//! Retries that cannot do what was written.

use std::net::SocketAddr;

use super::{child, warn};
use crate::config::cursor::Reader;
use crate::config::schema::Upstream;
use crate::config::tree::Entry;

/// A hedge needs another endpoint. A host name, SRV records or a file may stand for several.
fn hedge(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    let [only] = &upstream.endpoints[..] else {
        return;
    };
    if upstream.endpoints_file.is_some() {
        return;
    }
    let is_one = only.address.parse::<SocketAddr>().is_ok() || only.address.starts_with("unix:");
    if upstream.hedge.is_some()
        && is_one
        && let Some(written) = entry.node.child("hedge")
    {
        warn(
            reader,
            written.node.mark,
            format!("upstreams.{name}.hedge"),
            "with one endpoint there is no other to try beside it",
            "add an endpoint, or write `hedge: off`",
        );
    }
}

/// The retries of one upstream. Only what somebody wrote is worth a warning.
pub(super) fn one(name: &str, entry: &Entry, upstream: &Upstream, reader: &mut Reader<'_>) {
    hedge(name, entry, upstream, reader);
    let Some(retry) = &upstream.retry else {
        return;
    };
    let total = upstream.timeouts.total;
    let backoff = &retry.backoff;
    let contradictions = [
        (
            &["backoff", "max"][..],
            backoff.max < backoff.base,
            "shorter than `base`, so that every pause is at most this",
            "raise `max` or lower `base`",
        ),
        (
            &["backoff", "base"],
            backoff.base >= total,
            "no shorter than `total`: a pause takes up to half of what is left of it",
            "lower it or raise `timeouts.total`",
        ),
        (
            &["retry_after_max"],
            retry.retry_after_max.is_some_and(|max| max >= total),
            "no shorter than `total`, before which the request ends: whoever asks for so long is not tried again",
            "lower it or raise `timeouts.total`",
        ),
        (
            &["budget"],
            retry.budget.is_none(),
            "without a budget every request may be sent several times in an outage, which can keep an overload alive",
            "a share such as `10%` bounds it",
        ),
        (
            &["max_attempts"],
            retry.max_attempts > 1 && total <= upstream.timeouts.first_byte,
            "after a `first_byte` that ended there is no time for another attempt, since `total` is no longer",
            "lower `timeouts.first_byte` or raise `timeouts.total`",
        ),
    ];
    for (keys, is_so, message, help) in contradictions {
        let path: Vec<&str> = [&["retry"], keys].concat();
        if is_so && let Some(written) = child(&entry.node, &path) {
            let path = format!("upstreams.{name}.{}", path.join("."));
            warn(reader, written.node.mark, path, message, help);
        }
    }
}
