//! Which form of our own answers a client would rather read (RFC 9110, 12.5.1).

use super::fields::{Fields, Name};
use super::headers::items;

/// Whether a client asks for JSON more than for plain text. `*/*` speaks for neither, as curl and browsers say it to
/// everybody.
pub fn prefers_json(fields: &Fields) -> bool {
    let mut json = Wish::default();
    let mut text = Wish::default();
    for item in fields.all(Name::Accept).flat_map(items) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let thousandths = parts.find_map(weight).unwrap_or(1000);
        match &*range {
            b"application/json" => json.named(thousandths),
            b"application/*" => json.covered(thousandths),
            b"text/plain" => text.named(thousandths),
            b"text/*" => text.covered(thousandths),
            other if other.starts_with(b"application/") && other.ends_with(b"+json") => {
                json.named(thousandths);
            }
            _ => {}
        }
    }
    json.thousandths() > text.thousandths()
}

/// How much one type is asked for: the most specific range that covers it decides.
#[derive(Default)]
struct Wish {
    named: Option<u16>,
    covered: u16,
}

impl Wish {
    fn named(&mut self, thousandths: u16) {
        self.named = self.named.max(Some(thousandths));
    }

    fn covered(&mut self, thousandths: u16) {
        self.covered = self.covered.max(thousandths);
    }

    fn thousandths(&self) -> u16 {
        self.named.unwrap_or(self.covered)
    }
}

/// The weight that a parameter gives; `None` for any other parameter. A weight that is none counts as nothing.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (b"q" | b"Q", value) = parameter.split_at_checked(1)? else {
        return None;
    };
    let value = value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    let thousandths = match value {
        [b'1'] | [b'1', b'.', ..] => 1000,
        [b'0', b'.', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let digit = |at: usize| u16::from(digits.get(at).map_or(0, |digit| digit - b'0'));
            100 * digit(0) + 10 * digit(1) + digit(2)
        }
        _ => 0,
    };
    Some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_ask_for_it_more() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("APPLICATION/JSON", true),
            ("application/json;charset=utf-8", true),
            ("text/html, application/json", true),
            ("application/json, */*", true),
            ("application/problem+json", true),
            ("application/*", true),
            ("application/*;q=0.5, text/*;q=0.4", true),
            ("application/json; q=0", false),
            ("application/json;Q = 0.000, application/*", false),
            ("application/json;q=0.5, text/plain", false),
            ("application/json;q=0.5, text/plain;q=0.499", true),
            ("application/json, text/plain", false),
            ("text/*, text/plain;q=0, application/json;q=0.1", true),
            ("application/json;q=x", false),
            ("application/jsonp", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
        ] {
            let mut fields = Fields::default();
            fields.push(b"Accept", accept.as_bytes());
            assert_eq!(prefers_json(&fields), expected, "{accept}");
        }
        let mut fields = Fields::default();
        fields.push(b"Accept", b"text/html");
        fields.push(b"Accept", b"application/json");
        assert!(prefers_json(&fields));
        assert!(!prefers_json(&Fields::default()));
    }
}
