//! Targets and hosts: the canonical form is one, whatever spelling it comes from.

use plimsoll::http::target::{canonical, host, is_authority};

pub fn run(data: &[u8]) {
    let mut out = Vec::new();
    if let Ok(parts) = canonical(data, &mut out) {
        let (once, query) = (parts.path.to_vec(), parts.query.map(<[u8]>::to_vec));
        let mut again = Vec::new();
        let parts = canonical(&once, &mut again).expect("a canonical path is valid");
        // A question mark cannot come from an escape.
        assert_eq!((parts.path, parts.query), (once.as_slice(), None));
        if data.first() == Some(&b'/') {
            assert_eq!(once.first(), Some(&b'/'));
            assert!(
                !once
                    .split(|byte| *byte == b'/')
                    .any(|segment| matches!(segment, b"." | b".."))
            );
            assert!(once.is_ascii());
            spelt_otherwise(data, &once, query.as_deref());
        }
    }
    let mut out = Vec::new();
    if let Ok(once) = host(data, &mut out) {
        assert!(is_authority(data));
        let once = once.to_vec();
        assert!(!once.iter().any(u8::is_ascii_uppercase));
        assert_eq!(host(&once, &mut Vec::new()), Ok(once.as_slice()));
    }
}

/// Escaping a letter, or a dot, changes nothing.
fn spelt_otherwise(data: &[u8], expected: &[u8], query: Option<&[u8]>) {
    let end = data
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(data.len());
    let mut spelt = Vec::new();
    let mut plain_from = 0;
    for (at, byte) in data[..end].iter().enumerate() {
        if *byte == b'%' {
            plain_from = at + 3;
        }
        if at >= plain_from && (byte.is_ascii_alphanumeric() || *byte == b'.') {
            spelt.extend_from_slice(format!("%{byte:02x}").as_bytes());
        } else {
            spelt.push(*byte);
        }
    }
    spelt.extend_from_slice(&data[end..]);
    let mut out = Vec::new();
    let parts = canonical(&spelt, &mut out).expect("the same path, spelt otherwise");
    assert_eq!((parts.path, parts.query), (expected, query));
}
