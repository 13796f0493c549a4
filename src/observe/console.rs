//! What the running process says on standard error. Whoever reads there may stall, and a full pipe must stop nobody:
//! lines wait in a bounded queue for a thread of their own, and beyond that they are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that may wait. A refused configuration is one of them, however long it is; a process says a few in a minute.
const WAITING: usize = 1024;

/// What became of lines; shared with the admin API.
#[derive(Debug, Default)]
pub struct Said {
    dropped: AtomicU64,
}

impl Said {
    /// Lines lost because nobody read, or because writing failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

enum Message {
    Line(String),
    /// Answered by being dropped, when all before it is written.
    Sync(SyncSender<()>),
}

/// Where lines are handed in. Cheap to clone; the writer ends when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Console {
    sender: SyncSender<Message>,
    said: Arc<Said>,
}

impl Console {
    /// Starts the thread that writes to standard error.
    pub fn start(said: Arc<Said>) -> io::Result<Self> {
        Self::writing_to(Box::new(io::stderr()), said)
    }

    fn writing_to(target: Box<dyn Write + Send>, said: Arc<Said>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let counted = Arc::clone(&said);
        let thread = std::thread::Builder::new().name("console".to_owned());
        thread.spawn(move || write_all(&receiver, target, &counted))?;
        Ok(Self { sender, said })
    }

    /// Says a line, or several at a time; never waits.
    pub fn say(&self, line: &str) {
        let message = Message::Line(format!("{line}\n"));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(message)
        {
            self.said.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all that was said is written; false when that took longer than `timeout` of real time. For the end
    /// of the process.
    pub fn sync(&self, timeout: Duration) -> bool {
        let (answer, answered) = sync_channel(1);
        if self.sender.try_send(Message::Sync(answer)).is_err() {
            return false;
        }
        answered.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }
}

/// The writer's thread; it ends when nobody is left who could say something.
fn write_all(receiver: &Receiver<Message>, mut target: Box<dyn Write + Send>, said: &Said) {
    let mut told = 0;
    while let Ok(message) = receiver.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::Sync(answer) => {
                drop(answer);
                continue;
            }
        };
        let written = target.write_all(line.as_bytes());
        if written.is_err() {
            said.dropped.fetch_add(1, Relaxed);
        }
        // Said where it can be read again: after the line that waited longest.
        let dropped = said.dropped();
        if written.is_ok() && dropped > told {
            let lost = dropped - told;
            let plural = if lost == 1 { "" } else { "s" };
            let note = format!("plimsoll: {lost} line{plural} lost: standard error was not read\n");
            if target.write_all(note.as_bytes()).is_ok() {
                told = dropped;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_come_out_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let console = Console::writing_to(Box::new(writer), Arc::default()).unwrap();
        console.say("one");
        console.say("two");
        assert!(console.sync(Duration::from_secs(60)));
        drop(console);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_reader_that_stalls_stops_nobody_and_is_told_how_much_was_lost() {
        let (mut reader, writer) = io::pipe().unwrap();
        let said = Arc::new(Said::default());
        let console = Console::writing_to(Box::new(writer), Arc::clone(&said)).unwrap();
        // The pipe holds 64 KiB, which is eight of them, the queue so many more, and the writer one.
        let (line, all) = ("x".repeat(8 * 1024), WAITING + 20);
        for _ in 0..all {
            console.say(&line);
        }
        let lost = said.dropped();
        assert!((10..=20).contains(&lost), "{lost}");
        assert!(!console.sync(Duration::from_millis(1)));
        drop(console);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let mut told = 0;
        for note in text.lines().filter(|line| line.starts_with("plimsoll: ")) {
            assert!(
                note.ends_with("lost: standard error was not read"),
                "{note}"
            );
            told += note.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        }
        assert_eq!(told, lost);
        let written = text.lines().filter(|line| line.starts_with('x'));
        assert_eq!(written.count() as u64, all as u64 - lost);
    }

    #[test]
    fn lines_are_counted_where_nobody_can_read_them() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let said = Arc::new(Said::default());
        let console = Console::writing_to(Box::new(writer), Arc::clone(&said)).unwrap();
        console.say("lost");
        assert!(console.sync(Duration::from_secs(60)));
        assert_eq!(said.dropped(), 1);
    }
}
