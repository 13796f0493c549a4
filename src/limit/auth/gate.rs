//! What routes ask of those who want to enter, compiled; and what is kept of it over reloads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::checks::{Checks, Code};
use super::claim::{self, Login, Unclaimed};
use super::counts::Counts;
use super::files::{FileError, Keys, Users};
use super::password::Hash;
use crate::clock::Instant;
use crate::config::{self, AuthWay, Config, OnAuthFailure};
use crate::watch::FromFile;

/// State that every later configuration finds again: what is known of passwords, and how requests fared by route.
#[derive(Debug, Default)]
pub struct Ledger {
    pub checks: Arc<Checks>,
    counts: Mutex<HashMap<String, Arc<Counts>>>,
}

impl Ledger {
    fn counts(&self, route: &str) -> Arc<Counts> {
        Arc::clone(self.lock().entry(route.to_owned()).or_default())
    }

    /// Forgets the routes that no configuration has any more, also those of files that were refused.
    fn forget_gone(&self) {
        self.lock()
            .retain(|_, counts| Arc::strong_count(counts) > 1);
    }

    /// Routes of which something is kept.
    #[cfg(test)]
    pub(super) fn routes(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Counts>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A route's file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("routes[{index}].auth ({route}): {source}")]
pub struct AuthError {
    pub index: usize,
    pub route: String,
    pub source: FileError,
}

/// What a route asks of its requests.
#[derive(Debug)]
pub struct Gate {
    /// `None`: nothing. Only what others must not write is taken away.
    pub way: Option<Way>,
    /// The field by which endpoints are told who it is.
    pub identity_header: Option<Box<str>>,
    /// Fields that are never a client's own, where it is asked who it is; on other routes not those of strangers.
    pub reserved: Arc<[Box<str>]>,
    /// The field of the password or key, where it is taken away.
    pub hidden: Option<Box<str>>,
    pub counts: Arc<Counts>,
}

/// How it is found out who it is.
#[derive(Debug)]
pub enum Way {
    Basic(Basic),
    ApiKey(ApiKey),
    Forward(Forward),
}

/// Users and passwords.
#[derive(Debug)]
pub struct Basic {
    users: Arc<FromFile<Users>>,
    checks: Arc<Checks>,
    /// The value of `WWW-Authenticate`.
    challenge: Box<[u8]>,
}

/// A user whose password is looked at.
pub struct Candidate {
    pub user: Option<Box<str>>,
    code: Code,
    hash: Hash,
    password: Vec<u8>,
}

/// Keys.
#[derive(Debug)]
pub struct ApiKey {
    keys: Arc<FromFile<Keys>>,
    pub header: Option<Box<str>>,
    pub query: Option<Box<str>>,
    is_bearer: bool,
}

/// A service that is asked.
#[derive(Debug)]
pub struct Forward {
    /// The index of its upstream, in the order of their names.
    pub upstream: usize,
    pub path: Box<str>,
    pub timeout: Duration,
    pub copy: Box<[Box<str>]>,
    pub identity: Option<Box<str>>,
    pub on_failure: OnAuthFailure,
}

impl Basic {
    /// Whose password is to be looked at.
    pub fn candidate(&self, login: Login) -> Candidate {
        let users = self.users.now();
        let (user, hash) = users.find(&login.user);
        Candidate {
            code: self.checks.code(&login.user, &login.password, hash),
            user: user.map(Into::into),
            hash: hash.clone(),
            password: login.password,
        }
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.users.now().count()
    }

    /// Where they stand.
    pub fn file(&self) -> &Arc<FromFile<Users>> {
        &self.users
    }

    pub fn checks(&self) -> &Arc<Checks> {
        &self.checks
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> &[u8] {
        &self.challenge
    }
}

impl Candidate {
    /// What was found the last time.
    pub fn known(&self, checks: &Checks, now: Instant) -> Option<bool> {
        checks.known(&self.code, now)
    }

    /// Looks at the password. Takes long: not on a thread on which others wait.
    pub fn is_right(&self) -> bool {
        // Nobody's password is hashed, too, and then counts for nothing.
        self.hash.is_of(&self.password) & self.user.is_some()
    }

    /// Remembers what was found.
    pub fn found(&self, checks: &Checks, is_right: bool, now: Instant) {
        checks.found(self.code, is_right, now);
    }
}

impl ApiKey {
    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.now().count()
    }

    /// Where they stand.
    pub fn file(&self) -> &Arc<FromFile<Keys>> {
        &self.keys
    }

    /// Whose key it is; `None`: nobody's. `values` are those of the header.
    pub fn of_header<'a>(
        &self,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Arc<str>>, Unclaimed> {
        let key = claim::key(values, self.is_bearer)?;
        Ok(self.keys.now().find(key).cloned())
    }

    /// The same by the query, out of which the key is taken.
    pub fn of_query(
        &self,
        name: &str,
        target: &mut Vec<u8>,
    ) -> Result<Option<Arc<str>>, Unclaimed> {
        let key = claim::take_parameter(target, name.as_bytes())?;
        Ok(self.keys.now().find(&key).cloned())
    }

    /// The value of `WWW-Authenticate`. There is no scheme for keys but that of bearer tokens.
    pub fn challenge(&self) -> &'static [u8] {
        if self.is_bearer { b"Bearer" } else { b"ApiKey" }
    }
}

/// The gates of all routes, in their order; `None` where nothing is asked and nothing is taken away. Blocks: reads files,
/// each of them once.
pub fn compile(config: &Config, ledger: &Ledger) -> Result<Vec<Option<Arc<Gate>>>, AuthError> {
    ledger.forget_gone();
    let reserved: Arc<[Box<str>]> = reserved(config).into();
    let mut read = Read::default();
    let routes = config.routes.iter().enumerate();
    let gates = routes.map(|(index, route)| {
        let Some(auth) = &route.auth else {
            return Ok((!reserved.is_empty()).then(|| Arc::new(open(&reserved))));
        };
        let name = route.identity();
        let compiled = gate(config, auth, &name, &reserved, ledger, &mut read);
        let compiled = compiled.map(|gate| Some(Arc::new(gate)));
        compiled.map_err(|source| AuthError {
            index,
            route: name,
            source,
        })
    });
    gates.collect()
}

/// Files that several routes name.
#[derive(Default)]
struct Read {
    users: HashMap<PathBuf, Arc<FromFile<Users>>>,
    keys: HashMap<PathBuf, Arc<FromFile<Keys>>>,
}

impl Read {
    fn users(&mut self, file: &Path) -> Result<Arc<FromFile<Users>>, FileError> {
        if let Some(users) = self.users.get(file) {
            return Ok(Arc::clone(users));
        }
        let users = FromFile::open(file)?;
        self.users.insert(file.to_owned(), Arc::clone(&users));
        Ok(users)
    }

    fn keys(&mut self, file: &Path) -> Result<Arc<FromFile<Keys>>, FileError> {
        if let Some(keys) = self.keys.get(file) {
            return Ok(Arc::clone(keys));
        }
        let keys = FromFile::open(file)?;
        self.keys.insert(file.to_owned(), Arc::clone(&keys));
        Ok(keys)
    }
}

/// The gate of a route that lets everybody in.
fn open(reserved: &Arc<[Box<str>]>) -> Gate {
    Gate {
        way: None,
        identity_header: None,
        reserved: Arc::clone(reserved),
        hidden: None,
        counts: Arc::default(),
    }
}

fn gate(
    config: &Config,
    auth: &config::Auth,
    route: &str,
    reserved: &Arc<[Box<str>]>,
    ledger: &Ledger,
    read: &mut Read,
) -> Result<Gate, FileError> {
    let (way, hidden) = match &auth.way {
        AuthWay::Basic(written) => {
            let realm = &written.realm;
            let basic = Basic {
                users: read.users(&written.users_file)?,
                checks: Arc::clone(&ledger.checks),
                challenge: format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
                    .into_bytes()
                    .into(),
            };
            (Way::Basic(basic), Some("Authorization".into()))
        }
        AuthWay::ApiKey(written) => {
            let header: Option<Box<str>> = written.header.as_deref().map(Into::into);
            let is_authorization = |name: &str| name.eq_ignore_ascii_case("authorization");
            let api_key = ApiKey {
                keys: read.keys(&written.keys_file)?,
                is_bearer: header.as_deref().is_some_and(is_authorization),
                query: written.query.as_deref().map(Into::into),
                header: header.clone(),
            };
            (Way::ApiKey(api_key), header)
        }
        AuthWay::Forward(written) => (Way::Forward(forward(config, written)), None),
    };
    // The fields of this way itself are taken away whatever they are.
    let mut own = reserved.to_vec();
    let names = auth.identity_header.iter().chain(copied(auth));
    for name in names.map(String::as_str) {
        if !own.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            own.push(name.into());
        }
    }
    Ok(Gate {
        way: Some(way),
        identity_header: auth.identity_header.as_deref().map(Into::into),
        reserved: own.into(),
        hidden: hidden.filter(|_| !auth.keep_credentials),
        counts: ledger.counts(route),
    })
}

fn forward(config: &Config, written: &config::ForwardAuth) -> Forward {
    let mut names = config.upstreams.keys();
    Forward {
        // Validated when it was read.
        upstream: names
            .position(|name| *name == written.upstream)
            .unwrap_or_default(),
        path: written.path.as_str().into(),
        timeout: written.timeout,
        copy: written
            .copy
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        identity: written.identity.as_deref().map(Into::into),
        on_failure: written.on_failure,
    }
}

/// The fields that a route's service may set.
fn copied(auth: &config::Auth) -> &[String] {
    match &auth.way {
        AuthWay::Forward(forward) => &forward.copy,
        AuthWay::Basic(_) | AuthWay::ApiKey(_) => &[],
    }
}

/// Fields by which some route tells endpoints who it is. Those that clients have for themselves, such as `Cookie`, are not
/// among them, whatever a service may set.
fn reserved(config: &Config) -> Vec<Box<str>> {
    let mut names: Vec<Box<str>> = Vec::new();
    for auth in config.routes.iter().filter_map(|route| route.auth.as_ref()) {
        let own = auth.identity_header.iter();
        let copied = copied(auth).iter().filter(|name| is_of_proxies(name));
        for name in own.chain(copied) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.as_str().into());
            }
        }
    }
    names
}

/// Whether a field is none that a client of its own has a use for.
fn is_of_proxies(name: &str) -> bool {
    const CLIENTS: [&str; 8] = [
        "authorization",
        "cookie",
        "accept",
        "accept-language",
        "user-agent",
        "content-type",
        "cache-control",
        "host",
    ];
    !CLIENTS.iter().any(|own| name.eq_ignore_ascii_case(own))
}
