//! Host and path in one canonical form, for matching only: the bytes that are forwarded stay as received.

/// Whether `value` is `host [ ":" port ]` with a host that is not empty (RFC 9110, 4.2.1 and 7.2): no user
/// information, no white space. An empty port is allowed (RFC 3986, 3.2.3), a port above 65535 is not.
/// Narrower than RFC 3986 in two points: percent escapes are refused, since one reader decodes them and another does
/// not, and so is the comma, since it looks like two values joined.
pub fn is_authority(value: &[u8]) -> bool {
    split_port(value).is_some()
}

/// [`is_authority`] with a port that is not empty: the target of CONNECT (RFC 9112, 3.2.3).
pub fn is_host_and_port(value: &[u8]) -> bool {
    split_port(value).is_some_and(|(_, port)| port.is_some_and(|port| !port.is_empty()))
}

/// Host and port of a valid authority. An address in brackets keeps them.
fn split_port(value: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = if value.first() == Some(&b'[') {
        let end = value.iter().position(|byte| *byte == b']')?;
        let address = std::str::from_utf8(&value[1..end]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        end + 1
    } else {
        let end = value
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(value.len());
        if end == 0 || !value[..end].iter().all(|byte| is_host_byte(*byte)) {
            return None;
        }
        end
    };
    match &value[end..] {
        [] => Some((&value[..end], None)),
        [b':', port @ ..] if is_port(port) => Some((&value[..end], Some(port))),
        _ => None,
    }
}

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port
            .iter()
            .fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'))
            <= 65_535
}

/// Unreserved characters and sub-delimiters of RFC 3986 without the comma.
fn is_host_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}
