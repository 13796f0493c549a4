//! A record as a line of text. Targets and fields are what a client sent: any bytes at all, none of which may break out
//! of its place in the line or reach a terminal as a control character.

use super::date::{DateText, digit};
use crate::observe::record::{Record, Times};

/// Appends one JSON object and a line feed. Every key is always there; what was not known is `null`.
pub(super) fn json(out: &mut Vec<u8>, record: &Record<'_>, date: &mut DateText) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(date.iso(record.unix_millis / 1000));
    let millis = record.unix_millis % 1000;
    out.extend([
        b'.',
        digit(millis / 100),
        digit(millis / 10),
        digit(millis),
        b'Z',
        b'"',
    ]);
    text(out, b",\"id\":", record.id.as_bytes());
    text(out, b",\"client\":", record.client.as_bytes());
    text(out, b",\"proxy\":", record.proxy.as_bytes());
    text(out, b",\"user\":", record.user.as_bytes());
    text(out, b",\"listener\":", record.listener.as_bytes());
    text(out, b",\"method\":", record.method.as_bytes());
    text(out, b",\"target\":", record.target);
    text(out, b",\"protocol\":", record.protocol.label().as_bytes());
    number(
        out,
        b",\"status\":",
        Some(u64::from(record.status)).filter(|status| *status > 0),
    );
    number(out, b",\"bytes_in\":", Some(record.bytes_in));
    number(out, b",\"bytes_out\":", Some(record.bytes_out));
    text(out, b",\"route\":", record.route.as_bytes());
    text(out, b",\"upstream\":", record.upstream.as_bytes());
    text(out, b",\"endpoint\":", record.endpoint.as_bytes());
    number(out, b",\"attempts\":", Some(u64::from(record.attempts)));
    out.extend_from_slice(if record.reused {
        b",\"reused\":true"
    } else {
        b",\"reused\":false"
    });
    durations(out, &record.times);
    text(out, b",\"outcome\":", record.outcome.label().as_bytes());
    text(
        out,
        b",\"error\":",
        record.error.unwrap_or_default().as_bytes(),
    );
    text(out, b",\"faults\":", record.faults.label().as_bytes());
    text(out, b",\"user_agent\":", record.user_agent);
    text(out, b",\"referer\":", record.referer);
    out.extend_from_slice(b"}\n");
}

fn durations(out: &mut Vec<u8>, times: &Times) {
    let micros = |nanos: Option<u64>| nanos.map(|nanos| nanos / 1000);
    number(out, b",\"total_us\":", micros(Some(times.total)));
    number(out, b",\"queue_us\":", micros(times.queue));
    number(out, b",\"connect_us\":", micros(times.connect));
    number(out, b",\"first_byte_us\":", micros(times.first_byte));
    number(out, b",\"body_us\":", micros(times.body));
    number(out, b",\"proxy_us\":", micros(times.own));
}

/// Appends one line in Apache's combined form:
/// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`.
pub(super) fn combined(out: &mut Vec<u8>, record: &Record<'_>, date: &mut DateText) {
    or_dash(out, record.client.as_bytes());
    out.extend_from_slice(b" - ");
    let user_from = out.len();
    or_dash(out, record.user.as_bytes());
    blanks(out, user_from);
    out.extend_from_slice(b" [");
    out.extend_from_slice(date.apache(record.unix_millis / 1000));
    out.extend_from_slice(b"] \"");
    if record.method.is_empty() {
        out.push(b'-');
    } else {
        escape(out, record.method.as_bytes());
        out.push(b' ');
        escape(out, record.target);
        out.push(b' ');
        out.extend_from_slice(record.protocol.label().as_bytes());
    }
    out.extend_from_slice(b"\" ");
    number_or_dash(out, u64::from(record.status));
    out.push(b' ');
    number_or_dash(out, record.bytes_out);
    for field in [record.referer, record.user_agent] {
        out.extend_from_slice(b" \"");
        or_dash(out, field);
        out.push(b'"');
    }
    out.push(b'\n');
}

fn number(out: &mut Vec<u8>, key: &[u8], value: Option<u64>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    if value.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    if value.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        out.extend_from_slice(value);
    } else {
        json_escape(out, value);
    }
    out.push(b'"');
}

/// Bytes that mean themselves in a JSON string and in a quoted field of the combined form: printable ASCII without quote
/// and backslash.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// UTF-8 stays, control characters (those behind ASCII too) are escaped, a sequence that is not UTF-8 becomes U+FFFD.
#[cold]
fn json_escape(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend([b'\\', letter as u8]),
                // C0, DEL and C1 all lie below 0x100: two hexadecimal digits tell them.
                control if control.is_control() => {
                    let code = control as usize;
                    out.extend_from_slice(b"\\u00");
                    out.extend([HEX[code >> 4 & 15], HEX[code & 15]]);
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Apache's way: a backslash before quote and backslash, `\xhh` for whatever is not printable ASCII.
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            _ if PLAIN[usize::from(byte)] => out.push(byte),
            _ => out.extend([
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

fn or_dash(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-')
    } else {
        escape(out, value)
    }
}

/// Escapes the blanks of what stands from `from` on: it is not in quotation marks, and they would end it.
fn blanks(out: &mut Vec<u8>, from: usize) {
    if memchr::memchr(b' ', &out[from..]).is_some() {
        let text = out.split_off(from);
        for (place, part) in text.split(|byte| *byte == b' ').enumerate() {
            out.extend_from_slice(if place > 0 { b"\\x20" } else { b"" });
            out.extend_from_slice(part);
        }
    }
}

fn number_or_dash(out: &mut Vec<u8>, value: u64) {
    if value == 0 {
        out.push(b'-')
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::record::{Outcome, Protocol};

    fn example() -> Record<'static> {
        Record {
            unix_millis: 971_211_336_042,
            id: "01J",
            client: "192.0.2.7",
            listener: "web",
            method: "GET",
            target: b"/a?b=\"c\"",
            protocol: Protocol::Http11,
            status: 200,
            bytes_out: 2326,
            route: "all",
            upstream: "api",
            endpoint: "127.0.0.1:9001",
            attempts: 1,
            reused: true,
            times: Times {
                total: 1_234_567,
                first_byte: Some(1_000_999),
                ..Times::default()
            },
            outcome: Outcome::Completed,
            user_agent: b"curl/8.0",
            ..Record::default()
        }
    }

    fn written(write: fn(&mut Vec<u8>, &Record<'_>, &mut DateText), record: &Record<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, record, &mut DateText::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_in_json_has_every_key() {
        assert_eq!(
            written(json, &example()),
            concat!(
                r#"{"time":"2000-10-10T20:55:36.042Z","id":"01J","client":"192.0.2.7","proxy":null,"user":null,"#,
                r#""listener":"web","#,
                r#""method":"GET","target":"/a?b=\"c\"","protocol":"HTTP/1.1","status":200,"bytes_in":0,"#,
                r#""bytes_out":2326,"route":"all","upstream":"api","endpoint":"127.0.0.1:9001","attempts":1,"#,
                r#""reused":true,"total_us":1234,"queue_us":null,"connect_us":null,"first_byte_us":1000,"#,
                r#""body_us":null,"proxy_us":null,"outcome":"completed","error":null,"faults":null,"#,
                r#""user_agent":"curl/8.0","referer":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_record_in_combined_form_is_as_apache_writes_it() {
        let expected = concat!(
            r#"192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] "GET /a?b=\"c\" HTTP/1.1" 200 2326 "-" "curl/8.0""#,
            "\n"
        );
        assert_eq!(written(combined, &example()), expected);
        let named = Record {
            user: "ann \"x\" lee",
            ..example()
        };
        let named = written(combined, &named);
        assert!(
            named.starts_with(r#"192.0.2.7 - ann\x20\"x\"\x20lee [10/Oct"#),
            "{named}"
        );
        let unread = Record {
            client: "::1",
            method: "",
            status: 400,
            bytes_out: 0,
            user_agent: b"",
            ..example()
        };
        let expected = "::1 - - [10/Oct/2000:20:55:36 +0000] \"-\" 400 - \"-\" \"-\"\n";
        assert_eq!(written(combined, &unread), expected);
    }

    #[test]
    fn control_characters_and_broken_utf8_do_not_reach_the_line() {
        let record = Record {
            target: b"/\x1b[2J\n\xc2\x9b\xff\xc3\xa9",
            ..example()
        };
        let line = written(json, &record);
        assert!(
            line.contains(r#""target":"/\u001b[2J\u000a\u009b\ufffdé""#),
            "{line}"
        );
        let line = written(combined, &record);
        assert!(
            line.contains(r"/\x1b[2J\x0a\xc2\x9b\xff\xc3\xa9 HTTP"),
            "{line}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_valid_json(
            target in proptest::collection::vec(any::<u8>(), 1..60),
            agent in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let record = Record { target: &target, user_agent: &agent, ..example() };
            let line = written(json, &record);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(value["target"].as_str().unwrap(), String::from_utf8_lossy(&target));
            let line = written(combined, &record);
            prop_assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\n'));
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        }
    }
}
