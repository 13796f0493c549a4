//! The files that a reload reads, and those of them that the user whom the process became may not.
//!
//! They are opened as root at the start, so that nothing tells until they are wanted again: then a reload, the renewal of a
//! certificate or an upgrade is refused.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::origin::Origin;
use super::privileges::Identity;
use crate::admin::Live;
use crate::config::{AuthWay, Config, Diagnostic, Finding, Level, LogTarget, Places};
use crate::observe::event::Kind;

/// Files that are named one by one.
const NAMED: usize = 3;

/// A file that a key of the configuration names.
struct Needed<'a> {
    /// Whose key it is, `listeners.web.tls.certificates[0]`.
    path: String,
    key: &'static str,
    file: &'a Path,
}

/// All files that a configuration names and a reload reads.
fn files(config: &Config) -> Vec<Needed<'_>> {
    let mut all = List(Vec::new());
    for (name, listener) in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        let place = format!("listeners.{name}.tls");
        for (index, pair) in tls.certificates.iter().enumerate() {
            let place = format!("{place}.certificates[{index}]");
            all.add(&place, "cert", Some(&pair.cert));
            all.add(&place, "key", Some(&pair.key));
            all.add(&place, "ocsp", pair.ocsp.as_deref());
        }
        let client = tls.client.as_ref();
        let ca = client.map(|client| client.ca.as_path());
        all.add(&format!("{place}.client"), "ca", ca);
    }
    for (index, route) in config.routes.iter().enumerate() {
        let place = format!("routes[{index}].auth");
        match route.auth.as_ref().map(|auth| &auth.way) {
            Some(AuthWay::Basic(basic)) => {
                all.add(
                    &format!("{place}.basic"),
                    "users_file",
                    Some(&basic.users_file),
                );
            }
            Some(AuthWay::ApiKey(keys)) => {
                all.add(
                    &format!("{place}.api_key"),
                    "keys_file",
                    Some(&keys.keys_file),
                );
            }
            Some(AuthWay::Forward(_)) | None => {}
        }
    }
    for (name, upstream) in &config.upstreams {
        let place = format!("upstreams.{name}");
        all.add(&place, "endpoints_file", upstream.endpoints_file.as_deref());
        let sticky = upstream.sticky.as_ref();
        let secrets = sticky.and_then(|sticky| sticky.secret_file.as_deref());
        all.add(&format!("{place}.sticky"), "secret_file", secrets);
        let Some(tls) = &upstream.tls else { continue };
        all.add(&format!("{place}.tls"), "ca", tls.ca.as_deref());
        if let Some(pair) = &tls.certificate {
            let place = format!("{place}.tls.certificate");
            all.add(&place, "cert", Some(&pair.cert));
            all.add(&place, "key", Some(&pair.key));
        }
    }
    let admin = config.admin.as_ref();
    let tokens = admin.and_then(|admin| admin.token_file.as_deref());
    all.add("admin", "token_file", tokens);
    all.0
}

struct List<'a>(Vec<Needed<'a>>);

impl<'a> List<'a> {
    fn add(&mut self, path: &str, key: &'static str, file: Option<&'a Path>) {
        self.0.extend(file.map(|file| Needed {
            path: path.to_owned(),
            key,
            file,
        }));
    }
}

/// Says what the process, which has become another user, may not read or write any more. Blocks.
pub(super) fn tell(live: &Live, origin: Option<&Origin>) {
    let snapshot = live.snapshot.load_full();
    let config = &snapshot.config;
    let Some(user) = &config.user else { return };
    let mut unread: Vec<String> = files(config)
        .into_iter()
        .filter(|one| is_denied(one.file, Access::READ_OK))
        .map(|one| format!("{} ({}.{})", one.file.display(), one.path, one.key))
        .collect();
    if let Some(origin) = origin.filter(|origin| is_denied(&origin.path, Access::READ_OK)) {
        unread.insert(0, origin.path.display().to_string());
    }
    let note = |text| {
        let now = live.clock.now();
        live.events.note_process(now, Kind::User, text);
    };
    if !unread.is_empty() {
        note(format!(
            "`{user}` may not read {}: reloads, upgrades and renewals of certificates that need it are refused; let a group \
             of that user read it (`chgrp GROUP FILE`, `chmod 640 FILE`)",
            listed(&unread)
        ));
    }
    if let Some(log) = log_file(config)
        && is_denied(&log, Access::WRITE_OK)
    {
        note(format!(
            "`{user}` may not write to the access log {}: it cannot be opened anew after it was moved away; give the file \
             and its folder to that user",
            log.display()
        ));
    }
}

fn log_file(config: &Config) -> Option<PathBuf> {
    match &config.access_log.as_ref()?.path {
        LogTarget::File(path) => Some(path.clone()),
        LogTarget::Stdout | LogTarget::Stderr => None,
    }
}

/// Whether the system denies it to this process. One that is not there is not denied.
fn is_denied(file: &Path, access: Access) -> bool {
    matches!(
        rustix::fs::access(file, access),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS)
    )
}

/// A warning for each file that the user of a configuration may not read, as far as modes and owners tell. `file` is the
/// configuration. Blocks.
pub(super) fn warnings(config: &Config, file: &Path, places: &Places) -> Vec<Diagnostic> {
    // Where the user is unknown, another machine is meant.
    let Ok(Some(identity)) = Identity::find(config) else {
        return Vec::new();
    };
    let warning = |path: String, at, file: &Path| {
        identity.may_read(file).is_some_and(|may| !may).then(|| Finding {
            level: Level::Warning,
            path,
            at,
            message: format!(
                "`{identity}`, whom the process becomes, may not read `{}`, which reloads and upgrades need",
                file.display()
            ),
            help: Some("let a group of that user read it: `chgrp GROUP FILE`, `chmod 640 FILE`".to_owned()),
        })
    };
    let named = files(config).into_iter();
    let named = named.filter_map(|one| warning(one.path, one.key, one.file));
    places.locate(
        warning("user".to_owned(), "", file)
            .into_iter()
            .chain(named),
    )
}

/// The first of them, and how many more there are.
fn listed(all: &[String]) -> String {
    let named = all.iter().take(NAMED).map(String::as_str);
    let named = named.collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
