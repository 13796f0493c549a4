//! The thread that writes the log, and what workers hand to it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::date::DateText;
use super::file::{give, open};
use super::line;
use super::redact::Redactor;
use crate::config;
use crate::observe::record::Record;

/// A buffer is handed over when it holds this much.
const BATCH_BYTES: usize = 32 * 1024;
/// A line is seldom longer; beyond this much room a buffer that grew is not kept.
const KEPT_BYTES: usize = BATCH_BYTES + 16 * 1024;
/// Batches that may wait for the writer: 8 MiB of lines; beyond it they are dropped.
const WAITING: usize = 256;

/// Lines of one worker, on their way to the writer.
#[derive(Debug)]
enum Message {
    Batch {
        text: Vec<u8>,
        lines: u64,
    },
    /// Look at what is shared.
    Wake,
}

/// What the writer and everybody else share.
#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    dropped: AtomicU64,
    /// Why the last batch was not written; none when it was.
    failure: Mutex<Option<io::Error>>,
    /// Empty buffers on their way back to workers.
    spare: Mutex<Vec<Vec<u8>>>,
    /// A file opened anew, to be written to from now on.
    next: Mutex<Option<File>>,
    /// Who waits until all is written; answered by being dropped.
    waiting: Mutex<Vec<SyncSender<()>>>,
}

/// The access log in force. Cheap to clone; the writer ends when the last clone and the last worker's end are gone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    config: config::AccessLog,
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl AccessLog {
    /// Opens the target and starts the thread that writes to it. A file becomes that of `owner`, a user and a group,
    /// who is to open it anew.
    pub fn start(config: &config::AccessLog, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let target: Box<dyn Write + Send> = match &config.path {
            config::LogTarget::Stdout => Box::new(io::stdout()),
            config::LogTarget::Stderr => Box::new(io::stderr()),
            config::LogTarget::File(path) => {
                let file = open(path)?;
                if let Some((user, group)) = owner {
                    give(path, user, group);
                }
                Box::new(file)
            }
        };
        Self::writing_to(config.clone(), target)
    }

    fn writing_to(config: config::AccessLog, target: Box<dyn Write + Send>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || write_all(&receiver, target, &of_thread))?;
        Ok(Self {
            config,
            sender,
            shared,
        })
    }

    /// One worker's end.
    pub fn worker(&self) -> WorkerLog {
        let (sender, shared) = (self.sender.clone(), self.shared.clone());
        let buffer = Vec::with_capacity(KEPT_BYTES);
        WorkerLog(Some(Lines {
            format: self.config.format,
            redactor: Redactor::new(&self.config.redact_query),
            buffer,
            lines: 0,
            date: DateText::new(),
            sender,
            shared,
        }))
    }

    /// What it was started with: a reload that finds the same keeps it.
    pub fn config(&self) -> &config::AccessLog {
        &self.config
    }

    /// Opens the file anew, after it was moved away. When that fails the old one is kept. Nothing to do for a stream.
    pub fn reopen(&self) -> io::Result<()> {
        if let config::LogTarget::File(path) = &self.config.path {
            *locked(&self.shared.next) = Some(open(path)?);
            // When the channel is full the writer is awake anyway.
            let _ = self.sender.try_send(Message::Wake);
        }
        Ok(())
    }

    /// Waits until what was handed over is written; false when that took longer than `timeout` of real time.
    /// For the end of the process.
    pub fn sync(&self, timeout: Duration) -> bool {
        let (answer, answered) = sync_channel(1);
        locked(&self.shared.waiting).push(answer);
        let _ = self.sender.try_send(Message::Wake);
        answered.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }

    /// Lines written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// Why the last lines could not be written; none where they were, or wait for a target that takes nothing.
    pub fn failure(&self) -> Option<String> {
        locked(&self.shared.failure)
            .as_ref()
            .map(io::Error::to_string)
    }

    /// Lines lost because the target was too slow or failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

/// One worker's end of the log; the default is a log that is off.
#[derive(Debug, Default)]
pub struct WorkerLog(Option<Lines>);

impl WorkerLog {
    /// A log that is off.
    pub const OFF: Self = Self(None);

    /// Whether lines are wanted: when not, the caller need not look at the wall clock.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the line of one exchange into the buffer, and hands that over when it is full.
    #[inline]
    pub fn record(&mut self, record: &Record<'_>) {
        if let Some(lines) = &mut self.0 {
            lines.record(record);
        }
    }

    /// Hands over what is in the buffer; to be called from the worker's tick.
    #[inline]
    pub fn flush(&mut self) {
        if let Some(lines) = &mut self.0 {
            lines.flush();
        }
    }

    /// Whether lines wait for [`flush`](Self::flush): a worker without other deadlines need tick only then.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|lines| lines.lines > 0)
    }
}

#[derive(Debug)]
struct Lines {
    format: config::LogFormat,
    redactor: Redactor,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    lines: u64,
    date: DateText,
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Lines {
    fn record(&mut self, record: &Record<'_>) {
        let (target, referer) = self.redactor.hide(record.target, record.referer);
        let record = &Record {
            target,
            referer,
            ..*record
        };
        match self.format {
            config::LogFormat::Json => line::json(&mut self.buffer, record, &mut self.date),
            config::LogFormat::Combined => line::combined(&mut self.buffer, record, &mut self.date),
        }
        self.lines += 1;
        if self.buffer.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let spare = locked(&self.shared.spare).pop();
        let spare = spare.unwrap_or_else(|| Vec::with_capacity(KEPT_BYTES));
        let text = std::mem::replace(&mut self.buffer, spare);
        let lines = std::mem::take(&mut self.lines);
        match self.sender.try_send(Message::Batch { text, lines }) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.shared.dropped.fetch_add(lines, Relaxed);
                if let Message::Batch { text, .. } = message {
                    give_back(&self.shared, text);
                }
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The writer's thread; it ends when nobody is left who could send.
fn write_all(receiver: &Receiver<Message>, target: Box<dyn Write + Send>, shared: &Shared) {
    let mut output = Output {
        target,
        torn: false,
    };
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                locked(&shared.waiting).clear();
                let Ok(message) = receiver.recv() else { return };
                message
            }
        };
        if let Some(file) = locked(&shared.next).take() {
            output = Output {
                target: Box::new(file),
                torn: false,
            };
        }
        if let Message::Batch { text, lines } = message {
            let failure = output.write(&text).err();
            let counter = if failure.is_none() {
                &shared.written
            } else {
                &shared.dropped
            };
            *locked(&shared.failure) = failure;
            counter.fetch_add(lines, Relaxed);
            give_back(shared, text);
        }
    }
}

/// A target that fails loses lines, which are counted, and is tried again with the next batch.
struct Output {
    target: Box<dyn Write + Send>,
    /// The last batch may have ended within a line.
    torn: bool,
}

impl Output {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.torn {
            self.target.write_all(b"\n")?;
        }
        self.torn = true;
        self.target.write_all(text)?;
        self.target.flush()?;
        self.torn = false;
        Ok(())
    }
}

fn give_back(shared: &Shared, mut text: Vec<u8>) {
    if text.capacity() <= KEPT_BYTES {
        text.clear();
        let mut spare = locked(&shared.spare);
        if spare.len() < WAITING {
            spare.push(text);
        }
    }
}

/// A poisoned lock is taken all the same: nothing it guards is ever half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn config(path: PathBuf) -> config::AccessLog {
        config::AccessLog {
            path: config::LogTarget::File(path),
            format: config::LogFormat::Combined,
            ..config::AccessLog::default()
        }
    }

    fn record(status: u16) -> Record<'static> {
        Record {
            method: "GET",
            target: b"/",
            status,
            ..Record::default()
        }
    }

    /// A target that waits at its first write until it is let go.
    struct Gate {
        entered: SyncSender<()>,
        go: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.try_send(());
            // An error once the test has let go of the other end: from then on nothing waits.
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_reach_the_file_and_after_reopening_the_new_one() {
        let directory = Directory::new("reopen");
        let (path, moved) = (
            directory.0.join("access.log"),
            directory.0.join("access.log.1"),
        );
        let log = AccessLog::start(&config(path.clone()), None).unwrap();
        let mut worker = log.worker();
        worker.record(&record(200));
        assert!(worker.is_waiting());
        worker.flush();
        assert!(log.sync(LONG));
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        worker.record(&record(404));
        drop(worker);
        assert!(log.sync(LONG));
        assert!(
            std::fs::read_to_string(&moved)
                .unwrap()
                .contains("\"GET / HTTP/1.1\" 200 ")
        );
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("\"GET / HTTP/1.1\" 404 ")
        );
        assert_eq!((log.written(), log.dropped()), (2, 0));
    }

    #[test]
    fn a_target_that_cannot_be_opened_is_an_error_at_the_start() {
        let directory = Directory::new("missing");
        let error = AccessLog::start(&config(directory.0.join("no/such/file")), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_target_that_stalls_costs_lines_and_never_time() {
        let (entered_sender, entered) = sync_channel(1);
        let (go, gate) = sync_channel(0);
        let target = Box::new(Gate {
            entered: entered_sender,
            go: gate,
        });
        let log = AccessLog::writing_to(config(PathBuf::new()), target).unwrap();
        let mut worker = log.worker();
        let mut send = || {
            worker.record(&record(200));
            worker.flush();
        };
        send();
        entered.recv().unwrap();
        // The writer holds one batch; the channel takes its bound, and what comes after is dropped.
        (0..WAITING + 3).for_each(|_| send());
        assert_eq!(log.dropped(), 3);
        drop(go);
        assert!(log.sync(LONG));
        assert_eq!((log.written(), log.dropped()), (WAITING as u64 + 1, 3));
    }

    /// Takes half of the first batch, then fails once.
    struct Flaky {
        calls: u32,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls == 2 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let taken = if self.calls == 1 {
                &bytes[..bytes.len() / 2]
            } else {
                bytes
            };
            locked(&self.taken).extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_torn_by_a_failure_does_not_spoil_the_next() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let target = Box::new(Flaky {
            calls: 0,
            taken: taken.clone(),
        });
        let log = AccessLog::writing_to(config(PathBuf::new()), target).unwrap();
        let mut worker = log.worker();
        for status in [200, 404] {
            worker.record(&record(status));
            worker.flush();
        }
        assert!(log.sync(LONG));
        let text = String::from_utf8(locked(&taken).clone()).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.lines()
                .nth(1)
                .unwrap()
                .contains("\"GET / HTTP/1.1\" 404 "),
            "{text}"
        );
        assert_eq!((log.written(), log.dropped()), (1, 1));
        assert_eq!(log.failure(), None);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_told() {
        let log = AccessLog::start(&config("/dev/full".into()), None).unwrap();
        let mut worker = log.worker();
        worker.record(&record(200));
        worker.flush();
        assert!(log.sync(LONG));
        assert_eq!((log.written(), log.dropped()), (0, 1));
        let failure = log.failure().unwrap();
        assert!(failure.contains("No space left"), "{failure}");
    }

    #[test]
    fn a_log_that_is_off_takes_records_and_keeps_nothing() {
        let mut worker = WorkerLog::OFF;
        worker.record(&record(200));
        worker.flush();
        assert!(!worker.is_on() && !worker.is_waiting());
    }
}
