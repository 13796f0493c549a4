//! Who wants to know why an endpoint was picked, and how they are told.

use super::exchange::Exchange;
use crate::balance::narrow::Narrowed;
use crate::balance::{Lack, Picked};
use crate::observe::decision::DecisionRecord;
use crate::upstream::explain::explain;
use crate::upstream::groups::Grounds;
use crate::worker::UpstreamView;

/// Bytes of a path that a record holds.
const TARGET: usize = 256;
/// The request field by which a client asks for the decision.
pub const EXPLAIN: &[u8] = b"plimsoll-explain";
/// Bytes of a decision that stand in a header; beyond them lists are cut short.
const TOLD: usize = 4096;
/// Bytes of all decisions of one answer: clients of HTTP/2 take heads of 16 KiB (hyper), and an endpoint's own fields
/// need room too.
const TOLD_IN_ALL: usize = 8192;

/// Who wants to know of this pick.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    /// The client asked, and may.
    client: bool,
    /// It is to stand in the ring of the upstream: somebody watches, or it is of the sample.
    ring: bool,
}

impl Audience {
    /// Found out without looking at the fields of the request, unless the listener lets clients ask.
    pub fn of(exchange: &Exchange, upstream: &UpstreamView) -> Self {
        let shared = &upstream.shared;
        let client = asks(exchange);
        let sample = shared.recording.sample.fraction();
        let sampled = || sample > 0.0 && exchange.worker.random.borrow_mut().unit() < sample;
        Self {
            client,
            ring: client || shared.decisions.is_wanted(exchange.now) || sampled(),
        }
    }

    /// Whether anybody does.
    pub fn is_any(self) -> bool {
        self.client || self.ring
    }

    /// Tells them.
    pub fn tell(
        self,
        exchange: &mut Exchange,
        upstream: &UpstreamView,
        narrowed: &Narrowed,
        outcome: Result<Picked, Lack>,
        grounds: &Grounds,
    ) {
        let shared = &upstream.shared;
        let selection = &exchange.selection;
        let key = selection.key.as_ref();
        let pick = explain(shared, narrowed, &selection.ask, key, outcome, grounds);
        let head = &exchange.head;
        let mut record = DecisionRecord {
            sequence: 0,
            at: exchange.worker.unix_millis(exchange.now) as f64 / 1e3,
            request: exchange.id(),
            method: head.method.as_str().to_owned(),
            target: shown(&head.target),
            route: exchange
                .route
                .as_ref()
                .map_or("", |route| &route.name)
                .to_owned(),
            attempt: exchange.attempts + 1,
            pick,
        };
        if self.ring {
            let keep = shared.recording.keep;
            shared.decisions.push(record.clone(), keep, exchange.now);
        }
        if self.client
            && let Some(line) = line(&mut record)
        {
            add(&mut exchange.told, line);
        }
    }
}

/// Whether the client may ask for decisions.
pub fn may_ask(exchange: &Exchange) -> bool {
    let mut allowed = exchange.listener.shared.explain_to.iter();
    allowed.any(|network| network.is(exchange.peer.address))
}

/// The path of a target. What its query holds may be nobody's business, as the keys that are made of it.
fn shown(target: &[u8]) -> String {
    let path = target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default();
    let more = if path.len() < target.len() {
        "?..."
    } else {
        ""
    };
    let path = &path[..path.len().min(TARGET)];
    format!("{}{more}", String::from_utf8_lossy(path))
}

/// Whether the client asks for the decision and may have it.
fn asks(exchange: &Exchange) -> bool {
    may_ask(exchange)
        && exchange
            .head
            .fields
            .all_by_bytes(EXPLAIN)
            .any(|value| value == b"1")
}

/// Adds a decision to those that the client is told. That of the last attempt is always among them, since its endpoint
/// answered; of a long way there the beginning is told as far as there is room.
fn add(told: &mut Vec<String>, line: String) {
    let mut length = told.iter().map(String::len).sum::<usize>() + line.len();
    while length > TOLD_IN_ALL
        && let Some(last) = told.pop()
    {
        length -= last.len();
    }
    told.push(line);
}

/// The record in one line of ASCII that is short enough for a header.
fn line(record: &mut DecisionRecord) -> Option<String> {
    loop {
        let text = ascii(&serde_json::to_string(record).ok()?);
        let pick = &mut record.pick;
        if text.len() <= TOLD || (pick.candidates.is_empty() && pick.excluded.is_empty()) {
            return Some(text);
        }
        let (candidates, excluded) = (pick.candidates.len() / 2, pick.excluded.len() / 2);
        pick.candidates_beyond += pick.candidates.len() - candidates;
        pick.excluded_beyond += pick.excluded.len() - excluded;
        pick.candidates.truncate(candidates);
        pick.excluded.truncate(excluded);
    }
}

/// JSON without a letter that a header could not carry.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && !letter.is_ascii_control() {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{TOLD_IN_ALL, add, ascii};

    #[test]
    fn of_many_decisions_the_first_and_the_last_are_told() {
        let mut told = Vec::new();
        for number in 0..100 {
            add(&mut told, format!("{number:04000}"));
        }
        assert!(told.iter().map(String::len).sum::<usize>() <= TOLD_IN_ALL);
        let numbers: Vec<u32> = told.iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, [0, 99]);
    }

    #[test]
    fn a_line_is_ascii_and_the_same_json() {
        let written = "{\"a\":\"gr\u{fc}n \u{1f600}\"}";
        let text = ascii(written);
        assert!(text.is_ascii());
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&text), read(written));
    }
}
