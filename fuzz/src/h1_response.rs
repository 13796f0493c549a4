//! Response heads: no panic, the same answer however the bytes arrive, and nothing accepted that is not clean.

use http::Method;
use plimsoll::http::fields::Name;
use plimsoll::http::h1::parse;
use plimsoll::http::head::{Length, ResponseHead};

use crate::{LIMITS, check_fields, check_prefixes};

/// The first byte chooses what is answered.
pub fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let method = match choice % 3 {
        0 => Method::GET,
        1 => Method::HEAD,
        _ => Method::CONNECT,
    };
    let mut head = ResponseHead::default();
    check_prefixes(data, |input| {
        parse::response(input, &LIMITS, &method, &mut head)
    });
    let mut head = ResponseHead::default();
    let Ok(Some(consumed)) = parse::response(data, &LIMITS, &method, &mut head) else {
        return;
    };
    assert!(data[..consumed].ends_with(b"\r\n\r\n"));
    check_fields(&head.fields);
    assert!((100..1000).contains(&head.status));
    assert!(
        head.reason
            .iter()
            .all(|byte| *byte == b'\t' || (b' '..127).contains(byte))
    );
    let lengths = head.fields.all(Name::ContentLength).count();
    let codings = head.fields.all(Name::TransferEncoding).count();
    assert!(lengths + codings <= 1);
    match head.length {
        Length::Empty => {
            assert!(method == Method::HEAD || matches!(head.status, 100..200 | 204 | 304))
        }
        Length::Exact(_) => assert_eq!(lengths, 1),
        Length::Marked => assert_eq!(codings, 1),
        Length::Close => assert!(!head.keep_alive),
    }
}
