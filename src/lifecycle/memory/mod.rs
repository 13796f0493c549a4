//! Sheds before memory runs out: looks at what is used, and when it is too much, has no connection accepted and what rests
//! closed, until it is less again.

mod usage;
mod watermark;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Live;
use crate::clock::Instant;
use crate::config::units::format_size;
use crate::observe::event::Kind;
use crate::worker::Mail;
use usage::{Gauge, Usage};
use watermark::{Turn, Watermark};

/// How often memory is looked at: a fast network brings about 100 MB in that time.
const LOOK: Duration = Duration::from_millis(100);
/// How often what rests is closed while memory is short. What is closed has rested for one to two of these.
const PULSE: Duration = Duration::from_secs(1);

/// Watches for as long as the process runs, in time of the system: memory knows no other.
pub(super) async fn watch(live: Arc<Live>) {
    let mut gauge = Gauge::default();
    let mut watermark = Watermark::default();
    let mut pulsed = None;
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let written = live.snapshot.load().config.memory.clone();
        let limit = written.as_ref().map(|written| written.limit);
        // Reading files of the kernel may take a moment, which nothing else here should wait for.
        let read = tokio::task::spawn_blocking(move || {
            let usage = limit.and_then(|limit| gauge.read(limit));
            (gauge, usage)
        });
        let Ok((back, usage)) = read.await else {
            // It panicked, which is told already.
            return;
        };
        gauge = back;
        let now = live.clock.now();
        let rules = written.unwrap_or_default();
        let turn = watermark.judge(
            usage.as_ref().map(|usage| (usage.used, usage.limit)),
            &rules,
        );
        if let Some(turn) = turn {
            tell(&live, now, turn, usage.as_ref());
        }
        let is_shedding = watermark.is_shedding();
        live.memory.record(
            usage.as_ref().map(|usage| (usage.used, usage.limit)),
            is_shedding,
            turn == Some(Turn::Shed),
        );
        // A drain lets those in who wait.
        if (is_shedding || turn.is_some()) && !live.is_draining() {
            // Listeners that have just come are shut, too.
            for bound in live.listeners.load().iter() {
                bound.gate.shut(is_shedding);
            }
        }
        if !is_shedding {
            pulsed = None;
        } else if is_due(&live, pulsed, now) {
            pulsed = Some(now);
            for mailbox in live.mailboxes.iter() {
                // A worker that has ended holds nothing any more.
                let _ = mailbox.inbox.send(Mail::Shed);
            }
        }
    }
}

fn is_due(live: &Live, pulsed: Option<Instant>, now: Instant) -> bool {
    pulsed.is_none_or(|pulsed| live.clock.real(now.since(pulsed)) >= PULSE)
}

fn tell(live: &Live, now: Instant, turn: Turn, usage: Option<&Usage>) {
    let figures = usage.map_or_else(String::new, |usage| {
        let (used, limit) = (rounded(usage.used), rounded(usage.limit));
        let whose = usage.whose;
        format!(" ({used} of {limit} that {whose} may use)")
    });
    let text = match turn {
        Turn::Shed => format!(
            "it is short{figures}: no connection is accepted, and those that rest are closed"
        ),
        Turn::Resume => format!("it is short no more{figures}: connections are accepted"),
    };
    live.events.note_process(now, Kind::Memory, text);
}

/// In whole units of mebibytes, for people.
fn rounded(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    if bytes < MEBIBYTE {
        format_size(bytes)
    } else {
        format_size(bytes / MEBIBYTE * MEBIBYTE)
    }
}
