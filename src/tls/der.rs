//! Reading DER (X.690): what certificates and OCSP responses are written in. As much of it as dates, names and numbers need
//! (pure, fuzzed).
//!
//! Nothing is trusted here: whoever is asked for a certificate sends what he likes.

/// The kinds of elements that are looked for.
pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// An element of the context, numbered, with other elements in it.
    pub(crate) const fn inner(number: u8) -> u8 {
        0xa0 | number
    }

    /// An element of the context, numbered, with a value in it.
    pub(crate) const fn plain(number: u8) -> u8 {
        0x80 | number
    }
}

/// What is left to be read of a run of elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One element: what it is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` when there is none, or none that is well-formed.
    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            // Numbers above 30 appear in nothing that is read here.
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            short @ 0..=0x7f => (usize::from(short), rest),
            // Up to 16 MiB, which is more than a handshake can carry. In as few bytes as it takes (X.690, 10.1).
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                let is_shortest = length > 0x7f && bytes.first() != Some(&0);
                is_shortest.then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag, content })
    }

    /// What the next element holds, if it is one of this kind.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let element = self.next()?;
        (element.tag == tag).then_some(element.content)
    }

    /// What the next element holds, if there is one of this kind; another one stays.
    pub(super) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.expect(tag)?;
        *self = ahead;
        Some(content)
    }

    /// The elements that the next one holds, if it is a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.expect(tag::SEQUENCE).map(Self)
    }
}

/// Seconds since 1970 of a point of time (RFC 5280, 4.1.2.5): `YYMMDDHHMMSSZ`, where years from 50 on are of the 20th
/// century, or `YYYYMMDDHHMMSSZ`.
pub(super) fn time(element: Element<'_>) -> Option<i64> {
    let text = element.content;
    let (year, rest) = match element.tag {
        tag::UTC_TIME => {
            let year = digits(text.get(..2)?)?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &text[2..],
            )
        }
        tag::GENERALIZED_TIME => (digits(text.get(..4)?)?, &text[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| {
        let two = rest.get(at..at + 2);
        two.and_then(digits)
    });
    let (month, day, hour, minute, second) = (month?, day?, hour?, minute?, second?);
    let is_time = hour < 24 && minute < 60 && second < 60 && rest.get(10..) == Some(b"Z");
    let is_date = (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month);
    (is_time && is_date)
        .then(|| days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Of the Gregorian calendar, after Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so that
/// the day that is added stands at their end.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> Option<i64> {
        time(Element {
            tag: tag::UTC_TIME,
            content: text.as_bytes(),
        })
    }

    fn generalized(text: &str) -> Option<i64> {
        time(Element {
            tag: tag::GENERALIZED_TIME,
            content: text.as_bytes(),
        })
    }

    #[test]
    fn a_point_of_time_is_read_in_both_forms() {
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(utc("500101000000Z"), Some(-631_152_000));
        assert_eq!(generalized("20500101000000Z"), Some(2_524_608_000));
        assert_eq!(generalized("20240229120000Z"), Some(1_709_208_000));
        assert_eq!(generalized("99991231235959Z"), Some(253_402_300_799));
    }

    #[test]
    fn what_is_no_point_of_time_is_none() {
        for text in [
            "",
            "2402291200",
            "240229120000",
            "240229120000+0100",
            "230229120000Z",
            "241301000000Z",
            "240100000000Z",
            "240101240000Z",
            "24010100000aZ",
            "-40101000000Z",
            "240101000000ZZ",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
        assert_eq!(generalized("19000229000000Z"), None);
        assert_eq!(generalized("20240229120000.5Z"), None);
    }

    #[test]
    fn elements_are_read_one_after_the_other() {
        let mut der = Der(&[0x30, 3, 2, 1, 5, 4, 0]);
        let mut inside = der.sequence().unwrap();
        assert_eq!(inside.optional(tag::OCTET_STRING), None);
        assert_eq!(inside.expect(tag::INTEGER), Some(&[5][..]));
        assert!(inside.is_empty());
        assert_eq!(der.expect(tag::OCTET_STRING), Some(&[][..]));
        assert_eq!(der.next(), None);
    }

    #[test]
    fn an_element_that_is_not_well_formed_ends_the_reading() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 0],
            &[0x30, 0x82, 0, 0x80],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x1f, 1, 0],
        ] {
            assert_eq!(Der(bytes).next(), None, "{bytes:?}");
        }
    }

    proptest! {
        /// The calendar of rcgen's own dependency is the model.
        #[test]
        fn dates_are_counted_as_another_calendar_counts_them(
            year in 1950_i32..9999, month in 1_u8..=12, day in 1_u8..=28, second in 0_u32..86_400,
        ) {
            let text = format!(
                "{year:04}{month:02}{day:02}{:02}{:02}{:02}Z",
                second / 3600, second / 60 % 60, second % 60
            );
            let model = rcgen::date_time_ymd(year, month, day).unix_timestamp();
            prop_assert_eq!(generalized(&text), Some(model + i64::from(second)));
        }

        #[test]
        fn whatever_is_read_stays_within_the_bytes(bytes: Vec<u8>) {
            let mut der = Der(&bytes);
            let mut seen = 0;
            while let Some(element) = der.next() {
                seen += 2 + element.content.len();
                let _ = time(element);
            }
            prop_assert!(seen <= bytes.len());
        }
    }
}
