//! The PROXY header: never panics, says of a prefix nothing that more bytes would change, and reads what it writes.

use plimsoll::proxy_protocol::{Header, LONGEST, SHORTEST, Version, begins, read, write};

/// Any bytes.
pub fn run(data: &[u8]) {
    crate::check_prefixes(data, |bytes| {
        read(bytes).map(|found| found.map(|found| found.length))
    });
    let Ok(Some(found)) = read(data) else {
        return;
    };
    assert!(begins(data));
    assert!((SHORTEST..=LONGEST).contains(&found.length) && found.length <= data.len());
    // What follows is none of its business.
    assert_eq!(read(&data[..found.length]), Ok(Some(found)));
    for version in [Version::V1, Version::V2] {
        let bytes = write(version, &found.header);
        let again = read(&bytes);
        let expected = match (version, found.header) {
            (Version::V1, Header::Local) => Header::Unknown,
            (_, header) => header,
        };
        assert!(
            matches!(again, Ok(Some(again)) if again.header == expected && again.length == bytes.len()),
            "{found:?} {again:?}"
        );
    }
}
