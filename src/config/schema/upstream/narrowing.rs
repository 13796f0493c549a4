//! What narrows the endpoints before a policy picks: health, subsets, sessions.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{HOUR, YEAR, seconds};
use crate::config::kinds::{CookieName, CookiePath, FieldName, Name};
use crate::config::setting::{block, choice, with_default, written_as_map};
use crate::config::units::Share;

block! {
    /// What happens when too few endpoints are healthy.
    pub struct Panic {
        /// The rule applies when fewer than this share are healthy, of those that should serve: not
        /// draining, with a weight. The shares of several priorities add up, that of the backups
        /// too, since each is taken to be able to serve alone. Half, as in Envoy: by then the checks
        /// are at fault, or what is left would be overrun. 0%: only when none is left.
        pub threshold: Share = Share::percent(50), in Share::percent(0)..=Share::percent(100);
        /// `fail_open` or `fail_closed`. Open by default, since checks that fail nearly everywhere
        /// are more often wrong themselves.
        pub rule: PanicRule = PanicRule::FailOpen;
    }
}

choice! {
    /// What happens in a panic.
    pub enum PanicRule, "a rule for a panic" {
        /// All endpoints count as healthy.
        FailOpen = "fail_open",
        /// None does: the answer is 503, and the upstream has rest to recover in.
        FailClosed = "fail_closed",
    }
}

block! {
    /// Which endpoints a request may go to, by their metadata: those whose `metadata` has the value
    /// that the route's `subset` names, or else the request's header. A request for which neither
    /// names one may go to any endpoint.
    pub struct Subset {
        /// The key of the endpoints' `metadata` that is compared.
        pub metadata: String as Name;
        /// The request header that names the value where the route does not. Off, because any client
        /// can write it.
        pub header: Option<String> as Option<FieldName> = None;
        /// What a request gets that asks for a value which no endpoint has: `any` endpoint, or `none`,
        /// which is 503. Any by default, so that a value that was mistyped or is no longer there
        /// costs no answers; `none` where the wrong endpoint is worse than none.
        pub otherwise: Otherwise = Otherwise::Any;
    }
}

choice! {
    /// What a request gets whose subset is empty.
    pub enum Otherwise, "what a request gets without a subset" {
        /// Any endpoint.
        Any = "any",
        /// 503.
        None = "none",
    }
}

block! {
    /// Sessions that are bound to an endpoint by a signed cookie.
    pub struct Sticky {
        /// The name of the cookie. Upstreams that serve one host need names of their own, or paths:
        /// else each replaces the cookies of the other.
        pub cookie: String as CookieName = "plimsoll".to_owned();
        /// How long a session stays bound after its cookie was set; with more than half of it over,
        /// the next answer sets it anew. An hour outlasts a pause of a visitor, and an endpoint that
        /// is draining is empty an hour after its last one.
        pub ttl: Duration = HOUR, in seconds(1)..=YEAR;
        /// A file of secrets to sign with, one on each line, of at least 32 bytes (RFC 2104, 3: as long
        /// as what the hash gives). The first signs, all are accepted, so that secrets can be
        /// changed without losing sessions. It is watched, and what changes counts without a reload;
        /// `check` does not read it. Off: a random one for the life of the process. Sessions are then bound anew after a restart, and
        /// several proxies do not know each other's: give them one file.
        pub secret_file: Option<PathBuf> = None;
        /// Below which path clients send the cookie.
        pub path: String as CookiePath = "/".to_owned();
        /// Whether other sites may cause requests that carry the cookie: `lax` (by following a link),
        /// `strict` (never) or `none` (always; browsers want TLS for it). Lax, as browsers take a
        /// cookie that says nothing.
        pub same_site: SameSite = SameSite::Lax;
    }
}

choice! {
    /// The attribute `SameSite` of a cookie (RFC 6265bis).
    pub enum SameSite, "a value of `SameSite`" {
        /// Sent by requests of the site itself and when a link leads to it.
        Lax = "lax",
        /// Sent by requests of the site itself.
        Strict = "strict",
        /// Sent by all requests, over TLS.
        None = "none",
    }
}

written_as_map!(Panic, Subset, Sticky);
with_default!(Panic, Sticky);
