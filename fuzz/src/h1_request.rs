//! Request heads: no panic, the same answer however the bytes arrive, and nothing accepted that is not clean.

use plimsoll::http::fields::Name;
use plimsoll::http::h1::parse;
use plimsoll::http::head::{Length, RequestHead, Version};

use crate::{LIMITS, check_fields, check_prefixes};

pub fn run(data: &[u8]) {
    let mut head = RequestHead::default();
    check_prefixes(data, |input| parse::request(input, &LIMITS, &mut head));
    let mut head = RequestHead::default();
    let Ok(Some(consumed)) = parse::request(data, &LIMITS, &mut head) else {
        return;
    };
    assert!(data[..consumed].ends_with(b"\r\n\r\n"));
    check(&head);
}

/// What holds for every accepted request.
pub fn check(head: &RequestHead) {
    check_fields(&head.fields);
    assert!(!head.target.is_empty());
    assert!(
        head.target
            .iter()
            .all(|byte| *byte > b' ' && *byte != 127 && *byte != b'#')
    );
    let hosts = head.fields.all(Name::Host).count();
    assert!(hosts <= 1);
    assert!(hosts == 1 || head.version == Version::Http10);
    let lengths = head.fields.all(Name::ContentLength).count();
    let codings = head.fields.all(Name::TransferEncoding).count();
    match head.length {
        Length::Empty => assert_eq!((lengths, codings), (0, 0)),
        Length::Exact(_) => assert_eq!((lengths, codings), (1, 0)),
        Length::Marked => assert_eq!((lengths, codings, head.version), (0, 1, Version::Http11)),
        Length::Close => panic!("a request does not end with its connection"),
    }
    assert!(!head.expects_continue || !head.length.is_empty());
}
