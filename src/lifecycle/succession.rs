//! The control loop's part in upgrades: which process this one takes over from, and which takes over from it.

use std::sync::Arc;
use std::time::Duration;

use super::control::Say;
use super::notify::{Notify, Said};
use super::predecessor::Predecessor;
use super::reload::STATUS;
use super::start::Kept;
use super::upgrade::{Lent, Program, Successor, Upgrade, UpgradeError};
use crate::admin::Live;
use crate::config::Address;
use crate::observe::event::Kind;

/// Both neighbours of this process in time.
pub(super) struct Succession {
    program: Option<Program>,
    predecessor: Option<Predecessor>,
    /// Whether the predecessor knows that this process serves.
    is_told: bool,
    /// What the predecessor has bound and this process does not serve.
    unused: Vec<(String, Address)>,
    upgrade: Option<Upgrade>,
    /// How many upgrades were begun, or refused at once.
    tries: u32,
    successor: Option<Successor>,
}

impl Succession {
    pub(super) fn new(predecessor: Option<Predecessor>, unused: Vec<(String, Address)>) -> Self {
        Self {
            program: Program::of_this_process().ok(),
            predecessor,
            is_told: false,
            unused,
            upgrade: None,
            tries: 0,
            successor: None,
        }
    }

    /// Whether it is for this process to speak to the service manager.
    pub(super) const fn speaks_for_the_service(&self) -> bool {
        self.predecessor.is_none() && self.successor.is_none()
    }

    /// Tells the predecessor that this process serves, once it does. True when the predecessor has just left everything
    /// to this process, the files of its sockets among it.
    pub(super) fn take_over(&mut self, live: &Live, kept: &Kept) -> bool {
        let Some(predecessor) = &self.predecessor else {
            return false;
        };
        if !self.is_told && live.reasons().is_empty() {
            self.is_told = true;
            predecessor.tell_ready(&self.unused);
        }
        self.come_after(kept)
    }

    /// The same without telling it anything: for a process that is about to end before it has looked.
    pub(super) fn come_after(&mut self, kept: &Kept) -> bool {
        let Some(predecessor) = &self.predecessor else {
            return false;
        };
        // One that is gone before it heard of this process has left as well.
        if !predecessor.has_left() {
            return false;
        }
        self.predecessor = None;
        kept.doors.come_into_files();
        true
    }

    /// Starts another process that is to take over.
    pub(super) fn begin(
        &mut self,
        lent: impl FnOnce() -> Vec<Lent>,
        timeout: Duration,
    ) -> Result<(), UpgradeError> {
        self.tries += 1;
        if std::process::id() == 1 {
            return Err(UpgradeError::FirstProcess);
        }
        if self.upgrade.is_some() || self.predecessor.is_some() {
            return Err(UpgradeError::UnderWay);
        }
        if self.successor.is_some() {
            return Err(UpgradeError::Ending);
        }
        let Some(program) = self.program.clone() else {
            let source = std::io::ErrorKind::NotFound.into();
            let path = "plimsoll".into();
            return Err(UpgradeError::Start { path, source });
        };
        self.upgrade = Some(Upgrade::begin(program, lent(), timeout)?);
        Ok(())
    }

    /// Gives up what is under way: this process is about to end, and so should the other.
    pub(super) fn cancel(&self) {
        if let Some(upgrade) = &self.upgrade {
            upgrade.cancel();
        }
    }

    /// Waits for the end of the upgrade that is under way; for ever when there is none.
    pub(super) async fn done(&mut self) -> Result<Successor, UpgradeError> {
        match &mut self.upgrade {
            Some(upgrade) => {
                let done = upgrade.done().await;
                self.upgrade = None;
                done
            }
            None => std::future::pending().await,
        }
    }

    /// The other serves: tells the service manager whom to watch, and lets the other speak.
    pub(super) fn hand_over(&mut self, successor: Successor, notify: &Notify, say: &Say) {
        let process = successor.process;
        notify.tell(&[Said::Main(process)]);
        successor.let_go();
        say(&format!("plimsoll: process {process} has taken over"));
        self.successor = Some(successor);
    }

    /// Says why this process goes on. The number tells the service manager's clients one refusal from another.
    pub(super) fn refused(&self, live: &Live, notify: &Notify, error: &UpgradeError) {
        let text = format!("the upgrade was refused, and this process goes on: {error}");
        let now = live.clock.now();
        live.events.note_process(now, Kind::Upgrade, text);
        if self.speaks_for_the_service() && live.farewell().is_none() {
            let generation = live.snapshot.load().generation;
            let number = self.tries;
            let reason: String = error.to_string().chars().take(STATUS).collect();
            let status =
                format!("serving generation {generation}; upgrade {number} was refused: {reason}");
            notify.tell(&[Said::Status(&status)]);
        }
    }

    /// What the successor does not serve of what was lent to it; `None` where there is no successor.
    pub(super) fn unused(&self) -> Option<&[String]> {
        self.successor
            .as_ref()
            .map(|successor| &successor.unused[..])
    }
}

/// The sockets of the admin API, for the other process to serve as well.
pub(super) fn lent_admin(
    live: &Live,
    sockets: &[Arc<std::os::fd::OwnedFd>],
    is_own: bool,
) -> Option<Lent> {
    let bound = live.admin.as_ref()?.to_string();
    let config = &live.snapshot.load().config;
    let written = config.admin.as_ref().map(|admin| admin.address.to_string());
    Some(Lent {
        name: super::inherited::ADMIN.to_owned(),
        is_admin: true,
        is_own,
        written: written.unwrap_or_else(|| bound.clone()),
        bound,
        sockets: sockets.to_vec(),
    })
}
