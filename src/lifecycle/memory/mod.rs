//! Sheds before memory runs out: looks at what is used, and when it is too much, has no connection accepted and what rests
//! closed, until it is less again. When that does not help, has connections cut whatever they do.

mod usage;
mod watermark;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::admin::Live;
use crate::clock::Instant;
use crate::config::units::format_size;
use crate::observe::event::Kind;
use crate::worker::{Mail, collect};
use usage::{Gauge, Usage};
use watermark::{Seen, Turn, Watermark};

/// How often memory is looked at: a fast network brings about 100 MB in that time.
const LOOK: Duration = Duration::from_millis(100);
/// The same while much is used.
const NEAR: Duration = Duration::from_millis(10);
/// How often what rests is closed while memory is short. What is closed has rested for one to two of these.
const PULSE: Duration = Duration::from_secs(1);
/// How long it takes until what was cut is given back, and less is used.
const CUT: Duration = Duration::from_millis(50);

/// Watches for as long as the process runs, in time of the system: memory knows no other.
pub(super) async fn watch(live: Arc<Live>) {
    let mut gauge = Gauge::default();
    let mut watermark = Watermark::default();
    let mut shedding = Shedding::new();
    loop {
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
        let rules = written.unwrap_or_default();
        let figures = usage.as_ref().map(|usage| (usage.used, usage.limit));
        let seen = Seen {
            now: live.clock.now(),
            usage: figures,
            open: open(&live),
        };
        let turn = watermark.judge(seen, &rules);
        if let Some(turn) = turn {
            tell(&live, seen.now, turn, usage.as_ref());
        }
        let is_shedding = watermark.is_shedding();
        let has_begun = turn == Some(Turn::Shed);
        live.memory.record(figures, is_shedding, has_begun);
        // A drain lets those in who wait.
        if (is_shedding || turn.is_some()) && !live.is_draining() {
            // Listeners that have just come are shut, too.
            for bound in live.listeners.load().iter() {
                bound.gate.shut(is_shedding);
            }
        }
        let excess = watermark.excess(figures, &rules);
        shedding.go_on(&live, seen.now, is_shedding, excess);
        let is_near = Watermark::is_near(figures, &rules);
        tokio::time::sleep(if is_near { NEAR } else { LOOK }).await;
    }
}

/// Connections of clients.
fn open(live: &Live) -> usize {
    let each = live.mailboxes.iter();
    each.map(|mailbox| mailbox.connections.load(Relaxed)).sum()
}

/// What workers were told to give back.
struct Shedding {
    pulsed: Option<Instant>,
    cut: Option<Instant>,
    /// How many each worker has cut, and where it says so.
    answers: UnboundedReceiver<usize>,
    answer: UnboundedSender<usize>,
}

impl Shedding {
    fn new() -> Self {
        let (answer, answers) = mpsc::unbounded_channel();
        Self {
            pulsed: None,
            cut: None,
            answers,
            answer,
        }
    }

    /// Has all that rests closed from time to time while memory is short, and of what is in `excess` as much cut.
    fn go_on(&mut self, live: &Live, now: Instant, is_shedding: bool, excess: Option<u64>) {
        self.count(live, now);
        if !is_shedding {
            self.pulsed = None;
            return;
        }
        if is_due(live, self.pulsed, now, PULSE) {
            self.pulsed = Some(now);
            for mailbox in live.mailboxes.iter() {
                // A worker that has ended holds nothing any more.
                let _ = mailbox.inbox.send(Mail::Shed);
            }
            collect();
        }
        if let Some(excess) = excess
            && is_due(live, self.cut, now, CUT)
        {
            self.cut = Some(now);
            self.cut(live, excess);
        }
    }

    /// Notes and tells what has been cut by now.
    fn count(&mut self, live: &Live, now: Instant) {
        let count: usize = std::iter::from_fn(|| self.answers.try_recv().ok()).sum();
        if count > 0 {
            live.memory.cut(count);
            let text = format!("it runs out: {count} connections were cut, those that held most");
            live.events.note_process(now, Kind::Memory, text);
        }
    }

    /// Has each worker cut its part of `excess` bytes.
    fn cut(&self, live: &Live, excess: u64) {
        let workers = live.mailboxes.len().max(1) as u64;
        let bytes = usize::try_from(excess.div_ceil(workers)).unwrap_or(usize::MAX);
        for mailbox in live.mailboxes.iter() {
            let answer = self.answer.clone();
            let _ = mailbox.inbox.send(Mail::Cut { bytes, answer });
        }
    }
}

fn is_due(live: &Live, last: Option<Instant>, now: Instant, span: Duration) -> bool {
    last.is_none_or(|last| live.clock.real(now.since(last)) >= span)
}

fn tell(live: &Live, now: Instant, turn: Turn, usage: Option<&Usage>) {
    let figures = usage.map_or_else(String::new, |usage| {
        let (used, limit) = (rounded(usage.used), rounded(usage.limit));
        let whose = usage.whose;
        format!(" ({used} of {limit} that {whose} may use)")
    });
    let text = match turn {
        Turn::Shed => format!(
            "it is short{figures}: no connection is accepted, and those that rest or stop within a head are closed"
        ),
        Turn::Resume => format!("it is short no more{figures}: connections are accepted"),
        Turn::GiveUp => format!(
            "it is still short{figures}, and waiting gives nothing back: connections are accepted; the limit is too low, or \
             something other than connections holds memory"
        ),
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
