//! The date of a log line, made once a second.

/// The date and time of the second last asked for, as text.
#[derive(Debug)]
pub(super) struct DateText {
    second: Option<u64>,
    /// `2026-11-23T22:59:59`, to which milliseconds and the zone are added (RFC 3339).
    iso: Vec<u8>,
    /// `23/Nov/2026:22:59:59 +0000`, as Apache writes it.
    apache: Vec<u8>,
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

impl DateText {
    pub(super) fn new() -> Self {
        Self {
            second: None,
            iso: Vec::with_capacity(24),
            apache: Vec::with_capacity(32),
        }
    }

    pub(super) fn iso(&mut self, second: u64) -> &[u8] {
        self.set(second);
        &self.iso
    }

    pub(super) fn apache(&mut self, second: u64) -> &[u8] {
        self.set(second);
        &self.apache
    }

    #[inline]
    fn set(&mut self, second: u64) {
        if self.second != Some(second) {
            self.make(second);
        }
    }

    #[cold]
    fn make(&mut self, second: u64) {
        let (year, month, day) = civil(second / 86_400);
        let of_day = second % 86_400;
        let clock = [of_day / 3600, of_day / 60 % 60, of_day % 60];
        let year = [
            digit(year / 1000),
            digit(year / 100),
            digit(year / 10),
            digit(year),
        ];
        self.iso.clear();
        self.iso.extend_from_slice(&year);
        for (before, number) in [
            (b'-', month),
            (b'-', day),
            (b'T', clock[0]),
            (b':', clock[1]),
            (b':', clock[2]),
        ] {
            self.iso.extend([before, digit(number / 10), digit(number)]);
        }
        self.apache.clear();
        self.apache.extend([digit(day / 10), digit(day), b'/']);
        self.apache.extend_from_slice(MONTHS[month as usize - 1]);
        self.apache.push(b'/');
        self.apache.extend_from_slice(&year);
        for number in clock {
            self.apache
                .extend([b':', digit(number / 10), digit(number)]);
        }
        self.apache.extend_from_slice(b" +0000");
        self.second = Some(second);
    }
}

/// The last decimal digit.
pub(super) fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years begin in March here, so that
/// the leap day is the last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_second_is_written_in_both_forms() {
        let mut text = DateText::new();
        assert_eq!(text.iso(0), b"1970-01-01T00:00:00");
        assert_eq!(text.apache(971_211_336), b"10/Oct/2000:20:55:36 +0000");
        assert_eq!(text.iso(1_709_164_800), b"2024-02-29T00:00:00");
    }

    proptest! {
        /// Against `httpdate`, which writes `Sun, 06 Nov 1994 08:49:37 GMT`.
        #[test]
        fn dates_agree_with_those_of_http(second in 0u64..253_402_300_800) {
            let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            let expected = format!("{}/{}/{}:{} +0000", &http[5..7], &http[8..11], &http[12..16], &http[17..25]);
            let mut text = DateText::new();
            prop_assert_eq!(text.apache(second), expected.as_bytes());
            prop_assert_eq!(&text.iso(second)[..4], &expected.as_bytes()[7..11]);
            prop_assert_eq!(&text.iso(second)[11..], &expected.as_bytes()[12..20]);
        }
    }
}
