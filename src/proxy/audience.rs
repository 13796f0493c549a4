//! Who wants to know why an endpoint was picked, and how they are told.

use super::exchange::Exchange;
use crate::balance::{Lack, Picked};
use crate::observe::decision::DecisionRecord;
use crate::upstream::explain::explain;
use crate::upstream::groups::Grounds;
use crate::worker::UpstreamView;

/// Bytes of a target that a record holds.
const TARGET: usize = 256;
/// The request field by which a client asks for the decision.
const EXPLAIN: &[u8] = b"plimsoll-explain";
/// Bytes of a decision that stand in a header; beyond them lists are cut short.
const TOLD: usize = 4096;

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
        outcome: Result<Picked, Lack>,
        grounds: &Grounds,
    ) {
        let shared = &upstream.shared;
        let selection = &exchange.selection;
        let narrowed = shared.groups.narrowed();
        let key = selection.key.as_ref();
        let pick = explain(shared, &narrowed, &selection.ask, key, outcome, grounds);
        let head = &exchange.head;
        let shown = &head.target[..head.target.len().min(TARGET)];
        let mut record = DecisionRecord {
            sequence: 0,
            at: exchange.worker.unix_millis(exchange.now) as f64 / 1e3,
            request: exchange.id(),
            method: head.method.as_str().to_owned(),
            target: String::from_utf8_lossy(shown).into_owned(),
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
        if self.client {
            exchange.told.extend(line(&mut record));
        }
    }
}

/// Whether the client asks for the decision and may have it.
fn asks(exchange: &Exchange) -> bool {
    let allowed = &exchange.listener.shared.explain_to;
    if allowed.is_empty()
        || !allowed
            .iter()
            .any(|network| network.is(exchange.peer.address))
    {
        return false;
    }
    let mut fields = exchange.head.fields.iter();
    fields.any(|(_, spelt, value)| spelt.eq_ignore_ascii_case(EXPLAIN) && value == b"1")
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
    use super::ascii;

    #[test]
    fn a_line_is_ascii_and_the_same_json() {
        let written = "{\"a\":\"gr\u{fc}n \u{1f600}\"}";
        let text = ascii(written);
        assert!(text.is_ascii());
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&text), read(written));
    }
}
