//! OCSP responses: as much of them as tells whether one may be stapled (RFC 6960, 4.2.1) (pure, fuzzed).
//!
//! Its signature is the client's to check: whoever could write the file could write the key beside it.

use super::der::{Der, tag, time};
use super::facts::Facts;

/// A response that fits its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staple {
    /// Seconds since 1970; after it clients refuse the response, and with it the certificate.
    pub until: Option<i64>,
}

/// Looks whether `response` says of the certificate that it is good.
pub fn staple(response: &[u8], certificate: &Facts<'_>) -> Result<Staple, &'static str> {
    let answers = answers(response).ok_or("it is no OCSP response in DER")??;
    let mut answers = Der(answers);
    while !answers.is_empty() {
        let answer = answers.sequence().and_then(one);
        let answer = answer.ok_or("an answer in it is not well-formed")?;
        if answer.serial != certificate.serial {
            continue;
        }
        return match answer.status {
            GOOD => Ok(Staple {
                until: answer.until,
            }),
            _ => Err("it says that the certificate is revoked or not known"),
        };
    }
    Err("it says nothing of this certificate")
}

/// `good` among the states of a certificate.
const GOOD: u8 = tag::plain(0);

/// What a response says of one certificate.
struct Answer<'a> {
    serial: &'a [u8],
    status: u8,
    until: Option<i64>,
}

/// The answers of a response that succeeded.
fn answers(response: &[u8]) -> Option<Result<&[u8], &'static str>> {
    let mut outer = Der(response).sequence()?;
    if outer.expect(tag::ENUMERATED)? != [0] {
        return Some(Err("it says that the request for it failed"));
    }
    let mut bytes = Der(outer.expect(tag::inner(0))?).sequence()?;
    bytes.expect(tag::OBJECT)?;
    let basic = bytes.expect(tag::OCTET_STRING)?;
    let mut data = Der(basic).sequence()?.sequence()?;
    data.optional(tag::inner(0)); // the version
    data.next()?; // who answers
    time(data.next()?)?; // when
    data.expect(tag::SEQUENCE).map(Ok)
}

fn one(mut answer: Der<'_>) -> Option<Answer<'_>> {
    let mut id = answer.sequence()?;
    id.sequence()?; // the algorithm of the hashes
    id.expect(tag::OCTET_STRING)?;
    id.expect(tag::OCTET_STRING)?;
    let serial = id.expect(tag::INTEGER)?;
    let status = answer.next()?.tag;
    time(answer.next()?)?; // from when on it is known
    let until = match answer.optional(tag::inner(0)) {
        Some(until) => Some(time(Der(until).next()?)?),
        None => None,
    };
    Some(Answer {
        serial,
        status,
        until,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::fixture::{Authority, ocsp as response};

    #[test]
    fn what_says_that_the_certificate_is_good_may_be_stapled() {
        let der = Authority::new().issue(&["a.test"]).der();
        let facts = Facts::of(&der).unwrap();
        let judge = |response: &[u8]| staple(response, &facts);
        let until = Some(1_798_761_600);
        let good = response(facts.serial, GOOD, "20270101000000Z");
        assert_eq!(judge(&good), Ok(Staple { until }));
        let revoked = response(facts.serial, tag::inner(1), "20270101000000Z");
        assert!(judge(&revoked).unwrap_err().contains("revoked"));
        let other = response(&[1], GOOD, "20270101000000Z");
        assert!(judge(&other).unwrap_err().contains("nothing"));
        let failed = [0x30, 3, 0x0a, 1, 6];
        assert!(judge(&failed).unwrap_err().contains("failed"));
        for bytes in [&b""[..], b"-----BEGIN", &good[..good.len() / 2]] {
            assert!(judge(bytes).is_err());
        }
    }

    /// Made by OpenSSL 3.0; the fuzzer begins with them, too.
    #[test]
    fn responses_of_another_program_are_read() {
        let der = include_bytes!("../../fuzz/seeds/certificate/names");
        let facts = Facts::of(der).unwrap();
        assert_eq!((facts.serial(), facts.names.len()), ("8f01".to_owned(), 4));
        let good = staple(include_bytes!("../../fuzz/seeds/certificate/ocsp"), &facts);
        assert!(good.unwrap().until > Some(1_795_000_000));
        let revoked = staple(
            include_bytes!("../../fuzz/seeds/certificate/revoked"),
            &facts,
        );
        assert!(revoked.unwrap_err().contains("revoked"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
        ) {
            let der = Authority::new().issue(&["a.test"]).der();
            let facts = Facts::of(&der).unwrap();
            let mut bytes = response(facts.serial, GOOD, "20270101000000Z");
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = staple(&bytes, &facts);
        }
    }
}
