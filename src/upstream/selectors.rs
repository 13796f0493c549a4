//! By what of a request an upstream chooses among its endpoints, compiled from the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::registry::Registry;
use crate::balance::{CreateCookie, HashKey};
use crate::balance::{SameSite, Secrets, SessionCookie, Sticky};
use crate::config;
use crate::watch::{Content, FromFile};

/// Present where an upstream asks for anything of a request.
#[derive(Debug)]
pub struct Selectors {
    /// What requests are hashed by.
    pub key: Option<HashKey>,
    /// Sessions bound to an endpoint.
    pub sticky: Option<Sticky>,
    /// The file of what those are sealed with, where there is one.
    pub secrets: Option<Arc<FromFile<Secrets>>>,
    /// Endpoints with the metadata asked for.
    pub subset: Option<Subset>,
}

/// How a subset is asked for.
#[derive(Debug)]
pub struct Subset {
    /// The header that names it where the route does not.
    pub header: Option<Box<str>>,
    pub otherwise: Otherwise,
}

pub use crate::config::Otherwise;

/// A file of secrets that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret file {} cannot be read: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the secret file {} is empty; write a line of {LEAST} bytes or more", path.display())]
    Empty { path: PathBuf },
    #[error("the secret file {}, line {line}: a secret of {LEAST} bytes or more is needed", path.display())]
    Short { path: PathBuf, line: usize },
}

/// Fewer bytes could be guessed.
const LEAST: usize = 32;

impl Selectors {
    /// What the upstream of this name asks for; `None`: nothing. Reads the file of secrets.
    pub fn compile(
        name: &str,
        written: &config::Upstream,
        registry: &Registry,
    ) -> Result<Option<Self>, SecretError> {
        let key = match &written.balance {
            config::Balance::ConsistentHash(options) => Some(hash_key(&options.key)),
            _ => None,
        };
        let file = written.sticky.as_ref();
        let file = file.and_then(|sticky| sticky.secret_file.as_deref());
        let secrets = file.map(FromFile::open).transpose()?;
        let sticky = written.sticky.as_ref();
        let sticky = sticky.map(|sticky| match &secrets {
            Some(file) => compile_sticky(name, sticky, file.shared()),
            None => {
                let own = Secrets::new(registry.secret(), &[]);
                compile_sticky(name, sticky, Arc::new(ArcSwap::from_pointee(own)))
            }
        });
        let subset = written.subset.as_ref().map(|subset| Subset {
            header: subset.header.as_deref().map(Into::into),
            otherwise: subset.otherwise,
        });
        let asks = key.is_some() || sticky.is_some() || subset.is_some();
        Ok(asks.then_some(Self {
            key,
            sticky,
            secrets,
            subset,
        }))
    }
}

fn hash_key(written: &config::HashKey) -> HashKey {
    match written {
        config::HashKey::ClientIp => HashKey::ClientIp,
        config::HashKey::Host => HashKey::Host,
        config::HashKey::Path => HashKey::Path,
        config::HashKey::Header(name) => HashKey::header(name),
        config::HashKey::Query(name) => HashKey::query(name),
        config::HashKey::Cookie { name, create } => {
            let create = create.as_ref().map(|create| CreateCookie {
                ttl: create.ttl,
                path: create.path.as_str().into(),
            });
            HashKey::cookie(name, create)
        }
    }
}

fn compile_sticky(name: &str, written: &config::Sticky, secrets: Arc<ArcSwap<Secrets>>) -> Sticky {
    let cookie = SessionCookie {
        name: written.cookie.as_str().into(),
        path: written.path.as_str().into(),
        ttl: written.ttl,
        same_site: match written.same_site {
            config::SameSite::Lax => SameSite::Lax,
            config::SameSite::Strict => SameSite::Strict,
            config::SameSite::None => SameSite::None,
        },
    };
    let scope = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    Sticky::following(cookie, secrets, scope)
}

impl Content for Secrets {
    type Error = SecretError;

    fn load(path: &Path) -> Result<Self, SecretError> {
        read_secrets(path)
    }

    fn what() -> &'static str {
        "secrets"
    }
}

/// One secret on each line; what is shorter than it must be is refused rather than left out.
fn read_secrets(path: &Path) -> Result<Secrets, SecretError> {
    let text = std::fs::read(path).map_err(|source| SecretError::Read {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut secrets = Vec::new();
    for (line, secret) in (1..).zip(lines).filter(|(_, secret)| !secret.is_empty()) {
        if secret.len() < LEAST {
            let path = path.to_owned();
            return Err(SecretError::Short { path, line });
        }
        secrets.push(secret);
    }
    match secrets.split_first() {
        Some((first, others)) => Ok(Secrets::new(first, others)),
        None => Err(SecretError::Empty {
            path: path.to_owned(),
        }),
    }
}
