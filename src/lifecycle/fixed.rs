//! What a reload cannot change while the process runs: whatever is bound to threads, and where operators connect (pure).

use crate::config::Config;

/// Every key that would have to change and cannot.
pub fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    if old.workers != new.workers {
        keys.push("workers".to_owned());
    }
    match (&old.admin, &new.admin) {
        (Some(before), Some(now)) if before.address != now.address => {
            keys.push("admin.address".to_owned());
        }
        (None, Some(_)) | (Some(_), None) => keys.push("admin".to_owned()),
        _ => {}
    }
    if old.user != new.user {
        keys.push("user".to_owned());
    }
    if old.group != new.group {
        keys.push("group".to_owned());
    }
    if old.access_log != new.access_log {
        keys.push("access_log".to_owned());
    }
    keys
}
