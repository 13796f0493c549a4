//! What a panic says: one line with message and place, since it is a bug and the process goes on without it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// Every panic of this process is told like this from now on, with a backtrace where `RUST_BACKTRACE` asks for it.
pub(super) fn tell(say: impl Fn(&str) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        say(&line(panic));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            say(&trace.to_string());
        }
    }));
}

fn line(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("a thread");
    // A failed assertion speaks in several lines.
    let message = panic.payload_as_str().unwrap_or("no message");
    let message: Vec<&str> = message.lines().map(str::trim).collect();
    let place = panic
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    format!(
        "plimsoll: bug: {thread} panicked{place}: {}",
        message.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_with_thread_message_and_place() {
        use std::sync::{Arc, Mutex};

        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let before = Arc::new(std::panic::take_hook());
        let passes = Arc::clone(&before);
        std::panic::set_hook(Box::new(move |panic| {
            // Other tests of this process may panic meanwhile.
            if std::thread::current().name() == Some("worker-7") {
                hears.lock().unwrap().push(line(panic));
            } else {
                passes(panic);
            }
        }));
        let thread = std::thread::Builder::new().name("worker-7".to_owned());
        let panics = thread.spawn(|| assert_eq!(1 + 1, 3, "sums"));
        assert!(panics.unwrap().join().is_err());
        std::panic::set_hook(Box::new(move |panic| before(panic)));
        let told = told.lock().unwrap();
        let [told] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            told.starts_with("plimsoll: bug: worker-7 panicked at src/cli/panic.rs:"),
            "{told}"
        );
        assert!(told.ends_with(": sums; left: 2; right: 3"), "{told}");
    }
}
