//! Whether the client of a request may enter, and why: each who judges it, in the order in which the proxy asks them.
//!
//! Nothing is known of the client but what it sends: limits are as if it came for the first time. Files of users and of keys are
//! read where they are there.

use std::sync::Arc;

use serde::Serialize;

use super::present::Present;
use crate::admin::status::allows;
use crate::config::{self, Addresses, Auth, Config, Route, TrustedProxy};
use crate::http::buffers::Buffers;
use crate::http::fields::Name;
use crate::limit::auth::claim::{self, Unclaimed};
use crate::limit::auth::{self, Ledger, Way};
use crate::limit::{self, Appraisal, Attached, Limiter, Limits, Whose};
use crate::listener::addresses;
use crate::proxy::limited::Judged;
use crate::proxy::request::Request;

/// What one of them says.
#[derive(Debug, Serialize)]
pub(super) struct Judgement {
    /// Who: `addresses of listener web`, `limit per_client of route api`, `auth of route api`.
    pub(super) by: String,
    pub(super) verdict: Verdict,
    pub(super) why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Allow,
    Deny,
    /// It cannot be said from here.
    Unknown,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "DENY",
            Self::Unknown => "cannot be said here",
        }
    }
}

/// Everybody who judges the request; `route` is its name and what is written of it.
pub(super) fn judge(
    request: &Request<'_>,
    route: Option<(&str, &Route)>,
    present: &Present,
) -> Vec<Judgement> {
    let config = &present.config;
    let name = request.rules.name.as_str();
    let registry = limit::Registry::new(1, 0, Arc::default());
    let limits = Limits::compile(config, &registry);
    // First, since limits may be kept for each of whom it is.
    let asked = route.and_then(|(name, written)| {
        let auth = written.auth.as_ref()?;
        Some(by_auth(
            &format!("route {name}"),
            auth,
            written,
            request,
            config,
        ))
    });
    let (auth, identity) = asked.unzip();
    let identity = identity.flatten();
    let held = |whose: Whose<'_>, limiters: Option<&Arc<Attached>>| -> Vec<Judgement> {
        let limiters = limiters.into_iter().flat_map(|all| all.limiters());
        let each = limiters.map(|one| by_limit(whose, one, request, identity.as_deref(), config));
        each.collect()
    };
    let mut judgements = Vec::new();
    // The list of the listener is asked by who connects, that of the route by whom proxies name.
    if let Some(listener) = config.listeners.get(name) {
        let of = format!("listener {name}");
        let (list, closed) = (&listener.addresses, "the connection is closed");
        judgements.extend(by_list(&of, list, request.peer, closed));
    }
    judgements.extend(held(Whose::Listener(name), limits.of_listener(name)));
    if let Some((name, written)) = route {
        let (of, forbidden) = (format!("route {name}"), "answered with 403");
        judgements.extend(by_list(
            &of,
            &written.addresses,
            request.client(),
            forbidden,
        ));
        let mut routes = config.routes.iter().zip(&limits.routes);
        let own = routes.find(|(one, _)| std::ptr::eq(*one, written));
        let own = own.and_then(|(_, limiters)| limiters.as_ref());
        judgements.extend(held(Whose::Route(name), own));
        judgements.extend(auth);
    }
    judgements
}

/// What a list says; `None` where it lists nothing.
fn by_list(
    of: &str,
    written: &Addresses,
    address: Option<std::net::IpAddr>,
    denied: &str,
) -> Option<Judgement> {
    let lets = addresses::Addresses::compile(written)?.admit(address);
    let who = address.map_or_else(
        || "a peer on a Unix socket".to_owned(),
        |one| one.to_string(),
    );
    let entries = |list: &'static str, entries: &[TrustedProxy]| -> Vec<(u8, String)> {
        let holding = entries.iter().filter_map(|entry| match (entry, address) {
            (TrustedProxy::Unix, None) => Some((0, format!("`unix` of `{list}`"))),
            (TrustedProxy::Network(network), Some(one)) if network.contains(one) => {
                Some((network.prefix, format!("`{network}` of `{list}`")))
            }
            _ => None,
        });
        holding.collect()
    };
    let (allow, deny) = (
        entries("allow", &written.allow),
        entries("deny", &written.deny),
    );
    let decides = allow
        .into_iter()
        .chain(deny)
        .max_by_key(|(prefix, _)| *prefix);
    let why = match (decides, written.allow.is_empty()) {
        (Some((_, entry)), _) => format!("{entry} holds {who}"),
        (None, true) => format!("`deny` does not hold {who}"),
        (None, false) => format!("`allow` does not hold {who}"),
    };
    Some(Judgement {
        by: format!("addresses of {of}"),
        verdict: if lets { Verdict::Allow } else { Verdict::Deny },
        why: if lets {
            why
        } else {
            format!("{why}: {denied}")
        },
    })
}

/// What a limit says of a client that comes for the first time.
fn by_limit(
    whose: Whose<'_>,
    limiter: &Limiter,
    request: &Request<'_>,
    identity: Option<&str>,
    config: &Config,
) -> Judgement {
    let asked = Judged {
        whose,
        request: *request,
        identity: identity.map(str::as_bytes),
        buffers: &Buffers::default(),
    };
    let (appraisal, key) = limiter.appraise(&asked);
    let of = match whose {
        Whose::Listener(name) => format!("listener {name}"),
        Whose::Route(name) => format!("route {name}"),
    };
    let why = match appraisal {
        Appraisal::Usual => format!("{} for {key}", allows(config, &limiter.name)),
        Appraisal::Own => format!("what `overrides` says of {key}"),
        Appraisal::Free => format!("`overrides` holds {key} to nothing"),
        Appraisal::Uncounted => format!("not counted, since there is {key}"),
        Appraisal::Refused => format!("there is {key} to count by: answered with 403"),
    };
    let is_denied = appraisal == Appraisal::Refused && !limiter.dry_run;
    let trial = if limiter.dry_run { " (dry run)" } else { "" };
    Judgement {
        by: format!("limit {} of {of}{trial}", limiter.name),
        verdict: if is_denied {
            Verdict::Deny
        } else {
            Verdict::Allow
        },
        why,
    }
}

/// What the gate of the route says, and who the client is found to be.
fn by_auth(
    of: &str,
    auth: &Auth,
    route: &Route,
    request: &Request<'_>,
    config: &Config,
) -> (Judgement, Option<String>) {
    let judgement = |verdict, why| Judgement {
        by: format!("auth of {of}"),
        verdict,
        why,
    };
    if let config::AuthWay::Forward(forward) = &auth.way {
        let failure = match forward.on_failure {
            config::OnAuthFailure::Open => "everybody enters",
            config::OnAuthFailure::Closed => "nobody enters",
        };
        let why = format!(
            "upstream `{}` is asked for {}; where it does not answer, {failure}",
            forward.upstream, forward.path
        );
        return (judgement(Verdict::Unknown, why), None);
    }
    // Of this route alone: the files of others may not be here.
    let alone = Config {
        routes: vec![route.clone()],
        upstreams: config.upstreams.clone(),
        ..Config::default()
    };
    let gate = match auth::compile(&alone, &Ledger::default()) {
        Ok(gates) => gates.into_iter().next().flatten(),
        Err(error) => return (judgement(Verdict::Unknown, error.source.to_string()), None),
    };
    let found = gate.as_ref().and_then(|gate| match gate.way.as_ref()? {
        Way::Basic(basic) => Some(by_password(basic, request)),
        Way::ApiKey(api_key) => Some(by_key(api_key, request)),
        Way::Forward(_) => None,
    });
    match found {
        Some(Ok(Some(name))) => (
            judgement(Verdict::Allow, format!("it is `{name}`")),
            Some(name),
        ),
        Some(Ok(None)) => {
            let why = "nobody is known by what it says: answered with 401".to_owned();
            (judgement(Verdict::Deny, why), None)
        }
        Some(Err(Unclaimed::Absent)) => {
            let why = "it does not say who it is: answered with 401".to_owned();
            (judgement(Verdict::Deny, why), None)
        }
        Some(Err(Unclaimed::Malformed)) => {
            let why = "what it says of who it is cannot be read: answered with 401".to_owned();
            (judgement(Verdict::Deny, why), None)
        }
        None => (judgement(Verdict::Unknown, String::new()), None),
    }
}

fn by_password(basic: &auth::Basic, request: &Request<'_>) -> Result<Option<String>, Unclaimed> {
    let login = claim::login(request.head.fields.all(Name::Authorization))?;
    let candidate = basic.candidate(login);
    let user = candidate.user.clone().filter(|_| candidate.is_right());
    Ok(user.map(String::from))
}

fn by_key(api_key: &auth::ApiKey, request: &Request<'_>) -> Result<Option<String>, Unclaimed> {
    let head = request.head;
    let of_header = match &api_key.header {
        Some(header) => api_key.of_header(head.fields.all_by_bytes(header.as_bytes())),
        None => Err(Unclaimed::Absent),
    };
    let found = match (of_header, &api_key.query) {
        (Err(Unclaimed::Absent), Some(name)) => api_key.of_query(name, &mut head.target.clone()),
        (of_header, _) => of_header,
    };
    found.map(|name| name.map(|name| name.to_string()))
}
