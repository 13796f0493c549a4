//! What a reload cannot change while the process runs: whatever is bound to sockets and threads (pure).

use std::collections::BTreeMap;

use crate::config::{Address, Config, Listener};

/// Every key that would have to change and cannot.
pub fn fixed(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = listeners(&old.listeners, &new.listeners);
    if old.workers != new.workers {
        keys.push("workers".to_owned());
    }
    if old.admin != new.admin {
        keys.push("admin".to_owned());
    }
    if old.access_log != new.access_log {
        keys.push("access_log".to_owned());
    }
    keys
}

fn listeners(old: &BTreeMap<String, Listener>, new: &BTreeMap<String, Listener>) -> Vec<String> {
    let mut keys = Vec::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        keys.push(format!("listeners.{name} (removed)"));
    }
    for (name, listener) in new {
        match old.get(name) {
            None => keys.push(format!("listeners.{name} (added)")),
            Some(before) => {
                let bound = |listener: &Listener| -> (Address, usize) {
                    (listener.address.clone(), listener.limits.connections)
                };
                if bound(before).0 != bound(listener).0 {
                    keys.push(format!("listeners.{name}.address"));
                }
                if bound(before).1 != bound(listener).1 {
                    keys.push(format!("listeners.{name}.limits.connections"));
                }
                if before.tls != listener.tls {
                    keys.push(format!("listeners.{name}.tls"));
                }
            }
        }
    }
    keys
}
