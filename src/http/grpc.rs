//! What a proxy must know of gRPC: which requests are calls, how they tell their deadline, and when an answer is nothing but a
//! status.
//!
//! Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md).

use std::time::Duration;

use super::fields::{Fields, Name};

/// Whether a request with these fields is a call.
pub fn is_call(fields: &Fields) -> bool {
    let content = fields.get(Name::ContentType);
    content.is_some_and(|content| content.starts_with(b"application/grpc"))
}

/// The status that an answer with this head is and nothing else (Trailers-Only): any other has its status in the trailers.
pub fn status_alone(fields: &Fields) -> Option<u8> {
    let status = fields.get(Name::GrpcStatus)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Writes it, in milliseconds where they fit.
pub fn format_timeout(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..=99_999_999 => format!("{millis}m"),
        _ => format!("{}S", span.as_secs().min(99_999_999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_all_units_and_written_in_milliseconds() {
        for (text, span) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("123456789m", None),
            ("m", None),
            ("1", None),
            ("", None),
            ("-1m", None),
            ("1 m", None),
            ("1x", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), span, "{text}");
        }
        assert_eq!(format_timeout(Duration::from_millis(1500)), "1500m");
        assert_eq!(format_timeout(Duration::from_secs(200_000)), "200000S");
    }
}
