//! What the control loop remembers from one turn to the next.

use std::sync::Arc;

use super::Notify;
use super::control::Say;
use super::ending::Ending;
use super::notify::{Pulse, Standing};
use super::succession::Succession;
use crate::admin::Reason;
use crate::admin::live::Live;
use crate::clock::Instant;
use crate::observe::access_log::{Losses, Turn};
use crate::observe::event::Kind;

/// What the control loop remembers from one turn to the next.
pub(super) struct Course {
    pub(super) say: Say,
    pub(super) notify: Arc<Notify>,
    pub(super) ending: Ending,
    pub(super) succession: Succession,
    pub(super) watch: Watch,
    pub(super) losses: Losses,
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

/// Notes when the access log begins to lose lines, and when that has ended.
pub(super) fn look_at_log(losses: &mut Losses, live: &Live, now: Instant) {
    let Some(log) = &live.log else { return };
    let text = match losses.look(now, log.written(), log.dropped()) {
        None => return,
        Some(Turn::Begins) => {
            let slow = || "whoever reads it is too slow, or does not read".to_owned();
            let why = log.failure().unwrap_or_else(slow);
            format!("the access log loses lines, which are counted; traffic goes on: {why}")
        }
        Some(Turn::Ends { lost }) => {
            let plural = if lost == 1 { " was" } else { "s were" };
            format!("the access log is written again; {lost} line{plural} lost")
        }
    };
    live.events.note_process(now, Kind::Log, text);
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
