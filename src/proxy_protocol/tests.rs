//! The PROXY header against its specification, and the laws that hold of any.

use proptest::prelude::*;

use super::v2::crc32c;
use super::*;

fn told(source: &str, destination: &str) -> Header {
    Header::Told {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A binary header with this command, family and rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

#[test]
fn lines_of_text_are_read() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
            told("192.0.2.1:56324", "198.51.100.1:443"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 1 0\r\n",
            told("[2001:db8::1]:1", "[::1]:0"),
        ),
        ("PROXY UNKNOWN\r\n", Header::Unknown),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Header::Unknown,
        ),
    ] {
        let found = Found {
            length: line.len(),
            header: expected,
        };
        assert_eq!(read(line.as_bytes()), Ok(Some(found)), "{line}");
        let followed = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(read(followed.as_bytes()), Ok(Some(found)), "{followed}");
    }
}

#[test]
fn wrong_lines_are_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(100));
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 0443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 1 443\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.1 1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.1 1 1\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 1\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 1 443\r\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN \0\r\n",
        &long,
    ] {
        assert_eq!(read(line.as_bytes()), Err(Error::Malformed), "{line}");
    }
    for line in [
        "GET / HTTP/1.1\r\n",
        "PRI * HTTP/2.0",
        "PROXYING",
        "\x16\x03",
        "\r\nGET",
    ] {
        assert_eq!(read(line.as_bytes()), Err(Error::Missing), "{line}");
    }
    assert_eq!(read(b"PROXY TCP4 1"), Ok(None));
    assert_eq!(read(b""), Ok(None));
}

#[test]
fn binary_headers_are_read() {
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 1, 187];
    let six: Vec<u8> = [[1_u8; 16], [2; 16]]
        .concat()
        .into_iter()
        .chain([0, 1, 0, 2])
        .collect();
    let text = "0101:0101:0101:0101:0101:0101:0101:0101";
    let other = text.replace("01", "02");
    for (bytes, expected) in [
        (
            binary(0x21, 0x11, &four),
            told("192.0.2.1:80", "198.51.100.1:443"),
        ),
        (
            binary(0x21, 0x21, &six),
            told(&format!("[{text}]:1"), &format!("[{other}]:2")),
        ),
        // TLVs: an authority, and what nobody knows.
        (
            binary(
                0x21,
                0x11,
                &[&four[..], &[2, 0, 1, b'a', 0xee, 0, 0]].concat(),
            ),
            told("192.0.2.1:80", "198.51.100.1:443"),
        ),
        (binary(0x21, 0x31, &[0; 216]), Header::Unknown),
        (binary(0x21, 0x00, &[]), Header::Unknown),
        (binary(0x21, 0x00, &[9, 9]), Header::Unknown),
        (binary(0x20, 0x00, &[]), Header::Local),
        (binary(0x20, 0x77, &four), Header::Local),
    ] {
        let found = Found {
            length: bytes.len(),
            header: expected,
        };
        assert_eq!(read(&bytes), Ok(Some(found)), "{bytes:?}");
        assert_eq!(read(&[&bytes[..], b"GET"].concat()), Ok(Some(found)));
    }
}

#[test]
fn wrong_binary_headers_are_refused() {
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 1, 187];
    for bytes in [
        binary(0x11, 0x11, &four),
        binary(0x22, 0x11, &four),
        binary(0x21, 0x11, &four[..11]),
        binary(0x21, 0x21, &four),
        binary(0x21, 0x31, &four),
        // Datagrams, and a family that there is not.
        binary(0x21, 0x12, &four),
        binary(0x21, 0x41, &four),
        // A TLV that ends early, and one without its length.
        binary(0x21, 0x11, &[&four[..], &[2, 0, 2, b'a']].concat()),
        binary(0x21, 0x11, &[&four[..], &[2, 0]].concat()),
        // Longer than any that is accepted; told before it has come.
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ] {
        assert_eq!(read(&bytes), Err(Error::Malformed), "{bytes:?}");
    }
}

#[test]
fn a_checksum_is_checked() {
    // The check value of the algorithm.
    assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    let four = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 1, 187];
    let unsummed = binary(0x21, 0x11, &[&four[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
    let sum = crc32c(unsummed.iter().copied()).to_be_bytes();
    let mut bytes = unsummed;
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&sum);
    assert!(matches!(read(&bytes), Ok(Some(_))));
    bytes[16] ^= 1;
    assert_eq!(read(&bytes), Err(Error::Malformed));
}

#[test]
fn addresses_of_two_families_are_written_in_one() {
    let mixed = told("192.0.2.1:1", "[2001:db8::1]:2");
    let text = String::from_utf8(write(Version::V1, &mixed)).unwrap();
    assert_eq!(text, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
    let wide = told("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2");
    let read = read(&write(Version::V2, &mixed)).unwrap().unwrap();
    assert_eq!(read.header, wide);
}

#[test]
fn none_is_shorter_than_the_shortest() {
    for version in [Version::V1, Version::V2] {
        for header in [
            Header::Local,
            Header::Unknown,
            told("1.1.1.1:1", "1.1.1.1:1"),
        ] {
            assert!(write(version, &header).len() >= SHORTEST);
        }
    }
}

fn header() -> impl Strategy<Value = Header> {
    let four = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, b, c, d)| Header::Told {
        source: (a, b).into(),
        destination: (c, d).into(),
    });
    let six = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, b, c, d)| Header::Told {
        source: (a, b).into(),
        destination: (c, d).into(),
    });
    prop_oneof![four, six, Just(Header::Local), Just(Header::Unknown)]
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in header(), more in "[ -~]{0,9}") {
        for version in [Version::V1, Version::V2] {
            let mut bytes = write(version, &header);
            let length = bytes.len();
            for end in 0..length {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
            bytes.extend_from_slice(more.as_bytes());
            let told = match (version, header) {
                (Version::V1, Header::Local) => Header::Unknown,
                (_, header) => header,
            };
            prop_assert_eq!(read(&bytes), Ok(Some(Found { length, header: told })));
        }
    }

    #[test]
    fn what_was_said_of_a_prefix_holds(
        start in prop_oneof![Just(TEXT.to_vec()), Just(SIGNATURE.to_vec()), Just(Vec::new())],
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, rest].concat();
        let whole = read(&bytes);
        for end in 0..bytes.len() {
            match read(&bytes[..end]) {
                Ok(None) => {}
                known => prop_assert_eq!(known, whole),
            }
        }
    }
}
