//! What the control loop remembers from one turn to the next.

use std::sync::Arc;

use super::Notify;
use super::control::Say;
use super::ending::Ending;
use super::notify::{Pulse, Standing};
use super::succession::Succession;
use crate::admin::Reason;
use crate::admin::live::Live;

/// What the control loop remembers from one turn to the next.
pub(super) struct Course {
    pub(super) say: Say,
    pub(super) notify: Arc<Notify>,
    pub(super) ending: Ending,
    pub(super) succession: Succession,
    pub(super) watch: Watch,
    pub(super) pulse: Pulse,
    /// The sequence of the last event that was said.
    pub(super) told: u64,
}

impl Course {
    /// How the process stands in the eyes of the service manager.
    pub(super) fn standing(&self, live: &Live) -> Standing {
        if !self.succession.speaks_for_the_service() {
            Standing::Unwatched
        } else if !self.ending.is_serving() {
            Standing::Ending
        } else if live.reasons().is_empty() {
            Standing::Serving
        } else {
            Standing::Starting
        }
    }
}

/// Says once when a worker stops showing itself, and once when it is back.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) stuck: Vec<usize>,
}

impl Watch {
    pub(super) fn look(&mut self, live: &Live, say: &Say) {
        let mut stuck = Vec::new();
        for reason in live.reasons() {
            if let Reason::Stuck { worker, .. } = reason {
                if !self.stuck.contains(&worker) {
                    say(&format!("plimsoll: {reason}"));
                }
                stuck.push(worker);
            }
        }
        for worker in self.stuck.iter().filter(|worker| !stuck.contains(worker)) {
            say(&format!("plimsoll: worker {worker} shows itself again"));
        }
        self.stuck = stuck;
    }
}
