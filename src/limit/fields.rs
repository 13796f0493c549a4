//! How limits are told to clients: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), and
//! `Retry-After` (RFC 9110, 10.2.3).
//!
//! Both are lists of strings with parameters (RFC 9651, 3.1); the names of limiters need no escapes there.

use std::time::Duration;

use super::rate::Rate;

/// Whole seconds, never too few.
pub(super) fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// `"per_client";q=200;w=2`: the quota is the burst, the window the time in which it fills.
pub(super) fn policy(name: &str, rate: &Rate, out: &mut Vec<u8>) {
    item(name, out);
    parameter(b";q=", rate.burst(), out);
    parameter(b";w=", seconds(rate.window()).max(1), out);
}

/// `"per_client";r=17;t=1`: what remains, and when there is more.
pub(super) fn standing(name: &str, remaining: u64, after: u64, out: &mut Vec<u8>) {
    item(name, out);
    parameter(b";r=", remaining, out);
    parameter(b";t=", after, out);
}

fn item(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

/// Numbers of structured fields have at most 15 digits (RFC 9651, 3.3.1).
fn parameter(name: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    let value = value.min(999_999_999_999_999);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn policies_and_standings_are_lists_of_strings() {
        let rate = |count, seconds, burst| Rate::new(count, Duration::from_secs(seconds), burst);
        let told = |rate| text(|out| policy("per_client", &rate, out));
        assert_eq!(told(rate(100, 1, 200)), "\"per_client\";q=200;w=2");
        assert_eq!(told(rate(1000, 3600, 1000)), "\"per_client\";q=1000;w=3600");
        // Rounded up: a client that waits so long finds room.
        assert_eq!(told(rate(3, 1, 1)), "\"per_client\";q=1;w=1");
        assert_eq!(
            told(rate(1, 1, u64::MAX)),
            "\"per_client\";q=999999999999999;w=3153600001"
        );
        assert_eq!(text(|out| standing("a", 17, 1, out)), "\"a\";r=17;t=1");
    }

    #[test]
    fn seconds_are_rounded_up() {
        let spans = [0, 1, 999, 1000, 1001].map(Duration::from_millis);
        assert_eq!(spans.map(seconds), [0, 1, 1, 1, 2]);
    }
}
