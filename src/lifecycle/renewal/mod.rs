//! Files look after themselves: those of certificates, and of those who may enter, are watched and exchanged when they change, and
//! what runs out is told.
//!
//! 1. One task on the control thread waits until the system tells of a change, until it is time to look, or until another
//!    configuration is in force. 2. What changed is read off the thread; what is right is put in force for the connections and
//!    requests that come then. 3. What is wrong may be half written: it is read again for some seconds, and then the old one stays
//!    and that is told. Nothing else is touched: neither the configuration nor connections that are open.
//!
//! Not here: how they are read ([`crate::listener::server_tls`], [`crate::upstream::client_tls`], [`crate::watch::FromFile`]).

mod expiry;
pub(super) mod judge;
mod site;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::start::Kept;
use crate::admin::live::Live;
use crate::admin::swaps::Swaps;
use crate::clock::Instant;
use crate::snapshot::Snapshot;
use crate::watch::{Cover, Stamp, stamps};
use expiry::Told;
use site::{Outcome, Site};

/// How often it is looked whether another configuration is in force, and at files that are in part.
const TURN: Duration = Duration::from_secs(1);
/// How often files are looked at of which the system tells nothing.
const POLL: Duration = Duration::from_secs(30);
/// How long files must stay as they are before they count.
const SETTLED: Duration = Duration::from_millis(100);
/// How often they are looked at for that before they are taken as they are.
const LOOKS: usize = 50;
/// How long a certificate may be without its key: whoever renews both writes one after the other.
const HALF_WRITTEN: Duration = Duration::from_secs(5);

/// Begins to look after the files of whatever is in force. To be called within the runtime of the control thread.
pub(super) fn start(live: Arc<Live>, kept: Arc<Kept>) {
    tokio::spawn(async move {
        let now = live.clock.now();
        let mut keeper = Keeper {
            live,
            kept,
            touched: Arc::default(),
            cover: Cover::default(),
            followed: Weak::new(),
            sites: BTreeMap::new(),
            told: Told::default(),
            due: now,
            is_uncovered: false,
        };
        loop {
            keeper.turn().await;
            keeper.wait().await;
        }
    });
}

struct Keeper {
    live: Arc<Live>,
    kept: Arc<Kept>,
    /// Rung when the system tells of a change.
    touched: Arc<Notify>,
    cover: Cover,
    /// The tables whose sites are known.
    followed: Weak<Snapshot>,
    /// By what they are called in texts: `listeners.web.tls`.
    sites: BTreeMap<String, Track>,
    told: Told,
    /// When files are looked at next, whatever the system tells.
    due: Instant,
    /// Other files may be behind the paths than those that are watched.
    is_uncovered: bool,
}

/// What is known of one site.
struct Track {
    site: Site,
    /// Its files when they were last read, or found to be of no use.
    stamps: Vec<Stamp>,
    /// Since when they are of no use, as long as they may be half written.
    failing: Option<Instant>,
}

impl Keeper {
    /// Waits until there may be something to do.
    async fn wait(&mut self) {
        let real = |span| self.live.clock.real(span);
        let told = tokio::time::timeout(real(TURN), self.touched.notified()).await;
        if told.is_ok() {
            // A change seldom comes alone.
            tokio::time::sleep(real(SETTLED)).await;
            self.due = self.live.clock.now();
        }
    }

    async fn turn(&mut self) {
        self.follow();
        let now = self.live.clock.now();
        let is_due = self.due <= now;
        if is_due {
            self.due = now + POLL;
        }
        if std::mem::take(&mut self.is_uncovered) {
            self.cover().await;
        }
        let wall = site::wall();
        let names: Vec<String> = self.sites.keys().cloned().collect();
        for name in names {
            let Some(track) = self.sites.get(&name) else {
                continue;
            };
            let is_stale = track.site.staple_until().is_some_and(|until| until <= wall);
            if is_due || is_stale || track.failing.is_some() {
                self.look(&name, is_stale).await;
            }
        }
        if is_due {
            self.told
                .tell(&self.live, self.sites.values().map(|one| &one.site), wall);
        }
        if self.is_uncovered {
            // What happens before they are watched is seen by looking once more.
            self.due = self.live.clock.now();
        }
    }

    /// Keeps to the sites that are in force now.
    fn follow(&mut self) {
        let snapshot = self.live.snapshot.load_full();
        if std::ptr::eq(self.followed.as_ptr(), Arc::as_ptr(&snapshot)) {
            return;
        }
        self.followed = Arc::downgrade(&snapshot);
        let mut old = std::mem::take(&mut self.sites);
        for site in site::all(&self.live, &snapshot) {
            let name = site.to_string();
            let known = old.remove(&name).filter(|track| track.site.is(&site));
            let track = match known {
                Some(track) => track,
                // Read once more, since its files may have changed after they were compiled.
                None => Track {
                    site,
                    stamps: Vec::new(),
                    failing: None,
                },
            };
            self.sites.insert(name, track);
        }
        self.due = self.live.clock.now();
        self.is_uncovered = true;
    }

    /// Watches the files of all sites: another one may be behind a path, in another folder. Off this thread: a file system that
    /// hangs must hold nobody up but this task.
    async fn cover(&mut self) {
        let sites = self.sites.values();
        let files: HashSet<PathBuf> = sites.flat_map(|track| track.site.files()).collect();
        let mut cover = std::mem::take(&mut self.cover);
        let touched = Arc::clone(&self.touched);
        let renewing = tokio::task::spawn_blocking(move || {
            cover.renew(&files, &touched);
            cover
        });
        self.cover = renewing.await.unwrap_or_default();
    }

    /// Looks at the files of one site, and reads them if they are others than before.
    async fn look(&mut self, name: &str, is_stale: bool) {
        let Some(track) = self.sites.get(name) else {
            return;
        };
        let site = track.site.clone();
        let Some(found) = self.settled(&site).await else {
            return;
        };
        if found == track.stamps && track.failing.is_none() && !is_stale {
            return;
        }
        self.is_uncovered |= found != track.stamps;
        let (reading, shared) = (site.clone(), self.kept.tls.clone());
        let read = tokio::task::spawn_blocking(move || reading.renew(&shared)).await;
        // A panic was printed by the panic hook; what is in force serves.
        let Ok(outcome) = read else { return };
        let now = self.live.clock.now();
        let Some(track) = self.sites.get_mut(name) else {
            return;
        };
        match outcome {
            Outcome::Exchanged(text) => {
                track.stamps = found;
                track.failing = None;
                self.swaps(&site).count(true);
                self.note(&site, text);
            }
            Outcome::Same { was_in_trouble } => {
                track.stamps = found;
                track.failing = None;
                if was_in_trouble {
                    self.note(&site, site.right_again());
                }
            }
            Outcome::Refused(reason) => {
                if now.since(*track.failing.get_or_insert(now)) < HALF_WRITTEN {
                    return;
                }
                track.stamps = found;
                track.failing = None;
                let is_new = site.set_trouble(Some(reason.clone()));
                if is_new {
                    self.swaps(&site).count(false);
                    self.note(&site, site.refused(&reason));
                }
            }
        }
    }

    /// The files once they stay as they are; `None` when the thread that looked panicked.
    async fn settled(&self, site: &Site) -> Option<Vec<Stamp>> {
        let mut before = stamped(site.files()).await;
        if self
            .sites
            .get(&site.to_string())
            .is_some_and(|track| track.stamps == before)
        {
            return Some(before);
        }
        for _ in 0..LOOKS {
            tokio::time::sleep(self.live.clock.real(SETTLED)).await;
            let now = stamped(site.files()).await;
            if now == before {
                break;
            }
            before = now;
        }
        Some(before)
    }

    fn swaps(&self, site: &Site) -> &Swaps {
        match site {
            Site::Listener { .. } | Site::Upstream { .. } => &self.live.certificates,
            Site::List { .. } => &self.live.credentials,
        }
    }

    fn note(&self, site: &Site, text: String) {
        let now = self.live.clock.now();
        self.live.events.note_process(now, site.kind(), text);
    }
}

/// Looks at files off this thread.
async fn stamped(files: Vec<PathBuf>) -> Vec<Stamp> {
    let looking = tokio::task::spawn_blocking(move || stamps(&files));
    looking.await.unwrap_or_default()
}
